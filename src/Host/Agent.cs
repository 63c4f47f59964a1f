using System.Runtime.InteropServices;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Snapshots.Client;
using Snapshots.Host.Clones;

namespace Snapshots.Host;

/// <summary>
/// The host agent.
/// 1. Claim the run directory (mode 0700, lock) and remove what a dead agent left.
/// 2. Serve the farm contract on the socket (mode 0600); say so.
/// 3. On SIGTERM, SIGINT or a Shutdown call: accept no new clones, end all clones, remove socket and logs.
/// </summary>
public static class Agent
{
    private const UnixFileMode SocketMode = UnixFileMode.UserRead | UnixFileMode.UserWrite;

    /// <summary>Runs until it is told to stop.</summary>
    /// <param name="createLauncher">Called with the agent's log once the run directory is claimed; what it returns is disposed of at the end if it is disposable.</param>
    /// <param name="ready">Called when calls are answered.</param>
    /// <exception cref="AgentException">Another agent serves this directory, or it is not safe to use.</exception>
    public static async Task Run(AgentOptions options, Func<ILogger, ICloneLauncher> createLauncher, Action ready, CancellationToken cancellation)
    {
        var stop = new AgentStop();
        using var terminated = PosixSignalRegistration.Create(PosixSignal.SIGTERM, context => StopOn(context, stop));
        using var interrupted = PosixSignalRegistration.Create(PosixSignal.SIGINT, context => StopOn(context, stop));
        using var cancelled = cancellation.Register(stop.Request);
        options.Run.Create();
        using var claim = options.Run.Lock();
        options.Run.RemoveLeftovers();
        using var lines = new LineLogger(options.Log);
        var log = lines.CreateLogger("agent");
        var launcher = createLauncher(log);
        using var launcherLifetime = launcher as IDisposable;
        using var farm = new CloneFarm(launcher, options.Run.ClonesPath, options.LauncherThreads, options.Log.WriteLine);
        await Serve(options, farm, stop, log, ready).ConfigureAwait(false);
        File.Delete(options.Run.SocketPath);
    }

    private static async Task Serve(AgentOptions options, CloneFarm farm, AgentStop stop, ILogger log, Action ready)
    {
        await using var server = BuildServer(options, farm, stop);
        await server.StartAsync(CancellationToken.None).ConfigureAwait(false);
        File.SetUnixFileMode(options.Run.SocketPath, SocketMode);
        AgentLog.Serving(log, options.Run.SocketPath, options.StoreDirectory);
        ready();
        await stop.Requested.ConfigureAwait(false);
        AgentLog.Stopping(log, farm.RunningCount);
        // Clones first: calls that wait for them end by it.
        foreach (var left in await farm.KillAll(AgentLimits.StopTimeout).ConfigureAwait(false))
            AgentLog.StillRunning(log, left.Id, left.Process.HostPid);
        await server.StopAsync(CancellationToken.None).ConfigureAwait(false);
        AgentLog.Stopped(log);
    }

    private static void StopOn(PosixSignalContext context, AgentStop stop)
    {
        context.Cancel = true;
        stop.Request();
    }

    private static WebApplication BuildServer(AgentOptions options, CloneFarm farm, AgentStop stop)
    {
        // The empty builder reads no configuration files and no environment: the agent is what its options say.
        var builder = WebApplication.CreateEmptyBuilder(new WebApplicationOptions());
        builder.WebHost.UseKestrelCore().ConfigureKestrel(kestrel =>
        {
            kestrel.ListenUnixSocket(options.Run.SocketPath, listen => listen.Protocols = HttpProtocols.Http2);
            kestrel.Limits.MaxRequestBodySize = FarmContract.MaxMessageBytes;
        });
        builder.Logging.AddProvider(new LineLogger(options.Log)).SetMinimumLevel(LogLevel.Warning);
        builder.Services.Configure<HostOptions>(host => host.ShutdownTimeout = AgentLimits.StopTimeout);
        // The agent handles the signals itself: its clones go first.
        builder.Services.AddSingleton<IHostLifetime, NoLifetime>();
        builder.Services.AddRoutingCore();
        builder.Services.AddSingleton(farm);
        builder.Services.AddSingleton(options);
        builder.Services.AddSingleton(stop);
        builder.Services.AddSingleton<FarmService>();
        builder.Services.AddGrpc(grpc =>
        {
            grpc.MaxReceiveMessageSize = FarmContract.MaxMessageBytes;
            grpc.MaxSendMessageSize = FarmContract.MaxMessageBytes;
        });
        var server = builder.Build();
        server.MapGrpcService<FarmService>();
        return server;
    }

    private sealed class NoLifetime : IHostLifetime
    {
        public Task WaitForStartAsync(CancellationToken cancellationToken) => Task.CompletedTask;

        public Task StopAsync(CancellationToken cancellationToken) => Task.CompletedTask;
    }
}
