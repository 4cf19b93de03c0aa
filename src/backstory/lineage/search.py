"""Predictions by an SQL predicate: DuckDB over the segments, record for record what was sealed, and the spool.

Sees the open columns only; what is sealed cannot be searched here.
"""

from __future__ import annotations

import operator
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from backstory.columns.arrow_type import arrow_type
from backstory.columns.id_text import id_texts
from backstory.columns.seal import pick_columns
from backstory.errors import FormatError, QueryError, StorageError
from backstory.frames.relation import quoted
from backstory.ledger.ledger import Ledger
from backstory.ledger.read import SegmentFile, records_now, segment_files
from backstory.lineage.hits import Hits
from backstory.lineage.predicate import (
    checked_predicate,
    compared_columns,
    in_memory,
    require_told_apart,
    wrong_predicate,
)
from backstory.lineage.retry import despite_merges
from backstory.lineage.search_values import fitted_values
from backstory.records import canonical
from backstory.records.canonical import JsonValue
from backstory.records.envelope import PREDICTION
from backstory.records.manifest import Manifest
from backstory.records.schema import Column, Schema, split_name
from backstory.storage.segment import STUB_COLUMN

if TYPE_CHECKING:
    import duckdb

_HIDDEN = ("context", "stream", "kind", "batch_row", "batch_rows", "commitment")
_EXACT_TIME = "time_ns"
"""The time as it was recorded. Predicates see it to the microsecond: DuckDB has no functions for finer ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Question:
    """What is asked.

    Attributes:
        predicate: The predicate.
        where: The same in parentheses.
        compared: For each question mark the columns it is compared with.
        values: Values for the question marks.
        limit: How many rows at most.
        models: Names of the models whose predictions are meant; None for any.
    """

    predicate: str
    where: str
    compared: dict[int, set[str]]
    values: list[Any]
    limit: int | None
    models: frozenset[str] | None


def search_predictions(
    ledger: Ledger,
    predicate: str,
    values: Sequence[Any],
    limit: int | None,
    *,
    models: frozenset[str] | None = None,
) -> Hits:
    """Return the predictions for which an SQL predicate holds, oldest first.

    Args:
        ledger: The archive.
        predicate: An SQL expression over `model`, `version`, `time`, `status`, `error`, `output`, `decision`, `seq`,
            `request_id`, `is_sealed`, `feature.<name>`, `row.<name>`; `?` for values. DuckDB's dialect.
        values: Values for the question marks.
        limit: How many rows at most; None for all.
        models: Only predictions of these models, by name; None for any.

    Returns:
        Predictions without a column the predicate names, or with one of a type it cannot compare, are not among them.

    Raises:
        QueryError: The predicate is malformed, or names a column no prediction has; the limit is no number of rows.
        StorageError: A segment cannot be read.
        FormatError: A segment does not decode.
        VerificationError: A segment was changed.
    """
    question = _Question(
        predicate=predicate,
        where=checked_predicate(predicate, "search"),
        compared=compared_columns(predicate),
        values=list(values),
        limit=_rows_at_most(limit),
        models=models,
    )
    return despite_merges(ledger, lambda: _search_now(ledger, question))


def _rows_at_most(limit: int | None) -> int | None:
    try:
        rows = None if limit is None else operator.index(limit)
    except TypeError:
        rows = -1
    if rows is not None and rows < 0:
        raise QueryError("search: expected a limit that is a whole number of rows")
    return rows


def _search_now(ledger: Ledger, question: _Question) -> Hits:
    import duckdb

    found: list[tuple[pa.Table, Schema]] = []
    problem: Exception | None = None
    total = not_compared = 0
    unread: set[str] = set()
    waiting: dict[str, list[pa.Table]] = {}
    sealed, unsealed = records_now(ledger, PREDICTION)
    named = _contexts(ledger, sealed, unsealed)
    if question.models is not None:
        named = named.filter(pc.is_in(named["model"], pa.array(question.models, pa.string())))
    files = segment_files(ledger, sealed)
    for schema, table in unsealed:
        opened = pick_columns(table, [column.name for column in schema.open_columns])
        waiting.setdefault(schema.digest, []).append(opened)
    schemas = [ledger.schema(digest) for digest in sorted(set(files) | set(waiting))]
    values = fitted_values(question.values, question.compared, schemas)
    for schema in schemas:
        segments, tables = files.get(schema.digest, []), waiting.get(schema.digest, [])
        for members in _members(schema).values():
            require_told_apart(question.predicate, members, "search")
        asked = replace(question, values=values[schema.digest])
        try:
            table, count = _query(named, schema, segments, tables, asked)
        except duckdb.BinderException as error:  # records of other schemas may have the column
            if schema.groups and _fits_unsealed(named, schema, asked):
                not_compared += sum(manifest.count for _, manifest in sealed if manifest.schema == schema.digest)
                not_compared += sum(table.num_rows for table in tables)
                unread.add(schema.digest)
            else:
                problem = error
            continue
        found.append((table, schema))
        total += count
    if not found and not not_compared and problem is not None:
        raise wrong_predicate(problem, "search") from None
    return Hits(total=total, not_compared=not_compared, parts=found, limit=question.limit, unread=frozenset(unread))


def _members(schema: Schema) -> dict[tuple[str, ...], dict[str, None]]:
    """Return the names that are beside each other in a struct, of the open columns."""
    members: dict[tuple[str, ...], dict[str, None]] = {}
    for column in schema.open_columns:
        parts = split_name(column.name)
        for depth, name in enumerate(parts):
            members.setdefault(tuple(parts[:depth]), {})[name] = None
    return members


def _query(
    named: pa.Table, schema: Schema, segments: list[SegmentFile], tables: list[pa.Table], asked: _Question
) -> tuple[pa.Table, int]:
    """Return the records of a schema for which the predicate holds, the oldest, and how many there are in all."""
    import duckdb

    paths = [str(segment.path) for segment in segments]
    with duckdb.connect(":memory:") as connection:
        if paths:
            quoted = ", ".join(_as_literal(path) for path in paths)
            try:
                connection.execute(f"CREATE VIEW sealed AS {_sealed_rows(segments)}")
            except duckdb.Error as error:
                raise _unreadable(error, paths) from error
            connection.execute(f"SET allowed_paths = [{quoted}]")
        connection.execute("SET enable_external_access = false")
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute("SET lock_configuration = true")
        if tables:
            connection.register("unsealed", pa.concat_tables(tables))
            connection.execute("CREATE VIEW waiting AS SELECT *, false AS is_sealed FROM unsealed")
        connection.register("named", named)
        source, columns = _source(schema, schema.open_columns, sealed=bool(paths), waiting=bool(tables))
        last = "" if asked.limit is None else f" ORDER BY {_EXACT_TIME}, seq LIMIT {asked.limit}"
        select = f"SELECT {columns} FROM {source} WHERE"  # noqa: S608  own names, quoted
        found = _flat(_fetch(connection, (select, asked.where), last, asked.values, paths))
        if found.num_rows != asked.limit:
            return found, found.num_rows
        counting = f"SELECT count(*) FROM {source} WHERE"  # noqa: S608
        counted = _fetch(connection, (counting, asked.where), "", asked.values, paths)
        return found, int(counted[0][0].as_py())


def _sealed_rows(segments: list[SegmentFile]) -> str:
    """Return the SQL of all records in segments, of some only those before a sequence number."""
    alike: dict[tuple[int | None, bool], list[SegmentFile]] = {}
    for segment in segments:
        alike.setdefault((segment.end_seq, segment.trimmed), []).append(segment)
    parts = []
    for (end, trimmed), same in alike.items():
        paths = ", ".join(_as_literal(str(segment.path)) for segment in same)
        columns = f'* EXCLUDE ("{STUB_COLUMN}")' if trimmed else "*"
        there = [*(["id IS NOT NULL"] if trimmed else []), *([] if end is None else [f"seq < {end}"])]
        only = f" WHERE {' AND '.join(there)}" if there else ""
        parts.append(f"SELECT {columns}, true AS is_sealed FROM read_parquet([{paths}]){only}")  # noqa: S608  own paths
    return " UNION ALL BY NAME ".join(parts)


def _as_literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _fits_unsealed(named: pa.Table, schema: Schema, asked: _Question) -> bool:
    """Say whether a predicate would fit records of a schema if nothing in them were sealed."""
    import duckdb

    whole = pa.schema(_fields([(split_name(column.name), column.type) for column in schema.columns]))
    source, columns = _source(schema, schema.columns, sealed=False, waiting=True)
    with in_memory() as connection:
        connection.register("unsealed", whole.empty_table())
        connection.execute("CREATE TEMP VIEW waiting AS SELECT *, false AS is_sealed FROM unsealed")
        connection.register("named", named)
        try:
            connection.sql(f"SELECT {columns} FROM {source} WHERE {asked.where}", params=asked.values).fetchall()  # noqa: S608
        except duckdb.Error:
            return False
    return True


def _fields(columns: list[tuple[list[str], JsonValue]]) -> list[pa.Field]:
    """Return the Arrow fields of flattened columns."""
    tops: dict[str, list[tuple[list[str], JsonValue]]] = {}
    for (top, *rest), type_ in columns:
        tops.setdefault(top, []).append((rest, type_))
    return [
        pa.field(name, pa.struct(_fields(inner)) if inner[0][0] else arrow_type(inner[0][1]))
        for name, inner in tops.items()
    ]


def _source(schema: Schema, columns: Sequence[Column], *, sealed: bool, waiting: bool) -> tuple[str, str]:
    """Return the SQL of all records of a schema with their models, and which of its columns are shown.

    Members of structs can be named in two ways: `feature."mean radius"`, and `"feature.mean radius"` as in answers.
    """
    members: dict[str, tuple[str, str, str]] = {}
    for column in columns:
        top, *rest = split_name(column.name)
        if rest and top not in _HIDDEN:
            members.setdefault(f"{top}.{rest[0]}".lower(), (f"{top}.{rest[0]}", top, rest[0]))
    named = "".join(f", {quoted(top)}.{quoted(name)} AS {quoted(whole)}" for whole, top, name in members.values())
    hidden = ", ".join(["time", *(quoted(whole) for whole, _, _ in members.values())])
    union = _union(schema, sealed, waiting)
    times = f"* REPLACE (time::TIMESTAMPTZ AS time), time AS {_EXACT_TIME}"
    return f"(SELECT {times}{named} FROM ({union}) JOIN named USING (context))", f"* EXCLUDE ({hidden})"  # noqa: S608


def _union(schema: Schema, sealed: bool, waiting: bool) -> str:  # noqa: FBT001  which of two tables there are
    """Return the SQL of all records of a schema; failed calls have no output and no decision, so theirs is null."""
    tops = {column.name.partition(".")[0] for column in schema.columns}
    absent = {"output": "DOUBLE", "decision": "BOOLEAN"}
    nulls = "".join(f", NULL::{type_} AS {name}" for name, type_ in absent.items() if name not in tops)
    parts = [f"SELECT *{nulls} FROM {table}" for table, there in (("sealed", sealed), ("waiting", waiting)) if there]  # noqa: S608
    return " UNION ALL BY NAME ".join(parts)


def _fetch(
    connection: duckdb.DuckDBPyConnection, query: tuple[str, str], last: str, values: Sequence[Any], paths: list[str]
) -> pa.Table:
    """Run a query; the bytes of the segments were checked, so what fails is the predicate.

    A row for which the predicate cannot be worked out, as a text in it is no number, does not fulfil it: `TRY` says
    so, but hides bounds from the reader of the segments, so it is used only where one failed.

    Args:
        connection: Where the tables are.
        query: What is before the predicate, and the predicate in parentheses.
        last: What follows.
        values: Values for question marks.
        paths: The segments.

    Raises:
        duckdb.BinderException: The predicate does not fit the columns.
        QueryError: It is malformed.
        StorageError: A segment cannot be read.
    """
    import duckdb

    select, where = query

    def run(sql: str) -> pa.Table:
        return connection.sql(sql, params=list(values)).to_arrow_table()

    try:
        return run(f"{select} {where}{last}")
    except duckdb.BinderException:
        raise
    except duckdb.Error as error:
        first = error
    try:
        run(f"{select} {where} LIMIT 0")  # reads no rows: fails only for what is asked, not for what it finds
        return run(f"{select} TRY{where}{last}")
    except duckdb.Error as error:  # TRY has refusals of its own, as of a subquery: what counts is what was said first
        if isinstance(first, duckdb.IOException) or _missing(paths) is not None:
            raise _unreadable(first, paths) from error
    raise wrong_predicate(first, "search") from None


def _unreadable(error: Exception, paths: list[str]) -> StorageError | FormatError:
    """Return what is wrong with the segments; DuckDB's own words may hold values of them."""
    import duckdb

    missing = _missing(paths)
    if missing is not None:
        return missing
    if isinstance(error, duckdb.IOException):
        return StorageError("search: a segment cannot be read; `backstory verify` names it")
    return FormatError("search: a segment does not decode; `backstory verify` names it")


def _missing(paths: list[str]) -> StorageError | None:
    names = [Path(path).name for path in paths if not Path(path).exists()]
    if not names:
        return None
    return StorageError(f"search: segment {names[0]} is not there; `backstory verify` names all that is wrong")


def _contexts(ledger: Ledger, sealed: list[tuple[int, Manifest]], unsealed: list[tuple[Schema, pa.Table]]) -> pa.Table:
    """Return model name and version of every context that a manifest or the spool names."""
    digests = {context for _, manifest in sealed for context in manifest.contexts}
    for _, table in unsealed:
        digests |= {value.hex() for value in table["context"].unique().to_pylist()}
    return _named_contexts(ledger, digests)


def _named_contexts(ledger: Ledger, digests: Collection[str]) -> pa.Table:
    """Return model name and version of contexts."""
    rows = []
    for digest in sorted(digests):
        model = ledger.document(digest).get("model")
        name = canonical.text_of(model, "name") if isinstance(model, dict) else None
        version = int(str(model["version"])) if isinstance(model, dict) else None
        rows.append((bytes.fromhex(digest), name, version))
    return pa.table(
        {
            "context": pa.array([row[0] for row in rows], pa.binary()),
            "model": pa.array([row[1] for row in rows], pa.string()),
            "version": pa.array([row[2] for row in rows], pa.int64()),
        }
    )


def flat_records(ledger: Ledger, table: pa.Table, *, is_sealed: bool) -> pa.Table:
    """Return records in the form in which a search returns them: with their models, structs as columns.

    Args:
        ledger: The archive.
        table: Columns of records: the envelope and others.
        is_sealed: Whether they are in the log.
    """
    contexts = table["context"].to_pylist()
    known = _named_contexts(ledger, {context.hex() for context in contexts}).to_pylist()
    models = {row["context"]: (row["model"], row["version"]) for row in known}
    names, versions = zip(*(models[context] for context in contexts), strict=True)
    table = table.append_column("model", pa.array(names, pa.string()))
    table = table.append_column("version", pa.array(versions, pa.int64()))
    return _flat(table.append_column("is_sealed", pa.repeat(pa.scalar(is_sealed), len(table))))


def _flat(table: pa.Table) -> pa.Table:
    """Return a frame a person can read: ids as text, structs as columns, no internals."""
    table = table.rename_columns(["time" if name == _EXACT_TIME else name for name in table.column_names])
    shown = table.drop_columns([name for name in ("id", *_HIDDEN) if name in table.column_names])
    first = ["time", "model", "version", "status"]
    rest = [name for name in shown.column_names if name not in first]
    return shown.select(first + rest).add_column(0, "id", id_texts(table["id"])).flatten()
