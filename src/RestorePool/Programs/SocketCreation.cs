using System.Buffers.Binary;
using Snapshots.Images.V1;
using Snapshots.Linux;

namespace Snapshots.RestorePool.Programs;

/// <summary>The calls that all socket families share.</summary>
internal static class SocketCreation
{
    /// <summary>socket(2) with the blocking mode and close-on-exec of <paramref name="file"/>.</summary>
    public static int Create(DescriptorScript script, OpenFile file, uint family, uint type, uint protocol)
    {
        var closeOnExec = script.NextIsCloseOnExec(file.Id);
        var flags = type | (file.StatusFlags & OpenFlags.NonBlocking) | script.NextFlag(file.Id);
        return script.Created(script.Builder.Syscall(SyscallNumber.Socket, script.SubjectOf(file), family, flags, protocol), file.Id, closeOnExec);
    }

    public static void SetOptions(DescriptorScript script, int fd, IEnumerable<SocketOption> options, string subject)
    {
        foreach (var option in options)
            script.Builder.Syscall(SyscallNumber.Setsockopt, subject, fd, option.Level, option.Name, script.Builder.Data(option.Value.Span), option.Value.Length);
    }

    /// <summary>setsockopt(2) with an int.</summary>
    public static void SetOption(DescriptorScript script, int fd, int level, int name, int value, string subject)
    {
        Span<byte> bytes = stackalloc byte[4];
        BinaryPrimitives.WriteInt32LittleEndian(bytes, value);
        script.Builder.Syscall(SyscallNumber.Setsockopt, subject, fd, level, name, script.Builder.Data(bytes), bytes.Length);
    }

    public static void Bind(DescriptorScript script, int fd, ReadOnlySpan<byte> address, string subject) =>
        script.Builder.Syscall(SyscallNumber.Bind, subject, fd, script.Builder.Data(address), address.Length);

    public static void Listen(DescriptorScript script, int fd, uint backlog, string subject) =>
        script.Builder.Syscall(SyscallNumber.Listen, subject, fd, backlog);
}
