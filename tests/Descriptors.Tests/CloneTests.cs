using Xunit;

namespace Snapshots.Descriptors.Tests;

/// <summary>The whole way: a subject is snapshotted, and several clones of it, alive at once, find everything as it was and share nothing.</summary>
public sealed class CloneTests
{
    private const int CloneCount = 4;

    [Theory]
    [MemberData(nameof(SandboxedTests.Subjects), MemberType = typeof(SandboxedTests))]
    public void Clones_find_their_descriptors_as_they_were(string script)
    {
        using var engine = new SubjectEngine(CloneCount);
        engine.Snapshot(script, TestContext.Current.CancellationToken);
        // Clones share the files on disk: a watch rightly reports what a sibling does there, so the subject of watches runs alone.
        foreach (var clone in Enumerable.Range(0, script == "watches.py" ? 1 : CloneCount).Select(_ => engine.Launch()).ToList())
        {
            var answer = SubjectEngine.Answer(clone);
            Assert.Contains("\"ok\": true", answer, StringComparison.Ordinal);
            Assert.Contains(clone.Id, answer, StringComparison.Ordinal);
        }
    }
}
