"""Rectification: what a recorded prediction should have been made with, said beside it and linked to it.

Nothing is changed. The original stays for whoever may see it; a correction says what is right, who says so and why.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pyarrow as pa

from backstory.capture.fact import record_facts
from backstory.capture.plain import array_of_one, plain_value
from backstory.columns.arrow_type import arrow_type
from backstory.errors import InputError
from backstory.governance.erased_predictions import require_not_erased
from backstory.governance.facts import read_facts
from backstory.governance.proposal import require_actor
from backstory.ledger.ledger import Ledger
from backstory.ledger.read import Found
from backstory.ledger.sealed import open_rows
from backstory.records import canonical
from backstory.records.canonical import JsonObject, JsonValue
from backstory.records.correction import CORRECTION
from backstory.records.schema import split_name

if TYPE_CHECKING:
    from backstory.capture.recorder import Recorder
    from backstory.records.access import Gate

_QUESTION = "rectify"
_FEATURE = "feature"


@dataclass(frozen=True, slots=True, kw_only=True)
class Correction:
    """What is said to be right about a prediction.

    Attributes:
        id: Id of the record that says it.
        prediction: Id of the prediction.
        time: When it was said, RFC 3339.
        values: By feature the value it should have had, as text; None where that was not opened, or was erased.
        reason: Why; None where that was not opened, or was erased.
        who: Who said it; None as above.
        entry: Index of the manifest that proves it; None while it waits to be sealed.
    """

    id: str
    prediction: str
    time: str
    values: Mapping[str, str | None] | None
    reason: str | None
    who: str | None
    entry: int | None

    @property
    def text(self) -> str:
        """What it says, in a line."""
        if self.values is None:
            return "corrected; to what is sealed or erased"
        return f"corrected: {', '.join(f'{name} is {value}' for name, value in self.values.items())}"

    def to_dict(self) -> JsonObject:
        """Return it as JSON-safe values."""
        return {
            "entry": self.entry,
            "id": self.id,
            "prediction": self.prediction,
            "reason": self.reason,
            "time": self.time,
            "values": None if self.values is None else dict(self.values),
            "who": self.who,
        }


def rectify(
    ledger: Ledger, gate: Gate, recorder: Recorder, found: Found, values: Mapping[str, Any], reason: str
) -> Correction:
    """Say what a prediction should have been made with.

    Args:
        ledger: The archive.
        gate: Says whom the prediction is about, so that the correction can be erased with it.
        recorder: Records the correction.
        found: The prediction.
        values: By feature the value it should have had.
        reason: Why.

    Raises:
        ForbiddenError: No actor was given, or the person may not be read.
        ConflictError: The person was erased.
        InputError: A feature is none of the prediction's, a value is of another type, or nothing was said.
    """
    who = require_actor(ledger, "correcting a prediction")
    require_not_erased(ledger, "rectify", [found.table["id"][0].as_py()])
    columns = [column for column in found.schema.columns if column.name.startswith(f"{_FEATURE}.")]
    types = {split_name(column.name)[1]: column.type for column in columns}
    if not values or not reason.strip():
        raise InputError("rectify: expected at least one feature with its right value, and a reason")
    unknown = values.keys() - types.keys()
    if unknown:
        raise InputError(f"rectify: expected features of the prediction, got {', '.join(sorted(map(repr, unknown)))}")
    for name, value in values.items():
        _require_type(name, value, types[name])
    texts: JsonObject = {name: _text(value) for name, value in values.items()}
    row = {
        "of": found.table["id"][0].as_py(),
        "reason": reason,
        "subject": _subject(ledger, gate, found),
        "values": canonical.encode(texts).decode(),
        "who": who,
    }
    (name,) = record_facts(recorder, ledger.blobs, CORRECTION, [row])
    return next(one for one in corrections_of(ledger, gate, found.id) if one.id == name)


def corrections_of(ledger: Ledger, gate: Gate, prediction: str, question: str = _QUESTION) -> list[Correction]:
    """Return what was said to be right about a prediction, oldest first; sealed parts as far as the gate lets them."""
    where = {"of": [UUID(prediction).bytes]}
    facts = read_facts(ledger, gate, CORRECTION, question, where)
    return [
        Correction(
            id=fact.id,
            prediction=prediction,
            time=fact.time,
            values=_values(fact.values.get("values")),
            reason=fact.values.get("reason"),
            who=fact.values.get("who"),
            entry=fact.entry,
        )
        for fact in facts
    ]


def _values(text: str | None) -> dict[str, str | None] | None:
    if text is None:
        return None
    document = canonical.parse_object(text.encode(), "correction")
    return {name: None if value is None else str(value) for name, value in document.items()}


def _require_type(name: str, value: Any, type_: JsonValue) -> None:  # noqa: ANN401  a feature's value
    """Insist that a column can hold a value, or what its text says."""
    if type_ == "null":  # of a column in which nothing was
        return
    try:
        array_of_one(plain_value(value)).cast(arrow_type(type_))
    except pa.ArrowException:
        raise InputError(f"rectify: expected a value of type {type_} for {name!r}") from None


def _text(value: Any) -> str | None:  # noqa: ANN401  a feature's value
    plain = plain_value(value)
    return None if plain is None else plain if isinstance(plain, str) else repr(plain)


def _subject(ledger: Ledger, gate: Gate, found: Found) -> str | None:
    """Return whom a prediction is about, where it says so."""
    groups = {column.name: column.group for column in found.schema.columns}
    group = groups.get("subject")
    if group is None:
        return None
    gate.pass_through(_QUESTION, [group], 1)
    place = found.place
    if place is None:
        value = found.table["subject"][0].as_py()
    else:
        value = open_rows(ledger, place.manifest, place.row, found.table, [group])["subject"][0].as_py()
    return None if value is None else str(value)
