using System.CommandLine;
using Snapshots.Cli.Json;
using Snapshots.Client;
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

    private static async Task<int> Run(Invocation invocation, CancellationToken cancellation)
    {
        using var image = HostStore.Open(invocation.StoreDirectory).OpenImage(invocation.Parsed.GetRequiredValue(Name));
        var program = invocation.Parsed.GetValue(Program) ? PrintedPrograms(image) : null;
        if (program is not null && !invocation.Json)
        {
            Console.Out.Write(program);
            return ExitCodes.Ok;
        }
        var memory = await ReadMemory(invocation, image, cancellation).ConfigureAwait(false);
        if (invocation.Json)
            Invocation.PrintJson(SnapshotDescription.Of(image, program?.Split('\n', StringSplitOptions.RemoveEmptyEntries)) with { Memory = memory }, CliJsonContext.Default.SnapshotDetails);
        else
            Print(invocation, image, memory);
        return ExitCodes.Ok;
    }

    /// <summary>What the snapshot has in memory now; null when no agent runs, or has no template of it.</summary>
    private static async Task<TemplateRow?> ReadMemory(Invocation invocation, SnapshotImage image, CancellationToken cancellation)
    {
        try
        {
            using var client = await invocation.TryConnect(cancellation).ConfigureAwait(false);
            if (client is null)
                return null;
            var reply = await client.ListTemplatesAsync(image.Digest.ToString(), cancellation).ConfigureAwait(false);
            return reply.Templates.Select(TemplateRows.Describe).FirstOrDefault();
        }
        catch (FarmException e) when (e.Code != FarmErrorCode.Cancelled)
        {
            // What is in the image can be told all the same.
            invocation.Remark($"its memory on this host is not known: {e.Message}");
            return null;
        }
    }

    private static void Print(Invocation invocation, SnapshotImage image, TemplateRow? memory)
    {
        SnapshotPrinter.Print(invocation.Output, SnapshotDescription.Of(image, null));
        if (memory is not null)
            MemoryPrinter.Print(invocation.Output, memory);
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
