"""What a clone can do in its own namespaces: have children and threads, reach itself over loopback, read /proc."""

import asyncio
import os
import socket
import subprocess
import threading
import time

from subject import Subject


def state_of_loopback() -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as server:
        server.bind(("127.0.0.1", 0))
        server.listen(1)
        with socket.create_connection(server.getsockname(), timeout=5) as client:
            accepted, _ = server.accept()
            with accepted:
                client.sendall(b"over lo")
                return accepted.recv(16) == b"over lo"


async def tasks() -> int:
    return sum(await asyncio.gather(*(asyncio.sleep(0.01, n) for n in range(10))))


def main() -> None:
    subject = Subject()
    pid = os.getpid()
    monotonic = time.monotonic()
    counter = time.perf_counter()
    request = subject.freeze()

    subject.expect("pid", pid, os.getpid())
    subject.check(int(os.readlink("/proc/self")) == pid, "/proc shows another process as self")
    subject.check(time.monotonic() >= monotonic and time.perf_counter() >= counter, "the monotonic clock ran backwards")
    subject.check(abs(time.time() - time.clock_gettime(time.CLOCK_REALTIME)) < 1, "the clocks disagree")
    subject.check(state_of_loopback(), "loopback does not carry a connection")

    echo = subprocess.run(["echo", "from a child"], capture_output=True, text=True, timeout=20)
    subject.check(echo.returncode == 0 and echo.stdout == "from a child\n", f"a child process failed: {echo}")
    child = os.fork()
    if child == 0:
        os._exit(42 if os.getppid() == pid else 1)
    subject.expect("exit status of a forked child", (child, 42 << 8), os.waitpid(child, 0))

    seen: list[int] = []
    threads = [threading.Thread(target=seen.append, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    subject.check(sorted(seen) == list(range(8)), f"threads: {seen}")
    subject.expect("asyncio", 45, asyncio.run(tasks()))

    others = [entry for entry in os.listdir("/proc") if entry.isdigit()]
    if subject.restored:
        subject.check(len(others) < 5, f"/proc shows processes of others: {others}")
    subject.answer(id=request["id"], pid=os.getpid())


main()
