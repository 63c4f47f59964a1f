using System.Globalization;
using Snapshots.Linux;
using Snapshots.Tracing;

// A tracer to be killed: stops the process named by its first argument and runs system calls inside all of its threads until it is.
var pid = int.Parse(args[0], CultureInfo.InvariantCulture);
TracerThread.Run("tracer to be killed", () =>
{
    using var process = StoppedProcess.Stop(pid);
    using var memory = new TargetMemory(pid);
    using var remote = RemoteSyscalls.Open(process, memory);
    Console.WriteLine("inside");
    while (true)
    {
        foreach (var thread in process.Threads)
            remote.Require(thread, SyscallNumber.Sigaltstack, 0, remote.Data.Start.Value);
    }
});
