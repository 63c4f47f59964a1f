using Snapshots.Linux;
using Snapshots.Linux.Layouts;
using Snapshots.Linux.Proc;
using Snapshots.Linux.Syscalls;
using Snapshots.TestTargets;
using Xunit;

namespace Snapshots.Tracing.Tests;

public sealed class StopTests
{
    [Fact]
    public void Stopping_and_system_calls_inside_leave_no_mark()
    {
        using var target = SelfCheckingProgram.Start();
        SelfCheckingProgram.AskAfterMoreSpins(target);
        for (var round = 0; round < 20; round++)
        {
            TracerThread.Run("test", () =>
            {
                using var process = StoppedProcess.Stop(target.Pid);
                Assert.Equal(5, process.Threads.Count);
                using var memory = new TargetMemory(target.Pid);
                using var remote = RemoteSyscalls.Open(process, memory);
                foreach (var thread in process.Threads)
                    Assert.Equal((ulong)thread.Tid, remote.Require(thread, SyscallNumber.Gettid));
                Assert.Equal(-(long)Errno.EBADF, remote.Call(process.MainThread, SyscallNumber.Close, 12345));
                remote.Close();
            });
            SelfCheckingProgram.Ask(target);
        }

        var (wrong, early, _) = SelfCheckingProgram.AskAfterMoreSpins(target);
        Assert.Equal(0, wrong);
        Assert.Equal(0, early);
    }

    [Fact]
    public void Scratch_memory_is_gone_afterwards()
    {
        using var target = SelfCheckingProgram.Start();
        SelfCheckingProgram.Ask(target);
        var before = MapsOf(target.Pid);
        TracerThread.Run("test", () =>
        {
            using var process = StoppedProcess.Stop(target.Pid);
            using var memory = new TargetMemory(target.Pid);
            using (var remote = RemoteSyscalls.Open(process, memory))
                Assert.NotEqual(before, MapsOf(target.Pid));
            Assert.Equal(before, MapsOf(target.Pid));
        });
    }

    [Fact]
    public void Registers_and_masks_are_those_of_before()
    {
        using var target = SelfCheckingProgram.Start();
        SelfCheckingProgram.Ask(target);
        TracerThread.Run("test", () =>
        {
            using var process = StoppedProcess.Stop(target.Pid);
            using var memory = new TargetMemory(target.Pid);
            var before = process.Threads.Select(StateOf).ToList();
            using (var remote = RemoteSyscalls.Open(process, memory))
            {
                foreach (var thread in process.Threads)
                    remote.Require(thread, SyscallNumber.Getpid);
            }

            Assert.Equal(before, process.Threads.Select(StateOf).ToList());
        });
    }

    /// <summary>
    /// All of a thread that is its own. Left out is XSTATE_BV, which says of each component whether it is in use: a processor may stop calling one so
    /// whose registers are all zero, and the regset holds zeros for it either way.
    /// </summary>
    private static (UserRegisters Registers, ulong SignalMask, string Xstate) StateOf(Tracee thread)
    {
        const int XstateBvOffset = 512;
        var xstate = thread.ReadXstate();
        xstate.AsSpan(XstateBvOffset, sizeof(ulong)).Clear();
        return (thread.ReadRegisters(), thread.ReadSignalMask(), Convert.ToHexString(xstate));
    }

    [Fact]
    public void A_process_that_job_control_stopped_stays_stopped_until_continued()
    {
        using var target = SelfCheckingProgram.Start();
        SelfCheckingProgram.Ask(target);
        Assert.Equal(Errno.None, ThreadSignal.SendToProcess(target.Pid, ThreadSignal.SIGSTOP));
        TracerThread.Run("test", () =>
        {
            using var process = StoppedProcess.Stop(target.Pid);
            using var memory = new TargetMemory(target.Pid);
            using var remote = RemoteSyscalls.Open(process, memory);
            Assert.Equal((ulong)target.Pid, remote.Require(process.MainThread, SyscallNumber.Getpid));
        });
        Assert.True(SpinWait.SpinUntil(() => ProcStatus.Read(target.Pid).State == 'T', TimeSpan.FromSeconds(5)));
        Assert.Equal(Errno.None, ThreadSignal.SendToProcess(target.Pid, ThreadSignal.SIGCONT));
        Assert.Equal(0, SelfCheckingProgram.AskAfterMoreSpins(target).Wrong);
    }

    [Fact]
    public void Signals_that_arrive_meanwhile_are_delivered()
    {
        using var target = TestTarget.C("""
            #include <signal.h>
            #include <stdio.h>
            static volatile sig_atomic_t count;
            static void more(int signal) { count++; }
            int main(void) {
                char line[64];
                struct sigaction action = { .sa_handler = more, .sa_flags = SA_RESTART };
                sigaction(SIGRTMIN, &action, 0);
                puts("ready"); fflush(stdout);
                while (fgets(line, sizeof line, stdin)) { printf("%d\n", (int)count); fflush(stdout); }
            }
            """);
        const int SIGRTMIN = 34;
        for (var round = 0; round < 10; round++)
        {
            TracerThread.Run("test", () =>
            {
                Assert.Equal(Errno.None, ThreadSignal.SendToProcess(target.Pid, SIGRTMIN));
                using var process = StoppedProcess.Stop(target.Pid);
                using var memory = new TargetMemory(target.Pid);
                using var remote = RemoteSyscalls.Open(process, memory);
                Assert.Equal(Errno.None, ThreadSignal.SendToProcess(target.Pid, SIGRTMIN));
                remote.Require(process.MainThread, SyscallNumber.Getpid);
                Assert.Contains(process.MainThread.ReadPendingSignalsOfProcess(), signal => BitConverter.ToInt32(signal) == SIGRTMIN);
            });
        }

        target.WriteLine("?");
        Assert.Equal("20", target.ReadLine());
    }

    [Fact]
    public void A_second_tracer_is_told_of_the_first()
    {
        using var target = SelfCheckingProgram.Start();
        SelfCheckingProgram.Ask(target);
        TracerThread.Run("first", () =>
        {
            using var process = StoppedProcess.Stop(target.Pid);
            var refused = Assert.Throws<TracingException>(() => TracerThread.Run("second", () => StoppedProcess.Stop(target.Pid).Dispose()));
            Assert.Equal(TracingFailure.AlreadyTraced, refused.Failure);
        });
        SelfCheckingProgram.AskAfterMoreSpins(target);
    }

    [Fact]
    public void A_process_that_is_not_there_cannot_be_stopped()
    {
        var refused = Assert.Throws<TracingException>(() => TracerThread.Run("test", () => StoppedProcess.Stop(int.MaxValue).Dispose()));
        Assert.Equal(TracingFailure.TargetGone, refused.Failure);
    }

    private static List<string> MapsOf(int pid) => [.. Maps.Read(pid).Select(map => $"{map.Range} {map.Protection} {map.Path}")];
}
