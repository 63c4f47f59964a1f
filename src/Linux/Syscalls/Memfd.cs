// memfd_create(2); uapi linux/memfd.h; Linux 3.17.
using System.Runtime.InteropServices;
using System.Text;
using Microsoft.Win32.SafeHandles;

namespace Snapshots.Linux.Syscalls;

/// <summary>Anonymous files in memory.</summary>
public static unsafe class Memfd
{
    private const long MFD_CLOEXEC = 1;

    /// <summary>A new empty close-on-exec memory file. <paramref name="name"/> is only for <c>/proc</c> listings.</summary>
    /// <exception cref="LinuxException">No memory or no descriptor left.</exception>
    public static SafeFileHandle Create(string name)
    {
        fixed (byte* text = Encoding.UTF8.GetBytes(name + '\0'))
        {
            var fd = RawSyscall.ThrowIfFailed(RawSyscall.Call(SyscallNumber.MemfdCreate, (long)text, MFD_CLOEXEC), "memfd_create", name);
            return new SafeFileHandle((nint)fd, ownsHandle: true);
        }
    }

    /// <summary>A memory file that holds <paramref name="contents"/>.</summary>
    public static SafeFileHandle CreateWith(string name, ReadOnlySpan<byte> contents)
    {
        var file = Create(name);
        RandomAccess.Write(file, contents, 0);
        return file;
    }
}
