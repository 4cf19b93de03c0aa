"""Other values for recorded features: given by hand, for each prediction or all, in the types that were recorded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from backstory.columns.arrow_type import decoded, is_text, unchunked
from backstory.debug.case import Case
from backstory.errors import AlignmentError, ColumnError
from backstory.frames.table import drop_columns, to_arrow
from backstory.frames.token import id_columns
from backstory.records.names import names_instead

if TYPE_CHECKING:
    from numpy.typing import NDArray


class GivenFeatures:
    """Values for some features, one for all predictions or one for each."""

    def __init__(self, given: Any, ids: Sequence[str] | None) -> None:  # noqa: ANN401  a mapping or any frame
        """Take values.

        Args:
            given: A mapping from feature to value, or a frame with a row for each prediction in the order asked.
            ids: The predictions in that order; None where nobody named them.

        Raises:
            AlignmentError: A frame has not one row a prediction, or nobody said which.
            ColumnError: There are no columns.
        """
        self._one = dict(given) if isinstance(given, Mapping) else None
        self._many: pa.Table | None = None
        self._at: dict[str, int] = {}
        if self._one is None:
            table = to_arrow(given)
            self._many = drop_columns(table, id_columns(table.column_names))
            if ids is None or len(set(ids)) != self._many.num_rows:
                count = "none named" if ids is None else f"{len(set(ids))} predictions"
                rows = f"got {self._many.num_rows} rows for {count}"
                raise AlignmentError(f"whatif: expected a row of features for each prediction, {rows}")
            self._at = {name: at for at, name in enumerate(ids)}
        if not self.names:
            raise ColumnError("whatif: expected other values for at least one feature, got none")

    @property
    def names(self) -> list[str]:
        """The features that get other values."""
        return [str(name) for name in (self._one if self._many is None else self._many.column_names) or ()]

    def put(self, case: Case, features: pa.Table) -> pa.Table:
        """Return the features of a call with the values in the rows that were asked about.

        Raises:
            ColumnError: The call has no such feature, or its type cannot hold a value.
        """
        unknown = [name for name in self.names if name not in features.column_names]
        if unknown:
            listed = ", ".join(map(repr, unknown))
            raise ColumnError(
                f"whatif: the predictions have no feature {listed}{names_instead(unknown[0], features.column_names)}"
            )
        rows = np.array(case.rows)
        at = np.array([self._at[name] for name in case.ids]) if self._many is not None else rows
        for name in self.names:
            type_ = features.schema.field(name).type
            values = self._values(name, at, type_)
            require_category(case, name, values)
            features = with_values(features, name, rows, values)
        return features

    def _values(self, name: str, at: NDArray[np.int64], type_: pa.DataType) -> pa.Array:
        if self._many is not None:
            return _typed(decoded(unchunked(self._many[name])).take(pa.array(at)), type_, name)
        value = self._one[name] if self._one is not None else None
        try:
            scalar = pa.scalar(value.item() if isinstance(value, np.generic) else value)
        except (pa.ArrowException, TypeError, ValueError):
            raise _refused(name, type_, type(value).__name__) from None
        return _typed(pa.repeat(scalar, len(at)), type_, name)


def with_values(features: pa.Table, name: str, rows: NDArray[np.int64], values: pa.Array) -> pa.Table:
    """Return features with other values of one column in some rows."""
    at = features.column_names.index(name)
    column = decoded(unchunked(features[name]))
    places = np.arange(len(column))
    places[rows] = len(column) + np.arange(len(rows))
    return features.set_column(at, name, pa.concat_arrays([column, values.cast(column.type)]).take(pa.array(places)))


def differing(one: pa.Array | pa.ChunkedArray, other: pa.Array | pa.ChunkedArray) -> NDArray[np.bool_]:
    """Return where two columns differ; a null is equal to a null and NaN to NaN."""
    first, second = (decoded(unchunked(side) if isinstance(side, pa.ChunkedArray) else side) for side in (one, other))
    if pa.types.is_floating(first.type) and pa.types.is_floating(second.type):
        missing = [side.is_null().to_numpy(zero_copy_only=False) for side in (first, second)]
        values = [side.fill_null(0).to_numpy(zero_copy_only=False) for side in (first, second)]
        same = (values[0] == values[1]) | (np.isnan(values[0]) & np.isnan(values[1]))
        return np.asarray(~same | (missing[0] != missing[1]))
    if pa.types.is_nested(first.type):
        return np.array([a != b for a, b in zip(first.to_pylist(), second.to_pylist(), strict=True)], np.bool_)
    unequal = pc.fill_null(pc.not_equal(first, second), pa.scalar(value=False))
    parted = pc.not_equal(first.is_null(), second.is_null())
    return np.asarray(pc.or_(unequal, parted).to_numpy(zero_copy_only=False))


def _typed(values: pa.Array, type_: pa.DataType, name: str) -> pa.Array:
    """Return values in the recorded type, if it can hold them as they are."""
    if pa.types.is_null(values.type):
        return values.cast(type_)
    if _sort(values.type) != _sort(type_):
        raise _refused(name, type_, str(values.type))
    try:
        return values.cast(type_)
    except pa.ArrowException:
        raise _refused(name, type_, str(values.type)) from None


def _sort(type_: pa.DataType) -> str:
    """Return what sort of values a type holds: none is cast to another, though Arrow reads texts as numbers."""
    if pa.types.is_boolean(type_):
        return "boolean"
    if pa.types.is_integer(type_) or pa.types.is_floating(type_) or pa.types.is_decimal(type_):
        return "number"
    if pa.types.is_timestamp(type_):
        return "moment" if type_.tz else "moment without a time zone"
    return "text" if is_text(type_) else str(type_)


def _refused(name: str, type_: pa.DataType, got: str) -> ColumnError:
    return ColumnError(f"whatif: expected a value for feature {name!r} that {type_} can hold, got {got}")


def require_category(case: Case, name: str, values: pa.Array) -> None:
    """Refuse a value that is none of the categories of a categorical feature: the model would not see it.

    Raises:
        ColumnError: It is none.
    """
    container = case.context.get("container")
    said = container.get("categories") if isinstance(container, dict) else None
    known = said.get(name) if isinstance(said, dict) else None
    listed = known.get("values") if isinstance(known, dict) else known
    if isinstance(listed, list) and not {str(v) for v in values.drop_null().to_pylist()} <= {
        str(one) for one in listed
    }:
        raise ColumnError(
            f"whatif: expected one of the {len(listed)} categories of feature {name!r}, got another value"
        )
