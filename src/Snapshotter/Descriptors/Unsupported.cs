using Snapshots.Snapshotter.Capture;

namespace Snapshots.Snapshotter.Descriptors;

/// <summary>Kernel objects that cannot come along, each by its name.</summary>
internal static class Unsupported
{
    private static readonly (string Link, string What, string Cure)[] Known =
    [
        ("anon_inode:[io_uring]", "an io_uring instance shares memory and requests with the kernel",
            "Run the worker without io_uring (node: UV_USE_IO_URING=0), or open it after the worker was ready."),
        ("anon_inode:[userfaultfd]", "a userfaultfd is tied to this address space", "Close it before the worker is ready."),
        ("anon_inode:[perf_event]", "a perf event counts in the running kernel", "Stop profiling before the worker is ready."),
        ("anon_inode:[fanotify]", "a fanotify group cannot be rebuilt", "Close it before the worker is ready."),
        ("anon_inode:bpf", "a BPF object lives in the running kernel", "Close it before the worker is ready."),
        ("anon_inode:kvm", "a virtual machine lives in the running kernel", "Close it before the worker is ready."),
        ("anon_inode:[landlock-ruleset]", "a Landlock ruleset cannot be read back", "Close it before the worker is ready."),
        ("anon_inode:seccomp notify", "a seccomp listener supervises a running process", "Close it before the worker is ready."),
        ("anon_inode:[fscontext]", "a file system context is half-way through a mount", "Close it before the worker is ready."),
    ];

    private static readonly string[] Namespaces = ["cgroup:[", "ipc:[", "mnt:[", "net:[", "pid:[", "time:[", "user:[", "uts:["];

    public static void Refuse(CaptureContext context, CapturedFile file)
    {
        foreach (var (link, what, cure) in Known)
        {
            if (file.Link.StartsWith(link, StringComparison.Ordinal))
            {
                context.Refuse(file.Subject, what, cure);
                return;
            }
        }
        if (file.Info.PidfdPid is { } pid)
            context.Refuse(file.Subject, $"a pidfd of process {pid}", "Close it before the worker is ready, and let children end.");
        else if (Namespaces.Any(name => file.Link.StartsWith(name, StringComparison.Ordinal)))
            context.Refuse(file.Subject, "a descriptor of a namespace: clones have namespaces of their own", "Close it before the worker is ready.");
        else
            context.Refuse(file.Subject, "this kind of file cannot be restored", "Close it before the worker is ready.");
    }
}
