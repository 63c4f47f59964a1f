using System.Text;
using Snapshots.Client;
using Snapshots.Linux.Syscalls;

namespace Snapshots.Host;

/// <summary>
/// The directory of one agent: its socket, lock, log, and the logs of its clones. Only its owner may enter it, since whoever reaches the
/// socket can run code as the agent does.
/// </summary>
public sealed class RunDirectory
{
    private const UnixFileMode OwnerOnly = UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute;

    private RunDirectory(string path) => Path = path;

    /// <summary>Absolute path.</summary>
    public string Path { get; }

    public string SocketPath => System.IO.Path.Combine(Path, FarmContract.SocketName);

    public string LogPath => System.IO.Path.Combine(Path, "farm.log");

    /// <summary>Held by the agent as long as it lives.</summary>
    public string LockPath => System.IO.Path.Combine(Path, "farm.lock");

    /// <summary>Held by whoever looks whether an agent runs and starts one if not.</summary>
    public string StartLockPath => System.IO.Path.Combine(Path, "start.lock");

    public string ClonesPath => System.IO.Path.Combine(Path, "clones");

    /// <summary>Names the directory without touching the disk.</summary>
    /// <exception cref="AgentException">The path leaves no room for the socket's name.</exception>
    public static RunDirectory At(string path)
    {
        var run = new RunDirectory(System.IO.Path.GetFullPath(path));
        if (Encoding.UTF8.GetByteCount(run.SocketPath) > FarmContract.MaxSocketPathBytes)
            throw new AgentException(FarmErrorCode.InvalidRequest, $"run directory {run.Path} is too long for a unix socket: use --run with a path of at most {FarmContract.MaxSocketPathBytes - FarmContract.SocketName.Length - 1} bytes");
        return run;
    }

    /// <summary>Makes the directory (mode 0700) when it is missing.</summary>
    /// <exception cref="AgentException">It exists and others may enter it.</exception>
    public void Create()
    {
        Directory.CreateDirectory(Path, OwnerOnly);
        var mode = File.GetUnixFileMode(Path);
        if ((mode & ~OwnerOnly) != 0)
            throw new AgentException(FarmErrorCode.InvalidRequest, $"run directory {Path} is open to others (mode {Convert.ToString((int)mode, 8)}): chmod 700 it, or use --run with another one");
    }

    /// <summary>Claims the directory for one agent until the handle is disposed, or the process ends in whatever way.</summary>
    /// <exception cref="AgentException">Another agent has it.</exception>
    public IDisposable Lock() => FileLock.TryAcquire(LockPath)
        ?? throw new AgentException(FarmErrorCode.InvalidRequest, $"another agent serves {Path}: use it, stop it with `snapshots serve --stop`, or use --run with another directory");

    /// <summary>Waits until nobody else is starting an agent here.</summary>
    public IDisposable LockStart() => FileLock.Acquire(StartLockPath);

    /// <summary>Waits until no agent has the directory.</summary>
    public void WaitUntilFree() => FileLock.Acquire(LockPath).Dispose();

    /// <summary>Removes what an agent that died left behind; only with <see cref="Lock"/> held.</summary>
    public void RemoveLeftovers()
    {
        File.Delete(SocketPath);
        if (Directory.Exists(ClonesPath))
            Directory.Delete(ClonesPath, recursive: true);
    }
}
