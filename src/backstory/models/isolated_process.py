"""What runs in a process of its own, behind walls: `python -I isolated_process.py`. For models opened by running code.

Started as a file, with the standard library alone: the walls stand before anything else is imported. What they keep in:

- no network and no other process: a seccomp filter refuses sockets, `io_uring`, shared memory and message queues,
  starting programs and processes, signals to others, looking into them and limiting them. Without it nothing is run.
- no files: Landlock allows reading what programs are made of, and writing in the current directory, which is empty.
  Only where the kernel has it. Owner, mode, times and attributes of files are left as they are by the filter.
- no rights of an administrator: they are given up, so that clock, mounts and modules are out of reach for root too.
- limits of time, memory, file size and open files.

Not kept in: use of processor and memory up to the limits, and what the answer says. The parent trusts no byte of it.
"""

from __future__ import annotations

import ctypes
import errno
import importlib
import json
import os
import platform
import resource
import socket
import struct
import sys
from pathlib import Path
from typing import Any

_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _SECCOMP_MODE_FILTER = 38, 22, 2
_ALLOW, _REFUSE, _MISSING, _KILL = 0x7FFF_0000, 0x0005_0000 | errno.EPERM, 0x0005_0000 | errno.ENOSYS, 0x8000_0000
_LOAD, _EQUAL, _AT_LEAST, _HAS_BITS, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_NUMBER_AT, _ARCHITECTURE_AT, _FIRST_ARGUMENT_AT = 0, 4, 16
_CLONE_THREAD = 0x0001_0000
_CLONE3 = 435
_X32 = 0x4000_0000

# Source: the tables of system calls of Linux. One line each: the network; starting processes and signals; looking into
# processes and the kernel; other namespaces and keys; owner and mode of files; their times and attributes; shared
# memory and queues; how other processes are scheduled.
_X86_64 = (
    *(41, 42, 43, 44, 45, 46, 47, 49, 50, 53, 288),
    *(57, 58, 59, 322, 62, 200, 234, 129, 297),
    *(101, 310, 311, 321, 298, 323),
    *(272, 308, 165, 248, 249, 250),
    *(90, 91, 268, 92, 93, 94, 260),
    *(132, 235, 261, 280, 188, 189, 190, 197, 198, 199),
    *(29, 30, 31, 64, 65, 66, 220, 68, 69, 70, 71, 240, 241),
    *(141, 142, 144, 314, 251),
)
"""socket, connect, accept, sendto, recvfrom, sendmsg, recvmsg, bind, listen, socketpair, accept4; fork, vfork, execve,
execveat, kill, tkill, tgkill, rt_sigqueueinfo, rt_tgsigqueueinfo; ptrace, process_vm_readv, process_vm_writev, bpf,
perf_event_open, userfaultfd; unshare, setns, mount, add_key, request_key, keyctl; chmod, fchmod, fchmodat, chown,
fchown, lchown, fchownat; utime, utimes, futimesat, utimensat, setxattr, lsetxattr, fsetxattr, removexattr,
lremovexattr, fremovexattr; shmget, shmat, shmctl, semget, semop, semctl, semtimedop, msgget, msgsnd, msgrcv, msgctl,
mq_open, mq_unlink; setpriority, sched_setparam, sched_setscheduler, sched_setattr, ioprio_set."""
_AARCH64 = (
    *(198, 203, 202, 206, 207, 211, 212, 200, 201, 199, 242),
    *(221, 281, 129, 130, 131, 138, 240),
    *(117, 270, 271, 280, 241, 282),
    *(97, 268, 40, 217, 218, 219),
    *(52, 53, 55, 54),
    *(88, 5, 6, 7, 14, 15, 16),
    *(194, 196, 195, 190, 193, 191, 192, 186, 189, 188, 187, 180, 181),
    *(140, 118, 119, 274, 30),
)
"""The same, without fork, vfork, chmod, chown, lchown, utime, utimes and futimesat, which are not there."""
_ON_BOTH = (425, 426, 427, 424, 434, 438, 452, 463, 466)
"""io_uring_setup, io_uring_enter, io_uring_register, pidfd_send_signal, pidfd_open, pidfd_getfd, fchmodat2, setxattrat,
removexattrat."""
_MACHINES = {"x86_64": (0xC000_003E, 56, 302, _X86_64), "aarch64": (0xC000_00B7, 220, 261, _AARCH64)}
"""Of each machine: its name for the kernel, the numbers of `clone` and `prlimit64`, and the calls that are refused."""
_CAPSET = {"x86_64": 126, "aarch64": 91}
_CAPABILITY_VERSION = 0x2008_0522

_RULESET_NEW, _RULESET_ADD, _RULESET_APPLY = 444, 445, 446
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1, 2, 4, 8
_RIGHTS = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 5: (1 << 16) - 1}
"""Rights over files that each version of Landlock knows; versions between know those before."""

_PARTS_OF_PROGRAMS = (
    "/usr",
    "/lib",
    "/lib64",
    "/bin",
    "/etc/ld.so.cache",
    "/etc/localtime",
    "/proc/cpuinfo",
    "/proc/meminfo",
    "/proc/stat",
    "/proc/self",
    "/sys/devices/system",
    "/dev/null",
    "/dev/zero",
    "/dev/random",
    "/dev/urandom",
)
_FILE_SIZE_MAX = 64 * 1024**2
_FILES_MAX = 256


WALLED = b"walled"
"""The first line of an answer once the walls are up: what stands before it no foreign code has written."""


def main() -> None:
    """Take a task from standard input, put up the walls, do it, and write the answer to what was standard output."""
    task = json.loads(sys.stdin.buffer.readline())
    answer = os.dup(1)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)  # what a model prints is no answer
    path = [*task["path"], *(entry for entry in sys.path if entry not in task["path"])]
    sys.path[:] = path
    if task["walled"]:
        try:
            limit(task["seconds"], task["memory"])
            cut_files(path)
            drop_capabilities()
            cut_network()
        except OSError as error:
            _write(answer, {"stage": "walls", "error": str(error)})
            return
        os.write(answer, WALLED + b"\n")
    body = sys.stdin.buffer.read()
    try:
        result: bytes = getattr(importlib.import_module(task["module"]), task["function"])(body)
    except BaseException as error:  # noqa: BLE001  foreign code may raise anything, also what ends a process
        stage = getattr(error, "details", {}).get("stage", "call")
        first = type(error.__cause__ or error).__name__
        _write(answer, {"stage": stage, "error": first, "message": str(error)})
        return
    _write(answer, {"stage": "done"}, result)


def _write(answer: int, head: dict[str, Any], body: bytes = b"") -> None:
    with os.fdopen(answer, "wb") as file:
        file.write(json.dumps(head).encode() + b"\n" + body)


def limit(seconds: int, memory: int) -> None:
    """Limit what this process may use; it can only lower the limits further."""
    wanted = (
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_FSIZE, _FILE_SIZE_MAX),
        (resource.RLIMIT_NOFILE, _FILES_MAX),
        (resource.RLIMIT_CORE, 0),
    )
    for what, most in wanted:
        hard = resource.getrlimit(what)[1]
        least = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(what, (least, least))


def cut_network() -> None:
    """Refuse this process and its threads the network and other processes, for good.

    Raises:
        OSError: The kernel does not do that here.
    """
    known = _MACHINES.get(platform.machine()) if sys.platform == "linux" else None
    if known is None:
        raise OSError(f"no filter of system calls for {platform.system()} on {platform.machine()}")
    rules = _filter(*known)
    code = b"".join(struct.pack("=HBBI", *rule) for rule in rules)
    buffer = ctypes.create_string_buffer(code)
    program = struct.pack("@HP", len(rules), ctypes.addressof(buffer))
    _control(_PR_SET_NO_NEW_PRIVS, 1)
    _control(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.create_string_buffer(program))
    for family in (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX):
        try:
            socket.socket(family).close()
        except PermissionError:
            continue
        raise OSError("the filter of system calls lets sockets through")


def drop_capabilities() -> None:
    """Give up the rights of an administrator, of which root has all, for good.

    Raises:
        OSError: The kernel does not do that here.
    """
    number = _CAPSET.get(platform.machine()) if sys.platform == "linux" else None
    if number is None:
        raise OSError(f"no way to give up rights on {platform.system()} on {platform.machine()}")
    head, none = struct.pack("=Ii", _CAPABILITY_VERSION, 0), bytes(24)
    if _system(number, ctypes.create_string_buffer(head), ctypes.create_string_buffer(none, len(none))) != 0:
        raise OSError("capset is refused")


def _filter(architecture: int, clone: int, prlimit: int, refused: tuple[int, ...]) -> list[tuple[int, int, int, int]]:
    """Return the filter as instructions: code, jump if true, jump if false, operand; jumps count from the next."""
    tests = [(_AT_LEAST, _X32), *((_EQUAL, number) for number in (*refused, *_ON_BOTH))]
    # After the tests: clone3?, clone?, prlimit?, allow; thread?; own?; refuse, missing, allow: every jump goes forward.
    rules = [
        (_LOAD, 0, 0, _ARCHITECTURE_AT),
        (_EQUAL, 1, 0, architecture),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NUMBER_AT),
    ]
    for place, (test, number) in enumerate(tests):
        rules.append((test, len(tests) - place + 7, 0, number))
    return [
        *rules,
        (_EQUAL, 8, 0, _CLONE3),  # its flags are in memory, where a filter cannot look; then `clone` is taken
        (_EQUAL, 2, 0, clone),
        (_EQUAL, 3, 0, prlimit),
        (_RETURN, 0, 0, _ALLOW),
        (_LOAD, 0, 0, _FIRST_ARGUMENT_AT),
        (_HAS_BITS, 4, 2, _CLONE_THREAD),
        (_LOAD, 0, 0, _FIRST_ARGUMENT_AT),
        (_EQUAL, 2, 0, 0),  # limits of this process; another is named by its number
        (_RETURN, 0, 0, _REFUSE),
        (_RETURN, 0, 0, _MISSING),
        (_RETURN, 0, 0, _ALLOW),
    ]


def cut_files(path: list[str]) -> bool:
    """Let this process read what programs are made of, and write in the current directory; nothing else.

    Args:
        path: Folders and files modules are imported from.

    Returns:
        Whether the kernel does that.
    """
    version = landlock_version()
    if version < 1:
        return False
    rights = next(_RIGHTS[known] for known in sorted(_RIGHTS, reverse=True) if known <= version)
    attribute = struct.pack("=Q", rights)
    ruleset = _system(_RULESET_NEW, ctypes.create_string_buffer(attribute, len(attribute)), len(attribute), 0)
    programs = {*path, sys.prefix, sys.base_prefix, sys.exec_prefix, *_PARTS_OF_PROGRAMS}
    for place in sorted(programs):
        _allow(ruleset, place, _EXECUTE | _READ_FILE | _READ_DIR)
    _allow(ruleset, os.devnull, _READ_FILE | _WRITE_FILE)
    _allow(ruleset, str(Path.cwd()), rights & ~_EXECUTE)
    _control(_PR_SET_NO_NEW_PRIVS, 1)
    if _system(_RULESET_APPLY, ruleset, 0) < 0:
        raise OSError("Landlock refuses its rules")
    os.close(ruleset)
    return True


def landlock_version() -> int:
    """Return the version of Landlock the kernel has; below 1 it has none."""
    return _system(_RULESET_NEW, None, 0, 1) if sys.platform == "linux" else -1


def _allow(ruleset: int, place: str, rights: int) -> None:
    try:
        handle = os.open(place, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return  # what is not there needs no right
    if not Path(place).is_dir():
        rights &= _EXECUTE | _READ_FILE | _WRITE_FILE
    attribute = struct.pack("=Qi", rights, handle)
    _system(_RULESET_ADD, ruleset, 1, ctypes.create_string_buffer(attribute, len(attribute)), 0)
    os.close(handle)


def _system(number: int, *arguments: Any) -> int:
    given = [ctypes.c_long(value) if isinstance(value, int) else value for value in arguments]
    return int(ctypes.CDLL(None).syscall(ctypes.c_long(number), *given))


def _control(option: int, *arguments: Any) -> None:
    given = [ctypes.c_ulong(value) if isinstance(value, int) else value for value in arguments]
    given += [ctypes.c_ulong(0)] * (4 - len(given))
    library = ctypes.CDLL(None, use_errno=True)
    if library.prctl(ctypes.c_int(option), *given) != 0:
        raise OSError(f"prctl {option} is refused: {os.strerror(ctypes.get_errno())}")


if __name__ == "__main__":
    main()
