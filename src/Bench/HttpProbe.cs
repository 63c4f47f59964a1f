using System.Net;
using System.Net.Sockets;
using System.Text;
using Microsoft.Win32.SafeHandles;
using Snapshots.Linux.Syscalls;

namespace Snapshots.Bench;

/// <summary>Workers that listen: the answer is the response to one HTTP/1.1 request, asked from inside the worker's network namespace.</summary>
public sealed class HttpProbe(int port, string path, TimeSpan timeout) : IAnswerProbe
{
    private const int LongestResponseBytes = 1024 * 1024;
    private readonly byte[] _request = Encoding.ASCII.GetBytes($"GET {path} HTTP/1.1\r\nHost: localhost:{port}\r\nConnection: close\r\n\r\n");

    public string Await(SafeFileHandle? channel, Func<SafeFileHandle> openNetworkNamespace)
    {
        using var networkNamespace = openNetworkNamespace();
        using var socket = NetworkNamespace.RunIn(networkNamespace, Connect);
        try
        {
            socket.Send(_request);
            return Response(socket);
        }
        catch (SocketException e)
        {
            throw new BenchException($"GET {path} on port {port}: {e.Message}", e);
        }
    }

    private Socket Connect()
    {
        try
        {
            return Connect(IPAddress.Loopback);
        }
        catch (SocketException e) when (e.SocketErrorCode == SocketError.ConnectionRefused)
        {
            try
            {
                return Connect(IPAddress.IPv6Loopback);
            }
            catch (SocketException)
            {
                throw new BenchException($"nothing listens on port {port} in the worker's network namespace", e);
            }
        }
    }

    private Socket Connect(IPAddress address)
    {
        var socket = new Socket(address.AddressFamily, SocketType.Stream, ProtocolType.Tcp)
        {
            NoDelay = true,
            ReceiveTimeout = (int)timeout.TotalMilliseconds,
            SendTimeout = (int)timeout.TotalMilliseconds,
        };
        try
        {
            socket.Connect(new IPEndPoint(address, port));
            return socket;
        }
        catch
        {
            socket.Dispose();
            throw;
        }
    }

    // Reads to the end of the connection, which the request asked for.
    private string Response(Socket socket)
    {
        using var response = new MemoryStream();
        var buffer = new byte[16 * 1024];
        for (int length; (length = socket.Receive(buffer)) > 0;)
        {
            response.Write(buffer, 0, length);
            if (response.Length > LongestResponseBytes)
                throw new BenchException($"GET {path} on port {port}: the response is longer than {LongestResponseBytes} bytes");
        }
        var text = Encoding.UTF8.GetString(response.GetBuffer(), 0, (int)response.Length);
        return text.StartsWith("HTTP/1.1 2", StringComparison.Ordinal)
            ? text
            : throw new BenchException($"GET {path} on port {port} was answered with {(text.Length == 0 ? "nothing" : text.Split('\r', 2)[0])}");
    }
}
