"""What good means: an SQL condition, a function, or nearness to the good end; of one prediction or of a sample."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa

from backstory.capture.decision import Threshold
from backstory.columns.python_value import python_rows
from backstory.debug.verdict import encoded_rows, largest_difference
from backstory.errors import BackstoryError, QueryError
from backstory.lineage.plain import count_text, shown
from backstory.lineage.predicate import checked_predicate, in_memory, wrong_predicate

Good: TypeAlias = "str | Callable[[pa.Table], bool] | None"
"""A condition over `id`, `output` and `decision`, or a function of that table; None for what the good end gave."""


def outputs_table(ids: Sequence[str], outputs: pa.Array, decision: Threshold | None) -> pa.Table:
    """Return outputs as conditions see them: `id`, `output` and, where there is a rule, `decision`."""
    columns: dict[str, Any] = {"id": pa.array(ids, pa.string()), "output": outputs}
    if decision is not None:
        columns["decision"] = decision.decide(outputs)
    return pa.table(columns)


def holds(good: str | Callable[[pa.Table], bool], outputs: pa.Table) -> bool:
    """Say whether outputs are good.

    Args:
        good: An SQL condition in DuckDB's dialect over `id`, `output`, `decision`, such as `output < 60` of one
            prediction, or `avg(decision::int) < 0.2` of many; or a function.
        outputs: What `outputs_table` gives.

    Raises:
        QueryError: The condition is malformed, or gives something else than one truth value.
    """
    if callable(good):
        return bool(good(outputs))
    import duckdb

    condition = checked_predicate(good, "bisect")
    connection = in_memory()
    try:
        connection.register("outputs", outputs)
        found = connection.execute(f"SELECT {condition} FROM outputs").fetchmany(2)  # noqa: S608  checked to be one
    except duckdb.Error as error:
        raise wrong_predicate(error, "bisect") from None
    finally:
        connection.close()
    if len(found) != 1 or not isinstance(found[0][0], bool):
        raise QueryError(
            f"bisect: expected a condition that is true or false, got {len(found)} values or no truth value; "
            "of several predictions it needs an aggregate, such as avg(output) < 20"
        )
    return bool(found[0][0])


def like_the_good_end(good: pa.Table, bad: pa.Table) -> Callable[[pa.Table], bool]:
    """Return what good means where nobody said it, of one prediction: the same decision, or nearer to the good end.

    Raises:
        QueryError: The two ends are the same, or there are several predictions.
    """
    if good.num_rows != 1:
        raise QueryError(f"bisect: expected good= with a condition over {good.num_rows} predictions, got none")
    name = "decision" if "decision" in good.column_names else "output"
    one, other = (table[name].combine_chunks() for table in (good, bad))
    if encoded_rows(one) == encoded_rows(other):
        raise QueryError(f"bisect: expected ends that differ, got the same {name} at both; say what is good with good=")
    distance, _ = largest_difference(one, other)

    def is_good(outputs: pa.Table) -> bool:
        now = outputs[name].combine_chunks()
        if distance is None or not distance:
            return encoded_rows(now) == encoded_rows(one)
        far = [largest_difference(now, end)[0] for end in (one, other)]
        return far[0] is not None and far[1] is not None and far[0] <= far[1]

    return is_good


def told(outputs: pa.Table) -> str:
    """Return outputs in a few words for a reader."""
    if outputs.num_rows == 1:
        row = python_rows(outputs)[0]
        return ", ".join(f"{name} {shown(row[name])}" for name in ("output", "decision") if name in row)
    try:
        means = np.mean([value for value in outputs["output"].to_pylist() if value is not None])
        return f"mean output {means:.6g} of {count_text(outputs.num_rows, 'prediction')}"
    except (BackstoryError, TypeError, ValueError):
        return count_text(outputs.num_rows, "prediction")
