using Snapshots.AddressSpace;
using Snapshots.Linux.Syscalls;
using Xunit;

namespace Snapshots.Linux.Tests.Syscalls;

public sealed class PagemapScanTests
{
    private const string Map = """
        libc.mmap.restype = ctypes.c_void_p
        libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
        libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
        def put(address): ctypes.c_char.from_address(address).value = b'x'
        def get(address): return ctypes.c_char.from_address(address).value

        """;

    [Fact]
    public void Finds_the_pages_that_were_written_and_no_others()
    {
        using var probe = PythonProbe.Start(Map + """
            start = libc.mmap(None, 64 * 4096, 3, 0x22, -1, 0)
            for page in (1, 2, 5, 63): put(start + page * 4096)
            get(start + 8 * 4096)
            report['start'] = start
            """);
        var start = new VirtualAddress(probe.Number("start"));
        using var scan = PagemapScan.Open(probe.Pid);
        Assert.Equal([(1u, 2u), (5u, 1u), (63u, 1u)], Pages(scan.PrivatePages(AddressRange.FromLength(start, 64 * PageSize.Bytes)), start));
        Assert.Equal([(2u, 1u)], Pages(scan.PrivatePages(AddressRange.FromLength(start + (2 * PageSize.Bytes), PageSize.Bytes)), start));
        Assert.Empty(scan.PrivatePages(AddressRange.FromLength(start, 0)));
    }

    [Fact]
    public void Goes_on_where_one_call_ends()
    {
        using var probe = PythonProbe.Start(Map + """
            start = libc.mmap(None, 8192 * 4096, 3, 0x22, -1, 0)
            libc.madvise(start, 8192 * 4096, 15)
            for page in range(0, 8192, 2): put(start + page * 4096)
            report['start'] = start
            """);
        var start = new VirtualAddress(probe.Number("start"));
        using var scan = PagemapScan.Open(probe.Pid);
        var pages = Pages(scan.PrivatePages(AddressRange.FromLength(start, 8192 * PageSize.Bytes)), start);
        Assert.Equal(Enumerable.Range(0, 4096).Select(i => ((ulong)i * 2, 1ul)), pages);
    }

    [Fact]
    public void Of_a_private_file_mapping_only_what_was_written_is_ours()
    {
        using var probe = PythonProbe.Start(Map + """
            file = os.memfd_create('x')
            os.write(file, b'y' * 16 * 4096)
            start = libc.mmap(None, 16 * 4096, 3, 2, file, 0)
            shared = libc.mmap(None, 16 * 4096, 3, 1, file, 0)
            for page in range(16): get(start + page * 4096)
            put(start + 3 * 4096)
            put(shared + 4 * 4096)
            report.update(start=start, shared=shared)
            """);
        var start = new VirtualAddress(probe.Number("start"));
        var shared = new VirtualAddress(probe.Number("shared"));
        using var scan = PagemapScan.Open(probe.Pid);
        Assert.Equal([(3u, 1u)], Pages(scan.PrivatePages(AddressRange.FromLength(start, 16 * PageSize.Bytes)), start));
        Assert.Empty(scan.PrivatePages(AddressRange.FromLength(shared, 16 * PageSize.Bytes)));
        Assert.Contains(scan.ExistingPages(AddressRange.FromLength(shared, 16 * PageSize.Bytes)), range => range.Contains(shared + (4 * PageSize.Bytes)));
    }

    [Fact]
    public void Guard_pages_are_told_apart()
    {
        using var probe = PythonProbe.Start(Map + """
            start = libc.mmap(None, 8 * 4096, 3, 0x22, -1, 0)
            put(start)
            report['guarded'] = libc.madvise(start + 4096, 2 * 4096, 102) == 0
            report['start'] = start
            """);
        Assert.True(probe.Report.GetProperty("guarded").GetBoolean(), "this kernel has no MADV_GUARD_INSTALL (6.13)");
        var start = new VirtualAddress(probe.Number("start"));
        var range = AddressRange.FromLength(start, 8 * PageSize.Bytes);
        using var scan = PagemapScan.Open(probe.Pid);
        Assert.Equal([(0u, 1u)], Pages(scan.PrivatePages(range), start));
        Assert.Equal([(1u, 2u)], Pages(scan.GuardPages(range), start));
    }

    [Fact]
    public void A_process_that_is_gone_is_named()
    {
        var gone = Assert.Throws<LinuxException>(() => PagemapScan.Open(int.MaxValue));
        Assert.Contains("2147483647", gone.Message, StringComparison.Ordinal);
    }

    private static List<(ulong First, ulong Count)> Pages(List<AddressRange> ranges, VirtualAddress start) =>
        ranges.ConvertAll(range => ((range.Start - start) / PageSize.Bytes, range.PageCount));
}
