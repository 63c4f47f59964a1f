// What randomness.py is for Python: Node has OpenSSL inside. Its own caches (crypto.randomUUID, crypto.randomInt) and Math.random are not OpenSSL's
// and repeat in clones, as docs/random-numbers.md tells.
'use strict';

const crypto = require('node:crypto');
const fs = require('node:fs');

const channel = Number(process.env.SNAPSHOTS_CHANNEL);

function numbers() {
  return [
    crypto.randomBytes(16).toString('hex'),
    crypto.randomUUID({ disableEntropyCache: true }),
    Buffer.from(crypto.webcrypto.getRandomValues(new Uint8Array(16))).toString('hex'),
    crypto.generateKeyPairSync('x25519').publicKey.export({ type: 'spki', format: 'der' }).toString('hex'),
  ];
}

function readLine() {
  const piece = Buffer.alloc(65536);
  let line = '';
  while (!line.endsWith('\n')) {
    const length = fs.readSync(channel, piece);
    if (length === 0) throw new Error('the channel was closed before a request came');
    line += piece.toString('utf8', 0, length);
  }
  return line;
}

const before = numbers();
const pid = process.pid;
fs.writeSync(channel, 'ready\n');
readLine(); // in a clone this call returns
const after = numbers();

const wrong = [];
if (new Set([...before, ...after]).size !== before.length + after.length) wrong.push('a number came twice');
// process.pid asks the kernel each time; so does /proc.
const actual = Number(fs.readlinkSync('/proc/self'));
if (process.pid !== pid || process.pid !== actual) wrong.push(`process ID: was ${pid}, is ${process.pid}, and ${actual} in /proc`);
fs.writeSync(channel, JSON.stringify({ ok: wrong.length === 0, wrong, random: after }) + '\n');
process.exit(wrong.length);
