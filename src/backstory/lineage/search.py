"""Predictions by an SQL predicate: DuckDB over the segments, record for record what was sealed, and the spool.

Sees the open columns only; what is sealed cannot be searched here.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from backstory.columns.id_text import id_texts
from backstory.columns.seal import pick_columns
from backstory.errors import FormatError, QueryError, StorageError
from backstory.ledger.ledger import Ledger
from backstory.ledger.read import records_now, segment_files
from backstory.records import canonical
from backstory.records.envelope import PREDICTION
from backstory.records.manifest import Manifest
from backstory.records.merge import MERGE_TYPE
from backstory.records.schema import Schema

if TYPE_CHECKING:
    import duckdb

_HIDDEN = ("context", "stream", "kind", "batch_row", "batch_rows", "commitment")


def search_predictions(ledger: Ledger, predicate: str, values: Sequence[Any], limit: int | None) -> pa.Table:
    """Return the predictions for which an SQL predicate holds, oldest first.

    Args:
        ledger: The archive.
        predicate: An SQL expression over `model`, `version`, `time`, `status`, `error`, `output`, `decision`, `seq`,
            `request_id`, `feature.<name>`, `row.<name>`; `?` for values. DuckDB's dialect.
        values: Values for the question marks.
        limit: How many rows at most; None for all.

    Returns:
        One row a prediction; structs become columns such as `feature.x`. The union of the columns of all schemas: a
        column that is of several types is of the wider one where all are numbers, text otherwise. Predictions without
        a column the predicate names, or with one of a type it cannot compare, are not among them.

    Raises:
        QueryError: The predicate is malformed, or names a column no prediction has.
        StorageError: A segment cannot be read.
        FormatError: A segment does not decode.
    """
    while True:
        merges = ledger.catalog.entries(MERGE_TYPE)
        try:
            return _search_now(ledger, predicate, values, limit)
        except StorageError:
            ledger.catch_up()
            if ledger.catalog.entries(MERGE_TYPE) == merges:
                raise  # not a file that another process merged and removed just now


def _search_now(ledger: Ledger, predicate: str, values: Sequence[Any], limit: int | None) -> pa.Table:
    import duckdb

    found: list[pa.Table] = []
    problem: Exception | None = None
    waiting: dict[str, list[pa.Table]] = {}
    sealed, unsealed = records_now(ledger, PREDICTION)
    named = _contexts(ledger, sealed, unsealed)
    files = {schema: [str(path) for path in paths] for schema, paths in segment_files(ledger, sealed).items()}
    for schema, table in unsealed:
        opened = pick_columns(table, [column.name for column in schema.open_columns])
        waiting.setdefault(schema.digest, []).append(opened)
    for digest in sorted(set(files) | set(waiting)):
        try:
            paths, tables = files.get(digest, []), waiting.get(digest, [])
            union = _union(ledger.schema(digest), bool(paths), bool(tables))
            found.append(_query(named, paths, tables, union, predicate, values, limit))
        except duckdb.BinderException as error:  # records of other schemas may have the column
            problem = error
    if not found and problem is not None:
        raise _refused(problem) from problem
    if not found:
        return pa.table({"id": pa.array([], pa.string())})
    result = _concat(found).sort_by([("time", "ascending"), ("seq", "ascending")])
    return result if limit is None else result.slice(0, limit)


def _query(
    named: pa.Table,
    paths: list[str],
    tables: list[pa.Table],
    union: str,
    predicate: str,
    values: Sequence[Any],
    limit: int | None,
) -> pa.Table:
    import duckdb

    with duckdb.connect(":memory:") as connection:
        if paths:
            quoted = ", ".join("'" + path.replace("'", "''") + "'" for path in paths)
            try:
                connection.execute(f"CREATE VIEW sealed AS SELECT *, true AS is_sealed FROM read_parquet([{quoted}])")  # noqa: S608  own paths
            except duckdb.Error as error:
                raise _unreadable(error, paths) from error
            connection.execute(f"SET allowed_paths = [{quoted}]")
        connection.execute("SET enable_external_access = false")
        connection.execute("SET lock_configuration = true")
        if tables:
            connection.register("unsealed", pa.concat_tables(tables))
            connection.execute("CREATE VIEW waiting AS SELECT *, false AS is_sealed FROM unsealed")
        connection.register("named", named)
        # A line break before the last parenthesis, so that a comment in the predicate cannot swallow it.
        query = (f"SELECT * FROM ({union}) JOIN named USING (context) WHERE", f"({predicate}\n)")  # noqa: S608
        last = "" if limit is None else f" ORDER BY time, seq LIMIT {int(limit)}"
        return _flat(_fetch(connection, query, last, values, paths))


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
    """Run a query and tell a wrong predicate from a damaged segment.

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
        FormatError: A segment does not decode.
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
    except duckdb.Error as error:  # DuckDB may look for a file that is gone elsewhere, and say it may not
        raise _missing(paths) or _refused(error) from error
    try:
        return run(f"{select} TRY{where}{last}")
    except duckdb.BinderException as error:  # TRY takes no subquery
        if isinstance(first, duckdb.ConversionException | duckdb.OutOfRangeException):
            raise QueryError("search: a value cannot be converted as the predicate asks; use TRY_CAST") from first
        raise _unreadable(first, paths) from error
    except duckdb.Error as error:
        raise _unreadable(error, paths) from error


def _refused(error: Exception) -> QueryError:
    return QueryError(f"search: {str(error).splitlines()[0]}")


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


def _concat(tables: list[pa.Table]) -> pa.Table:
    """Put tables one after the other; a column that has types without a common one becomes text."""
    types: dict[str, list[pa.DataType]] = {}
    for table in tables:
        for field in table.schema:
            types.setdefault(field.name, []).append(field.type)
    mixed = {name for name, of_name in types.items() if not _promotable(of_name)}
    return pa.concat_tables([_as_text(table, mixed) for table in tables], promote_options="permissive")


def _promotable(types: list[pa.DataType]) -> bool:
    try:
        pa.unify_schemas([pa.schema([("value", type_)]) for type_ in types], promote_options="permissive")
    except pa.ArrowException:
        return False
    return True


def _as_text(table: pa.Table, names: set[str]) -> pa.Table:
    for index, name in enumerate(table.column_names):
        if name in names:
            texts = [None if value is None else str(value) for value in table[name].to_pylist()]
            table = table.set_column(index, name, pa.array(texts, pa.string()))
    return table


def _contexts(ledger: Ledger, sealed: list[tuple[int, Manifest]], unsealed: list[tuple[Schema, pa.Table]]) -> pa.Table:
    """Return model name and version of every context that a manifest or the spool names."""
    digests = {context for _, manifest in sealed for context in manifest.contexts}
    for _, table in unsealed:
        digests |= {value.hex() for value in table["context"].unique().to_pylist()}
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


def _flat(table: pa.Table) -> pa.Table:
    """Return a frame a person can read: ids as text, structs as columns, no internals."""
    shown = table.drop_columns([name for name in ("id", *_HIDDEN) if name in table.column_names])
    first = ["time", "model", "version", "status"]
    rest = [name for name in shown.column_names if name not in first]
    return shown.select(first + rest).add_column(0, "id", id_texts(table["id"])).flatten()
