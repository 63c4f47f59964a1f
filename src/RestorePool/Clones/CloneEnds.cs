using Microsoft.Win32.SafeHandles;
using Snapshots.Images.V1;
using Snapshots.Linux.Syscalls;
using Snapshots.RestorePool.Programs;

namespace Snapshots.RestorePool.Clones;

/// <summary>The pipes and sockets between the farm and one clone: the clone's ends go with the order, ours stay with the <see cref="Clone"/>.</summary>
internal sealed class CloneEnds : IDisposable
{
    private readonly List<SafeFileHandle> _theirs = [];
    private readonly Dictionary<ExternalRole, SafeFileHandle> _ours = [];

    /// <summary>The clone's ends in the order of the slots.</summary>
    public IReadOnlyList<SafeFileHandle> Theirs => _theirs;

    public static CloneEnds Create(IReadOnlyList<ExternalSlot> slots, string cloneId)
    {
        var ends = new CloneEnds();
        try
        {
            foreach (var slot in slots)
                ends.Add(slot, cloneId);
            return ends;
        }
        catch
        {
            ends.Dispose();
            throw;
        }
    }

    /// <summary>Our end of the external with <paramref name="role"/>, which the caller now owns; null when the snapshot has none.</summary>
    public SafeFileHandle? Take(ExternalRole role) => _ours.Remove(role, out var handle) ? handle : null;

    /// <summary>Writes to our end before the clone exists; the line waits in the socket.</summary>
    public void WriteToChannel(ReadOnlySpan<byte> line)
    {
        if (!_ours.TryGetValue(ExternalRole.Channel, out var channel))
            return;
        var errno = SocketMessage.Send(channel, line);
        if (errno != Linux.Errno.None)
            throw new Linux.LinuxException("sendmsg", errno, "channel of a new clone");
    }

    /// <summary>Closes the clone's ends, and ours as far as nobody took them.</summary>
    public void Dispose()
    {
        _theirs.ForEach(handle => handle.Dispose());
        _theirs.Clear();
        foreach (var handle in _ours.Values)
            handle.Dispose();
        _ours.Clear();
    }

    private void Add(ExternalSlot slot, string cloneId)
    {
        switch (slot.Kind)
        {
            case ExternalKind.ExternalNull:
                _theirs.Add(File.OpenHandle("/dev/null", FileMode.Open, slot.Role == ExternalRole.Stdin ? FileAccess.Read : FileAccess.ReadWrite, FileShare.ReadWrite));
                break;
            case ExternalKind.ExternalSocket:
                Add(slot.Role, SocketPair.Stream(cloneId));
                break;
            case ExternalKind.ExternalPipe:
                var (read, write) = Linux.Syscalls.Pipe.Create(cloneId);
                Add(slot.Role, slot.Role == ExternalRole.Stdin ? (write, read) : (read, write));
                break;
            default:
                throw new RestoreUnsupportedException($"external {slot.Role} of kind {slot.Kind} is unknown to this version");
        }
    }

    private void Add(ExternalRole role, (SafeFileHandle Ours, SafeFileHandle Theirs) pair)
    {
        _theirs.Add(pair.Theirs);
        if (!_ours.TryAdd(role, pair.Ours))
        {
            pair.Ours.Dispose();
            throw new RestoreUnsupportedException($"the snapshot has two different externals of role {role}; redirect one of them before the snapshot");
        }
    }
}
