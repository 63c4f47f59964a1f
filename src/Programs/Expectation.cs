namespace Snapshots.Programs;

/// <summary>What counts as success of a program entry.</summary>
public enum Expectation
{
    /// <summary>Any result outside [-4095, -1].</summary>
    Success = 0,

    /// <summary>Any result at all; the entry cannot fail.</summary>
    Anything = 1,

    /// <summary>Exactly <see cref="Entry.ExpectedValue"/>: used where the kernel's answer was computed when the program was compiled (descriptor numbers, addresses).</summary>
    Value = 2,
}
