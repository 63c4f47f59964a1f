// readlink(2).
using System.Text;

namespace Snapshots.Linux.Syscalls;

/// <summary>Reads symbolic links without following them.</summary>
public static unsafe class ReadLink
{
    // PATH_MAX; the kernel never gives a longer target.
    private const int MaxTargetBytes = 4096;

    /// <summary>The text of the link at <paramref name="path"/>.</summary>
    public static Errno Read(string path, out string target)
    {
        var buffer = stackalloc byte[MaxTargetBytes];
        long length;
        fixed (byte* text = Encoding.UTF8.GetBytes(path + '\0'))
            length = RawSyscall.Call(SyscallNumber.Readlink, (long)text, (long)buffer, MaxTargetBytes);
        target = length > 0 ? Encoding.UTF8.GetString(buffer, (int)length) : "";
        return RawSyscall.ErrnoOf(length);
    }
}
