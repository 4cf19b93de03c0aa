"""Predictions by an SQL predicate: DuckDB over the segments, record for record what was sealed, and the spool.

Sees the open columns only; what is sealed cannot be searched here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from backstory.columns.id_text import id_texts
from backstory.columns.seal import pick_columns
from backstory.errors import QueryError
from backstory.ledger.ledger import Ledger
from backstory.ledger.read import records_now
from backstory.records import canonical
from backstory.records.envelope import PREDICTION
from backstory.records.manifest import Manifest
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
        One row a prediction; structs become columns such as `feature.x`. The union of the columns of all schemas.

    Raises:
        QueryError: The predicate is malformed, or names a column no prediction has.
    """
    found: list[pa.Table] = []
    problem: Exception | None = None
    files: dict[str, list[str]] = {}
    waiting: dict[str, list[pa.Table]] = {}
    sealed, unsealed = records_now(ledger, PREDICTION)
    named = _contexts(ledger, sealed, unsealed)
    for _, manifest in sealed:
        files.setdefault(manifest.schema, []).append(str(ledger.layout.segments / manifest.file.name))
    for schema, table in unsealed:
        opened = pick_columns(table, [column.name for column in schema.open_columns])
        waiting.setdefault(schema.digest, []).append(opened)
    for digest in sorted(set(files) | set(waiting)):
        try:
            paths, tables = files.get(digest, []), waiting.get(digest, [])
            union = _union(ledger.schema(digest), bool(paths), bool(tables))
            found.append(_query(named, paths, tables, union, predicate, values, limit))
        except QueryError as error:
            problem = error
    if not found and problem is not None:
        raise problem
    if not found:
        return pa.table({"id": pa.array([], pa.string())})
    result = pa.concat_tables(found, promote_options="permissive").sort_by(
        [("time", "ascending"), ("seq", "ascending")]
    )
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
            connection.execute(f"CREATE VIEW sealed AS SELECT *, true AS is_sealed FROM read_parquet([{quoted}])")  # noqa: S608  own paths
            connection.execute(f"SET allowed_paths = [{quoted}]")
        connection.execute("SET enable_external_access = false")
        connection.execute("SET lock_configuration = true")
        if tables:
            connection.register("unsealed", pa.concat_tables(tables))
            connection.execute("CREATE VIEW waiting AS SELECT *, false AS is_sealed FROM unsealed")
        connection.register("named", named)
        # A line break before the last parenthesis, so that a comment in the predicate cannot swallow it.
        query = f"SELECT * FROM ({union}) JOIN named USING (context) WHERE ({predicate}\n)"  # noqa: S608
        if limit is not None:
            query += f" ORDER BY time, seq LIMIT {int(limit)}"
        return _flat(_fetch(connection, query, values))


def _union(schema: Schema, sealed: bool, waiting: bool) -> str:  # noqa: FBT001  which of two tables there are
    """Return the SQL of all records of a schema; failed calls have no output and no decision, so theirs is null."""
    tops = {column.name.partition(".")[0] for column in schema.columns}
    absent = {"output": "DOUBLE", "decision": "BOOLEAN"}
    nulls = "".join(f", NULL::{type_} AS {name}" for name, type_ in absent.items() if name not in tops)
    parts = [f"SELECT *{nulls} FROM {table}" for table, there in (("sealed", sealed), ("waiting", waiting)) if there]  # noqa: S608
    return " UNION ALL BY NAME ".join(parts)


def _fetch(connection: duckdb.DuckDBPyConnection, query: str, values: Sequence[Any]) -> pa.Table:
    import duckdb

    try:
        return connection.sql(query, params=list(values)).to_arrow_table()
    except duckdb.Error as error:
        raise QueryError(f"search: {str(error).splitlines()[0]}") from error


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
