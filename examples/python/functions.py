"""A runtime for functions, to be snapshotted in layers: the bare runtime, then what functions need, then each function.

It says `ready`, reads a request, and does what its payload says:

    {"imports": ["json", "sqlite3"]}              import these, be ready again: for `snapshots create --from`
    {"file": "/srv/resize.py"} or {"code": "..."} define a function `handle(arguments)`, be ready again
    {"arguments": {...}}                          call it, answer, end: what clones of the last layer are for

    answer   {"id": "...", "generation": 7, "result": ..., "modules": 312}
"""

import gc, importlib, json, os, random, sys


def read_line(descriptor: int) -> str:
    line = bytearray()
    while not line.endswith(b"\n"):
        piece = os.read(descriptor, 65536)
        if not piece:
            raise EOFError("the channel was closed before a request came")
        line += piece
    return line.decode()


def prepare(payload: dict, namespace: dict) -> None:
    """Whatever every clone would otherwise have to do for itself."""
    for name in payload.get("imports", []):
        importlib.import_module(name)
    if "file" in payload:
        with open(payload["file"]) as source:
            exec(compile(source.read(), payload["file"], "exec"), namespace)
    if "code" in payload:
        exec(payload["code"], namespace)


def main() -> None:
    channel = int(os.environ["SNAPSHOTS_CHANNEL"])
    namespace = {"__name__": "function"}
    while True:
        # What is alive now stays alive: the collector need not walk it in every clone, which would copy every page it marks.
        gc.collect()
        gc.freeze()
        os.write(channel, b"ready\n")
        request = json.loads(read_line(channel))  # in a clone, and in the next layer, this call returns
        os.environ.update(request.get("env") or {})
        random.seed()  # every clone wakes with the same generators
        payload = request["payload"] or {}
        if "arguments" in payload:
            break
        prepare(payload, namespace)
    answer = {"id": request["id"], "generation": request["generation"], "modules": len(sys.modules)}
    try:
        answer["result"] = namespace["handle"](payload["arguments"])
    except Exception as problem:
        answer["error"] = f"{type(problem).__name__}: {problem}"
    os.write(channel, json.dumps(answer).encode() + b"\n")
    if payload.get("stay"):
        read_line(channel)  # until whoever asked lets go: for measuring clones that are alive
    sys.stdout.flush()
    os._exit(0)  # a tidy exit would free every object, and so copy every page of it first


if __name__ == "__main__":
    main()
