namespace Snapshots.EndToEnd.Tests;

/// <summary>A program to freeze, and how it tells that it is warm.</summary>
internal sealed record Worker(string Readiness, IReadOnlyList<string> Command)
{
    public IReadOnlyDictionary<string, string> Environment { get; init; } = new Dictionary<string, string>();

    /// <summary>Requests come by HTTP to its port, not by the channel.</summary>
    public bool IsServer => Readiness.StartsWith("http:", StringComparison.Ordinal);
}

/// <summary>The examples and subjects of this repository; what must be built is built once.</summary>
internal static class Workers
{
    private const string Http = "http:8080/health";
    private static readonly TimeSpan BuildLimit = TimeSpan.FromMinutes(3);
    private static readonly Lazy<string> Binaries = new(MakeBinariesFolder);

    public static Worker Example(string name) => name switch
    {
        "python" => new Worker("channel", ["python3", RepositoryRoot.Combine("examples/python/worker.py")]),
        "shell" => new Worker("channel", ["sh", RepositoryRoot.Combine("examples/shell/worker.sh")]),
        "dotnet-console" => new Worker("channel", ["dotnet", Built("dotnet-console", "worker.dll")]),
        "node" => new Worker(Http, ["node", RepositoryRoot.Combine("examples/node/server.js")]),
        "java" => new Worker(Http, ["java", RepositoryRoot.Combine("examples/java/Server.java")]),
        "aspnet" => new Worker(Http, ["dotnet", Built("aspnet", "server.dll")]),
        _ => throw new ArgumentException($"no example is called {name}", nameof(name)),
    };

    /// <param name="file">A file of tests/Subjects: <c>.py</c>, <c>.js</c>, or <c>.c</c> and <c>.cs</c>, which are compiled.</param>
    public static Worker Subject(string file)
    {
        var source = RepositoryRoot.Combine($"tests/Subjects/{file}");
        IReadOnlyList<string> command = Path.GetExtension(file) switch
        {
            ".c" => [Compiled(source)],
            ".cs" => ["dotnet", BuiltSubject(source)],
            ".js" => ["node", source],
            _ => ["python3", source],
        };
        return new Worker("channel", command)
        {
            Environment = new Dictionary<string, string> { ["SUBJECT_SANDBOXED"] = "1" },
        };
    }

    // Gone when the tests end: they share what is compiled.
    private static string MakeBinariesFolder()
    {
        var folder = Directory.CreateTempSubdirectory("snapshots-subjects-").FullName;
        AppDomain.CurrentDomain.ProcessExit += (_, _) => Directory.Delete(folder, recursive: true);
        return folder;
    }

    private static string Compiled(string source)
    {
        var binary = Path.Combine(Binaries.Value, Path.GetFileNameWithoutExtension(source));
        if (!File.Exists(binary))
            ProgramRun.Execute(["gcc", "-O1", "-g", "-Wall", "-Wextra", "-Werror", "-pthread", "-o", binary, source], BuildLimit).MustSucceed();
        return binary;
    }

    private static string BuiltSubject(string source)
    {
        var name = Path.GetFileNameWithoutExtension(source);
        var folder = Path.Combine(Binaries.Value, $"{name}-dotnet");
        var assembly = Path.Combine(folder, $"{name}.dll");
        if (!File.Exists(assembly))
            ProgramRun.Execute(["dotnet", "build", source, "-c", "Release", "-o", folder, $"-p:AssemblyName={name}", "-v", "quiet"], BuildLimit).MustSucceed();
        return assembly;
    }

    private static string Built(string example, string assembly)
    {
        var output = RepositoryRoot.Combine($"examples/{example}/bin/Release/net10.0/{assembly}");
        if (!File.Exists(output))
            ProgramRun.Execute(["dotnet", "build", RepositoryRoot.Combine($"examples/{example}"), "-c", "Release", "-v", "quiet"], BuildLimit).MustSucceed();
        return output;
    }
}
