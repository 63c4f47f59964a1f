namespace Snapshots.Tracing;

/// <summary>What went wrong in a ptrace conversation. In every case the target was let go and runs on, unless it is gone itself.</summary>
public enum TracingFailure
{
    /// <summary>The process or thread ended.</summary>
    TargetGone,

    /// <summary>Somebody else traces it.</summary>
    AlreadyTraced,

    /// <summary>ptrace(2) is not permitted.</summary>
    NotPermitted,

    /// <summary>A thread did not stop in time: it sleeps uninterruptibly in the kernel, e.g. inside vfork(2).</summary>
    CannotStop,

    /// <summary>The target did something unforeseen while a system call ran on its behalf.</summary>
    UnexpectedStop,
}

/// <summary>A process cannot be traced, or stopped being traceable; <see cref="Failure"/> says why.</summary>
public sealed class TracingException(TracingFailure failure, string message, Exception? inner = null) : Exception(message, inner)
{
    public TracingFailure Failure { get; } = failure;
}
