"""A worker with TABLE_MB megabytes of data, of which a request reads a small part.

    payload  {"megabytes": 20}
    answer   {"crc32": ..., "expected": ...}

The data are pages of which a quarter is random and the rest repeats it, so that they compress about as well as real heaps do. A request reads pieces of
64 KiB that lie evenly over the whole table, always the same ones.
"""

import json, os, random, zlib

PIECE = 64 * 1024


def read_line(descriptor: int) -> bytes:
    line = bytearray()
    while not line.endswith(b"\n"):
        piece = os.read(descriptor, 65536)
        if not piece:
            raise EOFError("the channel was closed before a request came")
        line += piece
    return bytes(line)


def checksum(table: bytearray, megabytes: int) -> int:
    pieces = len(table) // PIECE
    wanted = megabytes * 1024 * 1024 // PIECE
    view, crc = memoryview(table), 0
    for i in range(wanted):
        at = (i * pieces // wanted) * PIECE
        crc = zlib.crc32(view[at : at + PIECE], crc)
    return crc


def main() -> None:
    channel = int(os.environ["SNAPSHOTS_CHANNEL"])
    megabytes = int(os.environ.get("TABLE_MB", "1000"))
    noise = random.Random(1)
    table = bytearray(megabytes * 1024 * 1024)
    for at in range(0, len(table), 4096):
        table[at : at + 4096] = noise.randbytes(1024) * 4
    expected = checksum(table, 20)
    os.write(channel, b"ready\n")
    request = json.loads(read_line(channel))
    wanted = request["payload"]["megabytes"]
    answer = {"crc32": checksum(table, wanted), "expected": expected}
    os.write(channel, json.dumps(answer).encode() + b"\n")
    if wanted == 20 and answer["crc32"] != expected:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
