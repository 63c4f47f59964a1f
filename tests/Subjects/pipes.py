"""Pipes inside the process: contents, capacity, modes, half-open ends, ends at any number."""

import fcntl
import os

from subject import Subject

F_GETPIPE_SZ = 1032
F_SETPIPE_SZ = 1031


def main() -> None:
    subject = Subject()
    read, write = os.pipe()
    os.write(write, b"unread")
    big_read, big_write = os.pipe()
    fcntl.fcntl(big_write, F_SETPIPE_SZ, 262144)
    payload = os.urandom(150_000)
    os.set_blocking(big_write, False)
    for start in range(0, len(payload), 1000):
        os.write(big_write, payload[start:start + 1000])
    half_read, half_write = os.pipe()
    os.write(half_write, b"last words")
    os.close(half_write)
    lonely_read, lonely_write = os.pipe()
    os.close(lonely_read)
    low, high = os.pipe()
    os.dup2(low, 90)
    os.dup2(high, 89)
    os.close(low)
    os.close(high)
    second_reader = os.open(f"/proc/self/fd/{read}", os.O_RDONLY | os.O_NONBLOCK)

    request = subject.freeze()

    subject.expect("contents", b"unread", os.read(read, 100))
    os.write(write, request["id"].encode())
    subject.expect("new contents", request["id"].encode(), os.read(second_reader, 100))
    try:
        os.read(second_reader, 1)
        subject.wrong.append("the second reader blocks")
    except BlockingIOError:
        pass
    subject.check(os.get_blocking(read) and os.get_blocking(write), "blocking mode was lost")
    subject.expect("capacity", 262144, fcntl.fcntl(big_read, F_GETPIPE_SZ))
    subject.check(not os.get_blocking(big_write) and os.get_blocking(big_read), "modes of the two ends differ from before")
    got = read_exactly(big_read, len(payload))
    subject.check(got == payload, "the large contents differ")
    subject.expect("half-open contents", b"last words", os.read(half_read, 100))
    subject.expect("end of file", b"", os.read(half_read, 1))
    try:
        os.write(lonely_write, b"x")
        subject.wrong.append("writing without a reader succeeded")
    except BrokenPipeError:
        pass
    os.write(89, b"swapped")
    subject.expect("ends in reverse order", b"swapped", os.read(90, 100))
    subject.answer(id=request["id"])


def read_exactly(fd: int, length: int) -> bytes:
    data = bytearray()
    while len(data) < length:
        data += os.read(fd, length - len(data))
    return bytes(data)


main()
