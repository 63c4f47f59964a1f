using System.Globalization;
using Snapshots.Snapshotter.Launching;

namespace Snapshots.Snapshotter.Readiness;

/// <summary><c>port:N</c>: some process in the worker's network namespace listens on TCP port N. No connection is made.</summary>
public sealed class PortReadiness(int port) : ReadinessSpec
{
    /// <summary>The kernel has no event for "a socket listens"; this is how often the table is read.</summary>
    private static readonly TimeSpan s_interval = TimeSpan.FromMilliseconds(5);
    private const string Listening = "0A";

    public override Images.V1.Readiness ToImage() => new() { Port = (uint)port };

    public override string ToString() => string.Create(CultureInfo.InvariantCulture, $"port:{port}: waits for a listening socket");

    protected override bool WaitCore(IWorker worker, Deadline deadline)
    {
        do
        {
            if (Listens(worker.HostPid, "tcp") || Listens(worker.HostPid, "tcp6"))
                return true;
        }
        while (deadline.Pause(s_interval, worker.PidFd));
        return false;
    }

    /// <summary>
    /// A line of /proc/PID/net/tcp (proc_pid_net(5)): slot, local address:port in hexadecimal, remote, state.
    /// <code>   0: 00000000:1F90 00000000:0000 0A 00000000:00000000 …</code>
    /// </summary>
    private bool Listens(int pid, string table)
    {
        var wanted = string.Create(CultureInfo.InvariantCulture, $":{port:X4}");
        string[] lines;
        try
        {
            lines = File.ReadAllLines(string.Create(CultureInfo.InvariantCulture, $"/proc/{pid}/net/{table}"));
        }
        catch (IOException)
        {
            return false; // The worker ended; the caller's pidfd says so too.
        }
        foreach (var line in lines.Skip(1))
        {
            var fields = line.Split(' ', StringSplitOptions.RemoveEmptyEntries);
            if (fields.Length > 3 && fields[3] == Listening && fields[1].EndsWith(wanted, StringComparison.Ordinal))
                return true;
        }
        return false;
    }
}
