using System.Text;
using Microsoft.Win32.SafeHandles;
using Snapshots.Linux;
using Snapshots.Linux.Syscalls;

namespace Snapshots.Snapshotter.Launching;

/// <summary>Reads the lines that a worker writes to its channel. Not thread-safe.</summary>
/// <param name="channel">Our end; stays its owner's.</param>
/// <param name="ended">Readable when the worker has ended.</param>
public sealed class ChannelLines(SafeFileHandle channel, SafeFileHandle ended)
{
    /// <summary>A worker that writes more without a line break has another idea of its channel.</summary>
    private const int MaxLineBytes = 16 << 20;

    private readonly List<byte> _buffer = [];

    /// <summary>Our end.</summary>
    public SafeFileHandle Channel => channel;

    /// <summary>Whether a whole line has been received already.</summary>
    public bool HasLine => _buffer.Contains((byte)'\n');

    /// <summary>The next line; null when the worker closed the channel or ended, when the time-out passed, or when the line is longer than 16 MiB.</summary>
    public string? Read(TimeSpan timeout)
    {
        var deadline = Environment.TickCount64 + (long)timeout.TotalMilliseconds;
        var buffer = new byte[4096];
        while (true)
        {
            var end = _buffer.IndexOf((byte)'\n');
            if (end >= 0)
            {
                var line = Encoding.UTF8.GetString([.. _buffer[..end]]);
                _buffer.RemoveRange(0, end + 1);
                return line;
            }
            var left = TimeSpan.FromMilliseconds(Math.Max(0, deadline - Environment.TickCount64));
            var (readable, _) = Poll.AnyReadable(channel, ended, left);
            if (!readable || _buffer.Count > MaxLineBytes || SocketMessage.Receive(channel, buffer, out var received) != Errno.None || received == 0)
                return null;
            _buffer.AddRange(buffer.AsSpan(0, received));
        }
    }
}
