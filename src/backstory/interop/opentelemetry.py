"""Metrics as OpenTelemetry instruments, read whenever its SDK collects."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Protocol

from backstory.capture.metrics import INSTRUMENTS, Instrument, Metrics

if TYPE_CHECKING:
    from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation


class Measured(Protocol):
    """What has metrics: an archive."""

    def metrics(self) -> Metrics:
        """Return them as they are now."""


def observe(archive: Measured, meter_provider: MeterProvider | None = None) -> None:
    """Let OpenTelemetry observe an archive's metrics; needs the package `opentelemetry-api`.

    Call it in the process that records: in a worker, after the fork.

    Args:
        archive: The archive.
        meter_provider: Where the instruments are made; None for the global one.
    """
    from opentelemetry import metrics

    meter = (meter_provider or metrics.get_meter_provider()).get_meter("backstory")
    for one in INSTRUMENTS:
        make = meter.create_observable_counter if one.kind == "counter" else meter.create_observable_gauge
        make(one.name, callbacks=[_callback(archive, one)], unit=one.unit, description=one.what)


def _callback(archive: Measured, one: Instrument) -> Callable[[CallbackOptions], Iterable[Observation]]:
    from opentelemetry.metrics import Observation

    return lambda _: [Observation(getattr(archive.metrics(), one.field))]
