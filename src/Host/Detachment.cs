using Snapshots.Linux.Syscalls;

namespace Snapshots.Host;

/// <summary>How a background agent leaves the terminal and the pipes of whoever started it.</summary>
public sealed class Detachment : IDisposable
{
    private const long LogCapBytes = 8 * 1024 * 1024;
    private readonly FileStream _file;

    private Detachment(FileStream file)
    {
        _file = file;
        Log = TextWriter.Synchronized(new StreamWriter(file) { AutoFlush = true });
    }

    /// <summary>Where the agent's log goes from now on: farm.log of the run directory.</summary>
    public TextWriter Log { get; }

    /// <summary>First thing of a background agent: a signal to the starter's terminal no longer reaches it.</summary>
    public static Detachment Begin(RunDirectory run)
    {
        Session.Detach();
        run.Create();
        var mode = File.Exists(run.LogPath) && new FileInfo(run.LogPath).Length > LogCapBytes ? FileMode.Truncate : FileMode.Append;
        return new Detachment(new FileStream(run.LogPath, new FileStreamOptions
        {
            Mode = mode,
            Access = FileAccess.Write,
            Share = FileShare.ReadWrite | FileShare.Delete,
            UnixCreateMode = UnixFileMode.UserRead | UnixFileMode.UserWrite,
        }));
    }

    /// <summary>Tells the starter that the agent serves, and lets go of its pipes; what the runtime says when it crashes goes to the log.</summary>
    public void AnnounceReady()
    {
        Console.Out.WriteLine(AgentStarter.ReadyLine);
        Console.Out.Flush();
        using var nothing = File.OpenHandle("/dev/null");
        Session.Redirect(nothing, 0);
        Session.Redirect(_file.SafeFileHandle, 1);
        Session.Redirect(_file.SafeFileHandle, 2);
    }

    public void Dispose() => Log.Dispose();
}
