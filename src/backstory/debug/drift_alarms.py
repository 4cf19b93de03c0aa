"""Alarms of drift as entries of the log: names of columns and how far they moved, never a value of a row.

Bytes: docs/format.md section 34.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

from backstory.records import canonical
from backstory.records.canonical import JsonObject

if TYPE_CHECKING:
    from backstory.debug.drift_measures import Kind
    from backstory.ledger.ledger import Ledger
    from backstory.lineage.registry import Registered

ALARMED_TYPE: Final = "drift.alarmed"


@dataclass(frozen=True, slots=True, kw_only=True)
class DriftAlarm:
    """An alarm.

    Attributes:
        model: Name of the model.
        version: Number of its version.
        digest: The version's digest.
        since: First moment of the period.
        until: The first moment after it.
        column: Name of the column.
        measure: `ks`, `psi`, `nulls`, `unseen`, `decision`, `flagged` or `errors`.
        value: The distance, or how far the rates lie apart.
        threshold: From which on it is an alarm.
        reference: What was compared with.
    """

    model: str
    version: int
    digest: str
    since: str
    until: str
    column: str
    measure: Kind
    value: float
    threshold: float
    reference: str

    def to_dict(self) -> dict[str, Any]:
        """Return the alarm as values JSON has."""
        return asdict(self)


def record_alarms(ledger: Ledger, alarms: Sequence[DriftAlarm]) -> None:
    """Put alarms into the log that are not there yet; all of one model."""

    def entries() -> list[JsonObject]:
        known = {_identity(one) for one in ledger.find_entries(ALARMED_TYPE, alarms[0].model)}
        return [entry for entry in map(_entry, alarms) if _identity(entry) not in known]

    if alarms:
        ledger.append(entries)


def _identity(entry: JsonObject) -> tuple[Any, ...]:
    return tuple(entry.get(member) for member in ("model", "since", "until", "column", "measure", "reference"))


def _entry(alarm: DriftAlarm) -> JsonObject:
    return {
        "column": alarm.column,
        "measure": alarm.measure,
        "model": alarm.digest,
        "name": alarm.model,
        "reference": alarm.reference,
        "since": alarm.since,
        "threshold": repr(alarm.threshold),
        "type": ALARMED_TYPE,
        "until": alarm.until,
        "value": repr(alarm.value),
        "version": str(alarm.version),
    }


def find_alarms(ledger: Ledger, version: Registered | None) -> list[DriftAlarm]:
    """Return the alarms in the log, oldest first: of all models, or of one version."""
    ledger.catch_up()
    entries = ledger.find_entries(ALARMED_TYPE, None if version is None else version.name)
    return [
        DriftAlarm(
            model=canonical.text_of(entry, "name"),
            version=canonical.count_of(entry, "version"),
            digest=canonical.text_of(entry, "model"),
            since=canonical.text_of(entry, "since"),
            until=canonical.text_of(entry, "until"),
            column=canonical.text_of(entry, "column"),
            measure=canonical.text_of(entry, "measure"),  # type: ignore[arg-type]
            value=float(canonical.text_of(entry, "value")),
            threshold=float(canonical.text_of(entry, "threshold")),
            reference=canonical.text_of(entry, "reference"),
        )
        for entry in entries
        if version is None or entry.get("model") == version.digest
    ]
