"""What the fuzzers know of a parser."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache

from backstory.errors import FormatError


@dataclass(frozen=True)
class Parser:
    """A parser under test.

    Attributes:
        check: A generator function. It gives the parser an input, yields where that was accepted, and asserts then
            that nothing else can be read from it, and that it is written as the same bytes again.
        make_seeds: Makes inputs; at least one is valid.
        covers: Names of the functions that are reached.
        refusals: The errors it may raise.
        make_large: Makes large inputs, valid or not, that are tried as they are: each must be done within the limits.
    """

    check: Callable[[bytes], Iterator[None]]
    make_seeds: Callable[[], list[bytes]]
    covers: tuple[str, ...]
    refusals: tuple[type[Exception], ...] = (FormatError,)
    make_large: Callable[[], list[bytes]] = list

    def seeds(self) -> list[bytes]:
        """Return the seeds; they are made once."""
        return list(_made(self.make_seeds))

    def large(self) -> list[bytes]:
        """Return the large inputs."""
        return list(_made(self.make_large))


@cache
def _made(make):
    return make()


def text_of(data):
    """Return bytes as text that may hold what no bytes can: lone surrogates."""
    return data.decode("utf-8", "surrogateescape")
