"""The row encoding of whole tables.

The vectorised twin of `backstory.records.row`: cells are written column by column into one strided buffer, contents of
variable length are joined by Arrow. Work goes block by block, so memory is bounded by `BLOCK_ROWS`, not by the table.

Bytes: docs/format.md section 2.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from backstory.columns.arrow_type import FlatColumn, decoded, flatten
from backstory.errors import ColumnError
from backstory.records import row as scalar
from backstory.records.limits import COLUMN_COUNT_MAX, ROW_GROUP_ROWS

BLOCK_ROWS = ROW_GROUP_ROWS
"""Rows encoded at once: a few megabytes, which stay in the processor's cache."""

_COUNT_SIZE = 4
_EMPTY = pa.scalar(b"", pa.large_binary())


@dataclass(frozen=True, slots=True)
class RowBlock:
    """The encodings of a run of rows.

    Attributes:
        fixed: Prefix, header and cells of each row, and contents that are of one size in all rows, up to the first that
            is not.
        tails: The other contents of each row; None where no row has any.

    Shape:
        fixed   uint8, (rows, width)
        tails   large_binary, (rows,)
    """

    fixed: np.ndarray
    tails: pa.LargeBinaryArray | None

    def __len__(self) -> int:
        """Return the number of rows."""
        return int(self.fixed.shape[0])

    def joined(self) -> tuple[memoryview, list[int]]:
        """Return all rows in one buffer, and where each begins; one offset more than rows."""
        count, width = self.fixed.shape
        if self.tails is None:
            return np.ascontiguousarray(self.fixed).data.cast("B"), list(range(0, (count + 1) * width, width))
        heads = _binary(np.arange(count + 1) * width, self.fixed)
        offsets, content = _binary_parts(_join([heads, self.tails]))
        return content.data, offsets.tolist()

    def rows(self) -> Iterator[bytes]:
        """Iterate over the encoded rows, each with the prefix it was encoded with."""
        data, offsets = self.joined()
        return (bytes(data[start:end]) for start, end in itertools.pairwise(offsets))

    def hashes(self) -> bytes:
        """Return the SHA-256 of each row with its prefix, 32 bytes a row, concatenated."""
        sha256 = hashlib.sha256
        data, offsets = self.joined()
        return b"".join([sha256(data[start:end]).digest() for start, end in itertools.pairwise(offsets)])


def iter_blocks(table: pa.Table, prefix: bytes = b"") -> Iterator[RowBlock]:
    """Encode a table block by block.

    Args:
        table: Any table; its columns are encoded in byte order of their flattened names.
        prefix: Bytes to put before every row, such as the 0x00 of a leaf.

    Yields:
        Blocks of `BLOCK_ROWS` rows, the last one shorter; none for a table without rows.

    Raises:
        ColumnError: A doubled name, a type without encoding, or a time outside the range of int64 nanoseconds.
    """
    for start in range(0, table.num_rows, BLOCK_ROWS):
        yield encode_columns(flatten(table.slice(start, BLOCK_ROWS)), prefix)


def encode_columns(columns: Sequence[FlatColumn], prefix: bytes | np.ndarray = b"") -> RowBlock:
    """Encode flat columns of equal length.

    Args:
        columns: At least one column, in any order.
        prefix: Bytes to put before every row, or an array of them, uint8 (rows, size).

    Raises:
        ColumnError: Too many columns, or a value that has no encoding.
    """
    ordered = _ordered(columns)
    head = np.frombuffer(prefix, np.uint8) if isinstance(prefix, bytes) else prefix
    return _block([_encode_column(column) for column in ordered], len(ordered[0].values), head)


def encode_twice(columns: Sequence[FlatColumn], prefix: bytes) -> tuple[RowBlock, dict[str, RowBlock]]:
    """Encode flat columns as rows and each as rows of its own, looking at every value once.

    Args:
        columns: At least one column, in any order.
        prefix: Bytes to put before every whole row; a column's rows have none.

    Returns:
        The rows, and by name each column's.

    Raises:
        ColumnError: Too many columns, or a value that has no encoding.
    """
    ordered = _ordered(columns)
    rows, nothing = len(ordered[0].values), np.zeros(0, np.uint8)
    encoded = [_encode_column(column) for column in ordered]
    single = {column.name: _block([part], rows, nothing) for column, part in zip(ordered, encoded, strict=True)}
    return _block(encoded, rows, np.frombuffer(prefix, np.uint8)), single


def _ordered(columns: Sequence[FlatColumn]) -> list[FlatColumn]:
    if not 0 < len(columns) <= COLUMN_COUNT_MAX:
        raise ColumnError(f"row encoding: expected 1 to {COLUMN_COUNT_MAX} columns, got {len(columns)}")
    return sorted(columns, key=lambda column: column.name.encode())


def _block(encoded: Sequence[_Encoded], rows: int, head: np.ndarray) -> RowBlock:
    """Put the parts of rows together, behind a head that is the same for all or one a row."""
    tails = _tails(encoded)
    even = list(itertools.takewhile(lambda tail: isinstance(tail, np.ndarray), tails))
    start = head.shape[-1] + len(scalar.MAGIC)
    cells = _cells(encoded, rows, start, sum(tail.shape[1] for tail in even))
    cells[:, : head.shape[-1]] = head
    cells[:, head.shape[-1] : start] = np.frombuffer(scalar.MAGIC, np.uint8)
    at = start + _COUNT_SIZE + scalar.CELL_SIZE * len(encoded)
    for tail in even:
        cells[:, at : at + tail.shape[1]] = tail
        at += tail.shape[1]
    return RowBlock(cells, _join(tails[len(even) :]))


@dataclass(frozen=True, slots=True)
class _Encoded:
    """One column's part of rows.

    Attributes:
        tags: Tags of the cells, one for all or one a row.
        payload: Payloads of the cells, one for all or one a row.
        content: What it puts into the tail, uint8 (rows, size) where that is of one size; None for nothing.
    """

    tags: np.ndarray | int
    payload: np.ndarray | int
    content: np.ndarray | pa.LargeBinaryArray | None = None


def _tails(columns: Sequence[_Encoded]) -> list[np.ndarray | pa.LargeBinaryArray]:
    """Return what columns put into the tail, in their order."""
    return [one.content for one in columns if one.content is not None]


def _cells(columns: Sequence[_Encoded], rows: int, start: int, extra: int = 0) -> np.ndarray:
    """Return rows with count and cells from byte `start` on, and room for `extra` bytes behind."""
    fields: dict[str, np.ndarray | int] = {}
    offsets: list[int] = []
    for index, column in enumerate(columns):
        fields |= {f"tag{index}": column.tags, f"payload{index}": column.payload}
        at = start + _COUNT_SIZE + scalar.CELL_SIZE * index
        offsets += [at, at + 1]
    layout = np.dtype(
        {
            "names": ["count", *fields],
            "formats": ["<u4", *(["u1", "<u8"] * len(columns))],
            "offsets": [start, *offsets],
            "itemsize": start + _COUNT_SIZE + scalar.CELL_SIZE * len(columns) + extra,
        }
    )
    row = np.zeros((), layout)
    row["count"] = len(columns)
    for name, values in fields.items():
        if isinstance(values, int):
            row[name] = values
    common = np.frombuffer(row.tobytes(), np.uint8)
    data = np.empty((rows, len(common)), np.uint8)
    data[:] = common
    cells = data.view(layout)[:, 0]
    for name, values in fields.items():
        if not isinstance(values, int):
            cells[name] = values
    return data


def _encode_column(column: FlatColumn) -> _Encoded:
    """Return one column's part of each row."""
    values, tag = column.values, scalar.tag_of(column.type)
    if values.null_count == len(values) and column.null_struct is None:
        return _Encoded(scalar.NULL, 0)
    content = _contents(column, tag)
    try:
        payload = _payload(values, tag) if content is None else _lengths(content)
    except pa.ArrowInvalid:  # it quotes the value
        raise ColumnError(
            f"row encoding: a value does not fit int64 nanoseconds or whole days (column {column.name!r})"
        ) from None
    if not values.null_count and column.null_struct is None:
        return _Encoded(tag, payload, content)
    valid = values.is_valid().to_numpy(zero_copy_only=False)
    tags = np.where(valid, tag, scalar.NULL).astype(np.uint8)
    payload = np.where(valid, payload, np.uint64(0))
    if column.null_struct is not None:
        inside = column.null_struct >= 0
        tags[inside] = scalar.NULL_STRUCT_TAG
        payload[inside] = column.null_struct[inside].astype(np.uint64)
    return _Encoded(tags, payload, content)


def _payload(values: pa.Array, tag: int) -> np.ndarray:
    """Return the payloads of a column without contents, as uint64; under nulls anything."""
    type_ = values.type
    if tag == scalar.NULL:
        return np.zeros(len(values), np.uint64)
    if tag in {scalar.FLOAT64, scalar.FLOAT32}:
        return _float_bits(values, tag)
    if tag in {scalar.TIMESTAMP, scalar.NAIVE_TIMESTAMP}:
        values = values.cast(pa.timestamp("ns", type_.tz)).view(pa.int64())
    elif tag == scalar.TIME:
        values = values.cast(pa.time64("ns")).view(pa.int64())
    elif tag == scalar.DURATION:
        values = values.cast(pa.duration("ns")).view(pa.int64())
    elif tag == scalar.DATE:
        values = values.cast(pa.date32()).view(pa.int32())
    if tag in {scalar.UINT, scalar.BOOL}:
        return _numpy(values.cast(pa.uint8()) if tag == scalar.BOOL else values).astype(np.uint64)
    return _numpy(values).astype(np.int64).view(np.uint64)


def _float_bits(values: pa.Array, tag: int) -> np.ndarray:
    if tag == scalar.FLOAT64:
        numbers = _numpy(values)
        bits: np.ndarray = numbers.view(np.uint64)
        nan = np.frombuffer(scalar.NAN64, np.uint64)[0]
    else:
        numbers = _numpy(values).astype(np.float32)
        bits = numbers.view(np.uint32).astype(np.uint64)
        nan = np.frombuffer(scalar.NAN32, np.uint64)[0]
    is_nan = np.isnan(numbers)
    return np.where(is_nan, nan, bits) if is_nan.any() else bits


def _numpy(values: pa.Array) -> np.ndarray:
    """Return fixed-width values as NumPy, zero under nulls."""
    if values.null_count:
        values = values.fill_null(pa.scalar(0).cast(values.type))
    return np.ascontiguousarray(values.to_numpy(zero_copy_only=False))


def _contents(column: FlatColumn, tag: int) -> np.ndarray | pa.LargeBinaryArray | None:
    """Return what the column's cells put into the tail, as `_Encoded` has it."""
    values, type_ = column.values, column.values.type
    if tag in {scalar.STRING, scalar.BYTES}:
        return _text_contents(values)
    if tag == scalar.DECIMAL:
        return pa.array([_decimal_text(v, type_.scale) for v in values.to_pylist()], pa.large_binary())
    if tag in {scalar.LIST, scalar.STRUCT}:
        nested = _list_contents(column) if tag == scalar.LIST else _struct_contents(column)
        return pc.if_else(values.is_valid(), nested, pa.scalar(None, pa.large_binary()))
    return None


def _text_contents(values: pa.Array) -> np.ndarray | pa.LargeBinaryArray:
    """Return the bytes of texts and bytes; a matrix if they are of one size and none is null."""
    rows, type_ = len(values), values.type
    if pa.types.is_fixed_size_binary(type_):
        if values.null_count:
            return values.cast(pa.binary()).cast(pa.large_binary())
        content = np.frombuffer(values.buffers()[1], np.uint8)
        begin = values.offset * type_.byte_width
        return content[begin : begin + rows * type_.byte_width].reshape(rows, type_.byte_width)
    contents = values.cast(pa.large_binary())
    if contents.null_count or not rows:
        return contents
    offsets, content = _binary_parts(contents)
    size = int(offsets[1] - offsets[0])
    if int(offsets[-1] - offsets[0]) != size * rows or (np.diff(offsets) != size).any():
        return contents
    return content[offsets[0] : offsets[-1]].reshape(rows, size)


def _decimal_text(value: Decimal | None, scale: int) -> bytes | None:
    if value is None:
        return None
    text = f"{value:.{max(scale, 0)}f}"
    return (text.removeprefix("-") if value == 0 else text).encode()


def _list_contents(column: FlatColumn) -> pa.LargeBinaryArray:
    """Content of a list: its count, its items' cells, its items' contents. Three slices of three long buffers."""
    values = column.values
    if pa.types.is_map(values.type):
        entries = pa.struct([("key", values.type.key_type), ("value", values.type.item_type)])
        values = values.cast(pa.list_(entries))
    counts = pc.fill_null(pc.list_value_length(values), 0).to_numpy(zero_copy_only=False).astype(np.int64)
    ends = np.concatenate((np.zeros(1, np.int64), np.cumsum(counts)))
    item_type = column.type["list"] if isinstance(column.type, dict) else None
    items = FlatColumn(name=column.name, type=item_type, values=decoded(values.flatten()))
    encoded = _encode_column(items)
    tails = _join(_tails([encoded]))
    item_cells = np.ascontiguousarray(_cells([encoded], len(items.values), 0)[:, _COUNT_SIZE:])
    parts = [
        _binary(np.arange(len(counts) + 1) * _COUNT_SIZE, counts.astype("<u4")),
        _binary(ends * scalar.CELL_SIZE, item_cells),
    ]
    if tails is not None:
        offsets, content = _binary_parts(tails)
        parts.append(_binary(offsets[ends], content))
    return _join(parts)


def _struct_contents(column: FlatColumn) -> pa.LargeBinaryArray:
    """Content of a struct inside a list: the count and cells of its fields, then their contents."""
    columns = [
        FlatColumn(name=name, type=type_, values=decoded(pc.struct_field(column.values, [name])))
        for name, type_ in scalar.struct_fields(column.type)
    ]
    encoded = [_encode_column(part) for part in columns]
    return _join([_cells(encoded, len(column.values), 0), *_tails(encoded)])


def _join(parts: Sequence[np.ndarray | pa.LargeBinaryArray]) -> pa.LargeBinaryArray | None:
    """Concatenate contents row by row; a null is nothing."""
    joined: list[pa.LargeBinaryArray] = []
    for is_even, run in itertools.groupby(parts, lambda part: isinstance(part, np.ndarray)):
        if is_even:
            matrix = np.hstack(list(run))
            joined.append(_binary(np.arange(len(matrix) + 1) * matrix.shape[1], matrix))
        else:
            joined.extend(run)
    if not joined:
        return None
    if len(joined) == 1:
        return joined[0].fill_null(b"") if joined[0].null_count else joined[0]
    return pc.binary_join_element_wise(*joined, _EMPTY, null_handling="replace", null_replacement=b"")


def _lengths(content: np.ndarray | pa.LargeBinaryArray) -> np.ndarray | int:
    if isinstance(content, np.ndarray):
        return int(content.shape[1])
    return _numpy(pc.binary_length(content)).astype(np.uint64)


def _binary(offsets: np.ndarray, data: np.ndarray) -> pa.LargeBinaryArray:
    """Return binary values given their offsets into a buffer."""
    buffers = [None, pa.py_buffer(offsets.astype(np.int64)), pa.py_buffer(np.ascontiguousarray(data).view(np.uint8))]
    return pa.LargeBinaryArray.from_buffers(pa.large_binary(), len(offsets) - 1, buffers)


def _binary_parts(values: pa.LargeBinaryArray) -> tuple[np.ndarray, np.ndarray]:
    """Return the offsets (rows + 1) and the data buffer of binary values without nulls."""
    _, offsets, data = values.buffers()
    numbers = np.frombuffer(offsets, np.int64)[values.offset : values.offset + len(values) + 1]
    content = np.frombuffer(data, np.uint8) if data is not None else np.zeros(0, np.uint8)
    return numbers, content
