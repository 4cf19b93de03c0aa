"""The predictions of a model version by period: from the sketches of segments and, where these do not do, from records.

A sketch does where all it is of lies in one period. Segments that have none, reach over the end of a period, or are not
sealed yet are read record by record, and the answer says how many records that were.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from backstory.columns.arrow_type import unchunked
from backstory.columns.seal import merge_columns
from backstory.debug.drift_measures import Spread, together
from backstory.errors import ForbiddenError, NotFoundError
from backstory.frames.sketch import COLUMNS, LISTED_MAX, ColumnSketch, category_text, sketch_of
from backstory.frames.sketch_document import Sketched, is_sealed, parse_sealed, parse_sketched
from backstory.ledger.read import records_now
from backstory.ledger.sealed import read_shard
from backstory.lineage.store import checked_shard
from backstory.records import canonical
from backstory.records.access import whole_segments
from backstory.records.canonical import JsonValue
from backstory.records.envelope import OK, PREDICTION
from backstory.records.identity import parse_time
from backstory.records.manifest import SKETCHED_TYPE, Manifest
from backstory.storage.segment import group_count_of

if TYPE_CHECKING:
    from backstory.frames.profile import ColumnProfile, Profile
    from backstory.ledger.ledger import Ledger
    from backstory.records.access import Gate
    from backstory.records.schema import Schema

_READ: Final = ("time", "context", "status", *COLUMNS)
_READ_POINTS: Final = 1_024
_AT_ONCE: Final = 1 << 17
"""Records that are read before they are summed up."""
_PROFILE_POINTS: Final = 512
_PROFILE_EXACT: Final = 200
_PROFILE_ERROR: Final = 0.014
"""How far ranks of a training profile are off where it holds more than 200 values; see `frames/profile.py`."""
_NUMBERS: Final = ("int", "uint", "float", "decimal", "timestamp", "date", "time", "duration")


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Periods of equal length, half-open.

    Attributes:
        since: The first nanosecond that counts; None from the beginning on.
        until: The first that counts no more; None to the end.
        origin: A nanosecond at which a period begins.
        length: Their length in nanoseconds.
    """

    since: int | None
    until: int | None
    origin: int
    length: int

    def has(self, first: int, last: int) -> bool:
        """Say whether a moment from `first` to `last` may count."""
        return (self.until is None or first < self.until) and (self.since is None or last >= self.since)

    def period_of(self, first: int, last: int) -> int | None:
        """Return the period that all moments from `first` to `last` are in; None if they all count in none."""
        if (self.since is not None and first < self.since) or (self.until is not None and last >= self.until):
            return None
        period = (first - self.origin) // self.length
        return period if (last - self.origin) // self.length == period else None

    def bounds(self, period: int) -> tuple[int, int]:
        """Return the first nanosecond of a period, and the first after it."""
        first = self.origin + period * self.length
        return first, first + self.length


@dataclass(slots=True, kw_only=True)
class Gathered:
    """The predictions of a period.

    Attributes:
        rows: How many there are.
        errors: How many of them failed.
        read: How many were read record by record.
        unsealed: How many of these are not sealed yet.
        columns: The spread of each column.
        types: Its logical type.
    """

    rows: int = 0
    errors: int = 0
    read: int = 0
    unsealed: int = 0
    columns: dict[str, Spread] = field(default_factory=dict)
    types: dict[str, JsonValue] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class _Gathering:
    """A period in the making."""

    whole: Gathered = field(default_factory=Gathered)
    spreads: dict[str, list[Spread]] = field(default_factory=lambda: defaultdict(list))
    waiting: dict[tuple[str, bool], list[pa.Table]] = field(default_factory=lambda: defaultdict(list))
    waiting_rows: int = 0

    def add(self, rows: int, errors: int, columns: Iterable[ColumnSketch]) -> None:
        self.whole.rows += rows
        self.whole.errors += errors
        for column in columns:
            self.spreads[column.name].append(spread_of(column))
            self.whole.types[column.name] = column.type

    def read(self, schema: str, table: pa.Table, *, unsealed: bool) -> None:
        self.whole.read += table.num_rows
        self.whole.unsealed += table.num_rows if unsealed else 0
        self.waiting[schema, unsealed].append(table)  # these may be of other Arrow types
        self.waiting_rows += table.num_rows
        if self.waiting_rows >= _AT_ONCE:
            self.sum_up()

    def sum_up(self) -> None:
        for tables in self.waiting.values():
            table = pa.concat_tables(tables)
            errors = pc.sum(pc.not_equal(table["status"], OK)).as_py()
            self.add(table.num_rows, errors, sketch_of(table, _READ_POINTS))
        self.waiting.clear()
        self.waiting_rows = 0

    def finished(self) -> Gathered:
        self.sum_up()
        self.whole.columns = {name: together(spreads) for name, spreads in sorted(self.spreads.items())}
        return self.whole


def gather(ledger: Ledger, gate: Gate, model: str, window: Window) -> dict[int, Gathered]:
    """Return the predictions of a model version by the number of their period, those without any left out.

    Args:
        ledger: The archive.
        gate: Opens sealed values.
        model: Digest of the version.
        window: The periods.

    Raises:
        ForbiddenError: Values are sealed, and the gate lets nothing through.
        NotFoundError: Sealed values were erased.
        VerificationError: Records or sketches were changed.
    """
    sealed, unsealed = records_now(ledger, PREDICTION)
    own = [manifest for _, manifest in sealed if _is_of(ledger, model, manifest.contexts)]
    sketches = _sketches(ledger, own, model)
    due = [(manifest, said) for manifest in own if _may_count(window, manifest, said := sketches.get(_key(manifest)))]
    waiting = [(schema, table) for schema, table in unsealed if _is_of(ledger, model, _contexts(table))]
    _open_gate(ledger, gate, due, waiting)
    found: dict[int, _Gathering] = defaultdict(_Gathering)
    for manifest, said in due:
        period = None if said is None else window.period_of(parse_time(said.first), parse_time(said.last))
        columns = None if said is None or period is None else _opened(ledger, said)
        if said is not None and period is not None and columns is not None:
            found[period].add(said.rows, said.errors, columns)
        else:
            table = read_segment(ledger, manifest, _READ)
            for number, part in _parts(ledger, model, window, table):
                found[number].read(manifest.schema, part, unsealed=False)
    for schema, table in waiting:
        for number, part in _parts(ledger, model, window, _picked(table, _READ)):
            found[number].read(schema.digest, part, unsealed=True)
    return {number: found[number].finished() for number in sorted(found)}


def read_predictions(ledger: Ledger, gate: Gate, model: str, window: Window) -> tuple[list[tuple[int, pa.Table]], bool]:
    """Return the records of a model version's predictions by period, with their ids, and whether some are sealed.

    Raises:
        ForbiddenError: Values are sealed, and the gate lets nothing through.
        NotFoundError: Sealed values were erased.
        VerificationError: Records were changed.
    """
    sealed, unsealed = records_now(ledger, PREDICTION)
    due = [
        (manifest, None)
        for _, manifest in sealed
        if _is_of(ledger, model, manifest.contexts) and _may_count(window, manifest, None)
    ]
    waiting = [(schema, table) for schema, table in unsealed if _is_of(ledger, model, _contexts(table))]
    is_personal = _open_gate(ledger, gate, due, waiting)
    names = ("id", *_READ)
    tables = [read_segment(ledger, manifest, names) for manifest, _ in due]
    tables += [_picked(table, names) for _, table in waiting]
    return [part for table in tables for part in _parts(ledger, model, window, table)], is_personal


def _picked(table: pa.Table, names: Iterable[str]) -> pa.Table:
    return table.select([name for name in names if name in table.column_names])


def _is_of(ledger: Ledger, model: str, contexts: Iterable[str]) -> bool:
    return any(_model_of(ledger, context) == model for context in contexts)


def _model_of(ledger: Ledger, context: str) -> JsonValue:
    model = ledger.document(context).get("model")
    return model.get("digest") if isinstance(model, dict) else None


def _contexts(table: pa.Table) -> list[str]:
    return [digest.hex() for digest in pc.unique(table["context"]).to_pylist()]


def _key(manifest: Manifest) -> tuple[str, int]:
    return manifest.stream, manifest.first_seq


def _sketches(ledger: Ledger, own: list[Manifest], model: str) -> dict[tuple[str, int], Sketched]:
    """Return what the log says of a model version in segments, by stream and first sequence number."""
    wanted = {_key(manifest) for manifest in own}
    found: dict[tuple[str, int], Sketched] = {}
    for entry in ledger.find_entries(SKETCHED_TYPE):
        key = canonical.text_of(entry, "stream"), canonical.count_of(entry, "first_seq")
        if key in wanted:
            models = parse_sketched(ledger.document(canonical.text_of(entry, "sketches")))
            found.update((key, said) for said in models if said.model == model)
    return found


def _may_count(window: Window, manifest: Manifest, said: Sketched | None) -> bool:
    first, last = (said.first, said.last) if said is not None else (manifest.first_time, manifest.last_time)
    return window.has(*sorted((parse_time(first), parse_time(last))))


def _open_gate(
    ledger: Ledger, gate: Gate, due: Sequence[tuple[Manifest, object]], waiting: list[tuple[Schema, pa.Table]]
) -> bool:
    """Record that values of people are looked at, all at once; return whether there are some.

    Raises:
        ForbiddenError: They may not be.
    """
    sealed = [(schema, manifest.count) for manifest, _ in due if is_sealed(schema := ledger.schema(manifest.schema))]
    sealed += [(schema, table.num_rows) for schema, table in waiting if is_sealed(schema)]
    if not sealed:
        return False
    if not gate.allows():
        raise ForbiddenError(f"drift: what the predictions hold is sealed: {gate.lacking()}")
    groups = {group for schema, _ in sealed for group in schema.groups}
    read = [manifest for manifest, _ in due if is_sealed(ledger.schema(manifest.schema))]
    scope = None if waiting else whole_segments(read)
    gate.pass_through("drift", sorted(groups), sum(rows for _, rows in sealed), scope)
    return True


def _opened(ledger: Ledger, said: Sketched) -> tuple[ColumnSketch, ...] | None:
    """Return the sketches that are said of a model, from the vault where they are sealed; None of erased ones."""
    if said.sealed is None:
        return said.columns
    name, root = (canonical.text_of(said.sealed, member) for member in ("sealed_table", "root"))
    try:
        table = checked_shard(ledger, name, root)
    except NotFoundError:
        return None  # the records may still be there
    return parse_sealed(table, said.rows)


def read_segment(ledger: Ledger, manifest: Manifest, names: Sequence[str]) -> pa.Table:
    """Return columns of a segment; sealed ones too, which the gate was asked for."""
    reader = ledger.segment(manifest, checked=True)
    there = [name for name in names if name in reader.arrow_schema.names]
    table = reader.read_groups(range(group_count_of(manifest.count)), there).slice(0, manifest.count)
    if manifest.shard is not None:
        table = merge_columns(table, _picked(read_shard(ledger, manifest.shard), names))
    if not reader.is_trimmed:
        return table
    return table.filter(pc.is_valid(reader.read_groups(range(reader.group_count), ["id"])["id"]))


def _parts(ledger: Ledger, model: str, window: Window, table: pa.Table) -> Iterator[tuple[int, pa.Table]]:
    """Yield the records of a model version by their period."""
    contexts = unchunked(table["context"])
    own = [digest for digest in pc.unique(contexts).to_pylist() if _model_of(ledger, digest.hex()) == model]
    times = unchunked(table["time"]).cast(pa.int64()).to_numpy(zero_copy_only=False)
    counts = pc.is_in(contexts, value_set=pa.array(own, contexts.type)).to_numpy(zero_copy_only=False)
    if window.since is not None:
        counts &= times >= window.since
    if window.until is not None:
        counts &= times < window.until
    periods = (times - window.origin) // window.length
    for number in np.unique(periods[counts]):
        yield int(number), table.filter(pa.array(counts & (periods == number)))


def spread_of(column: ColumnSketch) -> Spread:
    """Return what a sketch says of the values of a column."""
    kept = len(column.points)
    return Spread(
        rows=column.rows,
        nulls=column.nulls + column.nans,
        points=column.points,
        weights=np.full(kept, column.values / kept if kept else 0.0),
        error=0.5 / kept if column.ordered > kept > 0 else 0.0,
        drawn=float(column.ordered) if kept else 0.0,
        counts=column.counts,
        others=column.others,
        others_each=_least_listed(column.counts or {}),
    )


def _least_listed(counts: Mapping[str, int]) -> int:
    """Return the most rows a category may have that is short enough to be listed and is not."""
    return min(counts.values()) if len(counts) == LISTED_MAX else 0


def spreads_of_profile(profile: Profile) -> dict[str, Spread]:
    """Return what a training profile says of its columns, by the names these have in records."""
    return {f"feature.{column.name}": _spread_of_profile(column) for column in profile.columns}


def _spread_of_profile(column: ColumnProfile) -> Spread:
    values = column.rows - column.nulls - column.nans
    is_number = isinstance(column.type, str) and column.type.startswith(_NUMBERS)
    kept = min(values, _PROFILE_POINTS) if is_number else 0
    points = column.quantiles((np.arange(kept) + 0.5) / kept) if kept else None  # type: ignore[arg-type]
    known = None if column.values is None else frozenset(map(category_text, column.values))
    return Spread(
        rows=column.rows,
        nulls=column.nulls + column.nans,
        points=np.array(points if points is not None else []),
        weights=np.full(kept, values / kept if kept else 0.0),
        error=_PROFILE_ERROR if values > _PROFILE_EXACT and is_number else 0.0,
        drawn=float(values) if points is not None else 0.0,
        known=known,
    )
