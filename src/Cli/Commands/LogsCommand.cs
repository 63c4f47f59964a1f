using System.CommandLine;
using System.Text;
using Snapshots.Cli.Json;
using Snapshots.Client;
using Snapshots.Client.V1;

namespace Snapshots.Cli.Commands;

/// <summary><c>snapshots logs</c>: what a clone wrote.</summary>
internal static class LogsCommand
{
    private static readonly Argument<string> Id = new("ID") { Description = "The clone" };

    private static readonly Option<bool> Follow = new("--follow", "-f") { Description = "Go on until the clone has ended" };

    public static Command Create()
    {
        var command = new Command("logs", "Print what a clone wrote: its stdout to stdout, its stderr to stderr") { Id, Follow };
        command.SetBody(Run);
        return command;
    }

    private static async Task<int> Run(Invocation invocation, CancellationToken cancellation)
    {
        var id = invocation.Parsed.GetRequiredValue(Id);
        using var client = await invocation.Connect(cancellation).ConfigureAwait(false);
        var chunks = client.LogsAsync(id, invocation.Parsed.GetValue(Follow), cancellation);
        if (invocation.Json)
            await PrintJson(id, chunks).ConfigureAwait(false);
        else
            await Copy(chunks, cancellation).ConfigureAwait(false);
        return ExitCodes.Ok;
    }

    private static async Task Copy(IAsyncEnumerable<LogChunk> chunks, CancellationToken cancellation)
    {
        await using var output = Console.OpenStandardOutput();
        await using var errors = Console.OpenStandardError();
        await foreach (var chunk in chunks.WithCancellation(cancellation).ConfigureAwait(false))
            await (chunk.Stream == LogStream.Stderr ? errors : output).WriteAsync(chunk.Data.Memory, cancellation).ConfigureAwait(false);
    }

    private static async Task PrintJson(string id, IAsyncEnumerable<LogChunk> chunks)
    {
        using var output = new MemoryStream();
        using var errors = new MemoryStream();
        await foreach (var chunk in chunks.ConfigureAwait(false))
            (chunk.Stream == LogStream.Stderr ? errors : output).Write(chunk.Data.Span);
        Invocation.PrintJson(new CloneLogs(id, Encoding.UTF8.GetString(output.ToArray()), Encoding.UTF8.GetString(errors.ToArray())), CliJsonContext.Default.CloneLogs);
    }
}
