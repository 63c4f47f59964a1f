"""A worker that is expensive to start: much of the standard library and a table of TABLE_MB megabytes.

It warms up once, says so on its channel, and answers one request per clone:

    payload  {"key": 41}
    answer   {"id": "...", "generation": 7, "key": 41, "value": 1065577..., "name": "...", "entries": 300000}

`value` is (key * 2654435761 + 12345) mod 2^32 of the key wrapped to the table, so that whoever asks can check it.
"""

import argparse, ast, asyncio, base64, calendar, collections, concurrent.futures, configparser, csv, ctypes
import dataclasses, datetime, decimal, difflib, email.message, email.parser, enum, fractions, functools, gc, gzip
import hashlib, heapq, hmac, html.parser, http.client, http.server, inspect, itertools, json, logging, logging.handlers
import lzma, mimetypes, multiprocessing, os, pathlib, pickle, platform, pprint, queue, random, re, secrets, selectors
import shutil, smtplib, socket, sqlite3, ssl, statistics, string, subprocess, sys, tarfile, tempfile, threading
import tomllib, traceback, typing, unicodedata, unittest, urllib.parse, urllib.request, uuid, xml.dom.minidom
import xml.etree.ElementTree, zipfile, zlib, zoneinfo

ENTRIES_PER_MEGABYTE = 3000  # about 350 bytes each: the key, a tuple, an integer, a string and their share of the dict


def value_of(key: int) -> int:
    return (key * 2654435761 + 12345) % 4294967296


def build_table(megabytes: int) -> dict[int, tuple[int, str]]:
    """A live heap of at least `megabytes` MB, made of small objects as real tables are."""
    return {
        key: (value_of(key), f"row-{key:08d}-{value_of(key):08x} " * 6)
        for key in range(megabytes * ENTRIES_PER_MEGABYTE)
    }


def read_line(descriptor: int) -> str:
    line = bytearray()
    while not line.endswith(b"\n"):
        piece = os.read(descriptor, 65536)
        if not piece:
            raise EOFError("the channel was closed before a request came")
        line += piece
    return line.decode()


def answer(table: dict[int, tuple[int, str]], request: dict) -> dict:
    key = request["payload"]["key"]
    value, name = table[key % len(table)]
    return {
        "id": request["id"],
        "generation": request["generation"],
        "key": key,
        "value": value,
        "name": name.split(" ", 1)[0],
        "entries": len(table),
    }


def main() -> None:
    channel = int(os.environ["SNAPSHOTS_CHANNEL"])
    table = build_table(int(os.environ.get("TABLE_MB", "100")))
    # What is alive now stays alive: the collector need not walk it again in every clone, which would copy every page it marks.
    gc.collect()
    gc.freeze()
    os.write(channel, b"ready\n")

    request = json.loads(read_line(channel))  # in a clone this call returns
    os.environ.update(request.get("env") or {})
    random.seed()  # every clone wakes with the same generators; the kernel's entropy is its own
    ssl.RAND_add(os.urandom(32), 32.0)
    os.write(channel, json.dumps(answer(table, request)).encode() + b"\n")
    sys.stdout.flush()
    os._exit(0)  # a tidy exit would free every object of the table, and so copy every page of it first


if __name__ == "__main__":
    main()
