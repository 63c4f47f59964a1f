using System.Buffers.Binary;
using Snapshots.AddressSpace;
using Snapshots.Linux;

namespace Snapshots.Programs;

/// <summary>
/// The recvmsg(2) structures through which a husk receives orders: 8 bytes of order id into the control block, whatever follows them into the
/// payload, and descriptors, which the kernel installs at the lowest free numbers in the order they were sent.
/// </summary>
public sealed class OrderBuffer
{
    private const int CmsgHeaderBytes = 16;
    private readonly ProgramBuilder _builder;
    private readonly ControlBlock _control;
    private readonly VirtualAddress _header;
    private readonly ulong _ancillaryBytes;

    /// <summary>Where orders come from; the control socket's number unless another is set.</summary>
    public Operand Descriptor { get; init; }

    /// <param name="payloadBytes">Room for what an order says beside its id; a longer message is cut off.</param>
    public OrderBuffer(ProgramBuilder builder, ControlBlock control, int descriptorCount, ulong payloadBytes = 0)
    {
        _builder = builder;
        _control = control;
        Descriptor = control.ControlDescriptor;
        _ancillaryBytes = CmsgHeaderBytes + (((4 * (ulong)descriptorCount) + 7) & ~7UL);
        var ancillary = builder.Reserve(_ancillaryBytes);
        Payload = builder.Reserve(payloadBytes);
        var vector = builder.Words(control.OrderId.Value, sizeof(ulong), Payload.Value, payloadBytes);
        _header = builder.Words(0, 0, vector.Value, 2, ancillary.Value, _ancillaryBytes, 0);
    }

    /// <summary>Where the bytes behind the id are.</summary>
    public VirtualAddress Payload { get; }

    /// <summary>Appends the receive; the process ends when the other end has closed.</summary>
    public void EmitReceive(string subject, bool closeOnExec)
    {
        var received = _builder.NewLabel("order received");
        var closed = _builder.NewLabel("peer closed");
        EmitReceive(subject, closeOnExec, closed);
        _builder.Jump(received);
        _builder.Mark(closed);
        _builder.Syscall(SyscallNumber.ExitGroup, "end of orders", 0);
        _builder.Mark(received);
    }

    /// <summary>Appends the receive; continues at <paramref name="closed"/> when the other end has closed.</summary>
    public Entry EmitReceive(string subject, bool closeOnExec, Label closed)
    {
        const int MsgCmsgCloseOnExec = 0x4000_0000;
        const int ControlLengthOffset = 40;
        // recvmsg overwrites msg_controllen with what it delivered.
        _builder.Store(_header + ControlLengthOffset, _ancillaryBytes);
        var receive = _builder.Syscall(SyscallNumber.Recvmsg, subject, Descriptor, _header, closeOnExec ? MsgCmsgCloseOnExec : 0);
        _builder.JumpIfLastZero(closed);
        return receive;
    }

    /// <summary>An order as bytes.</summary>
    public static void Encode(ulong orderId, Span<byte> destination) => BinaryPrimitives.WriteUInt64LittleEndian(destination, orderId);
}
