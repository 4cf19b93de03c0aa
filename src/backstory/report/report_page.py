"""A report laid out for readers: its page in HTML and its PDF show exactly this. Pure.

Nothing is computed here that `report.json` does not have; values only get the form that people read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from backstory.errors import FormatError
from backstory.lineage.plain import count_text, printable
from backstory.records.canonical import JsonObject, JsonValue
from backstory.report.report import STANDINGS
from backstory.verify.report import list_of, object_of

_DIGITS_SHOWN = 12
_WIDE = 3
"""With more columns a digest is shortened."""
_SIGNIFICANT = 6
_WORD_MAX, _PIECE = 24, 12
"""A word that is longer may be broken after so many letters, as a table's column is narrower."""
_NUMBERS = frozenset({"count", "number"})
_FIXED = frozenset({"digest", "id"})
_TRUTH = {"false": "no", "true": "yes"}
FACTS = ["what", "value"]
"""Columns of a section of labels and values."""
_LONG_NUMBER = re.compile(r"-?[0-9]+[.][0-9]{7,}(e[+-]?[0-9]+)?")
_MOMENT = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}([.][0-9]+)?Z")
_NAMED = re.compile("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{32}|[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A value as a reader sees it.

    Attributes:
        text: What is shown.
        fixed: Whether it is an id or a digest, for which all letters have one width.
        whole: The whole of what is shortened; empty where nothing is.
    """

    text: str
    fixed: bool = False
    whole: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Heading:
    """The head of a column.

    Attributes:
        label: Its label.
        is_number: Whether its values are numbers.
    """

    label: str
    is_number: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A part of a report for readers.

    Attributes:
        title: Its title.
        tag: How the report knows, in a word; empty where it goes without saying.
        known: The same in a sentence, where a reader must not overlook it.
        text: Paragraphs.
        points: What is listed below these.
        headings: Heads of its table's columns; none for labels and values.
        rows: Cells of its table.
        name: What links lead to.
    """

    title: str
    name: str
    tag: str = ""
    known: str = ""
    text: tuple[str, ...] = ()
    points: tuple[str, ...] = ()
    headings: tuple[Heading, ...] = ()
    rows: tuple[tuple[Shown, ...], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportPage:
    """A report for readers.

    Attributes:
        title: Its title.
        code: Its code.
        about: What it is, in a sentence.
        readers: For whom it is.
        made: When it was made.
        facts: Labels and values of the whole.
        summary: The answer in short.
        legend: What the tags of parts mean.
        parts: Everything else, in order.
        digest: SHA-256 of `report.json`, in hex.
        checkpoint: Log and tree size, for the foot of each page.
        id: The report's id.
    """

    title: str
    code: str
    about: str
    readers: str
    made: str
    facts: tuple[tuple[str, Shown], ...]
    summary: tuple[str, ...]
    legend: tuple[tuple[str, str], ...]
    parts: tuple[Part, ...]
    digest: str
    checkpoint: str
    id: str


def page_of(document: JsonObject, digest: str) -> ReportPage:
    """Return a report laid out for readers.

    Args:
        document: The report.
        digest: SHA-256 of `report.json`, in hex.
    """
    integrity = object_of(document["integrity"])
    sections = [_part(object_of(section)) for section in list_of(document["sections"])]
    return ReportPage(
        title=_text(document["title"]),
        code=_text(document["code"]),
        about=_text(document["about"]),
        readers=_text(document["readers"]),
        made=moment_text(_text(document["made"])),
        facts=tuple(_facts(document)),
        summary=_texts(document["summary"]),
        legend=tuple((tag, text) for tag, text in STANDINGS.items() if any(one.tag == tag for one in sections)),
        parts=(
            *sections,
            _withheld(document),
            _supports(document),
            _limits(document),
            _complete(document),
            _proof(document, digest),
        ),
        digest=digest,
        checkpoint=f"{_text(integrity['origin'])}, tree size {int(_text(integrity['size'])):,}",
        id=_text(document["id"]),
    )


def shown(value: str | None, type_: str, *, is_wide: bool = False) -> Shown:
    """Return a value of a column as a reader sees it.

    >>> (
    ...     shown("2026-03-01T12:00:00.000000000Z", "time").text,
    ...     shown("1429", "count").text,
    ...     shown("0.30000000000000004", "number").text,
    ... )
    ('2026-03-01 12:00:00 UTC', '1,429', '0.3')
    """
    if value is None:
        return Shown(text="—")
    if type_ == "time" or (type_ == "text" and _MOMENT.fullmatch(value)):
        return Shown(text=moment_text(value), whole=value)
    if type_ == "count":
        return Shown(text=f"{int(value):,}")
    if type_ == "number" or (type_ == "text" and _LONG_NUMBER.fullmatch(value)):
        text = f"{float(value):.{_SIGNIFICANT}g}"
        return Shown(text=text, whole="" if text == value else value)
    if type_ == "text" and value in _TRUTH:
        return Shown(text=_TRUTH[value], whole=value)
    if type_ == "digest" and is_wide:
        return Shown(text=f"{value[:_DIGITS_SHOWN]}…", fixed=True, whole=value)
    return Shown(text=printable(value), fixed=type_ in _FIXED or _NAMED.fullmatch(value) is not None)


def moment_text(moment: str) -> str:
    """Return a moment as a reader sees it: to the second, in UTC.

    >>> moment_text("2026-03-01T12:00:00.000000000Z")
    '2026-03-01 12:00:00 UTC'
    """
    return f"{moment[:10]} {moment[11:19]} UTC"


def pieces(text: str) -> list[str]:
    """Return text cut where a line may be broken, though no word ends there: long words, such as keys, in pieces.

    >>> pieces("a key+0123456789abcdef0123456789")
    ['a key+012345', '6789abcdef01', '23456789']
    """
    found = [""]
    for number, word in enumerate(text.split(" ")):
        size = _PIECE if len(word) > _WORD_MAX else len(word) or 1
        cut = [word[at : at + size] for at in range(0, len(word), size)] or [""]
        found[-1] += (" " if number else "") + cut[0]
        found += cut[1:]
    return found


def _facts(document: JsonObject) -> list[tuple[str, Shown]]:
    scope = object_of(document["scope"])
    said = [(label, _text(value)) for label, value in object_of(scope["about"]).items()]
    facts = [(label, shown(text, "text")) for label, text in said]
    since, until = scope["since"], scope["until"]
    if since is not None or until is not None:
        ends = [moment_text(_text(end)) if end is not None else "" for end in (since, until)]
        facts.append(("period", Shown(text=f"{ends[0] or 'the beginning'} up to {ends[1] or 'now'}")))
    systems = [f"{one['name']} version {one['version']}" for one in map(object_of, list_of(document["systems"]))]
    facts.append(("models", Shown(text=printable(", ".join(systems)) or "none")))
    evidence = object_of(document["evidence"])
    counts = [len(list_of(many)) for many in (evidence["records"], evidence["entries"], document["quotes"])]
    nouns = (("record", "records"), ("entry", "entries"), ("quoted value", "quoted values"))
    proven = ", ".join(count_text(count, *noun) for count, noun in zip(counts, nouns, strict=True))
    redaction = _text(object_of(document["redaction"])["profile"])
    return [
        *facts,
        ("asked by", Shown(text=printable(_said(document["requester"])))),
        ("for the purpose", Shown(text=printable(_said(document["purpose"])))),
        ("made", Shown(text=moment_text(_text(document["made"])))),
        (
            "made by",
            Shown(text=", ".join(f"{name} {_text(of)}" for name, of in object_of(document["generator"]).items())),
        ),
        ("proven in this bundle", Shown(text=proven)),
        ("what was opened", Shown(text=printable(redaction))),
        ("report", Shown(text=_text(document["id"]), fixed=True)),
    ]


def _said(value: JsonValue) -> str:
    return "not said" if value is None else _text(value)


def _part(section: JsonObject) -> Part:
    standing = _text(section["standing"])
    rows = [object_of(row) for row in list_of(section["rows"])]
    columns = _worth_showing([object_of(column) for column in list_of(section["columns"])], rows)
    is_wide = len(columns) > _WIDE
    text = _texts(section["text"])
    none = _text(section["none"])
    is_facts = [column["name"] for column in columns] == FACTS
    return Part(
        title=_text(section["title"]),
        name=_text(section["name"]),
        tag=standing,
        known=STANDINGS["stated"] if standing == "stated" else "",
        text=text or ((none,) if none and not rows else ()),
        headings=tuple(
            Heading(label=_text(column["label"]), is_number=column["type"] in _NUMBERS)
            for column in columns
            if rows and not is_facts
        ),
        rows=tuple(
            tuple(shown(_cell(row, column), _text(column["type"]), is_wide=is_wide) for column in columns)
            for row in rows
        ),
    )


def _worth_showing(columns: list[JsonObject], rows: list[JsonObject]) -> list[JsonObject]:
    """Return the columns of a table, of a wide one without those in which nothing stands."""
    if len(columns) <= _WIDE:
        return columns
    return [column for column in columns if any(row[_text(column["name"])] is not None for row in rows)]


def _cell(row: Mapping[str, JsonValue], column: JsonObject) -> str | None:
    value = row[_text(column["name"])]
    return None if value is None else _text(value)


def _withheld(document: JsonObject) -> Part:
    rows = [object_of(one) for one in list_of(object_of(document["redaction"])["withheld"])]
    return Part(
        title="What is withheld",
        name="withheld",
        text=("Each is committed to in the log: what is shown later can be checked against the commitment.",)
        if rows
        else ("Nothing that belongs in this report is withheld.",),
        headings=tuple(Heading(label=label) for label in ("what", "group", "class", "why", "commitment") if rows),
        rows=tuple(
            tuple(
                shown(_cell(row, {"name": name}), "digest" if name == "commitment" else "text", is_wide=True)
                for name in ("what", "group", "class", "reason", "commitment")
            )
            for row in rows
        ),
    )


def _supports(document: JsonObject) -> Part:
    rows = [object_of(one) for one in list_of(document["bases"])]
    return Part(
        title="What it may be evidence for",
        name="supports",
        text=(
            (
                "Only a court or an authority can say whether a duty is met. These are provisions under which what "
                "stands here may be asked for."
            ),
        ),
        headings=(Heading(label="provision"), Heading(label="what this report has for it")),
        rows=tuple((Shown(text=_text(row["article"])), Shown(text=_text(row["serves"]))) for row in rows),
    )


def _limits(document: JsonObject) -> Part:
    return Part(title="What it does not cover", name="limits", points=_texts(document["limits"]))


def _complete(document: JsonObject) -> Part:
    return Part(title="Is anything missing?", name="completeness", points=_texts(document["completeness"]))


def _proof(document: JsonObject, digest: str) -> Part:
    integrity, question = object_of(document["integrity"]), object_of(document["question"])
    arguments = ", ".join(f"{name}={_text(value)!r}" for name, value in object_of(question["arguments"]).items())
    facts = [
        ("log", Shown(text=printable(_text(integrity["origin"])))),
        ("tree size", Shown(text=f"{int(_text(integrity['size'])):,}")),
        ("root", Shown(text=_text(integrity["root"]), fixed=True)),
        ("public key", Shown(text=_text(integrity["vkey"]), fixed=True)),
        ("key given from outside", Shown(text="yes" if integrity["pinned"] else "no: it was read from the archive")),
        ("algorithms", Shown(text="; ".join(_texts(integrity["algorithms"])))),
        ("seen by others", Shown(text=printable("; ".join(_texts(integrity["anchors"]))))),
        ("checked when made", Shown(text=printable(_text(integrity["checked"])))),
        ("made with", Shown(text=printable(f"{_text(question['function'])}({arguments})"))),
        ("SHA-256 of report.json", Shown(text=digest, fixed=True)),
    ]
    return Part(
        title="How to check it",
        name="proof",
        text=(
            (
                "This page proves nothing by itself. The bundle it came in is checked with Python alone, by "
                "verify/check_bundle.py and the log's public key, which must come from somewhere else; README.txt says "
                "how."
            ),
        ),
        rows=tuple((Shown(text=label), value) for label, value in facts),
    )


def _text(value: JsonValue) -> str:
    if not isinstance(value, str):
        raise FormatError("expected text")
    return value


def _texts(value: JsonValue) -> tuple[str, ...]:
    return tuple(printable(_text(one)) for one in list_of(value))
