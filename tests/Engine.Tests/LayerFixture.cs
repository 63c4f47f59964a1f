using System.Diagnostics;
using Snapshots.Host.Layers;
using Snapshots.Images;
using Snapshots.RestorePool;
using Snapshots.RestorePool.Clones;
using Snapshots.RestorePool.Templates;

namespace Snapshots.Engine.Tests;

/// <summary>Snapshots of tests/Subjects/layers.c, each a layer of the one before, and an engine that knows where parents are.</summary>
internal sealed class LayerFixture : IDisposable
{
    private static readonly Lazy<string> s_subject = new(Compile);

    private readonly List<UnsharedTemplate> _unshared = [];

    public LayerFixture(long? budgetBytes = null, int parkedClones = 0) =>
        Engine = new EngineFixture(parkedClones, new RestoreOptions
        {
            TemplateMemoryBytes = budgetBytes,
            TemplateUnshared = layer =>
            {
                lock (_unshared)
                    _unshared.Add(layer);
            },
        });

    public EngineFixture Engine { get; }

    /// <summary>Layers whose templates were built alone.</summary>
    public IReadOnlyList<UnsharedTemplate> Unshared
    {
        get
        {
            lock (_unshared)
                return [.. _unshared];
        }
    }

    /// <summary><c>stage1</c>, <c>stage2</c>, … up to <c>stage3</c>.</summary>
    public void CreateStages(int count, CancellationToken cancellation)
    {
        Engine.Create([s_subject.Value], cancellation, "stage1").Dispose();
        for (var stage = 2; stage <= count; stage++)
            CreateLayer($"stage{stage}", $"stage{stage - 1}", $"{{\"stage\":{stage}}}", cancellation);
    }

    public void CreateLayer(string name, string parent, string payload, CancellationToken cancellation) =>
        new LayerCreator(Engine.Store).Create(new LayerRequest { Name = name, Parent = parent, PayloadJson = payload }, progress: null, cancellation);

    /// <summary>A snapshot by name or digest; its parents are found in the store.</summary>
    public TemplateSource Source(string reference) => new(reference, Engine.Store.Resolve(reference).ToString(), () => Engine.Store.OpenImage(reference))
    {
        ParentOf = layer => Source(SnapshotDigest.FromBytes(layer.ParentSha256.Span).ToString()),
    };

    /// <summary>Launches a clone, and has it check all that it remembers.</summary>
    public void CheckClone(TemplateSource source, int stage)
    {
        using var clone = Engine.Engine.Launch(source, new CloneRequest { Id = "check", PayloadJson = $"{{\"restored\":true,\"expect\":{stage}}}" });
        Xunit.Assert.Equal("{\"ok\":true}", EngineFixture.Answer(clone));
    }

    public void Dispose() => Engine.Dispose();

    private static string Compile()
    {
        var folder = Directory.CreateTempSubdirectory("snapshots-layers-").FullName;
        AppDomain.CurrentDomain.ProcessExit += (_, _) => Directory.Delete(folder, recursive: true);
        var binary = Path.Combine(folder, "layers");
        using var gcc = Process.Start("gcc", ["-O1", "-Wall", "-Wextra", "-Werror", "-pthread", "-o", binary, Path.Combine(RepositoryRoot(), "tests/Subjects/layers.c")]);
        gcc.WaitForExit();
        Xunit.Assert.Equal(0, gcc.ExitCode);
        return binary;
    }

    private static string RepositoryRoot()
    {
        var directory = AppContext.BaseDirectory;
        while (!File.Exists(Path.Combine(directory, "Snapshots.sln")))
            directory = Path.GetDirectoryName(directory) ?? throw new DirectoryNotFoundException("the tests do not lie in the repository");
        return directory;
    }
}
