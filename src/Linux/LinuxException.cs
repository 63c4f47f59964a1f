namespace Snapshots.Linux;

/// <summary>A system call that failed where the caller had no use for the error number: says the call, its arguments and the object it was about.</summary>
public sealed class LinuxException : Exception
{
    /// <param name="call">Name of the system call or kernel interface, as in its man page.</param>
    /// <param name="errno">What the kernel answered.</param>
    /// <param name="subject">The object the call was about (path, pid, descriptor, mapping), in words an operator knows.</param>
    public LinuxException(string call, Errno errno, string subject)
        : base($"{call}: {subject}: {errno} ({ErrnoText.Describe(errno)})")
    {
        Call = call;
        Errno = errno;
        Subject = subject;
    }

    public string Call { get; }

    public Errno Errno { get; }

    public string Subject { get; }
}
