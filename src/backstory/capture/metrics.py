"""What operators watch: how much was recorded and refused, what waits to be written and sealed, since when."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["counter", "gauge"]
_PREFIX = "backstory_"
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
"""What `prometheus_text` is served as."""


def _measured(kind: Kind, unit: str, what: str) -> float:
    return field(metadata={"kind": kind, "unit": unit, "what": what})  # type: ignore[no-any-return]


@dataclass(frozen=True, slots=True, kw_only=True)
class Metrics:
    """What an archive and its recorder say of themselves now; see `Archive.metrics`.

    Counters, buffer and watermark lag are of this process; spool, seal lag and checkpoint are of the archive, whoever
    records into it.
    """

    records_total: float = _measured("counter", "1", "Records given an id by this process.")
    refused_total: float = _measured("counter", "1", "Records this process refused instead.")
    watermark_lag_records: float = _measured("gauge", "1", "Records of this process that are not on disk yet.")
    buffer_bytes: float = _measured("gauge", "By", "Records of this process in memory, waiting to be written.")
    spool_bytes: float = _measured("gauge", "By", "Size of the spool: what is not sealed, and not removed yet.")
    seal_lag_seconds: float = _measured("gauge", "s", "Age of the oldest record that is not sealed; 0 if all are.")
    checkpoint_age_seconds: float = _measured("gauge", "s", "Time since the log was last appended to.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Instrument:
    """How one of the metrics is told apart elsewhere.

    Attributes:
        field: Its name in `Metrics`.
        name: Its name to the outside.
        kind: Whether it only rises while the process lives, or goes up and down.
        unit: Its unit, as UCUM writes it.
        what: What it is, in a sentence.
    """

    field: str
    name: str
    kind: Kind
    unit: str
    what: str


INSTRUMENTS = tuple(
    Instrument(field=one.name, name=_PREFIX + one.name, **one.metadata) for one in dataclasses.fields(Metrics)
)


def prometheus_text(metrics: Metrics) -> str:
    """Return metrics in Prometheus' text format, version 0.0.4; serve it as `CONTENT_TYPE`."""
    lines = []
    for one in INSTRUMENTS:
        lines.append(f"# HELP {one.name} {one.what}")
        lines.append(f"# TYPE {one.name} {one.kind}")
        lines.append(f"{one.name} {getattr(metrics, one.field)!r}")
    return "\n".join(lines) + "\n"
