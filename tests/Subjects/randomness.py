"""Numbers that must differ from clone to clone. The caller compares the answers of several clones.

The kernel's generator differs by itself. OpenSSL compares process IDs to notice a fork, and clones keep theirs; Python's own generator notices
nothing. Both are seeded when the request arrives, as docs/examples.md tells workers to do.
"""

import os
import random
import secrets
import ssl
import uuid

from subject import Subject


def numbers() -> list[str]:
    return [secrets.token_hex(16), uuid.uuid4().hex, os.urandom(16).hex(), ssl.RAND_bytes(16).hex(), f"{random.getrandbits(128):032x}"]


def main() -> None:
    subject = Subject()
    before = numbers()  # every generator has state before the freeze
    subject.freeze()
    random.seed()
    ssl.RAND_add(os.urandom(32), 32.0)
    after = numbers()
    subject.check(not set(before) & set(after), "a number came twice")
    subject.answer(random=after)


main()
