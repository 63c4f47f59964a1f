// proc_pid_mountinfo(5); Linux 2.6.26.
using System.Text;

namespace Snapshots.Linux.Proc;

/// <summary>One mount of a process's mount namespace: a line of <c>/proc/PID/mountinfo</c>.</summary>
public sealed record MountInfo
{
    public required int MountId { get; init; }

    public required int ParentId { get; init; }

    /// <summary>In the form of <c>st_dev</c>.</summary>
    public required ulong Device { get; init; }

    /// <summary>The directory of the file system that is mounted.</summary>
    public required string Root { get; init; }

    public required string MountPoint { get; init; }

    public required string Options { get; init; }

    /// <summary>Propagation: "shared:N", "master:N", "propagate_from:N", "unbindable".</summary>
    public required IReadOnlyList<string> OptionalFields { get; init; }

    public required string FileSystem { get; init; }

    public required string Source { get; init; }

    public required string SuperOptions { get; init; }

    /// <summary>Mounts that the process sees, in the kernel's order.</summary>
    /// <exception cref="LinuxException">ESRCH: the process is gone.</exception>
    public static List<MountInfo> Read(int pid)
    {
        var mounts = new List<MountInfo>();
        foreach (var line in new Lines(ProcFile.Read(pid, null, "mountinfo")))
            mounts.Add(TryParse(line, out var mount) ? mount : throw ProcFormat.Unreadable($"/proc/{pid}/mountinfo", line));
        return mounts;
    }

    /// <summary>
    /// Parses one line; field numbers as in the man page:
    /// <code>
    /// 36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue
    /// 1  2  3    4     5     6          7        8 9    10        11
    /// </code>
    /// </summary>
    public static bool TryParse(ReadOnlySpan<byte> line, out MountInfo mount)
    {
        mount = null!;
        var cursor = new TextCursor(line);
        if (!cursor.TryInt(out var id) || !cursor.TrySkip(" "u8) || !cursor.TryInt(out var parent) || !cursor.TrySkip(" "u8)
            || !cursor.TryDecimal(out var major) || !cursor.TrySkip(":"u8) || !cursor.TryDecimal(out var minor)
            || !cursor.TryToken(out var root) || !cursor.TryToken(out var point) || !cursor.TryToken(out var options))
            return false;
        var optional = new List<string>();
        ReadOnlySpan<byte> token;
        while (cursor.TryToken(out token) && !token.SequenceEqual("-"u8))
            optional.Add(Encoding.ASCII.GetString(token));
        if (token.IsEmpty || !cursor.TryToken(out var type) || !cursor.TrySkip(" "u8))
            return false;
        // The source may be empty: then two spaces follow one another.
        var space = cursor.Rest.IndexOf((byte)' ');
        if (space < 0)
            return false;
        mount = new MountInfo
        {
            MountId = id,
            ParentId = parent,
            Device = DeviceNumber.Make(major, minor),
            Root = EscapedText.Unescape(root),
            MountPoint = EscapedText.Unescape(point),
            Options = EscapedText.Unescape(options),
            OptionalFields = optional,
            FileSystem = EscapedText.Unescape(type),
            Source = EscapedText.Unescape(cursor.Rest[..space]),
            SuperOptions = EscapedText.Unescape(cursor.Rest[(space + 1)..]),
        };
        return true;
    }
}
