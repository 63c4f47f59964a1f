namespace Snapshots.Programs;

/// <summary>What the stub does itself, beside system calls. The top bit tells it from a <see cref="Linux.SyscallNumber"/>.</summary>
public enum PseudoCall : uint
{
    /// <summary>Continue at entry address operand 0.</summary>
    Jump = 0x8000_0000,

    /// <summary>Continue at entry address operand 0 when the last result in this thread is zero (which side of clone3 am I).</summary>
    JumpIfLastZero = 0x8000_0001,

    /// <summary>Continue at entry address operand 0 when operands 1 and 2 are equal.</summary>
    JumpIfEqual = 0x8000_0002,

    /// <summary>Store operand 1 as a 64-bit word at address operand 0.</summary>
    Store = 0x8000_0003,

    /// <summary>Copy operand 2 bytes from address operand 1 to address operand 0.</summary>
    Copy = 0x8000_0004,

    /// <summary>Atomically add operand 1 to the 32-bit word at address operand 0; the result is the old value.</summary>
    AtomicAdd = 0x8000_0005,

    /// <summary>
    /// Leave for application code: decrement the 32-bit counter at operand 1 and, when it reached zero, munmap operand 3 bytes at operand 2;
    /// then rt_sigreturn on the frame at operand 0.
    /// </summary>
    Leave = 0x8000_0006,

    /// <summary>
    /// Continue in another program with another copy of the stub: at entry address operand 0, with the stub's page at operand 1 and the control block at
    /// operand 2. The memory of the program before may be unmapped afterwards.
    /// </summary>
    Enter = 0x8000_0007,
}
