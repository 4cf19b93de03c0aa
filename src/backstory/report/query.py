"""Canonical queries: a question with a number, what it reads, and what its answer shows and does not show.

An empty answer is only worth something beside what was looked at, so every answer says that, and a query that must be
empty says `holds` only where something of the kind was recorded and nothing stayed sealed. Form: docs/format.md section
44.
"""

from __future__ import annotations

import csv
import importlib.util
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

import pyarrow as pa

from backstory.errors import BackstoryError, QueryError
from backstory.ledger.ledger import Ledger
from backstory.lineage.answer import Answer
from backstory.lineage.page import Page, Row, Section
from backstory.lineage.plain import count_text, plain
from backstory.lineage.reconcile import moment_ns
from backstory.records.canonical import JsonObject
from backstory.records.identity import time_text
from backstory.records.names import nearest
from backstory.records.sensitivity import STAFF, group_name

if TYPE_CHECKING:
    from backstory.capture.recorder import Recorder
    from backstory.debug.match_report import MatchReport
    from backstory.debug.performance import Performance
    from backstory.governance.access import AccessGate
    from backstory.lineage.impact import Impact
    from backstory.lineage.reasons import Reasons
    from backstory.lineage.story import Story
    from backstory.lineage.trace import Tracer
    from backstory.lineage.version_story import VersionStory

Status = Literal["answered", "holds", "violated", "incomplete", "not-applicable"]
Kind = Literal["text", "moment", "count", "flag"]
Cell = str | int | float | bool | None
_SHOWN_MAX: Final = 50
_MEANS: Final[dict[str, str]] = {
    "answered": "answered",
    "holds": "holds: nothing was found that must not be",
    "violated": "VIOLATED: what is listed must not be",
    "incomplete": "cannot be told: see the notes",
    "not-applicable": "does not apply to what is recorded here",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """What a query takes.

    Attributes:
        name: Its name.
        about: What it is.
        kind: What its values are; `moment` is RFC 3339 with a time zone.
        required: Whether it must be given.
        default: Its value where it is not.
    """

    name: str
    about: str
    kind: Kind = "text"
    required: bool = False
    default: str | int | bool | None = None


SINCE: Final = Parameter(name="since", about="From this moment on.", kind="moment")
UNTIL: Final = Parameter(name="until", about="Before this moment.", kind="moment")
MODEL: Final = Parameter(name="model", about="Of this model: all versions of a name, or one as `name:version`.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """What a query is asked with, after looking at it.

    Attributes:
        texts: Values by parameter; nothing for what was not given and has no default.
        since: The parameter `since` in nanoseconds since the epoch.
        until: The parameter `until`.
    """

    texts: Mapping[str, str | int | bool | None]
    since: int | None = None
    until: int | None = None

    def text(self, name: str) -> str | None:
        """Return the value of a text parameter."""
        value = self.texts.get(name)
        return None if value is None else str(value)

    def count(self, name: str) -> int:
        """Return the value of a count that has a default or was required."""
        return int(self.texts[name] or 0)

    @property
    def period(self) -> tuple[str | None, str | None]:
        """`since` and `until` as entries write moments."""
        return (
            None if self.since is None else time_text(self.since),
            None if self.until is None else time_text(self.until),
        )

    def has(self, moment: str) -> bool:
        """Say whether a moment as entries write it is in the period."""
        since, until = self.period
        return (since is None or since <= moment) and (until is None or moment < until)


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """What queries work with.

    Attributes:
        ledger: The archive.
        gate: Opens sealed values, or does not.
        tracer: Reads lineage.
        recorder: Holds what is not in the log yet.
        vkey: The pinned public key.
        why: The verb `why`; queries that other verbs answer ask these, so that there is one answer.
        impact: The verb `impact`.
        replay: The verb `replay`.
        performance: The verb `drift.performance`.
        reasons: The verb `explanations.reasons`.
    """

    ledger: Ledger
    gate: AccessGate
    tracer: Tracer
    recorder: Recorder
    vkey: str | None
    why: Callable[..., Story | VersionStory]
    impact: Callable[..., Impact]
    replay: Callable[..., MatchReport]
    performance: Callable[..., Performance]
    reasons: Callable[..., Reasons]

    def listed(self, *types: str, given: Given, name: str | None = None) -> list[tuple[int, JsonObject]]:
        """Return the entries of some types in the period that is asked for, in the order of the log."""
        found = [pair for type_ in types for pair in self.ledger.numbered_entries(type_, name)]
        return sorted((pair for pair in found if given.has(str(pair[1]["time"]))), key=lambda pair: pair[0])


class Names:
    """Names of people behind commitments, as far as they may be seen; that they are read is recorded once."""

    def __init__(self, room: Room, query: str) -> None:
        """Open names for one query."""
        self._room, self._query, self._noted = room, query, False

    def of(self, commitment: object, group: str = "actor") -> str | None:
        """Return a name; what may not be seen as its commitment, which differs each time for one name."""
        if not isinstance(commitment, str):
            return None
        groups = [group_name("staff", STAFF)]
        if not self._room.gate.allows(groups):
            return f"commitment {commitment[:12]}"
        if not self._noted:
            self._room.gate.pass_through(self._query, groups, 1)
            self._noted = True
        try:
            return self._room.ledger.text_of(commitment, group)
        except BackstoryError:
            return f"commitment {commitment[:12]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a query found.

    Attributes:
        rows: Its rows, each with exactly the query's columns.
        examined: How much was looked at, by what it is.
        notes: What is missing.
        tells: Whether what was looked at tells: nothing of it stayed sealed, and there was something of the kind.
        applies: Whether the question applies to what is recorded here.
        violated: Of queries that list more than what must not be: whether some of it must not. None: every row.
    """

    rows: Sequence[Mapping[str, Cell]] = ()
    examined: Mapping[str, int] = field(default_factory=dict)
    notes: Sequence[str] = ()
    tells: bool = True
    applies: bool = True
    violated: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """A canonical query.

    Attributes:
        id: Such as `Q-07`.
        question: What is asked.
        reads: What it looks at.
        columns: What each column of the answer is, in order.
        shows: What an answer shows; of one that must be empty what an empty one shows.
        shows_not: What it does not show.
        supports: Articles it may serve as evidence under.
        run: Answers it.
        parameters: What it takes.
        classes: Open classes that whoever asks must see as they are, where an access policy is in force.
        empty: Whether it must be empty: what it lists must not be.
        version: A number that rises when its meaning changes.
    """

    id: str
    question: str
    reads: str
    columns: Mapping[str, str]
    shows: str
    shows_not: str
    supports: tuple[str, ...]
    run: Callable[[Room, Given], Found]
    parameters: tuple[Parameter, ...] = ()
    classes: tuple[str, ...] = ("D0", "D1")
    empty: bool = False
    version: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryAnswer(Answer):
    """The answer of a canonical query, with where it is from.

    Attributes:
        query: The query's id.
        version: The version of the query.
        question: What was asked.
        parameters: With what.
        origin: Origin of the log it was answered from.
        size: Size of the tree.
        root: Its root, in hex.
        status: `answered`; of a query that must be empty `holds` or `violated`; `incomplete` or `not-applicable`.
        columns: Names of the columns.
        rows: The rows.
        examined: How much was looked at.
        notes: What is missing.
        shows: What the answer shows.
        shows_not: What it does not show.
    """

    query: str
    version: int
    question: str
    parameters: Mapping[str, str | int | bool | None]
    origin: str
    size: int
    root: str
    status: Status
    columns: tuple[str, ...]
    rows: tuple[Mapping[str, Cell], ...] = field(repr=False)
    examined: Mapping[str, int]
    notes: tuple[str, ...]
    shows: str = field(repr=False)
    shows_not: str = field(repr=False)

    @property
    def table(self) -> pa.Table:
        """The rows as an Arrow table; a column of several types is text. Where it is from is in its metadata."""
        columns = {name: _array([row[name] for row in self.rows]) for name in self.columns}
        said = {"query": self.query, "version": self.version, "parameters": dict(self.parameters)}
        said |= {"checkpoint": {"origin": self.origin, "size": self.size, "root": self.root}, "status": self.status}
        return pa.table(columns).replace_schema_metadata({"backstory": json.dumps(plain(said), sort_keys=True)})

    def frame(self) -> Any:  # noqa: ANN401  a frame of a library that may not be there
        """Return the rows as a pandas frame, with where they are from in `attrs`; the Arrow table without pandas."""
        if not importlib.util.find_spec("pandas"):
            return self.table
        frame = self.table.to_pandas()
        frame.attrs.update(query=self.query, version=self.version, status=self.status, size=self.size, root=self.root)
        return frame

    def to_dict(self) -> dict[str, Any]:
        """Return it as values JSON has; see docs/format.md section 44."""
        return {
            "checkpoint": {"origin": self.origin, "root": self.root, "size": self.size},
            "columns": list(self.columns),
            "examined": dict(self.examined),
            "notes": list(self.notes),
            "parameters": dict(self.parameters),
            "query": self.query,
            "row_count": len(self.rows),
            "rows": [dict(row) for row in self.rows],
            "status": self.status,
            "version": self.version,
        }

    def csv(self) -> str:
        """Return the rows as CSV (RFC 4180), the names of the columns first."""
        out = io.StringIO()
        writer = csv.DictWriter(out, self.columns, lineterminator="\r\n")
        writer.writeheader()
        writer.writerows(self.rows)
        return out.getvalue()

    def __repr__(self) -> str:
        """Return it on one line."""
        return f"<QueryAnswer {self.query}: {self._page().headline}>"

    def _page(self) -> Page:
        shown = self.rows[:_SHOWN_MAX]
        more = f", the first {len(shown)} of them here" if len(shown) < len(self.rows) else ""
        rows = tuple(Row(cells=tuple(_text(row[name]) for name in self.columns)) for row in shown)
        asked = ", ".join(f"{name}={value}" for name, value in self.parameters.items() if value is not None)
        return Page(
            headline=f"{self.query} {_MEANS[self.status]}; {count_text(len(self.rows), 'row')}{more}",
            alarms=(self.question,) if self.status == "violated" else (),
            facts=(
                ("question", self.question),
                ("asked with", asked or "nothing"),
                ("looked at", ", ".join(f"{count:,} {name}" for name, count in self.examined.items()) or "nothing"),
                *(("note", note) for note in self.notes),
                ("shows", self.shows),
                ("shows not", self.shows_not),
                ("log", f"{self.origin}, {self.size:,} entries, root {self.root[:12]}…"),
            ),
            sections=(Section(title="Rows", columns=self.columns, rows=rows),) if rows else (),
        )


def run_query(room: Room, query: Query, parameters: Mapping[str, object]) -> QueryAnswer:
    """Answer a canonical query.

    Args:
        room: What it works with.
        query: The query.
        parameters: What it is asked with, by name; texts are read as the parameter's kind.

    Raises:
        QueryError: A parameter is missing, unknown or malformed.
        ForbiddenError: What it reads may not be read at all.
    """
    given = _given(query, parameters)
    room.gate.require_open(query.id, query.classes)
    room.ledger.catch_up()
    checkpoint = room.ledger.log.checkpoint()
    found = query.run(room, given)
    for row in found.rows:
        if set(row) != set(query.columns):
            raise AssertionError(f"{query.id}: its rows have other columns than it says")
    nothing = not found.tells and found.applies and not any(found.examined.values())
    return QueryAnswer(
        query=query.id,
        version=query.version,
        question=query.question,
        parameters=given.texts,
        origin=checkpoint.origin,
        size=checkpoint.size,
        root=checkpoint.root.hex(),
        status=_status(query, found),
        columns=tuple(query.columns),
        rows=tuple(found.rows),
        examined=dict(found.examined),
        notes=(*(["nothing of the kind was ever recorded"] if nothing else []), *found.notes),
        shows=query.shows,
        shows_not=query.shows_not,
    )


def _status(query: Query, found: Found) -> Status:
    if not found.applies:
        return "not-applicable"
    wrong = bool(found.rows) if found.violated is None else found.violated
    if query.empty and wrong:
        return "violated"
    if not found.tells:
        return "incomplete"
    return "holds" if query.empty else "answered"


def _given(query: Query, parameters: Mapping[str, object]) -> Given:
    known = {one.name: one for one in query.parameters}
    for name in parameters:
        if name not in known:
            there = nearest(name, known) or f"; it takes {', '.join(known) or 'none'}"
            raise QueryError(f"{query.id}: no parameter {name!r}{there}")
    texts: dict[str, str | int | bool | None] = {}
    for name, one in known.items():
        value = parameters.get(name)
        if value is None and one.required:
            raise QueryError(f"{query.id}: expected the parameter {name}: {one.about}")
        texts[name] = one.default if value is None else _value(query, one, value)
    since, until = (moment_ns(texts.get(name), f"{query.id}: expected {name}") for name in ("since", "until"))  # type: ignore[arg-type]
    return Given(texts=texts, since=since, until=until)


def _value(query: Query, parameter: Parameter, value: object) -> str | int | bool:
    what = f"{query.id}: expected {parameter.name}"
    if parameter.kind == "flag":
        if isinstance(value, bool) or value in {"true", "false"}:
            return value in {True, "true"}
        raise QueryError(f"{what} as true or false")
    if parameter.kind == "count":
        try:
            number = int(str(value))
        except ValueError:
            number = -1
        if number < 0 or isinstance(value, bool):
            raise QueryError(f"{what} as a whole number")
        return number
    if parameter.kind == "moment" and hasattr(value, "isoformat"):
        return str(value.isoformat())
    if not isinstance(value, str):
        raise QueryError(f"{what} as text, got {type(value).__name__}")
    return value


def _array(values: list[Cell]) -> pa.Array:
    try:
        return pa.array(values)
    except (pa.ArrowException, TypeError):
        return pa.array([None if value is None else _text(value) for value in values])


def _text(value: Cell) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.6g}" if isinstance(value, float) else str(value)
