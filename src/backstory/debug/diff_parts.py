"""What comparing two recorded things is made of: stages in order, what changed in each, and how far one has to look.

Capsules are Merkle DAGs: where two digests are equal, so is everything below, and it is not opened.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from backstory.debug.environment_diff import environment_changes
from backstory.ledger.ledger import Ledger
from backstory.lineage.plain import plain
from backstory.records.canonical import JsonObject, JsonValue

ABSENT = "absent"
"""What stands for a member that one side does not have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """Something that is another on the two sides.

    Attributes:
        name: What.
        before: Its value on the first side.
        after: On the second.
    """

    name: str
    before: Any
    after: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class StageDiff:
    """One stage of two things, compared.

    Attributes:
        name: Name of the stage.
        same: Whether it is equal; None where that cannot be seen, as values are sealed or gone.
        said: What is to be said of it in a line.
        changes: What differs.
    """

    name: str
    same: bool | None
    said: str = ""
    changes: tuple[Change, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return it as values JSON has."""
        return {
            "changes": [{"after": plain(c.after), "before": plain(c.before), "name": c.name} for c in self.changes],
            "name": self.name,
            "said": self.said,
            "same": self.same,
        }


@dataclass(slots=True)
class Documents:
    """Opens documents by their digests, and remembers which.

    Attributes:
        ledger: The archive.
        opened: Digests of those that were opened, each once, in order.
    """

    ledger: Ledger
    opened: dict[str, None] = field(default_factory=dict)

    def open(self, digest: str) -> JsonObject:
        """Return a document."""
        self.opened[digest] = None
        return self.ledger.document(digest)


def stage_of(name: str, changes: tuple[Change, ...], said: str = "") -> StageDiff:
    """Return a stage that is equal where nothing changed."""
    return StageDiff(name=name, same=not changes, said=said, changes=changes)


def changes_of(before: JsonValue, after: JsonValue, name: str = "") -> Iterator[Change]:
    """Yield what differs between two documents, member by member; lists are compared as a whole.

    >>> [change.name for change in changes_of({"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "c": 3}})]
    ['a.c']
    """
    if before == after:
        return
    if isinstance(before, dict) and isinstance(after, dict):
        for member in sorted(before.keys() | after.keys()):
            inner = f"{name}.{member}" if name else member
            yield from changes_of(before.get(member, ABSENT), after.get(member, ABSENT), inner)
        return
    yield Change(name=name, before=before, after=after)


def environment_stage(documents: Documents, before: JsonValue, after: JsonValue) -> StageDiff:
    """Compare two environments, or their digests: equal digests are not opened."""
    if before == after:
        return StageDiff(name="environment", same=True)
    one, two = (documents.open(side) if isinstance(side, str) else {} for side in (before, after))
    changes = tuple(
        Change(name=name, before=then, after=now) for name, (then, now) in environment_changes(one, two).items()
    )
    said = "" if changes else "the same packages and machine, told otherwise" if one and two else "recorded of one only"
    return StageDiff(name="environment", same=not changes and bool(one) and bool(two), said=said, changes=changes)


def changes_below(documents: Documents, before: JsonValue, after: JsonValue) -> tuple[Change, ...]:
    """Return what differs between two documents that are named by digest; equal digests are not opened."""
    if before == after:
        return ()
    one, two = (documents.open(side) if isinstance(side, str) else side for side in (before, after))
    return tuple(changes_of(one, two))
