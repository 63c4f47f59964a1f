using System.Globalization;
using System.Text.RegularExpressions;
using Snapshots.Images.V1;
using Snapshots.Snapshotter.Launching;

namespace Snapshots.Snapshotter.Readiness;

/// <summary>How a worker shows that it is warm; one subclass per kind.</summary>
public abstract class ReadinessSpec
{
    private const string Syntax = "use notify, channel, port:N, stdout:REGEX, http:PORT/PATH or after:DURATION (500ms, 2s, 1m)";

    /// <summary>As the manifest records it.</summary>
    public abstract Images.V1.Readiness ToImage();

    /// <summary>Path for the worker's <c>NOTIFY_SOCKET</c>; null when this kind needs none.</summary>
    public virtual string? NotifySocket => null;

    /// <summary>Parses the argument of <c>--ready</c>.</summary>
    /// <exception cref="FormatException">Says what is wrong and what would be right.</exception>
    public static ReadinessSpec Parse(string text)
    {
        var colon = text.IndexOf(':', StringComparison.Ordinal);
        var (kind, argument) = colon < 0 ? (text, null) : (text[..colon], text[(colon + 1)..]);
        return (kind, argument) switch
        {
            ("notify", null) => new NotifyReadiness(),
            ("channel", null) => new ChannelReadiness(),
            ("port", { } port) => new PortReadiness(ParsePort(port)),
            ("stdout", { Length: > 0 } pattern) => new StdoutReadiness(ParseRegex(pattern)),
            ("http", { } target) => ParseHttp(target),
            ("after", { } duration) => new DelayReadiness(ParseDuration(duration)),
            _ => throw new FormatException($"readiness '{text}' is unknown; {Syntax}"),
        };
    }

    /// <summary>The spec a manifest records; used to start the same worker cold.</summary>
    public static ReadinessSpec From(Images.V1.Readiness readiness) => readiness.KindCase switch
    {
        Images.V1.Readiness.KindOneofCase.Notify => new NotifyReadiness(),
        Images.V1.Readiness.KindOneofCase.Channel => new ChannelReadiness(),
        Images.V1.Readiness.KindOneofCase.Port => new PortReadiness((int)readiness.Port),
        Images.V1.Readiness.KindOneofCase.StdoutRegex => new StdoutReadiness(ParseRegex(readiness.StdoutRegex)),
        Images.V1.Readiness.KindOneofCase.Http => new HttpReadiness((int)readiness.Http.Port, readiness.Http.Path),
        Images.V1.Readiness.KindOneofCase.AfterMilliseconds => new DelayReadiness(TimeSpan.FromMilliseconds(readiness.AfterMilliseconds)),
        _ => throw new FormatException($"the snapshot was taken of a running process ({readiness.KindCase}): how to start it is not recorded"),
    };

    /// <summary>How a clone of a worker that got ready in this way shows that it has got ready once more.</summary>
    /// <param name="notifySocket">The path that the worker was given as <c>NOTIFY_SOCKET</c>; null when it was given none.</param>
    /// <exception cref="WorkerNotReadyException">It cannot be told: says what to choose.</exception>
    public static ReadinessSpec Again(Images.V1.Readiness readiness, string? notifySocket) => readiness.KindCase switch
    {
        Images.V1.Readiness.KindOneofCase.Channel => new ChannelReadiness(afterAnswers: true),
        Images.V1.Readiness.KindOneofCase.Notify => new NotifyReadiness(notifySocket
            ?? throw new WorkerNotReadyException("its environment names no NOTIFY_SOCKET to say so on: choose another way with --ready")),
        Images.V1.Readiness.KindOneofCase.Immediate or Images.V1.Readiness.KindOneofCase.None =>
            throw new WorkerNotReadyException("the parent was taken of a running process, and does not say how its clones show that they are ready: choose a way with --ready"),
        _ => From(readiness),
    };

    /// <summary>Waits until <paramref name="worker"/> is ready.</summary>
    /// <exception cref="WorkerNotReadyException">It ended, or was not ready in time; holds its last output.</exception>
    /// <exception cref="OperationCanceledException">Cancelled.</exception>
    public void Wait(IWorker worker, TimeSpan timeout, CancellationToken cancellation)
    {
        var deadline = new Deadline(timeout, cancellation);
        if (WaitCore(worker, deadline))
            return;
        cancellation.ThrowIfCancellationRequested();
        // An ended worker can always be reaped now; a running one was too slow.
        throw worker.TryGetExit() is { } status
            ? new WorkerNotReadyException($"the worker ended before it was ready: {DescribeEnd(worker, status)}")
            : new WorkerNotReadyException($"the worker was not ready within {timeout.TotalSeconds:0.###} s ({this}); allow more with --timeout, or check how it shows readiness. Its last output: {worker.Output.Tail()}{worker.Errors.Tail()}");
    }

    /// <summary>How it ended and what it said last.</summary>
    private static string DescribeEnd(IWorker worker, Linux.ExitStatus status)
    {
        var tail = string.Join(Environment.NewLine, new[] { worker.Output.Tail(), worker.Errors.Tail() }.Where(text => text.Length > 0));
        return tail.Length == 0 ? $"{status}, without any output" : $"{status}; its last output:{Environment.NewLine}{tail}";
    }

    /// <summary>False when the worker ended or the deadline passed.</summary>
    protected abstract bool WaitCore(IWorker worker, Deadline deadline);

    private static int ParsePort(string text) =>
        int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out var port) && port is > 0 and < 65536
            ? port
            : throw new FormatException($"'{text}' is no TCP port (1 to 65535); {Syntax}");

    private static Regex ParseRegex(string pattern)
    {
        try
        {
            return new Regex(pattern, RegexOptions.CultureInvariant | RegexOptions.NonBacktracking);
        }
        catch (Exception invalid) when (invalid is ArgumentException or NotSupportedException)
        {
            throw new FormatException($"'{pattern}' is no regular expression that can be matched in linear time: {invalid.Message}", invalid);
        }
    }

    private static HttpReadiness ParseHttp(string target)
    {
        var slash = target.IndexOf('/', StringComparison.Ordinal);
        return slash < 0
            ? new HttpReadiness(ParsePort(target), "/")
            : new HttpReadiness(ParsePort(target[..slash]), target[slash..]);
    }

    private static TimeSpan ParseDuration(string text)
    {
        var match = Regex.Match(text, "^([0-9]+(?:\\.[0-9]+)?)(ms|s|m)$", RegexOptions.CultureInvariant);
        if (!match.Success)
            throw new FormatException($"'{text}' is no duration; {Syntax}");
        var value = double.Parse(match.Groups[1].Value, CultureInfo.InvariantCulture);
        return TimeSpan.FromMilliseconds(value * match.Groups[2].Value switch { "ms" => 1, "s" => 1000, _ => 60_000 });
    }
}

/// <summary>The worker ended, or did not become ready in time.</summary>
public sealed class WorkerNotReadyException(string message) : Exception(message);
