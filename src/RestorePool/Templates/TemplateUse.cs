namespace Snapshots.RestorePool.Templates;

/// <summary>
/// A use of a resident template: until it is disposed of, the template is not dropped for want of memory. Held for the length of a launch, and
/// by whoever has launches of the snapshot in a queue.
/// </summary>
/// <remarks>Thread-safe. A template may still die, as any process may.</remarks>
public sealed class TemplateUse : IDisposable
{
    private Action? _end;

    internal TemplateUse(Template template, Action end)
    {
        Template = template;
        _end = end;
    }

    public Template Template { get; }

    /// <summary>Ends the use. Whoever ends the last use of a template that is to go pays for its end.</summary>
    public void Dispose() => Interlocked.Exchange(ref _end, null)?.Invoke();
}
