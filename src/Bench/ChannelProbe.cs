using System.Text;
using Microsoft.Win32.SafeHandles;
using Snapshots.Linux;
using Snapshots.Linux.Syscalls;

namespace Snapshots.Bench;

/// <summary>Workers with a channel: the answer is the first line on it.</summary>
public sealed class ChannelProbe(TimeSpan timeout) : IAnswerProbe
{
    private const int LongestAnswerBytes = 1024 * 1024;

    public string Await(SafeFileHandle? channel, Func<SafeFileHandle> openNetworkNamespace)
    {
        if (channel is null)
            throw new BenchException("the worker has no channel to answer on");
        SocketMessage.SetReceiveTimeout(channel, timeout);
        var line = new byte[4096];
        var length = 0;
        while (true)
        {
            var errno = SocketMessage.Receive(channel, line.AsSpan(length), out var received);
            if (errno == Errno.EAGAIN)
                throw new BenchException($"no answer came on the channel within {timeout.TotalSeconds} s");
            if (errno != Errno.None || received == 0)
                throw new BenchException($"the worker closed its channel without an answer{(errno == Errno.None ? string.Empty : $" ({errno})")}");
            var end = line.AsSpan(length, received).IndexOf((byte)'\n');
            if (end >= 0)
                return Encoding.UTF8.GetString(line, 0, length + end);
            length += received;
            if (length > LongestAnswerBytes)
                throw new BenchException($"the answer is longer than {LongestAnswerBytes} bytes");
            if (length == line.Length)
                Array.Resize(ref line, line.Length * 2);
        }
    }
}
