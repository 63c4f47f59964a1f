using Snapshots.Linux;

namespace Snapshots.RestorePool.Programs;

/// <summary>Moves the received externals to their numbers and gives them their status flags.</summary>
internal static class ExternalCompiler
{
    /// <summary>
    /// Slot <c>i</c> arrives at number <c>i</c> and its lowest wanted number is at least <c>i</c>; so when the last slot moves first, no
    /// move goes onto a slot that has not moved yet.
    /// </summary>
    public static void Compile(DescriptorScript script, IReadOnlyList<ExternalSlot> slots)
    {
        for (var i = 0; i < slots.Count; i++)
            script.Table.Preset(i, slots[i].OpenFile, closeOnExec: false);
        for (var i = slots.Count - 1; i >= 0; i--)
        {
            var file = script.File(slots[i].OpenFile);
            if ((file.StatusFlags & OpenFlags.Settable) is not 0 and var flags)
                script.SetStatusFlags(i, flags, script.SubjectOf(file));
            script.Place(file.Id);
        }
    }
}
