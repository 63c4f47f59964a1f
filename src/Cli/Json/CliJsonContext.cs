using System.Text.Json.Serialization;
using Snapshots.Bench;

namespace Snapshots.Cli.Json;

/// <summary>Every shape that --json prints. Names are snake_case; docs/cli.md describes them, and they only grow.</summary>
[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.SnakeCaseLower, DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull)]
[JsonSerializable(typeof(System.Text.Json.JsonElement))]
[JsonSerializable(typeof(ErrorEnvelope))]
[JsonSerializable(typeof(IReadOnlyList<SnapshotRow>))]
[JsonSerializable(typeof(SnapshotDetails))]
[JsonSerializable(typeof(StoreCheckReport))]
[JsonSerializable(typeof(CollectedGarbage))]
[JsonSerializable(typeof(StoreUsageReport))]
[JsonSerializable(typeof(TransferredSnapshot))]
[JsonSerializable(typeof(InitialisedStore))]
[JsonSerializable(typeof(CreatedSnapshot))]
[JsonSerializable(typeof(IReadOnlyList<RemovedSnapshot>))]
[JsonSerializable(typeof(IReadOnlyList<CloneRow>))]
[JsonSerializable(typeof(IReadOnlyList<ProcessRow>))]
[JsonSerializable(typeof(TemplateList))]
[JsonSerializable(typeof(KilledClones))]
[JsonSerializable(typeof(CloneLogs))]
[JsonSerializable(typeof(AgentRow))]
[JsonSerializable(typeof(IReadOnlyList<CheckRow>))]
[JsonSerializable(typeof(BenchReport))]
[JsonSerializable(typeof(ColdHostReport))]
[JsonSerializable(typeof(DemoReport))]
internal sealed partial class CliJsonContext : JsonSerializerContext;
