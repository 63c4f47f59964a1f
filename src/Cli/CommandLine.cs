using System.CommandLine;
using System.CommandLine.Help;
using Snapshots.Cli.Commands;
using Snapshots.Cli.Json;

namespace Snapshots.Cli;

/// <summary>The verbs put together.</summary>
public static class CommandLine
{
    // Agents and freezes undo what they began when they are interrupted; this only bounds how long that may take.
    private static readonly TimeSpan CleanUpTimeout = TimeSpan.FromSeconds(30);

    public static RootCommand Build()
    {
        var root = new RootCommand("Snapshots freezes a warm process once and launches any number of clones of it in milliseconds.")
        {
            GlobalOptions.Store,
            GlobalOptions.Run,
            GlobalOptions.Json,
            DoctorCommand.Create(),
            InitCommand.Create(),
            CreateCommand.Create(),
            ListCommand.Create(),
            InspectCommand.Create(),
            RemoveCommand.Create(),
            ExportCommand.Create(),
            ImportCommand.Create(),
            DiskUsageCommand.Create(),
            CollectCommand.Create(),
            CheckCommand.Create(),
            CloneCommand.Create(),
            PsCommand.Create(),
            TemplatesCommand.Create(),
            KillCommand.Create(),
            LogsCommand.Create(),
            ServeCommand.Create(),
            BenchCommand.Create(),
            DemoCommand.Create(),
        };
        return root;
    }

    /// <returns>One of <see cref="ExitCodes"/>.</returns>
    public static async Task<int> Run(IReadOnlyList<string> arguments)
    {
        // Response files would make an argument that begins with @ mean something else to us than to the worker.
        var parsed = Build().Parse(arguments, new ParserConfiguration { ResponseFileTokenReplacer = null });
        if (parsed.Errors.Count > 0 && parsed.Action is not HelpAction)
        {
            var problems = string.Join("; ", parsed.Errors.Select(error => error.Message));
            Verb.Report(new ErrorDescription("usage", $"{problems} (see `snapshots {VerbOf(parsed)}--help`)"), parsed.GetValue(GlobalOptions.Json));
            return ExitCodes.Usage;
        }
        return await parsed.InvokeAsync(new InvocationConfiguration { EnableDefaultExceptionHandler = false, ProcessTerminationTimeout = CleanUpTimeout }).ConfigureAwait(false);
    }

    private static string VerbOf(ParseResult parsed) =>
        parsed.CommandResult.Command is RootCommand ? string.Empty : parsed.CommandResult.Command.Name + " ";
}
