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

    private static readonly Option<bool> WorkingSet = new("--working-set") { Description = "Print what the first clones that answered touched" };

    public static Command Create()
    {
        var command = new Command("inspect", "Show the process, threads, memory map and descriptors of a snapshot") { Name, Program, WorkingSet };
        command.SetBody(Run);
        return command;
    }

    private static async Task<int> Run(Invocation invocation, CancellationToken cancellation)
    {
        var store = HostStore.Open(invocation.StoreDirectory);
        using var image = store.OpenImage(invocation.Parsed.GetRequiredValue(Name));
        var workingSet = invocation.Parsed.GetValue(WorkingSet) ? ReadWorkingSet(store, image) : null;
        if (workingSet is not null && !invocation.Json)
        {
            WorkingSetPrinter.Print(invocation.Output, workingSet);
            return ExitCodes.Ok;
        }
        var program = invocation.Parsed.GetValue(Program) ? PrintedPrograms(image) : null;
        if (program is not null && !invocation.Json)
        {
            Console.Out.Write(program);
            return ExitCodes.Ok;
        }
        var memory = await ReadMemory(invocation, image, cancellation).ConfigureAwait(false);
        if (invocation.Json)
            Invocation.PrintJson(SnapshotDescription.Of(image, program?.Split('\n', StringSplitOptions.RemoveEmptyEntries)) with { Memory = memory, WorkingSet = workingSet }, CliJsonContext.Default.SnapshotDetails);
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

    /// <exception cref="ImageException">NotFound: none is known yet. DigestMismatch, Malformed: it is damaged.</exception>
    private static WorkingSetDetails ReadWorkingSet(ImageStore store, SnapshotImage image) =>
        store.TryReadWorkingSet(image.Digest) is { } set
            ? WorkingSetDescription.Of(set, image.Manifest)
            : throw new ImageException(ImageFailure.NotFound, $"no working set of {image.Name ?? image.Digest.ToString()} is known: it is recorded when a few clones have answered on their channel; run some with `snapshots clone`");

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
