using System.Globalization;

namespace Snapshots.Programs;

/// <summary>Prints programs the way strace prints a trace, each line with the object it is about.</summary>
public static class ProgramPrinter
{
    public static void Print(RestoreProgram program, TextWriter writer)
    {
        for (var i = 0; i < program.Entries.Count; i++)
        {
            var entry = program.Entries[i];
            writer.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{i,4}  {Format(entry)}{Expected(entry)}    # {entry.Subject}"));
        }
    }

    /// <summary><c>name(operand, …)</c>; operands read at run time are printed as <c>*address</c>.</summary>
    public static string Format(Entry entry) => $"{entry.OperationName}({string.Join(", ", entry.Operands.Select(Format))})";

    private static string Format(Operand operand)
    {
        var value = (long)operand.Value is > -4096 and < 65536
            ? ((long)operand.Value).ToString(CultureInfo.InvariantCulture)
            : string.Create(CultureInfo.InvariantCulture, $"0x{operand.Value:x}");
        return operand.Kind == OperandKind.Literal ? value : "*" + value;
    }

    private static string Expected(Entry entry) => entry.Expectation switch
    {
        Expectation.Value => string.Create(CultureInfo.InvariantCulture, $" = {(long)entry.ExpectedValue}"),
        _ => string.Empty,
    };
}
