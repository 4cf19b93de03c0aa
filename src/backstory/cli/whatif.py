"""`backstory whatif`: what the model would have said."""

from __future__ import annotations

import json as json_format
from collections.abc import Sequence
from typing import Annotated, Any

from cyclopts import Parameter

from backstory.cli.answer import print_json, print_page
from backstory.cli.archives import open_archive
from backstory.cli.code_option import StepsOption, steps_named
from backstory.cli.exit_codes import OK, PARTIAL
from backstory.cli.impact import parse_key
from backstory.cli.options import ASKING, SEALED_STAY_SEALED, Asking, Opening
from backstory.cli.progress import progress
from backstory.errors import QueryError


def whatif(
    *predictions: str,
    model: str | None = None,
    feature: Annotated[list[str] | None, Parameter(negative=())] = None,
    source: str | None = None,
    row: Annotated[list[int] | None, Parameter(negative=())] = None,
    key: Annotated[list[str] | None, Parameter(negative=())] = None,
    where: str | None = None,
    version: str | None = None,
    value: Annotated[list[str] | None, Parameter(negative=())] = None,
    steps: StepsOption = None,
    asking: Asking = ASKING,
    opening: Opening = SEALED_STAY_SEALED,
) -> int:
    """Say what the model would have said: another version, other features, or source rows with corrected values.

    Several at once are done in this order: rows, features, model. With --source and no prediction, all are meant that
    the rows reached.

    Args:
        predictions: Ids of predictions, or unique prefixes.
        model: Version to ask instead: name, name@alias, name:version or digest.
        feature: Another value for a feature, NAME=VALUE; may be repeated.
        source: Source whose rows are corrected.
        row: Position of a row to correct; may be repeated.
        key: Key of a row to correct: its value, or a JSON array or object if it has several columns; may be repeated.
        where: SQL predicate over the source's columns.
        version: A version of the source, such as `flights:2` or `flights@june`, or a prefix of its digest.
        value: Corrected value of a column, NAME=VALUE; may be repeated.
        steps: Functions that prepare the features.
        asking: Which archive.
        opening: Who asks.
    """
    from backstory.debug.whatif_page import whatif_page

    code: Any = steps_named(steps)
    with progress("asking what if"), open_archive(asking, opening) as archive:
        answer = archive.whatif(
            list(predictions) or None,
            model=model,
            features=parse_values(feature, "--feature"),
            source=source,
            rows=row,
            keys=None if key is None else [parse_key(text) for text in key],
            where=where,
            version=version,
            values=parse_values(value, "--value"),
            steps=code,
        )
    if asking.json:
        print_json(answer.to_dict())
    else:
        print_page(whatif_page(answer))
    return PARTIAL if answer.not_computed or answer.cautions else OK


def parse_values(texts: Sequence[str] | None, option: str) -> dict[str, Any] | None:
    """Read values by name: a value that is JSON is that, any other is text.

    Raises:
        QueryError: One has no name.

    >>> parse_values(["temp=20.0", "origin=JFK", "gate=null"], "--value")
    {'temp': 20.0, 'origin': 'JFK', 'gate': None}
    """
    if texts is None:
        return None
    found: dict[str, Any] = {}
    for text in texts:
        name, mark, value = text.partition("=")
        if not mark or not name:
            raise QueryError(f"whatif: expected {option} NAME=VALUE")
        try:
            found[name] = json_format.loads(value)
        except ValueError:
            found[name] = value
    return found
