using Snapshots.Images.V1;

namespace Snapshots.RestorePool.Programs;

/// <summary>One descriptor that a clone receives from outside.</summary>
/// <param name="OpenFile"><see cref="OpenFile.Id"/> of the external it takes the place of.</param>
/// <param name="LowestFd">The lowest number under which the application knows it.</param>
public sealed record ExternalSlot(uint OpenFile, ExternalRole Role, ExternalKind Kind, int LowestFd);

/// <summary>
/// Which descriptors are handed to a clone, and in which order: the one at index <c>i</c> arrives as descriptor number <c>i</c>.
/// They are ordered by the lowest number that the application wants them at, so a slot's wanted number is never below the number it
/// arrives at, and ordinary stdio arrives in place. Each role is received once: further open files of the same pipe (a program that opened
/// <c>/dev/stdout</c>) are opened again from it.
/// </summary>
public static class ExternalPlan
{
    /// <summary>The slots of <paramref name="process"/>, the first arriving at number 0.</summary>
    public static IReadOnlyList<ExternalSlot> For(ProcessImage process)
    {
        var lowest = new Dictionary<uint, int>();
        foreach (var entry in process.Descriptors)
        {
            if (!lowest.TryGetValue(entry.OpenFile, out var known) || entry.Fd < known)
                lowest[entry.OpenFile] = (int)entry.Fd;
        }
        return
        [
            .. process.OpenFiles
                .Where(file => file.KindCase == OpenFile.KindOneofCase.External && lowest.ContainsKey(file.Id))
                .Select(file => new ExternalSlot(file.Id, file.External.Role, file.External.Kind, lowest[file.Id]))
                .OrderBy(slot => slot.LowestFd)
                .DistinctBy(slot => slot.Role),
        ];
    }
}
