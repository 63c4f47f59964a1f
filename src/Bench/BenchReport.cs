namespace Snapshots.Bench;

/// <summary>What <c>snapshots bench --json</c> prints. Latencies in microseconds, memory in KiB.</summary>
/// <param name="ColdStartFirstAnswer">Launch of the recorded command in a new sandbox until its first answer; absent when the snapshot records no command.</param>
/// <param name="CloneRunning">Order until application code is about to run, for a clone as the engine gives it: parked before the order.</param>
/// <param name="CloneFirstAnswer">Order until the first answer; absent for workers that neither have a channel nor listen.</param>
/// <param name="RatioRunningToPosixSpawn">Median of <see cref="CloneRunning"/> by median of posix_spawn and wait of the same run.</param>
/// <param name="ParkedShare">Which share of those clones was parked, from 0 to 1.</param>
/// <param name="OnDemand">The same for clones that were forked when they were ordered.</param>
/// <param name="ClonesPerSecond">Sustained: start, answer, exit or kill, with as many launching threads as <paramref name="LauncherThreads"/>.</param>
/// <param name="PrivateKibPerClone">Mean of clones that are alive at once and idle (see <see cref="IdleMemory"/>).</param>
/// <param name="LiveClonesMeasured">How many that were.</param>
public sealed record BenchReport(
    string Snapshot,
    string Digest,
    BenchFloors Floors,
    LatencySummary? ColdStartFirstAnswer,
    LatencySummary CloneRunning,
    LatencySummary? CloneFirstAnswer,
    BenchPhases Phases,
    double RatioRunningToPosixSpawn,
    double ParkedShare,
    BenchClones OnDemand,
    double? RatioColdStartToFirstAnswer,
    double ClonesPerSecond,
    double PrivateKibPerClone,
    double PssKibPerClone,
    int LiveClonesMeasured,
    int LauncherThreads,
    double TemplatePreparedMicroseconds);

/// <summary>What the machine itself takes, sampled between the clones of the same run.</summary>
/// <param name="PosixSpawnTrue">posix_spawn("/bin/true") until it was waited for.</param>
/// <param name="ForkSameSize">fork of a process with the snapshot's memory, until the child ran.</param>
public sealed record BenchFloors(LatencySummary PosixSpawnTrue, LatencySummary ForkSameSize);

/// <summary>Latencies of one kind of clone.</summary>
public sealed record BenchClones(LatencySummary CloneRunning, LatencySummary? CloneFirstAnswer, BenchPhases Phases, double RatioRunningToPosixSpawn);

/// <summary>Where the time until running goes.</summary>
public sealed record BenchPhases(
    LatencySummary Order,
    LatencySummary Fork,
    LatencySummary Sandbox,
    LatencySummary Descriptors,
    LatencySummary Threads,
    LatencySummary Finish);

/// <summary>What <c>snapshots demo --json</c> prints. Latencies in microseconds.</summary>
public sealed record DemoReport(
    int Clones,
    int AnswersChecked,
    double ColdStartMicroseconds,
    double StoppedMicroseconds,
    ulong PagesBytes,
    LatencySummary CloneRunning,
    LatencySummary CloneFirstAnswer,
    double ClonesPerSecond,
    double PrivateKibPerClone,
    double PssKibPerClone,
    double SavedHoursPerMillionStarts);
