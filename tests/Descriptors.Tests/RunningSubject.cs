using System.Diagnostics;
using System.Globalization;
using System.Text;
using Google.Protobuf;
using Microsoft.Win32.SafeHandles;
using Snapshots.Images.V1;
using Snapshots.Linux;
using Snapshots.Linux.Syscalls;
using Snapshots.Sandboxes;
using Snapshots.Snapshotter;
using Snapshots.Snapshotter.Capture;
using Snapshots.Snapshotter.Descriptors;
using Xunit;
using KernelPipe = Snapshots.Linux.Syscalls.Pipe;

namespace Snapshots.Descriptors.Tests;

/// <summary>A Python program in a sandbox with stdio pipes and a channel, as the farm launches workers.</summary>
internal sealed class RunningSubject : IDisposable
{
    private const int ChannelDescriptor = 5;
    private readonly List<SafeFileHandle> _ends = [];
    private readonly SpawnedProcess _process;
    private readonly SafeFileHandle _channel;
    private readonly SafeFileHandle _errors;
    private readonly Dictionary<ObjectIdentity, ExternalRole> _externals = [];

    /// <param name="sandbox">Where it runs.</param>
    /// <param name="directory">For its files.</param>
    /// <param name="script">A file of tests/Subjects, or source text when it has line breaks.</param>
    public RunningSubject(Sandbox sandbox, string directory, string script)
    {
        var (stdinRead, stdinWrite) = KernelPipe.Create("stdin");
        var (stdoutRead, stdoutWrite) = KernelPipe.Create("stdout");
        var (stderrRead, stderrWrite) = KernelPipe.Create("stderr");
        var (ours, theirs) = SocketPair.Stream("channel");
        _ends.AddRange([stdinWrite, stdoutRead, stderrRead, ours]);
        _channel = ours;
        _errors = stderrRead;
        AddExternal(stdinRead, ExternalRole.Stdin);
        AddExternal(stdoutWrite, ExternalRole.Stdout);
        AddExternal(stderrWrite, ExternalRole.Stderr);
        AddExternal(theirs, ExternalRole.Channel);
        using (stdinRead)
        using (stdoutWrite)
        using (stderrWrite)
        using (theirs)
        {
            _process = sandbox.Spawn(new SpawnRequest
            {
                Command = CommandOf(script),
                Environment = [.. EnvironmentOf(directory), string.Create(CultureInfo.InvariantCulture, $"SNAPSHOTS_CHANNEL={ChannelDescriptor}")],
                WorkingDirectory = directory,
                Descriptors = [stdinRead, stdoutWrite, stderrWrite, null, null, theirs],
            });
        }
        AwaitReady();
    }

    public int Pid => _process.HostPid;

    private static string Subjects => Path.Combine(AppContext.BaseDirectory, "Subjects");

    /// <param name="script">A file of tests/Subjects, or source text when it has line breaks.</param>
    public static IReadOnlyList<string> CommandOf(string script) =>
        script.Contains('\n', StringComparison.Ordinal) ? ["/usr/bin/python3", "-c", script] : ["/usr/bin/python3", Path.Combine(Subjects, script)];

    /// <summary>The environment of subjects whose files belong into <paramref name="directory"/>; without the channel's number.</summary>
    public static IReadOnlyList<string> EnvironmentOf(string directory) =>
        ["PATH=/usr/bin:/bin", $"SUBJECT_DIRECTORY={directory}", $"PYTHONPATH={Subjects}", "PYTHONDONTWRITEBYTECODE=1"];

    private void AddExternal(SafeFileHandle end, ExternalRole role)
    {
        var status = FileStatus.Of(end, role.ToString());
        _externals.Add(new ObjectIdentity(status.Device, status.Inode), role);
    }

    private void AwaitReady()
    {
        Span<byte> line = stackalloc byte[64];
        SocketMessage.SetReceiveTimeout(_channel, TimeSpan.FromSeconds(30));
        var errno = SocketMessage.Receive(_channel, line, out var length);
        if (errno != Errno.None || !line[..length].SequenceEqual("ready\n"u8))
            throw new InvalidOperationException($"the subject is not ready ({errno}): {ErrorText()}");
    }

    /// <summary>Sends a request and returns the answer's line.</summary>
    public string Ask(string request)
    {
        Assert.Equal(Errno.None, SocketMessage.Send(_channel, Encoding.UTF8.GetBytes(request + "\n")));
        var answer = new byte[65536];
        Assert.Equal(Errno.None, SocketMessage.Receive(_channel, answer, out var length));
        return length == 0 ? $"no answer: {ErrorText()}" : Encoding.UTF8.GetString(answer, 0, length);
    }

    private string ErrorText()
    {
        _process.Kill();
        using var reader = new StreamReader(new FileStream(_errors, FileAccess.Read));
        return reader.ReadToEnd();
    }

    /// <summary>Captures its descriptors while it waits for a request.</summary>
    public CaptureContext Capture() => Captures.Of(Pid, _externals);

    public void Dispose()
    {
        _process.Kill();
        _ = _process.WaitForExit();
        _process.Dispose();
        _ends.ForEach(end => end.Dispose());
    }
}

/// <summary>Captures the descriptors of a process that does nothing meanwhile.</summary>
internal static class Captures
{
    public static CaptureContext Of(int pid, IReadOnlyDictionary<ObjectIdentity, ExternalRole> externals)
    {
        using var pidFd = Pidfd.Open(pid);
        var manifest = new Manifest();
        var image = new ProcessImage();
        manifest.Processes.Add(image);
        var context = new CaptureContext
        {
            Pid = pid,
            PidFd = pidFd,
            Image = image,
            Manifest = manifest,
            Files = new FileTable(manifest),
            SharedMemory = new SharedMemoryTable(manifest),
            Externals = externals,
        };
        DescriptorCapture.Capture(context);
        return context;
    }
}
