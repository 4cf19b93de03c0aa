"""Drawing by a seed: the same on every machine and with every version of every library."""

from __future__ import annotations

import hashlib
import itertools
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_BYTES = 8


class Draw:
    """Numbers that follow from a seed and from what was drawn before."""

    def __init__(self, seed: int) -> None:
        """Begin with a seed."""
        self._seed = seed
        self._turn = 0

    def below(self, end: int, count: int) -> NDArray[np.int64]:
        """Return so many numbers from 0 on and below `end`; some may be equal."""
        return (self._numbers(count) % np.uint64(end)).astype(np.int64)

    def shuffled(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return values in another order."""
        return values[np.argsort(self._numbers(len(values)), kind="stable")]

    def _numbers(self, count: int) -> NDArray[np.uint64]:
        self._turn += 1
        stream = hashlib.shake_128(f"{self._seed} {self._turn}".encode()).digest(count * _BYTES)
        return np.frombuffer(stream, "<u8")


def draw_some(total: int, count: int, seed: int) -> set[int]:
    """Return different numbers below `total` that anybody can draw again, with any program.

    They are the SHA-256 digests of the seed, a colon and 0, 1, 2 …, as big-endian numbers modulo `total`; all numbers
    where no more are wanted than there are.

    >>> sorted(draw_some(10, 2, 7))
    [1, 7]
    """
    drawn: set[int] = set()
    for turn in itertools.count():
        if len(drawn) == min(count, total):
            break
        drawn.add(int.from_bytes(hashlib.sha256(f"{seed}:{turn}".encode()).digest()) % total)
    return drawn
