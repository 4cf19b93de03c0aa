"""SQL queries as sources: over DuckDB, or over any database SQLAlchemy knows.

A query is one statement that reads. Values go beside it as parameters and are bound, never written into its text. What
is recorded of the database holds no password: of a URL only system, host, port and database are kept.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import pyarrow as pa

from backstory.errors import InputError, QueryError, StorageError
from backstory.frames.place import without_secrets
from backstory.frames.relation import in_utc
from backstory.records.canonical import JsonObject, JsonValue

if TYPE_CHECKING:
    import duckdb
    import sqlalchemy

Parameters: TypeAlias = "Sequence[Any] | Mapping[str, Any] | None"

_HINT: Final = "is there a value for each parameter, and all that it names?"
_CHANGES: Final = re.compile(r"\b(?:insert|update|delete|merge)\b", re.IGNORECASE)
_CHANGING_NODE: Final = re.compile(r'"type":"[A-Z_]+_QUERY_NODE"')
"""What DuckDB's parser calls an INSERT, UPDATE or DELETE within a SELECT; in a text of the query quotes are escaped."""
_PLAIN: Final = (bool, int, float, str, bytes, Decimal, dt.date, dt.time, dt.timedelta, type(None))


class Query:
    """A query whose rows `archive.source` fixes.

    ```python
    query = backstory.Query("SELECT * FROM loans WHERE month = :month", engine, parameters={"month": 6})
    loans = archive.source(query, "loans", key="loan_id")
    ```

    Give it an ORDER BY over a key: rows are numbered in the order the database gives them.
    """

    def __init__(self, sql: str, engine: Any = None, parameters: Parameters = None) -> None:
        """Describe a query; it runs when it is fixed as a source.

        Args:
            sql: One SELECT. Parameters are `?` or `$name` for DuckDB, `:name` for SQLAlchemy.
            engine: A DuckDB connection, an SQLAlchemy engine or connection, or a URL as SQLAlchemy takes it; None for
                a new DuckDB in memory, which reads files that the query names.
            parameters: Values for the parameters: a list, or by name. Only a keyed digest of them is recorded.

        Raises:
            InputError: The text is no text, the engine is none, or a parameter is of a type no digest can be made of.
        """
        if not isinstance(sql, str) or not sql.strip():
            raise InputError(f"query: expected SQL as text, got {type(sql).__name__}")
        self.text = sql.strip().rstrip(";").rstrip()
        self.parameters = parameters
        self._engine = engine
        self._parameter_texts()

    def __repr__(self) -> str:
        """Return what it is, without its text, which may hold values."""
        return f"<Query over {self.system}>"

    @property
    def system(self) -> str:
        """`duckdb` or `sql`."""
        return "duckdb" if self._engine is None or _is_duckdb(self._engine) else "sql"

    def place(self) -> JsonObject:
        """Return what is recorded of the database."""
        if self._engine is None:
            return {"database": ":memory:"}
        if _is_duckdb(self._engine):
            with self._engine.cursor() as own:  # what the caller is fetching from theirs goes on
                ((path,),) = own.execute(
                    "SELECT path FROM duckdb_databases() WHERE database_name = current_database()"
                ).fetchall()
            return {"database": without_secrets(path) if path else ":memory:"}
        url = _url_of(self._engine)
        host = f"{url.host or ''}{f':{url.port}' if url.port else ''}"
        database = (url.database or "").partition("?")[0]
        return {"engine": f"{url.drivername}://{host}/{database}"}

    def parameters_document(self) -> JsonValue:
        """Return the parameters as JSON of which a digest is made; None without any."""
        return self._parameter_texts() or None

    def run(self) -> pa.Table:
        """Run the query and return its rows.

        Raises:
            QueryError: It is not one statement that reads, or the database refuses it.
            StorageError: The database cannot be reached.
        """
        if self._engine is None:
            import duckdb

            with duckdb.connect(":memory:") as connection:
                return _run_duckdb(connection, self.text, self.parameters)
        if _is_duckdb(self._engine):
            return _run_duckdb(self._engine, self.text, self.parameters)
        return _run_sqlalchemy(self._engine, self.text, self.parameters)

    def _parameter_texts(self) -> Any:
        if self.parameters is None:
            return None
        if isinstance(self.parameters, Mapping):
            return {str(name): _parameter(value) for name, value in self.parameters.items()}
        if isinstance(self.parameters, str | bytes) or not isinstance(self.parameters, Sequence):
            raise InputError(f"query: expected parameters in a list or by name, got {type(self.parameters).__name__}")
        return [_parameter(value) for value in self.parameters]


def _parameter(value: Any) -> JsonValue:
    value = value.item() if hasattr(value, "dtype") and hasattr(value, "item") else value
    if not isinstance(value, _PLAIN):
        raise InputError(
            f"query: expected a number, text, bytes, date or time as parameter, got {type(value).__name__}"
        )
    return [type(value).__name__, repr(value)]


def _is_duckdb(engine: Any) -> bool:
    return type(engine).__name__ == "DuckDBPyConnection"


def _run_duckdb(connection: duckdb.DuckDBPyConnection, text: str, parameters: Parameters) -> pa.Table:
    import duckdb

    try:
        statements = connection.extract_statements(text)
        if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
            raise QueryError("query: expected one SELECT; values go beside it as parameters")
        if _CHANGES.search(text) and _changes_data(connection, text):
            raise QueryError("query: expected a SELECT that reads, got one that changes rows")
        given = (
            dict(parameters) if isinstance(parameters, Mapping) else None if parameters is None else list(parameters)
        )
        return in_utc(connection.sql(text, params=given).to_arrow_table())
    except duckdb.Error as error:
        raise QueryError(f"query: DuckDB refuses it: {_said(error)}") from None


def _changes_data(connection: duckdb.DuckDBPyConnection, text: str) -> bool:
    """Say whether a SELECT has a part that changes rows, or cannot be looked into."""
    with connection.cursor() as own:
        ((parsed,),) = own.execute("SELECT json_serialize_sql(?)", [text]).fetchall()
    return _CHANGING_NODE.search(parsed) is not None or parsed.startswith('{"error":true')


def _said(error: Exception) -> str:
    """Return what DuckDB says of the text of a query; what it says of its work can hold values of rows."""
    import duckdb

    if isinstance(error, duckdb.BinderException | duckdb.CatalogException | duckdb.ParserException):
        return str(error).splitlines()[0]
    return f"{type(error).__name__}; {_HINT}"


def _run_sqlalchemy(engine: Any, text: str, parameters: Parameters) -> pa.Table:
    import sqlalchemy
    from sqlalchemy import exc

    if parameters is not None and not isinstance(parameters, Mapping):
        raise InputError("query: expected parameters by name, :name in the text, for SQLAlchemy")
    try:
        if isinstance(engine, sqlalchemy.Connection):
            return _fetched(engine, text, parameters)
        own = engine if isinstance(engine, sqlalchemy.Engine) else sqlalchemy.create_engine(engine)
        try:
            with own.connect() as connection:  # which is rolled back: a query reads
                return _fetched(connection, text, parameters)
        finally:
            if own is not engine:
                own.dispose()
    except (exc.OperationalError, exc.InterfaceError) as error:
        raise StorageError(f"query: the database cannot be asked ({type(error.orig).__name__})") from None
    except exc.SQLAlchemyError as error:
        raise QueryError(f"query: the database refuses it ({type(error).__name__}); {_HINT}") from None
    except ModuleNotFoundError as error:
        raise InputError(f"query: the driver of this database is not installed ({error.name})") from None


def _fetched(connection: sqlalchemy.Connection, text: str, parameters: Mapping[str, Any] | None) -> pa.Table:
    import sqlalchemy

    result = connection.execute(sqlalchemy.text(text), dict(parameters or {}))
    if not result.returns_rows:
        raise QueryError("query: expected one that returns rows")
    names = list(result.keys())
    rows = result.fetchall()
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(names)
    return pa.Table.from_arrays([_column(values, name) for values, name in zip(columns, names, strict=True)], names)


def _column(values: Sequence[Any], name: str) -> pa.Array:
    try:
        return pa.array(list(values))
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        raise QueryError(f"query: expected values of one type in column {name!r}, got several; CAST it") from None


def _url_of(engine: Any) -> sqlalchemy.URL:
    try:
        import sqlalchemy
    except ModuleNotFoundError:
        raise InputError(
            "query: expected SQLAlchemy to be installed for this engine: pip install backstory[sql]"
        ) from None
    if isinstance(engine, sqlalchemy.Connection):
        return engine.engine.url
    if isinstance(engine, sqlalchemy.Engine):
        return engine.url
    try:
        return sqlalchemy.make_url(engine)
    except sqlalchemy.exc.ArgumentError:
        raise InputError(
            "query: expected a DuckDB connection, an SQLAlchemy engine or connection, or a URL, "
            f"got {type(engine).__name__}"
        ) from None
