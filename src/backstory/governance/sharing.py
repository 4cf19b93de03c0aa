"""Figures that leave the archive: the budget is charged, then rows are read, noise is added, and the answer is kept.

A crash between the charge and the answer leaves the charge: what may have been seen is never given back. The same
question of the same audience gets the answer it got, as another one would tell more. Bytes: docs/format.md section 42.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from backstory.errors import NotFoundError
from backstory.governance.budget import require_terms, reserve
from backstory.governance.sharing_noise import Noise
from backstory.governance.sharing_plan import Cell, plan
from backstory.governance.sharing_question import Question, check
from backstory.governance.sharing_read import SHARE, FigureRows
from backstory.governance.sharing_rows import bounded
from backstory.lineage.answer import Answer
from backstory.lineage.page import Page, Section, rows_of
from backstory.lineage.plain import count_text
from backstory.records import canonical
from backstory.records.canonical import JsonObject
from backstory.records.identity import time_text
from backstory.records.privacy_budget import RELEASED, SPENT, noise_entry

if TYPE_CHECKING:
    from backstory.governance.access import AccessGate
    from backstory.ledger.ledger import Ledger
    from backstory.lineage.trace import Tracer

_UNITS = {"subject": "a person, with all predictions about them", "record": "one record"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure(Answer):
    """A figure that an audience was given.

    Attributes:
        audience: Who.
        question: What was asked, as the log commits to it.
        cells: Its numbers, with the interval noise leaves in 95 of 100 answers. Which rows happened to be recorded is
            not part of it.
        noise: What was added.
        size: Size of the tree it was made from.
        time: When it was made, RFC 3339.
        spent: Index of the entry that charged the budget.
        repeated: Whether this is the answer to the same question earlier, for which nothing was charged now.
    """

    audience: str
    question: JsonObject
    cells: tuple[Cell, ...]
    noise: tuple[Noise, ...]
    size: int
    time: str
    spent: int
    repeated: bool = False

    @property
    def value(self) -> float | None:
        """Its number, where it has one cell."""
        if len(self.cells) != 1:
            raise AttributeError(f"figure: expected one cell, it has {len(self.cells)}; see .cells or .table()")
        return self.cells[0].value

    @property
    def epsilon(self) -> str:
        """What it lost, as a decimal."""
        return canonical.text_of(self.question, "epsilon")

    def table(self) -> pa.Table:
        """Return its cells as an Arrow table."""
        rows = [{**cell.keys, "value": cell.value, "low": cell.low, "high": cell.high} for cell in self.cells]
        return pa.Table.from_pylist(rows)

    def to_dict(self) -> dict[str, Any]:
        """Return it as values JSON has."""
        return {**asdict(self), "cells": [asdict(cell) for cell in self.cells]}

    def __repr__(self) -> str:
        """Return it on one line."""
        return f"<Figure: {self._page().headline}>"

    def _page(self) -> Page:
        asked = self.question
        what = f"{asked['statistic']} of {asked['of'] or 'rows'}"
        only = self.cells[0] if len(self.cells) == 1 and not self.cells[0].keys else None
        headline = f"{what}: {_number(only.value)}" if only else f"{what}: {count_text(len(self.cells), 'cell')}"
        noise = "; ".join(
            f"{one.mechanism}, scale {one.scale:.6g}, ±{one.error:.6g} in 95 of 100" for one in self.noise
        )
        facts = [
            ("audience", f"{self.audience}, charged in entry {self.spent}{' earlier' if self.repeated else ''}"),
            ("loss", f"epsilon {asked['epsilon']}, delta {asked['delta']}; protects {_UNITS[str(asked['unit'])]}"),
            ("noise", noise + (" ranks" if self.noise[0].mechanism == "exponential" else "")),
            ("rows", f"at most {asked['per_person']} a person, the latest; log of {self.size} entries, {self.time}"),
        ]
        if only is not None and only.low is not None:
            facts.insert(0, ("95 of 100", f"{_number(only.low)} to {_number(only.high)}"))
        names = [] if only else list(self.cells[0].keys) if self.cells else []
        lines = [
            (*(str(cell.keys[name]) for name in names), *(_number(n) for n in (cell.value, cell.low, cell.high)))
            for cell in self.cells
        ]
        section = Section(title="Cells", columns=(*names, "value", "low", "high"), rows=rows_of(lines))
        return Page(headline=headline, facts=tuple(facts), sections=() if only else (section,))


def share_figure(
    ledger: Ledger, gate: AccessGate, tracer: Tracer, audience: str, question: Question, *, again: bool = False
) -> Figure:
    """Answer a question for an audience.

    Args:
        ledger: The archive.
        gate: Opens sealed values.
        tracer: Reads whom rows are about.
        audience: Who is given the answer.
        question: What is asked.
        again: Make it anew where the same was asked before, and charge for it.

    Raises:
        ForbiddenError: The policy does not permit it, there is no budget or not enough of it, or sealed values may not
            be read.
        InputError: The question cannot be asked, or the extra `privacy` is not installed.
        NotFoundError: There is no such model.
    """
    gate.require(SHARE)
    terms = require_terms(ledger, audience)
    if question.unit != terms.unit:
        raise AssertionError("the question's unit is the budget's")
    check(question)
    if not again:
        for figure in figures(ledger, audience):
            if canonical.encode(figure.question).decode() == question.text():
                return replace(figure, repeated=True)
    rows = FigureRows(ledger, gate, tracer, question)
    rows.require_open()
    made = plan(question)
    spent = reserve(
        ledger,
        audience,
        question.loss,
        lambda: {
            "noise": [noise_entry(one.mechanism, one.scale) for one in made.noise],
            "question": ledger.commit_text("question", question.text()),
            "statistic": question.statistic,
        },
    )
    size = ledger.log.checkpoint().size
    cells = made.run(bounded(rows.read(), question.rows_each))
    figure = Figure(
        audience=audience,
        question=question.document(),
        cells=tuple(cells),
        noise=made.noise,
        size=size,
        time=time_text(ledger.world.now_ns()),
        spent=spent,
    )
    answer = ledger.commit_text("answer", canonical.encode(_document(figure)).decode())
    ledger.append([{"answer": answer, "name": audience, "spent": str(spent), "type": RELEASED}])
    return figure


def figures(ledger: Ledger, audience: str | None = None) -> Iterator[Figure]:
    """Yield the figures that were given out, newest first: all, or those of an audience.

    Raises:
        VerificationError: An answer that is kept is not the one the log commits to.
    """
    charged = {index for index, _ in ledger.numbered_entries(SPENT, audience)}
    for entry in reversed(ledger.find_entries(RELEASED, audience)):
        spent = canonical.count_of(entry, "spent")
        if spent not in charged:
            continue
        try:
            text = ledger.text_of(canonical.text_of(entry, "answer"), "answer")
        except NotFoundError:
            continue  # the vault is away
        yield _figure(canonical.text_of(entry, "name"), spent, canonical.parse_object(text.encode(), "answer"))


def _document(figure: Figure) -> JsonObject:
    return {
        "cells": [
            {
                "high": _told(cell.high),
                "keys": json.dumps(cell.keys, ensure_ascii=False),
                "low": _told(cell.low),
                "value": _told(cell.value),
            }
            for cell in figure.cells
        ],
        "noise": [
            {"error": repr(one.error), "mechanism": one.mechanism, "scale": repr(one.scale)} for one in figure.noise
        ],
        "question": figure.question,
        "size": str(figure.size),
        "time": figure.time,
    }


def _figure(audience: str, spent: int, document: JsonObject) -> Figure:
    cells, noise, question = document["cells"], document["noise"], document["question"]
    assert isinstance(cells, list)  # noqa: S101  the commitment opened: it is what was written
    assert isinstance(noise, list)  # noqa: S101
    assert isinstance(question, dict)  # noqa: S101
    return Figure(
        audience=audience,
        question=question,
        cells=tuple(
            Cell(
                keys=json.loads(canonical.text_of(cell, "keys")),
                value=_read(cell["value"]),
                low=_read(cell["low"]),
                high=_read(cell["high"]),
            )
            for cell in cells
            if isinstance(cell, dict)
        ),
        noise=tuple(
            Noise(
                mechanism=canonical.text_of(one, "mechanism"),
                scale=float(canonical.text_of(one, "scale")),
                error=float(canonical.text_of(one, "error")),
            )
            for one in noise
            if isinstance(one, dict)
        ),
        size=canonical.count_of(document, "size"),
        time=canonical.text_of(document, "time"),
        spent=spent,
    )


def _told(number: float | None) -> str | None:
    return None if number is None else repr(number)


def _read(text: object) -> float | None:
    if text is None:
        return None
    return int(str(text)) if str(text).lstrip("-").isdecimal() else float(str(text))


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:,.6g}" if isinstance(value, float) else f"{value:,}"
