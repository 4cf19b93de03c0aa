"""Segment files and other Parquet of the archive. Bytes: docs/format.md section 7."""

from __future__ import annotations

import base64
import copy
import io
import itertools
import re
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from backstory.columns.arrow_type import unchunked
from backstory.columns.tree import leaf_hashes, subtree_roots
from backstory.columns.trimmed import gone_rows, leaf_hashes_of_rows, roots_with_gone, with_stubs
from backstory.errors import FormatError, StorageError
from backstory.records import canonical
from backstory.records.limits import ROW_GROUP_ROWS, SUBTREE_ROWS

SCHEMA_KEY = b"backstory.schema"
SUBTREES_KEY = b"backstory.subtrees"
COUNTS_KEY = b"backstory.counts"
TRIMMED_KEY = b"backstory.trimmed"
STUB_COLUMN = "_leaf"
"""Column of a trimmed file with the leaf hashes of records that are gone."""
_NAME = re.compile(r"([0-9a-f]{32})-(0|[1-9][0-9]{0,17})-([1-9][0-9]{0,17})(?:\.trim[1-9][0-9]{0,8})?\.parquet")
_HASH_SIZE = 32
_COMPRESSION_LEVEL = 3
_COUNTERS = frozenset({"seq", "batch_row", "index"})
"""Columns that count up: their differences take no room, a dictionary of them takes all."""
_REPEATS_MIN = 8
"""Values that stand less often than this on average, zstd alone makes smaller than a dictionary does, in half the time:
measured on 8,192 random numbers and texts of 10 to 8,192 different values."""


def write_parquet(
    table: pa.Table,
    target: Path | io.BytesIO,
    metadata: Callable[[], dict[bytes, bytes]] = dict,
    *,
    counters: Iterable[str] = (),
) -> None:
    """Write a table as the archive's Parquet: zstd, row groups of 8,192 rows.

    Args:
        table: The table; its own key-value metadata is left out.
        target: A path or a buffer.
        metadata: Gives the file's key-value metadata; called after the rows were written.
        counters: Paths of whole numbers whose differences are smaller than they are.
    """
    plain = table.replace_schema_metadata(None)
    with _parquet_writer(target, plain.slice(0, ROW_GROUP_ROWS), _COUNTERS.union(counters)) as writer:
        writer.write_table(plain, row_group_size=ROW_GROUP_ROWS)
        writer.add_key_value_metadata(metadata())


def write_groups(groups: Iterable[pa.Table], schema: pa.Schema, target: Path, metadata: dict[bytes, bytes]) -> None:
    """Write tables as the archive's Parquet, each as one row group.

    Args:
        groups: Tables of 1 to 8,192 rows.
        schema: Their Arrow schema.
        target: A path.
        metadata: The file's key-value metadata.
    """
    rest = iter(groups)
    first = next(rest, schema.empty_table()).replace_schema_metadata(None)
    with _parquet_writer(target, first) as writer:
        for table in itertools.chain([first] if first.num_rows else [], rest):
            writer.write_table(table.replace_schema_metadata(None), row_group_size=ROW_GROUP_ROWS)
        writer.add_key_value_metadata(metadata)


def _parquet_writer(
    target: Path | io.BytesIO, sample: pa.Table, counters: frozenset[str] = _COUNTERS
) -> pq.ParquetWriter:
    leaves = [leaf for name in sample.column_names for leaf in _leaves(name, unchunked(sample[name]))]
    return pq.ParquetWriter(
        target,
        sample.schema,
        compression="zstd",
        compression_level=_COMPRESSION_LEVEL,
        use_dictionary=[path for path, values in leaves if path not in counters and _repeats(values)],
        column_encoding={path: "DELTA_BINARY_PACKED" for path, _ in leaves if path in counters},
    )


def _leaves(path: str, values: pa.Array) -> Iterator[tuple[str, pa.Array]]:
    """Yield the leaves of a column with their Parquet paths."""
    if pa.types.is_struct(values.type):
        for field, part in zip(values.type, values.flatten(), strict=True):
            yield from _leaves(f"{path}.{field.name}", part)
    elif pa.types.is_list(values.type) or pa.types.is_large_list(values.type):
        yield from _leaves(f"{path}.list.element", values.flatten())
    else:
        yield path, values


def _repeats(values: pa.Array) -> bool:
    """Say whether a dictionary of a column's values is worth its room and the time to look each up."""
    try:
        return int(pc.count_distinct(values, mode="all").as_py()) * _REPEATS_MIN <= len(values)
    except pa.ArrowNotImplementedError:
        return True


def parquet_bytes(table: pa.Table) -> bytes:
    """Return a table as the archive's Parquet, in memory."""
    buffer = io.BytesIO()
    write_parquet(table, buffer)
    return buffer.getvalue()


def segment_metadata(schema: bytes, subtrees: bytes) -> dict[bytes, bytes]:
    """Return the key-value metadata of a segment."""
    return {SCHEMA_KEY: schema, SUBTREES_KEY: base64.b64encode(subtrees)}


def merged_metadata(schema: bytes, subtrees: bytes, counts: Sequence[int]) -> dict[bytes, bytes]:
    """Return the key-value metadata of a merged file: the subtree roots of its manifests, and their rows."""
    texts: list[canonical.JsonValue] = [str(count) for count in counts]
    return {**segment_metadata(schema, subtrees), COUNTS_KEY: canonical.encode(texts)}


def trimmed_metadata(schema: bytes, subtrees: bytes, counts: Sequence[int]) -> dict[bytes, bytes]:
    """Return the key-value metadata of a trimmed file: that of a merged one, and that it is trimmed."""
    return {**merged_metadata(schema, subtrees, counts), TRIMMED_KEY: b"1"}


def trimmed_name(name: str) -> str:
    """Return the name of the file that takes the place of a file of segments without some of its records.

    >>> trimmed_name("a.parquet"), trimmed_name("a.trim1.parquet")
    ('a.trim1.parquet', 'a.trim2.parquet')
    """
    stem, _, number = name.removesuffix(".parquet").partition(".trim")
    return f"{stem}.trim{int(number or 0) + 1}.parquet"


def group_count_of(rows: int) -> int:
    """Return how many row groups so many rows of one manifest take."""
    return -(-rows // ROW_GROUP_ROWS)


def subtree_count_of(rows: int) -> int:
    """Return how many subtree roots so many rows of one manifest have."""
    return -(-rows // SUBTREE_ROWS)


def segment_name(stream: str, first_seq: int, count: int) -> str:
    """Return a segment's file name without its ending."""
    return f"{stream}-{first_seq}-{count}"


def segment_range(name: str) -> tuple[str, int, int] | None:
    """Return the stream, the first sequence number and the end that a segment's file name says; None if it is none."""
    match = _NAME.fullmatch(name)
    return None if match is None else (match[1], int(match[2]), int(match[2]) + int(match[3]))


def hashed_runs(reader: ParquetReader, first: int, table: pa.Table) -> tuple[bytes, bytes]:
    """Return the leaf hashes of whole runs of 256 records, and the roots of these runs.

    Args:
        reader: The segment. Of a trimmed one, what is gone counts with the hashes that were kept of it: leaf hashes are
            zeros, and the root is the stored one, where all of a run is gone.
        first: Row of the segment at which they begin, the first of a run.
        table: Their rows, as `reader` gave them, to the end of a run or of the segment.

    Raises:
        FormatError: Hashes of what is gone are missing.
    """
    if not reader.is_trimmed or not table.num_rows:
        leaves = leaf_hashes(table)
        return leaves, subtree_roots(leaves)
    leaves = leaf_hashes_of_rows(table, ~gone_rows(table["id"]))
    begin = first // SUBTREE_ROWS * _HASH_SIZE
    stored = reader.subtrees()[begin : begin + subtree_count_of(table.num_rows) * _HASH_SIZE]
    leaves = with_stubs(leaves, table["id"], reader.stubs(first, table.num_rows))
    return leaves, roots_with_gone(leaves, table["id"], stored)


class ParquetReader:
    """Reads parts of one of the archive's Parquet files.

    The bytes are not checked here: callers check rows against roots, or the file against its digest.
    """

    def __init__(self, path: Path, kept_groups: int = 0) -> None:
        """Open a file.

        Args:
            path: The file.
            kept_groups: How many decoded row groups `read_rows` keeps, for readers that are asked again and again.

        Raises:
            StorageError: It cannot be read.
            FormatError: It is not Parquet.
        """
        try:
            self._file = pq.ParquetFile(path, memory_map=False, pre_buffer=False)
        except FileNotFoundError as error:
            raise StorageError(f"reading {path.name}: no such file (in {path.parent})") from error
        except (pa.ArrowException, OSError, ValueError) as error:
            raise FormatError(f"reading {path.name}: not a Parquet file (in {path.parent})") from error
        self._name = path.name
        self._kept_groups = kept_groups
        self._kept: OrderedDict[int, pa.Table] = OrderedDict()
        self._groups = range(int(self._file.metadata.num_row_groups))
        leaves = self._file.schema
        self._leaves = {leaves.column(index).path: index for index in range(len(leaves))}
        self._subtrees: bytes | None = None
        self._parts: dict[int, ParquetReader] | None = None
        self.is_trimmed = TRIMMED_KEY in (self._file.metadata.metadata or {})
        self._columns = [field.name for field in self._file.schema_arrow if field.name != STUB_COLUMN]

    @property
    def group_count(self) -> int:
        """Row groups there are."""
        return len(self._groups)

    @property
    def arrow_schema(self) -> pa.Schema:
        """The table's Arrow schema; of a trimmed file that of its records."""
        schema = self._file.schema_arrow
        return pa.schema([schema.field(name) for name in self._columns]) if self.is_trimmed else schema

    def metadata(self, key: bytes) -> bytes:
        """Return a key-value item of the file.

        Raises:
            FormatError: There is none.
        """
        value = (self._file.metadata.metadata or {}).get(key)
        if value is None:
            raise FormatError(f"reading {self._name}: no metadata {key.decode()}")
        return bytes(value)

    def subtrees(self) -> bytes:
        """Return the stored subtree roots, concatenated; a convenience, not evidence.

        Raises:
            FormatError: There are none, or they are malformed.
        """
        if self._subtrees is None:
            try:
                self._subtrees = base64.b64decode(self.metadata(SUBTREES_KEY), validate=True)
            except ValueError as error:
                raise FormatError(f"reading {self._name}: subtree roots are not base64") from error
        return self._subtrees

    def counts(self) -> list[int]:
        """Return how many rows of each manifest a merged file says it holds; not evidence.

        Raises:
            FormatError: It does not say so, or says it wrongly.
        """
        texts = canonical.parse(self.metadata(COUNTS_KEY), f"counts of {self._name}")
        if not isinstance(texts, list):
            raise FormatError(f"reading {self._name}: expected a list of counts")
        return [canonical.count_of({"count": text}, "count") for text in texts]

    def part(self, first_row: int) -> ParquetReader:
        """Return a reader of one manifest's rows in a merged file, to be used as if they were a file.

        Args:
            first_row: Row of the file at which the manifest begins.

        Raises:
            FormatError: None begins there.
        """
        if self._parts is None:
            self._parts = self._cut()
        part = self._parts.get(first_row)
        if part is None:
            raise FormatError(f"reading {self._name}: no manifest begins at row {first_row}")
        return part

    def _cut(self) -> dict[int, ParquetReader]:
        """Return a reader of each manifest's rows, by its first row; they share the file and what is kept of it."""
        parts, group, subtree, roots = {}, 0, 0, self.subtrees()
        counts = self.counts()
        for first_row, count in zip(itertools.accumulate(counts, initial=0), counts, strict=False):
            part = copy.copy(self)
            part._groups = self._groups[group : group + group_count_of(count)]  # noqa: SLF001  of the same class
            end = subtree + subtree_count_of(count)
            part._subtrees = roots[subtree * _HASH_SIZE : end * _HASH_SIZE]  # noqa: SLF001
            parts[first_row] = part
            group, subtree = group + group_count_of(count), end
        return parts

    def read_groups(self, groups: Sequence[int], columns: list[str] | None = None) -> pa.Table:
        """Read row groups; records of a trimmed file that are gone have nulls in all columns.

        Raises:
            FormatError: The bytes do not decode.
        """
        if columns is None and self.is_trimmed:
            columns = self._columns
        try:
            return self._file.read_row_groups([self._groups[i] for i in groups], columns=columns, use_threads=False)
        except (pa.ArrowException, OSError, ValueError, IndexError) as error:
            raise FormatError(f"reading {self._name}: row groups {groups[0]} to {groups[-1]} do not decode") from error

    def run_roots(self, group: int) -> bytes:
        """Return the roots of the runs of 256 records of a row group, hashed anew but for those that are gone.

        Raises:
            FormatError: The bytes do not decode.
        """
        return hashed_runs(self, group * ROW_GROUP_ROWS, self.read_groups([group]))[1]

    def stubs(self, first: int, count: int) -> pa.Array:
        """Return the leaf hashes kept of records that are gone, of rows `first` to `first + count`; null for others."""
        groups = range(first // ROW_GROUP_ROWS, (first + count - 1) // ROW_GROUP_ROWS + 1)
        column = self.read_groups(groups, [STUB_COLUMN])[STUB_COLUMN]
        return unchunked(column.slice(first - groups[0] * ROW_GROUP_ROWS, count))

    def gone_count(self) -> int:
        """Return how many records of a trimmed file are gone; 0 for a file that is not trimmed."""
        if not self.is_trimmed:
            return 0
        return sum(self.read_groups([group], ["id"])["id"].null_count for group in range(self.group_count))

    def read_rows(self, first: int, count: int) -> pa.Table:
        """Read a run of rows, which may cross row groups."""
        groups = range(first // ROW_GROUP_ROWS, (first + count - 1) // ROW_GROUP_ROWS + 1)
        table = self.read_groups(groups) if len(groups) > 1 else self.read_group(groups[0])
        return table.slice(first - groups[0] * ROW_GROUP_ROWS, count)

    def read_group(self, group: int) -> pa.Table:
        """Read a whole row group, or give the one that was kept."""
        at = self._groups[group]
        table = self._kept.get(at)
        if table is None:
            table = self.read_groups([group])
            if self._kept_groups:
                self._kept[at] = table
                if len(self._kept) > self._kept_groups:
                    self._kept.popitem(last=False)
        return table

    def bounds(self, group: int, column: str) -> tuple[Any, Any] | None:
        """Return the least and greatest value of a column in a row group, if the file says so.

        Raises:
            FormatError: What the file says does not decode.
        """
        if column not in self._leaves:
            return None
        try:
            statistics = self._file.metadata.row_group(self._groups[group]).column(self._leaves[column]).statistics
            is_said = bool(statistics and statistics.has_min_max)
            bounds = (statistics.min, statistics.max) if is_said else None
        except (pa.ArrowException, OSError, ValueError, IndexError) as error:
            raise FormatError(f"reading {self._name}: statistics of row group {group} do not decode") from error
        return bounds
