"""Rows of sources about one person, as a report shows them: each column as it is, or listed as withheld."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa

from backstory.columns.python_value import python_rows
from backstory.errors import LimitError
from backstory.governance.erasure_survey import Survey
from backstory.lineage.plain import count_text, shown
from backstory.records import canonical
from backstory.records.access import About
from backstory.records.limits import REPORT_RECORDS_MAX
from backstory.records.sensitivity import IDENTIFYING
from backstory.report.report import Cell, Withheld
from backstory.report.report_desk import Desk


@dataclass(frozen=True, slots=True, kw_only=True)
class RowsHeld:
    """What is told of a person's rows.

    Attributes:
        counts: How many rows each version of a source has, for each a row of a section.
        values: Their values that are shown, for each a row of a section.
        withheld: Columns that are not shown.
    """

    counts: Sequence[dict[str, Cell]]
    values: Sequence[dict[str, Cell]]
    withheld: Sequence[Withheld]


def tell_rows(desk: Desk, found: Survey, about: About) -> RowsHeld:
    """Tell which rows are a person's, with their values as far as whoever asks may see them; the reads are recorded.

    Args:
        desk: Where the report is made.
        found: Where the person is.
        about: What decides who may see it.

    Raises:
        LimitError: They are more than a report may have.
    """
    if sum(map(len, found.rows.values())) > REPORT_RECORDS_MAX:
        raise LimitError(f"report: expected at most {REPORT_RECORDS_MAX:,} rows of sources about a person")
    names = {
        canonical.text_of(entry, "dataset"): canonical.text_of(entry, "name")
        for entry in desk.ledger.find_entries("source.fixed")
    }
    counts: list[dict[str, Cell]] = []
    values: list[dict[str, Cell]] = []
    withheld: list[Withheld] = []
    for dataset, numbers in found.rows.items():
        rows, name = numbers.tolist(), names[dataset]
        counts.append({"rows": str(len(rows)), "source": name, "version": dataset})
        clear, closed = _columns(desk, dataset, about)
        what = f"{count_text(len(rows), 'row')} of source {name}"
        withheld += [
            Withheld(what=f"{column} of {what}", group="source", class_=class_, reason=reason, commitment=dataset)
            for column, (class_, reason) in closed.items()
        ]
        if clear:
            values += _values(desk, dataset, name, rows, clear)
    return RowsHeld(counts=counts, values=values, withheld=withheld)


def _columns(desk: Desk, dataset: str, about: About) -> tuple[dict[str, str], dict[str, tuple[str, str]]]:
    """Return the columns that are shown with their classes, and those that are not with class and reason."""
    gate = desk.gate.within(about)
    classes, views = gate.classes_of(dataset), gate.views()
    clear, closed = {}, {}
    for column in sorted(desk.tracer.column_names(dataset)):
        class_ = classes.get(column, IDENTIFYING)
        if views[class_] == "clear":
            clear[column] = class_
        else:
            closed[column] = class_, gate.reason(class_, views[class_])
    return clear, closed


def _values(
    desk: Desk, dataset: str, name: str, rows: Sequence[int], classes: dict[str, str]
) -> Iterator[dict[str, Cell]]:
    desk.note_rows(dataset, rows, classes.values())
    table = desk.tracer.columns(dataset, None, list(classes)).take(pa.array(rows))
    for number, values in zip(rows, python_rows(table), strict=True):
        for column, value in values.items():
            text = value if isinstance(value, str) else shown(value)
            yield {"name": column, "row": str(number), "source": name, "value": text, "version": dataset}
