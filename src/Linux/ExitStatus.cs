using System.Globalization;

namespace Snapshots.Linux;

/// <summary>How a process ended (waitid(2) si_code and si_status).</summary>
/// <param name="Signaled">True when a signal ended it.</param>
/// <param name="Value">Exit code, or the signal's number.</param>
public readonly record struct ExitStatus(bool Signaled, int Value)
{
    public bool IsSuccess => !Signaled && Value == 0;

    /// <summary>The number a shell would report: the exit code, or 128 plus the signal.</summary>
    public int ShellCode => Signaled ? 128 + Value : Value;

    public override string ToString() => Signaled
        ? string.Create(CultureInfo.InvariantCulture, $"killed by signal {Value}")
        : string.Create(CultureInfo.InvariantCulture, $"exit code {Value}");
}
