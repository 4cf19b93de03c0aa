"""The commands of pages: `backstory` as one finds it after an installation, without its time to start.

    python -m tests.docs.commands FOLDER [LIBRARY...]   has loaded every command, and these libraries; answers at a
                                                        socket there until its input ends

`install` writes a `backstory` that has such a process fork for each command, with the caller's streams, directory and
environment: one that has what loads models for commands that call them, one without for all others. Those that serve
are started as everywhere; `tests/cli` starts every kind of command so.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import marshal
import os
import select
import signal
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_READY = b"ready\n"
_USED_BY_MOST = (
    "backstory.cli.answer", "backstory.verify.archive", "backstory.archive.facade", "cyclopts.help", "rich.table",
    "pyarrow.parquet",
)  # fmt: skip
_MODELS = ("pandas", "sklearn.linear_model", "sklearn.tree", "skops.io", "backstory.debug.replaying")
_CLIENT = """\
import marshal, os, socket, sys
here = os.getcwd()
os.chdir(sys.argv.pop(1))  # the whole path may be too long for the name of a socket
with socket.socket(socket.AF_UNIX) as asked:
    asked.connect("socket")
    socket.send_fds(asked, [b"!"], [0, 1, 2])
    asked.sendall(marshal.dumps((sys.argv[1:], here, dict(os.environ))))
    asked.shutdown(socket.SHUT_WR)
    os._exit(asked.recv(1)[0])
"""
_SCRIPT = """\
#!/bin/sh
case " $* " in
    *" --listen "*|*" --watch "*) exec "{python}" -m backstory "$@" ;;
    " drill "*|" replay "*|" rootcause "*|" whatif "*) exec "{python}" -I -S "{client}" "{models}" "$@" ;;
    *) exec "{python}" -I -S "{client}" "{plain}" "$@" ;;
esac
"""


class Commands:
    """Two processes that have loaded every command, one of them what loads models too."""

    def __init__(self, folder: Path) -> None:
        """Start them; their sockets and the caller's end are in the folder."""
        self._client, self._folders = folder / "client.py", {"plain": folder / "plain", "models": folder / "models"}
        self._client.write_text(_CLIENT, "utf-8")
        self._processes = [_started(self._folders["plain"], ()), _started(self._folders["models"], _MODELS)]
        for process in self._processes:
            assert process.stdout is not None
            assert process.stdout.readline() == _READY

    def install(self, path: Path) -> None:
        """Write the `backstory` of a shell."""
        path.write_text(_SCRIPT.format(python=sys.executable, client=self._client, **self._folders), "utf-8")
        path.chmod(0o755)

    def close(self) -> None:
        """End them."""
        for process in self._processes:
            process.communicate()


def _started(folder: Path, libraries: Sequence[str]) -> subprocess.Popen[bytes]:
    folder.mkdir()
    command = [sys.executable, "-m", __name__, str(folder), *libraries]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def _serve(folder: str, *libraries: str) -> None:
    """Answer until the input ends; in a process that was forked for a command, run it and return."""
    from backstory.cli.main import COMMANDS, run
    from backstory.columns.own_process import hide_pandas

    if not libraries:
        hide_pandas()
    for module in (*(place.partition(":")[0] for place, _ in COMMANDS.values()), *_USED_BY_MOST, *libraries):
        importlib.import_module(module)
    gc.freeze()
    os.chdir(folder)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket")
        listener.listen()
        os.write(1, _READY)
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        while sys.stdin not in select.select([listener, sys.stdin], [], [])[0]:
            connection, _ = listener.accept()
            with connection:
                if os.fork() == 0 and _is_command(connection):
                    break
        else:
            return
    code = run()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    os._exit(code)  # to tear down what was loaded would take longer than most commands


def _is_command(connection: socket.socket) -> bool:
    """Become the command that is asked for, or wait for it and say how it ended."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    _, streams, _, _ = socket.recv_fds(connection, 1, 3)
    arguments, folder, environment = marshal.loads(b"".join(iter(lambda: connection.recv(1 << 16), b"")))
    process = os.fork()
    if process:
        for stream in (0, 1, 2, *streams):
            os.close(stream)
        code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
        connection.send(bytes([code if code >= 0 else 128 - code]))
        os._exit(0)
    for place, stream in enumerate(streams):
        os.dup2(stream, place)
        os.close(stream)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv[1:] = arguments
    return True


if __name__ == "__main__":
    _serve(*sys.argv[1:])
