"""Features made again from source rows, by the functions that made them.

The rows that predictions were made of are fetched from their snapshots, the preparation runs on them, and the ids of
what comes out say which row is whose. The preparation is given only the rows that lineage names, which is fast and
tests lineage at the same time: if another row mattered, the values differ. Nothing is stored, and no step is recorded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from backstory.columns.arrow_type import decoded, flat_fields, unchunked
from backstory.debug.case import Workshop
from backstory.debug.row_match import NONE_CAME_OUT, Made, match_rows
from backstory.debug.source_rows import Correction, Fed
from backstory.debug.step_code import Steps
from backstory.debug.step_run import Rerun, run_again
from backstory.errors import InputError, PreparationError
from backstory.frames.library import Library
from backstory.lineage.reference import Reference

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Correction", "Recomputed", "Steps", "recompute"]

_NAMED_MAX = 5


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Recomputed:
    """Columns made again from source rows.

    Attributes:
        table: The columns in the types they were recorded in, one row a prediction in the order asked; null where a row
            was not made again.
        reasons: For each prediction why it was not; "" where it was.
        rerun: The steps as they were run, and the rows they were given.
        fed: `traced` where the steps were given only the rows that lineage names, `all` for whole snapshots.
        seconds: How long finding each prediction's row in what came out took.
    """

    table: pa.Table
    reasons: tuple[str, ...]
    rerun: Rerun
    fed: Fed
    seconds: float

    @property
    def made(self) -> NDArray[np.bool_]:
        """For each prediction whether it was made again."""
        return np.array([not reason for reason in self.reasons], np.bool_)


def recompute(
    shop: Workshop,
    references: Mapping[str, Reference],
    positions: Mapping[str, NDArray[np.signedinteger[Any]]],
    columns: pa.Schema,
    steps: Steps,
    corrections: Sequence[Correction] = (),
    *,
    rows: Fed = "traced",
    library: Library = "pandas",
) -> Recomputed:
    """Make columns again from the source rows they were made of.

    Args:
        shop: The archive; what its gate lets through is noted.
        references: What the positions point to: `parse_references(case.context["refs"])`.
        positions: For each reference one position a prediction, such as some rows of `case.positions()`.
        columns: The columns that are wanted, in the types they were recorded in: `case.features.schema`.
        steps: The functions that made them.
        corrections: Values that source rows are given before the steps run.
        rows: `traced` gives the steps the rows that lineage names, `all` gives them all rows of those snapshots.
        library: The frames that steps get whose parameters are not annotated as frames of another.

    Raises:
        ForbiddenError: Rows are about people, and the gate lets nothing through.
        InputError: The steps cannot be run on these sources, or a correction cannot be made.
        NotFoundError: Rows were erased, or recorded steps cannot be imported.
        PreparationError: A step raises an error now, had other parameters then, or returns no such columns.
        VerificationError: Rows were changed.
    """
    counts = {len(values) for values in positions.values()}
    if not positions or len(counts) != 1:
        raise InputError("recompute: expected row references with one position a prediction, got none")
    clock = shop.ledger.world.monotonic_ns
    again = run_again(shop, references, positions, steps, corrections, rows=rows, library=library)
    began = clock()
    table, reasons = _matched(shop, references, positions, with_columns(again, columns.names), columns)
    return Recomputed(
        table=table,
        reasons=tuple(reasons),
        rerun=again,
        fed=rows,
        seconds=(clock() - began) / 1e9,
    )


def with_columns(again: Rerun, names: Sequence[str]) -> list[Made]:
    """Return those frames that came out of a preparation which have some columns.

    Raises:
        PreparationError: None has.
    """
    missing = [[name for name in names if name not in one.values.column_names] for one in again.made]
    fitting = [one for one, lacks in zip(again.made, missing, strict=True) if not lacks]
    if not fitting:
        fewest = min(missing, key=len)
        raise PreparationError(
            f"recompute: expected {len(names)} columns of what step {again.steps[-1].name} returned, got none called "
            f"{', '.join(map(repr, fewest[:_NAMED_MAX]))}{', …' if len(fewest) > _NAMED_MAX else ''}"
        )
    return fitting


def _matched(
    shop: Workshop,
    references: Mapping[str, Reference],
    positions: Mapping[str, NDArray[np.signedinteger[Any]]],
    came: Sequence[Made],
    columns: pa.Schema,
) -> tuple[pa.Table, list[str]]:
    """Return the wanted columns in the order of the predictions, and for each why it has none."""
    tables, before = [], 0
    chosen = np.full(len(next(iter(positions.values()))), -1, np.int64)
    reasons = [NONE_CAME_OUT] * len(chosen)
    for one in came:
        values = typed(one.values, columns)
        rows, why = match_rows(shop.tracer, references, positions, one, values)
        open_still = chosen < 0
        chosen[open_still & (rows >= 0)] = rows[open_still & (rows >= 0)] + before
        reasons = [
            ("" if other == "" else reason if other == NONE_CAME_OUT else other) if is_open else reason
            for reason, other, is_open in zip(reasons, why, open_still.tolist(), strict=True)
        ]
        tables.append(values)
        before += values.num_rows
    return pa.concat_tables(tables).take(pa.array(chosen, mask=chosen < 0)), reasons


def typed(values: pa.Table, columns: pa.Schema) -> pa.Table:
    """Return the wanted columns in their recorded types, where that changes no value.

    Raises:
        PreparationError: A column came out in another type.
    """
    found = []
    for field in columns:
        column = decoded(unchunked(values[field.name]))
        try:
            if not _is_castable(column.type, field.type):
                raise pa.ArrowInvalid
            found.append(column.cast(field.type))
            if pa.types.is_floating(column.type) and not _is_same(column, found[-1].cast(column.type)):
                raise pa.ArrowInvalid
        except pa.ArrowException:
            raise PreparationError(
                f"recompute: expected column {field.name!r} as {field.type}, got {column.type}"
            ) from None
    return pa.Table.from_arrays(found, schema=columns)


def _is_castable(came: pa.DataType, recorded: pa.DataType) -> bool:
    """Say whether a type holds the same values: whole numbers are floats where others of the column are missing."""
    if pa.types.is_null(came):
        return True
    if pa.types.is_integer(came) and (pa.types.is_integer(recorded) or pa.types.is_floating(recorded)):
        return True
    if pa.types.is_floating(came) and (pa.types.is_integer(recorded) or pa.types.is_floating(recorded)):
        return True
    one, other = (flat_fields(pa.schema([("value", kind)])) for kind in (came, recorded))
    return one == other


def _is_same(one: pa.Array, other: pa.Array) -> bool:
    """Say whether floats are the same, all NaN being one."""
    before, after = (values.to_numpy(zero_copy_only=False) for values in (one, other))
    return np.array_equal(before, after, equal_nan=True)
