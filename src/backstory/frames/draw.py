"""Drawing rows by a seed: the same rows on every machine and with every version of every library."""

from __future__ import annotations

import hashlib
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
