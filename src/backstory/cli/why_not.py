"""`backstory why-not`: why rows of a source are not in a training set."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from backstory.cli.answer import print_json, print_page
from backstory.cli.archives import open_archive
from backstory.cli.exit_codes import OK, PARTIAL
from backstory.cli.impact import parse_key
from backstory.cli.options import ASKING, SEALED_STAY_SEALED, Asking, Opening
from backstory.cli.progress import progress
from backstory.errors import QueryError


def why_not(
    source: str,
    /,
    *,
    row: Annotated[list[int] | None, Parameter(negative=())] = None,
    key: Annotated[list[str] | None, Parameter(negative=())] = None,
    where: str | None = None,
    version: str | None = None,
    model: str | None = None,
    asking: Asking = ASKING,
    opening: Opening = SEALED_STAY_SEALED,
) -> int:
    """Say why rows of a source are not in a training set: dropped by which step, left out, or used after all.

    Exactly one of --row, --key and --where chooses the rows.

    Args:
        source: Name of the source.
        row: Position of a row; may be repeated.
        key: Key of a row: its value, or a JSON array or object if it has several columns; may be repeated.
        where: SQL predicate over the source's columns.
        version: A version of the source, such as `flights:2` or `flights@june`, or a prefix of its digest; needed for
            --row where there are several. [default: all versions]
        model: A model: name, name@alias, name:version or digest. [default: every one trained on the source]
        asking: Which archive.
        opening: Who asks.
    """
    if sum(choice is not None for choice in (row, key, where)) != 1:
        raise QueryError("why-not: expected exactly one of --row, --key and --where")
    keys = None if key is None else [parse_key(text) for text in key]
    with progress("tracing"), open_archive(asking, opening) as archive:
        answer = archive.why_not(source, rows=row, keys=keys, where=where, version=version, model=model)
    if asking.json:
        print_json(answer.to_dict())
    else:
        from backstory.lineage.why_not_page import why_not_page

        print_page(why_not_page(answer))
    return PARTIAL if answer.sealed or answer.left_out else OK
