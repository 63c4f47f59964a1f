using System.Runtime.CompilerServices;
using System.Text.RegularExpressions;
using Xunit;

namespace Snapshots.Linux.Tests.Layouts;

/// <summary>
/// Every constant in the sources that is spelled like the kernel's (capitals with underscores) is compared with the C headers. One that no header defines
/// as a macro needs a row below: an enumerator, a combination, or a name newer than old headers.
/// </summary>
public sealed partial class KernelConstantTests
{
    private static readonly Dictionary<string, string> Expressions = new()
    {
        ["EVENT_STOP"] = "PTRACE_EVENT_STOP",
        ["EVENT_EXIT"] = "PTRACE_EVENT_EXIT",
        ["O_TRACEEXIT"] = "PTRACE_O_TRACEEXIT",
        ["O_TRACESYSGOOD"] = "PTRACE_O_TRACESYSGOOD",
        ["P_PID"] = "P_PID",
        ["CLD_EXITED"] = "CLD_EXITED",
        ["INET_DIAG_SKV6ONLY"] = "INET_DIAG_SKV6ONLY",
        ["KCMP_EPOLL_TFD"] = "KCMP_EPOLL_TFD",
        ["KCMP_FILE"] = "KCMP_FILE",
        ["MAP_PRIVATE_ANONYMOUS"] = "MAP_PRIVATE | MAP_ANONYMOUS",
        ["MEMBARRIER_CMD_GET_REGISTRATIONS"] = "MEMBARRIER_CMD_GET_REGISTRATIONS_SINCE_6_3",
        ["NETLINK_DIAG_GROUPS"] = "NETLINK_DIAG_GROUPS",
        ["NLM_F_REQUEST_DUMP"] = "NLM_F_REQUEST | NLM_F_DUMP",
        ["O_RDONLY_CLOEXEC"] = "O_RDONLY | O_CLOEXEC",
        ["O_RDONLY_DIRECTORY_CLOEXEC"] = "O_RDONLY | O_DIRECTORY | O_CLOEXEC",
        ["O_RDWR_CLOEXEC"] = "O_RDWR | O_CLOEXEC",
        ["O_RDWR_CREAT_CLOEXEC"] = "O_RDWR | O_CREAT | O_CLOEXEC",
        ["PROT_READ_WRITE"] = "PROT_READ | PROT_WRITE",
        ["PRIO_PROCESS"] = "PRIO_PROCESS",
        ["P_PIDFD"] = "P_PIDFD",
        ["MSG_DONTWAIT"] = "MSG_DONTWAIT",
        ["MSG_NOSIGNAL"] = "MSG_NOSIGNAL",
        ["MSG_PEEK"] = "MSG_PEEK",
        ["MSG_TRUNC"] = "MSG_TRUNC",
        ["SCM_RIGHTS"] = "SCM_RIGHTS",
        ["SOCK_CLOEXEC"] = "SOCK_CLOEXEC",
        ["SOCK_DGRAM_CLOEXEC"] = "SOCK_DGRAM | SOCK_CLOEXEC",
        ["SOCK_RAW_CLOEXEC"] = "SOCK_RAW | SOCK_CLOEXEC",
        ["SOCK_SEQPACKET"] = "SOCK_SEQPACKET",
        ["SOCK_STREAM"] = "SOCK_STREAM",
        ["ADDR_NO_RANDOMIZE"] = "ADDR_NO_RANDOMIZE",
        ["KCMP_FILES"] = "KCMP_FILES",
        ["KCMP_FS"] = "KCMP_FS",
        ["IFF_UP_RUNNING"] = "IFF_UP | IFF_RUNNING",
        ["MS_NODEV"] = "MS_NODEV",
        ["MS_NOEXEC"] = "MS_NOEXEC",
        ["MS_NOSUID"] = "MS_NOSUID",
        ["MS_PRIVATE"] = "MS_PRIVATE",
        ["MS_REC"] = "MS_REC",
        ["SS_DISABLE"] = "SS_DISABLE",
    };

    [Fact]
    public void Constants_spelled_like_the_kernels_have_the_kernels_values()
    {
        var constants = ConstantsInSources();
        Assert.True(constants.Count > 50, $"only {constants.Count} constants were found: the pattern no longer matches the sources");
        var values = CompiledC.Evaluate(
        [
            .. constants.Select(constant => (constant.Expression, (string?)null)),
            .. constants.Select(constant => Expressions.TryGetValue(constant.Name, out var expression) ? (expression, null) : (constant.Name, (string?)constant.Name)),
        ]);
        var wrong = new List<string>();
        for (var i = 0; i < constants.Count; i++)
        {
            var (ours, kernels) = (values[i], values[constants.Count + i]);
            if (kernels is null)
                wrong.Add($"{constants[i]}: no header defines it; add a row to {nameof(Expressions)}");
            else if (ours != kernels)
                wrong.Add($"{constants[i]}: is {ours}, the kernel's is {kernels}");
        }
        Assert.Empty(wrong);
    }

    private sealed record Constant(string File, string Name, string Expression);

    private static List<Constant> ConstantsInSources()
    {
        var found = new List<Constant>();
        foreach (var file in Directory.EnumerateFiles(SourceDirectory(), "*.cs", SearchOption.AllDirectories))
        {
            if (file.Contains("/obj/", StringComparison.Ordinal))
                continue;
            foreach (Match declaration in Declaration().Matches(File.ReadAllText(file)))
            {
                foreach (Match constant in NamedValue().Matches(declaration.Groups["list"].Value))
                    found.Add(new Constant(Path.GetFileName(file), constant.Groups["name"].Value, ToC(constant.Groups["value"].Value)));
            }
        }
        return found;
    }

    // 0x4000_0000 and casts are all in which the two languages differ in such expressions.
    private static string ToC(string expression) => Cast().Replace(expression.Replace("_", "", StringComparison.Ordinal), "");

    private static string SourceDirectory([CallerFilePath] string here = "") => Path.GetFullPath(Path.Combine(Path.GetDirectoryName(here)!, "../../../src"));

    [GeneratedRegex(@"\bconst (?:u?int|u?long|u?short|s?byte) (?<list>[^;]+);")]
    private static partial Regex Declaration();

    // Values built from other constants of ours are checked through those.
    [GeneratedRegex(@"(?<name>\b[A-Z][A-Z0-9]*_[A-Z0-9_]+) = (?<value>[-0-9a-fA-FxXbUL_|&<>()~+* ]+?)(?=,|$)")]
    private static partial Regex NamedValue();

    [GeneratedRegex(@"\((?:u?int|u?long|u?short|s?byte)\)")]
    private static partial Regex Cast();
}
