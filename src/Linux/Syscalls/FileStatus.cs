// fstat(2), newfstatat(2) (stat(2)); uapi asm/stat.h; always there.
using System.Buffers.Binary;
using System.Text;
using Microsoft.Win32.SafeHandles;

namespace Snapshots.Linux.Syscalls;

/// <summary>struct stat of x86-64, as far as it is used.</summary>
/// <param name="Device">st_dev.</param>
/// <param name="Inode">st_ino.</param>
/// <param name="Mode">st_mode: type and permissions.</param>
/// <param name="LinkCount">st_nlink; 0 for a file without a name.</param>
/// <param name="RawDevice">st_rdev of a device node.</param>
/// <param name="SizeBytes">st_size.</param>
/// <param name="BlockSizeBytes">st_blksize; the page size of a hugetlbfs file.</param>
/// <param name="ModifiedNanoseconds">st_mtim since the epoch.</param>
public readonly record struct FileStatus(
    ulong Device, ulong Inode, uint Mode, ulong LinkCount, ulong RawDevice, ulong SizeBytes, ulong BlockSizeBytes, long ModifiedNanoseconds)
{
    private const int AT_FDCWD = -100;
    private const int AT_SYMLINK_NOFOLLOW = 0x100;
    private const int SizeOfStat = 144;

    public bool IsRegular => (Mode & 0xf000) == 0x8000;

    public bool IsDirectory => (Mode & 0xf000) == 0x4000;

    public bool IsCharacterDevice => (Mode & 0xf000) == 0x2000;

    public bool IsBlockDevice => (Mode & 0xf000) == 0x6000;

    public bool IsFifo => (Mode & 0xf000) == 0x1000;

    public bool IsSymbolicLink => (Mode & 0xf000) == 0xa000;

    public bool IsSocket => (Mode & 0xf000) == 0xc000;

    /// <summary>Major number of <see cref="RawDevice"/> (makedev(3)).</summary>
    public uint RawMajor => (uint)(((RawDevice >> 8) & 0xfff) | ((RawDevice >> 32) & 0xffff_f000));

    /// <summary>Minor number of <see cref="RawDevice"/>.</summary>
    public uint RawMinor => (uint)((RawDevice & 0xff) | ((RawDevice >> 12) & 0xffff_ff00));

    /// <summary>Status of what <paramref name="handle"/> refers to; an O_PATH descriptor will do.</summary>
    /// <exception cref="LinuxException">The call failed on <paramref name="subject"/>.</exception>
    public static unsafe FileStatus Of(SafeFileHandle handle, string subject)
    {
        using var borrowed = new BorrowedDescriptor(handle);
        var buffer = stackalloc byte[SizeOfStat];
        RawSyscall.ThrowIfFailed(RawSyscall.Call(SyscallNumber.Fstat, borrowed.Number, (long)buffer), "fstat", subject);
        return Parse(new ReadOnlySpan<byte>(buffer, SizeOfStat));
    }

    /// <summary>Status of what <paramref name="path"/> leads to.</summary>
    public static unsafe Errno At(string path, bool followLast, out FileStatus status)
    {
        var buffer = stackalloc byte[SizeOfStat];
        fixed (byte* text = Encoding.UTF8.GetBytes(path + '\0'))
        {
            var result = RawSyscall.Call(SyscallNumber.Newfstatat, AT_FDCWD, (long)text, (long)buffer, followLast ? 0 : AT_SYMLINK_NOFOLLOW);
            status = result < 0 ? default : Parse(new ReadOnlySpan<byte>(buffer, SizeOfStat));
            return RawSyscall.ErrnoOf(result);
        }
    }

    // st_dev 0, st_ino 8, st_nlink 16, st_mode 24, st_rdev 40, st_size 48, st_blksize 56, st_mtim 88.
    private static FileStatus Parse(ReadOnlySpan<byte> stat) => new(
        Device: BinaryPrimitives.ReadUInt64LittleEndian(stat),
        Inode: BinaryPrimitives.ReadUInt64LittleEndian(stat[8..]),
        Mode: BinaryPrimitives.ReadUInt32LittleEndian(stat[24..]),
        LinkCount: BinaryPrimitives.ReadUInt64LittleEndian(stat[16..]),
        RawDevice: BinaryPrimitives.ReadUInt64LittleEndian(stat[40..]),
        SizeBytes: BinaryPrimitives.ReadUInt64LittleEndian(stat[48..]),
        BlockSizeBytes: BinaryPrimitives.ReadUInt64LittleEndian(stat[56..]),
        ModifiedNanoseconds: (BinaryPrimitives.ReadInt64LittleEndian(stat[88..]) * 1_000_000_000) + BinaryPrimitives.ReadInt64LittleEndian(stat[96..]));
}
