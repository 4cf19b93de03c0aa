"""Choosing rows of a source: by position, by key, by predicate, by how they were loaded."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from backstory.columns.arrow_type import decoded, unchunked
from backstory.errors import ForbiddenError, NotFoundError, QueryError
from backstory.frames.table import without_views
from backstory.frames.token import ROW_PREFIX
from backstory.ledger.ledger import Ledger
from backstory.lineage.dataset import find_versions
from backstory.lineage.loading import Load
from backstory.lineage.plain import count_text
from backstory.lineage.predicate import checked_predicate, in_memory, require_told_apart, wrong_predicate
from backstory.lineage.reach import Chosen, Masks
from backstory.lineage.reference import Part
from backstory.lineage.trace import Tracer
from backstory.records import canonical
from backstory.records.access import Gate, Scope
from backstory.records.canonical import JsonObject
from backstory.records.names import names_instead

if TYPE_CHECKING:
    import duckdb

_PREFIX_MIN = 6
_NAMED_MAX = 10
_SHOWN_DIGITS = 12
_KEY_SECONDS = frozenset({"s", "ms", "us", "ns"})
_ROW = ROW_PREFIX
"""Name of the column with a row's number: no source has a column that begins so."""

ANY_LOAD = Load()
"""However they were loaded."""

Rows: TypeAlias = "int | Sequence[int] | Sequence[bool]"
"""Positions, or whether each row is meant."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Version:
    """A dataset version of a source.

    Attributes:
        digest: Its digest.
        table: Digest of the blob with its rows; None for one about people.
        firsts: Where its positions begin: parts with equal rows are one version.
        document: What is said of it.
    """

    digest: str
    table: str | None
    firsts: tuple[int, ...]
    document: JsonObject


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
    load: Load = ANY_LOAD,
) -> Chosen:
    """Return rows of a source, and the versions in which they could not be looked for.

    See `Archive.impact`.

    Raises:
        NotFoundError: No such source or version, no row fits, or a position or key is of no row.
        QueryError: Not exactly one of rows, keys and where, or a malformed one, or one that fits no version; none of
            them and no load either.
        ForbiddenError: The source is about people and no purpose was given.
    """
    choices = sum(choice is not None for choice in (rows, keys, where))
    if choices > 1 or not (choices or load.is_asked):
        raise QueryError("impact: expected exactly one of rows=, keys= and where=, or loaded=, part= or origin= alone")
    fixed = fixed_entries(ledger, source, version)
    entries = load.choose(ledger, fixed)
    if not entries:
        raise NotFoundError(f"impact: no version of {source} was loaded so{load.instead(ledger, fixed)}")
    if not choices:
        chosen = Chosen(masks=_whole(entries))
    elif rows is not None:
        chosen = Chosen(masks=_by_position(entries, _positions(rows), source))
    elif where is not None:
        chosen = _by_predicate(tracer, _opened(tracer, gate, source, entries), where)
    else:
        wanted = listed_keys(keys)
        missing = set(range(len(wanted)))
        opened = _opened(tracer, gate, source, entries)
        chosen = _in_versions(opened, lambda one: _by_key(tracer, one, wanted, missing))
        _require_none(missing, len(wanted), source, _left_out_text(chosen))
    if not chosen.masks:
        raise NotFoundError(f"impact: no row of {source} fits{_left_out_text(chosen)}")
    return chosen


def _whole(entries: list[JsonObject]) -> Masks:
    """Return masks over all rows of dataset versions."""
    return {
        (canonical.text_of(entry, "dataset"), canonical.count_of(entry, "first")): np.ones(
            canonical.count_of(entry, "rows"), bool
        )
        for entry in entries
    }


def _in_versions(versions: Iterable[_Version], rule: Callable[[_Version], np.ndarray]) -> Chosen:
    """Return the rows that a rule chooses in each version; some may lack a column or be erased, but not all."""
    masks: Masks = {}
    refusals: dict[str, QueryError | NotFoundError] = {}
    count = 0
    for version in versions:
        count += 1
        try:
            mask = rule(version)
        except (QueryError, NotFoundError) as error:
            refusals[version.digest] = error
            continue
        if mask.any():
            masks |= dict.fromkeys(((version.digest, first) for first in version.firsts), mask)
    if len(refusals) == count:
        newest = list(reversed(refusals.values()))
        raise next((refusal for refusal in newest if isinstance(refusal, QueryError)), newest[0])
    left_out = {digest: str(refusal).removeprefix("impact: ") for digest, refusal in refusals.items()}
    return Chosen(masks=masks, left_out=left_out)


def _opened(tracer: Tracer, gate: Gate, source: str, entries: list[JsonObject]) -> Iterator[_Version]:
    """Yield the dataset versions whose values may be looked at, oldest first."""
    placed: dict[str, list[JsonObject]] = {}
    for entry in entries:
        placed.setdefault(canonical.text_of(entry, "dataset"), []).append(entry)
    for digest, of_version in placed.items():
        document, table = tracer.dataset(digest), of_version[0].get("table")
        if document.get("personal") is True:
            if not gate.allows():
                raise ForbiddenError(f"impact: rows of {source} are about people: {gate.lacking()}")
            gate.pass_through("impact", ["source"], canonical.count_of(document, "rows"), Scope(dataset=digest))
        yield _Version(
            digest=digest,
            table=table if isinstance(table, str) else None,
            firsts=tuple({canonical.count_of(entry, "first") for entry in of_version}),
            document=document,
        )


def _left_out_text(chosen: Chosen) -> str:
    if not chosen.left_out:
        return ""
    digest, why = next(iter(chosen.left_out.items()))
    versions = count_text(len(chosen.left_out), "version")
    return f"; not looked at: {versions} of it, such as {digest[:_SHOWN_DIGITS]}: {why}"


def _require_none(missing: set[int], keys: int, source: str, left_out: str) -> None:
    if missing:
        named = ", ".join(map(str, sorted(missing)[:_NAMED_MAX])) + (", …" if len(missing) > _NAMED_MAX else "")
        raise NotFoundError(
            f"impact: {source} has no row with {len(missing)} of {keys} keys (counted from 0: {named}){left_out}",
            missing=sorted(missing),
        )


def fixed_entries(ledger: Ledger, source: str, version: str | None) -> list[JsonObject]:
    """Return the `source.fixed` entries of a source, of one dataset version if asked, oldest first.

    Raises:
        NotFoundError: There is no such source or version.
        QueryError: The version is neither one of the source as `data.show` takes it nor a prefix of a digest.
    """
    entries = ledger.find_entries("source.fixed", source)
    if not entries:
        used = {canonical.text_of(entry, "name") for entry in ledger.find_entries("source.fixed")}
        what = f"no source called {source!r} was used by a model or a prediction{names_instead(source, used)}"
        if ledger.find_entries("group.recorded", source):
            what = f"{source!r} is a group, which has no rows of its own: ask for those of a source it was made of"
        raise NotFoundError(f"impact: {what}")
    if version is None:
        return entries
    if isinstance(version, str) and re.split("[:@]", version, maxsplit=1)[0] == source:
        named = {(one.part, one.digest) for one in find_versions(ledger, version)}
        return [entry for entry in entries if (entry.get("part"), entry["dataset"]) in named]
    if not isinstance(version, str) or len(version) < _PREFIX_MIN:
        raise QueryError(
            f"impact: expected a version such as {source}:1, or {_PREFIX_MIN} or more digits its digest begins with"
        )
    fitting = [entry for entry in entries if canonical.text_of(entry, "dataset").startswith(version)]
    if not fitting:
        raise NotFoundError(f"impact: no version of {source} has a digest that begins with {version!r}")
    return fitting


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
    parts = _parts(entries, source)
    if isinstance(rows, np.ndarray):
        end = parts[-1].end
        if len(rows) != end:
            raise QueryError(
                f"impact: expected rows=[…] with True or False for {end} rows of {source}, got {len(rows)}"
            )
        rows = np.flatnonzero(rows).tolist()
    outside = [row for row in rows if not parts[0].first <= row < parts[-1].end]
    positions = np.array([] if outside else rows, np.int64)
    firsts, ends = np.array([part.first for part in parts]), np.array([part.end for part in parts])
    of_part = np.searchsorted(firsts, positions, side="right") - 1
    outside += positions[positions >= ends[of_part]].tolist()
    if outside:
        raise NotFoundError(f"impact: {source} has no row {min(outside)}")
    masks: Masks = {}
    for number in np.unique(of_part):
        part = parts[number]
        mask = masks[part.dataset, part.first] = np.zeros(part.rows, bool)
        mask[positions[of_part == number] - part.first] = True
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


def listed_keys(keys: Any) -> list[Any]:
    """Return the keys that are asked for: those of a list, array or series, or the one key given."""
    is_one = isinstance(keys, str | bytes | tuple | Mapping)
    if is_one or not isinstance(keys, Iterable) or getattr(keys, "ndim", 1) == 0:
        return [keys]
    return list(keys.to_pylist() if hasattr(keys, "to_pylist") else keys)


def _by_key(tracer: Tracer, version: _Version, keys: list[Any], missing: set[int]) -> np.ndarray:
    """Return a mask over the rows with these keys, and take the places of keys that have a row off `missing`."""
    names = version.document.get("key")
    columns = [str(name) for name in names] if isinstance(names, list) else []
    if not columns:
        raise QueryError("impact: the source was fixed without a key; choose rows= or where=")
    records = [_key_record(key, columns) for key in keys]
    table = tracer.columns(version.digest, version.table, columns)
    of_row, of_key = _key_numbers(table, records)
    found = of_row >= 0
    missing.difference_update(np.flatnonzero(np.isin(of_key, of_row[found])).tolist())
    return found


def _key_numbers(table: pa.Table, records: list[dict[str, Any]]) -> tuple[np.ndarray, np.ndarray]:
    """Number what is asked for; return the number of each row, -1 where it is not asked for, and of each record."""
    of_row, of_key = np.zeros(table.num_rows, np.int64), np.zeros(len(records), np.int64)
    for name in table.column_names:
        own = decoded(unchunked(table[name]))
        scalars = [_key_scalar(record[name], name, own.type) for record in records]
        values, wanted = _comparable(own), _comparable(pa.array(scalars, own.type))
        known = wanted.unique()
        of_row = _joined(of_row, _places(values, known), len(known))
        of_key = _joined(of_key, _places(wanted, known), len(known))
        numbers = pa.array(np.unique(of_key[of_key >= 0]))  # small again, however many columns
        of_row, of_key = _places(pa.array(of_row), numbers), _places(pa.array(of_key), numbers)
    return of_row, of_key


def _joined(first: np.ndarray, second: np.ndarray, count: int) -> np.ndarray:
    return np.where((first >= 0) & (second >= 0), first * count + second, -1)


def _places(values: pa.Array, known: pa.Array) -> np.ndarray:
    places = pc.index_in(values, value_set=known, skip_nulls=True)
    return np.asarray(pc.fill_null(places, -1).to_numpy(zero_copy_only=False), np.int64)


def _comparable(values: pa.Array) -> pa.Array:
    """Return values as Arrow can look them up: of a zero there is one, and there are no views."""
    if pa.types.is_floating(values.type):
        return pc.add(values.cast(pa.float64()), 0.0)
    return without_views(values)


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


def _by_predicate(tracer: Tracer, versions: Iterable[_Version], where: str) -> Chosen:
    predicate = checked_predicate(where, "impact")
    with in_memory() as connection:

        def fulfilling(version: _Version) -> np.ndarray:
            table = tracer.columns(version.digest, version.table)
            require_told_apart(where, [_ROW, *table.column_names], "impact")
            return _fulfilling(connection, table, predicate)

        return _in_versions(versions, fulfilling)


def _fulfilling(connection: duckdb.DuckDBPyConnection, table: pa.Table, predicate: str) -> np.ndarray:
    """Return a mask over the rows for which a predicate holds."""
    import duckdb

    connection.register("source", table.append_column(_ROW, pa.array(np.arange(table.num_rows))))
    try:
        hits = connection.execute(f"SELECT {_ROW} FROM source WHERE {predicate}").fetchnumpy()[_ROW]  # noqa: S608
    except duckdb.Error as error:
        raise wrong_predicate(error, "impact") from None
    mask = np.zeros(table.num_rows, bool)
    mask[hits] = True
    return mask
