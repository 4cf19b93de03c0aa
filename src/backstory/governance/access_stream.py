"""The stream of accesses: every read, refusal and export is a fact on disk before a value is given out.

Fields: docs/format.md section 40.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from backstory.capture.fact import record_facts
from backstory.capture.recorder import Recorder
from backstory.errors import ForbiddenError
from backstory.governance.facts import Fact, read_facts
from backstory.ledger.ledger import Ledger
from backstory.records.access import Gate, Scope
from backstory.records.access_record import ACCESS
from backstory.records.canonical import JsonObject
from backstory.records.identity import id_text


@dataclass(frozen=True, slots=True, kw_only=True)
class Noted:
    """What is noted of an access; see `records.access_record`."""

    question: str
    outcome: str
    role: str | None
    classes: Sequence[str]
    groups: Sequence[str]
    records: int
    policy: int | None
    grant: int | None
    purpose: str | None
    case: str | None
    scope: Scope | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """One access, read again.

    Attributes:
        id: Id of its record.
        time: When it was recorded, RFC 3339.
        question: What was asked.
        outcome: `allowed`, `denied` or `redacted`.
        actor: Who asked; None where that was erased.
        role: Under which role.
        purpose: What for.
        case: For which case.
        classes: Classes that were asked for.
        groups: Sealed groups that were asked for.
        records: Of how many records.
        named: Whether it was recorded which they are; may be erased since.
        policy: Index of the policy's proposal.
        grant: Index of the grant that was used.
        ids: Ids of the records that were read, where they were named one by one.
        runs: Records that were read, by stream, first and count.
        dataset: Dataset version whose rows were read.
        positions: Which rows of it; none for any.
        entry: Index of the manifest that proves it; None while it waits to be sealed.
    """

    id: str
    time: str
    question: str
    outcome: str
    actor: str | None
    role: str | None
    purpose: str | None
    case: str | None
    classes: tuple[str, ...]
    groups: tuple[str, ...]
    records: int
    named: bool
    policy: int | None
    grant: int | None
    ids: tuple[str, ...]
    runs: tuple[tuple[str, int, int], ...]
    dataset: str | None
    positions: tuple[int, ...]
    entry: int | None

    @property
    def is_scoped(self) -> bool:
        """Whether it is known which records were read."""
        return bool(self.ids or self.runs or self.dataset is not None)

    @property
    def is_erased(self) -> bool:
        """Whether it was known which records were read, until a person with one of them was erased."""
        return self.named and not self.is_scoped

    def to_dict(self) -> JsonObject:
        """Return it as values JSON has."""
        return {
            "actor": self.actor,
            "case": self.case,
            "classes": [*self.classes],
            "dataset": self.dataset,
            "entry": self.entry,
            "grant": self.grant,
            "groups": [*self.groups],
            "id": self.id,
            "ids": [*self.ids],
            "named": self.named,
            "outcome": self.outcome,
            "policy": self.policy,
            "positions": [*self.positions],
            "purpose": self.purpose,
            "question": self.question,
            "records": self.records,
            "role": self.role,
            "runs": [{"count": count, "first": first, "stream": stream} for stream, first, count in self.runs],
            "time": self.time,
        }


def note_access(ledger: Ledger, recorder: Recorder, noted: Noted) -> None:
    """Record an access; it is on disk when this returns.

    Raises:
        ForbiddenError: The archive is open for reading only, or the recorder drops what it cannot write.
        StorageError: It could not be written.
    """
    if not ledger.writable:
        raise ForbiddenError(f"{noted.question}: the archive is open for reading only and cannot record the read")
    scope = noted.scope or Scope()
    row = {
        "actor": ledger.actor,
        "case": noted.case,
        "classes": list(noted.classes),
        "dataset": scope.dataset,
        "grant": noted.grant,
        "groups": list(noted.groups),
        "ids": list(scope.ids) or None,
        "named": bool(scope.ids or scope.runs or scope.dataset is not None),
        "outcome": noted.outcome,
        "policy": noted.policy,
        "positions": None if scope.positions is None else list(scope.positions),
        "purpose": noted.purpose,
        "question": noted.question,
        "records": noted.records,
        "role": noted.role,
        "runs": [{"stream": one.stream, "first": one.first, "count": one.count} for one in scope.runs] or None,
    }
    if not record_facts(recorder, ledger.blobs, ACCESS, [row]):
        raise ForbiddenError(f"{noted.question}: the read could not be recorded")


def read_accesses(ledger: Ledger, gate: Gate, question: str) -> list[Access]:
    """Return all accesses, oldest first; groups the gate does not open are left out of them.

    Raises:
        StorageError: A segment cannot be read.
        VerificationError: A record or its sealed values were changed.
    """
    return [_access(fact) for fact in read_facts(ledger, gate, ACCESS, question)]


def _access(fact: Fact) -> Access:
    values = fact.values
    ids, runs, positions = (values.get(name) or () for name in ("ids", "runs", "positions"))
    return Access(
        id=fact.id,
        time=fact.time,
        question=values["question"],
        outcome=values["outcome"],
        actor=values.get("actor"),
        role=values["role"],
        purpose=values.get("purpose"),
        case=values.get("case"),
        classes=tuple(values["classes"]),
        groups=tuple(values["groups"]),
        records=values["records"],
        named=values["named"],
        policy=values["policy"],
        grant=values["grant"],
        ids=tuple(id_text(one) for one in ids),
        runs=tuple((one["stream"], one["first"], one["count"]) for one in runs),
        dataset=values.get("dataset"),
        positions=tuple(positions),
        entry=fact.entry,
    )
