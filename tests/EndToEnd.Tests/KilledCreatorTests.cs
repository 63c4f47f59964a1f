using System.Diagnostics;
using Snapshots.Linux.Proc;
using Xunit;

namespace Snapshots.EndToEnd.Tests;

/// <summary>A creator that is killed while it copies pages harms nobody: not the process it was freezing, not the store.</summary>
public class KilledCreatorTests
{
    /// <summary>Large enough that copying takes a good part of a second, and no two megabytes alike.</summary>
    private const string Target = """
        import os, sys, threading, zlib
        os.closerange(3, 1024) # whatever the test's own parent left open
        memory = bytearray(os.urandom(1 << 20) * 400)
        for at in range(0, len(memory), 4096):
            memory[at:at + 8] = at.to_bytes(8, "little")
        threading.Thread(target=threading.Event().wait, daemon=True).start()
        print("set up", zlib.crc32(memory), flush=True)
        for line in sys.stdin:
            print(line.strip(), zlib.crc32(memory), flush=True)
        """;

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void Killed_while_pages_are_copied_it_leaves_the_target_and_the_store_as_they_were(bool keepRunning)
    {
        using var farm = new Farm();
        using var target = ProgramRun.Start(["python3", "-c", Target], []);
        try
        {
            var checksum = target.StandardOutput.ReadLine()!.Split(' ')[^1];
            var mappings = File.ReadAllLines($"/proc/{target.Id}/maps");

            KillWhileCopying(farm, target.Id, keepRunning);

            Farm.Await("the kernel to let the target go", () => ProcStatus.Read(target.Id).TracerPid == 0);
            Assert.Equal($"after {checksum}", Ask(target, "after"));
            Assert.Equal(mappings, File.ReadAllLines($"/proc/{target.Id}/maps"));
            Assert.NotEmpty(Incoming(farm)); // what it had written so far: nothing of it is a snapshot
            Assert.Equal("[]", farm.Execute("--json", "ls").MustSucceed().Output.Trim());
            Assert.Empty(Incoming(farm));
            Assert.Empty(Directory.GetFiles(Path.Combine(farm.Store, "blobs", "sha256")));

            farm.Execute("create", "again", "--pid", $"{target.Id}", "--keep-running").MustSucceed();
            Assert.Equal($"frozen {checksum}", Ask(target, "frozen"));
        }
        finally
        {
            target.Kill();
            target.WaitForExit();
        }
    }

    /// <summary>Its tracer stands in the target's status, and the file of pages grows: the target is stopped, and its memory is on its way.</summary>
    private static void KillWhileCopying(Farm farm, int target, bool keepRunning)
    {
        const int MostAttempts = 10;
        // A target that is kept running may have been let go by the time that the first pages reach the disk: the moment was missed.
        for (var attempt = 1; !TryKillWhileCopying(farm, target, keepRunning); attempt++)
            Assert.True(attempt < MostAttempts, $"in {attempt} attempts the target was never stopped by the creator while pages were written");
    }

    private static bool TryKillWhileCopying(Farm farm, int target, bool keepRunning)
    {
        using var creator = farm.Start(["create", "killed", "--pid", $"{target}", .. keepRunning ? new[] { "--keep-running" } : []]);
        bool stopped;
        try
        {
            Farm.Await("pages to be written", () => creator.HasExited || Incoming(farm).Any(file => file.Length > 0));
            var tracer = ProcStatus.Read(target).TracerPid; // a thread of the creator
            stopped = Directory.Exists($"/proc/{creator.Id}/task/{tracer}");
        }
        finally
        {
            creator.Kill();
            creator.WaitForExit();
        }
        Assert.Equal(128 + 9, creator.ExitCode);
        return stopped;
    }

    private static FileInfo[] Incoming(Farm farm)
    {
        // The store's own, and that of each domain of its page store.
        var folders = new[] { Path.Combine(farm.Store, "incoming"), Path.Combine(farm.Store, "domains", "default", "incoming") };
        return [.. folders.Select(folder => new DirectoryInfo(folder)).Where(folder => folder.Exists).SelectMany(folder => folder.GetFiles())];
    }

    private static string? Ask(Process target, string word)
    {
        target.StandardInput.WriteLine(word);
        return target.StandardOutput.ReadLine();
    }
}
