using System.Buffers.Binary;
using System.Globalization;
using Microsoft.Win32.SafeHandles;
using Snapshots.AddressSpace;
using Snapshots.Linux;
using Snapshots.Linux.Syscalls;

namespace Snapshots.Programs;

/// <summary>
/// An empty process that runs programs. It ends by itself when our end of its control socket closes, so it cannot outlive us by accident;
/// <see cref="Dispose"/> ends it and reaps it.
/// </summary>
/// <remarks>Not thread-safe; callers serialise their conversations.</remarks>
public sealed class Husk : IDisposable
{
    private const int SIGKILL = 9;
    private const int EmptyProcessAttempts = 4;
    private static readonly TimeSpan s_answerTimeout = TimeSpan.FromSeconds(60);
    private static readonly Lazy<SafeFileHandle> s_executable = new(() => Memfd.CreateWith("snapshots-husk", HuskImage.Bytes));

    private readonly SafeFileHandle _control;
    private bool _ended;

    private Husk(int pid, SafeFileHandle pidFd, SafeFileHandle control)
    {
        Pid = pid;
        PidFd = pidFd;
        _control = control;
    }

    /// <summary>In our PID namespace.</summary>
    public int Pid { get; }

    public SafeFileHandle PidFd { get; }

    /// <summary>Our end of the control socket (SOCK_SEQPACKET).</summary>
    public SafeFileHandle Control => _control;

    /// <summary>The descriptor number of the husk's own end until its program moves it.</summary>
    public static int InitialControlDescriptor => HuskImage.ControlDescriptor;

    /// <summary>
    /// Starts an empty process, maps <paramref name="range"/> in it, writes <paramref name="parts"/> there and starts the program at <paramref name="entry"/>.
    /// </summary>
    /// <param name="range">Becomes one private anonymous read-write-execute mapping; the program narrows the protections.</param>
    /// <param name="parts">What to write where, within the range; the stub page is among them.</param>
    /// <exception cref="LinuxException">No process could be made, or the range collides with the husk's own few mappings on every attempt.</exception>
    public static Husk Start(AddressRange range, IReadOnlyList<ProgramPart> parts, VirtualAddress entry, VirtualAddress controlBlock)
    {
        for (var attempt = 1; ; attempt++)
        {
            var husk = Spawn();
            try
            {
                // The husk's stack and vDSO lie at random addresses; a fresh husk moves them out of the way.
                var mapped = husk.Boot(range, entry, controlBlock);
                if (mapped == (long)range.Start.Value)
                {
                    foreach (var part in parts)
                        ProcessVm.Write(husk.Pid, part.Address, part.Bytes.Span);
                    husk.Send(stackalloc byte[8]);
                    return husk;
                }
                if (attempt == EmptyProcessAttempts)
                    throw new LinuxException("mmap", RawErrno(mapped), $"husk {husk.Pid}, range {range} for its program");
            }
            catch
            {
                husk.Dispose();
                throw;
            }
            husk.Dispose();
        }
    }

    /// <summary>Takes over a child of ours that is a fork of a husk, and runs its programs.</summary>
    /// <param name="pid">In our PID namespace; it becomes the husk's to end and reap.</param>
    /// <param name="control">Our end of its control socket; becomes the husk's.</param>
    /// <exception cref="LinuxException">ESRCH: there is no such child.</exception>
    public static Husk Adopt(int pid, SafeFileHandle control)
    {
        SocketMessage.SetReceiveTimeout(control, s_answerTimeout);
        return new Husk(pid, Pidfd.Open(pid), control);
    }

    /// <summary>Sends one message, with descriptors.</summary>
    /// <exception cref="HuskDiedException">The process is gone.</exception>
    public void Send(ReadOnlySpan<byte> message, params ReadOnlySpan<SafeFileHandle> descriptors)
    {
        var errno = SocketMessage.Send(_control, message, descriptors);
        if (errno is Errno.EPIPE or Errno.ECONNRESET)
            throw new HuskDiedException(Pid, ExitText());
        if (errno != Errno.None)
            throw new LinuxException("sendmsg", errno, string.Create(CultureInfo.InvariantCulture, $"control socket of husk {Pid}"));
    }

    /// <summary>Receives one message; returns its length.</summary>
    /// <exception cref="HuskDiedException">The process is gone.</exception>
    /// <exception cref="TimeoutException">No answer within a minute: the husk is stopped or the host is stuck.</exception>
    public int Receive(Span<byte> message)
    {
        var errno = SocketMessage.Receive(_control, message, out var length);
        if (errno == Errno.ECONNRESET || (errno == Errno.None && length == 0))
            throw new HuskDiedException(Pid, ExitText());
        CheckReceived(errno, length);
        return length;
    }

    /// <summary>Receives one report; false when every holder of the husk's end closed it.</summary>
    public bool TryReceiveReport(out HuskReport report)
    {
        Span<byte> message = stackalloc byte[ControlBlock.ReportBytes];
        var errno = SocketMessage.Receive(_control, message, out var length);
        if (errno == Errno.ECONNRESET || (errno == Errno.None && length == 0))
        {
            report = default;
            return false;
        }
        CheckReceived(errno, length);
        report = HuskReport.Decode(message);
        return true;
    }

    /// <summary>Receives one report.</summary>
    /// <exception cref="HuskDiedException">The process is gone.</exception>
    public HuskReport ReceiveReport() => TryReceiveReport(out var report) ? report : throw new HuskDiedException(Pid, ExitText());

    /// <summary>Ends the process and reaps it.</summary>
    public void Dispose()
    {
        _control.Dispose();
        if (!_ended)
        {
            _ = Pidfd.SendSignal(PidFd, SIGKILL); // ESRCH: it ended already; it is still ours to reap.
            _ = WaitId.ForExit(PidFd, Subject);
            _ended = true;
        }
        PidFd.Dispose();
    }

    private string Subject => string.Create(CultureInfo.InvariantCulture, $"husk {Pid}");

    private static Errno RawErrno(long result) => result < 0 ? (Errno)(-result) : Errno.EEXIST;

    private static Husk Spawn()
    {
        var (ours, theirs) = SocketPair.SequentialPackets("husk control");
        using (theirs)
        {
            try
            {
                SocketMessage.SetReceiveTimeout(ours, s_answerTimeout);
                using var executable = new BorrowedDescriptor(s_executable.Value);
                var path = string.Create(CultureInfo.InvariantCulture, $"/proc/self/fd/{executable.Number}");
                var pid = PosixSpawn.Start(path, theirs, HuskImage.ControlDescriptor);
                return new Husk(pid, Pidfd.Open(pid), ours);
            }
            catch
            {
                ours.Dispose();
                throw;
            }
        }
    }

    private long Boot(AddressRange range, VirtualAddress entry, VirtualAddress controlBlock)
    {
        Span<byte> order = stackalloc byte[BootOrder.SizeBytes];
        BinaryPrimitives.WriteUInt64LittleEndian(order[BootOrder.StartOffset..], range.Start.Value);
        BinaryPrimitives.WriteUInt64LittleEndian(order[BootOrder.LengthOffset..], range.LengthBytes);
        BinaryPrimitives.WriteUInt64LittleEndian(order[BootOrder.EntryOffset..], entry.Value);
        BinaryPrimitives.WriteUInt64LittleEndian(order[BootOrder.ControlBlockOffset..], controlBlock.Value);
        Send(order);
        Span<byte> answer = stackalloc byte[8];
        _ = Receive(answer);
        return BinaryPrimitives.ReadInt64LittleEndian(answer);
    }

    private void CheckReceived(Errno errno, int length)
    {
        if (errno == Errno.EAGAIN)
            throw new TimeoutException($"husk {Pid} did not answer within {s_answerTimeout.TotalSeconds} s");
        if (errno != Errno.None)
            throw new LinuxException("recvfrom", errno, string.Create(CultureInfo.InvariantCulture, $"control socket of husk {Pid}"));
        if (length < sizeof(long))
            throw new InvalidDataException($"husk {Pid} sent a message of {length} bytes");
    }

    private string ExitText()
    {
        if (_ended)
            return "it was ended";
        var status = WaitId.ForExit(PidFd, Subject);
        _ended = true;
        return status.ToString();
    }
}

/// <summary>Bytes to place in a husk.</summary>
public readonly record struct ProgramPart(VirtualAddress Address, ReadOnlyMemory<byte> Bytes);

/// <summary>The husk ended while we talked to it.</summary>
public sealed class HuskDiedException(int pid, string how) : Exception($"husk {pid} is gone: {how}");
