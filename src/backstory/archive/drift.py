"""`archive.drift`: whether what a model is given and says has moved, and how right it was once that is known."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Literal, TypeAlias

from backstory.archive.inside import Inside
from backstory.capture.model_version import ModelVersion
from backstory.debug.drift import Drift, compare_model
from backstory.debug.drift_alarms import DriftAlarm, find_alarms, record_alarms
from backstory.debug.drift_measures import FLOORS, Floors
from backstory.debug.performance import Metric, Performance, measure_performance
from backstory.lineage import registry

Moment: TypeAlias = "datetime | str | None"
"""A moment: a datetime with a zone, or RFC 3339 text."""
Length: TypeAlias = "Literal['hour', 'day', 'week'] | timedelta"
Reference: TypeAlias = "str | tuple[Moment, Moment]"


class DriftWatch:
    """Drift of the models of an archive; made by `Archive.drift`."""

    def __init__(self, inside: Inside) -> None:
        """Look at the predictions of an archive."""
        self._inside = inside

    def compare(
        self,
        model: ModelVersion | str,
        *,
        since: Moment = None,
        until: Moment = None,
        reference: Reference = "training",
        period: Length = "day",
        alpha: float = 0.01,
        floors: Floors = FLOORS,
    ) -> Drift:
        """Compare what a model version was given and said, period by period, with a reference; nothing is recorded.

        Args:
            model: The version, or what `Archive.model` takes.
            since: The first moment that counts; without one that of the first prediction.
            until: The first moment that counts no more; without one after the last prediction.
            reference: `training`: the features the version was trained on; outputs, decisions and flags, which training
                does not know, are then compared with the first period that has enough predictions. `(since, until)`:
                predictions of the same version. `name:version`: predictions of another version in the same time.
            period: How long a period is: `hour`, `day`, `week` or a timedelta. Periods are UTC, half-open, by the time
                of the record; days begin at midnight, weeks on Monday.
            alpha: How likely a period without drift may raise an alarm, all its measures together.
            floors: How large an effect must be to raise one, however sure it is.

        Returns:
            The drift: `periods`, each with its `measures`, and the `alarms`; `plot(path)` draws it.

        Raises:
            NotFoundError: There is no such model, or it has no predictions then.
            ForbiddenError: Its predictions are about people, and no purpose was given.
            InputError: A moment, period or reference is malformed.
        """
        self._inside.gate.require_open("drift")
        version = registry.find_version(self._inside.ledger, _spec(model))
        self._inside.recorder.write()
        return compare_model(
            self._inside.ledger, self._inside.gate, version,
            since=since, until=until, reference=reference, period=period, alpha=alpha, floors=floors,
        )  # fmt: skip

    def check(
        self,
        model: ModelVersion | str,
        *,
        since: Moment = None,
        until: Moment = None,
        reference: Reference = "training",
        period: Length = "day",
        alpha: float = 0.01,
        floors: Floors = FLOORS,
    ) -> Drift:
        """Compare as `compare` does, and put each alarm into the log that is not there yet.

        Names of columns are recorded and how much they moved, never a value of a row.

        Raises:
            ForbiddenError: As for `compare`, or the archive is open for reading only.
        """
        self._inside.gate.require_open("drift")
        self._inside.calls.require_writable()
        found = self.compare(
            model, since=since, until=until, reference=reference, period=period, alpha=alpha, floors=floors
        )
        record_alarms(self._inside.ledger, found.alarms)
        return found

    def alarms(self, model: ModelVersion | str | None = None) -> list[DriftAlarm]:
        """Return the alarms in the log, oldest first: of all models, or of one version.

        Raises:
            NotFoundError: There is no such model.
        """
        version = None if model is None else registry.find_version(self._inside.ledger, _spec(model))
        return find_alarms(self._inside.ledger, version)

    def performance(
        self,
        model: ModelVersion | str,
        *,
        metric: Metric = "auto",
        by: str | None = None,
        since: Moment = None,
        until: Moment = None,
        period: Length | None = None,
    ) -> Performance:
        """Say how right a model version was, as far as outcomes are recorded: by group and period, with counts.

        Args:
            model: The version, or what `Archive.model` takes.
            metric: `mae` or `rmse` of numbers, `accuracy` of classes or decisions, `rate`: how often the outcome is
                true; `auto`: accuracy where the outcome is of the kind of the decision or output, otherwise mae.
            by: Name of a feature to group by; numbers of many values are put into fifths. None for all together.
            since: As for `compare`: when the predictions were made.
            until: As for `compare`.
            period: As for `compare`; None for one period.

        Returns:
            The performance: `groups`, each with its counts, and how many predictions have an outcome.

        Raises:
            NotFoundError: There is no such model or feature.
            ForbiddenError: Its predictions are about people, and no purpose was given.
            InputError: The metric does not fit the outcomes.
        """
        self._inside.gate.require_open("performance")
        version = registry.find_version(self._inside.ledger, _spec(model))
        self._inside.recorder.write()
        return measure_performance(
            self._inside.ledger, self._inside.gate, version,
            metric=metric, by=by, since=since, until=until, period=period,
        )  # fmt: skip


def _spec(model: Any) -> str:  # noqa: ANN401  as `Archive.model` takes it
    return model.digest if isinstance(model, ModelVersion) else str(model)
