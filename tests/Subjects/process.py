"""Everything that belongs to the process and not to its memory: it is the same before and after."""

import ctypes
import os
import resource
import signal
import socket
import sys
import tempfile
import threading

from subject import Subject

libc = ctypes.CDLL(None, use_errno=True)

PR_GET_DUMPABLE, PR_SET_DUMPABLE = 3, 4
PR_GET_KEEPCAPS, PR_GET_SECUREBITS, PR_SET_SECUREBITS = 7, 27, 28
PR_SET_TIMERSLACK, PR_GET_TIMERSLACK = 29, 30
PR_SET_CHILD_SUBREAPER, PR_GET_CHILD_SUBREAPER = 36, 37
PR_SET_NO_NEW_PRIVS, PR_GET_NO_NEW_PRIVS = 38, 39
PR_SET_THP_DISABLE, PR_GET_THP_DISABLE = 41, 42
PR_CAPBSET_DROP = 24
CAP_SYS_TTY_CONFIG = 26


def prctl(option: int, *arguments: int) -> int:
    words = [ctypes.c_ulong(argument) for argument in (*arguments, 0, 0, 0, 0)[:4]]
    result = libc.prctl(option, *words)
    if result < 0:
        raise OSError(ctypes.get_errno(), f"prctl({option})")
    return result


def prctl_int(option: int) -> int:
    value = ctypes.c_int(-1)
    prctl(option, ctypes.addressof(value))
    return value.value


def read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def status(*names: str) -> dict[str, str]:
    lines = read("/proc/self/status").decode().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines) if name in names}


def limits() -> dict[str, tuple[int, int]]:
    return {name: resource.getrlimit(getattr(resource, name)) for name in dir(resource) if name.startswith("RLIMIT_")}


def thread_names() -> dict[str, str]:
    return {tid: read(f"/proc/self/task/{tid}/comm").decode() for tid in sorted(os.listdir("/proc/self/task"))}


def umask() -> int:
    mask = os.umask(0o777)
    os.umask(mask)
    return mask


def attributes() -> dict[str, object]:
    return {
        "pid": os.getpid(),
        "tid": threading.get_native_id(),
        "session": os.getsid(0) == os.getpid(),
        "process group": os.getpgid(0) == os.getpid(),
        "/proc/self": os.readlink("/proc/self"),
        "exe": os.readlink("/proc/self/exe"),
        "argv": read("/proc/self/cmdline"),
        "environ": read("/proc/self/environ"),
        "auxv": read("/proc/self/auxv"),
        "cwd": os.getcwd(),
        "root": os.readlink("/proc/self/root"),
        "umask": umask(),
        "limits": limits(),
        "names": thread_names(),
        "nice": os.getpriority(os.PRIO_PROCESS, 0),
        "scheduler": (os.sched_getscheduler(0), os.sched_getparam(0).sched_priority),
        "affinity": os.sched_getaffinity(0),
        "personality": libc.personality(0xFFFFFFFF),
        "oom_score_adj": read("/proc/self/oom_score_adj"),
        "coredump_filter": read("/proc/self/coredump_filter"),
        "hostname": socket.gethostname(),
        "credentials": status("Uid", "Gid", "Groups", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Threads", "THP_enabled"),
        "signals": status("SigBlk", "SigIgn", "SigCgt"),
        "dumpable": prctl(PR_GET_DUMPABLE),
        "keepcaps": prctl(PR_GET_KEEPCAPS),
        "securebits": prctl(PR_GET_SECUREBITS),
        "timer slack": prctl(PR_GET_TIMERSLACK),
        "subreaper": prctl_int(PR_GET_CHILD_SUBREAPER),
        "no_new_privs": prctl(PR_GET_NO_NEW_PRIVS),
        "thp disable": prctl(PR_GET_THP_DISABLE),
    }


def main() -> None:
    subject = Subject()
    workdir = os.environ.get("SUBJECT_WORKDIR", tempfile.gettempdir())
    os.chdir(workdir)
    os.umask(0o037)
    resource.setrlimit(resource.RLIMIT_NOFILE, (200, 300))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 4096))
    os.nice(3)
    with open("/proc/self/comm", "w") as comm:
        comm.write("subject-main")
    with open("/proc/self/oom_score_adj", "w") as score:
        score.write("321")
    with open("/proc/self/coredump_filter", "w") as mask:
        mask.write("0x13")
    if "SUBJECT_SANDBOXED" in os.environ:  # never outside: the name would be the machine's
        socket.sethostname("frozen-host")
    prctl(PR_SET_TIMERSLACK, 123456)
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    prctl(PR_SET_THP_DISABLE, 1)
    if os.getuid() == 0:
        prctl(PR_CAPBSET_DROP, CAP_SYS_TTY_CONFIG)
        prctl(PR_SET_SECUREBITS, 0x20)  # SECBIT_KEEP_CAPS_LOCKED
        os.setgroups([7, 42])
    prctl(PR_SET_NO_NEW_PRIVS, 1)
    prctl(PR_SET_DUMPABLE, 1)

    # A second thread with a name of its own, waiting on a lock.
    done = threading.Lock()
    done.acquire()
    started = threading.Event()

    def wait() -> None:
        libc.prctl(15, b"subject-other", 0, 0, 0)  # PR_SET_NAME
        started.set()
        done.acquire()

    thread = threading.Thread(target=wait)
    thread.start()
    started.wait()

    before = attributes()
    subject.check(before["nice"] == 3 and before["cwd"] == workdir, f"set-up: nice {before['nice']}, cwd {before['cwd']}")
    subject.freeze()
    after = attributes()
    for name, value in before.items():
        subject.expect(name, value, after[name])
    done.release()
    thread.join(10)
    subject.check(not thread.is_alive(), "the second thread cannot be joined")
    subject.answer()


main()
