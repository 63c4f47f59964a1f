using Snapshots.Linux.Syscalls;
using Xunit;

namespace Snapshots.Linux.Tests.Syscalls;

public sealed class FileCallTests
{
    [Fact]
    public async Task A_lock_waits_until_its_holder_lets_go()
    {
        var path = Path.Combine(Path.GetTempPath(), Path.GetRandomFileName());
        try
        {
            var first = FileLock.Acquire(path);
            var second = Task.Run(() => FileLock.Acquire(path), TestContext.Current.CancellationToken);
            Assert.NotSame(second, await Task.WhenAny(second, Task.Delay(50, TestContext.Current.CancellationToken)));
            first.Dispose();
            (await second).Dispose();
        }
        finally
        {
            File.Delete(path);
        }
    }

    [Fact]
    public void A_directory_is_flushed_and_a_file_is_none()
    {
        var directory = Directory.CreateTempSubdirectory();
        try
        {
            DirectoryFlush.Sync(directory.FullName);
            var file = Path.Combine(directory.FullName, "file");
            File.WriteAllText(file, "");
            Assert.Equal(Errno.ENOTDIR, Assert.Throws<LinuxException>(() => DirectoryFlush.Sync(file)).Errno);
        }
        finally
        {
            directory.Delete(recursive: true);
        }
    }

    [Fact]
    public void Limits_are_read_and_lowered()
    {
        using var probe = PythonProbe.Start("import resource; resource.setrlimit(resource.RLIMIT_CORE, (4096, 8192))");
        Assert.Equal(new ResourceLimits(4096, 8192), Prlimit.Get(probe.Pid, ResourceKind.Core));
        Assert.Equal(Errno.None, Prlimit.Set(probe.Pid, ResourceKind.Core, new ResourceLimits(1, 2)));
        Assert.Equal(new ResourceLimits(1, 2), Prlimit.Get(probe.Pid, ResourceKind.Core));
        Assert.Equal(Errno.EINVAL, Prlimit.Set(probe.Pid, ResourceKind.Core, new ResourceLimits(2, 1)));
        Assert.Equal(Errno.ESRCH, Assert.Throws<LinuxException>(() => Prlimit.Get(int.MaxValue, ResourceKind.Core)).Errno);
    }
}
