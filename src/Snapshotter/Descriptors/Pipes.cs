using Google.Protobuf;
using Snapshots.Images.V1;
using Snapshots.Linux;
using Snapshots.Linux.Syscalls;
using Snapshots.Snapshotter.Capture;
using KernelPipe = Snapshots.Linux.Syscalls.Pipe;
using Pipe = Snapshots.Images.V1.Pipe;
using ProcDescriptors = Snapshots.Linux.Proc.Descriptors;

namespace Snapshots.Snapshotter.Descriptors;

/// <summary>pipe(2): capacity, contents by tee(2), and who holds the other end.</summary>
internal sealed class Pipes(CaptureContext context)
{
    private const uint AccessMode = 3;
    private const uint WriteOnly = 1;
    private const uint Packets = 0x4000;

    private readonly Dictionary<ObjectIdentity, List<CapturedFile>> _ends = [];

    public void Capture(CapturedFile file)
    {
        if ((file.Image.StatusFlags & AccessMode) > WriteOnly)
        {
            context.Refuse(file.Subject, "a pipe opened for reading and writing at once", "Use the two ends that pipe(2) gives.");
            return;
        }
        if (!_ends.TryGetValue(file.Identity, out var ends))
            _ends.Add(file.Identity, ends = []);
        ends.Add(file);
    }

    /// <summary>Describes each pipe when all its ends inside are known.</summary>
    public void Connect()
    {
        if (_ends.Count == 0)
            return;
        var holders = FindOtherHolders();
        foreach (var ends in _ends.Values)
        {
            var pipe = new Pipe { Id = (uint)context.Image.Pipes.Count + 1 };
            context.Image.Pipes.Add(pipe);
            foreach (var end in ends)
                end.Image.Pipe = new PipeEnd { Pipe = pipe.Id, Write = IsWriter(end) };
            Describe(pipe, ends, holders[ends[0].Link]);
        }
    }

    private static bool IsWriter(CapturedFile end) => (end.Image.StatusFlags & AccessMode) == WriteOnly;

    private void Describe(Pipe pipe, List<CapturedFile> ends, List<int> holders)
    {
        var first = ends[0];
        pipe.CapacityBytes = (uint)FileControl.GetPipeCapacityBytes(first.Handle, first.Subject);
        if (holders.Count != 0)
        {
            context.Refuse(first.Subject, $"a pipe that process {string.Join(", ", holders)} holds too",
                "Launch the worker with `snapshots create` so that its stdio comes along, or close the pipe before the worker is ready.");
            return;
        }
        if (ends.Find(end => !IsWriter(end)) is { } reader)
            Copy(pipe, reader, ends.Exists(end => (end.Image.StatusFlags & Packets) != 0));
    }

    /// <summary>
    /// Processes other than the target that hold one of its pipes, by the text of the link. We ourselves hold them all while we capture.
    /// A process that we may not look into (it has privileges that we lack) is taken not to.
    /// </summary>
    private Dictionary<string, List<int>> FindOtherHolders()
    {
        var holders = _ends.Values.ToDictionary(ends => ends[0].Link, _ => new List<int>());
        foreach (var directory in Directory.EnumerateDirectories("/proc"))
        {
            if (!int.TryParse(Path.GetFileName(directory), out var pid) || pid == context.Pid || pid == Environment.ProcessId)
                continue;
            foreach (var link in LinksOf(pid).Distinct())
            {
                if (holders.TryGetValue(link, out var known))
                    known.Add(pid);
            }
        }
        return holders;
    }

    private static IEnumerable<string> LinksOf(int pid)
    {
        try
        {
            return ProcDescriptors.Read(pid).Select(descriptor => descriptor.Target);
        }
        catch (LinuxException gone) when (gone.Errno is Errno.ESRCH or Errno.ENOENT or Errno.EACCES or Errno.EPERM)
        {
            return [];
        }
    }

    /// <summary>Copies the contents by way of a pipe of ours, which must have as many buffers.</summary>
    private void Copy(Pipe pipe, CapturedFile reader, bool isPackets)
    {
        var length = FileControl.GetReadableBytes(reader.Handle, reader.Subject);
        if (length == 0)
            return;
        if (isPackets)
        {
            context.Refuse(reader.Subject, "unread packets in a pipe with O_DIRECT", "Let the worker read them before it is ready.");
            return;
        }
        var (read, write) = KernelPipe.Create("copy of a pipe");
        using var stream = new FileStream(read, FileAccess.Read, bufferSize: 0);
        using (write)
        {
            FileControl.SetPipeCapacityBytes(write, (int)pipe.CapacityBytes, "copy of a pipe");
            var copied = Tee.Copy(reader.Handle, write, length, reader.Subject);
            if (copied != length)
                throw new InvalidDataException($"{reader.Subject}: tee(2) copied {copied} of {length} bytes");
            var contents = new byte[copied];
            stream.ReadExactly(contents);
            pipe.Contents = ByteString.CopyFrom(contents);
        }
    }
}
