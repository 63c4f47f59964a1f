namespace Snapshots.Cli.Json;

public sealed record ErrorEnvelope(ErrorDescription Error);

/// <param name="Code">For programs; see docs/cli.md.</param>
/// <param name="Message">For people: what happened to which object, and the cure.</param>
/// <param name="Problems">Every reason of a refused freeze.</param>
public sealed record ErrorDescription(string Code, string Message, IReadOnlyList<ErrorProblem>? Problems = null);

public sealed record ErrorProblem(int Pid, string Subject, string What, string Cure);
