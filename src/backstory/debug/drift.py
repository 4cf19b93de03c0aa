"""Drift: whether what a model version was given and said has moved, against its training, a period or another version.

Reading is in `drift_read.py`, the mathematics in `drift_measures.py`, the page in `drift_page.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from backstory.debug.chart import write_chart
from backstory.debug.drift_alarms import DriftAlarm
from backstory.debug.drift_measures import ROWS_MIN, Floors, Measure, Spread, compare, compare_rates
from backstory.debug.drift_read import Gathered, Window, gather, spreads_of_profile
from backstory.errors import ForbiddenError, InputError, NotFoundError
from backstory.lineage import registry
from backstory.lineage.answer import Answer
from backstory.lineage.page import Page
from backstory.lineage.plain import plain
from backstory.lineage.reconcile import moment_ns
from backstory.lineage.store import read_profile
from backstory.records.identity import time_text

if TYPE_CHECKING:
    from backstory.ledger.ledger import Ledger
    from backstory.records.access import Gate

TRAINING: Final = "training"
CALLS: Final = "(calls)"
"""Stands for the column in a measure of calls as a whole. No column has this name: theirs begin with what they are."""
_SECOND: Final = 10**9
_LENGTHS: Final = {"hour": 3600 * _SECOND, "day": 86_400 * _SECOND, "week": 7 * 86_400 * _SECOND}
_MONDAY: Final = 4 * 86_400 * _SECOND
"""The first Monday after the epoch."""
_PERIODS_MAX: Final = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnMeasure:
    """A measure of a column in a period.

    Attributes:
        column: Name of the column, such as `feature.age`, `output`, `decision`, `flags`; `(calls)` for failed calls.
        measure: The measure.
        alarm: Whether it is surely more than chance, and large enough.
    """

    column: str
    measure: Measure
    alarm: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Period:
    """What was found of a period.

    Attributes:
        since: Its first moment.
        until: The first moment after it.
        rows: Predictions in it.
        errors: How many of them failed.
        read: How many were read record by record, as no sketch does for them.
        unsealed: How many of these are not sealed yet.
        measures: What was measured; none where there are too few predictions.
    """

    since: str
    until: str
    rows: int
    errors: int
    read: int
    unsealed: int
    measures: tuple[ColumnMeasure, ...]

    @property
    def alarms(self) -> tuple[ColumnMeasure, ...]:
        """The measures that raise an alarm, the largest first."""
        found = [one for one in self.measures if one.alarm]
        return tuple(sorted(found, key=lambda one: -one.measure.effect / one.measure.floor))


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift(Answer):
    """What a model version was given and said, period by period, compared with a reference.

    Attributes:
        model: Name of the model.
        version: Number of its version.
        digest: The version's digest.
        reference: What was compared with.
        baseline: First moment of the period that outputs, decisions and flags were compared with, where the reference
            is training, which does not know them; None otherwise, and where no period has enough predictions.
        period: How long a period is, in words.
        alpha: How likely a period without drift may raise an alarm.
        periods: The periods that have predictions, oldest first.
        not_compared: Columns of the predictions that the reference does not have, and features of the reference that no
            prediction has.
    """

    model: str
    version: int
    digest: str
    reference: str
    baseline: str | None
    period: str
    alpha: float
    periods: tuple[Period, ...]
    not_compared: tuple[str, ...]

    @property
    def alarms(self) -> tuple[DriftAlarm, ...]:
        """The alarms, oldest first, of each period the largest first."""
        return tuple(
            DriftAlarm(
                model=self.model, version=self.version, digest=self.digest, since=period.since, until=period.until,
                column=one.column, measure=one.measure.kind, value=one.measure.effect, threshold=one.measure.floor,
                reference=self.reference,
            )
            for period in self.periods
            for one in period.alarms
        )  # fmt: skip

    def to_dict(self) -> dict[str, Any]:
        """Return the drift as values JSON has."""
        periods = [
            {
                "alarms": len(period.alarms),
                "errors": period.errors,
                "measures": [
                    {"alarm": one.alarm, "column": one.column, **plain(asdict(one.measure))} for one in period.measures
                ],
                "read": period.read,
                "rows": period.rows,
                "since": period.since,
                "unsealed": period.unsealed,
                "until": period.until,
            }
            for period in self.periods
        ]
        return {
            "alarms": [alarm.to_dict() for alarm in self.alarms],
            "alpha": self.alpha,
            "baseline": self.baseline,
            "digest": self.digest,
            "model": self.model,
            "not_compared": list(self.not_compared),
            "period": self.period,
            "periods": periods,
            "reference": self.reference,
            "version": self.version,
        }

    def plot(self, path: str | Path) -> None:
        """Draw the measures that moved most, by period, as an SVG file.

        Raises:
            InputError: Its name has another ending.
            StorageError: It cannot be written.
        """
        from backstory.debug.drift_page import drift_chart

        write_chart(path, "drift", drift_chart(self))

    def __repr__(self) -> str:
        """Return the counts on one line."""
        from backstory.debug.drift_page import drift_page

        return f"<Drift: {drift_page(self).headline}>"

    def _page(self) -> Page:
        from backstory.debug.drift_page import drift_page

        return drift_page(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reference:
    """What is compared with: columns by name, rows and errors where these are known; `told` in words."""

    told: str
    columns: dict[str, Spread]
    calls: Gathered | None


def compare_model(
    ledger: Ledger,
    gate: Gate,
    version: registry.Registered,
    *,
    since: datetime | str | None,
    until: datetime | str | None,
    reference: str | tuple[datetime | str | None, datetime | str | None],
    period: str | timedelta,
    alpha: float,
    floors: Floors,
) -> Drift:
    """Compare the predictions of a model version with a reference; for the arguments see `archive.drift`.

    Raises:
        NotFoundError: There are no predictions, no such version, or no training profile.
        ForbiddenError: Values are sealed, and the gate lets nothing through.
        InputError: The period, the reference or alpha is malformed.
        QueryError: A moment is malformed.
    """
    if not 0 < alpha < 1:
        raise InputError(f"drift: expected alpha between 0 and 1, got {alpha:g}")
    window = window_of(since, until, period)
    found = gather(ledger, gate, version.digest, window)
    if not found:
        raise NotFoundError(f"drift: {version.name}:{version.version} has no predictions in this time")
    if len(found) > _PERIODS_MAX:
        raise InputError(f"drift: expected at most {_PERIODS_MAX:,} periods, got {len(found):,}; take longer ones")
    against = _reference(ledger, gate, version, reference, window)
    baseline = None
    if against.calls is None:
        baseline = next((number for number, of in found.items() if of.rows >= ROWS_MIN), None)
    columns = dict(against.columns)
    if baseline is not None:
        columns |= {name: one for name, one in found[baseline].columns.items() if not name.startswith("feature.")}
    periods = []
    for number, of in found.items():
        calls = against.calls or (found[baseline] if baseline is not None else None)
        measures = list(_measures(of, columns, calls, floors, first=number == baseline))
        limit = alpha / max(1, len(measures))
        bounds = [time_text(at) for at in window.bounds(number)]
        periods.append(
            Period(
                since=bounds[0], until=bounds[1], rows=of.rows, errors=of.errors, read=of.read, unsealed=of.unsealed,
                measures=tuple(
                    ColumnMeasure(column=column, measure=one, alarm=one.p <= limit and one.effect >= one.floor)
                    for column, one in measures
                ),
            )
        )  # fmt: skip
    seen = {name for of in found.values() for name in of.columns}
    given = {name for name in columns if name.startswith("feature.")}
    return Drift(
        model=version.name,
        version=version.version,
        digest=version.digest,
        reference=against.told,
        baseline=None if baseline is None else time_text(window.bounds(baseline)[0]),
        period=period if isinstance(period, str) else str(period),
        alpha=alpha,
        periods=tuple(periods),
        not_compared=tuple(sorted((seen - columns.keys()) | (given - seen))),
    )


def window_of(since: datetime | str | None, until: datetime | str | None, period: str | timedelta | None) -> Window:
    """Return the periods between two moments; without a length one period.

    Raises:
        InputError: The length is none.
        QueryError: A moment is malformed.
    """
    first, end = moment_ns(since, "drift: expected since"), moment_ns(until, "drift: expected until")
    if period is None:
        return Window(since=first, until=end, origin=-(2**62), length=2**63 - 1)  # 64 bits do
    length = _LENGTHS.get(period, 0) if isinstance(period, str) else period // timedelta(microseconds=1) * 1000
    if length < _SECOND:
        raise InputError("drift: expected a period of hour, day, week, or a timedelta of at least a second")
    origin = _MONDAY if period == "week" else 0 if isinstance(period, str) or first is None else first
    return Window(since=first, until=end, origin=origin, length=length)


def _reference(
    ledger: Ledger,
    gate: Gate,
    version: registry.Registered,
    reference: str | tuple[datetime | str | None, datetime | str | None],
    window: Window,
) -> _Reference:
    if isinstance(reference, str):
        if reference == TRAINING:
            return _training(ledger, gate, version)
        other = registry.find_version(ledger, reference)
        told, asked = f"{other.name}:{other.version}", window_of(None, None, None)
        asked = Window(since=window.since, until=window.until, origin=asked.origin, length=asked.length)
        found = gather(ledger, gate, other.digest, asked)
    elif isinstance(reference, tuple) and len(reference) == 2:  # noqa: PLR2004  a pair of moments
        asked = window_of(*reference, None)
        ends = ["…" if at is None else time_text(at) for at in (asked.since, asked.until)]
        told, found = " to ".join(ends), gather(ledger, gate, version.digest, asked)
    else:
        raise InputError("drift: expected training, a model version or a pair of moments as reference")
    if not found:
        raise NotFoundError(f"drift: the reference, {told}, has no predictions")
    (calls,) = found.values()
    return _Reference(told=told, columns=calls.columns, calls=calls)


def _training(ledger: Ledger, gate: Gate, version: registry.Registered) -> _Reference:
    entries = ledger.find_entries("model.registered", version.name)
    about = next((entry.get("about") for entry in entries if entry.get("model") == version.digest), None)
    said = ledger.document(about).get("profile") if isinstance(about, str) else None
    if isinstance(said, dict):
        if not gate.allows():
            raise ForbiddenError(f"drift: what the model was trained on is sealed: {gate.lacking()}")
        gate.pass_through("drift", ["features"], 1)
    profile = read_profile(ledger, said)
    if profile is None:
        raise NotFoundError(
            f"drift: no profile of what {version.name}:{version.version} was trained on; register a model with rows=, "
            "or compare with a period or another version"
        )
    return _Reference(told=TRAINING, columns=spreads_of_profile(profile), calls=None)


def _measures(
    of: Gathered, columns: dict[str, Spread], calls: Gathered | None, floors: Floors, *, first: bool
) -> Iterator[tuple[str, Measure]]:
    """Yield what can be measured of a period; of the first, which is the baseline itself, only its features."""
    for name, now in of.columns.items():
        then = columns.get(name)
        if then is None or (first and not name.startswith("feature.")):
            continue
        if name == "flags":
            found = [compare_rates("flagged", (now.values, now.rows), (then.values, then.rows), floors.rate)]
        elif name == "decision" and of.types.get(name) == "bool":
            ways = [((one.counts or {}).get("true", 0), one.values) for one in (now, then)]
            found = [compare_rates("decision", ways[0], ways[1], floors.rate)]
        else:
            found = [*compare(now, then, floors)]
        yield from ((name, one) for one in found if one is not None)
    if calls is not None and not first:
        failed = compare_rates("errors", (of.errors, of.rows), (calls.errors, calls.rows), floors.nulls)
        yield from [(CALLS, failed)] if failed is not None else []
