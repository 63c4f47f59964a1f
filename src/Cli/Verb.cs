using System.CommandLine;
using System.Text.Json;
using Snapshots.Cli.Json;

namespace Snapshots.Cli;

/// <summary>Runs the body of a verb and turns what went wrong into an exit code and one message.</summary>
public static class Verb
{
    public static void SetBody(this Command command, Func<Invocation, CancellationToken, Task<int>> body) =>
        command.SetAction((parsed, cancellation) => Run(parsed, body, cancellation));

    public static void SetBody(this Command command, Func<Invocation, int> body) =>
        command.SetBody((invocation, _) => Task.FromResult(body(invocation)));

    public static void SetBody(this Command command, Func<Invocation, CancellationToken, int> body) =>
        command.SetBody((invocation, cancellation) => Task.Run(() => body(invocation, cancellation)));

    /// <summary>Reports a failure on stderr, as text or JSON.</summary>
    public static void Report(ErrorDescription error, bool json)
    {
        if (json)
            Console.Error.WriteLine(JsonSerializer.Serialize(new ErrorEnvelope(error), CliJsonContext.Default.ErrorEnvelope));
        else
            Console.Error.WriteLine($"snapshots: {error.Message}");
    }

    private static async Task<int> Run(ParseResult parsed, Func<Invocation, CancellationToken, Task<int>> body, CancellationToken cancellation)
    {
        try
        {
            return await body(new Invocation(parsed), cancellation).ConfigureAwait(false);
        }
        catch (Exception e)
        {
            var (exitCode, error) = Failures.Describe(e, cancellation.IsCancellationRequested);
            Report(error, parsed.GetValue(GlobalOptions.Json));
            return exitCode;
        }
    }
}
