// open_by_handle_at(2); uapi linux/fcntl.h; Linux 2.6.39; needs CAP_DAC_READ_SEARCH.
using Microsoft.Win32.SafeHandles;

namespace Snapshots.Linux.Syscalls;

/// <summary>Opens files by the handle of their file system instead of a path.</summary>
public static unsafe class FileHandles
{
    private const int O_PATH = 0x200000;
    private const int O_CLOEXEC = 0x80000;

    /// <summary>An O_PATH descriptor of the file with this handle, in the file system that <paramref name="mount"/> (any file on it) belongs to.</summary>
    /// <returns><see cref="Errno.ESTALE"/>: the file is gone; <see cref="Errno.EOPNOTSUPP"/>: the file system cannot look files up by handle.</returns>
    public static Errno Open(SafeFileHandle mount, int handleType, ReadOnlySpan<byte> handle, out SafeFileHandle file)
    {
        // struct file_handle { u32 handle_bytes; s32 handle_type; u8 f_handle[]; }
        var buffer = stackalloc byte[8 + handle.Length];
        *(uint*)buffer = (uint)handle.Length;
        *(int*)(buffer + 4) = handleType;
        handle.CopyTo(new Span<byte>(buffer + 8, handle.Length));
        using var borrowed = new BorrowedDescriptor(mount);
        var fd = RawSyscall.Call(SyscallNumber.OpenByHandleAt, borrowed.Number, (long)buffer, O_PATH | O_CLOEXEC);
        file = new SafeFileHandle((nint)Math.Max(fd, -1), ownsHandle: true);
        return RawSyscall.ErrnoOf(fd);
    }
}
