"""inotify: watches keep their numbers, masks and paths, and report what happens after the restore."""

import ctypes
import os
import struct
import tempfile

from subject import Subject

libc = ctypes.CDLL(None, use_errno=True)
IN_CREATE = 0x100
IN_MODIFY = 0x2
IN_NONBLOCK = 0o4000
IN_IGNORED = 0x8000


def events(fd: int) -> list[tuple[int, int, str]]:
    found = []
    try:
        data = os.read(fd, 65536)
    except BlockingIOError:
        return found
    while data:
        watch, mask, _, length = struct.unpack_from("iIII", data)
        found.append((watch, mask, data[16:16 + length].rstrip(b"\0").decode()))
        data = data[16 + length:]
    return found


def main() -> None:
    subject = Subject()
    directory = tempfile.mkdtemp(prefix="snapshots-watch-", dir=os.environ.get("SUBJECT_DIRECTORY"))
    file = os.path.join(directory, "file")
    with open(file, "w"):
        pass
    fd = libc.inotify_init1(IN_NONBLOCK)
    first = libc.inotify_add_watch(fd, directory.encode(), IN_CREATE)
    removed = libc.inotify_add_watch(fd, b"/", IN_CREATE)
    third = libc.inotify_add_watch(fd, file.encode(), IN_MODIFY)
    libc.inotify_rm_watch(fd, removed)
    events(fd)

    request = subject.freeze()

    subject.expect("events before anything happens", [], events(fd))
    name = f"new-{request['id']}"
    with open(os.path.join(directory, name), "w"):
        pass
    with open(file, "a") as changed:
        changed.write("x")
    # Other clones work in the same directory at the same time.
    seen = events(fd)
    subject.check((first, IN_CREATE, name) in seen, f"creation was not seen: {seen}")
    subject.check((third, IN_MODIFY, "") in seen, f"modification was not seen: {seen}")
    subject.answer(id=request["id"])


main()
