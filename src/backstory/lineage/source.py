"""Sources: fixed snapshots of input data, and the registry of what the tokens of this session mean.

Fixing a frame gives its rows tokens (docs/format.md section 10) and keeps the frame as it was, protected from what the
caller does to theirs later. Nothing is stored here: the archive persists a snapshot from its `table()`.

The registry is the only thing in row identity that changes; it is guarded by one lock, and everything it hands out is
immutable.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, TypeVar

import numpy as np
import pyarrow as pa

from backstory.errors import ColumnError, InputError, KeyNotUniqueError, LimitError
from backstory.frames.key import find_duplicate, has_nulls, row_codes
from backstory.frames.moment import require_moments
from backstory.frames.reading import Reading
from backstory.frames.table import (
    LAZY,
    as_given,
    column_names,
    column_values,
    drop_columns,
    hold,
    kind_of,
    names_given,
    require_columns,
    row_count,
    sampled_values,
    select_columns,
    to_arrow,
    with_column,
)
from backstory.frames.token import POSITION_MAX, ROW_PREFIX, id_columns, mint_tokens
from backstory.lineage.about import About

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from backstory.lineage.derived import Derivation
    from backstory.lineage.group import MixNode

FrameT = TypeVar("FrameT")
Kept: TypeAlias = Literal["copy", "reference"]

_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,62}")
_CARRIERS: Final = frozenset({"pandas", "polars", "polars-lazy", "arrow", "arrow-batch", "duckdb"})
_SALT_END: Final = 1 << 64
_PROVABLE: Final = frozenset({"rows", "subjects"})
NOTHING_SAID: Final = About()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Snapshot:
    """One fixed state of a source, or of one part of it.

    Attributes:
        name: The source's name.
        part: Name of the part (a month, a file), or None for the whole source.
        first_position: Position of the first row; row `i` of the snapshot has position `first_position + i`.
        rows: Number of rows.
        salt: The 64 random bits in this snapshot's tokens.
        key: Columns that identify a row; empty if none were named.
        subject: Column that says which person a row is about, or None.
        origin: Where the data came from, in the caller's words, or None.
        about: What else is said about it.
        provable: What can be proven of it later, beside where a row stands: `rows`, `subjects`.
        columns: Names of its columns.
        load: Gives the rows as they were when fixed.
        sample: Gives a column's values in some rows, by how many rows stand before each: null where one is not known
            without effort, None where none is.
        reading: Where its rows were read from; None for those of a frame.
        keep: Whether the archive keeps the rows, or where they are.
        derived: What it was made from; None where nothing of that is known.
    """

    name: str
    part: str | None
    first_position: int
    rows: int
    salt: int
    key: tuple[str, ...]
    subject: str | None
    origin: str | None
    about: About
    provable: frozenset[str]
    columns: frozenset[str]
    load: Callable[[], pa.Table]
    sample: Callable[[NDArray[np.signedinteger[Any]], str], pa.Array | pa.ChunkedArray | None]
    reading: Reading | None = None
    keep: Kept = "copy"
    derived: Derivation | None = None

    def table(self) -> pa.Table:
        """Return the rows as they were when fixed; converted anew at each call, kept by nobody."""
        return self.load()


Origin: TypeAlias = "tuple[Snapshot, ...] | MixNode"
"""What row references point into: the parts of one version of a source, by position, or a group (or windows)."""


class Sources:
    """The sources and groups of one session. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._versions: dict[str, tuple[Origin, ...]] = {}

    def fix(
        self,
        frame: FrameT,
        name: str,
        *,
        salt: int,
        key: str | Sequence[str] | None = None,
        subject: str | None = None,
        part: str | None = None,
        origin: str | None = None,
        about: About = NOTHING_SAID,
        judge: Callable[[pa.Table, About], About] | None = None,
        provable: str | Sequence[str] = (),
        rows: pa.Table | None = None,
        reading: Reading | None = None,
        keep: Kept = "copy",
        derive: Callable[[Any], Derivation] | None = None,
    ) -> tuple[FrameT, Snapshot]:
        """Fix a snapshot of a frame and give its rows tokens.

        Fixing a name again makes a new version of it, unless both times a part is named: parts of one source get
        disjoint positions and can be used together. A lazy frame is run once. Id columns the frame has already do not
        become part of the snapshot.

        Args:
            frame: A pandas, polars or pyarrow frame with at least one row.
            name: The source's name, `[a-z][a-z0-9_]{0,62}`.
            salt: 64 random bits, drawn for this call.
            key: Column or columns that identify a row.
            subject: Column that says which person a row is about.
            part: Name of the part this frame is.
            origin: Where the data came from.
            about: What else is said about it.
            judge: Given the rows and what is said about them, says more, or refuses them.
            provable: What is to be provable: `rows`, `subjects`, or both.
            rows: The rows of the snapshot, as they were read; those of the frame if not given.
            reading: Where they were read from.
            keep: `copy`, or `reference` to keep only where they are.
            derive: Given the frame as it is held, says what it was made from.

        Returns:
            The same kind of frame with the column `_row_<name>`, and the snapshot.

        Raises:
            ColumnError: A named column is missing, the key has nulls, the frame has a column `_row_<name>` already, or
                moments that cannot be recorded.
            InputError: The name, the salt, the container or `provable` cannot be used, or the frame is empty.
            KeyNotUniqueError: Two rows have the same key.
            LimitError: The source has too many rows.
        """
        require_name(name, salt)
        kind = kind_of(frame)
        if kind not in _CARRIERS:
            raise InputError(f"cannot fix a source: expected a pandas, polars or pyarrow frame, got {kind} ({name})")
        _require_place(reading, keep, name)
        held = hold(frame) if rows is None else rows
        names = column_names(held)
        if ROW_PREFIX + name in names:
            raise ColumnError(f"the frame has ids of source {name} already, in {ROW_PREFIX + name!r}: use it as it is")
        count = row_count(held)
        if count == 0:
            raise InputError(f"cannot fix a source: expected at least one row, got none ({name})")
        keys = names_given(key)
        require_columns(
            names, keys + ((subject,) if subject is not None and subject not in keys else ()), f"source {name}"
        )
        if keys:
            _require_key(held, keys, name)
        to_prove = _provable(provable, subject, name)
        rows_held = drop_columns(held, id_columns(names))
        require_moments(rows_held, f"source {name}")
        if judge is not None:
            about = judge(to_arrow(rows_held), about)
        derived = None if derive is None else derive(held)
        snapshot = self._register(
            name,
            part,
            count,
            lambda first: Snapshot(
                name=name,
                part=part,
                first_position=first,
                rows=count,
                salt=salt,
                key=keys,
                subject=subject,
                origin=origin,
                about=about,
                provable=to_prove,
                columns=frozenset(column_names(rows_held)),
                load=lambda: to_arrow(rows_held),
                sample=lambda rows, column: sampled_values(rows_held, column, rows),
                reading=reading,
                keep=keep,
                derived=derived,
            ),
        )
        positions = np.arange(snapshot.first_position, snapshot.first_position + count, dtype=np.int64)
        # A frame that runs anew may come in another order then: the rows that were fixed get the ids.
        traced = with_column(held if kind in LAZY else frame, ROW_PREFIX + name, mint_tokens(positions, salt))
        return as_given(frame, traced), snapshot

    def add(self, name: str, origin: Origin) -> None:
        """Add a version of a source or group: a group just made, or what an archive kept from another session.

        Args:
            name: The name its tokens go by.
            origin: The new, newest version.

        Raises:
            InputError: The name belongs to the other sort of origin.
        """
        with self._lock:
            self._require_same_sort(name, is_group=not isinstance(origin, tuple))
            self._versions[name] = (*self._versions.get(name, ()), origin)

    def forget(self, salts: set[int]) -> None:
        """Forget sources by the salts of their parts, and what was mixed from their rows: they were for a trial."""
        with self._lock:
            for name, versions in list(self._versions.items()):
                left = tuple(origin for origin in versions if salts.isdisjoint(_salts_behind(origin)))
                if left:
                    self._versions[name] = left
                else:
                    del self._versions[name]

    def find(self, reference: str) -> dict[str, tuple[Origin, ...]]:
        """Return what a row reference can name: every registered name it starts with, the longest first.

        Args:
            reference: The name of an id column without `_row_`. Joins may have added a suffix: `loans_x` is one of
                `loans` after a self-join, even if there is a source `loans_x`. The tokens tell which.

        Returns:
            By name its versions, the newest last; empty if nothing of such a name is registered.
        """
        with self._lock:
            names = [name for name in self._versions if reference.startswith(name)]
            return {name: self._versions[name] for name in sorted(names, key=len, reverse=True)}

    def _register(self, name: str, part: str | None, rows: int, build: Callable[[int], Snapshot]) -> Snapshot:
        with self._lock:
            self._require_same_sort(name, is_group=False)
            versions = self._versions.get(name, ())
            newest = versions[-1] if versions else ()
            parts = newest if isinstance(newest, tuple) and part is not None and newest and newest[0].part else ()
            first = parts[-1].first_position + parts[-1].rows if parts else 0
            if first + rows - 1 > POSITION_MAX:
                raise LimitError(
                    f"too many rows in one source: expected at most {POSITION_MAX + 1}, got {first + rows}"
                )
            snapshot = build(first)
            # A further part replaces the newest version by one that holds it too; anything else is a new version.
            self._versions[name] = (*(versions[:-1] if parts else versions), (*parts, snapshot))
            return snapshot

    def _require_same_sort(self, name: str, *, is_group: bool) -> None:
        versions = self._versions.get(name)
        if versions and isinstance(versions[-1], tuple) == is_group:
            taken = "source" if is_group else "group"
            raise InputError(f"name is taken: expected a new name, got {name!r}, which is a {taken}")


def _salts_behind(origin: Origin) -> set[int]:
    """Return the salts of a source's parts, or of all parts whose rows were mixed into a group."""
    if isinstance(origin, tuple):
        return {snapshot.salt for snapshot in origin}
    return {salt for inner in origin.origins.values() for salt in _salts_behind(inner)}


def require_name(name: str, salt: int) -> None:
    """Refuse a name or a salt that cannot be used for a source or group.

    Raises:
        InputError: The name is not `[a-z][a-z0-9_]{0,62}`, or the salt is not 64 bits.
    """
    if not isinstance(name, str):
        raise InputError(f"name cannot be used: expected text, got {type(name).__name__}")
    if not _NAME.fullmatch(name):
        raise InputError(
            f"name cannot be used: expected a small letter, then at most 62 small letters, digits and '_', got {name!r}"
        )
    if not 0 <= salt < _SALT_END:
        raise InputError(f"salt cannot be used: expected 64 bits, got {salt.bit_length()} ({name})")


def _require_place(reading: Reading | None, keep: str, name: str) -> None:
    if keep not in {"copy", "reference"}:
        raise InputError(f"cannot fix a source: expected keep to be 'copy' or 'reference', got {keep!r} ({name})")
    if keep == "reference" and (reading is None or reading.again is None):
        raise InputError(
            f"cannot keep a source by reference: expected a path, a query or a table that can be read again ({name})"
        )


def _provable(given: str | Sequence[str], subject: str | None, name: str) -> frozenset[str]:
    """Return what is to be provable of a source, as a set.

    Raises:
        InputError: It is none of `_PROVABLE`, persons without a column that names them, or rows of people: their
            leaves are salted, so nobody could look for one.
    """
    provable = frozenset((given,) if isinstance(given, str) else given)
    if not provable <= _PROVABLE:
        raise InputError(
            f"cannot make a source provable: expected 'rows' or 'subjects', got {sorted(provable)} ({name})"
        )
    if "subjects" in provable and subject is None:
        raise InputError(f"cannot make persons provable: expected subject=, the column that names them ({name})")
    if "rows" in provable and subject is not None:
        raise InputError(f"cannot make rows about people provable: expected 'subjects', got 'rows' too ({name})")
    return provable


def _require_key(frame: object, key: tuple[str, ...], name: str) -> None:
    values = {column: column_values(frame, column) for column in key}
    # What a library holds as Arrow does already needs no conversion, which would take longer than the comparison.
    table = pa.table(
        {name: _converted(frame, name) if isinstance(held, np.ndarray) else held for name, held in values.items()}
    )
    nulls = int(has_nulls(table, key).sum())
    if nulls:
        raise ColumnError(
            f"key has missing values: expected none in {', '.join(key)}, got {nulls} of {table.num_rows} rows ({name})",
            rows=nulls,
        )
    twice = find_duplicate(row_codes(table, key))
    if twice is not None:
        raise KeyNotUniqueError(
            f"key does not identify rows: expected {', '.join(key)} to be unique, "
            f"got the same in rows {twice[0]} and {twice[1]} ({name})",
            rows=list(twice),
        )


def _converted(frame: object, name: str) -> pa.ChunkedArray:
    return to_arrow(select_columns(frame, [name])).column(0)
