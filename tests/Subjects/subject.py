"""What all Python subjects share: the channel, and the list of what is wrong."""

import json
import os
import sys


class Subject:
    def __init__(self) -> None:
        self.channel = int(os.environ["SNAPSHOTS_CHANNEL"])
        self.wrong: list[str] = []
        self.restored = False

    def freeze(self) -> dict:
        """Says ready and waits for the request: here the subject is frozen; the call returns in the clone."""
        os.write(self.channel, b"ready\n")
        line = bytearray()
        while not line.endswith(b"\n"):
            piece = os.read(self.channel, 65536)
            if not piece:
                sys.exit("the channel was closed before a request came")
            line += piece
        request = json.loads(line)
        self.restored = bool(request["payload"].get("restored"))
        return request

    def expect(self, what: str, was: object, now: object) -> None:
        if was != now:
            self.wrong.append(f"{what}: was {was!r}, is {now!r}")

    def check(self, condition: object, what: str) -> None:
        if not condition:
            self.wrong.append(what)

    def answer(self, **more: object) -> None:
        text = {"ok": True} if not self.wrong else {"ok": False, "wrong": self.wrong}
        os.write(self.channel, json.dumps(text | more).encode() + b"\n")
        sys.stdout.flush()
        os._exit(1 if self.wrong else 0)
