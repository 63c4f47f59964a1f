using System.Runtime.ExceptionServices;

namespace Snapshots.Tracing;

/// <summary>
/// Runs one ptrace conversation on an OS thread of its own: ptrace(2) obeys only the thread that attached. When the thread ends, the
/// kernel lets go of whatever is still attached, which is the last safety net under every exit path.
/// </summary>
public static class TracerThread
{
    /// <summary>Runs <paramref name="conversation"/> on a new thread and waits for it; its exception is rethrown here.</summary>
    /// <param name="name">Name of the thread, for debuggers.</param>
    public static T Run<T>(string name, Func<T> conversation)
    {
        T? result = default;
        ExceptionDispatchInfo? failure = null;
        var thread = new Thread(() =>
        {
            try
            {
                result = conversation();
            }
            catch (Exception exception)
            {
                failure = ExceptionDispatchInfo.Capture(exception);
            }
        })
        {
            IsBackground = true,
            Name = name,
        };
        thread.Start();
        thread.Join();
        failure?.Throw();
        return result!;
    }

    /// <inheritdoc cref="Run{T}"/>
    public static void Run(string name, Action conversation) =>
        Run(name, () =>
        {
            conversation();
            return true;
        });
}
