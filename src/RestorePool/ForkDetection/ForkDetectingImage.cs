using Snapshots.Programs;
using Snapshots.RestorePool.Elf;

namespace Snapshots.RestorePool.ForkDetection;

/// <summary>
/// Finds where an ELF file asks for the process ID to notice a fork.
/// <para>OpenSSL 1.1.1 and later: each random generator (providers/implementations/rands/drbg.c) keeps the number that <c>openssl_get_fork_id()</c>
/// returned when it was seeded, and seeds again when it returns another; on Unix (crypto/threads_pthread.c) that function is a call of getpid(2).</para>
/// <para>libgcrypt (random/random.c, random-drbg.c, random-csprng.c) compares getpid(2) itself, and asks for it nowhere else.</para>
/// </summary>
/// <remarks>
/// <code>
/// 1. openssl_get_fork_id is among the symbols (node, Python packages with OpenSSL inside): that function, if a jump fits over it and it is its
///    own. A linker may have merged it with others of the same code, such as libuv's uv_os_getpid.
/// 2. Else a library that exports OpenSSL (libcrypto.so), is a provider of it (fips.so), or is libgcrypt: the words of its imported getpid.
///    Whatever else asks there only mixes the number into seeds, or logs it. A program's own words stay: it may show its process ID to the world.
/// 3. Else, when symbols tell that it is OpenSSL: a remark.
/// </code>
/// A stripped file that exports nothing of OpenSSL is not recognised.
/// </remarks>
internal sealed record ForkDetectingImage(IReadOnlyList<ForkDetectionSite> Sites, string? Remark)
{
    private const string ForkIdFunction = "openssl_get_fork_id";
    private const string ProcessIdFunction = "getpid";

    /// <summary>Exported by libraries that ask for the process ID to notice forks, and for nothing that the world sees.</summary>
    private static readonly string[] s_libraryMarks = ["OPENSSL_fork_child", "OSSL_provider_init", "gcry_create_nonce"];

    /// <summary>Defined by OpenSSL 1.1.1 and later; BoringSSL, which notices forks by other means, has none of them.</summary>
    private static readonly string[] s_openSslMarks = ["OPENSSL_fork_child", "OSSL_PROVIDER_load", "RAND_DRBG_new"];

    private static readonly ForkDetectingImage s_none = new([], null);

    /// <exception cref="ElfFormatException">The file is malformed.</exception>
    /// <exception cref="IOException">It cannot be read.</exception>
    public static ForkDetectingImage Inspect(ElfFile elf)
    {
        string[] names = [ForkIdFunction, ProcessIdFunction, .. s_libraryMarks.Union(s_openSslMarks)];
        var exported = elf.FindSymbols(ElfSymbolTable.Dynamic, names);
        var all = exported.Any(IsForkIdFunction) ? exported : [.. exported, .. elf.FindSymbols(ElfSymbolTable.All, names)];
        var functions = all.Where(IsForkIdFunction).DistinctBy(symbol => symbol.Value).ToList();
        var sites = functions.Select(function => FunctionSite(elf, function)).OfType<ForkDetectionSite>().ToList();
        if (functions.Count > 0 && sites.Count == functions.Count)
            return new ForkDetectingImage(sites, null);
        var words = IsLibraryOfRandomNumbers(elf, exported) ? AddressWords(elf, exported).ToList() : [];
        if (words.Count > 0)
            return new ForkDetectingImage(words, null);
        var isOpenSsl = functions.Count > 0 || all.Any(symbol => symbol.IsDefined && s_openSslMarks.Contains(symbol.Name));
        return isOpenSsl ? new ForkDetectingImage(sites, $"{elf.Path}: {Reason(functions.Count > 0)}") : s_none;
    }

    private static bool IsLibraryOfRandomNumbers(ElfFile elf, List<ElfSymbol> exported) =>
        !elf.HasInterpreter && exported.Any(symbol => symbol.IsDefined && s_libraryMarks.Contains(symbol.Name));

    private static bool IsForkIdFunction(ElfSymbol symbol) => symbol is { Name: ForkIdFunction, IsDefined: true, IsFunction: true };

    private static string Reason(bool hasFunction) =>
        hasFunction ? $"its {ForkIdFunction} cannot be replaced (too short, or merged with another function)" : $"it holds OpenSSL, but no symbol tells where its {ForkIdFunction} is";

    private static ForkDetectionSite? FunctionSite(ElfFile elf, ElfSymbol function)
    {
        const int LongestFunction = 256;
        if (!elf.TryGetFileOffset(function.Value, out var offset, out var segment) || !segment.Executable || function.SizeBytes > LongestFunction)
            return null;
        if (elf.CountFunctionNames(ElfSymbolTable.All, function.Value) > 1 || elf.CountFunctionNames(ElfSymbolTable.Dynamic, function.Value) > 1)
            return null;
        Span<byte> code = stackalloc byte[LongestFunction];
        code = code[..elf.Read(offset, code)];
        return FunctionReplacement.Fits(code, (int)function.SizeBytes)
            ? new ForkDetectionSite(ForkDetectionKind.Function, offset, code[..FunctionReplacement.SizeBytes].ToArray())
            : null;
    }

    private static IEnumerable<ForkDetectionSite> AddressWords(ElfFile elf, List<ElfSymbol> exported)
    {
        foreach (var symbol in exported.Where(symbol => symbol is { Name: ProcessIdFunction, IsDefined: false }))
        {
            foreach (var address in elf.FindAddressWords(symbol.Index))
            {
                var bytes = new byte[sizeof(ulong)];
                if (elf.TryGetFileOffset(address, out var offset, out _) && elf.Read(offset, bytes) == bytes.Length)
                    yield return new ForkDetectionSite(ForkDetectionKind.AddressWord, offset, bytes);
            }
        }
    }
}
