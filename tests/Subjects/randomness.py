"""Numbers that must differ from clone to clone. The caller compares the answers of several clones."""

import os
import secrets
import uuid

from subject import Subject


def main() -> None:
    subject = Subject()
    before = {secrets.token_hex(16), uuid.uuid4().hex, os.urandom(16).hex()}  # generators have state before the freeze
    subject.freeze()
    random = [secrets.token_hex(16), uuid.uuid4().hex, os.urandom(16).hex()]
    subject.check(not before & set(random), "a number came twice")
    subject.answer(random=random)


main()
