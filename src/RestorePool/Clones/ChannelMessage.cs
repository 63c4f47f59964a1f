using System.Buffers;
using System.Text.Json;

namespace Snapshots.RestorePool.Clones;

/// <summary>The line that a clone reads from its channel: <c>{"id":…,"generation":…,"payload":…,"env":{…}}</c>.</summary>
internal static class ChannelMessage
{
    /// <summary>The largest line the channel's socket buffer takes before anybody reads: the clone reads only once it runs.</summary>
    public const int MaxBytes = 128 * 1024;

    /// <exception cref="ArgumentException">The payload is not JSON, or the line is too long.</exception>
    public static byte[] Encode(CloneRequest request, long generation)
    {
        var buffer = new ArrayBufferWriter<byte>(256);
        using (var writer = new Utf8JsonWriter(buffer))
        {
            writer.WriteStartObject();
            writer.WriteString("id"u8, request.Id);
            writer.WriteNumber("generation"u8, generation);
            writer.WritePropertyName("payload"u8);
            WritePayload(writer, request.PayloadJson);
            writer.WriteStartObject("env"u8);
            foreach (var (name, value) in request.Environment)
                writer.WriteString(name, value);
            writer.WriteEndObject();
            writer.WriteEndObject();
        }
        if (buffer.WrittenCount >= MaxBytes)
            throw new ArgumentException($"the payload of clone {request.Id} makes a line of {buffer.WrittenCount} bytes; at most {MaxBytes} fit into the channel, pass a reference to larger data");
        return [.. buffer.WrittenSpan, (byte)'\n'];
    }

    private static void WritePayload(Utf8JsonWriter writer, string? json)
    {
        if (json is null)
        {
            writer.WriteNullValue();
            return;
        }
        try
        {
            using var document = JsonDocument.Parse(json); // One line, whatever the caller's formatting.
            document.RootElement.WriteTo(writer);
        }
        catch (JsonException invalid)
        {
            throw new ArgumentException($"the payload is not JSON: {invalid.Message}", invalid);
        }
    }
}
