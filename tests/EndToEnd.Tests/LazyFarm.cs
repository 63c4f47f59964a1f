namespace Snapshots.EndToEnd.Tests;

/// <summary>A farm whose first clones of each snapshot run before their memory is there, for all tests of a class.</summary>
public sealed class LazyFarm : IDisposable
{
    /// <summary>For the agent.</summary>
    internal static IReadOnlyList<string> Options { get; } = ["--lazy-from", "always", "--parked", "0"];

    internal Farm Farm { get; } = new(Options);

    public void Dispose() => Farm.Dispose();
}
