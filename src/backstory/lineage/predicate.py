"""SQL predicates that people write: what is said about one that cannot be used."""

from __future__ import annotations

from backstory.errors import QueryError


def require_predicate(predicate: object, question: str) -> None:
    """Refuse what is no predicate at all.

    Raises:
        QueryError: It is no text, or an empty one.
    """
    if not isinstance(predicate, str) or not predicate.strip():
        raise QueryError(f'{question}: expected a predicate as text, such as "a = 1 AND b IS NOT NULL"')


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
        return QueryError(f"{question}: {'; '.join([lines[0], *near])}")
    if isinstance(error, duckdb.DataError):
        return QueryError(f"{question}: a value cannot be converted as the predicate asks; use TRY_CAST")
    return QueryError(
        f"{question}: the predicate cannot be worked out ({type(error).__name__}); is there a value for each question "
        "mark, and does each function take what it is given in every row?"
    )
