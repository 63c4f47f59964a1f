// What randomness.py is for Python: .NET draws from the system's OpenSSL.
using System.Globalization;
using System.Security.Cryptography;
using System.Text.Json;
using Microsoft.Win32.SafeHandles;

using var channel = new FileStream(
    new SafeFileHandle(int.Parse(Environment.GetEnvironmentVariable("SNAPSHOTS_CHANNEL")!, CultureInfo.InvariantCulture), ownsHandle: true), FileAccess.ReadWrite, bufferSize: 0);
using var reader = new StreamReader(channel);
var before = Numbers();
var pid = OwnPid();
channel.Write("ready\n"u8);
_ = reader.ReadLine() // in a clone this call returns
    ?? throw new EndOfStreamException("the channel was closed before a request came");
var after = Numbers();
List<string> wrong = [];
if (before.Concat(after).Distinct().Count() != before.Length + after.Length)
    wrong.Add("a number came twice");
if (OwnPid() != pid)
    wrong.Add($"process ID: was {pid}, is {OwnPid()}");
Line("ok", wrong.Count == 0);
return wrong.Count;

static string[] Numbers()
{
    using var key = ECDsa.Create(ECCurve.NamedCurves.nistP256);
    return [Convert.ToHexString(RandomNumberGenerator.GetBytes(16)), Guid.NewGuid().ToString("N"), Convert.ToHexString(key.ExportParameters(false).Q.X!)];
}

// Environment.ProcessId remembers; /proc does not.
static string OwnPid() => new FileInfo("/proc/self").LinkTarget!;

void Line(string name, bool value)
{
    var buffer = new MemoryStream();
    using (var json = new Utf8JsonWriter(buffer))
    {
        json.WriteStartObject();
        json.WriteBoolean(name, value);
        json.WriteStartArray("wrong");
        wrong.ForEach(json.WriteStringValue);
        json.WriteEndArray();
        json.WriteStartArray("random");
        Array.ForEach(after, json.WriteStringValue);
        json.WriteEndArray();
        json.WriteEndObject();
    }
    channel.Write(buffer.ToArray());
    channel.Write("\n"u8);
}
