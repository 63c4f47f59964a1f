// ptrace(2), uapi linux/ptrace.h and asm/ptrace-abi.h. PTRACE_SEIZE since 3.4, PEEKSIGINFO 3.10, GETSIGMASK 3.11, GET_RSEQ_CONFIGURATION 5.13.
// All calls must come from the OS thread that seized the tracee; any other thread of the process gets ESRCH.
using System.Runtime.InteropServices;
using Snapshots.Linux.Layouts;

namespace Snapshots.Linux.Syscalls;

/// <summary>The requests of ptrace(2) that freezing needs. A tracee is named by its thread id.</summary>
public static unsafe class Ptrace
{
    /// <summary>System call stops are reported as SIGTRAP | 0x80.</summary>
    public const int O_TRACESYSGOOD = 1;

    /// <summary>A thread that ends stops first, with its memory: <see cref="EVENT_EXIT"/>.</summary>
    public const int O_TRACEEXIT = 0x40;

    /// <summary>Event number of the stop of a thread that ends.</summary>
    public const int EVENT_EXIT = 6;

    /// <summary>Event number of group stops and of stops that PTRACE_INTERRUPT asked for.</summary>
    public const int EVENT_STOP = 128;

    /// <summary>sizeof(siginfo_t).</summary>
    public const int SigInfoBytes = 128;

    private const int SigInfosPerCall = 32;
    private const int LargestXstateBytes = 64 * 1024;
    private const int NT_PRSTATUS = 1;
    private const int NT_X86_XSTATE = 0x202;
    private const uint PeekSigInfoShared = 1;
    private const int SignalSetBytes = 8;

    private enum Request
    {
        Cont = 7,
        Detach = 17,
        Syscall = 24,
        GetRegset = 0x4204,
        SetRegset = 0x4205,
        Seize = 0x4206,
        Interrupt = 0x4207,
        Listen = 0x4208,
        PeekSigInfo = 0x4209,
        GetSigMask = 0x420a,
        SetSigMask = 0x420b,
        GetRseqConfiguration = 0x420f,
    }

    /// <summary>Attaches without stopping. EPERM: traced by somebody else, or not permitted; ESRCH: gone.</summary>
    public static Errno Seize(int tid, int options) => RawSyscall.ErrnoOf(Invoke(Request.Seize, tid, 0, options));

    /// <summary>Asks a seized thread to stop; the stop is reported by waitid as <see cref="EVENT_STOP"/>.</summary>
    public static Errno Interrupt(int tid) => RawSyscall.ErrnoOf(Invoke(Request.Interrupt, tid, 0, 0));

    /// <summary>Lets a stopped thread run, delivering <paramref name="signal"/> when it is not zero.</summary>
    public static Errno Continue(int tid, int signal) => RawSyscall.ErrnoOf(Invoke(Request.Cont, tid, 0, signal));

    /// <summary>Leaves a group-stopped thread stopped, and hears of what becomes of it.</summary>
    public static Errno Listen(int tid) => RawSyscall.ErrnoOf(Invoke(Request.Listen, tid, 0, 0));

    /// <summary>As <see cref="Continue"/>, until the next entry into or exit from a system call.</summary>
    public static Errno ContinueToSyscall(int tid, int signal) => RawSyscall.ErrnoOf(Invoke(Request.Syscall, tid, 0, signal));

    /// <summary>Lets a stopped thread go; it runs on as if never traced (a group-stopped one stays stopped).</summary>
    public static Errno Detach(int tid) => RawSyscall.ErrnoOf(Invoke(Request.Detach, tid, 0, 0));

    public static Errno TryGetRegisters(int tid, out UserRegisters registers)
    {
        registers = default;
        fixed (UserRegisters* pointer = &registers)
        {
            var vector = new IoVector { Base = pointer, Length = (nuint)sizeof(UserRegisters) };
            return RawSyscall.ErrnoOf(Invoke(Request.GetRegset, tid, NT_PRSTATUS, (long)&vector));
        }
    }

    public static Errno TrySetRegisters(int tid, in UserRegisters registers)
    {
        fixed (UserRegisters* pointer = &registers)
        {
            var vector = new IoVector { Base = pointer, Length = (nuint)sizeof(UserRegisters) };
            return RawSyscall.ErrnoOf(Invoke(Request.SetRegset, tid, NT_PRSTATUS, (long)&vector));
        }
    }

    /// <summary>The NT_X86_XSTATE regset: an XSAVE area in the standard format, as long as this kernel makes it.</summary>
    /// <exception cref="LinuxException">The thread is gone or not stopped.</exception>
    public static byte[] GetXstate(int tid)
    {
        var buffer = new byte[LargestXstateBytes];
        nuint length;
        fixed (byte* pointer = buffer)
        {
            var vector = new IoVector { Base = pointer, Length = (nuint)buffer.Length };
            Check(Invoke(Request.GetRegset, tid, NT_X86_XSTATE, (long)&vector), "PTRACE_GETREGSET NT_X86_XSTATE", tid);
            length = vector.Length;
        }

        return buffer[..(int)length];
    }

    /// <summary>Blocked signals, bit 0 is signal 1; inside sigsuspend(2) and its like the mask that will be put back.</summary>
    public static ulong GetSignalMask(int tid)
    {
        ulong mask;
        Check(Invoke(Request.GetSigMask, tid, SignalSetBytes, (long)&mask), "PTRACE_GETSIGMASK", tid);
        return mask;
    }

    public static Errno SetSignalMask(int tid, ulong mask) => RawSyscall.ErrnoOf(Invoke(Request.SetSigMask, tid, SignalSetBytes, (long)&mask));

    /// <summary>The pending signals of the thread, or those of its whole process, oldest first: siginfo_t of <see cref="SigInfoBytes"/> bytes each.</summary>
    public static IReadOnlyList<byte[]> PeekSignals(int tid, bool ofProcess)
    {
        var found = new List<byte[]>();
        var buffer = stackalloc byte[SigInfosPerCall * SigInfoBytes];
        while (true)
        {
            var arguments = new PeekArguments { Offset = (ulong)found.Count, Flags = ofProcess ? PeekSigInfoShared : 0, Count = SigInfosPerCall };
            var count = Check(Invoke(Request.PeekSigInfo, tid, (long)&arguments, (long)buffer), "PTRACE_PEEKSIGINFO", tid);
            for (var i = 0; i < count; i++)
                found.Add(new ReadOnlySpan<byte>(buffer + (i * SigInfoBytes), SigInfoBytes).ToArray());
            if (count < SigInfosPerCall)
                return found;
        }
    }

    /// <summary>The thread's rseq registration; all zero when it has none.</summary>
    public static RseqConfiguration GetRseq(int tid)
    {
        RseqConfiguration configuration;
        Check(Invoke(Request.GetRseqConfiguration, tid, sizeof(RseqConfiguration), (long)&configuration), "PTRACE_GET_RSEQ_CONFIGURATION", tid);
        return configuration;
    }

    private static long Invoke(Request request, int tid, long address, long data) =>
        RawSyscall.Call(SyscallNumber.Ptrace, (long)request, tid, address, data);

    private static long Check(long result, string call, int tid) => RawSyscall.ThrowIfFailed(result, call, $"thread {tid}");

    [StructLayout(LayoutKind.Sequential)]
    private struct IoVector
    {
        public void* Base;
        public nuint Length;
    }

    /// <summary>struct ptrace_peeksiginfo_args.</summary>
    [StructLayout(LayoutKind.Explicit, Size = 16)]
    private struct PeekArguments
    {
        [FieldOffset(0)]
        public ulong Offset;

        [FieldOffset(8)]
        public uint Flags;

        [FieldOffset(12)]
        public int Count;
    }
}
