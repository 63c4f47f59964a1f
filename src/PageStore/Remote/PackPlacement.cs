using System.Buffers;
using System.Text;
using System.Text.Json;
using System.Text.RegularExpressions;
using Snapshots.Images;

namespace Snapshots.PageStore.Remote;

// STORE/packs.json, there only when packs and page maps lie in an object store. Every key is required but "endpoint", others are refused.
//
//   {
//     "version": 1,
//     "storage": "s3",
//     "bucket": "farm",
//     "prefix": "stores/one",                     keys: PREFIX/domains/DOMAIN/packs/…, PREFIX/owner
//     "endpoint": "https://objects.example:9000", absent: that of the region, or what AWS_ENDPOINT_URL_S3 says
//     "region": "us-east-1",
//     "cache_bytes": 10737418240,                 size limit of STORE/cache/
//     "store": "0b5c…"                            32 digits, made once: PREFIX/owner holds the same
//   }
//
// Credentials are not in it: they come from the environment or the profile of who runs the program.

/// <summary>Where a store's packs and page maps lie: a bucket of an object store, below a prefix that is this store's alone.</summary>
public sealed partial record PackPlacement(string Bucket, string Prefix, Uri? Endpoint, string Region, long CacheBytes, string StoreId)
{
    public const string FileName = "packs.json";
    public const string DefaultRegion = "us-east-1";

    private const int Version = 1;
    private const string Storage = "s3";

    public string Address => $"s3://{Bucket}/{Prefix}";

    /// <summary>A placement of a store that has no identity yet.</summary>
    /// <param name="address"><c>s3://BUCKET/PREFIX</c></param>
    /// <param name="endpoint">null for that of the region.</param>
    /// <exception cref="ImageException">Malformed: the message says which of these and why.</exception>
    public static PackPlacement Parse(string address, string? endpoint, string region, long cacheBytes)
    {
        var parts = AddressParts().Match(address);
        if (!parts.Success)
            throw new ImageException(ImageFailure.Malformed, $"\"{address}\" names no bucket and prefix; use s3://BUCKET/PREFIX");
        Uri? uri = null;
        if (endpoint is not null && !Uri.TryCreate(endpoint, UriKind.Absolute, out uri))
            throw new ImageException(ImageFailure.Malformed, $"\"{endpoint}\" is no endpoint; use https://HOST:PORT");
        var placement = new PackPlacement(parts.Groups[1].Value, parts.Groups[2].Value.TrimEnd('/'), uri, region, cacheBytes, NewStoreId());
        return placement.FindProblem() is var (_, problem) ? throw new ImageException(ImageFailure.Malformed, problem) : placement;
    }

    /// <summary>null when the store keeps its packs itself.</summary>
    /// <exception cref="ImageException">Malformed, LimitExceeded, UnsupportedVersion: the message names the file and the key. NotFound: it cannot be opened.</exception>
    public static PackPlacement? TryRead(string path)
    {
        byte[] bytes;
        try
        {
            if (new FileInfo(path) is { Exists: true, Length: > PageStoreLimits.MaxPlacementBytes } file)
                throw new ImageException(ImageFailure.LimitExceeded, $"{path}: has {file.Length} bytes; at most {PageStoreLimits.MaxPlacementBytes} are allowed");
            bytes = File.ReadAllBytes(path);
        }
        catch (Exception none) when (none is FileNotFoundException or DirectoryNotFoundException)
        {
            return null;
        }
        catch (Exception cause) when (cause is IOException or UnauthorizedAccessException)
        {
            throw new ImageException(ImageFailure.NotFound, $"{path}: cannot be opened: {cause.Message}; run as the store's owner", cause);
        }
        try
        {
            using var document = JsonDocument.Parse(bytes);
            return new Reader(path, document.RootElement).Read();
        }
        catch (JsonException cause)
        {
            throw new ImageException(ImageFailure.Malformed, $"{path}: is no JSON: {cause.Message}; put it right, or write it again with `snapshots init`", cause);
        }
    }

    public byte[] Encode()
    {
        var bytes = new ArrayBufferWriter<byte>();
        using (var json = new Utf8JsonWriter(bytes, new JsonWriterOptions { Indented = true, NewLine = "\n" }))
        {
            json.WriteStartObject();
            json.WriteNumber("version", Version);
            json.WriteString("storage", Storage);
            json.WriteString("bucket", Bucket);
            json.WriteString("prefix", Prefix);
            if (Endpoint is not null)
                json.WriteString("endpoint", Endpoint.GetLeftPart(UriPartial.Authority));
            json.WriteString("region", Region);
            json.WriteNumber("cache_bytes", CacheBytes);
            json.WriteString("store", StoreId);
            json.WriteEndObject();
        }
        return [.. bytes.WrittenSpan, (byte)'\n'];
    }

    private static string NewStoreId() => Convert.ToHexStringLower(Guid.NewGuid().ToByteArray());

    /// <summary>The key that breaks a rule, and which rule.</summary>
    private (string Key, string Problem)? FindProblem()
    {
        if (!BucketName().IsMatch(Bucket))
            return ("bucket", $"\"{Bucket}\" cannot name a bucket: 3 to 63 small letters, digits, dots and hyphens");
        if (!PrefixName().IsMatch(Prefix) || Prefix.Length > PageStoreLimits.MaxPrefixLength || Prefix.Split('/').Any(part => part is "." or ".."))
            return ("prefix", $"\"{Prefix}\" cannot be a prefix: letters, digits, dots, underscores and hyphens, in parts with single slashes between, at most {PageStoreLimits.MaxPrefixLength} in all");
        if (Endpoint is not null && (!(Endpoint.Scheme is "http" or "https") || Endpoint.PathAndQuery != "/" || Endpoint.UserInfo.Length > 0 || Endpoint.Fragment.Length > 0))
            return ("endpoint", $"\"{Endpoint.GetComponents(UriComponents.AbsoluteUri & ~UriComponents.UserInfo, UriFormat.UriEscaped)}\" is no endpoint: use https://HOST:PORT, with nothing behind it and no credentials in it");
        if (!RegionName().IsMatch(Region))
            return ("region", $"\"{Region}\" cannot name a region: small letters, digits and hyphens");
        if (CacheBytes is < PageStoreLimits.MinCacheBytes or > PageStoreLimits.MaxCacheBytes)
            return ("cache_bytes", $"a cache of {CacheBytes} bytes is beyond the limits: {PageStoreLimits.MinCacheBytes} to {PageStoreLimits.MaxCacheBytes}");
        return StoreIdText().IsMatch(StoreId) ? null : ("store", "32 small hexadecimal digits are needed");
    }

    [GeneratedRegex("^s3://([^/]+)/(.+)$")]
    private static partial Regex AddressParts();

    [GeneratedRegex(@"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]\z")]
    private static partial Regex BucketName();

    [GeneratedRegex(@"^[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*\z")]
    private static partial Regex PrefixName();

    [GeneratedRegex(@"^[a-z0-9-]{1,64}\z")]
    private static partial Regex RegionName();

    [GeneratedRegex(@"^[0-9a-f]{32}\z")]
    private static partial Regex StoreIdText();

    private sealed class Reader(string path, JsonElement root)
    {
        private static readonly string[] Keys = ["version", "storage", "bucket", "prefix", "endpoint", "region", "cache_bytes", "store"];

        public PackPlacement Read()
        {
            if (root.ValueKind != JsonValueKind.Object)
                throw Wrong("version", "the file holds no object");
            // First: a newer version may have other keys.
            var version = Number("version");
            if (version > Version)
                throw new ImageException(ImageFailure.UnsupportedVersion, $"{path}: has version {version}, this program reads {Version}; use a newer version of it");
            if (version != Version)
                throw Wrong("version", $"{version} is no version");
            if (root.EnumerateObject().FirstOrDefault(property => !Keys.Contains(property.Name)) is { Value.ValueKind: not JsonValueKind.Undefined } unknown)
                throw Wrong(unknown.Name, "no such key is known");
            if (Text("storage") != Storage)
                throw Wrong("storage", $"only \"{Storage}\" is known");
            Uri? endpoint = null;
            if (root.TryGetProperty("endpoint", out _) && !Uri.TryCreate(Text("endpoint"), UriKind.Absolute, out endpoint))
                throw Wrong("endpoint", "is no address");
            var placement = new PackPlacement(Text("bucket"), Text("prefix"), endpoint, Text("region"), Number("cache_bytes"), Text("store"));
            return placement.FindProblem() is var (key, problem) ? throw Wrong(key, problem) : placement;
        }

        private string Text(string key) =>
            root.TryGetProperty(key, out var value) && value.ValueKind == JsonValueKind.String ? value.GetString()! : throw Wrong(key, "a text is needed");

        private long Number(string key) =>
            root.TryGetProperty(key, out var value) && value.ValueKind == JsonValueKind.Number && value.TryGetInt64(out var number) ? number : throw Wrong(key, "a whole number is needed");

        private ImageException Wrong(string key, string problem) =>
            new(ImageFailure.Malformed, $"{path}: \"{key}\": {problem}; put it right, or write it again with `snapshots init`");
    }
}
