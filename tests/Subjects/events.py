"""eventfd, timerfd, signalfd and epoll, nested and with numbers that are closed or another file's."""

import ctypes
import os
import select
import signal
import struct
import time

from subject import Subject

libc = ctypes.CDLL(None, use_errno=True)
EFD_SEMAPHORE = 1
CLOCK_MONOTONIC = 1
TFD_NONBLOCK = 0o4000


def call(name: str, *arguments: object) -> int:
    result = getattr(libc, name)(*arguments)
    if result < 0:
        raise OSError(ctypes.get_errno(), f"{name}: {os.strerror(ctypes.get_errno())}")
    return result


def timer(value: float, interval: float) -> int:
    fd = call("timerfd_create", CLOCK_MONOTONIC, TFD_NONBLOCK)
    parts = [int(interval), int(interval % 1 * 1e9), int(value), int(value % 1 * 1e9)]
    call("timerfd_settime", fd, 0, struct.pack("qqqq", *parts), None)
    return fd


def remaining(fd: int) -> tuple[float, float]:
    buffer = ctypes.create_string_buffer(32)
    call("timerfd_gettime", fd, buffer)
    interval, interval_ns, value, value_ns = struct.unpack("qqqq", buffer.raw)
    return value + value_ns / 1e9, interval + interval_ns / 1e9


def main() -> None:
    subject = Subject()
    counter = os.eventfd(5, os.EFD_NONBLOCK)
    semaphore = os.eventfd(3, EFD_SEMAPHORE | os.EFD_NONBLOCK)
    huge = os.eventfd(0, os.EFD_NONBLOCK)
    os.eventfd_write(huge, 2**40)

    disarmed = call("timerfd_create", CLOCK_MONOTONIC, TFD_NONBLOCK)
    far = timer(1000, 7)
    near = timer(0.3, 0)
    expired = timer(0.001, 0)
    time.sleep(0.01)

    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1, signal.SIGUSR2})
    signals = call("signalfd", -1, struct.pack("Q", 1 << (signal.SIGUSR1 - 1)) + bytes(120), TFD_NONBLOCK)

    watched = os.eventfd(0, os.EFD_NONBLOCK)
    inner = select.epoll()
    inner.register(watched, select.EPOLLIN)
    outer = select.epoll()
    outer.register(inner.fileno(), select.EPOLLIN)
    outer.register(near, select.EPOLLIN | select.EPOLLET)
    # Watched under a number that is closed meanwhile, and under one that is another file's now.
    kept = os.eventfd(0, os.EFD_NONBLOCK)
    closed = os.dup(kept)
    taken = os.dup(kept)
    strange = select.epoll()
    strange.register(closed, select.EPOLLIN)
    strange.register(taken, select.EPOLLIN | select.EPOLLONESHOT)
    os.close(closed)
    replacement = os.open("/dev/null", os.O_RDONLY)
    os.dup2(replacement, taken)
    if replacement != closed:
        os.close(replacement)
    reserved = {replacement, taken}

    request = subject.freeze()

    subject.expect("eventfd", 5, os.eventfd_read(counter))
    subject.expect("semaphore", [1, 1, 1], [os.eventfd_read(semaphore) for _ in range(3)])
    subject.expect("large eventfd", 2**40, os.eventfd_read(huge))
    for fd in (counter, semaphore):
        try:
            os.eventfd_read(fd)
            subject.wrong.append(f"eventfd {fd} is shared with somebody")
        except BlockingIOError:
            pass

    subject.expect("disarmed timer", (0.0, 0.0), remaining(disarmed))
    value, interval = remaining(far)
    subject.check(900 < value <= 1000 and interval == 7, f"armed timer: {value} {interval}")
    subject.expect("unread expirations", 1, struct.unpack("Q", os.read(expired, 8))[0])

    os.kill(os.getpid(), signal.SIGUSR1)
    subject.expect("signalfd", int(signal.SIGUSR1), struct.unpack_from("I", os.read(signals, 128))[0])
    os.kill(os.getpid(), signal.SIGUSR2)
    try:
        os.read(signals, 128)
        subject.wrong.append("signalfd takes a signal that it was not made for")
    except BlockingIOError:
        pass

    subject.check((near, select.EPOLLIN) in outer.poll(5), "the timer does not wake epoll")
    subject.expect("epoll before anything happens", [], inner.poll(0))
    os.eventfd_write(watched, 1)
    subject.expect("inner epoll", [(watched, select.EPOLLIN)], inner.poll(1))
    subject.check((inner.fileno(), select.EPOLLIN) in outer.poll(1), "the nested epoll does not wake the outer one")
    subject.expect("interests under strange numbers at rest", [], strange.poll(0))
    os.eventfd_write(kept, 1)
    subject.expect("interests under strange numbers", sorted([(closed, select.EPOLLIN), (taken, select.EPOLLIN)]), sorted(strange.poll(1)))
    subject.expect("one-shot interest", [(closed, select.EPOLLIN)], strange.poll(1))
    subject.expect("what took the number", {"/dev/null"}, {os.readlink(f"/proc/self/fd/{fd}") for fd in reserved})
    subject.answer(id=request["id"])


main()
