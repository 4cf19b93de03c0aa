"""DuckDB relations: a query with a name for its rows, run once and kept as Arrow rows that the same connection reads.

A relation runs again on every read, and SQL promises no order. So what must be fixed is run once; the rows are then
held in memory as Arrow, and a relation of the same connection reads them, so that it can be joined with the caller's
tables. It keeps the rows as long as it lives; nothing is created in the caller's database.

Names are always quoted. DuckDB takes names that differ only in case for the same, so such columns are refused.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from backstory.errors import ColumnError, InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa

Relation: TypeAlias = Any
"""A `duckdb.DuckDBPyRelation`; which module has that class is DuckDB's business."""

_VIEW: Final = "__backstory_rows__"
"""What a query calls the relation it is asked of: no name of a caller's table."""


def quoted(name: str) -> str:
    """Return a name as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def listed(names: Sequence[str]) -> str:
    """Return names as SQL identifiers with commas between them."""
    return ", ".join(quoted(name) for name in names)


def relation_columns(relation: Relation) -> list[str]:
    """Return the column names of a relation.

    Raises:
        ColumnError: A name stands twice, or twice but for its case.
    """
    names = [str(name) for name in relation.columns]
    folded = [name.casefold() for name in names]
    doubled = sorted({name for name, low in zip(names, folded, strict=True) if folded.count(low) > 1})
    if doubled:
        raise ColumnError(
            "column name stands twice: expected each name once whatever its case, as SQL reads it, got "
            f"{', '.join(map(repr, doubled))}; name the columns of a join (SELECT a.x AS x, …)",
            columns=doubled,
        )
    return names


def run_relation(relation: Relation) -> pa.Table:
    """Run a relation and return its rows in the order DuckDB gave them.

    Raises:
        ColumnError: As of `relation_columns`.
    """
    relation_columns(relation)
    return in_utc(relation.to_arrow_table())


def in_utc(table: pa.Table) -> pa.Table:
    """Return a table with its moments in UTC: DuckDB stores no time zone, and gives them that of its session."""
    import pyarrow as pa

    for number, field in enumerate(table.schema):
        if pa.types.is_timestamp(field.type) and field.type.tz not in {None, "UTC"}:
            table = table.set_column(
                number, field.name, table.column(number).cast(pa.timestamp(field.type.unit, "UTC"))
            )
    return table


def run_in_order(relation: Relation, names: Sequence[str]) -> pa.Table:
    """Run a relation and return some columns of its rows, in the order of the first, then of the next."""
    return run_relation(relation.project(listed(names)).order(listed(names)))


def run_aggregated(relation: Relation) -> pa.Table:
    """Run a relation with sums of integers that were made BIGINT.

    Raises:
        InputError: One does not fit; DuckDB's own error would quote it.
    """
    try:
        return run_relation(relation)
    except sys.modules["duckdb"].ConversionException:
        raise InputError("cannot aggregate: expected sums of integers that fit 64 bits, got a larger one") from None


def relation_over(like: Relation, rows: pa.Table, types: dict[str, str] | None = None) -> Relation:
    """Return a relation over fixed rows, of the connection of another relation.

    Args:
        like: A relation of the connection.
        rows: The rows. The result keeps them.
        types: SQL types by name of columns whose type Arrow does not have, such as UUID; those of `like` without it.

    Raises:
        InputError: The connection does not let Python's tables be read.
    """
    __backstory_held__ = rows  # DuckDB looks for a table of this name among the variables of this function
    wanted = dict(zip(like.columns, map(str, like.types), strict=True)) if types is None else types
    try:
        # Asked of an empty relation of the connection: what `like` reads may change or go away.
        plain = like.limit(0).materialize().query(_VIEW, "SELECT * FROM __backstory_held__")
    except sys.modules["duckdb"].CatalogException:
        raise InputError(
            "cannot give rows to a DuckDB connection: expected one that reads tables of Python "
            "(SET python_enable_replacements = true), got one that does not"
        ) from None
    del __backstory_held__
    given = zip(plain.columns, map(str, plain.types), strict=True)
    parts = [
        f"CAST({quoted(name)} AS {wanted[name]}) AS {quoted(name)}" if wanted.get(name, kind) != kind else quoted(name)
        for name, kind in given
    ]
    return plain.project(", ".join(parts)) if any(part.startswith("CAST") for part in parts) else plain
