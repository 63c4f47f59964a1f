namespace Snapshots.Images;

/// <summary>The two things a store needs of the operating system that .NET's file classes do not offer.</summary>
/// <param name="SyncDirectory">Returns once all names in a directory are on disk (fsync).</param>
/// <param name="Lock">Waits for the lock that is the file of this path, making the file when it is missing; disposing gives it up, and so does the end of the process.</param>
public sealed record StoreFiles(Action<string> SyncDirectory, Func<string, IDisposable> Lock);
