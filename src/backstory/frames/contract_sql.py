"""Running the queries of a contract over a table: nothing outside that table can be read or written by them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from backstory.errors import InputError

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

    from backstory.frames.contract import Contract, Rule, Scalar

_CLOSED: Final[dict[str, bool | int | float | str | list[str]]] = {
    "enable_external_access": "false",
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "python_enable_replacements": "false",  # a name in a query must not be a variable of this program
    "lock_configuration": "true",
}
_PLACE: Final = re.compile(r"\$?\{(object|table|property|column)\}")


class Queries:
    """Answers a contract's queries over one table; the engine starts with the first."""

    def __init__(self, contract: Contract, table: pa.Table) -> None:
        self._contract = contract
        self._table = table
        self._connection: duckdb.DuckDBPyConnection | None = None

    def value(self, rule: Rule, sql: str) -> Scalar | None:
        """Return what a rule's query gives.

        Raises:
            InputError: It is no single query, fails, or gives anything but one number, boolean or text.
        """
        import duckdb

        connection = self._open()
        query = _PLACE.sub(lambda place: self._name(rule, place[1]), sql)
        try:
            statements = connection.extract_statements(query)
            if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
                raise _wrong(rule, "expected one SELECT")
            rows = connection.execute(query).fetchmany(2)
        except duckdb.Error as error:
            raise _wrong(rule, _reason(error)) from None
        if len(rows) != 1 or len(rows[0]) != 1:
            raise _wrong(rule, "expected one row of one column")
        value = rows[0][0]
        if value is None or isinstance(value, bool | int | float | str):
            return value
        try:
            return float(value)  # a decimal
        except (TypeError, ValueError):
            raise _wrong(rule, f"expected a number, boolean or text, got {type(value).__name__}") from None

    def close(self) -> None:
        """Stop the engine."""
        if self._connection is not None:
            self._connection.close()

    def _open(self) -> duckdb.DuckDBPyConnection:
        if self._connection is None:
            import duckdb

            self._connection = duckdb.connect(config=_CLOSED)
            self._connection.register(self._contract.table, self._table)
        return self._connection

    def _name(self, rule: Rule, what: str) -> str:
        name = self._contract.table if what in {"object", "table"} else rule.column
        if name is None:
            raise _wrong(rule, f"expected no {{{what}}} in a query about the whole table")
        return '"' + name.replace('"', '""') + '"'


def _wrong(rule: Rule, why: str) -> InputError:
    return InputError(f"contract: query of rule {rule.id!r}: {why}", rule=rule.id)


def _reason(error: Exception) -> str:
    """Return what is wrong with a query; what the engine says while it works may hold values of rows."""
    import duckdb

    about_text = (
        duckdb.BinderException,
        duckdb.CatalogException,
        duckdb.ParserException,
        duckdb.PermissionException,
        duckdb.SyntaxException,
    )
    if isinstance(error, about_text):
        return str(error).splitlines()[0]
    return f"it cannot be worked out ({type(error).__name__})"
