namespace Snapshots.RestorePool.Programs;

/// <summary>
/// A descriptor table as the kernel keeps it: numbers, what is open under each, close-on-exec. The compiler runs it beside the entries that
/// it writes, so that every number is known when the program is compiled: the kernel always gives the lowest free one (open(2)).
/// What is open is a <c>long</c>: an <see cref="Images.V1.OpenFile.Id"/>, or a negative token of the compiler's own.
/// </summary>
public sealed class DescriptorTableSimulator
{
    private readonly SortedDictionary<int, Slot> _slots = [];

    private readonly record struct Slot(long File, bool CloseOnExec);

    /// <summary>The number that the next created descriptor will get.</summary>
    public int LowestFree
    {
        get
        {
            var candidate = 0;
            foreach (var number in _slots.Keys)
            {
                if (number != candidate)
                    break;
                candidate++;
            }
            return candidate;
        }
    }

    /// <summary>Numbers that are open, ascending.</summary>
    public IReadOnlyList<int> OpenNumbers => [.. _slots.Keys];

    /// <summary>What is open at <paramref name="number"/>; null when it is free.</summary>
    public long? FileAt(int number) => _slots.TryGetValue(number, out var slot) ? slot.File : null;

    public bool IsCloseOnExec(int number) => _slots[number].CloseOnExec;

    /// <summary>Numbers at which <paramref name="file"/> is open, ascending.</summary>
    public IReadOnlyList<int> NumbersOf(long file) => [.. _slots.Where(pair => pair.Value.File == file).Select(pair => pair.Key)];

    /// <summary>Opens <paramref name="file"/> at the lowest free number and returns it.</summary>
    public int Open(long file, bool closeOnExec)
    {
        var number = LowestFree;
        _slots.Add(number, new Slot(file, closeOnExec));
        return number;
    }

    /// <summary>Puts what is there before the first call at a number: a received or inherited descriptor.</summary>
    public void Preset(int number, long file, bool closeOnExec) => _slots.Add(number, new Slot(file, closeOnExec));

    /// <summary>dup3(2): closes what is open at <paramref name="to"/>.</summary>
    public void Duplicate(int from, int to, bool closeOnExec) => _slots[to] = new Slot(_slots[from].File, closeOnExec);

    public void SetCloseOnExec(int number, bool closeOnExec) => _slots[number] = _slots[number] with { CloseOnExec = closeOnExec };

    public void Close(int number)
    {
        if (!_slots.Remove(number))
            throw new InvalidOperationException($"descriptor {number} is not open in the simulated table");
    }
}
