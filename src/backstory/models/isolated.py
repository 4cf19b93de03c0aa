"""Running a function in a fresh process without network; bytes go in and come out, and nothing else.

The process has an empty directory, no variables but those of arithmetic, and a limited time. See `isolated_process`
for its walls. Nothing it answers is trusted: its words are not shown, and its bytes are for the caller to check.
"""

from __future__ import annotations

import builtins
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from backstory import errors
from backstory.errors import ModelError
from backstory.models import isolated_process

ANSWER_SIZE_MAX = 256 * 1024**2
"""Bytes of an answer; a larger one is refused unread."""

MEMORY = 16 * 1024**3
"""Bytes of address space, of which numerical libraries reserve much and use little."""

_STAGES = {"call": "it raises {error} when it is called", "load": "opening it raises {error}"}
"""What raised; anything else counts as the call."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Interpreter:
    """Which Python runs, and with what.

    Attributes:
        executable: The program.
        path: Folders put before those the program itself imports modules from.
        variables: Environment variables; all others are absent.
    """

    executable: Path
    path: Sequence[str]
    variables: Mapping[str, str]


def this_interpreter(variables: Mapping[str, str]) -> Interpreter:
    """Return the running Python with its modules.

    Args:
        variables: Environment variables, such as those that change arithmetic.
    """
    path = [str(Path(entry).absolute()) for entry in sys.path]
    return Interpreter(executable=Path(sys.executable), path=path, variables=variables)


def run_isolated(
    place: tuple[str, str], body: bytes, interpreter: Interpreter, *, seconds: float, walled: bool = True
) -> bytes:
    """Call a function of bytes in a process of its own.

    Args:
        place: Module and name of the function.
        body: What it is given.
        interpreter: Which Python.
        seconds: Time it has, and of the processor for each of its threads together.
        walled: Whether it runs code nobody has reviewed: without network, and never with its own words in errors.

    Returns:
        What the function returned.

    Raises:
        ModelError: The walls cannot be put up here, or the function raised, ended its process, or took too long.
    """
    module, function = place
    task = {
        "function": function,
        "memory": MEMORY,
        "module": module,
        "path": list(interpreter.path),
        "seconds": max(1, round(seconds)),
        "walled": walled,
    }
    answered = _exchange(interpreter, json.dumps(task).encode() + b"\n" + body, seconds)
    head, _, answer = answered.partition(b"\n")
    is_up = walled and head == isolated_process.WALLED
    if is_up:
        head, _, answer = answer.partition(b"\n")
    try:
        said = json.loads(head)
        stage, error, words = (str(said.get(name)) for name in ("stage", "error", "message"))
    except (ValueError, AttributeError, RecursionError):
        raise ModelError("isolated process: it ended without an answer") from None
    if stage == "done":
        return answer
    if stage == "walls" and not is_up:  # once they are up, foreign code may claim that they are not
        reason = error if error.isascii() and error.isprintable() else "unknown"
        raise ModelError(f"isolated process: cannot cut the network here, so nothing was opened ({reason[:120]})")
    if not walled:
        raise ModelError(f"isolated process: {words}")
    known = error if any(isinstance(getattr(place, error, None), type) for place in (builtins, errors)) else "an error"
    raise ModelError(f"isolated process: {_STAGES.get(stage, _STAGES['call']).format(error=known)}")


def _exchange(interpreter: Interpreter, given: bytes, seconds: float) -> bytes:
    expired = threading.Event()
    with tempfile.TemporaryDirectory(prefix="backstory-") as folder:
        process = subprocess.Popen(  # noqa: S603  our own program
            [str(interpreter.executable), "-I", "-B", str(Path(isolated_process.__file__).absolute())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=folder,
            env={"HOME": folder, "LANG": "C.UTF-8", "TMPDIR": folder, **interpreter.variables},
            start_new_session=True,
        )

        def end() -> None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)  # a process it started may hold its output open

        def expire() -> None:
            expired.set()
            end()

        timer = threading.Timer(seconds, expire)
        feeder = threading.Thread(target=_feed, args=(process, given), daemon=True)
        timer.start()
        feeder.start()
        try:
            answer = process.stdout.read(ANSWER_SIZE_MAX + 1) if process.stdout else b""
        finally:
            timer.cancel()
            end()  # it has answered, or closed its output
            process.wait()
            feeder.join()
            if process.stdout:
                process.stdout.close()
    if expired.is_set():
        raise ModelError(f"isolated process: it took longer than {seconds:g} seconds")
    if len(answer) > ANSWER_SIZE_MAX:
        raise ModelError(f"isolated process: expected at most {ANSWER_SIZE_MAX} bytes of answer, got more")
    return answer


def _feed(process: subprocess.Popen[bytes], given: bytes) -> None:
    """Give the process its task; a process that ends before it took everything has said why."""
    if process.stdin is None:
        return
    try:
        with process.stdin:
            process.stdin.write(given)
    except OSError:
        return
