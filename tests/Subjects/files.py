"""Regular files, directories and character devices: offsets, flags, and which descriptors share one open file."""

import fcntl
import os
import tempfile

from subject import Subject


def main() -> None:
    subject = Subject()
    directory = tempfile.mkdtemp(prefix="snapshots-files-", dir=os.environ.get("SUBJECT_DIRECTORY"))
    path = os.path.join(directory, "data")
    with open(path, "wb") as file:
        file.write(bytes(range(256)) * 16)

    reader = os.open(path, os.O_RDONLY)
    os.lseek(reader, 1000, os.SEEK_SET)
    shared = os.dup(reader)
    far = 77
    os.dup2(reader, far)
    apart = os.open(path, os.O_RDONLY)
    os.lseek(apart, 3, os.SEEK_SET)
    log = os.open(os.path.join(directory, "log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.write(log, b"before\n")
    nonblocking = os.open(path, os.O_RDWR | os.O_NONBLOCK)
    os.set_inheritable(nonblocking, True)
    listing = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    only_path = os.open(path, os.O_PATH)
    null = os.open("/dev/null", os.O_RDWR)
    zero = os.open("/dev/zero", os.O_RDONLY)
    random = os.open("/dev/urandom", os.O_RDONLY)
    own = os.open("/proc/self/status", os.O_RDONLY)
    flags = {fd: fcntl.fcntl(fd, fcntl.F_GETFL) for fd in (reader, log, nonblocking, listing)}

    request = subject.freeze()

    subject.expect("offset", 1000, os.lseek(reader, 0, os.SEEK_CUR))
    subject.expect("offset of an open file of its own", 3, os.lseek(apart, 0, os.SEEK_CUR))
    subject.expect("contents at the offset", bytes([1000 % 256]), os.read(reader, 1))
    subject.expect("offset seen by the duplicate", 1001, os.lseek(shared, 0, os.SEEK_CUR))
    subject.expect("offset seen by the far duplicate", 1001, os.lseek(far, 0, os.SEEK_CUR))
    subject.expect("offset of the other open file", 3, os.lseek(apart, 0, os.SEEK_CUR))
    for fd, before in flags.items():
        subject.expect(f"flags of fd {fd}", before, fcntl.fcntl(fd, fcntl.F_GETFL))
    subject.check(os.get_inheritable(nonblocking), "close-on-exec appeared")
    subject.check(not os.get_inheritable(reader), "close-on-exec was lost")
    os.lseek(log, 0, os.SEEK_SET)
    line = f"{request['id']}\n".encode()
    os.write(log, line)
    with open(os.path.join(directory, "log"), "rb") as file:
        text = file.read()
    subject.check(text.startswith(b"before\n") and line in text, f"appending did not append: {text!r}")
    subject.expect("directory", ["data", "log"], sorted(os.listdir(listing)))
    subject.expect("file behind O_PATH", os.stat(path).st_ino, os.fstat(only_path).st_ino)
    subject.expect("/dev/zero", bytes(8), os.read(zero, 8))
    subject.expect("/dev/urandom", 8, len(os.read(random, 8)))
    subject.expect("/dev/null", 5, os.write(null, b"12345"))
    subject.check(f"Pid:\t{os.getpid()}".encode() in os.read(own, 4096), "/proc/self/status shows another process")
    subject.answer(id=request["id"])


main()
