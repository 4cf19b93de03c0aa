"""Which predictions an auditor asked for, as places in the log. Only what is in the log can be given out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime
from itertools import islice

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from backstory.errors import InputError, LimitError, NotFoundError
from backstory.ledger.ledger import Ledger
from backstory.ledger.read import Place, find_places, find_record, records_now
from backstory.lineage.reconcile import moment_ns
from backstory.lineage.registry import Registered, find_version
from backstory.lineage.search import search_predictions
from backstory.records.canonical import JsonObject
from backstory.records.envelope import PREDICTION
from backstory.records.identity import ID_CHARACTERS, id_text, time_text
from backstory.records.limits import BUNDLE_FOUND_MAX, BUNDLE_RECORDS_MAX, ROW_GROUP_ROWS
from backstory.records.manifest import Manifest


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What an auditor asked for: predictions by id, or all that fit everything else that is given.

    Attributes:
        predictions: Ids, each whole or a unique prefix.
        model: A model's name, for all its versions, or one version as `Archive.model` takes it.
        since: Recorded at or after this moment; RFC 3339 or with a time zone.
        until: Recorded before this moment.
        where: SQL predicate, as `search` takes it.
        case: The caller's id of the request.
    """

    predictions: tuple[str, ...] = ()
    model: str | None = None
    since: str | datetime | None = None
    until: str | datetime | None = None
    where: str | None = None
    case: str | None = None

    def to_dict(self) -> JsonObject:
        """Return what was given, as text."""
        given = {item.name: getattr(self, item.name) for item in fields(self) if item.name != "predictions"}
        ids: JsonObject = {"predictions": [*self.predictions]} if self.predictions else {}
        return {**ids, **{name: str(value) for name, value in given.items() if value is not None}}


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """The records that were found, in the order of the log.

    Attributes:
        parts: Position and manifest of each segment with some of them, and their rows in it, ascending.
        question: What was asked, in the form a verifier can compare them with: whole ids, a model's name or
            `name:version`, moments in UTC.
        not_compared: How many others the predicate asks for values of that are sealed.
        not_sealed: How many others fit, as far as can be told, and are not in the log yet.
    """

    parts: tuple[tuple[int, Manifest, np.ndarray], ...]
    question: Question
    not_compared: int = 0
    not_sealed: int = 0

    @property
    def count(self) -> int:
        """How many there are."""
        return sum(len(rows) for _, _, rows in self.parts)

    def batches(self, size: int) -> Iterator[list[Place]]:
        """Yield their places, so many at a time."""
        places = (
            Place(position=position, manifest=manifest, row=int(row))
            for position, manifest, rows in self.parts
            for row in rows
        )
        while batch := list(islice(places, size)):
            yield batch


def select_records(ledger: Ledger, question: Question) -> Selection:
    """Find what an auditor asked for.

    Raises:
        InputError: Nothing is asked for, or predictions by id and something else.
        QueryError: The predicate or a moment is malformed.
        NotFoundError: There is no such prediction or model, none that fits, or it is not sealed yet.
        LimitError: More fit than one bundle may hold.
    """
    asked = question.to_dict()
    if not asked:
        raise InputError("bundle: expected which predictions: ids, a model, a time, a predicate or a case")
    if question.predictions and len(asked) > 1:
        raise InputError("bundle: expected predictions by id, or something else they have in common, got both")
    selection = _by_id(ledger, question.predictions) if question.predictions else _by_values(ledger, question)
    if not selection.count:
        left_out = f"; of {selection.not_compared} what is asked is sealed" if selection.not_compared else ""
        left_out += f"; {selection.not_sealed} that fit wait for `backstory seal`" if selection.not_sealed else ""
        raise NotFoundError(f"bundle: no prediction in the log fits{left_out}")
    if selection.count > BUNDLE_RECORDS_MAX:
        raise LimitError(f"bundle: expected at most {BUNDLE_RECORDS_MAX:,} predictions, got {selection.count:,}")
    return selection


def _by_id(ledger: Ledger, names: Sequence[str]) -> Selection:
    whole = [name if len(name) == ID_CHARACTERS else find_record(ledger, name, PREDICTION).id for name in names]
    parts: dict[int, tuple[Manifest, set[int]]] = {}
    for place in find_places(ledger, whole, PREDICTION):
        parts.setdefault(place.position, (place.manifest, set()))[1].add(place.row)
    return Selection(
        parts=tuple((position, manifest, np.array(sorted(rows))) for position, (manifest, rows) in parts.items()),
        question=Question(
            predictions=tuple(dict.fromkeys(id_text(bytes.fromhex(name.replace("-", ""))) for name in whole))
        ),
    )


def _by_values(ledger: Ledger, question: Question) -> Selection:
    since = moment_ns(question.since, "bundle: expected since")
    until = moment_ns(question.until, "bundle: expected until")
    model = None if question.model is None else find_version(ledger, question.model)
    ids, not_compared = _found(ledger, question)

    def fitting(table: pa.Table, contexts: list[str]) -> np.ndarray:
        """Return the rows that fit."""
        fits = pc.is_in(table["context"], pa.array(map(bytes.fromhex, contexts), table["context"].type))
        if ids is not None:
            fits = pc.and_(fits, pc.is_in(table["id"], ids.cast(table["id"].type)))
        for bound, compare in ((since, pc.greater_equal), (until, pc.less)):
            if bound is not None:
                fits = pc.and_(fits, compare(table["time"], pa.scalar(bound, pa.timestamp("ns", "UTC"))))
        rows: np.ndarray = pc.indices_nonzero(fits).to_numpy().astype(np.int64)
        return rows

    def of_model(contexts: Iterable[str]) -> list[str]:
        return [c for c in contexts if model is None or _is_of(ledger, c, question.model, model)]

    sealed, waiting = records_now(ledger, PREDICTION)
    parts = []
    for position, manifest in sealed:
        contexts = of_model(manifest.contexts)
        if not contexts:
            continue
        reader = ledger.segment(manifest, checked=True)
        rows = [
            fitting(reader.read_groups([group], ["id", "time", "context"]), contexts) + group * ROW_GROUP_ROWS
            for group in range(reader.group_count)
        ]
        found = np.concatenate(rows)
        if len(found):
            parts.append((position, manifest, found))
    left = (fitting(table, of_model(c.hex() for c in pc.unique(table["context"]).to_pylist())) for _, table in waiting)
    compared = replace(
        question,
        model=None if model is None else _as_compared(question.model, model),
        since=None if since is None else time_text(since),
        until=None if until is None else time_text(until),
    )
    return Selection(parts=tuple(parts), question=compared, not_compared=not_compared, not_sealed=sum(map(len, left)))


def _found(ledger: Ledger, question: Question) -> tuple[pa.Array | None, int]:
    """Return the ids for which predicate and case hold, and how many predictions they could not be compared with."""
    held: list[tuple[str, list[str]]] = []
    if question.where is not None:
        held.append((f"({question.where})", []))
    if question.case is not None:
        held.append(("request_id = ?", [question.case]))
    if not held:
        return None, 0
    predicate = " and ".join(sql for sql, _ in held)
    hits = search_predictions(ledger, predicate, [v for _, values in held for v in values], BUNDLE_FOUND_MAX + 1)
    if hits.total > BUNDLE_FOUND_MAX:
        what = f"expected a predicate or case for at most {BUNDLE_FOUND_MAX:,} predictions, got {hits.total:,}"
        raise LimitError(f"bundle: {what}; a model or a period may have more")
    names = [bytes.fromhex(name.replace("-", "")) for table, _ in hits.parts for name in table["id"].to_pylist()]
    return pa.array(names, pa.binary(16)), hits.not_compared


def _is_of(ledger: Ledger, context: str, asked: str | None, version: Registered) -> bool:
    """Say whether a context is of a model: of any version where its name alone was given."""
    model = ledger.document(context).get("model")
    key = "name" if asked == version.name else "digest"
    return isinstance(model, dict) and model.get(key) == getattr(version, key)


def _as_compared(asked: str | None, version: Registered) -> str:
    return version.name if asked == version.name else f"{version.name}:{version.version}"
