"""SQL predicates that people write: whether one can be used as part of a query, and what is said if not."""

from __future__ import annotations

import functools
import json
import os
import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from backstory.errors import QueryError

if TYPE_CHECKING:
    import duckdb

_OPERAND_KEYS = {"COMPARISON": ("left", "right"), "BETWEEN": ("input", "lower", "upper"), "OPERATOR": ("children",)}
"""Where DuckDB's syntax tree has what is compared with each other."""
_PLAIN_NODES = frozenset(
    {"BETWEEN", "CASE", "CAST", "COLUMN_REF", "COMPARISON", "CONJUNCTION", "CONSTANT", "FUNCTION", "OPERATOR"}
    | {"PARAMETER", "TYPE"}
)
"""Nodes of that tree that read no column but those named in it."""
_NUMBER_NAMES = 'a column named by a number is written in quotes: output."1"'


def in_memory() -> duckdb.DuckDBPyConnection:
    """Return a connection that sees no files and no data but what is registered with it; what it makes is temporary.

    All are of one database, as opening one takes longer than most questions.
    """
    return _database(os.getpid()).cursor()


@functools.cache
def _database(_process: int) -> duckdb.DuckDBPyConnection:
    """Open the database; one for each process, as a forked one has no threads for its parent's."""
    import duckdb

    return duckdb.connect(":memory:", config={"enable_external_access": "false"})


def checked_predicate(predicate: str, question: str) -> str:
    """Return a predicate in parentheses, ready to stand behind WHERE.

    Args:
        predicate: What was asked.
        question: What was asked: `search` or `impact`.

    Raises:
        QueryError: It is no text, or not one expression.
    """
    if not isinstance(predicate, str) or not predicate.strip():
        raise QueryError(f'{question}: expected a predicate as text, such as "a = 1 AND b IS NOT NULL"')
    _require_one_expression(predicate, question)
    return f"({predicate}\n)"  # the line break, so that a comment in the predicate cannot swallow the parenthesis


def _require_one_expression(predicate: str, question: str) -> None:
    """Refuse what ends the query early, or is several expressions: only one expression fits both frames."""
    import duckdb

    connection = in_memory()
    try:
        connection.extract_statements(f"SELECT ({predicate}\n)")
    except duckdb.Error as error:
        raise wrong_predicate(error, question) from None
    try:
        connection.extract_statements(_framed(predicate))
    except duckdb.Error:
        raise QueryError(f"{question}: expected one expression that is true or false") from None


def _framed(predicate: str) -> str:
    return f"SELECT CASE WHEN {predicate}\n THEN true END"


def require_told_apart(predicate: str, names: Iterable[str], question: str) -> None:
    """Refuse a predicate that may name one of two columns that differ in case only: DuckDB takes them for one.

    Args:
        predicate: What was asked.
        names: Columns of one table, or fields of one struct, that it can name.
        question: What was asked: `search` or `impact`.

    Raises:
        QueryError: It holds such a name, or `COLUMNS`, which means any.
    """
    text = predicate.casefold().replace('""', '"').replace("''", "'")
    seen: dict[str, str] = {}
    for name in names:
        other = seen.setdefault(name.casefold(), name)
        if other != name and re.search(rf"(?<!\w)({re.escape(name.casefold())}|columns)(?!\w)", text):
            raise QueryError(f"{question}: {other!r} and {name!r} differ in case only, which SQL does not tell apart")


def compared_columns(predicate: str) -> dict[int, set[str]]:
    """Return for each question mark, counted from 0, the columns it is compared with, by name as the predicate has it.

    Where it is not itself compared with a column, such as inside a function, nothing is said of it.
    """
    (serialized,) = in_memory().execute("SELECT json_serialize_sql(?)", [_framed(predicate)]).fetchone() or ("{}",)
    found: dict[int, set[str]] = {}
    for node in _nodes(json.loads(serialized)):
        operands = [
            operand for key in _OPERAND_KEYS.get(str(node.get("class")), ()) for operand in _listed(node.get(key, []))
        ]
        columns = {".".join(operand["column_names"]) for operand in operands if operand.get("class") == "COLUMN_REF"}
        for operand in operands:
            if operand.get("class") == "PARAMETER" and str(operand["identifier"]).isdecimal():
                found.setdefault(int(operand["identifier"]) - 1, set()).update(columns)
    return found


def column_references(predicate: str) -> frozenset[str] | None:
    """Return the columns a predicate names, in lower case; None where it may mean others, as `COLUMNS(*)` does."""
    (serialized,) = in_memory().execute("SELECT json_serialize_sql(?)", [_framed(predicate)]).fetchone() or ("{}",)
    nodes = [node for node in _nodes(json.loads(serialized)) if "class" in node]
    if not nodes or any(str(node["class"]) not in _PLAIN_NODES for node in nodes):
        return None
    named = [".".join(node["column_names"]).casefold() for node in nodes if node["class"] == "COLUMN_REF"]
    return frozenset(named)


def _nodes(tree: Any) -> Iterator[dict[str, Any]]:
    if isinstance(tree, dict):
        yield tree
    if isinstance(tree, dict | list):
        for inner in tree.values() if isinstance(tree, dict) else tree:
            yield from _nodes(inner)


def _listed(operands: Any) -> list[dict[str, Any]]:
    return operands if isinstance(operands, list) else [operands]


def wrong_predicate(error: Exception, question: str) -> QueryError:
    """Return what is wrong with a predicate.

    DuckDB's own words are passed on where they are about the predicate's text and the names in it. What it says while
    it works a predicate out can hold values of rows, so it is left out; do not chain the error either.

    Args:
        error: What DuckDB raised.
        question: What was asked: `search` or `impact`.
    """
    import duckdb

    about_text = (
        duckdb.BinderException,
        duckdb.CatalogException,
        duckdb.ParserException,
        duckdb.PermissionException,
        duckdb.SyntaxException,
    )
    if isinstance(error, about_text):
        lines = str(error).splitlines()
        near = [line for line in lines[1:] if line.startswith(("Candidate", "Did you mean"))]
        hint = [_NUMBER_NAMES] if re.search(r'integer key|at or near "\.\d', lines[0]) else []
        return QueryError(f"{question}: {'; '.join([lines[0], *near, *hint])}")
    if isinstance(error, duckdb.DataError):
        return QueryError(f"{question}: a value cannot be converted as the predicate asks; use TRY_CAST")
    return QueryError(
        f"{question}: the predicate cannot be worked out ({type(error).__name__}); is there a value for each question "
        "mark, and does each function take what it is given in every row?"
    )
