"""A drift laid out: the alarms first, then the periods; and as a chart."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from backstory.debug.chart import Level, Line, lines
from backstory.lineage.page import Page, Row, Section, rows_of
from backstory.lineage.plain import count_text, label, to_second

if TYPE_CHECKING:
    from backstory.debug.drift import ColumnMeasure, Drift, Period

_ALARMS_SHOWN = 30
"""So many alarms are listed for a reader; `.alarms` and `to_dict()` have them all."""
_LINES_SHOWN = 6
_P_LEAST = 1e-6
_WORDS = {
    "ks": "distribution (KS)",
    "psi": "distribution (PSI)",
    "nulls": "rate without a value",
    "unseen": "rate of categories not in the reference",
    "decision": "rate of decisions that are true",
    "flagged": "rate of rows with flags",
    "errors": "rate of failed calls",
}


def drift_page(drift: Drift) -> Page:
    """Return a drift for a reader."""
    hit = [period for period in drift.periods if period.alarms]
    name = f"{drift.model}:{drift.version}"
    against = f"against {drift.reference}"
    if hit:
        counts = (
            f"{count_text(len(drift.alarms), 'alarm')} in {len(hit):,} of {count_text(len(drift.periods), 'period')}"
        )
    else:
        compared = sum(bool(period.measures) for period in drift.periods)
        counts = f"no alarm in {count_text(compared, 'period')}" if compared else "nothing could be compared"
    return Page(
        headline=f"{name} {against}: {counts}",
        alarms=tuple(_loud(drift, hit)),
        facts=tuple(_facts(drift)),
        sections=tuple(section for section in _sections(drift) if section.rows),
    )


def _loud(drift: Drift, hit: list[Period]) -> Iterator[str]:
    yield from (f"DRIFT from {to_second(one.since)} until {to_second(one.until)}" for one in hit[:_ALARMS_SHOWN])
    features = [name for name in drift.not_compared if name.startswith("feature.")]
    if features:
        yield f"PARTIAL: {count_text(len(features), 'feature')} not compared: only one of both has them"


def _facts(drift: Drift) -> Iterator[tuple[str, str]]:
    rows, read = sum(one.rows for one in drift.periods), sum(one.read for one in drift.periods)
    unsealed = sum(one.unsealed for one in drift.periods)
    whence = f"{rows - read:,} from sketches, {read:,} read" + (
        f", {unsealed:,} of these not sealed" if unsealed else ""
    )
    yield "predictions", f"{rows:,} ({whence})"
    if drift.baseline is not None:
        yield "baseline", f"outputs, decisions and flags against the period from {to_second(drift.baseline)}"
    few = sum(not one.measures for one in drift.periods)
    if few:
        yield "too few", f"{count_text(few, 'period')} not compared"
    if drift.not_compared:
        yield "not compared", ", ".join(map(label, drift.not_compared))
    yield "false alarms", f"at most {drift.alpha:.3g} of the periods without drift, if rows are independent"


def _sections(drift: Drift) -> Iterator[Section]:
    found = [(period, one) for period in drift.periods for one in period.alarms]
    rows = [(to_second(period.since), label(one.column), *_cells(one)) for period, one in found[:_ALARMS_SHOWN]]
    more = f" (the first {_ALARMS_SHOWN} of {len(found):,})" if len(found) > _ALARMS_SHOWN else ""
    columns = ("period from", "column", "measure", "value", "reference", "alarm from", "p")
    yield Section(title=f"Alarms{more}", columns=columns, rows=rows_of(rows))
    yield Section(
        title="Periods",
        columns=("from", "predictions", "failed", "measures", "alarms", "most moved"),
        rows=tuple(
            Row(
                cells=(
                    to_second(one.since), f"{one.rows:,}", f"{one.errors:,}", f"{len(one.measures):,}",
                    f"{len(one.alarms):,}", _most_moved(one.measures),
                ),
                loud=bool(one.alarms),
            )
            for one in drift.periods
        ),
    )  # fmt: skip


def _cells(one: ColumnMeasure) -> tuple[str, ...]:
    measure = one.measure
    is_rate = measure.reference is not None
    shown = [f"{value:.1%}" if is_rate else f"{value:.3f}" for value in (measure.value, measure.reference or 0.0)]
    floor = f"{measure.floor * 100:g} points" if is_rate else f"{measure.floor:g}"
    p = f"{measure.p:.2g}" if measure.p >= _P_LEAST else f"< {_P_LEAST:g}"
    return _WORDS[measure.kind], shown[0], shown[1] if is_rate else "", floor, p


def _most_moved(measures: tuple[ColumnMeasure, ...]) -> str:
    if not measures:
        return "too few predictions"
    most = max(measures, key=_ratio)
    chance = ", maybe by chance" if _ratio(most) >= 1 and not most.alarm else ""
    return f"{label(most.column)} {most.measure.kind}, {_ratio(most):.2g} × what is large{chance}"


def _ratio(one: ColumnMeasure) -> float:
    return one.measure.effect / one.measure.floor


def drift_chart(drift: Drift) -> str:
    """Return the measures that moved most, by period, as an SVG document."""
    ratios: dict[tuple[str, str], dict[int, float]] = {}
    marks: dict[tuple[str, str], set[int]] = {}
    for at, period in enumerate(drift.periods):
        for one in period.measures:
            key = one.column, one.measure.kind
            ratios.setdefault(key, {})[at] = _ratio(one)
            if one.alarm:
                marks.setdefault(key, set()).add(at)
    first = sorted(ratios, key=lambda key: (-len(marks.get(key, ())), -max(ratios[key].values())))[:_LINES_SHOWN]
    hourly = any(to_second(period.since)[11:] != "00:00:00Z" for period in drift.periods)
    return lines(
        f"Drift of {drift.model}:{drift.version} against {drift.reference}",
        [to_second(period.since)[: 16 if hourly else 10].replace("T", " ") for period in drift.periods],
        [
            Line(
                label=f"{label(column)}: {kind}",
                values=[ratios[column, kind].get(at) for at in range(len(drift.periods))],
                marks=frozenset(marks.get((column, kind), ())),
            )
            for column, kind in first
        ],
        axis="effect, in parts of what raises an alarm",
        subtitle=f"The {len(first)} measures that moved most, of {len(ratios)}; by {drift.period}, in UTC",
        levels=[Level(label="alarm, if it is more than chance", value=1.0)],
    )
