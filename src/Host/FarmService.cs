using System.Threading.Channels;
using Google.Protobuf;
using Grpc.Core;
using Snapshots.Client;
using Snapshots.Client.V1;
using Snapshots.Host.Clones;

namespace Snapshots.Host;

/// <summary>The farm contract over a <see cref="CloneFarm"/>: translates messages and errors, decides nothing.</summary>
public sealed class FarmService(CloneFarm farm, AgentOptions options, AgentStop stop) : Farm.FarmBase
{
    private const int LogChunkBytes = 32 * 1024;

    public override Task<PingReply> Ping(PingRequest request, ServerCallContext context) => Task.FromResult(new PingReply
    {
        ContractVersion = FarmContract.Version,
        Store = options.StoreDirectory,
        Pid = (uint)Environment.ProcessId,
        RunningClones = (uint)farm.RunningCount,
    });

    public override async Task Clone(CloneRequest request, IServerStreamWriter<CloneEvent> responseStream, ServerCallContext context)
    {
        var events = Channel.CreateUnbounded<CloneEvent>(new UnboundedChannelOptions { SingleReader = true });
        // Preparing a template may take seconds: not on a thread of the server.
        await Task.Run(() => Translated(() => farm.Order(request, written => events.Writer.TryWrite(written), context.CancellationToken))).ConfigureAwait(false);
        for (var left = Math.Max(request.Count, 1); left > 0;)
        {
            var next = await events.Reader.ReadAsync(context.CancellationToken).ConfigureAwait(false);
            await responseStream.WriteAsync(next, context.CancellationToken).ConfigureAwait(false);
            if (IsLast(next, request.Wait))
                left--;
        }
    }

    public override Task<ListClonesReply> ListClones(ListClonesRequest request, ServerCallContext context) => Task.Run(
        () =>
        {
            var reply = new ListClonesReply();
            reply.Clones.AddRange(farm.List(request.IncludeEnded).Select(clone => clone.Describe(request.IncludeMemory)));
            return reply;
        },
        context.CancellationToken);

    public override Task<ListTemplatesReply> ListTemplates(ListTemplatesRequest request, ServerCallContext context) => Task.Run(
        () =>
        {
            var reply = new ListTemplatesReply { BudgetBytes = (ulong)(farm.TemplateMemoryBytes ?? 0) };
            reply.Templates.AddRange(farm.ListTemplates(request.Digest.Length == 0 ? null : request.Digest));
            return reply;
        },
        context.CancellationToken);

    public override async Task<KillReply> Kill(KillRequest request, ServerCallContext context)
    {
        var reply = new KillReply();
        var gone = new List<Task>();
        var ids = request.All ? farm.List(includeEnded: false).Select(clone => clone.Id) : request.Ids;
        foreach (var id in ids)
        {
            var clone = farm.Find(id);
            if (clone is null)
            {
                reply.Unknown.Add(id);
                continue;
            }
            (CloneFarm.Kill(clone) ? reply.Killed : reply.Ended).Add(id);
            gone.Add(clone.Ended);
        }
        await Task.WhenAll(gone).WaitAsync(context.CancellationToken).ConfigureAwait(false);
        return reply;
    }

    public override async Task Logs(LogsRequest request, IServerStreamWriter<LogChunk> responseStream, ServerCallContext context)
    {
        var clone = farm.Find(request.Id) ?? throw Failure(FarmErrorCode.NotFound, $"no clone {request.Id}: `snapshots ps --all` lists those that are remembered");
        using var gate = new SemaphoreSlim(1);
        await Task.WhenAll(
            Send(clone.Stdout, LogStream.Stdout, request.Follow, responseStream, gate, context.CancellationToken),
            Send(clone.Stderr, LogStream.Stderr, request.Follow, responseStream, gate, context.CancellationToken)).ConfigureAwait(false);
    }

    public override Task<ShutdownReply> Shutdown(ShutdownRequest request, ServerCallContext context)
    {
        stop.Request();
        return Task.FromResult(new ShutdownReply());
    }

    private static bool IsLast(CloneEvent happened, bool wait) => happened.KindCase switch
    {
        CloneEvent.KindOneofCase.Failed => true,
        CloneEvent.KindOneofCase.Started => !wait,
        CloneEvent.KindOneofCase.Exited => true,
        _ => false,
    };

    // The stream takes one write at a time; both logs share it through the gate.
    private static async Task Send(LogFile log, LogStream stream, bool follow, IServerStreamWriter<LogChunk> destination, SemaphoreSlim gate, CancellationToken cancellation)
    {
        var buffer = new byte[LogChunkBytes];
        var offset = 0L;
        do
        {
            for (int length; (length = log.Read(offset, buffer)) > 0; offset += length)
            {
                await gate.WaitAsync(cancellation).ConfigureAwait(false);
                try
                {
                    await destination.WriteAsync(new LogChunk { Stream = stream, Data = ByteString.CopyFrom(buffer, 0, length) }, cancellation).ConfigureAwait(false);
                }
                finally
                {
                    gate.Release();
                }
            }
        }
        while (follow && await log.WaitBeyond(offset, cancellation).ConfigureAwait(false));
        if (log.Failure is { } failure)
            throw Failure(FarmErrorCode.Internal, $"{log.Path} is not complete: {failure}");
    }

    private static void Translated(Action call)
    {
        try
        {
            call();
        }
        catch (AgentException e)
        {
            throw Failure(e.Code, e.Message);
        }
    }

    private static RpcException Failure(FarmErrorCode code, string message)
    {
        var status = code switch
        {
            FarmErrorCode.NotFound => StatusCode.NotFound,
            FarmErrorCode.InvalidRequest => StatusCode.InvalidArgument,
            FarmErrorCode.ImageCorrupt => StatusCode.DataLoss,
            FarmErrorCode.IncompatibleHost => StatusCode.FailedPrecondition,
            FarmErrorCode.Cancelled => StatusCode.Cancelled,
            _ => StatusCode.Internal,
        };
        return new RpcException(new Status(status, message), new Metadata { { FarmContract.ErrorTrailer, FarmErrorCodes.NameOf(code) } });
    }
}
