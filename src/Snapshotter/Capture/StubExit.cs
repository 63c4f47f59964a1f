using System.Diagnostics;
using System.Text;
using Snapshots.AddressSpace;
using Snapshots.Programs;
using Snapshots.Tracing;

namespace Snapshots.Snapshotter.Capture;

/// <summary>
/// Stops a process that may be a clone in its first moments: its first thread runs application code while others are still on their way out of
/// the stub, which an image leaves out. Such threads are let go and stopped again; they need microseconds.
/// </summary>
internal static class StubExit
{
    /// <exception cref="TracingException">It cannot be traced or stopped, or a thread stays in the stub: its clone never came to its start.</exception>
    public static StoppedProcess Stop(int pid)
    {
        var started = Stopwatch.GetTimestamp();
        for (var round = 0; ; round++)
        {
            var process = StoppedProcess.Stop(pid);
            try
            {
                if (ThreadInStub(process) is not { } thread)
                    return process;
                if (Stopwatch.GetElapsedTime(started) > StoppedProcess.StopTimeout)
                    throw new TracingException(TracingFailure.CannotStop, $"thread {thread} of pid {pid} has not come to its start: it is no running clone; snapshot it once it runs");
            }
            catch
            {
                process.Dispose();
                throw;
            }
            process.Dispose();
            // A thread leaves without a sign to us; as long as it is about to, it needs no more than its turn on a processor.
            if (round < 100)
                Thread.Yield();
            else
                Thread.Sleep(1);
        }
    }

    private static int? ThreadInStub(StoppedProcess process)
    {
        using var memory = new TargetMemory(process.Pid);
        Span<byte> start = stackalloc byte[Stub.Magic.Length];
        var magic = Encoding.ASCII.GetBytes(Stub.Magic);
        foreach (var thread in process.Threads)
        {
            try
            {
                memory.Read(new VirtualAddress(thread.ReadRegisters().Rip).AlignDown(PageSize.Bytes), start);
            }
            catch (IOException)
            {
                continue; // It stands on a page that does not exist, so not on ours.
            }
            if (start.SequenceEqual(magic))
                return thread.Tid;
        }
        return null;
    }
}
