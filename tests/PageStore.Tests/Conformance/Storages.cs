namespace Snapshots.PageStore.Tests;

/// <summary>Where packs of a store under test lie.</summary>
internal enum Storage
{
    Directory,

    /// <summary>In the bucket of a server of its own process, with the disk cache before it.</summary>
    S3,
}

// Each suite of this folder runs over every storage.
public sealed class RoundTripInDirectoryTests() : RoundTripTests(Storage.Directory);

public sealed class RoundTripInS3Tests() : RoundTripTests(Storage.S3);

public sealed class DamageInDirectoryTests() : DamageTests(Storage.Directory);

public sealed class DamageInS3Tests() : DamageTests(Storage.S3);

public sealed class CollectionInDirectoryTests() : CollectionTests(Storage.Directory);

public sealed class CollectionInS3Tests() : CollectionTests(Storage.S3);

public sealed class CheckInDirectoryTests() : CheckTests(Storage.Directory);

public sealed class CheckInS3Tests() : CheckTests(Storage.S3);

public sealed class TransferInDirectoryTests() : TransferTests(Storage.Directory);

public sealed class TransferInS3Tests() : TransferTests(Storage.S3);

public sealed class CrashInDirectoryTests() : CrashTests(Storage.Directory);

public sealed class CrashInS3Tests() : CrashTests(Storage.S3);

public sealed class LayersInDirectoryTests() : LayerTests(Storage.Directory);

public sealed class LayersInS3Tests() : LayerTests(Storage.S3);
