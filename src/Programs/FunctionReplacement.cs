using System.Buffers.Binary;
using Iced.Intel;
using Snapshots.AddressSpace;

namespace Snapshots.Programs;

/// <summary>
/// A jump that is written over the beginning of a function, so that another one at any address runs in its place. It changes <c>rax</c>, which
/// a function that returns an integer owns.
/// <code>
///   48 b8 ADDRESS    movabs rax, address
///   ff e0            jmp rax
/// </code>
/// </summary>
public static class FunctionReplacement
{
    public const int SizeBytes = 12;
    private const int AddressOffset = 2;

    public static byte[] Encode(VirtualAddress target)
    {
        byte[] code = [0x48, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xe0];
        BinaryPrimitives.WriteUInt64LittleEndian(code.AsSpan(AddressOffset), target.Value);
        return code;
    }

    /// <summary>Whether a replacement stands at the start of <paramref name="code"/>, to whatever address.</summary>
    public static bool StandsAt(ReadOnlySpan<byte> code) =>
        code.Length >= SizeBytes && code.StartsWith((ReadOnlySpan<byte>)[0x48, 0xb8]) && code[(AddressOffset + sizeof(ulong))..].StartsWith((ReadOnlySpan<byte>)[0xff, 0xe0]);

    /// <summary>
    /// Whether a replacement can be written over a function: it is long enough, or followed by padding that nobody runs, and no call of it would
    /// return into the bytes that are overwritten.
    /// </summary>
    /// <param name="code">From its first byte on, at least <see cref="SizeBytes"/> and all of the function.</param>
    /// <param name="functionBytes">Its length by the symbol table.</param>
    public static bool Fits(ReadOnlySpan<byte> code, int functionBytes)
    {
        if (functionBytes <= 0 || code.Length < Math.Max(SizeBytes, functionBytes))
            return false;
        var decoder = Decoder.Create(64, new ByteArrayCodeReader(code.ToArray()));
        while (decoder.IP < SizeBytes)
        {
            var inside = decoder.IP < (ulong)functionBytes;
            var instruction = decoder.Decode();
            if (instruction.IsInvalid)
                return false;
            if (inside ? IsCall(instruction) && instruction.NextIP < SizeBytes : instruction.Mnemonic is not (Mnemonic.Nop or Mnemonic.Int3))
                return false;
        }
        return true;
    }

    private static bool IsCall(in Instruction instruction) => instruction.FlowControl is FlowControl.Call or FlowControl.IndirectCall;
}
