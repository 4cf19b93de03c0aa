"""`backstory search`: the predictions an SQL predicate holds for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from backstory.cli.answer import print_json, print_page
from backstory.cli.archives import open_archive, tree_size
from backstory.cli.exit_codes import OK, PARTIAL
from backstory.cli.options import ASKING, SEALED_STAY_SEALED, Asking, AsOf, Opening
from backstory.cli.progress import progress
from backstory.errors import QueryError

if TYPE_CHECKING:
    from backstory.lineage.page import Page

LIMIT = 20
"""Predictions printed unless told otherwise."""


def search(
    predicate: str,
    /,
    *values: str,
    limit: int = LIMIT,
    as_of: AsOf = None,
    asking: Asking = ASKING,
    opening: Opening = SEALED_STAY_SEALED,
) -> int:
    """List the predictions for which an SQL predicate holds, oldest first.

    Args:
        predicate: Over model, version, time, status, output, decision, feature.NAME, row.NAME.
        values: Values for the question marks in the predicate.
        limit: How many at most.
        as_of: Answer from the past.
        asking: Which archive.
        opening: Who asks, where an access policy is in force.
    """
    if limit < 1:
        raise QueryError(f"search: expected a --limit of at least 1, got {limit}")
    with progress("searching"), open_archive(asking, opening) as archive:
        hits = archive.hits(predicate, values, limit=limit, as_of=tree_size(as_of, archive.tree_size_at))
    rows = hits.rows()
    if asking.json:
        counts = {"more": hits.total > len(rows), "not_compared": hits.not_compared, "total": hits.total}
        redacted = [one.to_dict() for one in hits.redacted]
        print_json(counts | {"predictions": rows, "redacted": redacted})
    else:
        print_page(_page(rows, hits.total, (hits.left_out,) if hits.not_compared else ()))
    return PARTIAL if hits.not_compared else OK


def _page(rows: list[dict[str, Any]], total: int, alarms: tuple[str, ...]) -> Page:
    """Lay the found predictions out: what was predicted and decided; JSON has every column."""
    from backstory.lineage.page import Page, Row, Section
    from backstory.lineage.plain import count_text

    headline = count_text(total, "prediction")
    if total > len(rows):
        headline += f", the oldest {len(rows):,} of them here; --limit shows more"
    columns = ("id", "recorded", "model", "output", "decision")
    section = Section(title="Found", columns=columns, rows=tuple(Row(cells=_cells(row)) for row in rows))
    return Page(headline=headline, alarms=alarms, sections=(section,) if rows else ())


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    from backstory.lineage.plain import to_second

    model = "" if row["model"] is None else f"{row['model']}:{row['version']}"
    decision = "" if row.get("decision") is None else value_text(row, "decision")
    return str(row["id"]), to_second(str(row["time"])), model, value_text(row, "output"), decision


def value_text(row: dict[str, Any], name: str) -> str:
    """Return an output or a decision for a reader; several columns of it by name, floats to six digits."""
    from backstory.lineage.plain import named, shown

    own = {
        column: _rounded(value) for column, value in row.items() if value is not None
    }  # of the others' columns it has nulls
    members = {column.partition(".")[2]: value for column, value in own.items() if column.startswith(f"{name}.")}
    if name not in own and members:
        return named(members)
    return "sealed" if name not in own and name in row["sealed"] else shown(own.get(name))


def _rounded(value: object) -> object:
    return float(f"{value:.6g}") if isinstance(value, float) else value
