using Snapshots.Linux.Syscalls;

namespace Snapshots.Host;

/// <summary>How a background agent leaves the terminal and the pipes of whoever started it.</summary>
public static class Detachment
{
    private const long LogCapBytes = 8 * 1024 * 1024;

    /// <summary>First thing in the process: a signal to the starter's terminal no longer reaches it.</summary>
    public static void LeaveSession() => Session.Detach();

    /// <summary>Tells the starter that the agent serves, then sends what follows to the log and reads nothing.</summary>
    public static void AnnounceReady(RunDirectory run)
    {
        Console.Out.WriteLine(AgentStarter.ReadyLine);
        Console.Out.Flush();
        var mode = File.Exists(run.LogPath) && new FileInfo(run.LogPath).Length > LogCapBytes ? FileMode.Truncate : FileMode.Append;
        using var log = new FileStream(run.LogPath, new FileStreamOptions
        {
            Mode = mode,
            Access = FileAccess.Write,
            Share = FileShare.ReadWrite | FileShare.Delete,
            UnixCreateMode = UnixFileMode.UserRead | UnixFileMode.UserWrite,
        });
        using var nothing = File.OpenHandle("/dev/null");
        Session.Redirect(nothing, 0);
        Session.Redirect(log.SafeFileHandle, 1);
        Session.Redirect(log.SafeFileHandle, 2);
    }
}
