using System.Diagnostics;
using System.Globalization;
using System.Runtime.CompilerServices;

namespace Snapshots.PageStore.Tests;

/// <summary>The S3 server of the tests (s3-server/server.js): one process for the whole run, on a port that the kernel chooses; it ends with us, however we end.</summary>
internal sealed class S3Server : IDisposable
{
    public const string Bucket = "farm";

    private static readonly Lazy<S3Server> Started = new(() => new S3Server());
    private readonly DirectoryInfo _directory = Directory.CreateTempSubdirectory("snapshots-s3-");
    private readonly Process _process;

    private S3Server()
    {
        var script = Path.Combine(Folder(), "s3-server", "server.js");
        if (!Directory.Exists(Path.Combine(Path.GetDirectoryName(script)!, "node_modules")))
            throw new InvalidOperationException($"{Path.GetDirectoryName(script)}: the server is not installed; run scripts/install-test-dependencies");
        var start = new ProcessStartInfo("node", [script, _directory.FullName, Bucket]) { RedirectStandardInput = true, RedirectStandardOutput = true };
        start.Environment["S3_CONDITIONAL"] = "1";
        _process = Process.Start(start)!;
        // "listening on 34567"; null when it has ended instead.
        var line = _process.StandardOutput.ReadLine() ?? throw new InvalidOperationException($"{script} ended with {_process.ExitCode}");
        Endpoint = $"http://127.0.0.1:{int.Parse(line.AsSpan(line.LastIndexOf(' ') + 1), CultureInfo.InvariantCulture)}";
        AppDomain.CurrentDomain.ProcessExit += (_, _) => Dispose();
    }

    public static S3Server Shared => Started.Value;

    public string Endpoint { get; }

    /// <summary>Where the server keeps the objects of its bucket.</summary>
    public string Objects => Path.Combine(_directory.FullName, Bucket);

    /// <summary>Where it keeps the parts of uploads that have not ended.</summary>
    public string[] Uploads => Directory.Exists(Path.Combine(Objects, "._S3rver_uploads")) ? Directory.GetFileSystemEntries(Path.Combine(Objects, "._S3rver_uploads")) : [];

    public void Dispose()
    {
        _process.StandardInput.Close();
        if (!_process.WaitForExit(TimeSpan.FromSeconds(10)))
            _process.Kill();
        _process.Dispose();
        _directory.Delete(recursive: true);
    }

    // What the server takes; nobody else's may be used by accident.
    [ModuleInitializer]
    internal static void SetCredentials()
    {
        Environment.SetEnvironmentVariable("AWS_ACCESS_KEY_ID", "S3RVER");
        Environment.SetEnvironmentVariable("AWS_SECRET_ACCESS_KEY", "S3RVER");
        Environment.SetEnvironmentVariable("AWS_PROFILE", null);
        Environment.SetEnvironmentVariable("AWS_ENDPOINT_URL_S3", null);
    }

    private static string Folder([CallerFilePath] string here = "") => Path.GetDirectoryName(here)!;
}
