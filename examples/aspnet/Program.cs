// An ASP.NET Core minimal API with warm state.
//
//   GET /health    200 when it is warm
//   GET /?n=41     {"n":41,"value":…,"served":1}; value = (n * 2654435761 + 12345) mod 2^32 of n wrapped to the table

const int Entries = 300_000;

var builder = WebApplication.CreateBuilder(args);
builder.Logging.SetMinimumLevel(LogLevel.Warning);
builder.WebHost.UseUrls($"http://127.0.0.1:{Environment.GetEnvironmentVariable("PORT") ?? "8080"}");
var app = builder.Build();

var table = new Dictionary<long, Row>(Entries);
for (long n = 0; n < Entries; n++)
    table.Add(n, new Row(ValueOf(n), $"row-{n}-{ValueOf(n):x}"));
var served = 0;

app.MapGet("/health", () => "warm\n");
app.MapGet("/", (long n) => new Answer(n, table[(n % Entries + Entries) % Entries].Value, Interlocked.Increment(ref served)));
app.Run();

static long ValueOf(long n) => (n * 2654435761L + 12345L) & 0xFFFFFFFFL;

internal sealed record Row(long Value, string Name);

internal sealed record Answer(long N, long Value, int Served);
