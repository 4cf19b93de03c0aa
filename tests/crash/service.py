"""A program that runs a model service, and sealers beside it, on a machine where things go wrong.

Libraries are loaded once; for each line on its standard input it forks a child:

    serve <archive> <faults>    a FastAPI service on a free port of the loopback; says `serving <pid> <port>`
    seal <archive>              `backstory seal`; says `sealing <pid>`

and says `ended <pid>` when one is gone. What goes wrong is told by files in the directory `<faults>`: while there is
one called `full` nothing can be written, while there is one called `broken` nothing can be flushed to the device, and
`offset` says by how many nanoseconds the clock is wrong.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import uvicorn
from fastapi import FastAPI, HTTPException

from backstory.archive.opening import open_archive
from backstory.cli.main import run
from backstory.errors import StorageError
from backstory.models.environment import environment
from backstory.storage.disk import AppendFile, Disk, storage_errors
from backstory.storage.world import World


def say(text: str) -> None:
    """Write one line; a pipe takes one this short whole or not at all."""
    os.write(1, f"{text}\n".encode())


class Faults:
    """What is wrong with the machine at this moment."""

    def __init__(self, folder: Path) -> None:
        """Look into a directory."""
        self._folder = folder

    def write(self) -> None:
        """Fail if the disk is full."""
        if (self._folder / "full").exists():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def flush(self) -> None:
        """Fail if the disk is broken."""
        if (self._folder / "broken").exists():
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    def now_ns(self) -> int:
        """Return the time by this machine's clock."""
        return time.time_ns() + int((self._folder / "offset").read_text())


class FaultyFile(AppendFile):
    """A file that only grows, on a faulty disk."""

    def __init__(self, path: Path, faults: Faults) -> None:
        """Append to an existing file; made by `FaultyDisk.append_to`."""
        super().__init__(path)
        self._faults = faults

    def append(self, data: bytes) -> None:
        """Append bytes, or find the disk full."""
        with storage_errors("appending to", self._path):
            self._faults.write()
        super().append(data)

    def sync(self) -> None:
        """Flush the bytes, or fail."""
        with storage_errors("syncing", self._path):
            self._faults.flush()
        super().sync()


class FaultyDisk(Disk):
    """A disk that is full or broken at times."""

    def __init__(self, faults: Faults) -> None:
        """Fail when the faults say so."""
        self._faults = faults

    def write_with(self, path, fill, *, mode=0o644, replace=True):
        """Write a file, or find the disk full."""

        def fill_if_there_is_room(temporary):
            self._faults.write()
            fill(temporary)

        super().write_with(path, fill_if_there_is_room, mode=mode, replace=replace)

    def sync(self, path: Path) -> None:
        """Flush, or fail."""
        self._faults.flush()
        super().sync(path)

    def append_to(self, path: Path) -> AppendFile:
        """Open an existing file to append to it."""
        return FaultyFile(path, self._faults)


def make_service(path: Path, faults: Faults) -> FastAPI:
    """Return a service that gives out no score without its record."""
    archive = open_archive(path, durability="sync", world=World(now_ns=faults.now_ns, disk=FaultyDisk(faults)))

    @contextlib.asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        yield
        archive.close()

    app = FastAPI(lifespan=lifespan)

    @archive.traced
    def score(number: int, amount: float) -> float:
        return number * amount

    @app.get("/score/{number}")
    def answer(number: int) -> dict[str, float]:
        try:
            return {"score": score(number, 0.5)}
        except StorageError as error:
            raise HTTPException(503, "no record can be kept") from error

    return app


def serve(path: Path, faults: Faults) -> None:
    """Serve until told to stop."""
    app = make_service(path, faults)
    listening = socket.create_server(("127.0.0.1", 0))
    say(f"serving {os.getpid()} {listening.getsockname()[1]}")
    config = uvicorn.Config(app, log_level="critical", access_log=False, timeout_graceful_shutdown=10)
    uvicorn.Server(config).run(sockets=[listening])


def seal(path: Path) -> None:
    """Run `backstory seal`."""
    say(f"sealing {os.getpid()}")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.dup2(1, 2)
    run(["seal", "--archive", str(path)])


def fork(act: str, arguments: list[str]) -> None:
    """Let a child act, and end with it."""
    if os.fork() != 0:
        return
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    try:
        if act == "serve":
            serve(Path(arguments[0]), Faults(Path(arguments[1])))
        else:
            seal(Path(arguments[0]))
    finally:
        os._exit(0)


def reap(*_signal: object) -> None:
    """Say which children have ended."""
    with contextlib.suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG)[0]) != 0:
            say(f"ended {ended}")


def main() -> None:
    """Fork a child for each line read."""
    environment()
    signal.signal(signal.SIGCHLD, reap)
    say("ready")
    for line in sys.stdin:
        act, *arguments = line.split()
        fork(act, arguments)


if __name__ == "__main__":
    main()
