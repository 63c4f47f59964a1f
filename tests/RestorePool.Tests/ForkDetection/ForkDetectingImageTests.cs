using System.Security.Cryptography;
using CsCheck;
using Snapshots.Images.V1;
using Snapshots.Linux.Syscalls;
using Snapshots.RestorePool.Elf;
using Snapshots.RestorePool.ForkDetection;
using Xunit;

namespace Snapshots.RestorePool.Tests.ForkDetection;

public sealed class ForkDetectingImageTests
{
    private const string Shared = "-shared";
    private const string Position = "-fPIC";
    private const string Stripped = "-s";

    [Fact]
    public void The_systems_libcrypto_is_led_by_its_words_or_its_function()
    {
        RandomNumberGenerator.GetBytes(1); // loads it
        var path = File.ReadLines("/proc/self/maps").Select(line => line[(line.LastIndexOf(' ') + 1)..]).First(path => path.Contains("/libcrypto.so", StringComparison.Ordinal));
        var image = Inspect(path);
        Assert.Null(image!.Remark);
        Assert.NotEmpty(image.Sites);
    }

    [Fact]
    public void Node_is_led_by_its_function_and_keeps_its_own_getpid()
    {
        var path = Environment.GetEnvironmentVariable("PATH")!.Split(':').Select(folder => Path.Combine(folder, "node")).First(File.Exists);
        var image = Inspect(File.ResolveLinkTarget(path, returnFinalTarget: true)?.FullName ?? path);
        Assert.Null(image!.Remark);
        Assert.All(image.Sites, site => Assert.Equal(ForkDetectionKind.Function, site.Kind));
        Assert.NotEmpty(image.Sites);
    }

    [Theory]
    [InlineData("-fplt")]
    [InlineData("-fno-plt")]
    public void A_stripped_library_is_led_by_the_words_of_getpid(string calls)
    {
        using var library = new CompiledLibrary(CompiledLibrary.LibraryOfOpenSsl, Shared, Position, Stripped, calls);
        var site = Assert.Single(Inspect(library.Path)!.Sites);
        Assert.Equal((ForkDetectionKind.AddressWord, sizeof(ulong)), (site.Kind, site.FileBytes.Length));
    }

    [Theory]
    [InlineData("OSSL_provider_init")]
    [InlineData("gcry_create_nonce")]
    public void Providers_and_libgcrypt_are_led_by_the_words_of_getpid(string export)
    {
        using var library = new CompiledLibrary($"#include <unistd.h>\nint {export}(void) {{ return getpid(); }}", Shared, Position, Stripped);
        Assert.Equal(ForkDetectionKind.AddressWord, Assert.Single(Inspect(library.Path)!.Sites).Kind);
    }

    [Fact]
    public void A_library_with_symbols_is_led_by_its_function()
    {
        using var library = new CompiledLibrary(CompiledLibrary.LibraryOfOpenSsl, Shared, Position);
        var site = Assert.Single(Inspect(library.Path)!.Sites);
        Assert.Equal(ForkDetectionKind.Function, site.Kind);
    }

    [Fact]
    public void A_program_that_is_linked_statically_is_led_by_its_function()
    {
        using var program = new CompiledLibrary(CompiledLibrary.LibraryOfOpenSsl + "int main(void) { return RAND_bytes() == 0; }", "-static");
        Assert.Equal(ForkDetectionKind.Function, Assert.Single(Inspect(program.Path)!.Sites).Kind);
    }

    [Fact]
    public void A_function_that_was_merged_with_another_stays_and_is_remarked()
    {
        const string merged = """
            #include <unistd.h>
            int openssl_get_fork_id(void) { return getpid(); }
            int uv_os_getpid(void) __attribute__((alias("openssl_get_fork_id")));
            int main(void) { return uv_os_getpid() == openssl_get_fork_id(); }
            """;
        using var program = new CompiledLibrary(merged);
        var image = Inspect(program.Path)!;
        Assert.Empty(image.Sites);
        Assert.Contains("merged", image.Remark, StringComparison.Ordinal);
    }

    [Fact]
    public void A_stripped_program_that_exports_OpenSSL_keeps_its_getpid_and_is_remarked()
    {
        using var program = new CompiledLibrary(CompiledLibrary.LibraryOfOpenSsl + "int main(void) { return RAND_bytes() == 0; }", "-rdynamic", Stripped);
        var image = Inspect(program.Path)!;
        Assert.Empty(image.Sites);
        Assert.Contains("no symbol", image.Remark, StringComparison.Ordinal);
    }

    [Fact]
    public void What_only_uses_getpid_or_OpenSSL_is_left_alone()
    {
        using var library = new CompiledLibrary("#include <unistd.h>\nint RAND_bytes(void);\nint f(void) { return getpid() + RAND_bytes(); }", Shared, Position);
        var image = Inspect(library.Path)!;
        Assert.Empty(image.Sites);
        Assert.Null(image.Remark);
    }

    [Fact]
    public void A_file_of_another_kind_is_none()
    {
        Assert.Null(Inspect(typeof(ForkDetectingImage).Assembly.Location));
        Assert.Null(Inspect("/dev/null"));
    }

    [Fact]
    public void A_library_that_was_cut_short_is_malformed_or_empty()
    {
        using var library = new CompiledLibrary(CompiledLibrary.LibraryOfOpenSsl, Shared, Position);
        var bytes = File.ReadAllBytes(library.Path);
        for (var length = 0; length < bytes.Length; length += 61)
            AssertNoCrash(library.Path, bytes[..length]);
    }

    [Fact]
    public void Damaged_headers_and_tables_never_crash()
    {
        using var library = new CompiledLibrary(CompiledLibrary.LibraryOfOpenSsl, Shared, Position);
        var original = File.ReadAllBytes(library.Path);
        var sections = (int)BitConverter.ToUInt64(original, 40);
        // Where damage tells: the ELF header, program headers, and section headers at the end of the file; and anywhere else.
        var places = Gen.OneOf(Gen.Int[16, 63], Gen.Int[64, 700], Gen.Int[sections, original.Length - 1], Gen.Int[0, original.Length - 1]);
        Gen.Select(places, Gen.OneOf(Gen.Const<byte>(0), Gen.Const<byte>(0xff), Gen.Byte)).Array[1, 8].Sample(
            damages =>
            {
                var bytes = original.ToArray();
                foreach (var (place, value) in damages)
                    bytes[place] = value;
                AssertNoCrash(library.Path, bytes);
            },
            iter: 1000,
            threads: 1);
    }

    /// <summary>A file that the snapshot no longer fits, or that is no file, becomes a remark and not a crash.</summary>
    [Fact]
    public void A_plan_remarks_what_it_cannot_read()
    {
        using var library = new CompiledLibrary(CompiledLibrary.LibraryOfOpenSsl, Shared, Position);
        File.WriteAllBytes(library.Path, File.ReadAllBytes(library.Path)[..2000]);
        _ = FileStatus.At(library.Path, followLast: true, out var status);
        var plan = ForkDetectionPlan.For(ManifestOf(new FileIdentity { Path = library.Path, SizeBytes = status.SizeBytes, MtimeNs = status.ModifiedNanoseconds }));
        Assert.True(plan.IsEmpty);
        Assert.Contains("no well-formed ELF file", Assert.Single(plan.Remarks), StringComparison.Ordinal);

        Assert.Contains("not on this host", Assert.Single(ForkDetectionPlan.For(ManifestOf(new FileIdentity { Path = library.Path })).Remarks), StringComparison.Ordinal);
        Assert.Contains("not on this host", Assert.Single(ForkDetectionPlan.For(ManifestOf(new FileIdentity { Path = "/dev/zero" })).Remarks), StringComparison.Ordinal);
    }

    /// <summary>Only the mapping that shows those bytes of the file counts, wherever it lies.</summary>
    [Fact]
    public void A_plan_finds_the_function_where_its_file_is_mapped()
    {
        using var library = new CompiledLibrary(CompiledLibrary.LibraryOfOpenSsl, Shared, Position);
        _ = FileStatus.At(library.Path, followLast: true, out var status);
        var site = Assert.Single(Inspect(library.Path)!.Sites);
        var page = site.FileOffset & ~4095UL;
        var manifest = ManifestOf(new FileIdentity { Path = library.Path, SizeBytes = status.SizeBytes, MtimeNs = status.ModifiedNanoseconds });
        var mappings = manifest.Processes[0].Mappings;
        mappings[0].FileOffset = page;
        mappings.Add(new Mapping { Start = 0x30_0000, End = 0x30_1000, Protection = 1, Kind = MappingKind.PrivateFile, FileOffset = page }); // not executable

        var plan = ForkDetectionPlan.For(manifest);
        Assert.Equal(0x10_0000 + (site.FileOffset - page), Assert.Single(plan.Sites).Address.Value);
        Assert.Equal([library.Path], plan.Covered);
        Assert.Empty(plan.Remarks);

        mappings[0].FileOffset = page + 4096;
        Assert.Contains("moved away", Assert.Single(ForkDetectionPlan.For(manifest).Remarks), StringComparison.Ordinal);
    }

    /// <summary>A hole between two segments, as loaders leave it: the file's offsets go on there, but nothing can be read.</summary>
    [Fact]
    public void A_plan_looks_for_words_only_where_they_can_be_read()
    {
        using var library = new CompiledLibrary(CompiledLibrary.LibraryOfOpenSsl, Shared, Position, Stripped);
        _ = FileStatus.At(library.Path, followLast: true, out var status);
        var site = Assert.Single(Inspect(library.Path)!.Sites);
        var page = site.FileOffset & ~4095UL;
        var manifest = ManifestOf(new FileIdentity { Path = library.Path, SizeBytes = status.SizeBytes, MtimeNs = status.ModifiedNanoseconds });
        var mappings = manifest.Processes[0].Mappings;
        mappings[0].FileOffset = 0x100_0000;
        mappings.Add(new Mapping { Start = 0x20_0000, End = 0x20_1000, Kind = MappingKind.PrivateFile, FileOffset = page });
        mappings.Add(new Mapping { Start = 0x30_0000, End = 0x30_1000, Protection = 3, Kind = MappingKind.PrivateFile, FileOffset = page });

        Assert.Equal(0x30_0000 + (site.FileOffset - page), Assert.Single(ForkDetectionPlan.For(manifest).Sites).Address.Value);
    }

    private static Manifest ManifestOf(FileIdentity file)
    {
        const uint readAndExecute = 5;
        var process = new ProcessImage();
        process.Mappings.Add(new Mapping { Start = 0x10_0000, End = 0x10_1000, Protection = readAndExecute, Kind = MappingKind.PrivateFile });
        return new Manifest { Files = { file }, Processes = { process } };
    }

    private static ForkDetectingImage? Inspect(string path)
    {
        using var elf = ElfFile.Open(path);
        return elf is null ? null : ForkDetectingImage.Inspect(elf);
    }

    private static void AssertNoCrash(string path, byte[] bytes)
    {
        File.WriteAllBytes(path, bytes);
        try
        {
            foreach (var site in Inspect(path)?.Sites ?? [])
                Assert.InRange(site.FileOffset + (ulong)site.FileBytes.Length, 0UL, (ulong)bytes.Length);
        }
        catch (ElfFormatException exception)
        {
            Assert.Contains(path, exception.Message, StringComparison.Ordinal);
        }
    }
}
