using System.Text;
using Snapshots.Images.V1;
using Snapshots.Linux;
using Snapshots.Programs;

namespace Snapshots.RestorePool.Programs;

/// <summary>
/// Gives sockets the path names they were bound to without touching the file system that clones share. A file can be bound once; so each
/// clone binds in a file system of its own and mounts the socket over the path, in its own mount namespace:
/// <code>
/// 1. Make a tmpfs that is mounted nowhere.
/// 2. Per socket: enter it as root directory, make the parents of the path, bind (the kernel keeps the very name, getsockname tells it),
///    take a mount of the socket file alone, and come back.
/// 3. Put that mount over the path, where the frozen worker's own stale socket lies; when it was removed, the engine has put a file there
///    (<see cref="Clones.SocketPlaceholders"/>).
/// </code>
/// The socket is then reachable inside the clone, and from outside by <c>/proc/PID/root</c>. Needs Linux 6.15: older kernels cannot take a
/// mount out of one that is mounted nowhere.
/// </summary>
internal sealed class PrivateSocketPaths(DescriptorScript script)
{
    private const int CurrentDirectory = -100;
    private const uint FsOpenCloseOnExec = 1;
    private const uint FsConfigCreate = 6;
    private const uint FsMountCloseOnExec = 1;
    private const uint OpenTreeClone = 1;
    private const uint MoveMountEmptyPath = 4;
    private const uint DirectoryPath = OpenFlags.Path | 0x10000 | DescriptorScript.CloseOnExecFlag;
    private const uint DirectoryMode = 0x1ed; // 0755

    private readonly List<Binding> _bindings = [];

    private sealed record Binding(uint File, byte[] Path, uint? Backlog, string Subject);

    /// <summary>The paths that sockets of <paramref name="process"/> are bound to.</summary>
    public static IReadOnlyList<string> Of(ProcessImage process) =>
        [.. process.OpenFiles.Where(file => IsPath(file.UnixSocket)).Select(file => Encoding.UTF8.GetString(file.UnixSocket.Name.Span)).Distinct(StringComparer.Ordinal)];

    /// <summary>Whether <paramref name="socket"/> has a name in the file system: abstract ones begin with NUL, and pairs have none.</summary>
    public static bool IsPath(UnixSocket? socket) => socket is { Name: { IsEmpty: false } name } && name[0] != 0;

    /// <summary>Remembers a socket that is to be bound to <paramref name="path"/>, and to listen when it has a backlog.</summary>
    public void Add(uint file, ReadOnlySpan<byte> path, uint? backlog, string subject) => 
        _bindings.Add(new Binding(file, path.ToArray(), backlog, $"{subject} at {Encoding.UTF8.GetString(path)}"));

    /// <summary>Binds all remembered sockets, when every open file is in place; the few helpers stay for <see cref="DescriptorScript.CloseLeftovers"/>.</summary>
    public void Compile()
    {
        if (_bindings.Count == 0)
            return;
        const string Subject = "file system for socket files";
        var builder = script.Builder;
        var context = Helper(builder.Syscall(SyscallNumber.Fsopen, Subject, builder.Text("tmpfs"), FsOpenCloseOnExec));
        builder.Syscall(SyscallNumber.Fsconfig, Subject, context, FsConfigCreate, 0, 0, 0);
        var mount = Helper(builder.Syscall(SyscallNumber.Fsmount, Subject, context, FsMountCloseOnExec, 0));
        var root = OpenDirectory("/");
        var workingDirectory = OpenDirectory(".");
        var parents = new HashSet<string>(StringComparer.Ordinal);
        foreach (var binding in _bindings)
            Bind(binding, mount, root, workingDirectory, parents);
    }

    private int Helper(Entry entry) => script.Created(entry, script.NewTemporary(), closeOnExec: true);

    private int OpenDirectory(string path) =>
        Helper(script.Builder.Syscall(SyscallNumber.Openat, path, CurrentDirectory, script.Builder.Text(path), DirectoryPath, 0));

    private void Bind(Binding binding, int mount, int root, int workingDirectory, HashSet<string> parents)
    {
        var builder = script.Builder;
        var text = Encoding.UTF8.GetString(binding.Path);
        var path = builder.Text(text);
        var here = builder.Text(".");
        builder.Syscall(SyscallNumber.Fchdir, binding.Subject, mount);
        builder.Syscall(SyscallNumber.Chroot, binding.Subject, here);
        MakeParents(text, parents, binding.Subject);
        SocketCreation.Bind(script, script.NumberOf(binding.File), SocketAddress.ForUnix(binding.Path), binding.Subject);
        var tree = Helper(builder.Syscall(SyscallNumber.OpenTree, binding.Subject, CurrentDirectory, path, OpenTreeClone | DescriptorScript.CloseOnExecFlag));
        builder.Syscall(SyscallNumber.Fchdir, binding.Subject, root);
        builder.Syscall(SyscallNumber.Chroot, binding.Subject, here);
        builder.Syscall(SyscallNumber.Fchdir, binding.Subject, workingDirectory);
        builder.Syscall(SyscallNumber.MoveMount, binding.Subject, tree, builder.Text(""), CurrentDirectory, path, MoveMountEmptyPath);
        if (binding.Backlog is { } backlog)
            SocketCreation.Listen(script, script.NumberOf(binding.File), backlog, binding.Subject);
    }

    private void MakeParents(string path, HashSet<string> parents, string subject)
    {
        for (var slash = path.IndexOf('/', 1); slash > 0; slash = path.IndexOf('/', slash + 1))
        {
            if (parents.Add(path[..slash]))
                script.Builder.Syscall(SyscallNumber.Mkdirat, subject, CurrentDirectory, script.Builder.Text(path[..slash]), DirectoryMode);
        }
    }
}
