"""The canonical queries, by their ids."""

from __future__ import annotations

from backstory.errors import InputError
from backstory.report.query import Query
from backstory.report.query_keeping import QUERIES as KEEPING
from backstory.report.query_log import QUERIES as LOG
from backstory.report.query_models import QUERIES as MODELS
from backstory.report.query_people import QUERIES as PEOPLE

QUERIES: dict[str, Query] = {one.id: one for one in sorted((*LOG, *MODELS, *PEOPLE, *KEEPING), key=lambda one: one.id)}
"""All of them."""


def query_of(name: str) -> Query:
    """Return a query by its id, such as `Q-07`; `q7` is the same.

    Raises:
        InputError: There is none.
    """
    digits = name.upper().removeprefix("Q").removeprefix("-")
    asked = f"Q-{int(digits):02}" if digits.isdecimal() else name
    if asked not in QUERIES:
        raise InputError(f"query: expected one of {min(QUERIES)} to {max(QUERIES)}, got {name!r}")
    return QUERIES[asked]
