using System.Buffers.Binary;
using Microsoft.Win32.SafeHandles;
using Snapshots.AddressSpace;

namespace Snapshots.Tracing;

/// <summary>/proc/PID/mem (proc(5)): reads and writes the target's memory whatever its page protections are. Works while we trace it.</summary>
public sealed class TargetMemory : IDisposable
{
    private readonly SafeFileHandle _memory;
    private readonly int _pid;

    public TargetMemory(int pid)
    {
        _pid = pid;
        _memory = File.OpenHandle($"/proc/{pid}/mem", FileMode.Open, FileAccess.ReadWrite, FileShare.ReadWrite);
    }

    /// <summary>Fills <paramref name="destination"/> from the target.</summary>
    /// <exception cref="IOException">Part of the range is not mapped.</exception>
    public void Read(VirtualAddress source, Span<byte> destination)
    {
        for (var done = 0; done < destination.Length;)
        {
            var count = RandomAccess.Read(_memory, destination[done..], (long)source.Value + done);
            if (count == 0)
                throw new IOException($"pid {_pid}: memory at {source + (ulong)done} cannot be read");
            done += count;
        }
    }

    public ulong ReadWord(VirtualAddress source)
    {
        Span<byte> bytes = stackalloc byte[8];
        Read(source, bytes);
        return BinaryPrimitives.ReadUInt64LittleEndian(bytes);
    }

    /// <exception cref="IOException">Part of the range is not mapped, or is a shared mapping that may not be written.</exception>
    public void Write(VirtualAddress destination, ReadOnlySpan<byte> source) => RandomAccess.Write(_memory, source, (long)destination.Value);

    public void WriteWord(VirtualAddress destination, ulong value)
    {
        Span<byte> bytes = stackalloc byte[8];
        BinaryPrimitives.WriteUInt64LittleEndian(bytes, value);
        Write(destination, bytes);
    }

    public void Dispose() => _memory.Dispose();
}
