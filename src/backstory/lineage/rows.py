"""Choosing rows of a source: by position, by key, by predicate."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from backstory.errors import ForbiddenError, NotFoundError, QueryError
from backstory.ledger.ledger import Ledger
from backstory.lineage.impact import Masks
from backstory.lineage.store import source_versions
from backstory.lineage.trace import Tracer
from backstory.records import canonical
from backstory.records.access import Gate
from backstory.records.canonical import JsonObject

_PREFIX_MIN = 6


def select_rows(
    ledger: Ledger,
    tracer: Tracer,
    gate: Gate,
    source: str,
    *,
    rows: Sequence[int] | None,
    keys: Any,
    where: str | None,
    version: str | None,
) -> Masks:
    """Return for each dataset version of a source, by where its positions begin, a mask over its rows.

    See `Archive.impact`.

    Raises:
        NotFoundError: No such source or version, or no row fits.
        QueryError: Not exactly one of rows, keys and where, or a malformed one.
        ForbiddenError: The source is about people and no purpose was given.
    """
    if sum(choice is not None for choice in (rows, keys, where)) != 1:
        raise QueryError("impact: expected exactly one of rows=, keys= and where=")
    positions = None if rows is None else _positions(rows)
    entries = _chosen(ledger, source, version)
    masks: Masks = {}
    if positions is not None:
        masks = _by_position(entries, positions, source)
    else:
        for digest, firsts in _placed(entries).items():
            document = tracer.dataset(digest)
            if document.get("personal") is True:
                if not gate.allows():
                    raise ForbiddenError(f"impact: rows of {source} are about people; open with actor= and purpose=")
                gate.pass_through("impact", ["source"], canonical.count_of(document, "rows"))
            mask = _by_key(tracer, digest, document, keys) if where is None else _by_predicate(tracer, digest, where)
            if mask.any():
                masks |= dict.fromkeys([(digest, first) for first in firsts], mask)
    if not masks:
        raise NotFoundError(f"impact: no row of {source} fits")
    return masks


def _chosen(ledger: Ledger, source: str, version: str | None) -> list[JsonObject]:
    """Return the `source.fixed` entries of a source, of one dataset version if asked, oldest first."""
    entries = ledger.find_entries("source.fixed", source)
    if not entries:
        raise NotFoundError(f"impact: no source called {source!r} was used by a model or a prediction")
    if version is None:
        return entries
    if len(version) < _PREFIX_MIN:
        raise QueryError(f"impact: expected at least {_PREFIX_MIN} digits of a dataset version's digest")
    fitting = [entry for entry in entries if canonical.text_of(entry, "dataset").startswith(version)]
    if not fitting:
        raise NotFoundError(f"impact: no version of {source} has a digest that begins with {version!r}")
    return fitting


def _placed(entries: list[JsonObject]) -> dict[str, set[int]]:
    """Return where the positions of each dataset version begin: parts with equal rows are one version."""
    placed: dict[str, set[int]] = {}
    for entry in entries:
        placed.setdefault(canonical.text_of(entry, "dataset"), set()).add(canonical.count_of(entry, "first"))
    return placed


def _positions(rows: Iterable[int]) -> list[int]:
    try:
        return [operator.index(row) for row in rows]
    except TypeError as error:
        raise QueryError(f"impact: expected rows=[…] with whole numbers: {error}") from error


def _by_position(entries: list[JsonObject], rows: list[int], source: str) -> Masks:
    """Positions count over the parts of the newest version."""
    masks: Masks = {}
    left = set(rows)
    for entry in source_versions(entries)[-1]:
        first, count = canonical.count_of(entry, "first"), canonical.count_of(entry, "rows")
        inside = [row for row in rows if first <= row < first + count]
        left -= set(inside)
        if inside:
            mask = masks[canonical.text_of(entry, "dataset"), first] = np.zeros(count, bool)
            mask[np.array(inside) - first] = True
    if left:
        raise NotFoundError(f"impact: {source} has no row {min(left)}")
    return masks


def _by_key(tracer: Tracer, digest: str, document: JsonObject, keys: Any) -> np.ndarray:
    names = document.get("key")
    columns = [str(name) for name in names] if isinstance(names, list) else []
    if not columns:
        raise QueryError("impact: the source was fixed without a key; choose rows= or where=")
    wanted = keys if isinstance(keys, list) else [keys]
    records = [_key_record(key, columns) for key in wanted]
    table = tracer.columns(digest, columns)
    mask = np.zeros(table.num_rows, bool)
    for record in records:
        hit = np.ones(table.num_rows, bool)
        for name, value in record.items():
            try:
                scalar = pa.scalar(value).cast(table[name].type)
            except (pa.ArrowException, TypeError) as error:
                raise QueryError(
                    f"impact: a value for key column {name!r} is not of type {table[name].type}"
                ) from error
            hit &= pc.fill_null(pc.equal(table[name], scalar), fill_value=False).to_numpy()
        mask |= hit
    return mask


def _key_record(key: Any, columns: list[str]) -> dict[str, Any]:
    if isinstance(key, Mapping):
        record = dict(key)
    else:
        values = key if isinstance(key, tuple) else (key,)
        record = dict(zip(columns, values, strict=False)) if len(values) == len(columns) else {}
    if set(record) != set(columns):
        raise QueryError(f"impact: expected a value for each of {', '.join(columns)}")
    return record


def _by_predicate(tracer: Tracer, digest: str, where: str) -> np.ndarray:
    import duckdb

    table = tracer.columns(digest, sorted(tracer.column_names(digest)))
    with duckdb.connect(":memory:", config={"enable_external_access": "false"}) as connection:
        connection.register("source", table.append_column("__row", pa.array(np.arange(table.num_rows))))
        try:
            hits = connection.execute(f"SELECT __row FROM source WHERE ({where}\n)").fetchnumpy()["__row"]  # noqa: S608
        except duckdb.Error as error:
            raise QueryError(f"impact: {str(error).splitlines()[0]}") from error
    mask = np.zeros(table.num_rows, bool)
    mask[hits] = True
    return mask
