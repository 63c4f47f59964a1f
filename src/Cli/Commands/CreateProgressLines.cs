using System.Diagnostics;
using Snapshots.Cli.Text;
using Snapshots.Snapshotter;
using Spectre.Console;

namespace Snapshots.Cli.Commands;

/// <summary>Tells on stderr what a create is doing: a spinner on a terminal, a line for each phase elsewhere, nothing for programs.</summary>
internal static class CreateProgressLines
{
    public static async Task<T> Run<T>(Invocation invocation, Func<IProgress<CreatePhase>, Task<T>> create)
    {
        var sinceStart = Stopwatch.StartNew();
        if (!invocation.Errors.Profile.Capabilities.Interactive || invocation.Json)
            return await create(new Direct(phase => invocation.Remark($"{Units.Microseconds(sinceStart.Elapsed.TotalMicroseconds),9}  {Text(phase)}"))).ConfigureAwait(false);
        return await invocation.Errors.Status().StartAsync("starting", status => create(new Direct(phase => status.Status(Text(phase))))).ConfigureAwait(false);
    }

    private static string Text(CreatePhase phase) => phase switch
    {
        CreatePhase.Cloning => "bringing the parent back to memory",
        CreatePhase.Launching => "launching the worker",
        CreatePhase.WaitingReady => "waiting until it is ready",
        CreatePhase.Freezing => "freezing, and writing the image",
        CreatePhase.Published => "published",
        _ => phase.ToString(),
    };

    // Progress<T> would report later and on another thread; the order of lines matters more than the creator's time.
    private sealed class Direct(Action<CreatePhase> report) : IProgress<CreatePhase>
    {
        public void Report(CreatePhase value) => report(value);
    }
}
