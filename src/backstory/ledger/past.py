"""An archive as it was: the same stores, seen through a log of fewer entries. Read-only.

What the log said at an earlier tree size follows from its entries below that size: they are the first of today's, and
that is proven. Nothing here knows which question is asked. Two things are of today all the same: where the bytes of a
segment are, as a later merge may have moved them, and what was erased since.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import TypeVar

from backstory.catalog.catalog import Catalog
from backstory.errors import BackstoryError, NotFoundError, QueryError
from backstory.ledger.ledger import Ledger
from backstory.ledger.log import LogReader
from backstory.records.identity import parse_time
from backstory.records.manifest import Manifest
from backstory.records.merge import Merge
from backstory.storage.spool import Spool, StreamInfo
from backstory.tlog.checkpoint import Checkpoint
from backstory.tlog.limits import HASH_SIZE
from backstory.tlog.proof import tile_consistency_proof, verify_consistency
from backstory.tlog.tile import TILE_WIDTH, TilePath, decode_bundle, encode_bundle, tile_at
from backstory.tlog.tree import root_at

T = TypeVar("T")


class PastLedger(Ledger):
    """An archive as its log had it at an earlier tree size; nothing waits in its spool."""

    def __init__(self, ledger: Ledger, size: int) -> None:
        """See an archive as it was.

        Args:
            ledger: The archive.
            size: How many entries the log had.

        Raises:
            QueryError: The log never had this size.
            VerificationError: The log at that size is not the beginning of the log there is.
        """
        vars(self).update(vars(ledger))
        self._now = ledger
        self.writable = False
        self.log = _PastLog(ledger.log, size)
        self.catalog = _PastCatalog(ledger, size)
        self.spool = _NoSpool()

    def catch_up(self) -> None:
        """Bring the catalog of today to the published checkpoint: it says where segments are."""
        self._now.catch_up()

    def heads(self) -> dict[str, int]:
        """Return none: they say which records of the spool are sealed, and nothing waits; copies may be without any."""
        return {}

    def gone_in(self, position: int, manifest: Manifest) -> int:
        """Return how many records of a segment are gone by now."""
        return self._now.gone_in(position, manifest)

    def merge_of(self, manifest: Manifest) -> Merge | None:
        """Return what says where a segment's rows are now."""
        return self._now.merge_of(manifest)


class _PastLog(LogReader):
    """The first entries of a log, each proven under the root the log had then."""

    def __init__(self, log: LogReader, size: int) -> None:
        vars(self).update(vars(log))
        self._cache = OrderedDict()
        now = super().checkpoint()
        if isinstance(size, bool) or not isinstance(size, int) or not 0 <= size <= now.size:
            raise QueryError(f"as_of: expected a tree size from 0 to {now.size:,}, got {size!r}")
        root = root_at(size, self.read_tile)
        proof = tile_consistency_proof(super().read_tile, size, now.size)
        verify_consistency(size, now.size, root, now.root, proof)
        self._past = Checkpoint(origin=now.origin, size=size, root=root)

    def checkpoint(self) -> Checkpoint:
        """Return the head the log had: its size and root, proven to be the beginning of today's."""
        return self._past

    def read_tile(self, tile: TilePath) -> bytes:
        """Return the bytes a tile had, cut from the one there is today."""
        today = tile_at(super().checkpoint().size, tile.level, tile.index)
        data = super().read_tile(today)
        if tile.width in {today.width, TILE_WIDTH}:
            return data
        if tile.level is not None:
            return data[: HASH_SIZE * tile.width]
        return encode_bundle(decode_bundle(data, today.width)[: tile.width])


class _PastCatalog(Catalog):
    """Today's catalog without what lies at a position or beyond."""

    def __init__(self, ledger: Ledger, size: int) -> None:
        self._ledger = ledger  # whose catalog may be rebuilt meanwhile
        self._end = size

    def _positions(self, query: str, values: list[object] | list[str]) -> list[int]:
        found = self._ledger.catalog._positions(query, values)  # noqa: SLF001  of the same class
        return [position for position in found if position < self._end]


class _NoSpool(Spool):
    """A spool without streams: what is not sealed was in no tree."""

    def __init__(self) -> None:
        pass

    def streams(self) -> list[StreamInfo]:
        """Return none."""
        return []

    def stream_names(self) -> list[str]:
        """Return none."""
        return []


def look_up(ledger: Ledger, size: int | None, find: Callable[[Ledger], T]) -> tuple[Ledger, T]:
    """Return an archive as it was, and something in it.

    Args:
        ledger: The archive.
        size: The tree size asked about; None for the archive as it is.
        find: Finds it.

    Raises:
        QueryError: The log never had this size.
        NotFoundError: It is not there; or not yet, which is said.
    """
    if size is None:
        return ledger, find(ledger)
    past = PastLedger(ledger, size)
    try:
        return past, find(past)
    except (NotFoundError, QueryError) as error:
        if not _finds(ledger, find):
            raise
        raise NotFoundError(f"{error}; at tree size {size:,}: it is newer", **error.details) from error


def _finds(ledger: Ledger, find: Callable[[Ledger], object]) -> bool:
    try:
        find(ledger)
    except BackstoryError:
        return False
    return True


def tree_size_at(ledger: Ledger, time_ns: int) -> int:
    """Return how many entries the log had at a moment: up to the last that says it is of its microsecond or before.

    Whoever asks has microseconds, entries have nanoseconds. The order of the log counts, not the clocks of those who
    wrote: what is before such an entry was there by then.
    """
    size, end = ledger.log.checkpoint().size, time_ns // 1000 * 1000 + 1000
    known = (index for index in reversed(range(size)) if parse_time(str(ledger.log.entry(index)["time"])) < end)
    return next(known, -1) + 1
