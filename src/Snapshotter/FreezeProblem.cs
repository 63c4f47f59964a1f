namespace Snapshots.Snapshotter;

/// <summary>One reason why a process cannot be snapshotted: which process, which of its objects, what it is, and what the user can do.</summary>
/// <param name="Pid">Process in the caller's PID namespace.</param>
/// <param name="Subject">The descriptor, mapping, thread or attribute, e.g. "fd 7" or "mapping 7f00..-7f01..".</param>
/// <param name="What">What it is and why it cannot come along.</param>
/// <param name="Cure">What the user can do about it.</param>
public sealed record FreezeProblem(int Pid, string Subject, string What, string Cure)
{
    public override string ToString() => $"pid {Pid}: {Subject}: {What}. {Cure}";
}

/// <summary>The freeze was refused; the target runs on as it was. <see cref="Problems"/> is complete: all that was found, not the first.</summary>
public sealed class FreezeRefusedException(IReadOnlyList<FreezeProblem> problems)
    : Exception($"the process cannot be snapshotted:{Environment.NewLine}{string.Join(Environment.NewLine, problems)}")
{
    public IReadOnlyList<FreezeProblem> Problems { get; } = problems;
}
