"""Factors from lineage: the dataset version, file and row a prediction was made of, what the row holds, and groups."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from backstory.columns.arrow_type import decoded, unchunked
from backstory.columns.python_value import python_rows
from backstory.debug.case import Workshop
from backstory.debug.rootcause_asked import QUESTION
from backstory.debug.rootcause_columns import (
    FactorColumn,
    Level,
    binned,
    coded,
    days,
    has_many_values,
    is_number,
    listed,
    texts,
)
from backstory.errors import InputError, NotFoundError
from backstory.lineage.dataset import DatasetVersion, list_versions
from backstory.lineage.plain import named
from backstory.lineage.reference import Part, Reference
from backstory.records import canonical
from backstory.records.access import Scope
from backstory.records.canonical import JsonObject

if TYPE_CHECKING:
    from numpy.typing import NDArray

_UNMATCHED = ("a row", "no row", "broken")


@dataclass(slots=True, kw_only=True, eq=False)
class LeftOut:
    """Factors that were not looked at, by reason."""

    names: dict[str, list[str]] = field(default_factory=dict)

    def add(self, reason: str, name: str) -> None:
        """Note one."""
        self.names.setdefault(reason, []).append(name)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SourceRows:
    """The rows of one source that predictions refer to, whatever version they are of.

    Attributes:
        name: The source's name.
        parts: The dataset versions, each with where its rows begin among all.
        rows: For each prediction the number of its row among all; −1 without one.
    """

    name: str
    parts: dict[Part, int]
    rows: NDArray[np.int64]

    def place(self, row: int) -> tuple[Part, int]:
        """Return the part a row is of, and its position."""
        part, start = next((p, s) for p, s in self.parts.items() if s <= row < s + p.rows)
        return part, part.first + row - start


def source_rows(
    references: Mapping[int, Reference], contexts: NDArray[np.int32], positions: NDArray[np.int64]
) -> SourceRows | None:
    """Return which rows a reference to a source leads to; None where it leads to none anywhere.

    Args:
        references: The reference as each context has it, by the context's number.
        contexts: The number of each prediction's context.
        positions: The position of each prediction.
    """
    rows = np.full(len(positions), -1, np.int64)
    parts: dict[Part, int] = {}
    end = 0
    for number, reference in references.items():
        own = contexts == number
        for part in reference.parts:
            if part not in parts:
                parts[part] = end
                end += part.rows
            inside = own & (positions >= part.first) & (positions < part.end)
            rows[inside] = positions[inside] - part.first + parts[part]
    names = {reference.name for reference in references.values()}
    return SourceRows(name=min(names), parts=parts, rows=rows) if parts else None


def source_factors(shop: Workshop, reference: str, found: SourceRows, left_out: LeftOut) -> Iterator[FactorColumn]:
    """Yield the factors of a source: version, part, file, contract, row, and what the rows hold."""
    of_row = np.repeat(np.arange(len(found.parts), dtype=np.int32), [part.rows for part in found.parts])
    number = np.where(found.rows >= 0, of_row[np.maximum(found.rows, 0)], -1).astype(np.int32)
    yield from _version_factors(shop, reference, found, number)
    yield _row_factor(shop, reference, found)
    yield from _attribute_factors(shop, reference, found, left_out)


def match_factor(reference: str, positions: NDArray[np.int64]) -> FactorColumn:
    """Return whether predictions have a row of a reference at all."""
    codes = np.where(positions >= 0, 0, np.where(positions == -1, 1, 2)).astype(np.int32)
    return listed(codes, _UNMATCHED).column(f"{reference}: match", "source", reference)


def group_factor(
    shop: Workshop,
    reference: str,
    references: Mapping[int, Reference],
    contexts: NDArray[np.int32],
    positions: NDArray[np.int64],
) -> FactorColumn:
    """Return which group a reference leads to."""
    codes = np.full(len(positions), -1, np.int64)
    starts: dict[str, int] = {}
    end = 0
    for number, one in references.items():
        if one.group is None:
            continue
        if one.group not in starts:
            starts[one.group] = end
            end += canonical.count_of(shop.ledger.document(one.group), "groups")
        own = (contexts == number) & (positions >= 0)
        codes[own] = positions[own] + starts[one.group]

    def label(code: int) -> str:
        group, start = next((g, s) for g, s in reversed(starts.items()) if s <= code)
        return _group_label(shop, group, code - start)

    return FactorColumn(
        name=reference, level="group", codes=codes.astype(np.int32), values=end, label=label, reference=reference
    )


def _group_label(shop: Workshop, group: str, number: int) -> str:
    """Return what a group is of, where the rows of one of its sources have its key; else its number."""
    document = shop.ledger.document(group)
    by = document.get("by")
    columns = [str(name) for name in by] if isinstance(by, list) else []
    if isinstance(document.get("sealed_edges"), str):
        return f"group {number}"
    edges = shop.tracer.edges(group)
    for name, reference in edges.refs.items():
        members = edges.members(number, name)
        members = members[members >= 0]
        if reference.personal or reference.group is not None or not len(members):
            continue
        row = shop.tracer.row(reference.part_of(int(members[0])), int(members[0]))
        if columns and set(columns) <= set(row.column_names):
            return named(python_rows(row.select(columns))[0])
    return f"group {number}"


def _version_factors(
    shop: Workshop, reference: str, found: SourceRows, number: NDArray[np.int32]
) -> Iterator[FactorColumn]:
    """Yield what is said of the dataset versions of the rows."""
    known = sorted(list_versions(shop.ledger, found.name), key=lambda one: one.time, reverse=True)
    versions = {one.digest: one for one in known}  # the same rows may be fixed again by another name: the first counts
    said: dict[str, list[str | None]] = {"version": [], "part": [], "file": [], "contract": []}
    for part in found.parts:
        version = versions.get(part.dataset)
        verdict = shop.tracer.verdicts.of(part.dataset)
        said["version"].append(_version_text(part, version, said["version"]))
        said["part"].append(None if version is None else version.part)
        said["file"].append(None if version is None else _file(version.about.get("origin")))
        said["contract"].append(None if verdict is None else str(verdict.get("verdict")))
    levels: dict[str, Level] = {"version": "source", "part": "file", "file": "file", "contract": "source"}
    for what, level in levels.items():
        codes = texts(said[what]).take(number)
        yield codes.column(f"{reference}: {what}", level, reference)


def _version_text(part: Part, version: DatasetVersion | None, before: list[str | None]) -> str:
    """Return what a version is called; two of one name, as a part fixed twice in a session, by their digests, too."""
    name = part.dataset[:12] if version is None else version.spec
    return f"{name} {part.dataset[:12]}" if name in before else name


def _file(origin: object) -> str | None:
    """Return the names of the files a version was read from; of those of people there are none."""
    if not isinstance(origin, dict):
        return None
    files: object = origin.get("files")
    names = (
        [str(one["name"]) for one in files if isinstance(one, dict) and "name" in one]
        if isinstance(files, list)
        else []
    )
    return ", ".join(names) or None


def _row_factor(shop: Workshop, reference: str, found: SourceRows) -> FactorColumn:
    """Return which row it is, numbered among those that are referred to."""
    used = np.zeros(sum(part.rows for part in found.parts), bool)
    used[found.rows[found.rows >= 0]] = True
    numbers = np.cumsum(used, dtype=np.int64) - 1
    rows = np.flatnonzero(used)

    def label(code: int) -> str:
        part, position = found.place(int(rows[code]))
        document = shop.tracer.dataset(part.dataset)
        keys = document.get("key")
        columns = [str(name) for name in keys] if isinstance(keys, list) else []
        values = python_rows(shop.tracer.row(part, position).select(columns))[0] if columns else {}
        return f"row {position}" + (f" ({named(values)})" if values else "")

    codes = np.where(found.rows >= 0, numbers[np.maximum(found.rows, 0)], -1).astype(np.int32)
    return FactorColumn(
        name=f"{reference}: row", level="row", codes=codes, values=len(rows), label=label, reference=reference
    )


def _attribute_factors(shop: Workshop, reference: str, found: SourceRows, left_out: LeftOut) -> Iterator[FactorColumn]:
    """Yield what the rows hold; numbers in bins of as many predictions each."""
    tables, keys = [], set()
    for part in found.parts:
        document = shop.tracer.dataset(part.dataset)
        if document.get("personal") is True:
            if not shop.gate.allows():
                left_out.add("sealed", f"{reference}.*")
                return
            shop.gate.pass_through(QUESTION, ["source"], part.rows, Scope(dataset=part.dataset))
        try:
            tables.append(shop.tracer.columns(part.dataset, None))
        except NotFoundError:
            left_out.add("erased", f"{reference}.*")
            return
        keys |= _names(document, "key")
    for name in dict.fromkeys(name for table in tables for name in table.column_names):
        try:
            values = _joined(tables, name)
        except pa.ArrowException:
            left_out.add("of a type that cannot be compared", f"{reference}.{name}")
            continue
        yield from value_factors(f"{reference}.{name}", values, found.rows, reference, left_out, is_key=name in keys)


def _names(document: JsonObject, member: str) -> set[str]:
    names = document.get(member)
    return {str(name) for name in names} if isinstance(names, list) else set()


def _joined(tables: list[pa.Table], name: str) -> pa.Array:
    parts = [pa.table({name: t[name] if name in t.column_names else pa.nulls(t.num_rows)}) for t in tables]
    return decoded(unchunked(pa.concat_tables(parts, promote_options="permissive")[name]))


def value_factors(
    name: str,
    values: pa.Array,
    rows: NDArray[np.int64],
    reference: str,
    left_out: LeftOut,
    *,
    is_key: bool = False,
) -> Iterator[FactorColumn]:
    """Yield a column of rows as a factor of the predictions that have these rows, and the days of its moments.

    Args:
        name: Name of the factor.
        values: The column.
        rows: The row of each prediction; −1 without one.
        reference: The reference it comes through.
        left_out: Where a column is noted whose values cannot be compared.
        is_key: Whether the values name something, so that numbers are no quantities.
    """
    if is_number(values.type) and not is_key:
        there = values.take(pa.array(np.maximum(rows, 0)))
        if has_many_values(there):
            bins = binned(there)
            yield replace(bins, codes=np.where(rows >= 0, bins.codes, -1)).column(name, "attribute", reference)
            return
    moments = days(values)
    try:
        if moments is not None:
            yield coded(moments).take(rows).column(f"{name}: day", "day", reference)
        yield coded(values).take(rows).column(name, "attribute", reference)
    except InputError:
        left_out.add("of a type that cannot be compared", name)
