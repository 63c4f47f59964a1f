using Google.Protobuf;
using Snapshots.AddressSpace;
using Snapshots.Images.V1;
using Snapshots.Snapshotter.Capture;
using Xunit;

namespace Snapshots.Descriptors.Tests;

/// <summary>
/// What is captured from a subject, restored into an empty process, and captured from that again is the same; and capturing leaves the
/// subject as it was: it passes its own checks afterwards.
/// </summary>
public sealed class RoundTripTests : SandboxedTests
{
    [Theory]
    [MemberData(nameof(Subjects))]
    public void A_captured_table_comes_back_and_the_subject_does_not_notice(string script)
    {
        using var sandbox = Factory.Create();
        using var subject = new RunningSubject(sandbox, FilesDirectory, script);
        var captured = subject.Capture();
        Assert.Empty(captured.Problems);
        AddContents(captured);
        using (var elsewhere = Factory.Create())
        using (var restored = RestoredTable.From(captured, elsewhere.InitPid))
        {
            Assert.Empty(restored.Context.Problems);
            AddContents(restored.Context);
            Assert.Equal(Describe(captured), Describe(restored.Context));
        }
        var answer = subject.Ask("""{"id":"capture","generation":1,"payload":{"restored":false},"env":{}}""");
        Assert.Contains("\"ok\": true", answer, StringComparison.Ordinal);
    }

    /// <summary>Mappings belong to another part of the capture; here each object is one extent.</summary>
    private static void AddContents(CaptureContext context)
    {
        foreach (var memory in context.Manifest.SharedMemory.Where(memory => memory.SizeBytes != 0))
            memory.Extents.Add(new PageExtent { PageCount = (memory.SizeBytes + PageSize.Bytes - 1) / PageSize.Bytes });
    }

    /// <summary>The table as text, without what may differ: ids, the texts of /proc links, time that has passed.</summary>
    private static string Describe(CaptureContext context)
    {
        var image = context.Image.Clone();
        var lines = new List<string>();
        var lowest = image.OpenFiles.ToDictionary(file => file.Id, file => image.Descriptors.Where(entry => entry.OpenFile == file.Id).Min(entry => entry.Fd));
        foreach (var entry in image.Descriptors)
            lines.Add($"fd {entry.Fd}{(entry.CloseOnExec ? " cloexec" : "")} is open file {lowest[entry.OpenFile]}");
        foreach (var file in image.OpenFiles.OrderBy(file => lowest[file.Id]))
            lines.Add($"open file {lowest[file.Id]}: {Describe(context, file, lowest)}");
        return string.Join('\n', lines);
    }

    private static string Describe(CaptureContext context, OpenFile file, Dictionary<uint, uint> lowest)
    {
        switch (file.KindCase)
        {
            case OpenFile.KindOneofCase.External: return $"external {file.External.Role}";
            case OpenFile.KindOneofCase.Regular:
                return $"{file.StatusFlags:x} {context.Manifest.Files[(int)file.Regular.File].Path.Replace($"/{context.Pid}/", "/self/")} at {file.Regular.OffsetBytes}";
            case OpenFile.KindOneofCase.Pipe:
                var pipe = context.Image.Pipes.Single(pipe => pipe.Id == file.Pipe.Pipe);
                var others = context.Image.OpenFiles.Where(other => other.Pipe?.Pipe == pipe.Id).Select(other => lowest[other.Id]).Order();
                return $"{file.StatusFlags:x} pipe of {string.Join(',', others)}, write {file.Pipe.Write}, {pipe.CapacityBytes} bytes: {pipe.Contents.ToBase64()}";
            case OpenFile.KindOneofCase.MemFd:
                var memory = context.Manifest.SharedMemory.Single(memory => memory.Id == file.MemFd.SharedMemory);
                return $"{file.StatusFlags:x} memfd {memory.Name}, {memory.SizeBytes} bytes, seals {memory.Seals:x}, at {file.MemFd.OffsetBytes}";
            case OpenFile.KindOneofCase.TimerFd:
                // What remains shrinks while we look; a minute is more than the test takes and less than the timers that matter.
                var timer = file.TimerFd;
                return $"{file.StatusFlags:x} timer {timer.Clock}, {(timer.ValueNs + 60_000_000_000) / 120_000_000_000}, {timer.IntervalNs}, {(timer.Ticks != 0 ? "expired" : timer.ValueNs == 0 ? "disarmed or just expired" : "armed")}";
            case OpenFile.KindOneofCase.Epoll:
                var interests = file.Epoll.Interests.Select(interest => $"{interest.Fd}={lowest[interest.OpenFile]} {interest.Events:x} {interest.Data:x}");
                return $"{file.StatusFlags:x} epoll of {string.Join("; ", interests.Order(StringComparer.Ordinal))}";
            case OpenFile.KindOneofCase.UnixSocket:
                var socket = file.UnixSocket.Clone();
                socket.PeerOpenFile = socket.PeerOpenFile == 0 ? 0 : lowest[socket.PeerOpenFile];
                var text = string.Concat(socket.ReceiveQueue.Select(message => message.ToBase64() + " "));
                return $"{file.StatusFlags:x} {JsonFormatter.Default.Format(socket)} {text}";
            default:
                var plain = file.Clone();
                plain.Description = "";
                plain.Id = 0;
                return JsonFormatter.Default.Format(plain);
        }
    }
}
