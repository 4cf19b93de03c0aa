"""What rows reached, laid out: the counts, then models, features and the first predictions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from backstory.lineage.page import Page, Section, rows_of
from backstory.lineage.plain import count_text, label, to_second
from backstory.lineage.story_page import OPEN_HINT
from backstory.records.identity import time_text

if TYPE_CHECKING:
    import pyarrow as pa

    from backstory.lineage.impact import Impact

PREDICTIONS_SHOWN = 10
"""So many predictions are named for a reader; `.predictions` and `to_dict()` have them all."""

DIGITS_SHOWN = 12
"""Of a digest in a table; enough to find it by."""


def impact_page(impact: Impact, predictions: int = PREDICTIONS_SHOWN) -> Page:
    """Return an impact for a reader, the counts first.

    Args:
        impact: The answer.
        predictions: How many of its predictions to list; only then are ids read.
    """
    reached = [count_text(impact.counts[f"{noun}s"], noun) for noun in ("prediction", "model", "feature")]
    by_model = ", ".join(f"{count:,} of {model or 'no model'}" for model, count in impact.by_model.items())
    facts = (("of version", _versions(impact)), ("predictions", by_model))
    return Page(
        headline=f"{impact.what} reached {reached[0]}, {reached[1]}, {reached[2]}",
        alarms=tuple(_alarms(impact)),
        facts=tuple((name, text) for name, text in facts if text),
        sections=tuple(section for section in _sections(impact, predictions) if section.rows),
    )


def _versions(impact: Impact) -> str:
    named = [(digest[:DIGITS_SHOWN], rows) for digest, rows in impact.versions.items()]
    if len(named) == 1:
        return named[0][0]
    return ", ".join(f"{digest} ({count_text(rows, 'row')})" for digest, rows in named)


def _alarms(impact: Impact) -> Iterator[str]:
    if impact.sealed:
        left_out = count_text(impact.sealed, "sealed segment")
        yield f"PARTIAL: {left_out} not searched, there may be more: {OPEN_HINT}"
    if impact.sealed_models:
        left_out = count_text(impact.sealed_models, "model version")
        yield f"PARTIAL: {left_out} with sealed training rows not looked at, there may be more: {OPEN_HINT}"
    for digest, why in impact.left_out.items():
        yield f"PARTIAL: rows of version {digest[:DIGITS_SHOWN]} not looked at: {why}"


def _sections(impact: Impact, predictions: int) -> Iterator[Section]:
    models = (
        (f"{model.name}:{model.version}", f"{model.direct:,}", f"{model.through_groups:,}", model.digest[:DIGITS_SHOWN])
        for model in impact.models
    )
    columns = ("model", "training rows reached", "through groups", "digest")
    yield Section(title="Models trained on them", columns=columns, rows=rows_of(models))
    features = ((label(name), ", ".join(via)) for name, via in impact.features.items())
    yield Section(title="Features they can have changed", columns=("feature", "through"), rows=rows_of(features))
    if not predictions:
        return
    first = impact.first(predictions)
    shown = f": the first {first.num_rows} of {impact.lines:,} lines" if impact.lines > first.num_rows else ""
    title = f"Predictions, one line for each way they were reached{shown}"
    cells = list(_predictions(first))
    of_predictions = ["id", "recorded", "model", "via", "request"][: 5 if any(row[-1] for row in cells) else 4]
    rows = rows_of(row[: len(of_predictions)] for row in cells)
    yield Section(title=title, columns=tuple(of_predictions), rows=rows)


def _predictions(first: pa.Table) -> Iterator[tuple[str, ...]]:
    times = (to_second(time_text(moment.value)) for moment in first["time"])
    for row, moment in zip(first.drop_columns(["time"]).to_pylist(), times, strict=True):
        model = "" if row["model"] is None else f"{row['model']}:{row['version']}"
        via = "" if row["via"] is None else f"{row['via']} {row['position']}"
        yield row["id"], moment, model, via, "" if row["request_id"] is None else str(row["request_id"])
