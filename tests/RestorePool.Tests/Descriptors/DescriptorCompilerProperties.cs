using CsCheck;
using Google.Protobuf;
using Snapshots.Images.V1;
using Xunit;

namespace Snapshots.RestorePool.Tests.Descriptors;

/// <summary>Random tables with duplicates, gaps, pairs, externals and epoll interests: what the entries do on the model is the frozen table.</summary>
public sealed class DescriptorCompilerProperties
{
    private enum Kind
    {
        External,
        Regular,
        EventFd,
        Epoll,
        Pipe,
        HalfPipe,
        SocketPair,
        MemFd,
    }

    private static readonly Gen<TestImage> GenImage =
        from count in Gen.Int[0, 12]
        from kinds in Gen.Enum<Kind>().Array[count]
        from weights in Gen.Int[0, 1_000_000].Array[40]
        from interests in Gen.Select(Gen.Int[0, 1000], Gen.Int[0, 1000], Gen.Int[0, 45]).Array[0, 6]
        from closeOnExec in Gen.Bool.Array[40]
        select Make(kinds, weights, interests, closeOnExec);

    private static TestImage Make(Kind[] kinds, int[] weights, (int Epoll, int Watched, int Fd)[] interests, bool[] closeOnExec)
    {
        var image = new TestImage();
        // A random permutation of the numbers; each file takes one, and now and then up to two more.
        var numbers = new Queue<int>(Enumerable.Range(0, 40).OrderBy(number => weights[number] + (number * 20_000)));
        foreach (var kind in kinds)
            AddKind(image, kind, () => Take(numbers, weights));
        foreach (var entry in image.Process.Descriptors)
            entry.CloseOnExec = closeOnExec[entry.Fd];
        AddInterests(image, interests);
        return image;
    }

    private static int[] Take(Queue<int> numbers, int[] weights)
    {
        if (weights[numbers.Count - 1] % 5 == 0)
            numbers.Dequeue();
        var count = weights[numbers.Count - 1] % 4 == 0 ? 2 : 1;
        return [.. Enumerable.Range(0, Math.Min(count, numbers.Count)).Select(_ => numbers.Dequeue())];
    }

    private static void AddKind(TestImage image, Kind kind, Func<int[]> take)
    {
        var next = image.Process.OpenFiles.Count + 1;
        switch (kind)
        {
            case Kind.External: image.External(take()); break;
            case Kind.Regular: image.Regular($"/file/{next}", take()); break;
            case Kind.EventFd: image.EventFd((ulong)next, take()); break;
            case Kind.Epoll: image.Epoll(take()); break;
            case Kind.Pipe:
                var pipe = image.Pipe($"pipe {next}");
                image.PipeEnd(pipe, write: false, take());
                image.PipeEnd(pipe, write: true, take());
                break;
            case Kind.HalfPipe: image.PipeEnd(image.Pipe($"half {next}"), write: false, take()); break;
            case Kind.SocketPair:
                var first = image.Add(Socket($"to first {next}"), take());
                var second = image.Add(Socket($"to second {next}"), take());
                first.UnixSocket.PeerOpenFile = second.Id;
                second.UnixSocket.PeerOpenFile = first.Id;
                break;
            case Kind.MemFd:
                image.Manifest.SharedMemory.Add(new SharedMemory { Id = (uint)next, Name = $"{next}", SizeBytes = 4096 });
                image.Add(new OpenFile { StatusFlags = 2, MemFd = new MemFd { SharedMemory = (uint)next } }, take());
                break;
        }
    }

    private static OpenFile Socket(string queued) =>
        new() { StatusFlags = 2, UnixSocket = new UnixSocket { Type = 1, ReceiveQueue = { ByteString.CopyFromUtf8(queued) } } };

    private static void AddInterests(TestImage image, (int Epoll, int Watched, int Fd)[] interests)
    {
        var epolls = image.Process.OpenFiles.Where(file => file.KindCase == OpenFile.KindOneofCase.Epoll).ToList();
        foreach (var (epoll, watched, fd) in interests)
        {
            if (epolls.Count == 0)
                return;
            var instance = epolls[epoll % epolls.Count];
            var target = image.Process.OpenFiles[watched % image.Process.OpenFiles.Count];
            if (target != instance && !instance.Epoll.Interests.Any(known => known.Fd == fd && known.OpenFile == target.Id))
                TestImage.Watch(instance, target, fd);
        }
    }

    [Fact]
    public void ProgramProducesExactlyTheFrozenTable() => GenImage.Sample(Check, iter: 3000, threads: 1);

    private static void Check(TestImage image)
    {
        var kernel = image.Run(controlDescriptor: 60);
        Assert.Equal(image.Process.Descriptors.Select(entry => (int)entry.Fd).Append(60).Order(), kernel.Table.Keys);
        var descriptions = new Dictionary<uint, ModelKernel.Description>();
        foreach (var entry in image.Process.Descriptors)
        {
            var slot = kernel.Table[(int)entry.Fd];
            Assert.Equal(entry.CloseOnExec, slot.CloseOnExec);
            if (!descriptions.TryAdd(entry.OpenFile, slot.Description))
                Assert.Same(descriptions[entry.OpenFile], slot.Description);
        }
        Assert.Equal(descriptions.Count, descriptions.Values.Distinct().Count());
        foreach (var file in image.Process.OpenFiles)
            CheckFile(image, file, descriptions);
    }

    private static void CheckFile(TestImage image, OpenFile file, Dictionary<uint, ModelKernel.Description> descriptions)
    {
        var description = descriptions[file.Id];
        var queued = System.Text.Encoding.UTF8.GetString([.. description.Received]);
        switch (file.KindCase)
        {
            case OpenFile.KindOneofCase.External: Assert.Equal($"external {file.Id}", description.Kind); break;
            case OpenFile.KindOneofCase.Regular: Assert.Equal($"file /file/{file.Id}", description.Kind); break;
            case OpenFile.KindOneofCase.EventFd: Assert.Equal($"eventfd {file.Id}", description.Kind); break;
            case OpenFile.KindOneofCase.MemFd: Assert.Equal($"memfd {file.Id}", description.Kind); break;
            case OpenFile.KindOneofCase.Pipe:
                Assert.Equal(file.Pipe.Write ? "pipe write" : "pipe read", description.Kind);
                if (!file.Pipe.Write)
                    Assert.Equal(image.Process.Pipes.Single(pipe => pipe.Id == file.Pipe.Pipe).Contents.ToStringUtf8(), queued);
                break;
            case OpenFile.KindOneofCase.UnixSocket:
                Assert.Equal(file.UnixSocket.ReceiveQueue[0].ToStringUtf8(), queued);
                Assert.Same(descriptions[file.UnixSocket.PeerOpenFile], description.Peer);
                break;
            case OpenFile.KindOneofCase.Epoll:
                // In whatever order: the kernel keeps a tree.
                Assert.Equal(
                    file.Epoll.Interests.Select(interest => ((int)interest.Fd, descriptions[interest.OpenFile], interest.Data)).OrderBy(interest => interest.Data),
                    description.Interests.OrderBy(interest => interest.Data));
                break;
        }
    }
}
