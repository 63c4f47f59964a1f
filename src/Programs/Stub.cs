using System.Text;
using Iced.Intel;
using Snapshots.Linux;
using static Iced.Intel.AssemblerRegisters;
using CodeLabel = Iced.Intel.Label;

namespace Snapshots.Programs;

/// <summary>
/// The interpreter that runs programs inside husks, templates and clones: a page of position-independent machine code.
/// <para>Registers: <c>rbx</c> the entry being run, <c>r12</c> the last result, <c>r13</c> the <see cref="ControlBlock"/>. There is no stack:
/// a new thread or a process whose old stack is unmapped runs it just as well, and <c>clone3</c> hands all of it to the child by copying registers.</para>
/// </summary>
public static class Stub
{
    /// <summary>First bytes of the page, by which a later freeze knows and leaves out what an earlier restore left mapped.</summary>
    public const string Magic = "SNAPSHOTS-STUB-1";

    /// <summary>Where execution enters, in bytes from the start of the page; <c>rbx</c> and <c>r13</c> must be set.</summary>
    public const ulong EntryOffset = 16;

    private static readonly Lazy<byte[]> s_code = new(Assemble);

    /// <summary>The whole page: magic, then code.</summary>
    public static ReadOnlySpan<byte> Code => s_code.Value;

    private static byte[] Assemble()
    {
        var code = new Assembler(64);
        var next = code.CreateLabel("next");
        var done = code.CreateLabel("done");
        var advance = code.CreateLabel("advance");
        var fail = code.CreateLabel("fail");
        var pseudo = code.CreateLabel("pseudo");

        code.Label(ref next);
        LoadOperands(code);
        code.mov(eax, __dword_ptr[rbx]);
        code.test(eax, eax);
        code.js(pseudo);
        code.syscall();
        code.mov(r12, rax);

        code.Label(ref done);
        StoreResult(code);
        CheckResult(code, advance, fail);

        code.Label(ref advance);
        code.add(rbx, (int)EntryLayout.SizeBytes);
        code.jmp(next);

        code.Label(ref fail);
        Fail(code, next);

        code.Label(ref pseudo);
        Pseudo(code, next, done, advance);

        using var stream = new MemoryStream();
        stream.Write(Encoding.ASCII.GetBytes(Magic));
        code.Assemble(new StreamCodeWriter(stream), rip: EntryOffset);
        return stream.ToArray();
    }

    /// <summary>rdi, rsi, rdx, r10, r8, r9 from the entry, each through memory when its kind says so.</summary>
    private static void LoadOperands(Assembler code)
    {
        code.mov(ecx, __dword_ptr[rbx + EntryLayout.Kinds]);
        var registers = new[] { rdi, rsi, rdx, r10, r8, r9 };
        for (var i = 0; i < registers.Length; i++)
            code.mov(registers[i], __qword_ptr[rbx + EntryLayout.FirstOperand + (8 * i)]);
        var literals = code.CreateLabel("literals");
        code.test(ecx, ecx);
        code.jz(literals);
        for (var i = 0; i < registers.Length; i++)
        {
            var not32 = code.CreateLabel();
            var not64 = code.CreateLabel();
            code.test(ecx, (int)OperandKind.Load32 << (2 * i));
            code.jz(not32);
            code.movsxd(registers[i], __dword_ptr[registers[i]]);
            code.Label(ref not32);
            code.test(ecx, (int)OperandKind.Load64 << (2 * i));
            code.jz(not64);
            code.mov(registers[i], __qword_ptr[registers[i]]);
            code.Label(ref not64);
        }
        code.nop(); // Iced places at most one label on an instruction.
        code.Label(ref literals);
        code.nop();
    }

    private static void StoreResult(Assembler code)
    {
        var none = code.CreateLabel();
        code.mov(rcx, __qword_ptr[rbx + EntryLayout.ResultAddress]);
        code.test(rcx, rcx);
        code.jz(none);
        code.mov(__qword_ptr[rcx], r12);
        code.Label(ref none);
        code.nop();
    }

    private static void CheckResult(Assembler code, CodeLabel advance, CodeLabel fail)
    {
        var value = code.CreateLabel();
        code.mov(edx, __dword_ptr[rbx + EntryLayout.Expectation]);
        code.cmp(edx, (int)Expectation.Anything);
        code.je(advance);
        code.ja(value);
        code.cmp(r12, -4095);
        code.jae(fail);
        code.jmp(advance);
        code.Label(ref value);
        code.cmp(r12, __qword_ptr[rbx + EntryLayout.ExpectedValue]);
        code.jne(fail);
        code.jmp(advance);
    }

    /// <summary>Notes entry and result in the control block; goes where the entry says, or reports and ends the process.</summary>
    private static void Fail(Assembler code, CodeLabel next)
    {
        var report = code.CreateLabel();
        code.mov(__qword_ptr[r13 + ControlBlock.EntryOffset], rbx);
        code.mov(__qword_ptr[r13 + ControlBlock.ResultOffset], r12);
        code.mov(rcx, __qword_ptr[rbx + EntryLayout.OnError]);
        code.test(rcx, rcx);
        code.jz(report);
        code.mov(rbx, rcx);
        code.jmp(next);
        code.Label(ref report);
        code.mov(__qword_ptr[r13 + ControlBlock.TagOffset], (int)ReportTag.Failed);
        code.mov(edi, __dword_ptr[r13 + ControlBlock.DescriptorOffset]);
        code.mov(rsi, r13);
        code.mov(edx, ControlBlock.ReportBytes);
        code.mov(eax, (int)SyscallNumber.Write);
        code.syscall();
        code.mov(edi, ControlBlock.FailureExitCode);
        code.mov(eax, (int)SyscallNumber.ExitGroup);
        code.syscall();
        code.ud2();
    }

    private static void Pseudo(Assembler code, CodeLabel next, CodeLabel done, CodeLabel advance)
    {
        var jump = code.CreateLabel();
        var jumpIfZero = code.CreateLabel();
        var jumpIfEqual = code.CreateLabel();
        var store = code.CreateLabel();
        var copy = code.CreateLabel();
        var add = code.CreateLabel();
        var leave = code.CreateLabel();
        var enter = code.CreateLabel();
        var table = new (PseudoCall Call, CodeLabel Target)[]
        {
            (PseudoCall.Jump, jump), (PseudoCall.JumpIfLastZero, jumpIfZero), (PseudoCall.JumpIfEqual, jumpIfEqual),
            (PseudoCall.Store, store), (PseudoCall.Copy, copy), (PseudoCall.AtomicAdd, add), (PseudoCall.Leave, leave),
            (PseudoCall.Enter, enter),
        };
        foreach (var (call, target) in table)
        {
            code.cmp(eax, unchecked((int)(uint)call));
            code.je(target);
        }
        code.ud2();

        code.Label(ref jumpIfZero);
        code.test(r12, r12);
        code.jnz(advance);
        code.Label(ref jump);
        code.mov(rbx, rdi);
        code.jmp(next);

        code.Label(ref jumpIfEqual);
        code.cmp(rsi, rdx);
        code.jne(advance);
        code.mov(rbx, rdi);
        code.jmp(next);

        code.Label(ref store);
        code.mov(__qword_ptr[rdi], rsi);
        code.jmp(advance);

        code.Label(ref copy);
        code.mov(rcx, rdx);
        code.cld();
        code.rep.movsb();
        code.jmp(advance);

        code.Label(ref add);
        code.@lock.xadd(__dword_ptr[rdi], esi);
        code.movsxd(r12, esi);
        code.jmp(done);

        code.Label(ref enter);
        code.mov(rbx, rdi);
        code.mov(r13, rdx);
        code.add(rsi, (int)EntryOffset);
        code.jmp(rsi);

        code.Label(ref leave);
        Leave(code);
    }

    /// <summary>The last thread out unmaps the program; every thread leaves by rt_sigreturn on its own frame.</summary>
    private static void Leave(Assembler code)
    {
        var notLast = code.CreateLabel();
        code.mov(r14, rdi);
        code.@lock.dec(__dword_ptr[rsi]);
        code.jnz(notLast);
        code.mov(rdi, rdx);
        code.mov(rsi, r10);
        code.mov(eax, (int)SyscallNumber.Munmap);
        code.syscall();
        code.Label(ref notLast);
        code.mov(rsp, r14);
        code.mov(eax, (int)SyscallNumber.RtSigreturn);
        code.syscall();
        code.ud2();
    }
}
