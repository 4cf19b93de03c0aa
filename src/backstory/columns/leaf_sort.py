"""Sorting more hashes of rows than memory holds: leaf hashes, or records of one size that begin with a hash.

Runs are sorted in memory and put into one unnamed temporary file; then all runs are read side by side, some at a time.
Hashes of rows about people can be guessed, so whoever sorts these gives no limit, and nothing is put into a file.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from typing import IO, TYPE_CHECKING, Final

import numpy as np

from backstory.columns.tree import HASH_SIZE, TreeBuilder

if TYPE_CHECKING:
    from numpy.typing import NDArray

MEMORY_BYTES: Final = 64 << 20
"""Memory that sorting takes if nobody says another limit: a million leaves and as much again."""
_STEP_MIN: Final = 64
"""Records of a run that are read at once at least, however small the limit."""


class Sorter:
    """Takes records of one size in any order and gives them sorted by their bytes, duplicates kept; once."""

    def __init__(self, memory_bytes: int | None = MEMORY_BYTES, size: int = HASH_SIZE) -> None:
        """Begin with none.

        Args:
            memory_bytes: How much the records in memory may take; None for all.
            size: Bytes of a record.
        """
        self._type = f"S{size}"
        self._size = size
        # The other half is for sorting.
        self._count_max = sys.maxsize if memory_bytes is None else max(memory_bytes // size // 2, _STEP_MIN)
        self._waiting: list[bytes] = []
        self._count = 0
        self._runs: list[tuple[int, int]] = []
        self._file: IO[bytes] | None = None

    def add(self, records: bytes) -> None:
        """Take in records, one behind the other."""
        self._waiting.append(records)
        self._count += len(records) // self._size
        if self._count >= self._count_max:
            self._put_away()

    def records(self) -> Iterator[bytes]:
        """Yield the records in order, some at a time."""
        if self._file is None:
            yield self._sorted().tobytes()
            return
        self._put_away()
        with self._file as file:
            yield from _merged(file, self._runs, self._count_max, self._size)

    def root(self) -> bytes:
        """Return the root of the tree whose leaf hashes the records are."""
        tree = TreeBuilder()
        for leaves in self.records():
            tree.add(leaves)
        return tree.root()

    def _sorted(self) -> NDArray[np.bytes_]:
        """Return what waits in order; NumPy compares such texts byte by byte, as if zeros stood behind the shorter."""
        records = np.frombuffer(b"".join(self._waiting), self._type)
        self._waiting, self._count = [], 0
        return np.sort(records)

    def _put_away(self) -> None:
        if self._file is None:
            self._file = tempfile.TemporaryFile()  # noqa: SIM115  closed when the records were read
        run = self._sorted()
        if len(run):
            self._runs.append((self._file.tell(), len(run)))
            self._file.write(run.data)


def _merged(file: IO[bytes], runs: list[tuple[int, int]], count_max: int, size: int) -> Iterator[bytes]:
    """Yield the records of sorted runs in order.

    Of every run some records are in memory. All that are not greater than the least of the last ones in memory can be
    given: what is still in the file is not less. So each turn uses up what is in memory of one run at least.
    """
    step = max(count_max // max(len(runs), 1), _STEP_MIN)
    rest = list(runs)
    held = [np.empty(0, f"S{size}")] * len(runs)
    while True:
        for number, (at, count) in enumerate(rest):
            if count and not len(held[number]):
                taken = min(step, count)
                file.seek(at)
                held[number] = np.frombuffer(file.read(taken * size), f"S{size}")
                rest[number] = at + taken * size, count - taken
        ends = [records[-1] for records, (_, count) in zip(held, rest, strict=True) if count]
        if not ends:
            yield np.sort(np.concatenate(held)).tobytes()
            return
        bound = min(ends)
        cuts = [int(np.searchsorted(records, bound, side="right")) for records in held]
        yield np.sort(np.concatenate([records[:cut] for records, cut in zip(held, cuts, strict=True)])).tobytes()
        held = [records[cut:] for records, cut in zip(held, cuts, strict=True)]
