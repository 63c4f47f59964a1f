// open(2), read(2), proc(5).
using System.Buffers;
using System.Text;

namespace Snapshots.Linux.Proc;

/// <summary>Reads files of <c>/proc</c> and <c>/sys</c> whole: their length is unknown until they end.</summary>
public static unsafe class ProcFile
{
    private const long O_RDONLY_CLOEXEC = 0x80000;
    private const int FirstBufferBytes = 16 * 1024;

    /// <summary>Contents of <paramref name="path"/>, or the error that open or read answered.</summary>
    public static Errno TryRead(string path, out byte[] contents)
    {
        contents = [];
        long fd;
        fixed (byte* text = Encoding.UTF8.GetBytes(path + '\0'))
            fd = RawSyscall.Call(SyscallNumber.Open, (long)text, O_RDONLY_CLOEXEC);
        if (fd < 0)
            return RawSyscall.ErrnoOf(fd);
        try
        {
            return ReadToEnd(fd, out contents);
        }
        finally
        {
            RawSyscall.Call(SyscallNumber.Close, fd);
        }
    }

    /// <summary>Contents of a file that belongs to no process.</summary>
    /// <exception cref="LinuxException">The file cannot be read.</exception>
    public static byte[] Read(string path)
    {
        var errno = TryRead(path, out var contents);
        return errno == Errno.None ? contents : throw new LinuxException("open", errno, path);
    }

    /// <summary>Contents of <c>/proc/PID/name</c>, or of <c>/proc/PID/task/TID/name</c>.</summary>
    /// <exception cref="LinuxException">ESRCH: the process or thread is gone; else what the kernel answered.</exception>
    internal static byte[] Read(int pid, int? tid, string name)
    {
        var path = PathOf(pid, tid, name);
        var errno = TryRead(path, out var contents);
        if (errno == Errno.None)
            return contents;
        throw Failure(pid, tid, path, errno);
    }

    internal static string PathOf(int pid, int? tid, string name) => tid is { } thread ? $"/proc/{pid}/task/{thread}/{name}" : $"/proc/{pid}/{name}";

    /// <summary>A missing file under a missing process directory means that the process is gone, which the kernel calls ESRCH everywhere else.</summary>
    internal static LinuxException Failure(int pid, int? tid, string path, Errno errno)
    {
        var directory = tid is { } thread ? $"/proc/{pid}/task/{thread}" : $"/proc/{pid}";
        var gone = errno == Errno.ESRCH || (errno == Errno.ENOENT && !Directory.Exists(directory));
        var who = tid is null ? $"process {pid}" : $"thread {tid} of process {pid}";
        return gone ? new LinuxException("open", Errno.ESRCH, $"{path}: {who} is gone") : new LinuxException("open", errno, path);
    }

    private static Errno ReadToEnd(long fd, out byte[] contents)
    {
        contents = [];
        var buffer = ArrayPool<byte>.Shared.Rent(FirstBufferBytes);
        try
        {
            var length = 0;
            while (true)
            {
                if (length == buffer.Length)
                    buffer = Grow(buffer);
                long count;
                fixed (byte* free = &buffer[length])
                    count = RawSyscall.Call(SyscallNumber.Read, fd, (long)free, buffer.Length - length);
                if (count == -(long)Errno.EINTR)
                    continue;
                if (count < 0)
                    return RawSyscall.ErrnoOf(count);
                if (count == 0)
                    break;
                length += (int)count;
            }
            contents = buffer.AsSpan(0, length).ToArray();
            return Errno.None;
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(buffer);
        }
    }

    private static byte[] Grow(byte[] full)
    {
        var larger = ArrayPool<byte>.Shared.Rent(full.Length * 2);
        full.CopyTo(larger, 0);
        ArrayPool<byte>.Shared.Return(full);
        return larger;
    }
}
