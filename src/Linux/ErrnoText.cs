using System.Runtime.InteropServices;

namespace Snapshots.Linux;

/// <summary>strerror(3) for <see cref="Errno"/>.</summary>
public static class ErrnoText
{
    /// <summary>The C library's sentence for <paramref name="errno"/>, e.g. "Operation not permitted".</summary>
    public static string Describe(Errno errno) => Marshal.GetPInvokeErrorMessage((int)errno);
}
