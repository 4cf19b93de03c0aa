"""What an audit found, laid out: the verdict, then each output column with what it changes with."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from backstory.lineage.page import Page, Row, Section
from backstory.lineage.plain import count_text

if TYPE_CHECKING:
    from backstory.lineage.audit import Audit, ColumnAudit

_CAUSES_SHOWN = 4
_TARGET_WORDS = {
    "own": "with the target of its own row",
    "declared": "with the target of rows in its group",
    "others": "with the target of other rows",
}


def audit_page(audit: Audit) -> Page:
    """Return what an audit found for a reader, the verdict first."""
    rows = ", ".join(f"{name}: {count:,}" for name, count in audit.rows_in.items())
    return Page(
        headline=f"step {audit.step}: {_verdict(audit)}",
        alarms=tuple(_alarms(audit)),
        facts=(
            ("grade earned", audit.grade or "none"),
            ("rows in", rows),
            ("rows out", f"{audit.rows_out:,}"),
            (
                "sampled",
                f"{count_text(audit.samples, 'row')} with seed {audit.seed}, in {count_text(audit.runs, 'run')}",
            ),
        ),
        sections=tuple(section for section in [_columns(audit)] if section.rows),
    )


def _verdict(audit: Audit) -> str:
    if audit.ids_lost:
        return "what it returned does not say which rows it is made of"
    if audit.leaks:
        return f"the target leaks into {', '.join(column.name for column in audit.leaks)}"
    if audit.undeclared:
        return f"other rows have an influence on {', '.join(column.name for column in audit.undeclared)}"
    unsteady = [column.name for column in audit.columns if not column.is_steady]
    if unsteady:
        return f"does not give the same twice in {', '.join(unsteady)}"
    if audit.grade is None:
        return "no change of a row showed in what it returned"
    return "every row depends on the rows it names alone, as far as was sampled"


def _alarms(audit: Audit) -> Iterator[str]:
    for problem in audit.ids_lost:
        yield f"ids lost: {problem}"
    for column in audit.leaks:
        yield f"target leak: {column.name} changes {_TARGET_WORDS[str(column.target)]}"
    for column in audit.undeclared:
        with_what = f" with {_listed(column.others)}" if column.others else ""
        yield f"undeclared influence: {column.name} changes{with_what} in rows it does not name"
    for column in audit.columns:
        if not column.is_steady:
            yield f"not steady: {column.name} differs between two runs over the same rows; nothing else is said of it"
    if audit.refused:
        yield f"in {count_text(audit.refused, 'run')} the step raised an error over a changed value"


def _columns(audit: Audit) -> Section:
    rows = tuple(
        Row(
            cells=(column.name, _listed(column.own), _listed(column.declared), _others(column)),
            loud=bool(column.rows_reached or column.others or column.target),
        )
        for column in audit.columns
    )
    columns = ("column", "changes with, in its own rows", "in rows of its groups", "in other rows")
    return Section(title="Columns", columns=columns, rows=rows)


def _others(column: ColumnAudit) -> str:
    reached = f" ({count_text(column.rows_reached, 'row')} at most)" if column.rows_reached else ""
    return f"{_listed(column.others)}{reached}".strip()


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(names[:_CAUSES_SHOWN]) + (", …" if len(names) > _CAUSES_SHOWN else "")
