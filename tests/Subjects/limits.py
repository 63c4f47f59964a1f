"""Resource limits below what the process uses already: they bind what comes, and must not hinder the making of a clone."""

import ctypes
import mmap
import os
import resource
import signal
import threading

from subject import Subject

libc = ctypes.CDLL(None, use_errno=True)
HIGH = 90
MIB = 1 << 20


def limits() -> dict[int, tuple[int, int]]:
    return {kind: resource.getrlimit(kind) for kind in range(16)}


def address_space_bytes() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[0]) * mmap.PAGESIZE


def refused(what: str, action) -> str | None:
    try:
        action()
    except (OSError, MemoryError, RuntimeError):
        return None
    return f"{what}: the limit does not bind"


def main() -> None:
    subject = Subject()
    # Descriptors in a gap and far above it; what is made of memory; a thread; a signal that waits; memory that is locked.
    read, write = os.pipe()
    os.write(write, b"queued")
    os.dup2(write, HIGH)
    os.close(write)
    memfd = os.memfd_create("limited")
    os.write(memfd, b"x" * (4 * MIB))
    shared = mmap.mmap(memfd, 4 * MIB)
    locked = mmap.mmap(-1, 16 * mmap.PAGESIZE)
    subject.check(libc.mlock(ctypes.byref(ctypes.c_char.from_buffer(locked)), 16 * mmap.PAGESIZE) == 0, "set-up: mlock")
    signal.signal(signal.SIGUSR1, lambda *_: arrived.append(1))
    arrived: list[int] = []
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    os.kill(os.getpid(), signal.SIGUSR1)
    done = threading.Event()
    thread = threading.Thread(target=done.wait)
    thread.start()

    resource.setrlimit(resource.RLIMIT_AS, (address_space_bytes() + 16 * MIB, address_space_bytes() + 17 * MIB))
    for kind, soft, hard in (
        (resource.RLIMIT_NOFILE, 1, 2), (resource.RLIMIT_FSIZE, 4096, 8192), (resource.RLIMIT_NPROC, 1, 1), (resource.RLIMIT_CPU, 500, 1000),
        (resource.RLIMIT_MEMLOCK, 0, 4096), (resource.RLIMIT_SIGPENDING, 0, 0), (resource.RLIMIT_MSGQUEUE, 0, 0), (resource.RLIMIT_CORE, 0, 0),
        (resource.RLIMIT_STACK, 8 * MIB, 64 * MIB), (resource.RLIMIT_RTTIME, 100, 200), (resource.RLIMIT_DATA, 512 * MIB, 512 * MIB),
    ):
        resource.setrlimit(kind, (soft, hard))
    before = limits()
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    subject.freeze()

    subject.expect("limits", before, limits())
    subject.expect("queued bytes", b"queued", os.read(read, 100))
    os.write(HIGH, b"again")
    subject.expect("bytes through the high descriptor", b"again", os.read(read, 100))
    # Byte by byte: until the last thread of a clone has left the engine's code, that code counts as address space, and little more fits.
    subject.check(all(shared[at] == ord("x") for at in range(0, 4 * MIB, 1000)), "the memfd's contents differ")
    for problem in (
        refused("NOFILE", lambda: os.dup(read)),
        refused("AS", lambda: mmap.mmap(-1, 32 * MIB)),
        refused("FSIZE", lambda: os.ftruncate(memfd, 8 * MIB)),
    ):
        subject.check(problem is None, problem or "")
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGUSR1})
    subject.expect("signals", [1], arrived)
    done.set()
    thread.join(10)
    subject.check(not thread.is_alive(), "the thread cannot be joined")
    subject.answer()


main()
