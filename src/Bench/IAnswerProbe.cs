using Microsoft.Win32.SafeHandles;

namespace Snapshots.Bench;

/// <summary>How a worker of this kind is asked something, and how it is seen to answer. Thread-safe.</summary>
public interface IAnswerProbe
{
    /// <summary>Waits for the answer.</summary>
    /// <param name="channel">Our end of its channel, on which the request is already, or null.</param>
    /// <param name="openNetworkNamespace">Opens the worker's network namespace.</param>
    /// <returns>The answer, for those who check it.</returns>
    /// <exception cref="BenchException">None came in time, or the worker closed without one.</exception>
    string Await(SafeFileHandle? channel, Func<SafeFileHandle> openNetworkNamespace);
}
