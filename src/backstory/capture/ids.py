"""Ids of records: UUIDs of version 7 that rise along a stream whatever the clock does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import overload

from backstory.records.identity import ID_SIZE, id_text_of, next_ids
from backstory.storage.world import World

_RANDOM_SIZE = 10
_DRAWN_SIZE = 400 * _RANDOM_SIZE
_NS_PER_MS = 10**6


@dataclass(frozen=True, slots=True)
class Ids(Sequence[str]):
    """Ids of the records of one call: a run of consecutive UUIDs, as text.

    Attributes:
        first: The first id as an integer.
        count: How many.
    """

    first: int
    count: int  # type: ignore[assignment]  # hides `Sequence.count`, which nobody needs of ids that are all distinct

    def __len__(self) -> int:
        """Return how many ids there are."""
        return self.count

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        """Return one id, or a list of them."""
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(self.count))]
        at = range(self.count)[index]
        return id_text_of(self.first + at)

    def __iter__(self) -> Iterator[str]:
        """Iterate over the ids."""
        return (self[i] for i in range(self.count))

    def __repr__(self) -> str:
        """Return how many there are, and the first and last as text."""
        run = ", ".join(self) if self.count <= 1 else f"{self.count:,}, {self[0]} to {self[-1]}"
        return f"<Ids: {run or 'none'}>"


class IdSource:
    """Gives out rising ids. Not thread-safe: its stream's lock guards it."""

    def __init__(self, world: World) -> None:
        """Draw randomness from a world."""
        self._random_bytes = world.random_bytes
        self._last = 0
        self._ends_ns = 0
        """When the millisecond of the last id ends; the ids of one millisecond follow each other."""
        self._drawn = b""

    def next(self, now_ns: int) -> int:
        """Return an id above the last one."""
        if now_ns < self._ends_ns:
            self._last += 1
            return self._last
        return self.run(now_ns, 1)

    def run(self, now_ns: int, count: int) -> int:
        """Return the first of `count` consecutive ids above the last one."""
        ms = now_ns // _NS_PER_MS
        self._ends_ns = max((ms + 1) * _NS_PER_MS, self._ends_ns)
        first, self._last = next_ids(self._last, ms, self._random(), count)
        return first

    def _random(self) -> int:
        if not self._drawn:
            self._drawn = self._random_bytes(_DRAWN_SIZE)
        drawn, self._drawn = self._drawn[:_RANDOM_SIZE], self._drawn[_RANDOM_SIZE:]
        return int.from_bytes(drawn, "big") >> 6


def new_stream_id(world: World) -> str:
    """Return the id of a new stream, in hex."""
    return IdSource(world).run(world.now_ns(), 1).to_bytes(ID_SIZE, "big").hex()
