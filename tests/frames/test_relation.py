"""DuckDB relations: run once, held as Arrow rows, read by the same connection; nothing of the caller's is touched."""

from __future__ import annotations

import gc

import duckdb
import numpy as np
import pyarrow as pa
import pytest

from backstory.errors import ColumnError, InputError
from backstory.frames.equality import find_difference
from backstory.frames.relation import relation_over, run_in_order
from backstory.frames.table import (
    as_given,
    column_names,
    column_values,
    drop_columns,
    hold,
    kind_of,
    row_count,
    select_columns,
    to_arrow,
    with_column,
)

TYPES = (
    "1::HUGEINT AS h, uuid() AS u, 'a'::ENUM('a', 'b') AS e, time '10:00' AS t, interval 1 day AS i, "
    "1.5::DECIMAL(9, 2) AS d, [1, 2] AS l, {'a': 1} AS s, '2026-01-01'::TIMESTAMPTZ AS z, [1::HUGEINT] AS hs"
)


@pytest.fixture
def con() -> duckdb.DuckDBPyConnection:
    """A connection with a table of three rows."""
    con = duckdb.connect()
    con.execute("CREATE TABLE t AS SELECT * FROM (VALUES (1, 'x'), (2, NULL), (3, 'z')) AS v(a, b)")
    return con


def test_a_relation_is_a_table_like_others(con):
    """Kind, names, number of rows, columns and values are told of a relation."""
    frame = con.sql("SELECT * FROM t")
    assert (kind_of(frame), row_count(frame), column_names(frame)) == ("duckdb", 3, ["a", "b"])
    assert column_values(frame, "b").to_pylist() == ["x", None, "z"]
    assert to_arrow(select_columns(frame, ["b", "a"])).column_names == ["b", "a"]
    assert column_names(drop_columns(frame, ["a"])) == ["b"]


def test_a_relation_has_no_order_to_put_a_column_beside(con):
    """Its rows come anew at each read: a column is added to the rows that were run."""
    with pytest.raises(InputError, match="duckdb"):
        with_column(con.sql("SELECT * FROM t"), "x", np.zeros(3, np.uint64))


def test_held_rows_do_not_change(con):
    """What the caller does to the table later does not reach the rows that were run."""
    frame = con.sql("SELECT * FROM t")
    held = as_given(frame, hold(frame))
    con.execute("DELETE FROM t")
    assert held.fetchall() == [(1, "x"), (2, None), (3, "z")]
    con.execute("CREATE OR REPLACE TABLE t AS SELECT 1 AS other")
    assert held.filter("a > 1").project("a").fetchall() == [(2,), (3,)]
    assert kind_of(held) == "duckdb"


def test_held_rows_have_the_types_they_had(con):
    """Also types that Arrow does not have come back."""
    frame = con.sql(f"SELECT {TYPES}")
    held = relation_over(frame, hold(frame))
    assert held.types == frame.types
    assert held.columns == frame.columns


def test_held_rows_live_as_long_as_the_relation(con):
    """Nothing of ours stays in the database, and nothing the relation needs goes away."""
    frame = con.sql("SELECT * FROM t")
    held = as_given(frame, hold(frame))
    del frame
    gc.collect()
    assert held.aggregate("sum(a)").fetchall() == [(6,)]
    assert con.sql("SELECT table_name FROM information_schema.tables").fetchall() == [("t",)]


def test_held_rows_join_with_the_callers_tables(con):
    """A relation over them is of the same connection."""
    frame = con.sql("SELECT * FROM t")
    held = as_given(frame, hold(frame))
    con.execute("CREATE TABLE prices AS SELECT 2 AS a, 9.5 AS price")
    assert held.query("h", "SELECT b, price FROM h JOIN prices USING (a)").fetchall() == [(None, 9.5)]


@pytest.mark.parametrize(
    "sql", ["SELECT 1 AS k, 2 AS k", 'SELECT 1 AS k, 2 AS "K"', "SELECT * FROM t AS l JOIN t AS r ON l.a = r.a"]
)
def test_names_that_stand_twice_are_refused(con, sql):
    """Also those that differ only in case, which SQL reads as one; the way out is named."""
    for read in (column_names, hold, to_arrow):
        with pytest.raises(ColumnError, match="name the columns of a join"):
            read(con.sql(sql))


def test_names_are_quoted(con):
    """Quotes, blanks and words of SQL in names are names."""
    frame = con.sql('SELECT 2 AS "a""b", 1 AS "select", 3 AS "x y" UNION ALL SELECT 1, 5, 4')
    assert run_in_order(frame, ['a"b', "x y", "select"]).to_pydict() == {'a"b': [1, 2], "x y": [4, 3], "select": [5, 1]}


def test_a_connection_that_reads_no_python_tables_is_told(con):
    """Rows cannot be given to it; the setting is named."""
    con.execute("SET python_enable_replacements = false")
    with pytest.raises(InputError, match="python_enable_replacements"):
        relation_over(con.sql("SELECT * FROM t"), pa.table({"a": [1]}))


def test_a_relation_of_no_rows_is_held(con):
    """An empty result keeps its columns and types."""
    frame = con.sql("SELECT * FROM t WHERE a > 9")
    held = as_given(frame, hold(frame))
    assert (held.columns, held.types, row_count(held)) == (frame.columns, frame.types, 0)
    assert find_difference(hold(frame), hold(held)) is None
