using Snapshots.Images.V1;
using Snapshots.Linux;
using Snapshots.Programs;

namespace Snapshots.RestorePool.Programs;

/// <summary>
/// Writes entries that change the descriptor table and keeps the simulated table in step. Knows which file is wanted at which number and
/// brings files there with as few calls as it can: files are created in the order of their lowest wanted number, so most land in place;
/// one that lands in a gap is duplicated to its place and its first number stays open until the end, where it fills the gap for those behind it.
/// </summary>
internal sealed class DescriptorScript
{
    /// <summary>O_CLOEXEC, EFD_CLOEXEC, EPOLL_CLOEXEC, TFD_CLOEXEC, SFD_CLOEXEC, IN_CLOEXEC and SOCK_CLOEXEC are one value.</summary>
    public const uint CloseOnExecFlag = 0x80000;

    private const long Engine = long.MinValue;
    private const int FcntlSetDescriptorFlags = 2;
    private const int FcntlSetStatusFlags = 4;
    private const int CloseOnExecDescriptorFlag = 1;

    private readonly SortedDictionary<int, DescriptorEntry> _wanted = [];
    private readonly ILookup<uint, DescriptorEntry> _wantedOf;
    private readonly Dictionary<uint, OpenFile> _files = [];
    private readonly int _controlDescriptor;
    private long _nextToken = -1;

    public DescriptorScript(ProgramBuilder builder, ProcessImage process, int controlDescriptor)
    {
        Builder = builder;
        _controlDescriptor = controlDescriptor;
        foreach (var file in process.OpenFiles)
            _files.Add(file.Id, file);
        foreach (var entry in process.Descriptors)
            Want(entry);
        _wantedOf = process.Descriptors.OrderBy(entry => entry.Fd).ToLookup(entry => entry.OpenFile);
        Table.Preset(controlDescriptor, Engine, closeOnExec: true);
    }

    public ProgramBuilder Builder { get; }

    public DescriptorTableSimulator Table { get; } = new();

    private void Want(DescriptorEntry entry)
    {
        if (entry.Fd >= (uint)_controlDescriptor)
            throw new InvalidDataException($"fd {entry.Fd} lies at or above the engine's control descriptor {_controlDescriptor}");
        if (!_files.ContainsKey(entry.OpenFile))
            throw new InvalidDataException($"fd {entry.Fd} refers to open file {entry.OpenFile}, which the image does not have");
        if (!_wanted.TryAdd((int)entry.Fd, entry))
            throw new InvalidDataException($"fd {entry.Fd} is in the image twice");
    }

    public OpenFile File(uint id) => _files.TryGetValue(id, out var file) ? file : throw new InvalidDataException($"the image has no open file {id}");

    /// <summary>The numbers <paramref name="file"/> is wanted at, ascending.</summary>
    public IEnumerable<DescriptorEntry> WantedOf(uint file) => _wantedOf[file];

    /// <summary>True when <paramref name="file"/> exists already.</summary>
    public bool IsCreated(long file) => Table.NumbersOf(file).Count != 0;

    /// <summary>A number at which <paramref name="file"/> is open now.</summary>
    public int NumberOf(uint file)
    {
        var numbers = Table.NumbersOf(file);
        return numbers.Count != 0 ? numbers[0] : throw new InvalidDataException($"open file {file} ({File(file).Description}) is needed before it exists");
    }

    /// <summary>Names the object for error reports: "fd 7 (/var/log/app.log)".</summary>
    public string SubjectOf(OpenFile file)
    {
        var first = _wantedOf[file.Id].FirstOrDefault();
        return first is null ? $"open file {file.Id} ({file.Description})" : $"fd {first.Fd} ({file.Description})";
    }

    /// <summary>A name for a descriptor that is needed only while the program runs.</summary>
    public long NewTemporary() => _nextToken--;

    /// <summary>Whether the next descriptor, when it is <paramref name="file"/>'s, is to be made close-on-exec.</summary>
    public bool NextIsCloseOnExec(uint file) => IsCloseOnExecAt(Table.LowestFree, file);

    /// <summary><see cref="CloseOnExecFlag"/> or 0 for the call that creates <paramref name="file"/> next.</summary>
    public uint NextFlag(uint file) => NextIsCloseOnExec(file) ? CloseOnExecFlag : 0;

    /// <summary>Whether <paramref name="file"/> at <paramref name="number"/> is in place and wanted close-on-exec there.</summary>
    public bool IsCloseOnExecAt(int number, uint file) => _wanted.TryGetValue(number, out var entry) && entry.OpenFile == file && entry.CloseOnExec;

    /// <summary>Tells the script that <paramref name="entry"/> creates <paramref name="file"/>; makes the entry verify the number, and returns it.</summary>
    public int Created(Entry entry, long file, bool closeOnExec)
    {
        var number = Table.Open(file, closeOnExec);
        entry.ExpectValue(number);
        return number;
    }

    /// <summary>Tells the script that the last entry created two files (pipe2, socketpair), <paramref name="first"/> at the lower number.</summary>
    public (int First, int Second) CreatedPair(long first, long second, bool closeOnExec) =>
        (Table.Open(first, closeOnExec), Table.Open(second, closeOnExec));

    /// <summary>Makes the given number, which must be open, refer to nothing.</summary>
    public void Close(int number, string subject)
    {
        Builder.Syscall(SyscallNumber.Close, subject, number);
        Table.Close(number);
    }

    /// <summary>dup3(2), or nothing when both numbers are the same.</summary>
    public void Duplicate(int from, int to, bool closeOnExec, string subject)
    {
        if (to == _controlDescriptor)
            throw new InvalidDataException($"{subject}: number {to} is the engine's control descriptor");
        Builder.Syscall(SyscallNumber.Dup3, subject, from, to, closeOnExec ? CloseOnExecFlag : 0).ExpectValue(to);
        Table.Duplicate(from, to, closeOnExec);
    }

    /// <summary>fcntl(F_SETFL).</summary>
    public void SetStatusFlags(int number, uint flags, string subject) =>
        Builder.Syscall(SyscallNumber.Fcntl, subject, number, FcntlSetStatusFlags, flags);

    /// <summary>
    /// Brings a created file to every number it is wanted at, and frees the number it was created at when a file that is still to be created
    /// waits for that; one that exists already will be duplicated over it.
    /// </summary>
    public void Place(uint file)
    {
        var subject = SubjectOf(File(file));
        foreach (var want in _wantedOf[file])
            PlaceAt(file, want, subject);
        foreach (var number in Table.NumbersOf(file))
        {
            if (_wanted.TryGetValue(number, out var waiting) && waiting.OpenFile != file && !IsCreated(waiting.OpenFile))
                Close(number, subject);
        }
    }

    private void PlaceAt(uint file, DescriptorEntry want, string subject)
    {
        var number = (int)want.Fd;
        if (Table.FileAt(number) != file)
        {
            SaveOccupant(number);
            Duplicate(NumberOf(file), number, want.CloseOnExec, subject);
        }
        else if (Table.IsCloseOnExec(number) != want.CloseOnExec)
        {
            Builder.Syscall(SyscallNumber.Fcntl, subject, number, FcntlSetDescriptorFlags, want.CloseOnExec ? CloseOnExecDescriptorFlag : 0);
            Table.SetCloseOnExec(number, want.CloseOnExec);
        }
    }

    /// <summary>When <paramref name="number"/> holds the only descriptor of a file, gives that file another one at the lowest free number.</summary>
    private void SaveOccupant(int number)
    {
        if (Table.FileAt(number) is not { } occupant || Table.NumbersOf(occupant).Count > 1)
            return;
        Created(Builder.Syscall(SyscallNumber.Dup, $"fd {number}", number), occupant, closeOnExec: false);
    }

    /// <summary>
    /// Runs <paramref name="emit"/> while <paramref name="file"/> is open at <paramref name="number"/>, and puts back what was there.
    /// A number that nobody wants keeps the duplicate until <see cref="CloseLeftovers"/>.
    /// </summary>
    public void WithFileAt(uint file, int number, string subject, Action emit)
    {
        if (Table.FileAt(number) == file)
        {
            emit();
            return;
        }
        SaveOccupant(number);
        var displaced = _wanted.GetValueOrDefault(number);
        Duplicate(NumberOf(file), number, closeOnExec: false, subject);
        emit();
        if (displaced is not null)
            PlaceAt(displaced.OpenFile, displaced, subject);
    }

    /// <summary>Closes every number that the application does not know, in as few calls as possible; the control descriptor stays.</summary>
    public void CloseLeftovers()
    {
        var leftovers = Table.OpenNumbers.Where(number => number != _controlDescriptor && !_wanted.ContainsKey(number)).ToList();
        for (var i = 0; i < leftovers.Count;)
        {
            var last = i;
            while (last + 1 < leftovers.Count && !IsAnyoneBetween(leftovers[last], leftovers[last + 1]))
                last++;
            CloseRun(leftovers[i], leftovers[last]);
            i = last + 1;
        }
    }

    private bool IsAnyoneBetween(int low, int high) =>
        Table.OpenNumbers.Any(number => number > low && number < high);

    private void CloseRun(int first, int last)
    {
        const string Subject = "descriptors that only the program needed";
        if (first == last)
        {
            Close(first, Subject);
            return;
        }
        Builder.Syscall(SyscallNumber.CloseRange, Subject, first, last, 0);
        foreach (var number in Table.OpenNumbers.Where(number => number >= first && number <= last).ToList())
            Table.Close(number);
    }

    /// <summary>Fails compilation when the simulated table is not exactly the wanted one.</summary>
    public void Verify()
    {
        foreach (var (number, want) in _wanted)
        {
            if (Table.FileAt(number) != want.OpenFile || Table.IsCloseOnExec(number) != want.CloseOnExec)
                throw new InvalidOperationException($"fd {number} ended up wrong in the simulated table");
        }
        if (Table.OpenNumbers.Count != _wanted.Count + 1)
            throw new InvalidOperationException("the simulated table ended up with descriptors that the application does not know");
    }
}
