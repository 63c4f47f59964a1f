using System.Buffers.Binary;
using System.Runtime.Intrinsics.X86;
using Snapshots.AddressSpace;

namespace Snapshots.Programs;

/// <summary>
/// The stack frame that rt_sigreturn(2) of x86-64 consumes: all general registers, the signal mask, the alternate stack and the whole
/// vector state of one thread. Pure code: bytes in, bytes out.
/// </summary>
/// <remarks>
/// <code>
/// at +   0  pretcode            return address of a handler; the kernel does not read it back
///        8  uc_flags            UC_FP_XSTATE | UC_SIGCONTEXT_SS | UC_STRICT_RESTORE_SS
///       16  uc_link
///       24  uc_stack            address, flags (32 bits), padding, length
///       48  sigcontext_64       r8..r15 rdi rsi rbp rbx rdx rax rcx rsp rip rflags, cs gs fs ss (16 bits each),
///                               err trapno oldmask cr2, fpstate (+184), reserved1[8]
///      304  uc_sigmask          the kernel's 64 bits of it
///      312  siginfo             128 bytes, not read back
///      440  padding
///      448  fpstate             64-byte aligned XSAVE area in the standard format; its bytes 464..511 are _fpx_sw_bytes
///      448 + n  FP_XSTATE_MAGIC2
/// </code>
/// rt_sigreturn reads the frame at rsp - 8, as if a handler had popped pretcode. It does not set FS and GS base: arch_prctl(2) before it.
/// Offsets and constants were checked against asm/sigcontext.h, asm/ucontext.h and asm-generic/ucontext.h with offsetof and sizeof of a
/// compiled C program. A kernel with AMX counts its 8 KiB of tile data into the regset of every thread but treats a frame larger than what the
/// thread may use as a legacy one, silently dropping AVX: tiles not in use are cut off here.
/// </remarks>
public static class SignalFrame
{
    /// <summary>Alignment of a frame's address, in bytes.</summary>
    public const int Alignment = 64;

    /// <summary>sizeof(struct user_regs_struct), sys/user.h.</summary>
    public const int UserRegistersBytes = 216;

    private const int StackOffset = 24;
    private const int ContextOffset = 48;
    private const int SignalMaskOffset = 304;
    private const int FpStateOffset = 448;

    private const int LegacyAreaBytes = 512;
    private const int XsaveHeaderBytes = 64;
    private const int SoftwareBytesOffset = 464;
    private const int SoftwareBytesLength = 48;

    private const ulong UcFpXstate = 1;
    private const ulong UcSigcontextSs = 2;
    private const ulong UcStrictRestoreSs = 4;

    private const uint FpXstateMagic1 = 0x46505853;
    private const uint FpXstateMagic2 = 0x46505845;

    private const ulong AmxComponents = 3UL << AmxFirstComponent;
    private const int AmxFirstComponent = 17;

    /// <summary>Offsets in user_regs_struct of the registers that open sigcontext_64, in the order of the latter: r8 to rflags.</summary>
    private static ReadOnlySpan<byte> RegisterSources => [72, 64, 56, 48, 24, 16, 8, 0, 112, 104, 32, 40, 96, 80, 88, 152, 128, 144];

    private const int CsSource = 136;
    private const int SsSource = 160;

    /// <summary>Bytes to set aside for a frame whose NT_X86_XSTATE regset is <paramref name="xstateLength"/> bytes long; a multiple of <see cref="Alignment"/>.</summary>
    public static int SizeBytes(int xstateLength) => (FpStateOffset + xstateLength + sizeof(uint) + Alignment - 1) & -Alignment;

    /// <summary>The rsp with which rt_sigreturn is to be executed for the frame at <paramref name="at"/>.</summary>
    public static VirtualAddress StackPointer(VirtualAddress at) => at + 8;

    /// <summary>Builds the frame that is to be placed at <paramref name="at"/>.</summary>
    /// <param name="at">Where the frame will lie; a multiple of <see cref="Alignment"/>.</param>
    /// <param name="userRegs">struct user_regs_struct (NT_PRSTATUS); its orig_rax, segment bases and data selectors are not carried.</param>
    /// <param name="xstate">NT_X86_XSTATE regset.</param>
    /// <param name="signalMask">Blocked signals, bit 0 is signal 1.</param>
    /// <param name="altStack">As sigaltstack(2) reports it.</param>
    /// <exception cref="ArgumentException">A misaligned address or a regset of impossible size.</exception>
    public static byte[] Build(
        VirtualAddress at,
        ReadOnlySpan<byte> userRegs,
        ReadOnlySpan<byte> xstate,
        ulong signalMask,
        (ulong Address, uint Flags, ulong Length) altStack)
    {
        if (at.Value % Alignment != 0)
            throw new ArgumentException($"signal frame address {at} is not a multiple of {Alignment}", nameof(at));
        if (userRegs.Length != UserRegistersBytes)
            throw new ArgumentException($"general registers take {UserRegistersBytes} bytes, not {userRegs.Length}", nameof(userRegs));
        if (xstate.Length < LegacyAreaBytes + XsaveHeaderBytes)
            throw new ArgumentException($"an XSAVE area takes at least {LegacyAreaBytes + XsaveHeaderBytes} bytes, not {xstate.Length}", nameof(xstate));

        var frame = new byte[SizeBytes(xstate.Length)];
        Put(frame, 8, UcFpXstate | UcSigcontextSs | UcStrictRestoreSs);
        Put(frame, StackOffset, altStack.Address);
        BinaryPrimitives.WriteUInt32LittleEndian(frame.AsSpan(StackOffset + 8), altStack.Flags);
        Put(frame, StackOffset + 16, altStack.Length);
        WriteContext(frame.AsSpan(ContextOffset), userRegs, at + FpStateOffset);
        Put(frame, SignalMaskOffset, signalMask);
        WriteFpState(frame.AsSpan(FpStateOffset), xstate);
        return frame;
    }

    private static void WriteContext(Span<byte> context, ReadOnlySpan<byte> registers, VirtualAddress fpState)
    {
        for (var i = 0; i < RegisterSources.Length; i++)
            registers.Slice(RegisterSources[i], 8).CopyTo(context[(i * 8)..]);
        var selectors = context[(RegisterSources.Length * 8)..];
        registers.Slice(CsSource, 2).CopyTo(selectors);
        registers.Slice(SsSource, 2).CopyTo(selectors[6..]);
        Put(context, 184, fpState.Value);
    }

    private static void WriteFpState(Span<byte> fpState, ReadOnlySpan<byte> xstate)
    {
        // The regset carries the components that this kernel can save where the frame wants its own words.
        var features = BinaryPrimitives.ReadUInt64LittleEndian(xstate[SoftwareBytesOffset..]);
        var inUse = BinaryPrimitives.ReadUInt64LittleEndian(xstate[LegacyAreaBytes..]);
        var length = xstate.Length;
        if ((features & AmxComponents) != 0 && (inUse & AmxComponents) == 0)
        {
            features &= ~AmxComponents;
            length = Math.Min(length, AmxOffset());
        }

        xstate[..length].CopyTo(fpState);
        var software = fpState.Slice(SoftwareBytesOffset, SoftwareBytesLength);
        software.Clear();
        BinaryPrimitives.WriteUInt32LittleEndian(software, FpXstateMagic1);
        BinaryPrimitives.WriteInt32LittleEndian(software[4..], length + sizeof(uint));
        Put(software, 8, features);
        BinaryPrimitives.WriteInt32LittleEndian(software[16..], length);
        BinaryPrimitives.WriteUInt32LittleEndian(fpState[length..], FpXstateMagic2);
    }

    /// <summary>Offset of the first AMX component in the standard format: CPUID leaf 0xD, sub-leaf = component, EBX.</summary>
    private static int AmxOffset() => X86Base.CpuId(0xD, AmxFirstComponent).Ebx;

    private static void Put(Span<byte> bytes, int offset, ulong value) => BinaryPrimitives.WriteUInt64LittleEndian(bytes[offset..], value);
}
