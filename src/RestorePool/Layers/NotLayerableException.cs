namespace Snapshots.RestorePool.Layers;

/// <summary>The template of a layer cannot be a fork of its parent's; it can still be built alone.</summary>
internal sealed class NotLayerableException(string reason) : Exception(reason);
