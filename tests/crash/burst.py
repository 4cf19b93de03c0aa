"""A program that bursts single records from eight threads at a tiny buffer before a slow disk.

Its arguments are archives, each `<on_full>=<directory>`. For each it writes one line of JSON: the ids it was given, how
many records were refused, and whether any spilled into another directory.
"""

from __future__ import annotations

import json
import sys
import threading
from pathlib import Path

from tests.support.ledgers import OPEN, row

from backstory.capture.ids import Ids
from backstory.capture.policy import Policy
from backstory.capture.recorder import Recorder, RowTarget
from backstory.errors import BusyError, StorageError
from backstory.storage.blobs import BlobStore
from backstory.storage.disk import AppendFile, Disk
from backstory.storage.keys import KeyStore
from backstory.storage.layout import read_layout
from backstory.storage.spool import Spool
from backstory.storage.world import World

THREADS = 8
RECORDS = 80
"""Records each thread tries to make."""
BUFFER_SIZE = 2_000
"""Bytes: a dozen records."""
SPOOL_APPENDS = 5
"""After so many the spool takes no more, where records may spill."""
_WAIT_SECONDS = 0.002


class SlowFile(AppendFile):
    """A file that takes its time."""

    def __init__(self, path: Path, disk: SlowDisk) -> None:
        """Append to an existing file; made by `SlowDisk.append_to`."""
        super().__init__(path)
        self._disk = disk

    def append(self, data: bytes) -> None:
        """Append bytes, slowly."""
        self._disk.wait(self._path)
        super().append(data)

    def sync(self) -> None:
        """Flush nothing, slowly."""
        self._disk.wait(self._path)


class SlowDisk(Disk):
    """A disk that takes its time, and on which there is no room for ever."""

    def __init__(self, appends: int | None) -> None:
        """Take so many appends to a spool; any number without it."""
        self._left = appends
        self._clock = threading.Event()

    def wait(self, path: Path) -> None:
        """Take a while, or refuse."""
        if self._left is not None and "spill" not in path.parts:
            self._left -= 1
            if self._left < 0:
                raise StorageError("appending: no space left on device", errno=28)
        self._clock.wait(_WAIT_SECONDS)

    def write_with(self, path, fill, *, mode=0o644, replace=True):
        """Write a file, unless there is no room for it."""
        if path.name.startswith("frames-"):
            self.wait(path)
        super().write_with(path, fill, mode=mode, replace=replace)

    def sync(self, path: Path) -> None:
        """Flush nothing."""

    def append_to(self, path: Path) -> AppendFile:
        """Open an existing file to append to it."""
        return SlowFile(path, self)


def burst(recorder: Recorder, target: RowTarget, context: bytes, kept: list[str], refused: list[int]) -> None:
    """Record as fast as one thread can."""
    for number in range(RECORDS):
        try:
            first = recorder.record_row(target, row(context, [number, 0.5, "name", float(number)]))
        except BusyError:
            refused.append(number)
        else:
            kept.extend(Ids(first, 1))


def main() -> None:
    """Burst into each archive."""
    for argument in sys.argv[1:]:
        on_full, root = argument.split("=")
        layout = read_layout(Path(root))
        spill = str(layout.root.parent / "spill") if on_full == "spill" else None
        disk = SlowDisk(SPOOL_APPENDS if spill else None)
        spool = Spool(layout.spool, KeyStore(layout.keys, disk), disk)
        policy = Policy(on_full=on_full, spill=spill, buffer_size=BUFFER_SIZE)
        recorder = Recorder(spool, BlobStore(layout.blobs, disk), World(disk=disk), policy)
        context = bytes.fromhex(BlobStore(layout.blobs, disk).put(b'{"v":1}'))
        target, kept, refused = RowTarget(OPEN), [], []
        threads = [
            threading.Thread(target=burst, args=(recorder, target, context, kept, refused)) for _ in range(THREADS)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        recorder.close()
        stream = target.stream.info.stream
        has_spilled = spill is not None and any(Path(spill, stream).glob("frames-*"))
        said = {"kept": kept, "refused": len(refused), "spilled": has_spilled}
        sys.stdout.write(json.dumps(said) + "\n")


if __name__ == "__main__":
    main()
