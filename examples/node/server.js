// An HTTP server that is expensive to start: it loads modules, builds a table and warms the compiler before it listens.
//
//   GET /health    200 when it is warm
//   GET /?n=41     {"n":41,"value":…,"served":1}; value = (n * 2654435761 + 12345) mod 2^32 of n wrapped to the table
//
// It listens on one fixed port: each clone has a network namespace of its own, so that thousands of them listen side by side.
'use strict';

const http = require('node:http');
const crypto = require('node:crypto');
const zlib = require('node:zlib');

const port = Number(process.env.PORT ?? 8080);
const entries = Number(process.env.TABLE_ENTRIES ?? 400_000);

const valueOf = (n) => (Math.imul(n, 2654435761 | 0) + 12345) >>> 0;

function buildTable() {
  const table = new Map();
  for (let n = 0; n < entries; n++) {
    table.set(n, { value: valueOf(n), name: `row-${n}-${valueOf(n).toString(16)}` });
  }
  return table;
}

// Work of the kind that a request does, often enough for the compiler to take it up.
function warmUp(table) {
  let digest = '';
  for (let n = 0; n < 2_000; n++) {
    digest = crypto.createHash('sha256').update(digest + table.get(n % entries).name).digest('hex');
    JSON.stringify(respond(table, n));
  }
  zlib.gzipSync(Buffer.from(digest.repeat(1_000)));
}

let served = 0;

function respond(table, n) {
  return { n, value: table.get(((n % entries) + entries) % entries).value, served };
}

const table = buildTable();
warmUp(table);

const server = http.createServer((request, response) => {
  const url = new URL(request.url, 'http://worker');
  if (url.pathname === '/health') {
    response.end('warm\n');
    return;
  }
  const n = Number(url.searchParams.get('n'));
  if (url.pathname !== '/' || !Number.isSafeInteger(n)) {
    response.writeHead(400).end('usage: /?n=INTEGER\n');
    return;
  }
  served++;
  response.setHeader('content-type', 'application/json');
  response.end(JSON.stringify(respond(table, n)) + '\n');
});

server.listen(port, '127.0.0.1', () => console.log(`listening on ${port}`));
