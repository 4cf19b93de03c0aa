"""Matters: things with a first record and later ones that say what became of them, as a request and its answers."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from backstory.errors import NotFoundError
from backstory.governance.facts import Fact, read_facts
from backstory.ledger.ledger import Ledger
from backstory.ledger.read import find_record
from backstory.records.access import Gate
from backstory.records.fact import FactKind
from backstory.records.identity import id_text

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Matter:
    """A first record, and the later ones in the order of what they say.

    Attributes:
        first: The first record.
        later: Those with its id in `of`, by `at`.
    """

    first: Fact
    later: tuple[Fact, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What a later record of a matter says.

    Attributes:
        id: Id of the record.
        state: What happened.
        at: When.
        ground: On which ground, if somebody said.
        text: What was said; None where sealed.
        recipient: Who was told; None where sealed.
    """

    id: str
    state: str
    at: datetime
    ground: str | None
    text: str | None
    recipient: str | None


def read_matters(
    ledger: Ledger,
    gate: Gate,
    kind: FactKind,
    question: str,
    begins: Sequence[str],
    *,
    ids: Collection[str] | None = None,
    linked: dict[str, Collection[bytes]] | None = None,
    groups: Collection[str] | None = None,
) -> list[Matter]:
    """Return matters of a kind, oldest first.

    Args:
        ledger: The archive.
        gate: Opens what is sealed, or does not.
        kind: The kind of their records.
        question: What is being asked, for the record of the read.
        begins: States of first records.
        ids: Whole ids of first records; None for all.
        linked: Ids that a sealed link of the first record leads to, by its column.
        groups: Sealed groups that are asked for; None for all.
    """
    where: dict[str, Collection[Any]] = {"state": begins}
    if ids is not None:
        where["id"] = [key_of(one) for one in ids]
    firsts = read_facts(ledger, gate, kind, question, where, linked=linked, groups=groups)
    if not firsts:
        return []
    of = [key_of(one.id) for one in firsts]
    later: dict[str, list[Fact]] = {}
    for fact in read_facts(ledger, gate, kind, question, {"of": of}, groups=groups):
        later.setdefault(id_text(fact.values["of"]), []).append(fact)
    return [
        Matter(first=one, later=tuple(sorted(later.get(one.id, ()), key=lambda fact: (fact.values["at"], fact.id))))
        for one in firsts
    ]


def find_matter(
    ledger: Ledger,
    gate: Gate,
    kind: FactKind,
    question: str,
    begins: Sequence[str],
    prefix: str,
    *,
    groups: Collection[str] | None = None,
) -> Matter:
    """Return one matter by the id of its first record, or a unique prefix.

    Raises:
        NotFoundError: There is none.
        AmbiguousError: Several ids begin so.
    """
    found = find_record(ledger, prefix, kind.kind).id
    matters = read_matters(ledger, gate, kind, question, begins, ids=[found], groups=groups)
    if not matters:
        raise NotFoundError(
            f"{kind.kind}: the record of this id says what became of one; ask for the {kind.kind} itself"
        )
    return matters[0]


def step_of(fact: Fact) -> Step:
    """Return what a later record says."""
    said = fact.values
    return Step(
        id=fact.id,
        state=said["state"],
        at=said["at"],
        ground=said["ground"],
        text=said.get("text"),
        recipient=said.get("recipient"),
    )


def key_of(name: str) -> bytes:
    """Return an id as records have it."""
    return bytes.fromhex(name.replace("-", ""))


def ns_of(moment: datetime) -> int:
    """Return a recorded moment in nanoseconds since the epoch."""
    return (moment - _EPOCH) // _MICROSECOND * 1000


def whole_us(moment_ns: int) -> int:
    """Return a moment as facts have it: in nanoseconds, of whole microseconds."""
    return moment_ns // 1000 * 1000
