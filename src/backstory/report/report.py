"""A report as data: what every report carries, and sections with tables. Pages and tables are made of this alone.

Bytes: docs/format.md section 43. Nothing here reads an archive.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

from backstory.records import canonical
from backstory.records.canonical import JsonObject, JsonValue

Standing: TypeAlias = Literal["recorded", "computed", "stated"]
"""How a report knows what a section says: docs/format.md section 43."""

ColumnType: TypeAlias = Literal["text", "count", "number", "time", "digest", "id"]

STANDINGS: Final[dict[str, str]] = {
    "recorded": "From records and entries of the log.",
    "computed": "Computed from records when this report was made.",
    "stated": "Stated by whoever asked for this report. Nothing in the log proves it.",
}
"""What a reader is told of each standing."""

VERSION: Final = 1
_NAME: Final = re.compile("[a-z][a-z_]{0,63}")


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a section.

    Attributes:
        name: Its name in data: small letters and `_`.
        label: What a reader sees, with its unit.
        type: Type of its values.
    """

    name: str
    label: str
    type: ColumnType = "text"


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """What a section of a kind of report looks like, whatever it says.

    Attributes:
        name: Its name in data.
        title: Its title.
        standing: How the report knows.
        columns: Columns of its table; none where it is text alone.
        none: What is said where there are no rows.
    """

    name: str
    title: str
    standing: Standing
    columns: tuple[Column, ...] = ()
    none: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Supports:
    """A law or standard that a report may serve as evidence under, and what for."""

    article: str
    serves: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Layouts:
    """What all reports of a kind have in common.

    Attributes:
        kind: Its name, such as `access-log`.
        code: Its code, such as `RPT-10`.
        title: Its title.
        about: What it is, in a sentence.
        readers: For whom it is written.
        supports: What it may be evidence under.
        sections: Its sections in order.
        limits: What no report of the kind covers.
        states: What whoever asks may add, by name: what it is.
    """

    kind: str
    code: str
    title: str
    about: str
    readers: str
    supports: tuple[Supports, ...]
    sections: tuple[Layout, ...]
    limits: tuple[str, ...]
    states: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Quote:
    """A value of a record that is proven in the report: a verifier compares it.

    Attributes:
        text: The text that stands in the report; None for null.
        record: Id of the record.
        column: The column it is the value of.
    """

    text: str | None
    record: str
    column: str


@dataclass(frozen=True, slots=True)
class Cited:
    """A text of an entry that is proven in the report: a verifier compares it.

    Attributes:
        text: The text that stands in the report.
        entry: Index of the entry.
        member: Member of the entry it is.
    """

    text: str
    entry: int
    member: str


Cell: TypeAlias = str | Quote | Cited | None
"""What stands in a column of a row."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What a section says.

    Attributes:
        rows: Cells by column, those that are left out null.
        text: Paragraphs before the table.
    """

    rows: Sequence[Mapping[str, Cell]] = ()
    text: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Withheld:
    """Something that is not shown, which the record commits to.

    Attributes:
        what: What it is.
        group: Its sealed group.
        class_: Its class.
        reason: Why it is not shown.
        commitment: The commitment, in hex; None where it has none of its own.
    """

    what: str
    group: str
    class_: str
    reason: str
    commitment: str | None = None

    def to_dict(self) -> JsonObject:
        """Return it as the report has it."""
        return {
            "class": self.class_,
            "commitment": self.commitment,
            "group": self.group,
            "reason": self.reason,
            "what": self.what,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """What a kind of report says this time.

    Attributes:
        scope: What it is about, by name.
        summary: The answer in a few plain sentences.
        systems: Model versions it is about: name, version, digest.
        sections: What each section says, by name.
        completeness: What is known to be missing, or that nothing is.
        checked: What was checked while it was made.
        withheld: What is not shown.
        limits: What else this one does not cover.
        since: Begin of its period, RFC 3339.
        until: End of its period.
        holds: Whether what it checked or compared agrees.
    """

    scope: Mapping[str, str]
    summary: Sequence[str] = ()
    systems: Sequence[tuple[str, str, str]] = ()
    sections: Mapping[str, Told] = field(default_factory=dict)
    completeness: Sequence[str] = ()
    checked: str = ""
    withheld: Sequence[Withheld] = ()
    limits: Sequence[str] = ()
    since: str | None = None
    until: str | None = None
    holds: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """What a report carries whatever its kind.

    Attributes:
        id: Its id.
        made: When it was made, RFC 3339.
        generator: Versions by package.
        requester: Who asked; None where nobody said.
        purpose: What for.
        function: The call that made it.
        arguments: Its arguments, by name.
        profile: Which sealed groups were opened, and by which policy.
        integrity: Checkpoint, key, algorithms and anchors, as section 43 has them, without `checked`.
        records: Ids of the records that are proven.
        entries: Indexes of the entries that are proven.
    """

    id: str
    made: str
    generator: Mapping[str, str]
    requester: str | None
    purpose: str | None
    function: str
    arguments: Mapping[str, str]
    profile: str
    integrity: JsonObject
    records: Sequence[str]
    entries: Sequence[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A report: its data, and that data's bytes.

    Attributes:
        document: The whole of it, as `report.json` has it.
        data: `report.json`.
    """

    document: JsonObject
    data: bytes


def report_of(kind: Layouts, content: Content, frame: Frame) -> Report:
    """Put a report together. Pure.

    Args:
        kind: Its kind.
        content: What it says this time.
        frame: What every report carries.
    """
    unknown = content.sections.keys() - {layout.name for layout in kind.sections}
    if unknown:
        raise AssertionError(f"{kind.kind}: no section {', '.join(sorted(unknown))}")
    sections: list[JsonObject] = []
    quotes: list[JsonObject] = []
    for number, layout in enumerate(kind.sections):
        section, quoted = _section(number, layout, content.sections.get(layout.name, Told()))
        sections.append(section)
        quotes += quoted
    document: JsonObject = {
        "about": kind.about,
        "backstory": "report",
        "bases": [{"article": one.article, "serves": one.serves} for one in kind.supports],
        "code": kind.code,
        "completeness": [*content.completeness],
        "counts": _counts(sections, frame),
        "evidence": {"entries": [str(index) for index in frame.entries], "records": [*frame.records]},
        "generator": {**frame.generator},
        "id": frame.id,
        "integrity": {**frame.integrity, "checked": content.checked},
        "kind": kind.kind,
        "limits": [*kind.limits, *content.limits],
        "made": frame.made,
        "purpose": frame.purpose,
        "question": {"arguments": {**frame.arguments}, "function": frame.function},
        "quotes": [*sorted(quotes, key=lambda quote: canonical.text_of(quote, "at"))],
        "readers": kind.readers,
        "redaction": {"profile": frame.profile, "withheld": [one.to_dict() for one in content.withheld]},
        "requester": frame.requester,
        "scope": {
            "about": {**content.scope},
            "as_of": str(frame.integrity["size"]),
            "since": content.since,
            "until": content.until,
        },
        "sections": [*sections],
        "summary": [*content.summary],
        "systems": [{"digest": digest, "name": name, "version": version} for name, version, digest in content.systems],
        "title": kind.title,
        "v": VERSION,
    }
    return Report(document=document, data=canonical.encode(document))


def _section(number: int, layout: Layout, told: Told) -> tuple[JsonObject, list[JsonObject]]:
    names = [column.name for column in layout.columns]
    if any(_NAME.fullmatch(name) is None for name in (layout.name, *names)):
        raise AssertionError(f"section {layout.name}: malformed names")
    rows: list[JsonValue] = []
    quotes: list[JsonObject] = []
    for at, row in enumerate(told.rows):
        if not row.keys() <= set(names):
            raise AssertionError(f"section {layout.name}: no column {', '.join(sorted(row.keys() - set(names)))}")
        cells = {name: row.get(name) for name in names}
        rows.append({name: cell.text if isinstance(cell, Quote | Cited) else cell for name, cell in cells.items()})
        for name, cell in cells.items():
            where = f"/sections/{number}/rows/{at}/{name}"
            if isinstance(cell, Quote):
                quotes.append({"at": where, "column": cell.column, "record": cell.record})
            elif isinstance(cell, Cited):
                quotes.append({"at": where, "entry": str(cell.entry), "member": cell.member})
    section: JsonObject = {
        "columns": [{"label": one.label, "name": one.name, "type": one.type} for one in layout.columns],
        "name": layout.name,
        "none": layout.none,
        "rows": rows,
        "standing": layout.standing,
        "text": [*told.text],
        "title": layout.title,
    }
    return section, quotes


def _counts(sections: Sequence[JsonObject], frame: Frame) -> JsonObject:
    counts: JsonObject = {
        canonical.text_of(section, "name"): str(len(rows))
        for section in sections
        if isinstance(rows := section["rows"], list) and section["columns"]
    }
    return {**counts, "proven_entries": str(len(frame.entries)), "proven_records": str(len(frame.records))}
