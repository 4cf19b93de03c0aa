"""Comparing what is recorded with what somebody else counted: a gateway, a billing system, the caller.

A proof shows that what was recorded is unchanged; only a count from outside shows that all of it was recorded.
"""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from backstory.errors import QueryError
from backstory.ledger.ledger import Ledger
from backstory.ledger.read import records_now
from backstory.lineage.plain import count_text, shown
from backstory.lineage.registry import find_version
from backstory.lineage.retry import despite_merges
from backstory.records import canonical
from backstory.records.canonical import JsonObject
from backstory.records.envelope import PREDICTION
from backstory.records.identity import parse_time
from backstory.records.manifest import CLOSED_TYPE, HEARTBEAT_TYPE, OPENED_TYPE, Manifest

LISTED_MAX = 1_000
"""Request ids that a document lists; the counts are of all."""
SHOWN_MAX = 10
_COLUMNS = ["context", "request_id", "time"]
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TIME_END = 2**63 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconciliation:
    """What came of a comparison.

    Attributes:
        outside: What was counted outside: predictions, or different request ids.
        recorded: What is recorded of it here: predictions, or different request ids.
        refused: Predictions that recorders say they refused, of all models: they may explain what is missing.
        difference: `outside` less `recorded`; with request ids how many are on one side only. 0 if they agree.
        missing: Request ids that were counted outside and are not recorded, sorted.
        extra: Request ids that are recorded and were not counted outside, sorted.
        unnamed: With request ids, predictions that are recorded without one, which nothing can be compared with.
        unknown_streams: Streams whose writers ended without saying so: what they had not written is not known.
    """

    outside: int
    recorded: int
    refused: int
    difference: int
    missing: tuple[str, ...] = ()
    extra: tuple[str, ...] = ()
    unnamed: int = 0
    unknown_streams: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON-safe values; of many request ids the first thousand."""
        return {
            "difference": self.difference,
            "extra": list(self.extra[:LISTED_MAX]),
            "extra_count": len(self.extra),
            "missing": list(self.missing[:LISTED_MAX]),
            "missing_count": len(self.missing),
            "outside": self.outside,
            "recorded": self.recorded,
            "refused": self.refused,
            "unknown_streams": list(self.unknown_streams),
            "unnamed": self.unnamed,
        }

    def __repr__(self) -> str:
        """Return the answer on one line."""
        return f"<Reconciliation: {str(self).splitlines()[0]}>"

    def __str__(self) -> str:
        """Return the answer in a sentence, then what it is made of."""
        answer = "they agree" if self.difference == 0 else f"difference {self.difference:+,}"
        if self.missing or self.extra:
            answer = f"{self.difference:,} on one side only"
        lines = [f"{self.outside:,} outside, {self.recorded:,} recorded: {answer}"]
        for label, ids in (("missing here", self.missing), ("not counted outside", self.extra)):
            if ids:
                more = f" … {len(ids):,} in all" if len(ids) > SHOWN_MAX else ""
                lines.append(f"{label}: {', '.join(map(shown, ids[:SHOWN_MAX]))}{more}")
        if self.unnamed:
            lines.append(f"{count_text(self.unnamed, 'prediction')} recorded without a request id")
        if self.refused:
            lines.append(f"{count_text(self.refused, 'prediction')} refused by recorders, of all models")
        lines += [f"stream {stream}: its writer ended without saying so" for stream in self.unknown_streams]
        return "\n".join(lines)


def reconcile_predictions(
    ledger: Ledger,
    *,
    count: int | None = None,
    requests: Iterable[str] | None = None,
    model: str | None = None,
    since: str | datetime | None = None,
    until: str | datetime | None = None,
) -> Reconciliation:
    """Compare the recorded predictions with an outside count of them or with request ids.

    Args:
        ledger: The archive.
        count: How many predictions were counted outside; a call with a frame of n rows makes n.
        requests: The ids of the requests that were counted outside, instead; the same id again counts once.
        model: Only predictions of this model: all versions of a name, or one as `Archive.model` takes it.
        since: Only predictions recorded at or after this moment, by the writer's clock; RFC 3339 or with a time zone.
        until: Only predictions recorded before this moment.

    Raises:
        QueryError: Not one of count and requests; a count, an id or a moment that is none.
        NotFoundError: There is no such model.
        StorageError: A segment cannot be read.
        VerificationError: A segment was changed.
    """
    if (count is None) is (requests is None):
        raise QueryError("reconcile: expected a count or a list of request ids, and not both")
    outside = 0 if count is None else _outside(count)
    wanted = set() if requests is None else _request_ids(requests)
    since_ns, until_ns = moment_ns(since, "reconcile: expected since"), moment_ns(until, "reconcile: expected until")
    ledger.catch_up()
    asked = _Asked(ledger, model, since_ns, until_ns, named=requests is not None)
    found = despite_merges(ledger, asked.count)
    refused, unknown = _said_by_writers(ledger, since_ns, until_ns)
    if count is not None:
        return Reconciliation(
            outside=outside,
            recorded=found.rows,
            refused=refused,
            difference=outside - found.rows,
            unknown_streams=unknown,
        )
    missing, extra = wanted - found.names, found.names - wanted
    return Reconciliation(
        outside=len(wanted),
        recorded=len(found.names),
        refused=refused,
        difference=len(missing) + len(extra),
        missing=tuple(sorted(missing)),
        extra=tuple(sorted(extra)),
        unnamed=found.unnamed,
        unknown_streams=unknown,
    )


def _outside(count: int) -> int:
    try:
        outside = operator.index(count)
    except TypeError:
        outside = -1
    if outside < 0 or isinstance(count, bool):
        raise QueryError("reconcile: expected a count that is a whole number and not negative")
    return outside


def _request_ids(requests: Iterable[str]) -> set[str]:
    """Return the ids, each once."""
    if isinstance(requests, str | bytes) or not isinstance(requests, Iterable):
        raise QueryError(f"reconcile: expected a list of request ids, got {type(requests).__name__}")
    wanted = set()
    for place, name in enumerate(requests):
        if not isinstance(name, str):
            raise QueryError(f"reconcile: expected request ids as text, got {type(name).__name__} (item {place})")
        wanted.add(name)
    return wanted


@dataclass(slots=True)
class _Found:
    rows: int
    unnamed: int
    names: set[str]


class _Asked:
    """Which predictions are asked for."""

    def __init__(
        self, ledger: Ledger, model: str | None, since_ns: int | None, until_ns: int | None, *, named: bool
    ) -> None:
        self._ledger = ledger
        self.since_ns, self.until_ns, self._named = since_ns, until_ns, named
        self._model = model
        self._version = find_version(ledger, model) if model is not None else None
        self._fits: dict[str, bool] = {}

    def count(self) -> _Found:
        """Count them, sealed or not."""
        found = _Found(0, 0, set())
        sealed, waiting = records_now(self._ledger, PREDICTION)
        for _, manifest in sealed:
            fitting = [context for context in manifest.contexts if self._context_fits(context)]
            whole = len(fitting) == len(manifest.contexts) and self.since_ns is None and self.until_ns is None
            if whole and not self._named:
                found.rows += manifest.count
            elif fitting:
                for table in self._tables(manifest):
                    self._add(found, table)
        for _, table in waiting:
            self._add(found, table.select(_COLUMNS))
        return found

    def _tables(self, manifest: Manifest) -> Iterator[pa.Table]:
        reader = self._ledger.segment(manifest, checked=True)
        for group in range(reader.group_count):
            yield reader.read_groups([group], _COLUMNS)

    def _add(self, found: _Found, table: pa.Table) -> None:
        known = pc.unique(table["context"]).drop_null().to_pylist()
        contexts = [value for value in known if self._context_fits(value.hex())]
        fits = pc.is_in(table["context"], pa.array(contexts, table["context"].type))
        if self.since_ns is not None:
            fits = pc.and_(fits, pc.greater_equal(table["time"], _instant(self.since_ns)))
        if self.until_ns is not None:
            fits = pc.and_(fits, pc.less(table["time"], _instant(self.until_ns)))
        kept = table.filter(fits)
        found.rows += kept.num_rows
        if self._named:
            found.unnamed += kept["request_id"].null_count
            found.names.update(name for name in pc.unique(kept["request_id"]).to_pylist() if name is not None)

    def _context_fits(self, digest: str) -> bool:
        if self._version is None or self._model is None:
            return True
        if digest not in self._fits:
            model = self._ledger.document(digest).get("model")
            key = "name" if self._model == self._version.name else "digest"
            self._fits[digest] = isinstance(model, dict) and model.get(key) == getattr(self._version, key)
        return self._fits[digest]


def _said_by_writers(ledger: Ledger, since_ns: int | None, until_ns: int | None) -> tuple[int, tuple[str, ...]]:
    """Return how many predictions writers say they refused, and the streams that ended without a word.

    Of writers who were at work in the time asked for; a mark counts from the beginning of its stream.
    """
    refused: Counter[str] = Counter()
    opened, ended, unknown = {}, {}, set()
    for entry in _entries(ledger, OPENED_TYPE):
        if ledger.schema(canonical.text_of(entry, "schema")).kind == PREDICTION:
            opened[str(entry["stream"])] = parse_time(canonical.text_of(entry, "opened"))
    for entry in [*_entries(ledger, HEARTBEAT_TYPE), *_entries(ledger, CLOSED_TYPE)]:
        stream, mark = str(entry["stream"]), entry.get("mark")
        if isinstance(mark, dict) and mark:
            refused[stream] = canonical.count_of(mark, "refused")
        if entry["type"] == CLOSED_TYPE:
            ended[stream] = parse_time(canonical.text_of(entry, "time"))
            if entry.get("clean") is not True:
                unknown.add(stream)
    here = set(ledger.spool.stream_names())
    unknown |= {stream for stream in opened if stream not in ended and stream not in here}
    at_work = {
        stream
        for stream, began_ns in opened.items()
        if (until_ns is None or began_ns < until_ns) and (since_ns is None or ended.get(stream, since_ns) >= since_ns)
    }
    return sum(refused[stream] for stream in at_work), tuple(sorted(unknown & at_work))


def _entries(ledger: Ledger, type_: str) -> list[JsonObject]:
    return [ledger.log.entry(position) for position in ledger.catalog.entries(type_)]


def _instant(time_ns: int) -> pa.Scalar:
    return pa.scalar(time_ns, pa.timestamp("ns", "UTC"))


def moment_ns(given: str | datetime | None, what: str) -> int | None:
    """Return nanoseconds since the epoch; of a moment no record can have, the nearest that one can."""
    if given is None:
        return None
    try:
        moment = datetime.fromisoformat(given) if isinstance(given, str) else given
        if moment.tzinfo is None:
            raise QueryError(f"{what} with a time zone, such as 2026-03-01T12:00:00Z")
        time_ns = (moment - _EPOCH) // timedelta(microseconds=1) * 1000
    except (ValueError, TypeError, AttributeError, OverflowError) as error:
        raise QueryError(f"{what} as RFC 3339, such as 2026-03-01T12:00:00Z") from error
    return min(max(time_ns, -_TIME_END), _TIME_END)
