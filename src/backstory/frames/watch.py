"""Watching what a model is given: how it differs from what the model was trained on, and which rules it breaks.

Each row gets flags, or none. `range:x` and `unseen:x`: outside what training saw; `null:x`, `type:x`, `missing:x`: not
as in training; `contract:<rule>` and `note:<rule>`: breaks a rule of the model's contract. Names of columns and rules,
never a value. A rule whose severity is `refuse` refuses the call.

The same flags come from a table and from single records: `Watch.table` looks at columns, `Watch.record` at one row in a
few microseconds. Bytes: docs/format.md section 26.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from backstory.columns.arrow_type import decoded, flatten, logical_type, unchunked
from backstory.errors import InputError
from backstory.frames.contract import Contract
from backstory.frames.contract_check import check_rows
from backstory.frames.contract_record import compile_record_check
from backstory.frames.profile import ColumnProfile, Profile
from backstory.frames.table import without_views
from backstory.records.canonical import JsonValue
from backstory.records.schema import escape_name, split_name

_ABSENT: Final = object()
_NUMBERS: Final = (int, float, Decimal)
_FAST: Final = frozenset({int, float})
_MISSING: Final = frozenset({"NAType", "NaTType"})
"""Classes of what pandas holds where nothing is."""
_ROUNDED: Final[dict[str, Any]] = {"float16": np.float16, "float32": np.float32}
"""Types whose numbers a caller gives as float64, so that others stand for them."""
_REFUSE: Final = "refuse"
_NOTE: Final = "note"


@dataclass(frozen=True, slots=True, kw_only=True)
class Flagged:
    """What was found of the rows of a call.

    Attributes:
        flags: For each row its flags as a JSON list, null where there are none.
        refusals: Rules that refuse the call, with how many rows break each.
    """

    flags: pa.Array
    refusals: Mapping[str, int]


class Watch:
    """Compares what a model is given with its training profile and its contract."""

    def __init__(self, profile: Profile | None, contract: Contract | None) -> None:
        """Watch for what differs from a profile and what breaks a contract; either may be missing."""
        self._columns = tuple(_Seen.of(column) for column in (profile.columns if profile is not None else ()))
        paths = [(split_name(seen.name), seen) for seen in self._columns]
        own = [(path[0], seen) for path, seen in paths if len(path) == 1]
        self._numbers = tuple((name, seen.low, seen.high, seen) for name, seen in own if seen.low is not None)
        self._others = tuple((name, seen.values, seen) for name, seen in own if seen.low is None)
        self._nested = tuple((path, seen) for path, seen in paths if len(path) > 1)
        self._contract = contract
        rules = contract.rules if contract is not None else ()
        self._severity = {rule.id: rule.severity for rule in rules}
        self._names = None if contract is None else frozenset(str(r.column) for r in rules if r.column is not None)
        self._check = None if contract is None else compile_record_check(contract, self._names)

    def table(self, features: pa.Table) -> Flagged:
        """Return the flags of each row of a call.

        Args:
            features: What the model is given.
        """
        found: dict[str, np.ndarray] = {}
        columns = self._columns_of(features)
        for seen in self._columns:
            values = columns.get(seen.name)
            if values is None:
                found[f"missing:{seen.name}"] = np.ones(features.num_rows, bool)
            else:
                found |= seen.broken(_comparable(decoded(values)))
        for row, rules in enumerate(self._rules_of(features)):
            for rule in rules:
                found.setdefault(self._flag(rule), np.zeros(features.num_rows, bool))[row] = True
        refusals = {name.partition(":")[2]: int(rows.sum()) for name, rows in found.items() if self._refuses(name)}
        return Flagged(flags=_texts(found, features.num_rows), refusals=refusals)

    def record(self, features: Mapping[str, Any]) -> str | None:
        """Return the flags of one record as a JSON list; None where there are none."""
        if not features:  # nobody said what it was given
            return None
        flags: list[str] = []
        look = features.get
        for name, low, high, seen in self._numbers:
            value = look(name, _ABSENT)
            if type(value) not in _FAST or not low <= value <= high:
                flags += seen.wrong(value)
        for name, values, seen in self._others:
            value = look(name, _ABSENT)
            if values is None or type(value) is not seen.type or value not in values:
                flags += seen.wrong(value)
        for path, seen in self._nested:
            flags += seen.wrong(_inside(features, path))
        if self._check is not None:
            flags += map(self._flag, self._check(features))
        return json.dumps(sorted(flags), ensure_ascii=False, separators=(",", ":")) if flags else None

    def require(self, features: Mapping[str, Any]) -> None:
        """Refuse one record that breaks a rule which refuses.

        Raises:
            InputError: It does.
        """
        if self._check is not None:
            refuse_flagged({rule: 1 for rule in self._check(features) if self._severity[rule] == _REFUSE})

    def _columns_of(self, features: pa.Table) -> dict[str, pa.Array]:
        """Return the columns of a table by the names the profile has for them: an array has none of its own."""
        own = {escape_name(name): unchunked(features[name]) for name in features.column_names}
        is_array = features.column_names == [str(number) for number in range(features.num_columns)]
        if is_array and len(self._columns) == features.num_columns and not own.keys() & {c.name for c in self._columns}:
            return {c.name: c.of_array(values) for c, values in zip(self._columns, own.values(), strict=True)}
        return own | ({column.name: column.values for column in flatten(features)} if self._nested else {})

    def _rules_of(self, features: pa.Table) -> Sequence[tuple[str, ...]]:
        return () if self._contract is None else check_rows(self._contract, features, self._names)

    def _flag(self, rule: str) -> str:
        return f"{'note' if self._severity[rule] == _NOTE else 'contract'}:{rule}"

    def _refuses(self, flag: str) -> bool:
        kind, _, rule = flag.partition(":")
        return kind == "contract" and self._severity.get(rule) == _REFUSE


def refuse_flagged(refusals: Mapping[str, int]) -> None:
    """Refuse a call whose rows break rules that refuse.

    Raises:
        InputError: There are some.
    """
    if refusals:
        named = ", ".join(f"{rule} ({rows:,})" for rule, rows in sorted(refusals.items()))
        raise InputError(f"contract: the call is refused: rows that break a rule: {named}", rules=sorted(refusals))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    """What training saw of one column.

    Attributes:
        name: Its flattened name.
        kind: `number`, `text`, `bool` or `other`: the types that count as alike.
        nulls: Whether values were missing; NaN counts as missing.
        low: Least number; None for what is no number, or had none.
        high: Greatest number.
        values: All texts or truth values; None where they are not all known.
        type: The type of these values.
    """

    name: str
    kind: str
    nulls: bool
    low: Any
    high: Any
    values: frozenset[Any] | None
    type: type

    @classmethod
    def of(cls, column: ColumnProfile) -> _Seen:
        kind = _kind_of(column.type)
        low, high = _bounds_of(column) if kind == "number" else (None, None)
        listed = column.values if kind in {"text", "bool"} else None
        return cls(
            name=column.name,
            kind=kind,
            nulls=bool(column.nulls or column.nans),
            low=low,
            high=high,
            values=None if listed is None else frozenset(listed),
            type=bool if kind == "bool" else str,
        )

    def wrong(self, value: Any) -> list[str]:
        """Return what is wrong with one value: nothing, or one flag."""
        if value is _ABSENT:
            return [f"missing:{self.name}"]
        if hasattr(value, "item") and getattr(value, "ndim", None) == 0:
            value = value.item()
        is_nan = isinstance(value, float | Decimal) and value != value  # noqa: PLR0124
        if value is None or is_nan or type(value).__name__ in _MISSING:
            return [] if self.nulls else [f"null:{self.name}"]
        if self.kind != "other" and _kind_of_value(value) != self.kind:
            return [f"type:{self.name}"]
        if self.low is not None:
            return [] if self.low <= value <= self.high else [f"range:{self.name}"]
        return [f"unseen:{self.name}"] if self.values is not None and value not in self.values else []

    def of_array(self, values: pa.Array) -> pa.Array:
        """Return a column of an array as training saw it: an array has one type, so that truth values are 0 and 1."""
        if self.kind != "bool" or not (pa.types.is_floating(values.type) or pa.types.is_integer(values.type)):
            return values
        given = _comparable(values)
        is_truth = pc.all(pc.is_in(given, value_set=pa.array([0, 1, None], given.type))).as_py()
        return given.cast(pa.bool_()) if is_truth else values

    def broken(self, values: pa.Array) -> dict[str, np.ndarray]:
        """Return for each thing that is wrong with a column a mask over its rows."""
        found: dict[str, np.ndarray] = {}
        if values.null_count and not self.nulls:
            found[f"null:{self.name}"] = values.is_null().to_numpy(zero_copy_only=False)
        if (
            self.kind != "other"
            and values.null_count < len(values)
            and _kind_of(logical_type(values.type, self.name)) != self.kind
        ):
            return found | {f"type:{self.name}": values.is_valid().to_numpy(zero_copy_only=False)}
        if self.low is not None:
            found |= self._outside(values)
        elif self.values is not None and values.null_count < len(values):
            known = pa.array(sorted(self.values), values.type)
            unseen = pc.and_(pc.invert(pc.is_in(values, value_set=known)), values.is_valid())
            if pc.any(unseen).as_py():
                found[f"unseen:{self.name}"] = unseen.to_numpy(zero_copy_only=False)
        return found

    def _outside(self, values: pa.Array) -> dict[str, np.ndarray]:
        least, greatest = pc.min_max(values).as_py().values()
        if least is None or (self.low <= least and greatest <= self.high):
            return {}
        if pa.types.is_decimal(values.type):
            held = np.array(values.fill_null(least).to_pylist(), object)
        else:
            held = values.fill_null(least).to_numpy(zero_copy_only=False)
        outside = ((held < self.low) | (held > self.high)) & values.is_valid().to_numpy(zero_copy_only=False)
        return {f"range:{self.name}": outside.astype(bool)}


def _bounds_of(column: ColumnProfile) -> tuple[Any, Any]:
    """Return the bounds of a column of numbers; of a narrow type those of all that is rounded to what training saw."""
    rounded = _ROUNDED.get(str(column.type))
    if rounded is None or column.minimum is None or column.maximum is None:
        return column.minimum, column.maximum
    low, high = np.array([column.minimum, column.maximum], rounded)
    below, above = np.nextafter(low, rounded(-np.inf)), np.nextafter(high, rounded(np.inf))
    return (float(below) + float(low)) / 2, (float(above) + float(high)) / 2


def _inside(features: Mapping[str, Any], path: Sequence[str]) -> Any:
    """Return a value within a value; None where what it is in is missing."""
    value: Any = features
    for name in path:
        if value is None:
            return None
        value = value.get(name, _ABSENT) if isinstance(value, Mapping) else _ABSENT
    return value


def _comparable(values: pa.Array) -> pa.Array:
    """Return values with NaN as missing, and texts as Arrow can look them up."""
    if pa.types.is_floating(values.type):
        return pc.if_else(pc.is_nan(values), pa.scalar(None, values.type), values)
    return without_views(values)


def _texts(found: Mapping[str, np.ndarray], rows: int) -> pa.Array:
    """Return for each row the names that are true of it, sorted, as a JSON list; null for none."""
    names = sorted(name for name, mask in found.items() if mask.any())
    if not names:
        return pa.nulls(rows, pa.large_string())
    matrix = np.column_stack([found[name] for name in names])
    packed = np.packbits(matrix, axis=1)
    kinds, first, inverse = np.unique(packed, axis=0, return_index=True, return_inverse=True)
    texts = [
        json.dumps([name for name, is_true in zip(names, matrix[row], strict=True) if is_true], ensure_ascii=False,
                   separators=(",", ":")) if kind.any() else None
        for kind, row in zip(kinds, first, strict=True)
    ]  # fmt: skip
    return pa.array(texts, pa.large_string()).take(pa.array(inverse.reshape(-1)))


def _kind_of(type_: JsonValue) -> str:
    if isinstance(type_, str):
        if type_.startswith(("int", "uint", "float", "decimal")):
            return "number"
        return {"string": "text", "bool": "bool"}.get(type_, "other")
    return "other"


def _kind_of_value(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    return "number" if isinstance(value, _NUMBERS) else "text" if isinstance(value, str) else "other"


def flags_of(text: str | None) -> Iterator[str]:
    """Yield the flags a record holds."""
    yield from json.loads(text) if text else ()
