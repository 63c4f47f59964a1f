// The S3 server of the tests and of scripts/shaped-s3: node server.js DIRECTORY BUCKET [ADDRESS [PORT]]
//
// With S3_DELAY_MS each request is answered so much later, and the first of a connection twice as late: a link whose round trip takes so long.
// Says "listening on PORT" on stdout, and ends when its stdin does: it does not outlive who started it.
// s3rver keeps each object as DIRECTORY/BUCKET/KEY._S3rver_object. Two things are made here as S3 promises them, which s3rver's file store does not:
// an object appears whole or not at all, and deleting the last of a folder does not take the folder from under a put.
// Its tokens of lists are made with DES, which the OpenSSL of today refuses: three times DES under one key is the same.
// It knows no conditional puts and says nothing about it: "If-None-Match: *" is read here, and refused with 412 as S3 does, when S3_CONDITIONAL is set.
'use strict';

const fs = require('fs');
const path = require('path');
const crypto = require('crypto');
const { pipeline } = require('stream/promises');
const S3rver = require('s3rver');

const [directory, bucket, address = '127.0.0.1', port = '0'] = process.argv.slice(2);
if (!bucket) {
  console.error('usage: server.js DIRECTORY BUCKET [ADDRESS [PORT]]');
  process.exit(2);
}

for (const call of ['createCipheriv', 'createDecipheriv']) {
  const original = crypto[call];
  crypto[call] = (name, key, ...rest) => (name === 'des' ? original('des-ede3-cbc', Buffer.concat([key, key, key]), ...rest) : original(name, key, ...rest));
}

const server = new S3rver({ directory, address, port: Number(port), silent: true, configureBuckets: [{ name: bucket }] });
const store = server.store;
const ours = path.join(directory, '.incoming');
fs.mkdirSync(ours, { recursive: true });

// Written elsewhere, then renamed; a client that goes away in the middle leaves nothing.
store.putObject = async function putObject(object) {
  const target = this.getResourcePath(object.bucket, object.key, 'object');
  const written = path.join(ours, crypto.randomUUID());
  const md5 = crypto.createHash('md5');
  let size = 0;
  try {
    if (Buffer.isBuffer(object.content)) {
      await fs.promises.writeFile(written, object.content);
      md5.update(object.content);
      size = object.content.length;
    } else {
      await pipeline(
        object.content,
        async function* digest(source) {
          for await (const chunk of source) {
            md5.update(chunk);
            size += chunk.length;
            yield chunk;
          }
        },
        fs.createWriteStream(written),
      );
    }
    const hex = md5.digest('hex');
    await fs.promises.mkdir(path.dirname(target), { recursive: true });
    await this.putMetadata(object.bucket, object.key, object.metadata, hex);
    await fs.promises.rename(written, target);
    return { size, md5: hex };
  } finally {
    await fs.promises.rm(written, { force: true });
  }
};

store.deleteObject = async function deleteObject(name, key) {
  for (const resource of ['object', 'object.md5', 'metadata.json']) {
    await fs.promises.rm(this.getResourcePath(name, key, resource), { force: true });
  }
};

if (process.env.S3_CONDITIONAL) {
  server.middleware.unshift(async (ctx, next) => {
    if (ctx.method === 'PUT' && ctx.get('if-none-match') === '*' && !ctx.querystring) {
      const [name, ...key] = decodeURIComponent(ctx.path.slice(1)).split('/');
      if (await store.existsObject(name, key.join('/'))) {
        ctx.status = 412;
        ctx.type = 'application/xml';
        ctx.body = '<?xml version="1.0" encoding="UTF-8"?><Error><Code>PreconditionFailed</Code><Message>the key is taken</Message></Error>';
        return;
      }
    }
    await next();
  });
}

const delay = Number(process.env.S3_DELAY_MS || 0);
if (delay > 0) {
  const known = new WeakSet();
  server.middleware.unshift(async (ctx, next) => {
    const first = !known.has(ctx.req.socket);
    known.add(ctx.req.socket);
    await new Promise(resolve => setTimeout(resolve, first ? 2 * delay : delay));
    await next();
  });
}

server.run().then(listening => {
  // 5 seconds are less than a client's pause between two requests: it would find its connection closed as it sends.
  server.httpServer.keepAliveTimeout = 120000;
  console.log(`listening on ${listening.port}`);
});
process.stdin.on('end', () => process.exit(0)).resume();
