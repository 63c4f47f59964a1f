// A console worker: loads and compiles what it needs, builds a table, says "ready" on its channel and answers one request per clone.
//
//   payload  {"key": 41}
//   answer   {"id":"…","generation":7,"key":41,"value":…}; value = (key * 2654435761 + 12345) mod 2^32 of the key wrapped to the table

using System.Globalization;
using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.RegularExpressions;
using System.Xml.Linq;
using Microsoft.Win32.SafeHandles;

const int Entries = 300_000;

var number = Environment.GetEnvironmentVariable("SNAPSHOTS_CHANNEL")
    ?? throw new InvalidOperationException("SNAPSHOTS_CHANNEL is not set: this worker is started by `snapshots create --ready channel`");
var handle = new SafeFileHandle(int.Parse(number, CultureInfo.InvariantCulture), ownsHandle: true);
using var channel = new FileStream(handle, FileAccess.ReadWrite, bufferSize: 0);
using var reader = new StreamReader(channel);

var table = BuildTable();
for (var turn = 0; turn < 200; turn++)
    _ = Answer(new JsonObject { ["id"] = "warm-up", ["generation"] = 0L, ["payload"] = new JsonObject { ["key"] = (long)turn } });

channel.Write("ready\n"u8);
var line = reader.ReadLine() // in a clone this call returns
    ?? throw new EndOfStreamException("the channel was closed before a request came");
channel.Write(JsonSerializer.SerializeToUtf8Bytes(Answer(JsonNode.Parse(line)!)));
channel.Write("\n"u8);

static Dictionary<long, Row> BuildTable()
{
    var table = new Dictionary<long, Row>(Entries);
    for (long key = 0; key < Entries; key++)
        table.Add(key, new Row(ValueOf(key), string.Create(CultureInfo.InvariantCulture, $"row-{key}-{ValueOf(key):x}")));
    return table;
}

static long ValueOf(long key) => (key * 2654435761L + 12345L) & 0xFFFFFFFFL;

JsonObject Answer(JsonNode request)
{
    var key = request["payload"]!["key"]!.GetValue<long>();
    var row = table[(key % Entries + Entries) % Entries];
    // Work of the kind that workers do, so that its code is loaded and compiled before the snapshot.
    var xml = XElement.Parse(new XElement("row", new XAttribute("name", row.Name)).ToString());
    var suffix = Regex.Match((string)xml.Attribute("name")!, "^row-[0-9]+-([0-9a-f]+)$").Groups[1].Value;
    return new JsonObject
    {
        ["id"] = request["id"]!.DeepClone(),
        ["generation"] = request["generation"]!.DeepClone(),
        ["key"] = key,
        ["value"] = long.Parse(suffix, NumberStyles.HexNumber, CultureInfo.InvariantCulture),
    };
}

internal sealed record Row(long Value, string Name);
