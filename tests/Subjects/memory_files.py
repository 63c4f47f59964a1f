"""memfds: contents, seals, several descriptors, shared and private mappings of one object, and that clones share nothing of it."""

import fcntl
import mmap
import os

from subject import Subject

PAGE = 4096


def main() -> None:
    subject = Subject()
    plain = os.memfd_create("plain")
    os.write(plain, b"in a memfd")
    again = os.open(f"/proc/self/fd/{plain}", os.O_RDONLY)
    os.lseek(again, 3, os.SEEK_SET)

    shared = os.memfd_create("shared")
    os.ftruncate(shared, 16 * PAGE)
    writer = mmap.mmap(shared, 16 * PAGE, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
    reader = mmap.mmap(shared, 4 * PAGE, mmap.MAP_SHARED, mmap.PROT_READ, offset=8 * PAGE)
    private = mmap.mmap(shared, 4 * PAGE, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_WRITE, offset=8 * PAGE)
    writer[8 * PAGE:8 * PAGE + 5] = b"hello"
    private[PAGE:PAGE + 3] = b"own"

    sealed = os.memfd_create("sealed", os.MFD_ALLOW_SEALING | os.MFD_CLOEXEC)
    os.write(sealed, b"for ever")
    fcntl.fcntl(sealed, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW)
    view = mmap.mmap(sealed, 8, mmap.MAP_PRIVATE, mmap.PROT_READ)

    anonymous = mmap.mmap(-1, 4 * PAGE, mmap.MAP_SHARED | mmap.MAP_ANONYMOUS)
    anonymous[:4] = b"anon"
    unnamed = os.memfd_create("mapped only")
    os.ftruncate(unnamed, PAGE)
    mapped = mmap.mmap(unnamed, PAGE)
    mapped[:6] = b"mapped"
    os.close(unnamed)

    request = subject.freeze()

    subject.expect("memfd", b"in a memfd", os.pread(plain, 100, 0))
    subject.expect("offset of the second open file", 3, os.lseek(again, 0, os.SEEK_CUR))
    os.pwrite(plain, request["id"].encode(), 0)
    subject.expect("one object behind both", request["id"].encode(), os.pread(again, len(request["id"]), 0))
    try:
        os.write(again, b"x")
        subject.wrong.append("the read-only open file can be written")
    except OSError:
        pass

    subject.expect("shared mapping", b"hello", reader[:5])
    subject.expect("private mapping, shared page", b"hello", private[:5])
    subject.expect("private mapping, own page", b"own", private[PAGE:PAGE + 3])
    subject.expect("own page of the private mapping, seen by the others", bytes(3), reader[PAGE:PAGE + 3])
    writer[8 * PAGE:8 * PAGE + 5] = b"again"
    subject.expect("second view of the object", b"again", reader[:5])
    subject.expect("descriptor of the object", b"again", os.pread(shared, 5, 8 * PAGE))
    writer[0:len(request["id"])] = request["id"].encode()
    subject.expect("own copy", request["id"].encode(), os.pread(shared, len(request["id"]), 0))

    seals = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW
    subject.expect("seals", seals, fcntl.fcntl(sealed, fcntl.F_GET_SEALS))
    subject.expect("sealed contents", b"for ever", view[:8])
    subject.expect("shared anonymous memory", b"anon", anonymous[:4])
    child = os.fork()
    if child == 0:
        anonymous[:4] = b"kids"
        mapped[:6] = b"forked"
        os._exit(0)
    os.waitpid(child, 0)
    subject.expect("shared anonymous memory after a child wrote", b"kids", anonymous[:4])
    subject.expect("mapping without descriptor after a child wrote", b"forked", mapped[:6])
    subject.answer(id=request["id"])


main()
