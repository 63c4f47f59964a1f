using System.Buffers.Binary;
using System.Globalization;
using Snapshots.AddressSpace;
using Snapshots.Images.V1;
using Snapshots.Linux;
using Snapshots.Linux.Syscalls;
using Snapshots.Programs;
using Snapshots.RestorePool.Programs;

namespace Snapshots.RestorePool.ForkDetection;

/// <summary>
/// Makes OpenSSL and libgcrypt take every clone for the child of a fork: in a template that has its contents and waits, the places of a
/// <see cref="ForkDetectionPlan"/> are led to the <see cref="ForkIdentityFunction"/>. The pages become private copies, shared by all clones.
/// </summary>
/// <remarks>A snapshot of a clone holds these changes, made by an earlier template; they are overwritten.</remarks>
internal static class ForkDetectionPatch
{
    /// <param name="function">Entry of the <see cref="ForkIdentityFunction"/> in the template.</param>
    /// <exception cref="RestoreUnsupportedException">Somebody else changed that code, or a thread was frozen inside it.</exception>
    public static void Apply(int pid, ForkDetectionPlan plan, ProcessImage process, VirtualAddress function)
    {
        if (plan.IsEmpty)
            return;
        // /proc/PID/mem writes to read-only pages of private mappings: code, and words that the loader protected (RELRO).
        using var memory = ProcessMemoryWrite.Open(pid);
        foreach (var placed in plan.Sites)
        {
            var change = placed.Site.Kind == ForkDetectionKind.Function ? FunctionReplacement.Encode(function) : Word(function);
            if (IsToBeChanged(placed, process, ReadCurrent(pid, placed)))
                ProcessMemoryWrite.Write(memory, pid, placed.Address, change);
        }
    }

    /// <summary>Pages that <see cref="Apply"/> may write to; ascending, adjacent ones joined.</summary>
    public static IReadOnlyList<AddressRange> PagesOf(ForkDetectionPlan plan)
    {
        var pages = new List<AddressRange>();
        foreach (var placed in plan.Sites.OrderBy(placed => placed.Address))
        {
            var changed = placed.Site.Kind == ForkDetectionKind.Function ? FunctionReplacement.SizeBytes : sizeof(ulong);
            var start = placed.Address.AlignDown(PageSize.Bytes);
            var end = (placed.Address + (ulong)changed).AlignUp(PageSize.Bytes);
            if (pages.Count > 0 && pages[^1].End >= start)
                pages[^1] = new AddressRange(pages[^1].Start, end > pages[^1].End ? end : pages[^1].End);
            else
                pages.Add(new AddressRange(start, end));
        }
        return pages;
    }

    private static bool IsToBeChanged(PlacedSite placed, ProcessImage process, byte[] current)
    {
        var isAsInFile = current.AsSpan().SequenceEqual(placed.Site.FileBytes);
        // A word that no loader has filled belongs to a view of the file's bytes, or to the margin of another segment's last page.
        if (placed.Site.Kind == ForkDetectionKind.AddressWord)
            return !isAsInFile;
        if (!isAsInFile && !FunctionReplacement.StandsAt(current))
            throw Refusal(placed, "was changed in memory by something else");
        var inside = process.Threads.FirstOrDefault(thread => UserRegisters.InstructionPointer(thread) - placed.Address.Value is > 0 and < FunctionReplacement.SizeBytes);
        return inside is null || FunctionReplacement.StandsAt(current)
            ? true
            : throw Refusal(placed, string.Create(CultureInfo.InvariantCulture, $"was being run by thread {inside.Tid} when it was frozen"));
    }

    private static RestoreUnsupportedException Refusal(PlacedSite placed, string what) =>
        new($"{placed.Path}: the code at {placed.Address} by which OpenSSL notices forks {what}, so that clones would repeat each other's random numbers; create the snapshot anew");

    private static byte[] ReadCurrent(int pid, PlacedSite placed)
    {
        var current = new byte[placed.Site.FileBytes.Length];
        var errno = ProcessVm.Read(pid, placed.Address, current, out var read);
        if (errno != Errno.None || read < current.Length)
            throw new LinuxException("process_vm_readv", errno == Errno.None ? Errno.EFAULT : errno, $"{placed.Path} at {placed.Address} in template {pid}");
        return current;
    }

    private static byte[] Word(VirtualAddress value)
    {
        var word = new byte[sizeof(ulong)];
        BinaryPrimitives.WriteUInt64LittleEndian(word, value.Value);
        return word;
    }
}
