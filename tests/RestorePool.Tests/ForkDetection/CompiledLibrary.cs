using System.Diagnostics;

namespace Snapshots.RestorePool.Tests.ForkDetection;

/// <summary>Compiles C source into an ELF file of a test's own.</summary>
internal sealed class CompiledLibrary : IDisposable
{
    /// <summary>What a library that exports OpenSSL looks like.</summary>
    public const string LibraryOfOpenSsl = """
        #include <unistd.h>
        void OPENSSL_fork_child(void) { }
        __attribute__((visibility("hidden"), noinline)) int openssl_get_fork_id(void) { return getpid(); }
        int RAND_bytes(void) { return openssl_get_fork_id(); }
        """;

    private readonly string _directory = Directory.CreateTempSubdirectory("snapshots-elf-").FullName;

    public CompiledLibrary(string source, params string[] options)
    {
        var file = System.IO.Path.Combine(_directory, "source.c");
        Path = System.IO.Path.Combine(_directory, "compiled");
        File.WriteAllText(file, source);
        using var process = Process.Start(new ProcessStartInfo("gcc", ["-O2", "-w", .. options, "-o", Path, file]) { RedirectStandardError = true })!;
        var errors = process.StandardError.ReadToEnd();
        process.WaitForExit();
        if (process.ExitCode != 0)
            throw new InvalidOperationException($"gcc ended with {process.ExitCode}: {errors}");
    }

    public string Path { get; }

    public void Dispose() => Directory.Delete(_directory, recursive: true);
}
