"""Unix sockets: pairs with unread data and shut directions, closed peers, listening sockets by path and abstract, datagrams."""

import os
import socket
import tempfile

from subject import Subject


def main() -> None:
    subject = Subject()
    left, right = socket.socketpair()
    left.sendall(b"to the right")
    right.sendall(b"to the left")
    right.setblocking(False)
    packets, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for message in (b"one", b"two", b"three"):
        packets.send(message)
    datagrams, target = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    datagrams.send(b"first")
    datagrams.send(b"second")
    shut, half = socket.socketpair()
    shut.sendall(b"before the end")
    shut.shutdown(socket.SHUT_WR)
    orphan, gone = socket.socketpair()
    gone.sendall(b"legacy")
    gone.close()
    tuned, tuned_peer = socket.socketpair()
    tuned.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 100_000)
    tuned.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
    buffer = tuned.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)

    directory = tempfile.mkdtemp(prefix="snapshots-unix-", dir=os.environ.get("SUBJECT_DIRECTORY"))
    path = os.path.join(directory, "listening")
    by_path = socket.socket(socket.AF_UNIX)
    by_path.bind(path)
    by_path.listen(7)
    abstract = socket.socket(socket.AF_UNIX)
    abstract.bind("\0snapshots-test")
    abstract.listen(3)
    box = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    box.bind("\0snapshots-box")
    fresh = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)

    request = subject.freeze()

    subject.expect("unread bytes", b"to the right", right.recv(100))
    subject.expect("unread bytes, other direction", b"to the left", left.recv(100))
    subject.check(left.getblocking() and os.get_blocking(left.fileno()) and not os.get_blocking(right.fileno()), "blocking modes differ from before")
    left.sendall(request["id"].encode())
    subject.expect("new bytes", request["id"].encode(), right.recv(100))
    subject.expect("unread packets", [b"one", b"two", b"three"], [other.recv(100) for _ in range(3)])
    subject.expect("unread datagrams", [b"first", b"second"], [target.recv(100) for _ in range(2)])
    subject.expect("bytes before the end", b"before the end", half.recv(100))
    subject.expect("end of the shut direction", b"", half.recv(100))
    half.sendall(b"still open")
    subject.expect("the direction that is open", b"still open", shut.recv(100))
    subject.expect("bytes of a closed peer", b"legacy", orphan.recv(100))
    subject.expect("end of the closed peer", b"", orphan.recv(100))
    subject.expect("send buffer", buffer, tuned.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF))
    subject.expect("SO_PASSCRED", 1, tuned.getsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED))
    subject.check(tuned_peer.getsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED) == 0, "the peer got the options of the other end")

    for server, address in ((by_path, path), (abstract, b"\0snapshots-test")):
        subject.expect("name", address, server.getsockname())
        client = socket.socket(socket.AF_UNIX)
        client.settimeout(5)
        client.connect(address)
        server.settimeout(5)
        accepted, _ = server.accept()
        accepted.sendall(request["id"].encode())
        subject.expect(f"connection by {address!r}", request["id"].encode(), client.recv(100))
    fresh.sendto(b"a letter", "\0snapshots-box")
    subject.expect("datagram by name", b"a letter", box.recv(100))
    subject.answer(id=request["id"])


main()
