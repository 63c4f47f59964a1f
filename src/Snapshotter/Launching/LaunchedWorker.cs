using System.Text;
using System.Text.Json;
using Microsoft.Win32.SafeHandles;
using Snapshots.Images.V1;
using Snapshots.Linux;
using Snapshots.Linux.Syscalls;
using Snapshots.Sandboxes;
using Snapshots.Snapshotter.Capture;

namespace Snapshots.Snapshotter.Launching;

/// <summary>A worker that was started to be frozen. <see cref="Dispose"/> kills it with everything it started.</summary>
public sealed class LaunchedWorker : IDisposable
{
    private readonly SafeFileHandle _stdin;
    private readonly List<byte> _channelBuffer = [];

    internal LaunchedWorker(
        SpawnedProcess process, Sandbox sandbox, IReadOnlyDictionary<ObjectIdentity, ExternalRole> externals,
        SafeFileHandle stdin, SafeFileHandle stdout, SafeFileHandle stderr, SafeFileHandle channel)
    {
        Process = process;
        Sandbox = sandbox;
        Externals = externals;
        _stdin = stdin;
        Output = new WorkerOutput(stdout, "stdout");
        Errors = new WorkerOutput(stderr, "stderr");
        Channel = channel;
        NetworkNamespaceHandle = sandbox.OpenNetworkNamespace();
    }

    public SpawnedProcess Process { get; }

    public Sandbox Sandbox { get; }

    /// <summary>Which of its descriptors each clone gets its own of.</summary>
    public IReadOnlyDictionary<ObjectIdentity, ExternalRole> Externals { get; }

    /// <summary>What it wrote to stdout.</summary>
    public WorkerOutput Output { get; }

    /// <summary>What it wrote to stderr.</summary>
    public WorkerOutput Errors { get; }

    /// <summary>Our end of its channel.</summary>
    public SafeFileHandle Channel { get; }

    /// <summary>Its network namespace.</summary>
    public SafeFileHandle NetworkNamespaceHandle { get; }

    /// <summary>Writes the line that a clone would be sent: used to measure a cold start until its first answer.</summary>
    public void SendRequest(string id, string? payloadJson)
    {
        var line = $"{{\"id\":{JsonSerializer.Serialize(id)},\"generation\":0,\"payload\":{payloadJson ?? "null"},\"env\":{{}}}}\n";
        var errno = SocketMessage.Send(Channel, Encoding.UTF8.GetBytes(line));
        if (errno != Errno.None)
            throw new LinuxException("sendmsg", errno, $"channel of worker {Process.HostPid}");
    }

    /// <summary>The next line from the channel; null when the worker closed it or ended, or the time-out passed.</summary>
    public string? ReadChannelLine(TimeSpan timeout)
    {
        var deadline = Environment.TickCount64 + (long)timeout.TotalMilliseconds;
        var buffer = new byte[4096];
        while (true)
        {
            var end = _channelBuffer.IndexOf((byte)'\n');
            if (end >= 0)
            {
                var line = Encoding.UTF8.GetString([.. _channelBuffer[..end]]);
                _channelBuffer.RemoveRange(0, end + 1);
                return line;
            }
            var left = TimeSpan.FromMilliseconds(Math.Max(0, deadline - Environment.TickCount64));
            var (readable, _) = Poll.AnyReadable(Channel, Process.PidFd, left);
            if (!readable || SocketMessage.Receive(Channel, buffer, out var received) != Errno.None || received == 0)
                return null;
            _channelBuffer.AddRange(buffer.AsSpan(0, received));
        }
    }

    /// <summary>How it ended and what it said last, for messages.</summary>
    public string DescribeEnd(ExitStatus status)
    {
        var tail = string.Join(Environment.NewLine, new[] { Output.Tail(), Errors.Tail() }.Where(text => text.Length > 0));
        return tail.Length == 0 ? $"{status}, without any output" : $"{status}; its last output:{Environment.NewLine}{tail}";
    }

    public void Dispose()
    {
        Process.Kill();
        Sandbox.Kill();
        Process.Dispose();
        Sandbox.Dispose();
        _stdin.Dispose();
        Channel.Dispose();
        NetworkNamespaceHandle.Dispose();
        Output.Dispose();
        Errors.Dispose();
    }
}
