using System.Buffers.Binary;
using System.Text;
using Snapshots.AddressSpace;
using Snapshots.Linux;
using Snapshots.Programs;
using Xunit;

namespace Snapshots.RestorePool.Tests.Descriptors;

/// <summary>
/// Interprets the entries of a descriptor program on a small model of the kernel's descriptor table, written apart from the compiler's own
/// simulator: it knows what a call does to the table, what it returns, and refuses what the kernel would refuse.
/// </summary>
/// <param name="message">What the start order brings.</param>
internal sealed class ModelKernel(RestoreProgram program, IReadOnlyList<ModelKernel.Description> message)
{
    /// <summary>An open file description.</summary>
    internal sealed class Description(string kind)
    {
        public string Kind { get; } = kind;

        public uint StatusFlags { get; set; }

        public List<(int Fd, Description Watched, ulong Data)> Interests { get; } = [];

        public Description? Peer { get; set; }

        public List<byte> Received { get; } = [];
    }

    private const uint CloseOnExec = 0x80000;

    public SortedDictionary<int, (Description Description, bool CloseOnExec)> Table { get; } = [];

    public int Calls { get; private set; }

    /// <summary>Those behind the arrival of the externals, for which somebody waits.</summary>
    public int CallsAfterArrival { get; private set; }

    public void Run()
    {
        foreach (var entry in program.Entries)
        {
            Assert.True(entry.IsSyscall, $"unexpected {entry.OperationName}");
            var result = Execute(entry, [.. entry.Operands.Select(operand => operand.Value)]);
            Calls++;
            CallsAfterArrival++;
            Assert.True(result >= 0, $"{entry.OperationName} on {entry.Subject} failed in the model: {result}");
            if (entry.Expectation == Expectation.Value)
                Assert.Equal((long)entry.ExpectedValue, result);
        }
    }

    private long Execute(Entry entry, ulong[] a)
    {
        switch ((SyscallNumber)entry.Operation)
        {
            case SyscallNumber.Openat: return OpenPath(Text(a[1]), (uint)a[2]);
            case SyscallNumber.Eventfd2: return Open(new Description($"eventfd {a[0]}") { StatusFlags = (uint)a[1] & 0x800 }, (uint)a[1]);
            case SyscallNumber.EpollCreate1: return Open(new Description("epoll"), (uint)a[0]);
            case SyscallNumber.MemfdCreate: return Open(new Description($"memfd {Text(a[0])}") { StatusFlags = 2 }, (a[1] & 1) != 0 ? CloseOnExec : 0);
            case SyscallNumber.Pipe2: return OpenPair(new Description("pipe read"), new Description("pipe write"), (uint)a[1]);
            case SyscallNumber.Socketpair: return OpenPair(new Description("socket"), new Description("socket"), (uint)a[1]);
            case SyscallNumber.Recvmsg: return Receive();
            case SyscallNumber.Dup: return Table.TryGetValue((int)a[0], out var duplicated) ? Open(duplicated.Description, 0) : -9;
            case SyscallNumber.Dup3: return Duplicate((int)a[0], (int)a[1], (uint)a[2]);
            case SyscallNumber.Close: return Table.Remove((int)a[0]) ? 0 : -9;
            case SyscallNumber.CloseRange: return CloseRange((int)a[0], (int)a[1]);
            case SyscallNumber.Fcntl: return Fcntl((int)a[0], (int)a[1], (uint)a[2]);
            case SyscallNumber.EpollCtl: return AddInterest((int)a[0], (int)a[1], (int)a[2], a[3]);
            case SyscallNumber.Write: return Send(At(a[0]).Peer!, a[1], a[2]);
            case SyscallNumber.Sendto: return Send(At(a[0]).Peer!, a[1], a[2]);
            case SyscallNumber.Lseek: return Table.ContainsKey((int)a[0]) ? (long)a[1] : -9;
            case SyscallNumber.Ftruncate: return Table.ContainsKey((int)a[0]) ? 0 : -9;
            default: throw new NotSupportedException($"the model does not know {entry.OperationName}");
        }
    }

    private int Receive()
    {
        foreach (var description in message)
            Open(description, 0);
        CallsAfterArrival = -1; // This one not.
        return sizeof(ulong);
    }

    private Description At(ulong number) => Table[(int)number].Description;

    private long OpenPath(string path, uint flags)
    {
        const string Own = "/proc/self/fd/";
        if (!path.StartsWith(Own, StringComparison.Ordinal))
            return Open(new Description($"file {path}") { StatusFlags = flags & ~CloseOnExec }, flags);
        var original = At(ulong.Parse(path.AsSpan(Own.Length)));
        return Open(new Description(original.Kind) { StatusFlags = flags & ~CloseOnExec, Peer = original.Peer }, flags);
    }

    private int Open(Description description, uint flags)
    {
        var number = 0;
        while (Table.ContainsKey(number))
            number++;
        Table.Add(number, (description, (flags & CloseOnExec) != 0));
        return number;
    }

    private long OpenPair(Description first, Description second, uint flags)
    {
        (first.Peer, second.Peer) = (second, first);
        first.StatusFlags = second.StatusFlags = flags & 0x800;
        Open(first, flags);
        Open(second, flags);
        return 0;
    }

    private long Duplicate(int from, int to, uint flags)
    {
        if (from == to || !Table.TryGetValue(from, out var slot))
            return -22;
        Table[to] = (slot.Description, (flags & CloseOnExec) != 0);
        return to;
    }

    private long CloseRange(int first, int last)
    {
        foreach (var number in Table.Keys.Where(number => number >= first && number <= last).ToList())
            Table.Remove(number);
        return 0;
    }

    private long Fcntl(int number, int command, uint argument)
    {
        if (!Table.TryGetValue(number, out var slot))
            return -9;
        if (command == 2)
            Table[number] = (slot.Description, argument == 1);
        else if (command == 4)
            slot.Description.StatusFlags = argument;
        else
            throw new NotSupportedException($"the model does not know fcntl {command}");
        return 0;
    }

    private long AddInterest(int epoll, int operation, int fd, ulong eventAddress)
    {
        if (operation != 1 || !Table.TryGetValue(epoll, out var instance) || !Table.TryGetValue(fd, out var watched))
            return -9;
        if (instance.Description.Kind != "epoll" || instance.Description == watched.Description)
            return -22;
        if (instance.Description.Interests.Any(known => known.Fd == fd && known.Watched == watched.Description))
            return -17;
        instance.Description.Interests.Add((fd, watched.Description, BinaryPrimitives.ReadUInt64LittleEndian(Bytes(eventAddress + 4, 8))));
        return 0;
    }

    private long Send(Description receiver, ulong address, ulong length)
    {
        receiver.Received.AddRange(Bytes(address, (int)length));
        return (long)length;
    }

    private ReadOnlySpan<byte> Bytes(ulong address, int length) => program.Data.AsSpan((int)(address - program.Layout.Data.Start.Value), length);

    private string Text(ulong address)
    {
        var rest = program.Data.AsSpan((int)(new VirtualAddress(address) - program.Layout.Data.Start));
        return Encoding.UTF8.GetString(rest[..rest.IndexOf((byte)0)]);
    }
}
