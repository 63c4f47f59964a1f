using System.Net.Sockets;
using System.Text;
using System.Text.Json;
using Snapshots.Linux.Syscalls;

namespace Snapshots.EndToEnd.Tests;

/// <summary>Asks a server inside the network namespace of a process.</summary>
internal static class NetworkRequest
{
    private const int Port = 8080;

    /// <summary>GET of a path on 127.0.0.1:8080 as the process sees it; the body as JSON.</summary>
    public static JsonElement Get(int pid, string path)
    {
        using var target = NetworkNamespace.Open(pid);
        var body = NetworkNamespace.RunIn(target, () => Ask(path));
        return JsonDocument.Parse(body).RootElement;
    }

    // By hand and blocking: the socket must be made on the thread that entered the namespace.
    private static string Ask(string path)
    {
        using var socket = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp) { ReceiveTimeout = 20_000, SendTimeout = 20_000 };
        socket.Connect("127.0.0.1", Port);
        socket.Send(Encoding.ASCII.GetBytes($"GET {path} HTTP/1.1\r\nHost: worker\r\nConnection: close\r\n\r\n"));
        using var reader = new StreamReader(new NetworkStream(socket));
        var answer = reader.ReadToEnd();
        if (!answer.StartsWith("HTTP/1.1 200", StringComparison.Ordinal))
            throw new InvalidOperationException($"{path}: {answer}");
        // Chunked or not, the answer is one flat JSON object.
        return answer[answer.IndexOf('{', StringComparison.Ordinal)..(answer.LastIndexOf('}') + 1)];
    }
}
