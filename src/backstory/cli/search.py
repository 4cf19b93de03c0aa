"""`backstory search`: the predictions an SQL predicate holds for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from backstory.cli.answer import print_json, print_page
from backstory.cli.archives import open_ledger
from backstory.cli.options import ASKING, Asking
from backstory.cli.progress import progress
from backstory.errors import QueryError

if TYPE_CHECKING:
    import pyarrow as pa

    from backstory.lineage.page import Page

LIMIT = 20
"""Predictions printed unless told otherwise."""


def search(predicate: str, /, *values: str, limit: int = LIMIT, asking: Asking = ASKING) -> None:
    """List the predictions for which an SQL predicate holds, oldest first.

    Args:
        predicate: Over model, version, time, status, output, decision, feature.NAME, row.NAME.
        values: Values for the question marks in the predicate.
        limit: How many at most.
        asking: Which archive.
    """
    from backstory.lineage.search import search_predictions

    if limit < 1:
        raise QueryError(f"search: expected a --limit of at least 1, got {limit}")
    with progress("searching"), open_ledger(asking) as ledger:
        found = search_predictions(ledger, predicate, values, limit + 1)
    shown = found.slice(0, limit)
    if asking.json:
        print_json({"more": found.num_rows > limit, "predictions": _rows(shown)})
    else:
        print_page(_page(shown, more=found.num_rows > limit))


def _rows(table: pa.Table) -> list[dict[str, object]]:
    from backstory.records.identity import time_text

    if "time" not in table.column_names:
        return list(table.to_pylist())
    times = [time_text(moment.value) for moment in table["time"]]
    rest = table.drop_columns(["time"]).to_pylist()
    return [{"id": row.pop("id"), "time": time, **row} for row, time in zip(rest, times, strict=True)]


def _page(table: pa.Table, *, more: bool) -> Page:
    """Lay the found predictions out: what was predicted and decided; JSON has every column."""
    from backstory.lineage.page import Page, Row, Section
    from backstory.lineage.plain import count_text

    rows = tuple(Row(cells=_cells(row)) for row in _rows(table))
    headline = count_text(len(rows), "prediction")
    return Page(
        headline=f"{headline}, the oldest; --limit shows more" if more else headline,
        sections=(Section(title="Found", columns=("id", "recorded", "model", "output", "decision"), rows=rows),)
        if rows
        else (),
    )


def _to_second(moment: str) -> str:
    return moment.partition(".")[0] + "Z"


def _cells(row: dict[str, object]) -> tuple[str, ...]:
    from backstory.lineage.plain import named, shown

    outputs = {name.partition(".")[2]: value for name, value in row.items() if name.startswith("output.")}
    output = named(outputs) if outputs else shown(row["output"]) if "output" in row else "sealed"
    model = "" if row["model"] is None else f"{row['model']}:{row['version']}"
    decision = row.get("decision")
    return str(row["id"]), _to_second(str(row["time"])), model, output, "" if decision is None else shown(decision)
