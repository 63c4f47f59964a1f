using System.Buffers.Binary;
using Snapshots.ImageFacts;
using Snapshots.Images.V1;
using Snapshots.Linux;
using Snapshots.Linux.Proc;
using Snapshots.Programs;

namespace Snapshots.RestorePool.Programs;

/// <summary>
/// Credentials (credentials(7), capabilities(7)). They belong to threads, so each thread takes them on itself, after everything that needs
/// privilege. Nothing is emitted for a worker that ran with the credentials a husk has.
/// </summary>
internal sealed class CredentialCompiler(ProgramBuilder builder, ProcessImage process)
{
    private const int PR_SET_KEEPCAPS = 8;
    private const int PR_CAPBSET_DROP = 24;
    private const int PR_SET_SECUREBITS = 28;
    private const int PR_CAP_AMBIENT = 47;
    private const int PR_CAP_AMBIENT_RAISE = 2;
    private const uint CapabilityVersion3 = 0x2008_0522;
    private const uint SecurebitsKeepCapabilities = 1 << 4;

    private readonly Credentials? _wanted = process.Credentials;
    private readonly Credentials _own = CredentialsOf.Process(ProcStatus.Read(Environment.ProcessId));

    public void Emit()
    {
        if (_wanted is null || _wanted.Equals(_own))
            return;
        EmitBoundingSet();
        builder.Syscall(SyscallNumber.Prctl, "capabilities kept across setuid", PR_SET_KEEPCAPS, 1);
        EmitGroups();
        builder.Syscall(SyscallNumber.Setresgid, $"group ids {_wanted.Gids}", _wanted.Gids[0], _wanted.Gids[1], _wanted.Gids[2]);
        builder.Syscall(SyscallNumber.Setfsgid, "file system group id", _wanted.Gids[3]);
        builder.Syscall(SyscallNumber.Setresuid, $"user ids {_wanted.Uids}", _wanted.Uids[0], _wanted.Uids[1], _wanted.Uids[2]);
        builder.Syscall(SyscallNumber.Setfsuid, "file system user id", _wanted.Uids[3]);
        EmitCapabilitySets();
        for (var capability = 0; capability < 64; capability++)
        {
            if ((_wanted.CapAmbient >> capability & 1) != 0)
                builder.Syscall(SyscallNumber.Prctl, $"ambient capability {capability}", PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability, 0, 0);
        }
        if ((_wanted.Securebits & SecurebitsKeepCapabilities) == 0)
            builder.Syscall(SyscallNumber.Prctl, "capabilities not kept across setuid", PR_SET_KEEPCAPS, 0);
        if (_wanted.Securebits != 0)
            builder.Syscall(SyscallNumber.Prctl, "securebits", PR_SET_SECUREBITS, _wanted.Securebits);
    }

    private void EmitBoundingSet()
    {
        var missing = _wanted!.CapBounding & ~_own.CapBounding;
        if (missing != 0)
            throw new RestoreUnsupportedException($"pid {process.Pid}: its capability bounding set has {missing:x} that this farm lacks; run the farm with these capabilities");
        for (var capability = 0; capability < 64; capability++)
        {
            if (((_own.CapBounding & ~_wanted.CapBounding) >> capability & 1) != 0)
                builder.Syscall(SyscallNumber.Prctl, $"capability {capability} out of the bounding set", PR_CAPBSET_DROP, capability);
        }
    }

    private void EmitGroups()
    {
        var bytes = new byte[4 * _wanted!.Groups.Count];
        for (var i = 0; i < _wanted.Groups.Count; i++)
            BinaryPrimitives.WriteUInt32LittleEndian(bytes.AsSpan(4 * i), _wanted.Groups[i]);
        builder.Syscall(SyscallNumber.Setgroups, $"groups {_wanted.Groups}", _wanted.Groups.Count, builder.Data(bytes));
    }

    /// <summary>capset(2): header of version and pid; effective, permitted, inheritable for the low and the high 32 capabilities.</summary>
    private void EmitCapabilitySets()
    {
        var header = builder.Words(CapabilityVersion3);
        Span<byte> sets = stackalloc byte[24];
        ReadOnlySpan<ulong> wanted = [_wanted!.CapEffective, _wanted.CapPermitted, _wanted.CapInheritable];
        for (var i = 0; i < wanted.Length; i++)
        {
            BinaryPrimitives.WriteUInt32LittleEndian(sets[(4 * i)..], (uint)wanted[i]);
            BinaryPrimitives.WriteUInt32LittleEndian(sets[(12 + (4 * i))..], (uint)(wanted[i] >> 32));
        }
        builder.Syscall(SyscallNumber.Capset, "capabilities", header, builder.Data(sets));
    }
}
