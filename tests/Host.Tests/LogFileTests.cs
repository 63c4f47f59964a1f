using System.Text;
using Snapshots.Host.Clones;

namespace Snapshots.Host.Tests;

public sealed class LogFileTests : IDisposable
{
    private readonly DirectoryInfo _directory = Directory.CreateTempSubdirectory("snapshots-logs-");

    private string LogPath => Path.Combine(_directory.FullName, "clone", "stdout.log");

    public void Dispose() => _directory.Delete(recursive: true);

    [Fact]
    public void A_silent_clone_costs_no_file()
    {
        using (new LogFile(LogPath, 100))
        {
        }

        Assert.False(Directory.Exists(Path.GetDirectoryName(LogPath)));
    }

    [Fact]
    public void What_was_written_is_read_back_before_and_after_the_end()
    {
        using var log = new LogFile(LogPath, 100);
        log.Append("hello "u8);
        log.Append("there"u8);
        Assert.Equal("hello there", ReadAll(log));
        log.Dispose();
        Assert.Equal("hello there", ReadAll(log));
    }

    [Fact]
    public void What_exceeds_the_cap_is_counted_dropped_and_told()
    {
        using var log = new LogFile(LogPath, 10);
        log.Append("0123456"u8);
        log.Append("789abcdef"u8);
        log.Append("more"u8);
        log.Dispose();
        Assert.Equal(20, log.TotalBytes);
        Assert.StartsWith("0123456789\n[10 more bytes were dropped", ReadAll(log), StringComparison.Ordinal);
    }

    [Fact]
    public void A_log_that_cannot_be_written_says_so_and_throws_nothing()
    {
        File.WriteAllText(Path.Combine(_directory.FullName, "clone"), "a file where the directory should be");
        using var log = new LogFile(LogPath, 100);
        log.Append("lost"u8);
        Assert.NotNull(log.Failure);
        Assert.Equal(4, log.TotalBytes);
    }

    [Fact]
    public async Task A_reader_that_waits_is_woken_by_bytes_and_by_the_end()
    {
        using var log = new LogFile(LogPath, 100);
        var cancellation = TestContext.Current.CancellationToken;
        var forBytes = log.WaitBeyond(0, cancellation);
        Assert.False(forBytes.IsCompleted);
        log.Append("x"u8);
        Assert.True(await forBytes);
        var forEnd = log.WaitBeyond(1, cancellation);
        log.Dispose();
        await forEnd;
        Assert.False(await log.WaitBeyond(1, cancellation));
    }

    private static string ReadAll(LogFile log)
    {
        var buffer = new byte[1000];
        return Encoding.UTF8.GetString(buffer, 0, log.Read(0, buffer));
    }
}
