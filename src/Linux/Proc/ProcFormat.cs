using System.Text;

namespace Snapshots.Linux.Proc;

/// <summary>Says that a kernel file did not look as its man page describes it.</summary>
internal static class ProcFormat
{
    public static InvalidDataException Unreadable(string path, ReadOnlySpan<byte> line) =>
        new($"{path}: cannot understand \"{Encoding.UTF8.GetString(line)}\"; this kernel writes the file in a form that this version does not know");
}
