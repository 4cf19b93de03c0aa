"""`backstory impact`: what rows of a source reached."""

from __future__ import annotations

import json as json_format
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from backstory.cli.answer import print_json, print_page, print_text
from backstory.cli.archives import open_archive, tree_size
from backstory.cli.exit_codes import OK, PARTIAL
from backstory.cli.options import ASKING, SEALED_STAY_SEALED, Asking, AsOf, Opening
from backstory.cli.progress import progress
from backstory.errors import ForbiddenError, QueryError
from backstory.lineage.impact_page import PREDICTIONS_SHOWN
from backstory.lineage.plain import count_text

if TYPE_CHECKING:
    from backstory.lineage.impact import Impact

KEY_EXAMPLE = """--key '["JFK", 5]'"""
_LOADS = ("--loaded-since", "--loaded-until", "--part", "--origin")
_OF_SEVERAL = "a value for each of"
"""What an error about a key of several columns says."""


def impact(
    source: str | None = None,
    /,
    *,
    row: Annotated[list[int] | None, Parameter(negative=())] = None,
    key: Annotated[list[str] | None, Parameter(negative=())] = None,
    where: str | None = None,
    version: str | None = None,
    loaded_since: str | None = None,
    loaded_until: str | None = None,
    part: str | None = None,
    origin: str | None = None,
    model: str | None = None,
    feature: str | None = None,
    as_of: AsOf = None,
    count: Annotated[bool, Parameter(negative=())] = False,
    cases: Annotated[bool, Parameter(negative=())] = False,
    subjects: Annotated[bool, Parameter(negative=())] = False,
    export: Path | None = None,
    limit: int = PREDICTIONS_SHOWN,
    asking: Asking = ASKING,
    opening: Opening = SEALED_STAY_SEALED,
) -> int:
    """Say which predictions, models and features some rows of a source reached; or a model, or a feature.

    At most one of --row, --key and --where chooses rows, of what was loaded as --loaded-since, --loaded-until, --part
    and --origin say.

    Args:
        source: Name of the source.
        row: Position of a row; may be repeated.
        key: Key of a row: its value, or a JSON array or object if it has several columns; may be repeated.
        where: SQL predicate over the source's columns.
        version: A version of the source, such as `flights:2` or `flights@june`, or a prefix of its digest; needed for
            --row where there are several. [default: all versions]
        loaded_since: Only what was loaded at or after this moment, RFC 3339.
        loaded_until: Only what was loaded before this moment.
        part: Only rows of this part.
        origin: Only rows from there: a file's name, a path, or what `origin` was given as.
        model: All predictions of a model version instead: `name:version`, `name@alias`.
        feature: All predictions with this feature instead.
        as_of: Answer from the past.
        count: Print the counts only.
        cases: List the ids of the requests instead of the predictions, all of them.
        subjects: List the people instead of the predictions, all of them; needs --actor and --purpose.
        export: Write the predictions to this file: `.parquet`, `.csv` or `.jsonl`; then only the counts are printed.
        limit: How many predictions to list; with --json all are.
        asking: Which archive.
        opening: Who asks.
    """
    from backstory.lineage.reconcile import moment_ns

    load = (loaded_since, loaded_until, part, origin)
    for name, moment in zip(_LOADS, load[:2], strict=False):
        moment_ns(moment, f"impact: expected {name}")
    if sum(choice is not None for choice in (row, key, where)) > 1:
        raise QueryError("impact: expected exactly one of --row, --key and --where")
    if sum(choice is not None for choice in (source, model, feature)) != 1:
        raise QueryError("impact: expected exactly one of SOURCE, --model and --feature")
    if source is not None and all(choice is None for choice in (row, key, where, *load)):
        raise QueryError(f"impact: expected --row, --key or --where, or one of {', '.join(_LOADS)}")
    if limit < 1:
        raise QueryError(f"impact: expected a --limit of at least 1, got {limit}")
    keys = None if key is None else [parse_key(text) for text in key]
    loaded = None if loaded_since is None and loaded_until is None else (loaded_since, loaded_until)
    with progress("tracing"), open_archive(asking, opening) as archive:
        try:
            answer = archive.impact(
                source,
                rows=row,
                keys=keys,
                where=where,
                version=version,
                loaded=loaded,
                part=part,
                origin=origin,
                model=model,
                feature=feature,
                as_of=tree_size(as_of, archive.tree_size_at),
            )
        except QueryError as error:
            if _OF_SEVERAL not in str(error):
                raise
            raise QueryError(f"{error}; on a command line: {KEY_EXAMPLE}", **error.details) from None
        exported = None if export is None else answer.export(export)
        if subjects and opening.actor is None:
            raise ForbiddenError("impact: --subjects needs --actor and --purpose")
        lists = ({"cases": answer.cases} if cases else {}) | ({"subjects": answer.subjects} if subjects else {})
        _print(answer, 0 if count or lists or export is not None else limit, exported, lists, as_json=asking.json)
    return PARTIAL if answer.sealed or answer.sealed_models or answer.left_out else OK


def _print(answer: Impact, limit: int, exported: int | None, lists: dict[str, list[str]], *, as_json: bool) -> None:
    """Print an answer, with so many predictions; `exported` is how many lines were written to a file."""
    if as_json:
        more = lists if exported is None else lists | {"exported": exported}
        print_json(answer.to_dict(predictions=limit > 0) | more)
        return
    from backstory.lineage.impact_page import impact_page

    print_page(impact_page(answer, limit))
    for name, ids in lists.items():
        print_text("\n".join(["", name.capitalize(), *(f"  {one}" for one in ids or ["none"])]))
    if exported is not None:
        print_text(f"\n{count_text(exported, 'line')} written")


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
