using Snapshots.Snapshotter;
using Xunit;

namespace Snapshots.Descriptors.Tests;

/// <summary>What cannot come along is refused by name, everything in one report, and the process goes on as if nobody had looked.</summary>
public sealed class RefusalTests : SandboxedTests
{
    private const string Prologue = """
        import ctypes, fcntl, os, select, signal, socket, tempfile
        from subject import Subject
        subject = Subject()
        libc = ctypes.CDLL(None, use_errno=True)
        here = os.environ["SUBJECT_DIRECTORY"]

        """;

    private const string Epilogue = """

        request = subject.freeze()
        subject.answer(id=request["id"])
        """;

    [Theory]
    [InlineData("fd = os.open(here + '/gone', os.O_RDWR | os.O_CREAT); os.unlink(here + '/gone')", "was deleted")]
    [InlineData("fd = os.open(here + '/a', os.O_RDWR | os.O_CREAT); os.link(here + '/a', here + '/b'); open(here + '/c', 'w').close(); os.rename(here + '/c', here + '/a')", "was deleted")]
    [InlineData("fd = os.open(here + '/locked', os.O_RDWR | os.O_CREAT); fcntl.flock(fd, fcntl.LOCK_EX)", "locked")]
    [InlineData("fd = os.open(here + '/record', os.O_RDWR | os.O_CREAT); fcntl.lockf(fd, fcntl.LOCK_EX)", "locked")]
    [InlineData("os.mkfifo(here + '/fifo'); fd = os.open(here + '/fifo', os.O_RDWR)", "named pipe")]
    [InlineData("fd, other = os.openpty()", "terminal")]
    [InlineData("fd = os.open('/proc/1/status', os.O_RDONLY)", "process 1")]
    [InlineData("fd = os.pidfd_open(os.getpid())", "pidfd of process")]
    [InlineData("fd = os.open('/proc/self/ns/net', os.O_RDONLY)", "namespace")]
    [InlineData("fd = libc.syscall(425, 4, ctypes.create_string_buffer(120))", "io_uring")]
    [InlineData("fd = libc.syscall(323, 0o4000 | 1)", "userfaultfd")]
    [InlineData("fd = libc.memfd_create(b'huge', 4); assert fd >= 0", "huge pages")]
    [InlineData("r, w = os.pipe(); fcntl.fcntl(r, fcntl.F_SETFL, os.O_ASYNC)", "O_ASYNC")]
    [InlineData("r, w = os.pipe2(os.O_DIRECT); os.write(w, b'packet')", "unread packets")]
    [InlineData("fd = libc.timerfd_create(0, 0); libc.timerfd_settime(fd, 3, ctypes.create_string_buffer(bytes(16) + (2**40).to_bytes(8, 'little') + bytes(8)), None)", "changes of the clock")]
    [InlineData("fd = libc.inotify_init1(0); libc.inotify_add_watch(fd, here.encode(), 0x100); open(here + '/new', 'w').close()", "unread inotify events")]
    [InlineData("s = socket.socket(); s.bind(('127.0.0.1', 0)); s.listen(); c = socket.create_connection(s.getsockname()); a, _ = s.accept()", "a TCP connection with 127.0.0.1")]
    [InlineData("s = socket.socket(); s.bind(('127.0.0.1', 0)); s.listen(); c = socket.create_connection(s.getsockname()); c.setsockopt(1, 13, bytes([1, 0, 0, 0, 0, 0, 0, 0]))", "wait to be accepted")]
    [InlineData("s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.connect(('127.0.0.1', 9))", "UDP socket connected to 127.0.0.1:9")]
    [InlineData("s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(('127.0.0.1', 0)); s.sendto(b'x', s.getsockname())", "unread UDP datagrams")]
    [InlineData("s = socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)", "IP protocol 1")]
    [InlineData("s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)", "address family 17")]
    [InlineData("s = socket.socket(socket.AF_UNIX); s.bind('\\0x'); s.listen(); c = socket.socket(socket.AF_UNIX); c.connect('\\0x')", "wait to be accepted")]
    [InlineData("s = socket.socket(socket.AF_UNIX); s.bind('\\0x'); s.listen(); c = socket.socket(socket.AF_UNIX); c.connect('\\0x'); a, _ = s.accept()", "accepted or bound connection on @x")]
    [InlineData("s = socket.socket(socket.AF_UNIX); s.bind('relative')", "relative path relative")]
    [InlineData("a, b = socket.socketpair(); a.sendmsg([b'x'], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, bytes(4))])", "SCM_RIGHTS")]
    [InlineData("s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM); s.bind('\\0box'); socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(b'x', '\\0box')", "unread datagrams")]
    [InlineData("s = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0); s.bind((0, 0)); s.send((20).to_bytes(4, 'little') + (18).to_bytes(2, 'little') + (0x301).to_bytes(2, 'little') + bytes(12))", "unread netlink messages")]
    public void Refused_with_its_name_and_a_cure(string setUp, string expected)
    {
        using var sandbox = Factory.Create();
        using var subject = new RunningSubject(sandbox, FilesDirectory, Prologue + setUp + Epilogue);
        var problems = subject.Capture().Problems;
        Assert.NotEmpty(problems);
        Assert.All(problems, problem => Assert.NotEmpty(problem.Cure));
        Assert.Contains(problems, problem => problem.What.Contains(expected, StringComparison.Ordinal) || problem.Subject.Contains(expected, StringComparison.Ordinal));
        Assert.Contains("\"ok\": true", subject.Ask("""{"id":"refused","payload":{}}"""), StringComparison.Ordinal);
    }

    [Fact]
    public void Report_is_complete()
    {
        const string SetUp = """
            first = os.open(here + '/one', os.O_RDWR | os.O_CREAT); os.unlink(here + '/one')
            second = os.pidfd_open(os.getpid())
            third = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
            fourth = os.open('/proc/self/ns/pid', os.O_RDONLY)
            fine = os.eventfd(1)
            """;
        using var sandbox = Factory.Create();
        using var subject = new RunningSubject(sandbox, FilesDirectory, Prologue + SetUp + Epilogue);
        var problems = subject.Capture().Problems;
        Assert.Equal(4, problems.Select(problem => problem.Subject).Distinct().Count());
        Assert.All(problems, problem => Assert.StartsWith("fd ", problem.Subject, StringComparison.Ordinal));
    }

    [Fact]
    public void Epoll_interest_in_a_file_that_only_somebody_else_keeps_open()
    {
        // The watched end is closed here but lives on in the queue of a socket, as it would in a child.
        const string SetUp = """
            watched, other = socket.socketpair()
            carrier, box = socket.socketpair()
            poll = select.epoll()
            poll.register(watched, select.EPOLLIN)
            socket.send_fds(carrier, [b'x'], [watched.fileno()])
            watched.close()
            """;
        using var sandbox = Factory.Create();
        using var subject = new RunningSubject(sandbox, FilesDirectory, Prologue + SetUp + Epilogue);
        var problems = subject.Capture().Problems;
        Assert.Contains(problems, problem => problem.What.Contains("something else keeps open", StringComparison.Ordinal));
        Assert.Contains(problems, problem => problem.What.Contains("SCM_RIGHTS", StringComparison.Ordinal));
    }

    [Fact]
    public void Pipe_that_another_process_holds()
    {
        const string SetUp = """
            r, w = os.pipe()
            child = os.fork()
            if child == 0:
                os.close(subject.channel)
                signal.pause()
            """;
        using var sandbox = Factory.Create();
        using var subject = new RunningSubject(sandbox, FilesDirectory, Prologue + SetUp + Epilogue);
        var problem = Assert.Single(subject.Capture().Problems);
        Assert.Contains("holds too", problem.What, StringComparison.Ordinal);
    }
}
