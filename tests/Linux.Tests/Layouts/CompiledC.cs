using System.Diagnostics;
using System.Globalization;

namespace Snapshots.Linux.Tests.Layouts;

/// <summary>Asks the C compiler and the kernel's headers what expressions are worth.</summary>
internal static class CompiledC
{
    /// <summary>Everything that declares constants or structures we use.</summary>
    private const string Headers = """
        #define _GNU_SOURCE
        #include <stddef.h>
        #include <stdio.h>
        #include <fcntl.h>
        #include <poll.h>
        #include <sched.h>
        #include <signal.h>
        #include <spawn.h>
        #include <time.h>
        #include <ucontext.h>
        #include <unistd.h>
        #include <net/if.h>
        #include <netinet/in.h>
        #include <netinet/tcp.h>
        #include <sys/epoll.h>
        #include <sys/eventfd.h>
        #include <sys/file.h>
        #include <sys/inotify.h>
        #include <sys/ioctl.h>
        #include <sys/mman.h>
        #include <sys/mount.h>
        #include <sys/personality.h>
        #include <sys/ptrace.h>
        #include <sys/resource.h>
        #include <sys/signalfd.h>
        #include <sys/socket.h>
        #include <sys/stat.h>
        #include <sys/timerfd.h>
        #include <sys/uio.h>
        #include <sys/un.h>
        #include <sys/user.h>
        #include <sys/wait.h>
        #include <asm/prctl.h>
        #include <linux/audit.h>
        #include <linux/capability.h>
        #include <elf.h>
        #include <linux/fs.h>
        #include <linux/futex.h>
        #include <linux/inet_diag.h>
        #include <linux/kcmp.h>
        #include <linux/magic.h>
        #include <linux/membarrier.h>
        #include <linux/memfd.h>
        #include <linux/netlink.h>
        #include <linux/netlink_diag.h>
        #include <linux/prctl.h>
        #include <linux/rseq.h>
        #include <linux/ptrace.h>
        #define sched_param kernel_sched_param /* sched.h has it too */
        #include <linux/sched/types.h>
        #undef sched_param
        #include <linux/securebits.h>
        #include <linux/sock_diag.h>
        #include <linux/sockios.h>
        #include <linux/unix_diag.h>
        #include <linux/userfaultfd.h>

        /* linux/sched.h clashes with sched.h; this is its struct of Linux 5.7. */
        struct clone_args { __u64 flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls, set_tid, set_tid_size, cgroup; } __attribute__((aligned(8)));

        /* Newer than the headers of older distributions. */
        #ifndef PAGEMAP_SCAN
        struct page_region { __u64 start, end, categories; };
        struct pm_scan_arg { __u64 size, flags, start, end, walk_end, vec, vec_len, max_pages, category_inverted, category_mask, category_anyof_mask, return_mask; };
        #define PAGEMAP_SCAN _IOWR('f', 16, struct pm_scan_arg)
        #endif
        #ifndef PR_TIMER_CREATE_RESTORE_IDS
        #define PR_TIMER_CREATE_RESTORE_IDS 77
        #endif
        #ifndef MADV_COLLAPSE
        #define MADV_COLLAPSE 25
        #endif
        #ifndef MADV_GUARD_INSTALL
        #define MADV_GUARD_INSTALL 102
        #endif
        #ifndef MFD_NOEXEC_SEAL
        #define MFD_NOEXEC_SEAL 8
        #endif
        #ifndef MFD_EXEC
        #define MFD_EXEC 0x10
        #endif
        #ifndef F_SEAL_EXEC
        #define F_SEAL_EXEC 0x20
        #endif
        #define MEMBARRIER_CMD_GET_REGISTRATIONS_SINCE_6_3 (1 << 9)

        """;

    /// <summary>Values of the expressions; null for one whose <paramref name="guard"/> macro does not exist.</summary>
    public static IReadOnlyList<long?> Evaluate(IReadOnlyList<(string Expression, string? Guard)> expressions)
    {
        var lines = expressions.Select(row =>
            row.Guard is null
                ? $"printf(\"%lld\\n\", (long long)({row.Expression}));"
                : $"#ifdef {row.Guard}\nprintf(\"%lld\\n\", (long long)({row.Expression}));\n#else\nputs(\"-\");\n#endif");
        var output = Run($"{Headers}\nint main(void)\n{{\n{string.Join('\n', lines)}\nreturn 0;\n}}\n");
        return [.. output.Split('\n', StringSplitOptions.RemoveEmptyEntries).Select(line => line == "-" ? (long?)null : long.Parse(line, CultureInfo.InvariantCulture))];
    }

    private static string Run(string source)
    {
        var directory = Directory.CreateTempSubdirectory("snapshots-layout-");
        try
        {
            var file = Path.Combine(directory.FullName, "layout.c");
            var program = Path.Combine(directory.FullName, "layout");
            File.WriteAllText(file, source);
            Execute("gcc", "-w", "-o", program, file);
            return Execute(program);
        }
        finally
        {
            directory.Delete(recursive: true);
        }
    }

    private static string Execute(string program, params string[] arguments)
    {
        using var process = Process.Start(new ProcessStartInfo(program, arguments) { RedirectStandardOutput = true, RedirectStandardError = true })!;
        var errors = process.StandardError.ReadToEndAsync();
        var output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        return process.ExitCode == 0 ? output : throw new InvalidOperationException($"{program} ended with {process.ExitCode}: {errors.Result}");
    }
}
