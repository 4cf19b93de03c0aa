"""Dataset versions and what changed between them, laid out for a reader."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from backstory.columns.arrow_type import arrow_type
from backstory.columns.python_value import python_rows, python_value
from backstory.frames.distinct import HASHES_MAX
from backstory.lineage.dataset import DatasetVersion, kept_text
from backstory.lineage.page import Page, Row, Section, facts_section
from backstory.lineage.plain import count_text, label, named, printable, shown, to_second
from backstory.records import canonical
from backstory.records.canonical import JsonObject

if TYPE_CHECKING:
    from backstory.frames.profile import ColumnProfile, Profile
    from backstory.lineage.data_diff import DataDiff

ROWS_LISTED = 10
"""Rows of each kind that a page lists; `to_dict()` has all that were fetched."""
_VALUES_LISTED = 6
_FILES_LISTED = 8
_DIGITS_SHOWN = 12
_MOMENTS = ("timestamp", "date", "time", "duration")
_SAID = ("owner", "purpose", "licence", "basis", "step")


def versions_page(versions: list[DatasetVersion]) -> Page:
    """Return the dataset versions of an archive."""
    rows = tuple(
        Row(
            cells=(
                one.spec,
                f"{one.rows:,}",
                to_second(one.time),
                kept_text(one),
                str(one.about.get("owner") or ""),
                one.digest[:_DIGITS_SHOWN],
            )
        )
        for one in versions
    )
    columns = ("version", "rows", "first recorded", "kept", "owner", "digest")
    sections = (Section(title="Versions", columns=columns, rows=rows),) if rows else ()
    return Page(headline=count_text(len(rows), "dataset version"), sections=sections)


def dataset_page(version: DatasetVersion, profile: Profile | None) -> Page:
    """Return all that is said of a dataset version."""
    about = version.about
    facts = [
        ("digest", version.digest),
        ("ordered root", str(version.document["root"])),
        ("sorted root", version.document.get("sorted")),
        ("key", ", ".join(version.key)),
        ("about people", version.document.get("subject")),
        ("first recorded", to_second(version.time)),
        ("kept", kept_text(version)),
    ]
    said = [(name, about.get(name)) for name in _SAID]
    said += _origin(about.get("origin"))
    said += [(name, _text(about.get(name))) for name in ("external", "parents")]
    said.append(("contract", _verdict(about.get("contract"))))
    sections = [facts_section("What is said of it", [(name, printable(str(value))) for name, value in said if value])]
    sections.append(_columns(version, profile))
    sealed = profile is None and isinstance(about.get("profile"), dict)
    return Page(
        headline=f"{version.spec}: {count_text(version.rows, 'row')} of {count_text(len(version.schema), 'column')}",
        alarms=("its profile was erased, or is sealed: whoever may read its rows sees it",) if sealed else (),
        facts=tuple((name, str(value)) for name, value in facts if value),
        sections=tuple(section for section in sections if section.rows),
    )


def diff_page(diff: DataDiff, limit: int = ROWS_LISTED) -> Page:
    """Return what changed between two tables, the counts first.

    Args:
        diff: The answer.
        limit: How many rows of each kind to list.
    """
    columns, rows = diff.columns, diff.rows
    counts = [
        (count, noun, verb)
        for noun, verb, count in (
            ("row", "added", rows.added),
            ("row", "removed", rows.removed),
            ("row", "changed", rows.changed),
            ("column", "added", len(columns.added)),
            ("column", "removed", len(columns.removed)),
            ("column", "retyped", len(columns.retyped)),
        )
        if count
    ]
    headline = ", ".join(f"{count_text(count, noun)} {verb}" for count, noun, verb in counts)
    if not counts:
        headline = "the same rows in another order" if diff.reordered else "identical: columns, rows and their order"
    found = {
        "key": f"by their key, {', '.join(rows.key)}",
        "position": f"by position: the key, {', '.join(rows.key)}, is the same in each row",
        "content": "by their content, as there is no key in both: a changed row is one removed and one added",
    }
    return Page(
        headline=headline,
        facts=(
            ("before", f"{diff.before}: {count_text(diff.rows_before, 'row')}"),
            ("after", f"{diff.after}: {count_text(diff.rows_after, 'row')}"),
            ("rows are found", found[rows.way]),
        ),
        sections=tuple(section for section in _diff_sections(diff, limit) if section.rows),
    )


def _diff_sections(diff: DataDiff, limit: int) -> Iterator[Section]:
    columns, rows = diff.columns, diff.rows
    facts = [(name, ", ".join(map(label, getattr(columns, name)))) for name in ("added", "removed", "changed")]
    facts += [(f"type of {label(name)}", f"{old} before, {new} after") for name, (old, new) in columns.retyped.items()]
    facts.append(("same", f"{len(columns.same)}"))
    yield facts_section("Columns", [fact for fact in facts if fact[1]])
    changes = tuple(
        Row(
            cells=(
                named(change.key) if change.key else f"{change.before}",
                "\n".join(f"{label(name)} {shown(old)} → {shown(new)}" for name, (old, new) in change.cells.items()),
            )
        )
        for change in rows.changes[:limit]
    )
    yield Section(title=f"Rows changed{_first(rows.changed, limit)}", columns=("row", "before → after"), rows=changes)
    for title, count, places, table in (
        ("Rows added", rows.added, rows.added_positions, rows.added_rows),
        ("Rows removed", rows.removed, rows.removed_positions, rows.removed_rows),
    ):
        values = python_rows(table.slice(0, limit))
        cells = tuple(Row(cells=(f"{at}", named(row))) for at, row in zip(places, values, strict=False))
        yield Section(title=f"{title}{_first(count, limit)}", columns=("position", "row"), rows=cells)


def _first(count: int, limit: int) -> str:
    return f": the first {limit} of {count:,}" if count > limit else ""


def _columns(version: DatasetVersion, profile: Profile | None) -> Section:
    types = {name: type_ if isinstance(type_, str) else _nested(type_) for name, type_ in version.schema.items()}
    if profile is None:
        rows = tuple(Row(cells=(label(name), type_)) for name, type_ in types.items())
        return Section(title="Columns", columns=("column", "type"), rows=rows)
    rows = tuple(
        Row(cells=(label(one.name), types.get(one.name, ""), f"{one.nulls:,}", _distinct(one), _range(one)))
        for one in profile.columns
    )
    return Section(title="Columns", columns=("column", "type", "nulls", "distinct", "values"), rows=rows)


def _distinct(profile: ColumnProfile) -> str:
    """Return how many values are distinct; of many it is an estimate, and said to be one."""
    return f"{profile.distinct:,}" if profile.distinct <= HASHES_MAX else f"about {profile.distinct:,}"


def _range(profile: ColumnProfile) -> str:
    """Return the values of a column: all where they are few, else the least, the median and the greatest."""
    nans = f", {profile.nans:,} NaN" if profile.nans else ""
    if profile.values is not None and len(profile.values) <= _VALUES_LISTED:
        return ", ".join(shown(value) for value in profile.values) + nans
    if profile.minimum is None or profile.maximum is None:
        return nans.removeprefix(", ")
    median = (profile.quantiles([0.5]) or [0.0])[0]
    text = " … ".join(_measure(value, profile.type) for value in (profile.minimum, median, profile.maximum))
    is_length = profile.type in ("string", "bytes") or isinstance(profile.type, dict)
    return (f"of length {text}" if is_length else text) + nans


def _measure(value: float | Decimal, type_: Any) -> str:
    if isinstance(type_, str) and type_.startswith(_MOMENTS):
        whole = pa.scalar(int(value), pa.int32() if type_ == "date" else pa.int64())
        return shown(python_value(whole.cast(arrow_type(type_))))
    if isinstance(value, float) and not (isinstance(type_, str) and type_.startswith(("float", "decimal"))):
        return f"{value:.0f}"
    return f"{value:.6g}" if isinstance(value, float) else f"{value}"


def _nested(type_: Any) -> str:
    if isinstance(type_, dict) and "list" in type_:
        return f"list of {_nested(type_['list'])}"
    return "struct" if isinstance(type_, dict) else str(type_)


def _origin(said: Any) -> list[tuple[str, str]]:
    """Return where a version was read from, a fact on a line."""
    if not isinstance(said, dict):
        return []
    files = [file for file in said.get("files") or () if isinstance(file, dict)]
    told = [_file(file) for file in files[:_FILES_LISTED]]
    told += [f"… {count_text(len(files), 'file')} in all"] if len(files) > _FILES_LISTED else []
    place = said.get("path") or said.get("engine") or said.get("topic") or ""
    own = {"system", "path", "engine", "topic", "extracted", "files", "query"}
    rest = {name: value for name, value in said.items() if name not in own}
    query = said.get("query")
    return [
        ("read from", " ".join(str(part) for part in (said.get("system"), place) if part)),
        ("", "a path as seen from the archive" if str(said.get("path") or "").startswith("../") else ""),
        ("read at", to_second(str(said["extracted"])) if said.get("extracted") else ""),
        ("files" if len(files) > 1 else "file", "\n".join(told)),
        ("query", named(query) if isinstance(query, dict) else str(query or "")),
        ("read how", named(rest)),
    ]


def _file(file: JsonObject) -> str:
    """Return what is known of a file that was read; of one with people a digest under the archive's key."""
    kind = "sha256" if "sha256" in file else "hmac"
    parts = (
        file.get("name"),
        f"{canonical.count_of(file, 'size'):,} bytes",
        f"{kind} {str(file.get(kind))[:_DIGITS_SHOWN]}",
    )
    return ", ".join(str(part) for part in parts if part)


def _verdict(said: Any) -> str:
    """Return what was found of a version's contract."""
    if not isinstance(said, dict):
        return ""
    broken = [
        f"{rule.get('id')} ({rule.get('severity')})" for rule in said.get("rules") or () if isinstance(rule, dict)
    ]
    told = f"{said.get('verdict')} by {said.get('id')} {said.get('version')}, {said.get('checked')} rules"
    return f"{told}; broken: {', '.join(broken)}" if broken else told


def _text(said: Any) -> str:
    if isinstance(said, list):
        return ", ".join(str(one)[:_DIGITS_SHOWN] for one in said)
    return named(said) if isinstance(said, dict) else ""
