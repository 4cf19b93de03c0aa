"""What two sets of rows share: of training with evaluation rows, of the training rows of two models.

The same row is the same position of one dataset version, however often that was fixed. The same key, or equal values in
every column, can be told across versions of a source too: a row that stands in the data twice is two rows, and leaks as
one does.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from backstory.columns.tree import leaf_hashes, root_of_subtrees, subtree_roots
from backstory.errors import InputError, NotFoundError, QueryError
from backstory.frames.key import row_codes
from backstory.ledger.ledger import Ledger
from backstory.ledger.sealed_table import DATASET_KEY
from backstory.lineage.answer import Answer
from backstory.lineage.footing import Footing
from backstory.lineage.overlap_values import compared
from backstory.lineage.page import Page
from backstory.lineage.reference import Part
from backstory.lineage.refs import RowRefs
from backstory.lineage.registry import find_version
from backstory.lineage.runs import find_run
from backstory.lineage.source import Snapshot
from backstory.lineage.step import Seen
from backstory.lineage.trace import Tracer
from backstory.records import canonical
from backstory.records.access import Gate, Scope
from backstory.records.canonical import JsonValue
from backstory.records.keyed import are_comparable, keyed

if TYPE_CHECKING:
    from numpy.typing import NDArray

QUESTION = "overlap"

By: TypeAlias = Literal["row", "key", "content"]
_ROW_SCHEMA = pa.schema(
    [
        ("source", pa.string()),
        ("dataset_a", pa.string()),
        ("position_a", pa.int64()),
        ("dataset_b", pa.string()),
        ("position_b", pa.int64()),
    ]
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedRows:
    """What two sets share of one source.

    Attributes:
        source: Its name.
        rows_a: How many of its rows the first set refers to directly.
        rows_b: How many the second does.
        shared: How many of the first set are in the second: the same row, the same key, or equal values.
        through_groups: How many rows are behind both, in one of them at least only through a group: a value of the one
            was computed with a row of the other. Not counted by key or content.
        subjects: How many persons both are about; None where the source is about nobody, or no purpose was given.
    """

    source: str
    rows_a: int
    rows_b: int
    shared: int
    through_groups: int
    subjects: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Overlap(Answer):
    """What two sets of rows share.

    Attributes:
        a: The first set, in words.
        b: The second.
        by: What makes two rows one: `row`, `key` or `content`.
        sources: What they share of each source that both refer to.
        rows: A row for each shared row of the first set: `source`, `dataset_a`, `position_a`, `dataset_b`,
            `position_b` (the first like it). A dataset is named by its digest; nothing names one that is not kept yet.
        sealed: Whether persons were not compared, as no actor and purpose were given.
    """

    a: str
    b: str
    by: By
    sources: tuple[SharedRows, ...]
    rows: pa.Table
    sealed: bool

    @property
    def is_empty(self) -> bool:
        """Whether they share nothing: no row, no person, and nothing through groups."""
        return not any(source.shared or source.through_groups or source.subjects for source in self.sources)

    def to_dict(self) -> dict[str, Any]:
        """Return the whole answer as values JSON has."""
        return {
            "a": self.a,
            "b": self.b,
            "by": self.by,
            "rows": self.rows.to_pylist(),
            "sealed": self.sealed,
            "sources": [asdict(source) for source in self.sources],
        }

    def __repr__(self) -> str:
        """Return the answer on one line."""
        from backstory.lineage.overlap_page import overlap_page

        return f"<Overlap: {overlap_page(self).headline}>"

    def _page(self) -> Page:
        from backstory.lineage.overlap_page import overlap_page

        return overlap_page(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Held:
    """Rows of one part of a source that a set refers to."""

    source: str
    direct: NDArray[np.bool_]
    through: NDArray[np.bool_]
    key: tuple[str, ...]
    subject: str | None
    load: Callable[[list[str] | None], pa.Table]
    is_kept: bool
    content: Callable[[], str]
    """Names the rows whatever version they are kept as, if any."""


_Side: TypeAlias = dict[Part, _Held]


def find_overlap(ledger: Ledger, tracer: Tracer, gate: Gate, a: str | RowRefs, b: str | RowRefs, by: By) -> Overlap:
    """Return what two sets of rows share; see `Data.overlap`.

    Raises:
        QueryError: A set is named in no way that is known, or `by` is unknown.
        InputError: A model was registered without rows, a source has no key to compare by, or values of types that have
            nothing in common.
        NotFoundError: There is no such model, run or role.
        ForbiddenError: The rows lead to people, and no actor and purpose were given.
    """
    if by not in get_args(By):
        raise QueryError(f"overlap: expected by= one of {', '.join(get_args(By))}, got {by!r}")
    sides = [_side(ledger, tracer, gate, one) for one in (a, b)]
    names = sorted({held.source for held in sides[0].values()} & {held.source for held in sides[1].values()})
    shared: list[SharedRows] = []
    tables: list[pa.Table] = []
    sealed = False
    for name in names:
        first, second = ({part: held for part, held in side.items() if held.source == name} for side in sides)
        is_personal = any(held.subject is not None for held in (*first.values(), *second.values()))
        if is_personal and by != "row":
            _note(gate, first, second)
        table = _same_rows(name, first, second) if by == "row" else _like_rows(name, first, second, by)
        subjects = None
        if is_personal and gate.allows():
            _note(gate, first, second)
            subjects = len(_subjects(first) & _subjects(second))
        sealed = sealed or (is_personal and subjects is None)
        tables.append(table)
        shared.append(
            SharedRows(
                source=name,
                rows_a=sum(int(held.direct.sum()) for held in first.values()),
                rows_b=sum(int(held.direct.sum()) for held in second.values()),
                shared=table.num_rows,
                through_groups=_through_groups(first, second) if by == "row" else 0,
                subjects=subjects,
            )
        )
    return Overlap(
        a=_words(a),
        b=_words(b),
        by=by,
        sources=tuple(shared),
        rows=pa.concat_tables(tables) if tables else _ROW_SCHEMA.empty_table(),
        sealed=sealed,
    )


def _words(given: str | RowRefs) -> str:
    return given if isinstance(given, str) else f"{len(given):,} rows given"


def _side(ledger: Ledger, tracer: Tracer, gate: Gate, given: str | RowRefs) -> _Side:
    """Return the rows a set refers to."""
    if isinstance(given, RowRefs):
        return _held_in_session(ledger, given)
    if not isinstance(given, str):
        raise QueryError(f"overlap: expected a model, a run's role or row references, got {type(given).__name__}")
    footing = Footing(tracer, gate, QUESTION)
    footing.add_training(_rows_document(ledger, given))
    return {part: _held(tracer, footing, part) for part in footing.names}


def _rows_document(ledger: Ledger, spec: str) -> dict[str, JsonValue]:
    """Return what is said of the rows of a run's role (`run/role`), or of those a model was trained on."""
    run, mark, role = spec.partition("/")
    if mark:
        recorded = find_run(ledger, run)
        inputs = recorded.document.get("inputs")
        said = inputs.get(role) if isinstance(inputs, dict) else None
        if not isinstance(said, dict):
            had = ", ".join(recorded.rows) or "none"
            raise InputError(f"overlap: expected a role of run {recorded.name}, got {role!r}; it has {had}")
        return said
    training = ledger.document(find_version(ledger, spec).digest).get("training")
    if not isinstance(training, dict):
        raise InputError(f"overlap: expected a model that was registered with rows=, got {spec!r}")
    return training


def _held(tracer: Tracer, footing: Footing, part: Part) -> _Held:
    document = tracer.dataset(part.dataset)
    key, subject = document.get("key"), document.get("subject")
    nothing = np.zeros(part.rows, np.bool_)
    return _Held(
        source=footing.names[part],
        direct=footing.direct.get(part, nothing),
        through=footing.through.get(part, nothing),
        key=tuple(map(str, key)) if isinstance(key, list) else (),
        subject=subject if isinstance(subject, str) else None,
        load=lambda names: tracer.columns(part.dataset, None, names),
        is_kept=True,
        content=lambda: canonical.text_of(document, "root" if subject is None else "content"),
    )


def _held_in_session(ledger: Ledger, rows: RowRefs) -> _Side:
    """Return the rows that row references of this session lead to, whether their sources are kept already or not."""
    direct, all_ = Seen(), Seen()
    for name, positions in rows.positions.items():
        direct.mark(rows.origins[name], positions)
        all_.mark(rows.origins[name], positions)
    all_.open(())
    side: _Side = {}
    for salt, track in all_.tracks.items():
        if isinstance(track, Snapshot):
            own = direct.masks.get(salt, np.zeros(track.rows, np.bool_))
            dataset = _dataset_of(ledger, track)
            part = Part(dataset=dataset or f"{salt:016x}", first=track.first_position, rows=track.rows)
            twin = side.get(part)  # the same rows, fixed twice
            side[part] = _Held(
                source=track.name,
                direct=own if twin is None else own | twin.direct,
                through=all_.masks[salt] if twin is None else all_.masks[salt] | twin.through,
                key=track.key,
                subject=track.subject,
                load=_loader(track),
                is_kept=dataset is not None,
                content=functools.cache(functools.partial(_content_of, ledger, track)),
            )
    return side


def _loader(track: Snapshot) -> Callable[[list[str] | None], pa.Table]:
    return lambda names: track.table() if names is None else track.table().select(names)


def _dataset_of(ledger: Ledger, snapshot: Snapshot) -> str | None:
    """Return the digest of the version a snapshot is kept as; None where it is not kept yet."""
    salt = f"{snapshot.salt:016x}"
    entries = ledger.find_entries("source.fixed", snapshot.name)
    return next((canonical.text_of(entry, "dataset") for entry in entries if entry.get("salt") == salt), None)


def _content_of(ledger: Ledger, snapshot: Snapshot) -> str:
    """Return what names the rows of a snapshot: their root, keyed where they are about people."""
    root = root_of_subtrees(subtree_roots(leaf_hashes(snapshot.table())))
    if snapshot.subject is None or not ledger.keys.has(DATASET_KEY):  # then nothing about people is kept
        return root.hex()
    return keyed(ledger.keys.key(DATASET_KEY, "key"), root)


def _twins(first: _Side, second: _Side) -> Iterator[tuple[Part, Part]]:
    """Yield the parts of both sides that hold the same rows: one version, or one that was fixed again and is not kept.

    Only where the versions differ, and one is not kept, does it take a look at all rows.
    """
    for part, held in first.items():
        if part in second:
            yield part, part
            continue
        for other, other_held in second.items():
            could_be = (part.first, part.rows) == (other.first, other.rows) and not (
                held.is_kept and other_held.is_kept
            )
            if could_be and _same_content(held.content(), other_held.content()):
                yield part, other
                break


def _same_content(one: str, other: str) -> bool:
    """Say whether two digests are of the same rows.

    Raises:
        NotFoundError: They are under two keys, one of which an erasure destroyed.
    """
    if not are_comparable(one, other):
        raise NotFoundError(
            "overlap: rows about people were fixed before and after an erasure, which destroyed the key of their "
            "digests, so whether they are the same cannot be compared; compare by key, or versions that are kept"
        )
    return one == other


def _same_rows(name: str, first: _Side, second: _Side) -> pa.Table:
    """Return the positions that both refer to directly."""
    found = [_ROW_SCHEMA.empty_table()]
    for part, other in _twins(first, second):
        positions = np.flatnonzero(first[part].direct & second[other].direct) + part.first
        count = len(positions)
        found.append(_pairs(name, [part.dataset] * count, positions, [other.dataset] * count, positions))
    return pa.concat_tables(found)


def _pairs(
    name: str,
    datasets: list[str],
    positions: NDArray[np.int64],
    others: list[str],
    other_positions: NDArray[np.int64],
) -> pa.Table:
    return pa.table(
        {
            "source": pa.repeat(name, len(positions)),
            "dataset_a": pa.array(datasets, pa.string()),
            "position_a": pa.array(positions, pa.int64()),
            "dataset_b": pa.array(others, pa.string()),
            "position_b": pa.array(other_positions, pa.int64()),
        },
        _ROW_SCHEMA,
    )


def _through_groups(first: _Side, second: _Side) -> int:
    """Count the rows behind both that are not directly in both."""
    count = 0
    for part, twin in _twins(first, second):
        held, other = first[part], second[twin]
        behind = (held.direct | held.through) & (other.direct | other.through)
        count += int((behind & ~(held.direct & other.direct)).sum())
    return count


def _like_rows(name: str, first: _Side, second: _Side, by: By) -> pa.Table:
    """Return the rows of the first side that have a row like them on the second."""
    keys = {held.key for held in (*first.values(), *second.values())}
    if by == "key" and (len(keys) > 1 or () in keys):
        raise InputError(f"overlap: expected one key for all versions of {name}, got {len(keys)}; compare by content")
    columns = list(next(iter(keys))) if by == "key" else None
    sides = [[_values(part, held, columns) for part, held in side.items()] for side in (first, second)]
    # Rows with other columns are not equal.
    shapes = {frozenset(one.rows.column_names): one.rows.column_names for side in sides for one in side}
    tables = [_ROW_SCHEMA.empty_table()]
    for shape, names in shapes.items():
        own, other = ([one for one in side if shape == set(one.rows.column_names)] for side in sides)
        if own and other:
            tables.append(_alike(name, own, other, names))
    return pa.concat_tables(tables)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Values:
    """Rows of one part that a side refers to directly."""

    rows: pa.Table
    dataset: str
    positions: NDArray[np.int64]


def _values(part: Part, held: _Held, columns: list[str] | None) -> _Values:
    rows = held.load(columns).filter(pa.array(held.direct))
    return _Values(rows=rows, dataset=part.dataset, positions=np.flatnonzero(held.direct) + part.first)


def _alike(name: str, own: list[_Values], other: list[_Values], columns: list[str]) -> pa.Table:
    """Return the rows of some parts that have a row of the same values in others."""
    both = compared([one.rows for one in (*own, *other)], columns)
    codes = row_codes(both, both.column_names)
    count = sum(one.rows.num_rows for one in own)
    places = pc.index_in(pa.array(codes[:count]), value_set=pa.array(codes[count:]))
    places = places.fill_null(-1).to_numpy(zero_copy_only=False)
    hit = np.flatnonzero(places >= 0)
    (datasets, positions), (others, other_positions) = map(_placed, (own, other))
    return _pairs(
        name,
        [datasets[row] for row in hit],
        positions[hit],
        [others[row] for row in places[hit]],
        other_positions[places[hit]],
    )


def _placed(values: list[_Values]) -> tuple[list[str], NDArray[np.int64]]:
    """Return the dataset and the position of each row."""
    datasets = [one.dataset for one in values for _ in one.positions]
    return datasets, np.concatenate([one.positions for one in values])


def _subjects(side: _Side) -> set[Any]:
    """Return the persons whom the rows of a side are about, through groups too."""
    found: set[Any] = set()
    for held in side.values():
        if held.subject is not None:
            column = held.load([held.subject])[held.subject].filter(pa.array(held.direct | held.through))
            found |= set(column.unique().to_pylist()) - {None}
    return found


def _note(gate: Gate, first: Mapping[Part, _Held], second: Mapping[Part, _Held]) -> None:
    """Record that values of rows about people are read.

    Raises:
        ForbiddenError: The gate lets nothing through.
    """
    for part, held in (*first.items(), *second.items()):
        if held.subject is not None:
            gate.pass_through(QUESTION, ["source"], part.rows, Scope(dataset=part.dataset))
