import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.util.HashMap;
import java.util.Map;
import java.util.concurrent.Executors;
import java.util.concurrent.atomic.AtomicInteger;

/**
 * An HTTP server on the JDK alone, run from source: {@code java Server.java}. Compiling itself, starting the virtual machine and
 * building the table are what a clone does not repeat.
 *
 * <pre>
 *   GET /health    200 when it is warm
 *   GET /?n=41     {"n":41,"value":…,"served":1}; value = (n * 2654435761 + 12345) mod 2^32 of n wrapped to the table
 * </pre>
 */
public final class Server {
    private static final int ENTRIES = 200_000;

    private final Map<Integer, Row> table = new HashMap<>();
    private final AtomicInteger served = new AtomicInteger();

    private record Row(long value, String name) {}

    private Server() {
        for (int n = 0; n < ENTRIES; n++) {
            table.put(n, new Row(valueOf(n), "row-" + n + "-" + Long.toHexString(valueOf(n))));
        }
    }

    private static long valueOf(long n) {
        return (n * 2654435761L + 12345L) & 0xFFFFFFFFL;
    }

    private void handle(HttpExchange exchange) throws IOException {
        try (exchange) {
            String path = exchange.getRequestURI().getPath();
            String query = exchange.getRequestURI().getQuery();
            if (path.equals("/health")) {
                reply(exchange, 200, "warm\n");
            } else if (path.equals("/") && query != null && query.matches("n=-?[0-9]{1,18}")) {
                reply(exchange, 200, answer(Long.parseLong(query.substring(2))));
            } else {
                reply(exchange, 400, "usage: /?n=INTEGER\n");
            }
        }
    }

    private String answer(long n) {
        long value = table.get((int) Math.floorMod(n, (long) ENTRIES)).value();
        return "{\"n\":" + n + ",\"value\":" + value + ",\"served\":" + served.incrementAndGet() + "}\n";
    }

    private static void reply(HttpExchange exchange, int status, String text) throws IOException {
        byte[] body = text.getBytes(StandardCharsets.UTF_8);
        exchange.getResponseHeaders().set("content-type", status == 200 && text.startsWith("{") ? "application/json" : "text/plain");
        exchange.sendResponseHeaders(status, body.length);
        exchange.getResponseBody().write(body);
    }

    public static void main(String[] arguments) throws IOException {
        int port = Integer.parseInt(System.getenv().getOrDefault("PORT", "8080"));
        Server server = new Server();
        HttpServer http = HttpServer.create(new InetSocketAddress(InetAddress.getLoopbackAddress(), port), 128);
        http.createContext("/", server::handle);
        http.setExecutor(Executors.newFixedThreadPool(2));
        http.start();
        System.out.println("listening on " + port);
    }
}
