"""Profiles of tables: counts, bounds, quantiles, how many values are distinct and which, column by column.

A profile is made in one pass and constant memory, and two profiles merge into that of both tables. Numbers are measured
by their value, times in nanoseconds, dates in days, texts, bytes and lists by their length. Quantiles come from a
sketch that draws random bits, so a profile never is part of what names a version. Bytes: docs/format.md section 23.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from functools import cached_property
from typing import TYPE_CHECKING, Final, TypeAlias

import datasketches
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from backstory.columns.arrow_type import FlatColumn, flat_fields, flatten
from backstory.errors import ColumnError, FormatError
from backstory.frames.distinct import DistinctSketch, hashes_of, parse_sketch
from backstory.records import canonical
from backstory.records.canonical import JsonObject, JsonValue
from backstory.records.schema import check_type

if TYPE_CHECKING:
    from numpy.typing import NDArray

VALUES_MAX: Final = 256
"""Categories of one column that are listed, and characters of the longest of them."""
_BLOCK_ROWS: Final = 1 << 16
_KLL_K: Final = 200
_LARGE: Final = {"string": pa.large_string(), "bytes": pa.large_binary()}

Measure: TypeAlias = "int | float | Decimal"
Category: TypeAlias = "bool | int | str"


@dataclass(frozen=True, kw_only=True)
class ColumnProfile:
    """The profile of one column.

    Attributes:
        name: Flattened, escaped name.
        type: Logical type as JSON.
        rows: Number of rows.
        nulls: Rows without a value.
        nans: Rows whose value is NaN; they count in nothing below.
        minimum: Least measure (see the module), exact; None without values and for bools.
        maximum: Greatest measure.
        values: Every value in order, if they are texts, bools or integers, at most 256, none of them longer than 256
            characters; None otherwise.
        sketch: Serialised KLL sketch of the measures as doubles; empty where nothing is measured.
        hashes: Which values were seen, sketched.
    """

    name: str
    type: JsonValue
    rows: int
    nulls: int
    nans: int
    minimum: Measure | None
    maximum: Measure | None
    values: tuple[Category, ...] | None
    sketch: bytes
    hashes: DistinctSketch

    @property
    def distinct(self) -> int:
        """How many values are distinct: exact to 1,024, beyond that an estimate within some 3 %."""
        return min(self.hashes.estimate(), self.rows - self.nulls - self.nans)

    @cached_property
    def _kll(self) -> datasketches.kll_doubles_sketch | None:
        return datasketches.kll_doubles_sketch.deserialize(self.sketch) if self.sketch else None

    def quantiles(self, ranks: Sequence[float]) -> list[float] | None:
        """Return the measures at ranks from 0 to 1, within 1.4 % of the rank; None where nothing is measured."""
        return None if self._kll is None else [float(value) for value in self._kll.get_quantiles(list(ranks))]

    def merge(self, other: ColumnProfile) -> ColumnProfile:
        """Return the profile of both columns' rows.

        Raises:
            ColumnError: They differ in name or type.
        """
        if (self.name, self.type) != (other.name, other.type):
            raise ColumnError(
                f"profile: expected a column {self.name!r} of type {self.type}, got {other.name!r} of type {other.type}"
            )
        gathered = _Gathering(self.name, self.type)
        gathered.take(self)
        gathered.take(other)
        return gathered.profile()

    def document(self) -> JsonObject:
        """Return the profile as JSON; members without a value are absent."""
        document: JsonObject = {
            "distinct": base64.b64encode(self.hashes.data).decode(),
            "name": self.name,
            "nans": str(self.nans),
            "nulls": str(self.nulls),
            "rows": str(self.rows),
            "type": self.type,
        }
        if self.minimum is not None and self.maximum is not None:
            document |= {"max": _measure_text(self.maximum), "min": _measure_text(self.minimum)}
        if self.sketch:
            document["quantiles"] = base64.b64encode(self.sketch).decode()
        if self.values is not None:
            document["values"] = [
                value if isinstance(value, str | bool) else str(value) for value in self.values
            ]  # an integer of 64 bits is none of canonical JSON
        return document


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """The profile of a table.

    Attributes:
        rows: Number of rows.
        columns: Profiles of its columns, in table order.
    """

    rows: int
    columns: tuple[ColumnProfile, ...]

    def column(self, name: str) -> ColumnProfile | None:
        """Return the profile of the column with this flattened name; None if there is none."""
        return next((column for column in self.columns if column.name == name), None)

    def merge(self, other: Profile) -> Profile:
        """Return the profile of both tables' rows.

        Raises:
            ColumnError: Their columns differ.
        """
        mine, others = [column.name for column in self.columns], [column.name for column in other.columns]
        if mine != others:
            raise ColumnError(f"profile: expected columns {', '.join(mine)}, got {', '.join(others)}")
        columns = tuple(one.merge(two) for one, two in zip(self.columns, other.columns, strict=True))
        return Profile(rows=self.rows + other.rows, columns=columns)

    def document(self) -> JsonObject:
        """Return the profile as canonical JSON has it."""
        return {"columns": [column.document() for column in self.columns], "rows": str(self.rows), "v": 1}


class ProfileBuilder:
    """Gathers a profile of tables that come one after the other."""

    def __init__(self, schema: pa.Schema) -> None:
        """Begin with no rows.

        Raises:
            ColumnError: A doubled name, or a type without encoding.
        """
        self._fields = flat_fields(schema)
        self._columns = [_Gathering(name, type_) for name, type_ in self._fields]
        self._rows = 0

    def add(self, table: pa.Table) -> None:
        """Take in rows.

        Raises:
            ColumnError: The columns are not those of the first table.
        """
        if flat_fields(table.schema) != self._fields:
            raise ColumnError("profile: expected the columns and types of the first table, got others")
        for start in range(0, table.num_rows, _BLOCK_ROWS):
            for column, gathering in zip(flatten(table.slice(start, _BLOCK_ROWS)), self._columns, strict=True):
                gathering.add(column)
        self._rows += table.num_rows

    def profile(self) -> Profile:
        """Return the profile of what came so far."""
        return Profile(rows=self._rows, columns=tuple(column.profile() for column in self._columns))


def profile_of(tables: Iterable[pa.Table]) -> Profile:
    """Return the profile of the rows of tables, in one pass and constant memory.

    Args:
        tables: At least one table; all with the same columns and logical types.

    Raises:
        ColumnError: The columns differ, a type has no encoding, or there is no table.
    """
    builder: ProfileBuilder | None = None
    for table in tables:
        builder = ProfileBuilder(table.schema) if builder is None else builder
        builder.add(table)
    if builder is None:
        raise ColumnError("profile: expected at least one table, got none")
    return builder.profile()


def parse_profile(document: JsonObject) -> Profile:
    """Read a profile from its document.

    Raises:
        FormatError: It is not one.
    """
    canonical.check_version(document, 1, "profile")
    columns = document.get("columns")
    if not isinstance(columns, list):
        raise FormatError("profile: expected a list of columns")
    return Profile(rows=canonical.count_of(document, "rows"), columns=tuple(_parse_column(one) for one in columns))


def _parse_column(document: JsonValue) -> ColumnProfile:
    if not isinstance(document, dict):
        raise FormatError("profile: expected an object for each column")
    type_ = document.get("type")
    check_type(type_)
    sketch = _decoded(document, "quantiles") if "quantiles" in document else b""
    try:
        if sketch:
            datasketches.kll_doubles_sketch.deserialize(sketch)
        bounds = [_parse_measure(document.get(member), type_) for member in ("min", "max")]
        values = _parse_values(document.get("values"), type_)
    except (ValueError, TypeError, RuntimeError, IndexError, InvalidOperation):
        raise FormatError("profile: a sketch, bound or value is not one of its column's type") from None
    return ColumnProfile(
        name=canonical.text_of(document, "name"),
        type=type_,
        rows=canonical.count_of(document, "rows"),
        nulls=canonical.count_of(document, "nulls"),
        nans=canonical.count_of(document, "nans"),
        minimum=bounds[0],
        maximum=bounds[1],
        values=values,
        sketch=sketch,
        hashes=parse_sketch(_decoded(document, "distinct")),
    )


def _decoded(document: JsonObject, member: str) -> bytes:
    try:
        return base64.b64decode(canonical.text_of(document, member), validate=True)
    except binascii.Error:
        raise FormatError(f"profile: expected base64 in {member!r}") from None


def _measure_text(value: Measure) -> str:
    return f"{value:f}" if isinstance(value, Decimal) else repr(value)


def _parse_measure(text: JsonValue, type_: JsonValue) -> Measure | None:
    if text is None:
        return None
    if not isinstance(text, str):
        raise TypeError
    if isinstance(type_, str) and type_.startswith("decimal"):
        return Decimal(text)
    return float(text) if isinstance(type_, str) and type_.startswith("float") else int(text)


def _parse_values(values: JsonValue, type_: JsonValue) -> tuple[Category, ...] | None:
    if values is None:
        return None
    kind = bool if type_ == "bool" else str
    if not isinstance(values, list) or not all(type(value) is kind for value in values):
        raise TypeError
    return tuple(int(value) for value in values) if _is_integer(type_) else tuple(values)  # type: ignore[arg-type]


def _is_integer(type_: JsonValue) -> bool:
    return isinstance(type_, str) and type_.startswith(("int", "uint"))


class _Gathering:
    """The profile of a column in the making."""

    def __init__(self, name: str, type_: JsonValue) -> None:
        self._name, self._type = name, type_
        self._rows = self._nulls = self._nans = 0
        self._bounds: tuple[Measure, Measure] | None = None
        self._values: set[Category] | None = set() if _is_integer(type_) or type_ in ("bool", "string") else None
        self._kll = datasketches.kll_doubles_sketch(_KLL_K)
        self._hashes = DistinctSketch()

    def add(self, column: FlatColumn) -> None:
        values = column.values
        if isinstance(self._type, str) and self._type in _LARGE:
            values = values.cast(_LARGE[self._type])  # views have no kernel for what follows
        self._rows += len(values)
        self._nulls += values.null_count if self._type != "null" else len(values)
        if values.null_count:
            values = values.drop_null()
        if isinstance(self._type, str) and self._type.startswith("float"):
            values = values.cast(pa.float32()) if values.type == pa.float16() else values
            nan = pc.is_nan(values)
            found = pc.sum(nan).as_py() or 0
            self._nans += found
            values = values.filter(pc.invert(nan)) if found else values
        if not len(values) or self._type == "null":
            return
        self._measure(values)
        if self._values is not None:
            values = pc.unique(values)
            self._list(values)
        self._hashes = self._hashes.with_hashes(hashes_of(FlatColumn(name=self._name, type=self._type, values=values)))

    def take(self, profile: ColumnProfile) -> None:
        """Take in a profile that was made before."""
        self._rows += profile.rows
        self._nulls += profile.nulls
        self._nans += profile.nans
        self._hashes = self._hashes.merge(profile.hashes)
        if profile.minimum is not None and profile.maximum is not None:
            self._widen(profile.minimum, profile.maximum)
        if profile.sketch:
            self._kll.merge(datasketches.kll_doubles_sketch.deserialize(profile.sketch))
        self._add_values(profile.values)

    def profile(self) -> ColumnProfile:
        minimum, maximum = (None, None) if self._bounds is None else self._bounds
        return ColumnProfile(
            name=self._name,
            type=self._type,
            rows=self._rows,
            nulls=self._nulls,
            nans=self._nans,
            minimum=minimum,
            maximum=maximum,
            values=None if self._values is None else tuple(sorted(self._values)),
            sketch=b"" if self._kll.is_empty() else self._kll.serialize(),
            hashes=self._hashes,
        )

    def _measure(self, values: pa.Array) -> None:
        try:
            measures = _measures(values)
        except pa.ArrowInvalid:  # it quotes the value
            raise ColumnError(f"profile: a value does not fit int64 nanoseconds (column {self._name!r})") from None
        if measures is None:
            return
        bounds = pc.min_max(measures)
        self._widen(bounds["min"].as_py(), bounds["max"].as_py())
        self._kll.update(np.array(_doubles(measures)))  # a copy: it takes no array that is read-only

    def _widen(self, least: Measure, greatest: Measure) -> None:
        if self._bounds is not None:
            least, greatest = min(least, self._bounds[0]), max(greatest, self._bounds[1])
        self._bounds = least, greatest

    def _list(self, found: pa.Array) -> None:
        if len(found) > VALUES_MAX or (self._type == "string" and pc.max(pc.utf8_length(found)).as_py() > VALUES_MAX):
            self._values = None
        else:
            self._add_values(found.to_pylist())

    def _add_values(self, values: Iterable[Category] | None) -> None:
        if self._values is None or values is None:
            self._values = None
            return
        self._values.update(values)
        if len(self._values) > VALUES_MAX:
            self._values = None


def measured(values: pa.Array) -> NDArray[np.float64]:
    """Return what is measured of values that are there, as numbers; NaN stays NaN.

    Raises:
        ColumnError: A moment does not fit int64 nanoseconds.
    """
    try:
        measures = _measures(values.cast(pa.float32()) if values.type == pa.float16() else values)
    except pa.ArrowInvalid:  # it quotes the value
        raise ColumnError("profile: a value does not fit int64 nanoseconds") from None
    return np.empty(0) if measures is None else _doubles(measures).to_numpy(zero_copy_only=False)


def _doubles(measures: pa.Array) -> pa.Array:
    return measures if measures.type == pa.float64() else measures.cast(pa.float64(), safe=False)


def _measures(values: pa.Array) -> pa.Array | None:
    """Return what is measured of values that are there: numbers, nanoseconds, days, lengths; None of a bool."""
    type_ = values.type
    if pa.types.is_boolean(type_):
        return None
    if pa.types.is_timestamp(type_):
        return values.cast(pa.timestamp("ns", type_.tz)).view(pa.int64())
    if pa.types.is_time(type_):
        return values.cast(pa.time64("ns")).view(pa.int64())
    if pa.types.is_duration(type_):
        return values.cast(pa.duration("ns")).view(pa.int64())
    if pa.types.is_date(type_):
        return values.cast(pa.date32()).view(pa.int32())
    if pa.types.is_large_string(type_):
        return pc.utf8_length(values)
    if pa.types.is_large_binary(type_):
        return pc.binary_length(values)
    if pa.types.is_map(type_):
        return pc.list_value_length(
            values.cast(pa.list_(pa.struct([("key", type_.key_type), ("value", type_.item_type)])))
        )
    return pc.list_value_length(values) if pa.types.is_nested(type_) else values
