using Google.Protobuf;
using Snapshots.Images;
using Snapshots.Images.V1;

namespace Snapshots.PageStore.Tests;

/// <summary>Images made of numbered pages, and what they must read as.</summary>
internal static class TestImages
{
    public const int Page = 4096;

    /// <summary>Pages that differ by their seeds and compress somewhat; seed 0 is a page of zeros, odd seeds do not compress.</summary>
    public static byte[] Pages(params IEnumerable<int> seeds)
    {
        var memory = new MemoryStream();
        var page = new byte[Page];
        foreach (var seed in seeds)
        {
            var random = new Random(seed);
            if (seed == 0)
                page.AsSpan().Clear();
            else if (seed % 2 == 1)
                random.NextBytes(page);
            else
                page.AsSpan().Fill((byte)random.Next(1, 256));
            if (seed != 0)
                BitConverter.TryWriteBytes(page, seed);
            memory.Write(page);
        }
        return memory.ToArray();
    }

    /// <summary>Memory of which half is the same for all numbers that are equal modulo 4, and half is that number's own.</summary>
    public static byte[] Memory(int number, int pages) =>
        Pages(Enumerable.Range(0, pages).Select(page => page % 16 < 8 ? 1 + page + (1000 * (number % 4)) : 1_000_000 + (number * 1000) + page));

    public static SnapshotDigest Commit(ImageWriter writer, string name, ReadOnlySpan<byte> memory, int piecePages = 256)
    {
        var manifest = Manifest((ulong)Math.Max(memory.Length, Page));
        var extents = manifest.Processes[0].Mappings[0].Extents;
        for (var at = 0; at < memory.Length; at += piecePages * Page)
            writer.Append((ulong)(at / Page), memory.Slice(at, Math.Min(piecePages * Page, memory.Length - at)), extents);
        return writer.Commit(name, manifest);
    }

    /// <summary>The memory that was given to Commit, read back through the extents.</summary>
    public static byte[] Read(ImageStore images, string name)
    {
        using var image = images.OpenImage(name);
        var mapping = image.Manifest.Processes[0].Mappings[0];
        var memory = new byte[mapping.End - mapping.Start];
        foreach (var extent in mapping.Extents)
            image.Pages.Read(extent.BlobOffset, memory.AsSpan((int)extent.PageIndex * Page, (int)extent.PageCount * Page));
        return memory;
    }

    public static Manifest Manifest(ulong mappingBytes)
    {
        var process = new ProcessImage { Pid = 100, Name = "worker" };
        process.Threads.Add(new ThreadImage { Tid = 100, Registers = ByteString.CopyFrom(new byte[216]), Xstate = ByteString.CopyFrom(new byte[832]) });
        process.Mappings.Add(new Mapping { Start = 0x10000, End = 0x10000 + mappingBytes, Protection = 3, Kind = MappingKind.PrivateAnonymous });
        var manifest = new Manifest { CreatedUnixMs = 1_700_000_000_000 };
        manifest.Files.Add(new FileIdentity { Path = "/usr/bin/worker" });
        manifest.Processes.Add(process);
        return manifest;
    }
}
