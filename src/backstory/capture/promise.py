"""Promises about what was flushed: one signature a flush, made by whoever makes records durable in the background.

Whoever records only leaves here what was written anyway. A crash before a promise is signed costs the promise and
nothing else. Bytes: docs/format.md section 15.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from backstory.errors import BackstoryError
from backstory.records.identity import ID_SIZE
from backstory.records.promise import SALT_SIZE, KeptPromise, PromisedRun, PromiseText, frame_digest, runs_of
from backstory.storage.disk import read_file, save_file
from backstory.storage.fork import renew_in_child
from backstory.storage.layout import Layout, read_layout
from backstory.storage.promises import PromiseStore
from backstory.storage.spool_writer import Held
from backstory.storage.world import World
from backstory.tlog.hashing import hash_leaf, root_hash
from backstory.tlog.note import sign_note
from backstory.tlog.signer import Signer

_ARRAY_16, _ARRAY_32 = 0xDC, 0xDD
"""First bytes of a MessagePack array whose length stands in the two or four bytes behind; below, it is in the first."""
_BIN_HEAD_SIZE = 2
_log = logging.getLogger("backstory")


@dataclass(frozen=True, slots=True)
class PromiseFile:
    """A promise about one record, as it goes out.

    Attributes:
        data: The bytes of the file.
        id: Id of the record.
        deadline: By when the record will be in the log; RFC 3339.
    """

    data: bytes
    id: str
    deadline: str

    def save(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Write the promise to a file, by convention `<id>.promise`, and return its path.

        Args:
            path: The file.
            overwrite: Whether a file that is there gives way.

        Raises:
            ConflictError: There is something at `path`, and it must stay.
            StorageError: It cannot be written.
        """
        return save_file(self.data, path, "promise", overwrite=overwrite)

    def __repr__(self) -> str:
        """Return of what it is and its size."""
        return f"<PromiseFile: record {self.id}, {len(self.data):,} bytes>"


@dataclass(frozen=True, slots=True, kw_only=True)
class Promising:
    """How promises are made.

    Attributes:
        layout: The archive, with the log that is promised for.
        signer: Signs them.
        delay: So many seconds after they were durable the records will be in the log.
        store: Keeps what was promised.
    """

    layout: Layout
    signer: Signer
    delay: int
    store: PromiseStore


class Promiser:
    """Signs promises about the records of one recorder, once somebody has switched it on. Threads may share it.

    Attributes:
        promising: How; None while none are made.
    """

    def __init__(self, world: World, wake: Callable[[], None]) -> None:
        """Promise nothing yet; `wake` is called where there is something to sign, for whoever calls `make`."""
        self.promising: Promising | None = None
        self._world = world
        self._wake = wake
        self._ids: dict[tuple[str, int], list[bytes] | int] = {}
        """By stream and seq of a frame that is about to be written: its rows, or the first of its consecutive ids."""
        self._durable: deque[tuple[str, int, list[Held]]] = deque()
        self._settings = b""
        """`backstory.toml` when it named the log that is promised for."""
        self._lock = threading.Lock()
        renew_in_child(self, "_lock", threading.Lock)
        renew_in_child(self, "_ids", dict)  # what the parent recorded, the parent promises
        renew_in_child(self, "_durable", deque)

    def announce(self, stream: str, first_seq: int, ids: list[bytes] | int) -> None:
        """Say whose records a frame holds that is about to be written: its rows, or the first of consecutive ids."""
        if self.promising is not None:
            self._ids[stream, first_seq] = ids

    def take(self, stream: str, frames: list[Held]) -> None:
        """Take frames that a flush has made durable; they are promised by the next `make`."""
        if self.promising is not None and frames:
            self._durable.append((stream, self._world.now_ns(), frames))
            self._wake()

    def make(self) -> None:
        """Sign and keep a promise for every flush since; where that fails it is in the log, and nobody else's error."""
        promising = self.promising
        if promising is None:
            return
        with self._lock:
            while self._durable and self.promising is not None:
                stream, time_ns, frames = self._durable.popleft()
                try:
                    self._promise(promising, stream, time_ns, frames)
                except Exception as error:  # noqa: BLE001  whatever it is, the records are durable all the same
                    shown = error if isinstance(error, BackstoryError) else type(error).__qualname__
                    _log.warning("stream %s: records are durable and were not promised: %s", stream, shown)

    def _is_restored(self, promising: Promising) -> bool:
        """Say whether the archive has another log by now; settings are parsed when they changed, as by a rotation."""
        layout = promising.layout
        settings = read_file(layout.config_file)
        if settings != self._settings:
            if read_layout(layout.root).config.incarnation != layout.config.incarnation:
                return True
            self._settings = settings
        return False

    def _stop(self) -> None:
        """Promise nothing any more: nobody can keep a promise that something will be in a log that has ended."""
        _log.warning("promises: none are made any more: the archive was restored, and has another log; open it again")
        self.promising = None
        self._durable.clear()
        self._ids.clear()

    def _promise(self, promising: Promising, stream: str, time_ns: int, frames: list[Held]) -> None:
        runs: list[PromisedRun] = []
        salts: list[bytes] = []
        for first_seq, end_seq, frame in frames:
            announced = self._ids.pop((stream, first_seq), None) if end_seq > first_seq else None  # else it is a mark
            if announced is not None:
                salt = self._world.random_bytes(SALT_SIZE)
                found = _runs(stream, frame_digest(salt, frame), first_seq, end_seq - first_seq, announced)
                runs += found
                salts += [salt] * len(found)
        if runs and self._is_restored(promising):
            self._stop()
        elif runs:
            root = root_hash([hash_leaf(run.encode()) for run in runs])
            text = PromiseText(
                origin=promising.layout.config.origin,
                time_ns=time_ns,
                delay=promising.delay,
                leaves=len(runs),
                root=root,
            ).encode()
            kept = KeptPromise(note=sign_note(text, promising.signer), runs=tuple(runs), salts=tuple(salts))
            promising.store.append(stream, kept.encode())


def _runs(stream: str, frame: bytes, first_seq: int, count: int, ids: list[bytes] | int) -> list[PromisedRun]:
    if isinstance(ids, int):
        return [PromisedRun(frame=frame, stream=stream, first_seq=first_seq, count=count, first_id=ids)]
    return runs_of(stream, frame, first_seq, _ids_of(ids))


def _ids_of(rows: Sequence[bytes]) -> list[int]:
    """Return the ids of records that are MessagePack arrays; an id is the first item, 16 bytes of `bin 8`."""
    head = rows[0][0]
    at = (5 if head == _ARRAY_32 else 3 if head == _ARRAY_16 else 1) + _BIN_HEAD_SIZE
    return [int.from_bytes(row[at : at + ID_SIZE], "big") for row in rows]
