using Snapshots.Tracing;

namespace Snapshots.RestorePool.WorkingSets;

/// <summary>A clone that is watched for what it touches until it has answered or ends. Thread-safe.</summary>
internal sealed class WatchedClone(LastLook look)
{
    /// <summary>It has answered: looks at it now, if its end was not faster.</summary>
    public void NoteAnswered() => look.Now();
}
