"""The harness of the chaos test: a real service under load, what is done to it, and what must hold afterwards.

Nursery   the program of `tests/crash/service.py`, which forks services and sealers
Load      four clients that ask for scores and take down which they were given
Chaos     one archive, its service, and the faults it goes through
"""

from __future__ import annotations

import contextlib
import http.client
import itertools
import os
import random
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow.parquet as pq
from tests.support.archives import ORIGIN

import backstory
from backstory.ledger.ledger import Ledger
from backstory.ledger.seal import seal_all
from backstory.records.manifest import CLOSED_TYPE, MANIFEST_TYPE, OPENED_TYPE
from backstory.storage.world import World
from backstory.verify.archive import verify_archive

CLIENTS = 4
PATIENCE_SECONDS = 60.0
"""Whatever is waited for comes long before, or never."""
CLOCK_OFF_SECONDS = 3
_ROOT = Path(__file__).parents[2]
_NUMBER = "feature.number"


class Nursery:
    """The program that forks services and sealers, running."""

    def __init__(self) -> None:
        """Start it."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.crash.service"],
            cwd=_ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._unread: list[list[str]] = []
        self._wait_for("ready")

    def serve(self, archive: Path, faults: Path) -> tuple[int, int]:
        """Start a service; return its process and its port."""
        self._ask(f"serve {archive} {faults}")
        _, process, port = self._wait_for("serving")
        return int(process), int(port)

    def seal(self, archive: Path) -> int:
        """Start a sealer; return its process."""
        self._ask(f"seal {archive}")
        return int(self._wait_for("sealing")[1])

    def wait_for_end(self, process: int) -> None:
        """Return when a child is gone."""
        self._wait_for("ended", str(process))

    def close(self) -> None:
        """End the program."""
        self._process.communicate()

    def _ask(self, line: str) -> None:
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()

    def _wait_for(self, *words: str) -> list[str]:
        """Return the first line that begins so; keep those that come before it."""
        for line in self._unread:
            if tuple(line[: len(words)]) == words:
                self._unread.remove(line)
                return line
        while True:
            text = self._process.stdout.readline()
            assert text, "the program that forks services ended"
            line = text.split()
            if tuple(line[: len(words)]) == words:
                return line
            self._unread.append(line)


class Load:
    """Clients that ask for scores, each by its own number, as fast as they are answered.

    Attributes:
        answered: Numbers whose score was given out.
        refused: Numbers for which the service said that it can keep no record.
    """

    def __init__(self) -> None:
        """Start the clients, which wait for a service."""
        self.answered: list[int] = []
        self.refused: list[int] = []
        self._numbers = itertools.count()
        self._changed = threading.Condition()
        self._port: int | None = None
        self._is_over = False
        self._threads = [threading.Thread(target=self._ask_on) for _ in range(CLIENTS)]
        for thread in self._threads:
            thread.start()

    def direct_to(self, port: int | None) -> None:
        """Ask the service on this port from now on; none at all without one."""
        with self._changed:
            self._port = port
            self._changed.notify_all()

    def wait_for(self, count: Callable[[], int], more: int) -> None:
        """Return when something counted has grown by so many."""
        enough = count() + more
        with self._changed:
            assert self._changed.wait_for(lambda: count() >= enough, PATIENCE_SECONDS), "the service does not get on"

    def close(self) -> None:
        """Stop asking."""
        with self._changed:
            self._is_over = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _ask_on(self) -> None:
        while (port := self._service()) is not None:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_SECONDS)
            with contextlib.suppress(OSError, http.client.HTTPException), contextlib.closing(connection):
                while self._port == port and not self._is_over:
                    self._ask(connection, next(self._numbers))

    def _service(self) -> int | None:
        """Wait for a service and return its port; None when it is over."""
        with self._changed:
            self._changed.wait_for(lambda: self._port is not None or self._is_over)
            return None if self._is_over else self._port

    def _ask(self, connection: http.client.HTTPConnection, number: int) -> None:
        connection.request("GET", f"/score/{number}")
        response = connection.getresponse()
        response.read()
        assert response.status in {200, 503}, response.status
        with self._changed:
            (self.answered if response.status == 200 else self.refused).append(number)
            self._changed.notify_all()


class Chaos:
    """One archive and its service, to which things are done."""

    def __init__(self, folder: Path, nursery: Nursery, draw: random.Random) -> None:
        """Create the archive and start the service under load."""
        self._draw = draw
        self._nursery = nursery
        self._archive, self._faults = folder / "audit", folder / "faults"
        self._faults.mkdir()
        (self._faults / "offset").write_text("0")
        backstory.init(self._archive, origin=ORIGIN).close()
        self._load = Load()
        self._known: set[str] = set()
        self._stored: Counter[int] = Counter()
        self._read: set[str] = set()
        self._service = self._port = 0
        self.start()

    def start(self) -> None:
        """Start the service where there is none, let the clients ask, and wait until it answers."""
        if self._service == 0:
            self._service, self._port = self._nursery.serve(self._archive, self._faults)
        self._load.direct_to(self._port)
        self._load.wait_for(lambda: len(self._load.answered), self._draw.randint(1, 10))

    def round(self) -> str:
        """Do one or two things to the service, look what is left, and return what was done."""
        acts = [self._fill_disk, self._break_disk, self._set_clock, self._pause_sealer, self._kill, self._restart]
        done = self._draw.sample(acts[:4], self._draw.randint(0, 2))
        done += [self._draw.choice(acts[4:])] if self._draw.random() < 0.5 or not done else []
        for act in done:
            act()
        self._load.direct_to(None)  # which would compete with the check for the processor
        self.check()
        self.start()
        return ", ".join(act.__name__.strip("_") for act in done)

    def check(self) -> None:
        """Insist that the archive verifies, and has every answered number once."""
        answered = list(self._load.answered)
        ledger = Ledger(self._archive, World(), writable=True, vkey=None, actor=None)
        with contextlib.closing(ledger):
            seal_all(ledger)
            self._read_new(ledger)
            assert max(self._stored.values(), default=1) == 1, "a record is doubled"
            missing = [number for number in answered if number not in self._stored]
            assert not missing, f"{len(missing)} answered and not recorded, such as {missing[:3]}"
            if self._service == 0:
                unclosed = _streams(ledger, OPENED_TYPE) - _streams(ledger, CLOSED_TYPE)
                assert not unclosed, "a stream has no end"
        report = verify_archive(self._archive, workers=1)
        assert not report.failed, str(report)
        assert report.counts["records"] >= sum(self._stored.values())

    def end(self) -> None:
        """End the service in order, and look once more."""
        self._end(signal.SIGTERM, clean=True)
        self.check()

    def close(self) -> None:
        """Leave nothing running."""
        self._load.close()
        if self._service != 0:
            os.kill(self._service, signal.SIGKILL)

    def _fill_disk(self) -> None:
        with self._fault("full"):
            self._load.wait_for(lambda: len(self._load.refused), self._draw.randint(1, 8))

    def _break_disk(self) -> None:
        with self._fault("broken"):
            self._load.wait_for(lambda: len(self._load.refused), self._draw.randint(1, 8))

    def _set_clock(self) -> None:
        offset = self._draw.uniform(-CLOCK_OFF_SECONDS, CLOCK_OFF_SECONDS)
        new = self._faults / "new"
        new.write_text(str(int(offset * 10**9)))
        new.replace(self._faults / "offset")
        self._load.wait_for(lambda: len(self._load.answered), self._draw.randint(1, 10))

    def _pause_sealer(self) -> None:
        """Stop a sealer somewhere, see that the service gets on, and let it go on or kill it."""
        sealer = self._nursery.seal(self._archive)
        self._load.wait_for(lambda: len(self._load.answered), self._draw.randint(0, 10))
        with contextlib.suppress(ProcessLookupError):  # it was faster
            os.kill(sealer, signal.SIGSTOP)
            self._load.wait_for(lambda: len(self._load.answered), self._draw.randint(1, 10))
            os.kill(sealer, signal.SIGKILL if self._draw.random() < 0.5 else signal.SIGCONT)
        self._nursery.wait_for_end(sealer)

    def _kill(self) -> None:
        self._end(signal.SIGKILL, clean=False)

    def _restart(self) -> None:
        self._end(signal.SIGTERM, clean=True)

    def _end(self, how: signal.Signals, *, clean: bool) -> None:
        """End the service, and insist that the log says in which way."""
        if self._service == 0:
            return
        os.kill(self._service, how)
        self._load.direct_to(None)
        self._nursery.wait_for_end(self._service)
        self._service = 0
        ledger = Ledger(self._archive, World(), writable=True, vkey=None, actor=None)
        with contextlib.closing(ledger):
            seal_all(ledger)
            said = {str(entry["stream"]): entry["clean"] for entry in ledger.find_entries(CLOSED_TYPE)}
            own = _streams(ledger, OPENED_TYPE) - self._known
        self._known |= own
        assert own, "the service recorded nothing"
        assert {said.get(stream) for stream in own} == {clean}, "the log says in which way each of its streams ended"

    @contextlib.contextmanager
    def _fault(self, name: str) -> Iterator[None]:
        (self._faults / name).touch()
        try:
            yield
        finally:
            (self._faults / name).unlink()
        self._load.wait_for(lambda: len(self._load.answered), 1)

    def _read_new(self, ledger: Ledger) -> None:
        """Count the numbers in segments that were not read before."""
        for entry in ledger.find_entries(MANIFEST_TYPE):
            name = entry["file"]["name"]
            if name not in self._read:
                self._read.add(name)
                table = pq.read_table(ledger.layout.segments / name, columns=["feature"]).flatten()
                self._stored.update(table[_NUMBER].to_pylist())


def _streams(ledger: Ledger, type_: str) -> set[str]:
    return {str(entry["stream"]) for entry in ledger.find_entries(type_)}
