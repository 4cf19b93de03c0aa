"""Which predictions a cause is looked for in: the bad ones, those they are compared with, and what is recorded of them.

Values of people are opened through the gate alone; where it lets nothing through, they are left out and it is said.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from backstory.columns.arrow_type import unchunked
from backstory.columns.id_text import id_texts
from backstory.columns.seal import merge_columns, pick_columns
from backstory.debug.case import Workshop
from backstory.debug.rootcause_asked import QUESTION, chosen_ids, fulfilled, outcomes_of
from backstory.errors import NotFoundError, QueryError
from backstory.ledger.ledger import Ledger
from backstory.ledger.read import records_now
from backstory.ledger.sealed import read_shard
from backstory.lineage import registry
from backstory.lineage.plain import count_text, to_second
from backstory.lineage.retry import despite_merges
from backstory.records import canonical
from backstory.records.access import whole_segments
from backstory.records.canonical import JsonObject
from backstory.records.envelope import PREDICTION
from backstory.records.identity import time_text
from backstory.records.manifest import Manifest
from backstory.records.schema import Schema

if TYPE_CHECKING:
    from numpy.typing import NDArray

_ENVELOPE = ("id", "time", "context", "status", "stream", "seq", "batch_row", "batch_rows")
_VALUES = ("row", "feature", "output", "decision", "flags")
_NAMES_OUTCOME = re.compile(r"\boutcome\b", re.IGNORECASE)
MOST = 1_000_000
"""Predictions that are looked at, unless more of them are bad: of good ones every so many are left out beyond that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Which predictions are asked about.

    Attributes:
        bad: Ids, a table with a column `id`, or an SQL predicate, which may name `outcome`.
        good: The same of those they are compared with; None for all others.
        model: A model's name, or a spec of one version of it; None for the models of the bad ones.
        since: Only predictions recorded from then on, in nanoseconds since the epoch.
        until: Only those recorded before.
    """

    bad: Any
    good: Any = None
    model: str | None = None
    since: int | None = None
    until: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Records:
    """Predictions with what is recorded of them, flat: `row.weather`, `feature.temp`, `output`, `flags`.

    Attributes:
        runs: Tables of them, each of the columns its records have; with `call`, the sequence number its call began at.
        contexts: The contexts' documents, by digest.
        closed: Of how many predictions the values of each column stay sealed, by column.
    """

    runs: tuple[pa.Table, ...]
    contexts: dict[str, JsonObject]
    closed: dict[str, int]

    @property
    def count(self) -> int:
        """How many there are."""
        return sum(run.num_rows for run in self.runs)

    def column_names(self, top: str) -> list[str]:
        """Return the columns below a name, such as `feature`, that any of them has."""
        names = (name for run in self.runs for name in run.column_names)
        return list(dict.fromkeys(name for name in names if name == top or name.startswith(f"{top}.")))

    def column(self, name: str) -> pa.Array:
        """Return a column of all of them, null where they do not have it; text where its types have no common one."""
        parts = [
            pa.table({name: run[name] if name in run.column_names else pa.nulls(run.num_rows)}) for run in self.runs
        ]
        try:
            whole = pa.concat_tables(parts, promote_options="permissive")
        except pa.ArrowException:
            whole = pa.concat_tables([_as_text(part) for part in parts], promote_options="permissive")
        return unchunked(whole[name])

    def take(self, keep: NDArray[np.bool_]) -> Records:
        """Return some of them."""
        ends = np.cumsum([run.num_rows for run in self.runs])[:-1]
        kept = [run.filter(pa.array(mask)) for run, mask in zip(self.runs, np.split(keep, ends), strict=True)]
        return replace(self, runs=tuple(run for run in kept if run.num_rows))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Population:
    """The bad predictions and those they are compared with.

    Attributes:
        records: All of them.
        bad: Which are bad.
        what: Who they are, in a sentence.
        left_out: Predictions that were not looked at, by reason.
        predicate: The predicate that says of an output that it is bad; None where ids were given.
        outcomes: The outcome of each, where the predicate names it.
    """

    records: Records
    bad: NDArray[np.bool_]
    what: str
    left_out: dict[str, int]
    predicate: str | None
    outcomes: pa.Array | None = None


def read_population(shop: Workshop, asked: Asked) -> Population:
    """Return the predictions that are asked about.

    Args:
        shop: The archive; what its gate lets through is noted.
        asked: Which they are.

    Raises:
        NotFoundError: There is no such prediction or model, or none is bad, or all are.
        QueryError: What is bad or good is not said as it can be.
        StorageError: A segment cannot be read.
        VerificationError: One was changed.
    """
    return despite_merges(shop.ledger, lambda: _population_now(shop, asked))


def _population_now(shop: Workshop, asked: Asked) -> Population:
    ledger = shop.ledger
    by_outcome = isinstance(asked.bad, str) and bool(_NAMES_OUTCOME.search(asked.bad))
    bad_ids = None if by_outcome else chosen_ids(ledger, asked.bad, "bad")
    if bad_ids is not None and not len(bad_ids):
        raise NotFoundError("rootcause: expected some bad predictions among others, got none")
    good_ids = None if asked.good is None else chosen_ids(ledger, asked.good, "good")
    runs = list(_runs(ledger))
    models = _models_meant(ledger, asked.model, runs, bad_ids)
    records = _read(shop, runs, models, asked)
    ids = records.column("id")
    outcomes = None
    left_out: dict[str, int] = {}
    if bad_ids is None:
        outcomes = outcomes_of(shop, ids)
        left_out["without an outcome"] = outcomes.null_count
        is_bad = fulfilled(asked.bad, judged_columns(records, outcomes))
        keep = np.asarray(outcomes.is_valid())
    else:
        is_bad = np.asarray(pc.is_in(ids, value_set=bad_ids))
        if not isinstance(asked.bad, str):
            _require_found(bad_ids, ids, asked)
        keep = np.ones(len(ids), bool)
    if good_ids is not None:
        if not isinstance(asked.good, str):
            _require_found(good_ids, ids, asked)
        is_good = np.asarray(pc.is_in(ids, value_set=good_ids))
        if (is_good & is_bad).any():
            raise QueryError(f"rootcause: {count_text(int((is_good & is_bad).sum()), 'prediction')} are bad and good")
        left_out["neither bad nor good"] = int((keep & ~is_good & ~is_bad).sum())
        keep &= is_good | is_bad
    thinned = _thinned(keep, is_bad)
    left_out["good ones beyond a million"] = int((keep & ~thinned).sum())
    kept = records.take(thinned)
    bad = is_bad[thinned]
    if not bad.any() or bad.all():
        raise NotFoundError(f"rootcause: expected some bad predictions among others, got {bad.sum():,} of {len(bad):,}")
    return Population(
        records=kept,
        bad=bad,
        what=_told(models, asked),
        left_out={reason: count for reason, count in left_out.items() if count},
        predicate=asked.bad if isinstance(asked.bad, str) else None,
        outcomes=None if outcomes is None else outcomes.filter(pa.array(thinned)),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    """Predictions of one schema: a segment, or some that are not sealed yet."""

    schema: Schema
    contexts: tuple[str, ...]
    count: int
    manifest: Manifest | None
    read: Callable[[Sequence[str]], pa.Table]


def _runs(ledger: Ledger) -> Iterator[_Run]:
    sealed, waiting = records_now(ledger, PREDICTION)
    for _, manifest in sealed:

        def read(columns: Sequence[str], manifest: Manifest = manifest) -> pa.Table:
            reader = ledger.segment(manifest, checked=True)
            there = [name for name in columns if name in reader.arrow_schema.names]
            return reader.read_groups(range(reader.group_count), there)

        schema = ledger.schema(manifest.schema)
        yield _Run(schema=schema, contexts=manifest.contexts, count=manifest.count, manifest=manifest, read=read)
    for schema, table in waiting:

        def select(columns: Sequence[str], table: pa.Table = table) -> pa.Table:
            return table.select([name for name in columns if name in table.column_names])

        contexts = tuple(digest.hex() for digest in table["context"].unique().to_pylist())
        yield _Run(schema=schema, contexts=contexts, count=table.num_rows, manifest=None, read=select)


def _models_meant(
    ledger: Ledger, spec: str | None, runs: Sequence[_Run], bad_ids: pa.Array | None
) -> dict[str, JsonObject]:
    """Return the contexts of the predictions that are looked at, by digest."""
    contexts = {digest: ledger.document(digest) for run in runs for digest in run.contexts}
    if spec is not None:
        version = registry.find_version(ledger, spec)
        key = "digest" if re.search("[:@]", spec) or spec != version.name else "name"
        wanted = {version.digest if key == "digest" else version.name}
        return {digest: one for digest, one in contexts.items() if _of_model(one, key) in wanted}
    if bad_ids is None:
        return contexts
    used: set[str] = set()
    for run in runs:
        table = run.read(["id", "context"])
        hit = table.filter(pc.is_in(table["id"], value_set=bad_ids))
        used |= {digest.hex() for digest in hit["context"].unique().to_pylist()}
    names = {_of_model(contexts[digest], "name") for digest in used} - {None}
    return {digest: one for digest, one in contexts.items() if digest in used or _of_model(one, "name") in names}


def _of_model(context: JsonObject, member: str) -> str | None:
    model = context.get("model")
    return canonical.text_of(model, member) if isinstance(model, dict) else None


def _read(shop: Workshop, runs: Sequence[_Run], contexts: dict[str, JsonObject], asked: Asked) -> Records:
    wanted = pa.array([bytes.fromhex(digest) for digest in contexts], pa.binary(32))
    tables: list[pa.Table] = []
    closed: dict[str, int] = {}
    for run in runs:
        if not set(run.contexts) & set(contexts):
            continue
        table, sealed = _opened(shop, run)
        keep = pc.is_in(table["context"], value_set=wanted)
        times = table["time"].cast(pa.int64())
        if asked.since is not None:
            keep = pc.and_(keep, pc.greater_equal(times, asked.since))
        if asked.until is not None:
            keep = pc.and_(keep, pc.less(times, asked.until))
        table = _flat(table.filter(keep))
        if table.num_rows:
            tables.append(table)
            for name in sealed:
                closed[name] = closed.get(name, 0) + table.num_rows
    if not tables:
        raise NotFoundError("rootcause: there are no predictions of these models in this period")
    return Records(runs=tuple(tables), contexts=contexts, closed=closed)


def _opened(shop: Workshop, run: _Run) -> tuple[pa.Table, list[str]]:
    """Return the records of a run with what is sealed of them, or the names of the columns that stay sealed."""
    groups = sorted({
        column.group for column in run.schema.columns
        if column.group is not None and column.name.partition(".")[0] in _VALUES
    })  # fmt: skip
    if groups and not shop.gate.allows():
        open_ = {column.name for column in run.schema.open_columns}
        names = [column.name for column in run.schema.columns if column.name.partition(".")[0] in _VALUES]
        table = run.read([*_ENVELOPE, *_VALUES])
        if run.manifest is None:  # what waits has its sealed columns beside the others
            there = {name for name in open_ if name.partition(".")[0] in table.column_names}
            table = pick_columns(table, [column.name for column in run.schema.columns if column.name in there])
        return table, [name for name in names if name not in open_]
    if groups:
        scope = None if run.manifest is None else whole_segments([run.manifest])
        shop.gate.pass_through(QUESTION, groups, run.count, scope)
    table = run.read([*_ENVELOPE, *_VALUES])
    if groups and run.manifest is not None and run.manifest.shard is not None:
        shard = read_shard(shop.ledger, run.manifest.shard)
        table = merge_columns(table, shard.select([name for name in shard.column_names if name in _VALUES]))
    return table, []


def _flat(table: pa.Table) -> pa.Table:
    """Return records with a column for each row reference, feature and part of the output, and the call they are of."""
    first = pc.subtract(table["seq"], table["batch_row"].cast(pa.uint64()))
    columns: dict[str, Any] = {"call": first}
    for name in table.column_names:
        if pa.types.is_struct(table.schema.field(name).type):
            inner = unchunked(table[name])
            columns |= {f"{name}.{field.name}": inner.field(at) for at, field in enumerate(inner.type)}
        elif name not in {"seq", "batch_row"}:
            columns[name] = table[name]
    return pa.table(columns)


def _as_text(table: pa.Table) -> pa.Table:
    (name,) = table.column_names
    try:
        return pa.table({name: table[name].cast(pa.large_string())})
    except pa.ArrowException:
        return pa.table({name: pa.nulls(table.num_rows, pa.large_string())})


def _thinned(keep: NDArray[np.bool_], is_bad: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Leave out good predictions, evenly, where there are too many."""
    good = np.flatnonzero(keep & ~is_bad)
    room = max(MOST - int((keep & is_bad).sum()), MOST // 2)
    if len(good) <= room:
        return keep
    thinned = keep & is_bad
    thinned[good[np.linspace(0, len(good) - 1, room).astype(np.int64)]] = True
    return thinned


def _require_found(named: pa.Array, ids: pa.Array, asked: Asked) -> None:
    missing = named.filter(pc.invert(pc.is_in(named, value_set=ids)))
    if len(missing):
        where = " of this model and period" if asked.model or asked.since is not None or asked.until is not None else ""
        raise NotFoundError(
            f"rootcause: no predictions{where} with {len(missing)} of {len(named)} ids, such as "
            f"{id_texts(missing[:1])[0].as_py()}"
        )


def _told(contexts: dict[str, JsonObject], asked: Asked) -> str:
    names = sorted({_of_model(one, "name") or canonical.text_of(one, "method") for one in contexts.values()})
    listed = asked.model or ", ".join(names)
    others = "all other predictions" if asked.good is None else "the predictions given as good"
    bounds = [
        f"{word} {to_second(time_text(ns))}" for word, ns in (("since", asked.since), ("until", asked.until)) if ns
    ]
    when = " ".join(bounds) if bounds else "of all time"
    return f"{others} of {listed}, {when}" if asked.good is None else f"{others}, of {listed}, {when}"


def judged_columns(records: Records, outcomes: pa.Array | None) -> pa.Table:
    """Return what a predicate about outputs may name: `output`, `decision`, `outcome`."""
    names = [*records.column_names("output"), *records.column_names("decision")]
    columns = {name: records.column(name) for name in names}
    return pa.table(columns | ({} if outcomes is None else {"outcome": outcomes}))
