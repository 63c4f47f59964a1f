using System.Text;
using CsCheck;
using Snapshots.AddressSpace;
using Snapshots.Linux.Proc;
using Xunit;

namespace Snapshots.Linux.Tests.Proc;

public sealed class MapsTests
{
    [Fact]
    public void Parses_a_file_mapping()
    {
        Assert.True(Maps.TryParse("560ff8f18000-560ff8f1d000 r-xp 00002000 fe:00 247270                     /usr/bin/cat"u8, out var entry));
        Assert.Equal(new AddressRange(new VirtualAddress(0x560ff8f18000), new VirtualAddress(0x560ff8f1d000)), entry.Range);
        Assert.Equal(MemoryProtection.Read | MemoryProtection.Execute, entry.Protection);
        Assert.False(entry.IsShared);
        Assert.Equal(0x2000u, entry.OffsetBytes);
        Assert.Equal(0xfe00u, entry.Device);
        Assert.Equal(247270u, entry.Inode);
        Assert.Equal("/usr/bin/cat", entry.Path);
        Assert.False(entry.IsDeleted);
    }

    [Theory]
    [InlineData("7f0-8f0 rw-s 00000000 00:01 12    /memfd:doublemapper (deleted)", "/memfd:doublemapper", true)]
    [InlineData("7f0-8f0 rw-p 00000000 00:00 0 ", "", false)]
    [InlineData("7f0-8f0 rw-p 00000000 00:00 0", "", false)]
    [InlineData("7f0-8f0 rw-p 00000000 00:00 0    [anon: a name ]", "[anon: a name ]", false)]
    [InlineData("7f0-8f0 rw-p 00000000 fe:00 9    /tmp/two\\012lines and\\040literal", "/tmp/two\nlines and\\040literal", false)]
    [InlineData("ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0                  [vsyscall]", "[vsyscall]", false)]
    public void Takes_the_name_as_the_kernel_means_it(string line, string path, bool deleted)
    {
        Assert.True(Maps.TryParse(Encoding.UTF8.GetBytes(line), out var entry));
        Assert.Equal(path, entry.Path);
        Assert.Equal(deleted, entry.IsDeleted);
    }

    [Theory]
    [InlineData("")]
    [InlineData("7f0")]
    [InlineData("8f0-7f0 rw-p 0 00:00 0")]
    [InlineData("7f0-8f0 rw-q 0 00:00 0")]
    [InlineData("7f0-8f0 rwxpp 0 00:00 0")]
    [InlineData("7f0-8f0 rw-p 0 0000 0")]
    [InlineData("7f0-8f0 rw-p 0 00:00 x")]
    public void Refuses_what_is_no_mapping(string line) => Assert.False(Maps.TryParse(Encoding.UTF8.GetBytes(line), out _));

    [Fact]
    public void Reads_back_what_the_kernel_would_print()
    {
        var gen =
            from start in Gen.ULong[0, 1UL << 46]
            from length in Gen.ULong[0, 1UL << 40]
            from protection in Gen.Int[0, 7]
            from shared in Gen.Bool
            from offset in Gen.ULong
            from major in Gen.UInt[0, 0xfff]
            from minor in Gen.UInt[0, 0xfffff]
            from inode in Gen.ULong
            from name in Gen.String[Gen.Char["ab/[]:. ()-_é"], 0, 20]
            from deleted in Gen.Bool
            select (start, length, protection, shared, offset, major, minor, inode, Name: name.Trim(), deleted);
        gen.Sample(m =>
        {
            var mode = $"{((m.protection & 1) != 0 ? 'r' : '-')}{((m.protection & 2) != 0 ? 'w' : '-')}{((m.protection & 4) != 0 ? 'x' : '-')}{(m.shared ? 's' : 'p')}";
            var line = $"{m.start:x8}-{m.start + m.length:x8} {mode} {m.offset:x8} {m.major:x2}:{m.minor:x2} {m.inode}      {m.Name}{(m.deleted ? " (deleted)" : "")}";
            Assert.True(Maps.TryParse(Encoding.UTF8.GetBytes(line), out var entry), line);
            Assert.Equal(m.start, entry.Range.Start.Value);
            Assert.Equal(m.length, entry.Range.LengthBytes);
            Assert.Equal((MemoryProtection)m.protection, entry.Protection);
            Assert.Equal(m.shared, entry.IsShared);
            Assert.Equal(m.offset, entry.OffsetBytes);
            Assert.Equal((m.major << 8) | (m.minor & 0xff) | ((ulong)(m.minor & ~0xffu) << 12), entry.Device);
            Assert.Equal(m.inode, entry.Inode);
            Assert.Equal(m.deleted || !m.Name.EndsWith(" (deleted)", StringComparison.Ordinal), m.deleted == entry.IsDeleted || m.Name.Length == 0);
        }, iter: 2000);
    }

    [Fact]
    public void Reads_a_running_process_alike_from_maps_and_smaps()
    {
        using var probe = PythonProbe.Start("report['x'] = 1");
        // The probe still touches a page or two on its way to sleep.
        var before = SmapsRollup.Read(probe.Pid).RssKib;
        var maps = Maps.Read(probe.Pid);
        var smaps = Smaps.Read(probe.Pid);
        Assert.Equal(maps.Select(entry => (entry.Range, entry.Protection, entry.Path, entry.Inode)), smaps.Select(entry => (entry.Range, entry.Protection, entry.Path, entry.Inode)));
        Assert.Contains(smaps, entry => entry.Path == "[heap]" && entry.Use.PrivateDirtyKib > 0);
        Assert.Contains(smaps, entry => entry.Path == "[stack]" && entry.HasVmFlag("gd"));
        Assert.InRange(smaps.Aggregate(0ul, (sum, entry) => sum + entry.RssKib), before, SmapsRollup.Read(probe.Pid).RssKib);
    }

    [Fact]
    public void Names_the_process_that_is_gone()
    {
        var gone = Assert.Throws<LinuxException>(() => Maps.Read(int.MaxValue));
        Assert.Equal(Errno.ESRCH, gone.Errno);
        Assert.Contains("process 2147483647 is gone", gone.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Parses_a_record_of_smaps_ignoring_what_it_does_not_know()
    {
        const string Record = """
            7ffd47dc0000-7ffd47de1000 rw-p 00000000 00:00 0                          [stack]
            Size:                132 kB
            Rss:                  16 kB
            Pss:                  15 kB
            Shared_Clean:          1 kB
            Shared_Dirty:          2 kB
            Private_Clean:         3 kB
            Private_Dirty:        10 kB
            Novelty:               4 MB of something
            THPeligible:           0
            ProtectionKey:         5
            VmFlags: rd wr mr mw me gd ac
            """;
        Assert.True(Smaps.TryParse(Encoding.ASCII.GetBytes(Record), out var entries));
        var entry = Assert.Single(entries);
        Assert.Equal((16u, 15u, 1u, 2u, 3u, 10u), (entry.RssKib, entry.PssKib, entry.Use.SharedCleanKib, entry.Use.SharedDirtyKib, entry.Use.PrivateCleanKib, entry.Use.PrivateDirtyKib));
        Assert.Equal(13u, entry.Use.PrivateKib);
        Assert.Equal(5, entry.ProtectionKey);
        Assert.Equal(["rd", "wr", "mr", "mw", "me", "gd", "ac"], entry.VmFlags);
    }

    [Fact]
    public void A_field_without_a_mapping_is_refused() => Assert.False(Smaps.TryParse("Rss: 1 kB\n"u8, out _));
}
