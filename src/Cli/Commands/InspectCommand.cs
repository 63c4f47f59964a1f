using System.CommandLine;
using Snapshots.Cli.Json;
using Snapshots.Host;
using Snapshots.Images;
using Snapshots.Programs;
using Snapshots.RestorePool.ForkDetection;
using Snapshots.RestorePool.Programs;

namespace Snapshots.Cli.Commands;

/// <summary><c>snapshots inspect</c>: what is in a snapshot, and what restoring it would do.</summary>
internal static class InspectCommand
{
    private static readonly Argument<string> Name = new("NAME") { Description = "Snapshot: its name, or sha256:…" };

    private static readonly Option<bool> Program = new("--program") { Description = "Print the restore programs, one system call on each line" };

    public static Command Create()
    {
        var command = new Command("inspect", "Show the process, threads, memory map and descriptors of a snapshot") { Name, Program };
        command.SetBody(Run);
        return command;
    }

    private static int Run(Invocation invocation)
    {
        using var image = HostStore.Open(invocation.StoreDirectory).OpenImage(invocation.Parsed.GetRequiredValue(Name));
        var program = invocation.Parsed.GetValue(Program) ? PrintedPrograms(image) : null;
        if (invocation.Json)
            Invocation.PrintJson(SnapshotDescription.Of(image, program?.Split('\n', StringSplitOptions.RemoveEmptyEntries)), CliJsonContext.Default.SnapshotDetails);
        else if (program is not null)
            Console.Out.Write(program);
        else
            SnapshotPrinter.Print(invocation.Output, SnapshotDescription.Of(image, null));
        return ExitCodes.Ok;
    }

    private static string PrintedPrograms(SnapshotImage image)
    {
        var programs = CompiledPrograms.Compile(image.Manifest, ForkDetectionPlan.For(image.Manifest));
        var text = new StringWriter();
        text.WriteLine("memory program: an empty process becomes the template");
        ProgramPrinter.Print(programs.Memory, text);
        text.WriteLine("clone program: a fork of the template becomes a clone");
        ProgramPrinter.Print(programs.Clone, text);
        return text.ToString();
    }
}
