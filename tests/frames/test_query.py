"""SQL queries as sources: what runs, what is refused, and what is never said."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

import duckdb
import pytest
import sqlalchemy

from backstory.errors import InputError, QueryError, StorageError
from backstory.frames.place import local_path, without_secrets
from backstory.frames.query import Query


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    """A SQLite database with one table."""
    engine = sqlalchemy.create_engine(f"sqlite:///{tmp_path_factory.mktemp('sql')}/shop.db")
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE t (id INTEGER, name TEXT)")
        connection.exec_driver_sql("INSERT INTO t VALUES (1, 'a'), (2, NULL), (3, 'it''s')")
    return engine


def test_parameters_are_bound(engine):
    """A value that looks like SQL is a value, over SQLAlchemy and over DuckDB."""
    hostile = "x' OR 1=1; DROP TABLE t; --"
    assert Query("SELECT * FROM t WHERE name = :n", engine, {"n": hostile}).run().num_rows == 0
    assert Query("SELECT * FROM t ORDER BY id;", engine).run().to_pydict() == {
        "id": [1, 2, 3],
        "name": ["a", None, "it's"],
    }
    assert Query("SELECT ? AS x", None, [hostile]).run().to_pydict() == {"x": [hostile]}


def test_a_connection_and_a_url_are_engines_too(engine):
    """What SQLAlchemy takes is taken; a connection given is not closed."""
    with engine.connect() as connection:
        assert Query("SELECT id FROM t", connection).run().num_rows == 3
        assert not connection.closed
    assert Query("SELECT id FROM t", str(engine.url)).run().num_rows == 3


def test_a_query_changes_nothing(engine):
    """What a statement would write is rolled back, and refused where it gives no rows."""
    with pytest.raises(QueryError):
        Query("DELETE FROM t", engine).run()
    assert Query("SELECT * FROM t", engine).run().num_rows == 3


@pytest.mark.parametrize(
    "text",
    ["SELECT 1; DROP TABLE t", "DROP TABLE t", "COPY (SELECT 1) TO 'x.csv'", "ATTACH 'x.db'", "SELEC 1", "PRAGMA x"],
)
def test_duckdb_takes_one_select(text, tmp_path, monkeypatch):
    """Nothing but one statement that reads is run."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(QueryError):
        Query(text).run()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "text",
    [
        "WITH gone AS (DELETE FROM t RETURNING *) SELECT * FROM gone",
        "WITH a AS (WITH b AS (UPDATE t SET i = 9 RETURNING *) SELECT * FROM b) SELECT * FROM a",
        "WITH new AS (INSERT INTO t VALUES (4) RETURNING *) SELECT * FROM new",
    ],
)
def test_a_select_that_changes_rows_is_refused(text):
    """DuckDB takes statements that write into a SELECT; a text that only speaks of them is one that reads."""
    with duckdb.connect() as connection:
        connection.execute("CREATE TABLE t AS SELECT range AS i FROM range(3)")
        with pytest.raises(QueryError, match="changes rows"):
            Query(text, connection).run()
        assert connection.execute("SELECT sum(i) FROM t").fetchall() == [(3,)]
        assert Query("""SELECT '"type":"DELETE_QUERY_NODE" delete' AS said FROM t""", connection).run().num_rows == 3


def test_errors_hold_no_values():
    """What a database says while it works on rows is not passed on."""
    for query in (
        Query("SELECT CAST(x AS INT) FROM (VALUES ('Anna')) v(x)"),
        Query("SELECT CAST(? AS INT)", None, ["Anna"]),
        Query("SELECT nothing FROM t WHERE a = :a", "sqlite://", {"a": "Anna"}),
    ):
        with pytest.raises((QueryError, StorageError)) as caught:
            query.run()
        assert "Anna" not in str(caught.value)
        assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    ("url", "place"),
    [
        (
            "postgresql://anna:secret@db.example.org:5432/loans?sslpassword=secret",
            "postgresql://db.example.org:5432/loans",
        ),
        ("mysql+pymysql://root:secret@localhost/x", "mysql+pymysql://localhost/x"),
        ("sqlite:///shop.db", "sqlite:///shop.db"),
    ],
)
def test_no_password_is_recorded(url, place):
    """Of a URL system, host, port and database are recorded: no user, no password, no option."""
    assert Query("SELECT 1", sqlalchemy.make_url(url)).place() == {"engine": place}
    assert "secret" not in repr(Query("SELECT 1", url))


def test_a_duckdb_file_is_named(tmp_path):
    """The place of a DuckDB connection is its file."""
    with duckdb.connect(tmp_path / "a.duckdb") as connection:
        assert Query("SELECT 1", connection).place() == {"database": str(tmp_path / "a.duckdb")}


def test_parameters_become_a_document():
    """Types are told apart: 1, "1" and true are three parameters."""
    query = Query("SELECT 1", None, [1, "1", True, 1.0, None, Decimal("1.0"), dt.date(2026, 1, 1)])
    texts = query.parameters_document()
    assert len({tuple(text) for text in texts}) == 7
    assert texts[:2] == [["int", "1"], ["str", "'1'"]]


@pytest.mark.parametrize("parameters", [object(), "abc", [object()], {"a": [1]}])
def test_parameters_are_plain_values(parameters):
    """What no digest can be made of is refused."""
    with pytest.raises(InputError):
        Query("SELECT 1", None, parameters)


@pytest.mark.parametrize("engine", [5, "no url"])
def test_an_engine_is_something_to_ask(engine):
    """What is no connection and no URL is refused."""
    with pytest.raises(InputError):
        Query("SELECT 1", engine).place()


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("s3://bucket/a.csv", "s3://bucket/a.csv"),
        ("https://u:p@h/x?token=1#f", "https://h/x"),
        ("see https://u@h/x and https://h/y", "see https://h/x and https://h/y"),
        ("md:shop?motherduck_token=x", "md:shop"),
        ("what is it? a@b", "what is it? a@b"),
        ("postgresql://anna:p/w@x@h/db", "postgresql://h/db"),
        ("s3://bucket/a@b/c:d.csv", "s3://bucket/a@b/c:d.csv"),
        ("'http://h:80/x', 'a@b'", "'http://h:80/x', 'a@b'"),
        ("host=h password = x s3_secret_access_key='y'", "host=h password = s3_secret_access_key="),
        ("postgres_scan('host=h password=x', Token='a b')", "postgres_scan('host=h password=', Token=)"),
    ],
)
def test_places_are_cleaned(text, clean):
    """Users, passwords and options of URLs are taken out of a text, and nothing else."""
    assert without_secrets(text) == clean


def test_only_what_is_here_has_a_path():
    """A path or a file URL of this machine is local; other URLs are not."""
    assert local_path("s3://b/a") is None
    assert local_path("file://elsewhere/a") is None
    assert str(local_path("file:///a%20b")) == "/a b"
