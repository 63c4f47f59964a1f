using System.Net;
using Amazon.Runtime;

namespace Snapshots.PageStore.Remote;

/// <summary>The connections to an object store, kept open between requests; and the place where all requests are counted, repeated ones too. Thread-safe.</summary>
internal sealed class S3HttpClients(RemoteStatistics statistics, S3Times times) : HttpClientFactory, IDisposable
{
    private readonly HttpClient _client = new(new Counter(statistics, new SocketsHttpHandler
    {
        AllowAutoRedirect = false,
        AutomaticDecompression = DecompressionMethods.None,
        ConnectTimeout = times.Connect,
        MaxConnectionsPerServer = PageStoreLimits.RemoteRequestsAtOnce + PageStoreLimits.RemotePartsAtOnce,
        PooledConnectionLifetime = TimeSpan.FromMinutes(10), // Names of object stores lead to other addresses after a while.
        UseCookies = false,
    }))
    {
        Timeout = times.Attempt,
    };

    public override HttpClient CreateHttpClient(IClientConfig clientConfig) => _client;

    public override bool UseSDKHttpClientCaching(IClientConfig clientConfig) => false;

    public override bool DisposeHttpClientsAfterUse(IClientConfig clientConfig) => false;

    public override string GetConfigUniqueString(IClientConfig clientConfig) => string.Empty;

    public void Dispose() => _client.Dispose();

    private sealed class Counter(RemoteStatistics statistics, HttpMessageHandler inner) : DelegatingHandler(inner)
    {
        protected override Task<HttpResponseMessage> SendAsync(HttpRequestMessage request, CancellationToken cancellationToken)
        {
            statistics.CountRequest();
            return base.SendAsync(request, cancellationToken);
        }
    }
}
