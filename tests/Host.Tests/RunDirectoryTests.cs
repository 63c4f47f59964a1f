namespace Snapshots.Host.Tests;

public sealed class RunDirectoryTests : IDisposable
{
    private readonly DirectoryInfo _parent = Directory.CreateTempSubdirectory("snapshots-run-");

    public void Dispose() => _parent.Delete(recursive: true);

    [Fact]
    public void Only_the_owner_may_enter_what_is_made()
    {
        var run = RunDirectory.At(Path.Combine(_parent.FullName, "run"));
        run.Create();
        Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute, File.GetUnixFileMode(run.Path));
    }

    [Fact]
    public void A_directory_that_is_open_to_others_is_refused()
    {
        var run = RunDirectory.At(_parent.FullName);
        File.SetUnixFileMode(run.Path, (UnixFileMode)0b111_101_101);
        var refused = Assert.Throws<AgentException>(run.Create);
        Assert.Contains("chmod 700", refused.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_path_that_leaves_no_room_for_the_socket_is_refused()
    {
        var refused = Assert.Throws<AgentException>(() => RunDirectory.At("/tmp/" + new string('x', 100)));
        Assert.Contains("--run", refused.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Two_agents_cannot_have_one_directory()
    {
        var run = RunDirectory.At(_parent.FullName);
        using (run.Lock())
            Assert.Throws<AgentException>(run.Lock);
        run.Lock().Dispose();
    }

    [Fact]
    public void Leftovers_of_a_dead_agent_are_removed()
    {
        var run = RunDirectory.At(_parent.FullName);
        File.WriteAllText(run.SocketPath, string.Empty);
        Directory.CreateDirectory(Path.Combine(run.ClonesPath, "0123"));
        run.RemoveLeftovers();
        Assert.Empty(Directory.EnumerateFileSystemEntries(run.Path));
    }
}
