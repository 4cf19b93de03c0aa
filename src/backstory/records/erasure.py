"""Erasures: what the log says of one, and the leaves that prove of a record that it was among what was erased.

The entry has the root of a tree whose leaves are salted, sorted by their hashes and filled up with random ones, so that
it says neither which records were one person's nor how many. Bytes: docs/format.md section 38.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from backstory.errors import FormatError
from backstory.records import canonical
from backstory.records.canonical import JsonObject
from backstory.records.identity import check_digest

ERASED_TYPE: Final = "subject.erased"
REFUSED_TYPE: Final = "erasure.refused"

GROUNDS: Final = ("request", "consent-withdrawn", "objection", "unlawful", "no-longer-needed", "legal-duty", "child")
"""Why a person is erased: they asked for it without naming a ground, or one of those of article 17(1) of the GDPR."""

LEAVES_MIN: Final = 16
LEAVES_MAX: Final = 1 << 24
SALT_SIZE: Final = 32
_HASH_SIZE: Final = 32
_DOMAIN: Final = b"backstory/erasure/v1\x00"


def record_text(name: str) -> str:
    """Return what stands in a leaf for a record."""
    return f"record {name}"


def row_text(dataset: str, position: int) -> str:
    """Return what stands in a leaf for a row of a dataset version."""
    return f"row {dataset} {position}"


def leaf_data(salt: bytes, what: str) -> bytes:
    """Return the leaf of something that was erased.

    Args:
        salt: 32 random bytes, for this leaf only.
        what: What it is, as `record_text` or `row_text` writes it.
    """
    return _DOMAIN + salt + what.encode()


def padded(count: int) -> int:
    """Return how many leaves stand for a count: the next power of two, 16 at least.

    >>> padded(3), padded(17)
    (16, 32)
    """
    return max(LEAVES_MIN, 1 << max(count - 1, 0).bit_length())


def tree_leaves(hashes: Sequence[bytes], random_bytes: Callable[[int], bytes]) -> list[bytes]:
    """Return all leaf hashes of an erasure's tree: those given and random ones, in their own order.

    Args:
        hashes: Leaf hashes of what was erased.
        random_bytes: Draws the others.
    """
    others = padded(len(hashes)) - len(hashes)
    return sorted([*hashes, *(random_bytes(_HASH_SIZE) for _ in range(others))])


@dataclass(frozen=True, slots=True, kw_only=True)
class Erased:
    """What an entry says of an erasure.

    Attributes:
        ground: Why, one of `GROUNDS`.
        request: Commitment to what was asked, in hex; None where nothing was said.
        leaves: How many leaves the tree has, a power of two.
        root: Its root, in hex.
        counts: Commitment to the exact counts, in hex.
        values: How many sealed groups of records and rows of tables are missing since, at most: a power of two.
        tables: How many tables about people (profiles, trees of persons) were destroyed whole, at most: a power of two.
        rekeyed: Whether the key of keyed digests was destroyed.
        complete: Whether nothing is waited for.
        partial: Whether records of the person had to be kept.
        follows: Root of the erasure that this one completes, in hex; None if it is the first.
    """

    ground: str
    request: str | None
    leaves: int
    root: str
    counts: str
    values: int
    tables: int
    rekeyed: bool
    complete: bool
    partial: bool
    follows: str | None = None

    def document(self) -> JsonObject:
        """Return the members of the entry."""
        document: JsonObject = {
            "complete": self.complete,
            "counts": self.counts,
            "ground": self.ground,
            "leaves": str(self.leaves),
            "partial": self.partial,
            "rekeyed": self.rekeyed,
            "request": self.request,
            "root": self.root,
            "tables": str(self.tables),
            "type": ERASED_TYPE,
            "values": str(self.values),
        }
        return document if self.follows is None else {**document, "follows": self.follows}


def parse_erased(entry: JsonObject) -> Erased:
    """Read what an entry says of an erasure.

    Raises:
        FormatError: It is not such an entry.
    """
    leaves, values, tables = (canonical.count_of(entry, name) for name in ("leaves", "values", "tables"))
    ground, request, follows = canonical.text_of(entry, "ground"), entry.get("request"), entry.get("follows")
    rekeyed, complete, partial = (entry.get(name) for name in ("rekeyed", "complete", "partial"))
    if entry.get("type") != ERASED_TYPE or ground not in GROUNDS:
        raise FormatError(f"erasure: expected an entry {ERASED_TYPE} with a known ground")
    if not LEAVES_MIN <= leaves <= LEAVES_MAX or any(one & (one - 1) for one in (leaves, values, tables)):
        raise FormatError("erasure: expected powers of two as leaves, values and tables")
    if not isinstance(rekeyed, bool) or not isinstance(complete, bool) or not isinstance(partial, bool):
        raise FormatError("erasure: expected true or false as rekeyed, complete and partial")
    return Erased(
        ground=ground,
        request=None if request is None else check_digest(request, "request of an erasure"),
        leaves=leaves,
        root=check_digest(entry.get("root"), "root of an erasure"),
        counts=check_digest(entry.get("counts"), "counts of an erasure"),
        values=values,
        tables=tables,
        rekeyed=rekeyed,
        complete=complete,
        partial=partial,
        follows=None if follows is None else check_digest(follows, "erasure that is completed"),
    )
