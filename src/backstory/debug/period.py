"""Replaying many predictions: which ones, drawn how, and what came of them in all.

Predictions are found in bulk, and the model of each call runs once however many of its rows are asked about. A sample
is uniform over the predictions that fit and repeats: the same seed on the same predictions draws the same ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from backstory.columns.draw import draw_some
from backstory.columns.python_value import python_rows
from backstory.debug.capsule import check_capsule
from backstory.debug.case import ERASED, Asked, Case, Workshop, asked_of, read_call
from backstory.debug.match_report import MatchReport, Tally
from backstory.debug.replay import Replay
from backstory.debug.replaying import QUESTION, Manner, not_replayable, replay_cases
from backstory.errors import BackstoryError, NotFoundError, QueryError, VerificationError
from backstory.ledger.ledger import Ledger
from backstory.ledger.read import find_record, records_now
from backstory.lineage.plain import count_text
from backstory.lineage.reconcile import moment_ns
from backstory.lineage.registry import find_version
from backstory.lineage.retry import despite_merges
from backstory.records import canonical
from backstory.records.access import RecordRun, Scope
from backstory.records.envelope import PREDICTION
from backstory.records.identity import ID_CHARACTERS, time_text
from backstory.records.limits import ACCESS_IDS_MAX, ROW_GROUP_ROWS
from backstory.records.manifest import Manifest
from backstory.records.schema import Schema

_CHUNK_CALLS = 256
_CHUNK_ROWS = 65_536
"""Calls, and rows of them, that are read before their models run: what is held in memory at once."""

_DETAILS = ["id", "context", "status", "error", "seq", "batch_row", "batch_rows"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Period:
    """Which predictions are asked about.

    Attributes:
        ids: These, by their whole ids; None for all that fit everything else.
        model: Only those of this model: all versions of a name, or one as `Archive.model` takes it.
        since: Only those recorded at or after this moment, by the writer's clock; RFC 3339 or with a time zone.
        until: Only those recorded before this moment.
        sample: How many of them are drawn; None for all.
        seed: What decides which.
    """

    ids: tuple[str, ...] | None = None
    model: str | None = None
    since: str | datetime | None = None
    until: str | datetime | None = None
    sample: int | None = None
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """Predictions that were drawn, call by call.

    Attributes:
        population: How many fit.
        calls: The calls, each with the rows drawn, in the order of the log.
        how: How they were drawn, in words.
    """

    population: int
    calls: tuple[Asked, ...]
    how: str

    @property
    def count(self) -> int:
        """How many were drawn."""
        return sum(len(call.rows) for call in self.calls)


def replay_period(shop: Workshop, period: Period, manner: Manner) -> MatchReport:
    """Replay many predictions and count what came of them.

    Args:
        shop: The archive.
        period: Which predictions.
        manner: How.

    Raises:
        NotFoundError: There is no such prediction or model, or none fits.
        QueryError: An id is not whole, a moment is none, or the sample is no number of predictions.
        VerificationError: A record, a model or something else they refer to was changed.
    """
    drawn = despite_merges(shop.ledger, lambda: draw(shop.ledger, period))
    if not drawn.count:
        raise NotFoundError("replay: no prediction fits")
    tally = Tally(shop.ledger)
    for call, found in _replays(shop, drawn, manner):
        tally.add(call, found)
    return tally.report(period=_in_words(period), how=drawn.how, population=drawn.population, manner=manner)


def _replays(shop: Workshop, drawn: Drawn, manner: Manner) -> Iterator[tuple[Asked, list[Replay]]]:
    if manner.level == 0:
        yield from ((call, _capsules(shop, call)) for call in drawn.calls)
        return
    _note(shop, drawn.calls)
    clock = shop.ledger.world.monotonic_ns
    waiting: list[tuple[Asked, Case, float]] = []
    for call in drawn.calls:
        began = clock()
        try:
            case = read_call(shop, call, None)
        except VerificationError:
            raise
        except BackstoryError as error:
            yield call, [not_replayable(name, error, manner) for name in call.ids]
            continue
        waiting.append((call, case, (clock() - began) / 1e9))
        if len(waiting) == _CHUNK_CALLS or sum(call.count for call, _, _ in waiting) >= _CHUNK_ROWS:
            yield from _of_chunk(shop, waiting, manner)
            waiting = []
    yield from _of_chunk(shop, waiting, manner)


def _of_chunk(
    shop: Workshop, waiting: Sequence[tuple[Asked, Case, float]], manner: Manner
) -> Iterator[tuple[Asked, list[Replay]]]:
    found = iter(replay_cases(shop, [(case, seconds) for _, case, seconds in waiting], manner))
    for call, case, _ in waiting:
        made = {name: next(found) for name in case.ids}
        gone = NotFoundError(f"its values are {ERASED}")
        yield call, [made[name] if name in made else not_replayable(name, gone, manner) for name in call.ids]


def _note(shop: Workshop, calls: Sequence[Asked]) -> None:
    """Record that sealed values are read, once for all calls whose records have the same groups."""
    if shop.gate.allows():
        runs: dict[tuple[str, ...], list[RecordRun]] = {}
        for call in calls:
            if call.schema.groups and call.error is None:
                run = RecordRun(stream=call.stream, first=call.first, count=call.count)
                runs.setdefault(tuple(call.schema.groups), []).append(run)
        for groups, found in runs.items():
            for first in range(0, len(found), ACCESS_IDS_MAX):
                some = tuple(found[first : first + ACCESS_IDS_MAX])
                shop.gate.pass_through(QUESTION, groups, sum(run.count for run in some), Scope(runs=some))


def _capsules(shop: Workshop, call: Asked) -> list[Replay]:
    return [check_capsule(shop, find_record(shop.ledger, name, PREDICTION)) for name in call.ids]


def draw(ledger: Ledger, period: Period, question: str = "replay") -> Drawn:
    """Find the predictions that fit and draw a sample of them.

    Args:
        ledger: The archive.
        period: Which they are.
        question: What is asked, for messages.

    Raises:
        NotFoundError: There is no such prediction or model.
        QueryError: An id is not whole, a moment is none, or the sample is no number of predictions.
    """
    if period.sample is not None and (not isinstance(period.sample, int) or period.sample < 1):
        raise QueryError(f"{question}: expected a sample of at least 1 prediction")
    asked = _Fits(ledger, period, question)
    places = list(asked.places())
    population = sum(len(place.rows) for place in places)
    asked.require_all(population)
    if period.sample is None or period.sample >= population:
        chosen = np.arange(population)
        how = f"all {count_text(population, 'prediction')} that fit"
    else:
        chosen = np.array(sorted(draw_some(population, period.sample, period.seed)), np.int64)
        how = f"{len(chosen):,} of {count_text(population, 'prediction')} that fit, uniformly, seed {period.seed}"
    bounds = np.cumsum([0, *(len(place.rows) for place in places)])
    calls: dict[tuple[str, int], tuple[Schema, list[dict[str, Any]]]] = {}
    for place, (first, end) in zip(places, pairwise(bounds), strict=True):
        rows = place.rows[chosen[np.searchsorted(chosen, first) : np.searchsorted(chosen, end)] - first]
        for record in place.records(ledger, rows):
            of_call = calls.setdefault((place.stream, record["seq"] - record["batch_row"]), (place.schema, []))
            of_call[1].append(record)
    found = tuple(asked_of(schema, stream, records) for (stream, _), (schema, records) in calls.items())
    return Drawn(population=population, calls=found, how=how)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Place:
    """Records that fit, of one segment or of what waits for sealing.

    Attributes:
        schema: Their schema.
        stream: Their stream, in hex.
        rows: Which rows of it.
        source: The manifest, or the records themselves.
    """

    schema: Schema
    stream: str
    rows: np.ndarray
    source: Manifest | pa.Table

    def records(self, ledger: Ledger, rows: np.ndarray) -> list[dict[str, Any]]:
        """Return what a call is read by, of some rows."""
        if not len(rows):
            return []
        if isinstance(self.source, pa.Table):
            return python_rows(self.source.select(_DETAILS).take(pa.array(rows)))
        reader = ledger.segment(self.source, checked=True)
        groups = sorted(set((rows // ROW_GROUP_ROWS).tolist()))
        starts = {group: at * ROW_GROUP_ROWS for at, group in enumerate(groups)}
        within = [starts[row // ROW_GROUP_ROWS] + row % ROW_GROUP_ROWS for row in rows.tolist()]
        return python_rows(reader.read_groups(groups, _DETAILS).take(pa.array(within)))


class _Fits:
    """Which predictions are asked about."""

    def __init__(self, ledger: Ledger, period: Period, question: str) -> None:
        self._ledger = ledger
        self._question = question
        self._since = moment_ns(period.since, f"{question}: expected since")
        self._until = moment_ns(period.until, f"{question}: expected until")
        self._name = period.model
        self._model = None if period.model is None else find_version(ledger, period.model)
        self._ids = None if period.ids is None else _whole_ids(period.ids, question)

    def places(self) -> Iterator[_Place]:
        """Yield the records that fit, sealed ones first, in the order of the log."""
        sealed, waiting = records_now(self._ledger, PREDICTION)
        for _, manifest in sealed:
            contexts = [context for context in manifest.contexts if self._is_of_model(context)]
            if contexts and self._may_hold(manifest):
                reader = self._ledger.segment(manifest, checked=True)
                rows = [
                    self._rows(reader.read_groups([group], ["id", "time", "context"]), contexts)
                    + group * ROW_GROUP_ROWS
                    for group in range(reader.group_count)
                ]
                schema = self._ledger.schema(manifest.schema)
                yield _Place(schema=schema, stream=manifest.stream, rows=np.concatenate(rows), source=manifest)
        for schema, table in waiting:
            contexts = [c.hex() for c in table["context"].unique().to_pylist() if self._is_of_model(c.hex())]
            stream = table["stream"][0].as_py().hex()
            yield _Place(schema=schema, stream=stream, rows=self._rows(table, contexts), source=table)

    def require_all(self, found: int) -> None:
        """Insist that every id that was named was found.

        Raises:
            NotFoundError: One was not.
        """
        if self._ids is not None and found < len(self._ids):
            raise NotFoundError(
                f"{self._question}: {len(self._ids) - found} of {len(self._ids)} ids are of no prediction that fits"
            )

    def _may_hold(self, manifest: Manifest) -> bool:
        if self._ids is None or not len(self._ids):
            return True
        names: list[str] = [name.hex() for name in self._ids.to_pylist()]
        return manifest.first_id <= max(names) and manifest.last_id >= min(names)

    def _rows(self, table: pa.Table, contexts: Sequence[str]) -> np.ndarray:
        fits = pc.is_in(table["context"], pa.array(map(bytes.fromhex, contexts), table["context"].type))
        if self._ids is not None:
            fits = pc.and_(fits, pc.is_in(table["id"], self._ids.cast(table["id"].type)))
        for bound, compare in ((self._since, pc.greater_equal), (self._until, pc.less)):
            if bound is not None:
                fits = pc.and_(fits, compare(table["time"], pa.scalar(bound, pa.timestamp("ns", "UTC"))))
        rows: np.ndarray = pc.indices_nonzero(fits).to_numpy().astype(np.int64)
        return rows

    def _is_of_model(self, context: str) -> bool:
        """Say whether a context is of the model: of any version where its name alone was given."""
        if self._model is None:
            return True
        model = self._ledger.document(context).get("model")
        key, wanted = ("digest", self._model.digest)
        if self._name == self._model.name:
            key, wanted = ("name", self._model.name)
        return isinstance(model, dict) and canonical.text_of(model, key) == wanted


def _whole_ids(names: Sequence[str], question: str) -> pa.Array:
    """Return ids as bytes, each once.

    Raises:
        QueryError: One is not a whole id.
    """
    if any(len(name) != ID_CHARACTERS for name in names):
        raise QueryError(
            f"{question}: expected whole ids of {ID_CHARACTERS} characters; only one alone may be shortened"
        )
    try:
        return pa.array(dict.fromkeys(bytes.fromhex(name.replace("-", "")) for name in names), pa.binary())
    except ValueError:
        raise QueryError(f"{question}: expected ids, got something else") from None


def _in_words(period: Period) -> str:
    """Return which predictions were asked about."""
    since, until = moment_ns(period.since, "replay: expected since"), moment_ns(period.until, "replay: expected until")
    parts = [
        "all predictions" if period.ids is None else f"{len(period.ids):,} by id",
        "" if period.model is None else f"of {period.model}",
        "" if since is None else f"since {time_text(since)}",
        "" if until is None else f"until {time_text(until)}",
    ]
    return " ".join(part for part in parts if part)
