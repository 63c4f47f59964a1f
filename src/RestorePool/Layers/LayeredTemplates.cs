using Snapshots.Images;
using Snapshots.Linux;
using Snapshots.Programs;
using Snapshots.RestorePool.Clones;
using Snapshots.RestorePool.Templates;

namespace Snapshots.RestorePool.Layers;

/// <summary>A template, and the use of its parent's that it holds: what the two share is freed with the last of them, so the parent's stays as long.</summary>
internal readonly record struct BuiltTemplate(Template Template, TemplateUse? Parent);

/// <summary>Builds the template of a snapshot: for a layer by a fork of its parent's, which is built first when it is not there; for others alone.</summary>
/// <param name="use">Begins a use of a template that is wanted for its forks alone.</param>
/// <param name="retire">Takes a template out that has died.</param>
/// <remarks>Thread-safe. A build waits for that of the parent; there are no circles, since a digest cannot name itself.</remarks>
internal sealed class LayeredTemplates(RestoreOptions options, Func<TemplateSource, TemplateUse> use, Action<Template> retire)
{
    private readonly TemplateBuilder _alone = new(options);
    private readonly LayerBuilder _layers = new(options);

    /// <exception cref="RestoreUnsupportedException">This host cannot run the snapshot.</exception>
    /// <exception cref="ProgramFailedException">The kernel refused a step; names the call and the object.</exception>
    /// <exception cref="ImageException">The image is damaged.</exception>
    public BuiltTemplate Build(SnapshotImage image, TemplateSource source)
    {
        if (image.Manifest.Layer is not { } layer)
            return new BuiltTemplate(_alone.Build(image, source), null);
        TemplateUse? parent = null;
        try
        {
            parent = use(ParentOf(source, layer));
            return new BuiltTemplate(_layers.Build(image, source.Name, parent.Template), parent);
        }
        // It is whole without its parent, and shares no memory then: worth a remark, not a failure. What is wrong with the layer itself comes up again.
        catch (Exception e) when (e is NotLayerableException or HuskDiedException or ProgramFailedException or ProgramTooLargeException
            or CloneStartException or RestoreUnsupportedException or ImageException or LinuxException or IOException)
        {
            // It may have been the fork that died.
            if (parent is { Template.HasEnded: true })
                retire(parent.Template);
            parent?.Dispose();
            var template = _alone.Build(image, source);
            options.TemplateUnshared?.Invoke(new UnsharedTemplate(source.Name, source.Digest, layer.ParentName, e.Message));
            return new BuiltTemplate(template, null);
        }
        catch
        {
            parent?.Dispose();
            throw;
        }
    }

    private static TemplateSource ParentOf(TemplateSource source, Images.V1.LayerOrigin layer) =>
        source.ParentOf?.Invoke(layer) ?? throw new NotLayerableException("nobody said where its parent is");
}
