"""`backstory impact`: what rows of a source reached."""

from __future__ import annotations

import json as json_format
from typing import Annotated, Any

from cyclopts import Parameter

from backstory.cli.answer import print_json, print_page
from backstory.cli.archives import open_archive
from backstory.cli.exit_codes import OK, PARTIAL
from backstory.cli.options import ASKING, SEALED_STAY_SEALED, Asking, Opening
from backstory.cli.progress import progress
from backstory.errors import QueryError
from backstory.lineage.impact_page import PREDICTIONS_SHOWN

KEY_EXAMPLE = """--key '["JFK", 5]'"""
_OF_SEVERAL = "a value for each of"
"""What an error about a key of several columns says."""


def impact(
    source: str,
    /,
    *,
    row: Annotated[list[int] | None, Parameter(negative=())] = None,
    key: Annotated[list[str] | None, Parameter(negative=())] = None,
    where: str | None = None,
    version: str | None = None,
    limit: int = PREDICTIONS_SHOWN,
    asking: Asking = ASKING,
    opening: Opening = SEALED_STAY_SEALED,
) -> int:
    """Say which predictions, models and features some rows of a source reached.

    Exactly one of --row, --key and --where chooses the rows.

    Args:
        source: Name of the source.
        row: Position of a row; may be repeated.
        key: Key of a row: its value, or a JSON array or object if it has several columns; may be repeated.
        where: SQL predicate over the source's columns.
        version: Prefix of a dataset version's digest; needed for --row where there are several. [default: all versions]
        limit: How many predictions to list; with --json all are.
        asking: Which archive.
        opening: Who asks.
    """
    if sum(choice is not None for choice in (row, key, where)) != 1:
        raise QueryError("impact: expected exactly one of --row, --key and --where")
    if limit < 1:
        raise QueryError(f"impact: expected a --limit of at least 1, got {limit}")
    keys = None if key is None else [parse_key(text) for text in key]
    with progress("tracing"), open_archive(asking, opening) as archive:
        try:
            answer = archive.impact(source, rows=row, keys=keys, where=where, version=version)
        except QueryError as error:
            if _OF_SEVERAL not in str(error):
                raise
            raise QueryError(f"{error}; on a command line: {KEY_EXAMPLE}", **error.details) from None
    if asking.json:
        print_json(answer.to_dict())
    else:
        from backstory.lineage.impact_page import impact_page

        print_page(impact_page(answer, limit))
    return PARTIAL if answer.sealed or answer.left_out else OK


def parse_key(text: str) -> Any:  # noqa: ANN401  a value, a tuple or a dict
    """Read a key: an array or object is JSON, everything else is the value itself.

    Raises:
        QueryError: It begins like JSON and is not.

    >>> parse_key('["JFK", 5]'), parse_key("N14228")
    (('JFK', 5), 'N14228')
    """
    if not text.startswith(("[", "{")):
        return text
    try:
        value = json_format.loads(text)
    except ValueError as error:
        raise QueryError("impact: expected --key to be a value, or a JSON array or object") from error
    return tuple(value) if isinstance(value, list) else value
