"""Asking the stream of accesses: the log of a period, and who saw a person or a prediction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow.compute as pc

from backstory.columns.id_text import subject_column
from backstory.errors import NotFoundError
from backstory.governance.access import AccessGate
from backstory.governance.access_policy import QUERY_LOG
from backstory.governance.access_stream import Access, read_accesses
from backstory.governance.proposal import is_same_person
from backstory.ledger.ledger import Ledger
from backstory.ledger.people_index import find_people_rows
from backstory.ledger.read import find_record, records_now
from backstory.lineage.trace import Tracer
from backstory.records import canonical
from backstory.records.access import About, Scope
from backstory.records.access_record import ACCESS, DENIED
from backstory.records.canonical import JsonObject
from backstory.records.envelope import PREDICTION
from backstory.records.identity import id_text, time_text
from backstory.records.redaction import SUBJECT

QUESTION = "access-log"
"""What reading the log of accesses is recorded as."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """That somebody saw values of a person or a prediction, or was shown that there are some.

    Attributes:
        access: The access.
        records: Ids of the records among those that were asked about; none where only runs or nobody said which.
        certain: Whether the access names them. Otherwise it may be them: nobody said which were read, or that was
            erased with a person whose record was one of them (`access.is_erased`).
    """

    access: Access
    records: tuple[str, ...]
    certain: bool

    def to_dict(self) -> JsonObject:
        """Return it as values JSON has."""
        erased = self.access.is_erased
        return {
            "access": self.access.to_dict(),
            "certain": self.certain,
            "erased": erased,
            "records": [*self.records],
        }


class _LogReader:
    """The gate of whoever may read the log of accesses: it opens that log and nothing else, and records it."""

    def __init__(self, gate: AccessGate) -> None:
        self._gate = gate

    def allows(self, groups: Sequence[str] | None = None) -> bool:  # noqa: ARG002  the right was required before
        return True

    def lacking(self, groups: Sequence[str] | None = None) -> str:  # noqa: ARG002  nothing: the right was required
        return ""

    def pass_through(self, question: str, groups: Sequence[str], records: int, scope: Scope | None = None) -> None:
        """Record nothing: one access says that the log was read, not one for each of its segments."""

    def require_open(self, question: str, classes: Sequence[str] = ("D0", "D1", "D2")) -> None:
        """Let it: the right was required before."""

    @property
    def bound_subject(self) -> None:
        """Nobody: accesses are not kept by person."""

    def within(self, about: About) -> _LogReader:  # noqa: ARG002
        return self


def read_log(
    ledger: Ledger,
    gate: AccessGate,
    *,
    since: int | None = None,
    until: int | None = None,
    actor: str | None = None,
    question: str | None = None,
) -> list[Access]:
    """Return accesses, oldest first; that they are read is one.

    Args:
        ledger: The archive.
        gate: Says whether they may be read.
        since: Recorded at or after this moment, in nanoseconds since 1970; None for any.
        until: Recorded before.
        actor: By this person.
        question: Of this kind, such as `why`.

    Raises:
        ForbiddenError: They may not be read; that is recorded.
    """
    first = None if since is None else time_text(since)
    end = None if until is None else time_text(until)
    return [
        one
        for one in _all(ledger, gate)
        if (first is None or one.time >= first)
        and (end is None or one.time < end)
        and (actor is None or (one.actor is not None and is_same_person(one.actor, actor)))
        and (question is None or one.question == question)
    ]


def who_saw(
    ledger: Ledger, gate: AccessGate, *, subject: str | None = None, prediction: str | None = None
) -> list[Seen]:
    """Return who saw values of a person's records, or of a prediction, oldest first; denials are not among them.

    Args:
        ledger: The archive.
        gate: Says whether accesses may be read.
        subject: The person.
        prediction: Id of the prediction, or a unique prefix.

    Raises:
        ForbiddenError: They may not be read; that is recorded.
        NotFoundError: There is no such prediction.
    """
    accesses = _all(ledger, gate)
    asked = _Asked(ledger)
    if subject is not None:
        asked.add_subject(subject)
    if prediction is not None:
        asked.add_prediction(prediction)
    found = (asked.seen_in(one) for one in accesses if one.outcome != DENIED and one.question != QUESTION)
    return [one for one in found if one is not None]


class _Asked:
    """The records that are asked about, as accesses name them: by id, by stream and number, by row of a source."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._ids: set[str] = set()
        self._places: dict[tuple[str, int], str] = {}
        self._rows: dict[str, set[int]] = {}

    def add_subject(self, subject: str) -> None:
        for manifest, rows in find_people_rows(self._ledger, subject):
            reader = self._ledger.segment(manifest, checked=True)
            ids = reader.read_groups(range(reader.group_count), ["id"])["id"]
            for row in rows.tolist():
                self._add(manifest.stream, manifest.first_seq + row, ids[row].as_py())
        for kind in self._waiting_kinds():
            for _, table in records_now(self._ledger, kind)[1]:
                if SUBJECT not in table.column_names:
                    continue
                columns = (table[name].to_pylist() for name in ("stream", "seq", "id", SUBJECT))
                for stream, seq, key, whom in zip(*columns, strict=True):
                    if whom is not None and str(whom) == subject:
                        self._add(stream.hex(), seq, key)

        self._add_rows(subject)

    def add_prediction(self, prediction: str) -> None:
        table = find_record(self._ledger, prediction, PREDICTION).table
        self._add(table["stream"][0].as_py().hex(), table["seq"][0].as_py(), table["id"][0].as_py())

    def seen_in(self, access: Access) -> Seen | None:
        if not access.is_scoped:
            return Seen(access=access, records=(), certain=False) if access.records else None
        named = self._ids.intersection(access.ids)
        for stream, first, count in access.runs:
            named |= {
                key for (where, seq), key in self._places.items() if where == stream and first <= seq < first + count
            }
        rows = self._rows.get(access.dataset or "", set())
        if named or (rows and (not access.positions or rows.intersection(access.positions))):
            return Seen(access=access, records=tuple(sorted(named)), certain=True)
        return None

    def _add(self, stream: str, seq: int, key: bytes) -> None:
        self._ids.add(id_text(key))
        self._places[stream, seq] = id_text(key)

    def _add_rows(self, subject: str) -> None:
        """Find the rows about a person in every dataset version that says whom its rows are about."""
        tracer = Tracer(self._ledger)
        for entry in self._ledger.find_entries("source.fixed"):
            dataset = canonical.text_of(entry, "dataset")
            column = self._ledger.document(dataset).get("subject")
            if not isinstance(column, str):
                continue
            try:
                people = subject_column(tracer.columns(dataset, None, [column])[column])
            except NotFoundError:  # erased as a whole: nobody reads it any more, and of whom it was is not known
                continue
            first = canonical.count_of(entry, "first")
            self._rows.setdefault(dataset, set()).update(
                first + at for at in pc.indices_nonzero(pc.equal(people, subject)).to_pylist()
            )

    def _waiting_kinds(self) -> list[str]:
        kinds = {self._ledger.schema(info.schema).kind for info in self._ledger.spool.streams()}
        return sorted(kinds - {ACCESS.kind})


def _all(ledger: Ledger, gate: AccessGate) -> list[Access]:
    gate.require(QUERY_LOG)
    gate.note_read(QUESTION, ACCESS.schema.groups, 1)
    return read_accesses(ledger, _LogReader(gate), QUESTION)
