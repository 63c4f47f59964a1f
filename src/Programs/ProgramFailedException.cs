using System.Globalization;
using Snapshots.Linux;

namespace Snapshots.Programs;

/// <summary>An entry of a program failed: the call, its arguments, the error and the object it was about.</summary>
public sealed class ProgramFailedException : Exception
{
    public ProgramFailedException(string activity, RestoreProgram program, HuskReport report)
        : this(activity, program.EntryAt(report.Entry), report)
    {
    }

    private ProgramFailedException(string activity, Entry? entry, HuskReport report)
        : base(Describe(activity, entry, report))
    {
        Call = entry?.OperationName ?? "unknown entry";
        Subject = entry?.Subject ?? report.Entry.ToString();
        Result = report.Result;
    }

    /// <summary>The system call as its man page names it.</summary>
    public string Call { get; }

    /// <summary>The object being made.</summary>
    public string Subject { get; }

    /// <summary>What the kernel answered: a negated error number, or a value other than the one that was computed.</summary>
    public long Result { get; }

    public Errno Errno => Result is < 0 and >= -4095 ? (Errno)(-Result) : Errno.None;

    private static string Describe(string activity, Entry? entry, HuskReport report)
    {
        var call = entry is null ? $"entry at {report.Entry}" : ProgramPrinter.Format(entry);
        var answer = report.Result is < 0 and >= -4095
            ? $"{(Errno)(-report.Result)} ({ErrnoText.Describe((Errno)(-report.Result))})"
            : string.Create(CultureInfo.InvariantCulture, $"unexpected result {report.Result}");
        return $"{activity}: {entry?.Subject ?? "unknown object"}: {call} = {answer}";
    }
}
