"""Numbers that must differ from clone to clone. The caller compares the answers of several clones, and of clones of a clone.

Every generator has drawn numbers before the freeze. The kernel's differs by itself, OpenSSL's by what the engine does (docs/random-numbers.md), in
each thread; Python's own notices nothing and is seeded when the request arrives, as docs/examples.md tells workers to do.
"""

import json
import os
import queue
import random
import secrets
import ssl
import threading
import uuid

from subject import Subject


def numbers() -> list[str]:
    return [secrets.token_hex(16), uuid.uuid4().hex, os.urandom(16).hex(), ssl.RAND_bytes(16).hex(), f"{random.getrandbits(128):032x}"]


class Drawer(threading.Thread):
    """A thread that lives through the freeze: OpenSSL keeps generators for each."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.orders: queue.SimpleQueue[None] = queue.SimpleQueue()
        self.drawn: queue.SimpleQueue[str] = queue.SimpleQueue()
        self.start()

    def run(self) -> None:
        while True:
            self.orders.get()
            self.drawn.put(ssl.RAND_bytes(16).hex())

    def draw(self) -> str:
        self.orders.put(None)
        return self.drawn.get()


def draw_in_a_child() -> list[str]:
    """A real fork still is one: the child repeats nothing of its parent."""
    reader, writer = os.pipe()
    if os.fork() == 0:
        os.write(writer, json.dumps([ssl.RAND_bytes(16).hex(), os.urandom(16).hex()]).encode())
        os._exit(0)
    os.close(writer)
    drawn = json.loads(os.read(reader, 65536))
    os.close(reader)
    os.wait()
    return drawn


def main() -> None:
    subject = Subject()
    drawer = Drawer()
    before = [*numbers(), drawer.draw()]
    pid = os.getpid()
    subject.freeze()
    random.seed()
    after = [*numbers(), drawer.draw(), *draw_in_a_child(), ssl.RAND_bytes(16).hex()]
    subject.check(len(set(before) | set(after)) == len(before) + len(after), "a number came twice")
    subject.expect("process ID", pid, os.getpid())
    subject.answer(random=after)


main()
