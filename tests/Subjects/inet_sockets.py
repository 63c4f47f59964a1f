"""TCP and UDP sockets without a peer: listening, bound, neither; options; netlink sockets."""

import os
import socket
import struct

from subject import Subject

NETLINK_ROUTE = 0
RTNLGRP_LINK = 1
SOL_NETLINK = 270
NETLINK_ADD_MEMBERSHIP = 1
NETLINK_LIST_MEMBERSHIPS = 9
RTM_GETLINK = 18
NLM_F_REQUEST_DUMP = 0x301


def connect(server: socket.socket, family: int, host: str, text: bytes) -> bytes:
    client = socket.socket(family)
    client.settimeout(5)
    client.connect((host, server.getsockname()[1]))
    server.settimeout(5)
    accepted, _ = server.accept()
    accepted.sendall(text)
    return client.recv(100)


def main() -> None:
    subject = Subject()
    server = socket.socket()
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    server.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 77)
    server.bind(("127.0.0.1", 0))
    server.listen(33)
    second = server.dup()
    both = socket.socket(socket.AF_INET6)
    both.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    both.bind(("::", 0))
    both.listen(5)
    six = socket.socket(socket.AF_INET6)
    six.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    six.bind(("::1", 0))
    six.listen(5)
    bound = socket.socket()
    bound.bind(("0.0.0.0", 0))
    idle = socket.socket()
    datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    datagrams.bind(("127.0.0.1", 0))
    datagrams.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    datagrams.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("qq", 3, 250_000))
    timeout = datagrams.getsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, 16)
    loose = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    links = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_ROUTE)
    links.bind((0, 0))
    links.setsockopt(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, RTNLGRP_LINK)
    names = {s: s.getsockname() for s in (server, both, six, bound, datagrams, links)}

    request = subject.freeze()

    for sock, name in names.items():
        subject.expect(f"address of {sock}", name, sock.getsockname())
    text = request["id"].encode()
    subject.expect("SO_REUSEADDR", 1, server.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR))
    subject.check(server.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY), "TCP_NODELAY was lost")
    subject.expect("TCP_KEEPIDLE", 77, server.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE))
    subject.expect("IPv4 connection", text, connect(second, socket.AF_INET, "127.0.0.1", text))
    subject.expect("IPv4 connection to the socket of both", text, connect(both, socket.AF_INET, "127.0.0.1", text))
    subject.expect("IPv6 connection", text, connect(six, socket.AF_INET6, "::1", text))
    bound.listen(1)
    subject.expect("socket that was only bound", text, connect(bound, socket.AF_INET, "127.0.0.1", text))
    idle.connect(server.getsockname())
    subject.expect("SO_BROADCAST", 1, datagrams.getsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST))
    subject.expect("SO_RCVTIMEO", timeout, datagrams.getsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, 16))
    loose.sendto(text, ("::ffff:127.0.0.1", datagrams.getsockname()[1]))
    subject.expect("datagram", text, datagrams.recv(100))
    groups = struct.unpack_from("I", links.getsockopt(SOL_NETLINK, NETLINK_LIST_MEMBERSHIPS, 64))[0]
    subject.expect("netlink groups", 1, groups)
    links.sendto(struct.pack("=IHHII", 20, RTM_GETLINK, NLM_F_REQUEST_DUMP, 1, 0) + bytes(4), (0, 0))
    subject.check(len(links.recv(65536)) > 0, "netlink does not answer")
    subject.answer(id=request["id"], pid=os.getpid())


main()
