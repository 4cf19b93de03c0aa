"""Choosing rows of a source: by position, by key, by predicate."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from backstory.errors import ForbiddenError, NotFoundError, QueryError
from backstory.frames.token import ROW_PREFIX
from backstory.ledger.ledger import Ledger
from backstory.lineage.impact import Masks
from backstory.lineage.predicate import require_predicate, wrong_predicate
from backstory.lineage.reference import Part
from backstory.lineage.store import read_snapshot
from backstory.lineage.trace import Tracer
from backstory.records import canonical
from backstory.records.access import Gate
from backstory.records.canonical import JsonObject
from backstory.records.names import names_instead

_PREFIX_MIN = 6
_NAMED_MAX = 10
_SHOWN_DIGITS = 12
_KEY_SECONDS = frozenset({"s", "ms", "us", "ns"})
_ROW = ROW_PREFIX
"""Name of the column with a row's number: no source has a column that begins so."""

Rows: TypeAlias = "int | Sequence[int] | Sequence[bool]"
"""Positions, or whether each row is meant."""


def select_rows(
    ledger: Ledger,
    tracer: Tracer,
    gate: Gate,
    source: str,
    *,
    rows: Rows | None,
    keys: Any,
    where: str | None,
    version: str | None,
) -> Masks:
    """Return for each dataset version of a source, by where its positions begin, a mask over its rows.

    See `Archive.impact`.

    Raises:
        NotFoundError: No such source or version, no row fits, or a position or key is of no row.
        QueryError: Not exactly one of rows, keys and where, or a malformed one.
        ForbiddenError: The source is about people and no purpose was given.
    """
    if sum(choice is not None for choice in (rows, keys, where)) != 1:
        raise QueryError("impact: expected exactly one of rows=, keys= and where=")
    if rows is not None:
        positions = _positions(rows)
        masks = _by_position(_chosen(ledger, source, version), positions, source)
    elif where is not None:
        require_predicate(where, "impact")
        masks = {}
        for digest, places, _ in _opened(tracer, gate, source, _chosen(ledger, source, version)):
            masks |= dict.fromkeys(places, _by_predicate(ledger, digest, where))
    else:
        wanted = _listed(keys)
        missing = set(range(len(wanted)))
        masks = {}
        for digest, places, document in _opened(tracer, gate, source, _chosen(ledger, source, version)):
            masks |= dict.fromkeys(places, _by_key(tracer, digest, document, wanted, missing))
        _require_none(missing, len(wanted), source)
    masks = {place: mask for place, mask in masks.items() if mask.any()}
    if not masks:
        raise NotFoundError(f"impact: no row of {source} fits")
    return masks


def _opened(
    tracer: Tracer, gate: Gate, source: str, entries: list[JsonObject]
) -> Iterator[tuple[str, list[tuple[str, int]], JsonObject]]:
    """Yield the dataset versions whose values may be looked at: digest, where positions begin, document."""
    for digest, firsts in _placed(entries).items():
        document = tracer.dataset(digest)
        if document.get("personal") is True:
            if not gate.allows():
                raise ForbiddenError(f"impact: rows of {source} are about people; give an actor and a purpose")
            gate.pass_through("impact", ["source"], canonical.count_of(document, "rows"))
        yield digest, [(digest, first) for first in firsts], document


def _require_none(missing: set[int], keys: int, source: str) -> None:
    if missing:
        named = ", ".join(map(str, sorted(missing)[:_NAMED_MAX])) + (", …" if len(missing) > _NAMED_MAX else "")
        raise NotFoundError(f"impact: {source} has no row with {len(missing)} of {keys} keys (counted from 0: {named})")


def _chosen(ledger: Ledger, source: str, version: str | None) -> list[JsonObject]:
    """Return the `source.fixed` entries of a source, of one dataset version if asked, oldest first."""
    entries = ledger.find_entries("source.fixed", source)
    if not entries:
        used = {canonical.text_of(entry, "name") for entry in ledger.find_entries("source.fixed")}
        raise NotFoundError(
            f"impact: no source called {source!r} was used by a model or a prediction{names_instead(source, used)}"
        )
    if version is None:
        return entries
    if not isinstance(version, str) or len(version) < _PREFIX_MIN:
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


def _positions(rows: Rows) -> list[int] | np.ndarray:
    """Return positions, or a mask as an array."""
    try:
        given = list(rows if isinstance(rows, Iterable) else [rows])
        is_bool = {isinstance(row, bool | np.bool_) for row in given}
        if is_bool == {True}:
            return np.array(given, bool)
        if True not in is_bool:
            return [operator.index(row) for row in given]
    except TypeError:
        pass
    raise QueryError("impact: expected rows=[…] with positions, or True or False for every row")


def _by_position(entries: list[JsonObject], rows: list[int] | np.ndarray, source: str) -> Masks:
    """Return masks over the parts of the one version there is: in another a position would be of another row."""
    masks: Masks = {}
    parts = _parts(entries, source)
    if isinstance(rows, np.ndarray):
        end = parts[-1].end
        if len(rows) != end:
            raise QueryError(
                f"impact: expected rows=[…] with True or False for {end} rows of {source}, got {len(rows)}"
            )
        rows = np.flatnonzero(rows).tolist()
    left = set(rows)
    for part in parts:
        inside = [row for row in rows if part.first <= row < part.end]
        left -= set(inside)
        if inside:
            mask = masks[part.dataset, part.first] = np.zeros(part.rows, bool)
            mask[np.array(inside) - part.first] = True
    if left:
        raise NotFoundError(f"impact: {source} has no row {min(left)}")
    return masks


def _parts(entries: list[JsonObject], source: str) -> list[Part]:
    """Return the parts of a source by position, after insisting that no two versions hold the same positions."""
    found = {
        Part(
            dataset=canonical.text_of(entry, "dataset"),
            first=canonical.count_of(entry, "first"),
            rows=canonical.count_of(entry, "rows"),
        )
        for entry in entries
    }
    parts = sorted(found, key=lambda part: (part.first, part.dataset))
    if any(after.first < before.end for before, after in pairwise(parts)):
        digests = list(dict.fromkeys(canonical.text_of(entry, "dataset") for entry in reversed(entries)))
        named = ", ".join(digest[:_SHOWN_DIGITS] for digest in digests[:_NAMED_MAX])
        raise QueryError(
            f"impact: {source} has {len(digests)} versions, and a position is of a row in one of them: give a version, "
            f"the newest first {named}{', …' if len(digests) > _NAMED_MAX else ''}; or keys or a predicate"
        )
    return parts


def _listed(keys: Any) -> list[Any]:
    """Return the keys that are asked for: those of a list, array or series, or the one key given."""
    is_one = isinstance(keys, str | bytes | tuple | Mapping)
    if is_one or not isinstance(keys, Iterable) or getattr(keys, "ndim", 1) == 0:
        return [keys]
    return list(keys.to_pylist() if hasattr(keys, "to_pylist") else keys)


def _by_key(tracer: Tracer, digest: str, document: JsonObject, keys: list[Any], missing: set[int]) -> np.ndarray:
    """Return a mask over the rows with these keys, and take the places of keys that have a row off `missing`."""
    names = document.get("key")
    columns = [str(name) for name in names] if isinstance(names, list) else []
    if not columns:
        raise QueryError("impact: the source was fixed without a key; choose rows= or where=")
    records = [_key_record(key, columns) for key in keys]
    table = tracer.columns(digest, columns)
    mask = np.zeros(table.num_rows, bool)
    for place, record in enumerate(records):
        hit = np.ones(table.num_rows, bool)
        for name, value in record.items():
            scalar = _key_scalar(value, name, table[name].type)
            hit &= pc.fill_null(pc.equal(table[name], scalar), fill_value=False).to_numpy()
        if hit.any():
            missing.discard(place)
            mask |= hit
    return mask


def _key_scalar(value: Any, name: str, type_: pa.DataType) -> pa.Scalar:
    """Return a key's value as one of its column's type."""
    if isinstance(value, np.datetime64) and np.datetime_data(value.dtype)[0] not in _KEY_SECONDS:
        value = value.astype("datetime64[s]")  # Arrow has no whole days or minutes
    if isinstance(value, bool | np.bool_) and not pa.types.is_boolean(type_):
        raise QueryError(f"impact: a value for key column {name!r} is not of type {type_}")
    try:
        return pa.scalar(value).cast(type_)
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        raise QueryError(f"impact: a value for key column {name!r} is not of type {type_}") from None


def _key_record(key: Any, columns: list[str]) -> dict[str, Any]:
    if isinstance(key, Mapping):
        record = dict(key)
    else:
        values = key if isinstance(key, tuple) else (key,)
        record = dict(zip(columns, values, strict=False)) if len(values) == len(columns) else {}
    if set(record) != set(columns):
        raise QueryError(f"impact: expected a value for each of {', '.join(columns)}")
    return record


def _by_predicate(ledger: Ledger, digest: str, where: str) -> np.ndarray:
    import duckdb

    table = read_snapshot(ledger, digest)
    numbered = table.append_column(_ROW, pa.array(np.arange(table.num_rows)))
    with duckdb.connect(":memory:", config={"enable_external_access": "false"}) as connection:
        connection.register("source", numbered)
        try:
            hits = connection.execute(f"SELECT {_ROW} FROM source WHERE ({where}\n)").fetchnumpy()[_ROW]  # noqa: S608
        except duckdb.Error as error:
            raise wrong_predicate(error, "impact") from None
    mask = np.zeros(table.num_rows, bool)
    mask[hits] = True
    return mask
