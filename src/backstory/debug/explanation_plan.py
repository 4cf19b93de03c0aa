"""How a model is to be explained: which method, against which rows, in which units; and doing it for some rows.

Made before the model runs, so that what cannot be explained is refused before anything is predicted. The bytes of what
is recorded: docs/format.md section 33.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import pyarrow as pa

from backstory.capture.decision import Threshold
from backstory.capture.output import output_column
from backstory.columns.arrow_type import unchunked
from backstory.debug.explanation_baseline import Baseline
from backstory.errors import BackstoryError, InputError, ModelError
from backstory.frames.container import rebuild
from backstory.frames.table import to_arrow
from backstory.models import output_names
from backstory.models.attribution import (
    METHODS,
    Attribution,
    Group,
    check_additive,
    class_index,
    known_method,
    predictor_of,
    route_of,
)
from backstory.models.attribution_permutation import answers_of, attribute, coalitions
from backstory.models.attribution_terms import DOUBLE, SINGLE
from backstory.models.step import class_labels
from backstory.records.canonical import JsonObject, JsonValue
from backstory.version import VERSION

Asked: TypeAlias = Literal["auto", "tree", "linear", "permutation"]

ATTRIBUTION, BASE = "attribution", "attribution_base"
"""Columns of a record."""

_ROWS_AT_ONCE = 20_000
"""Rows a model is given at once for one prediction: each is a mixture of its values and those compared with."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Explain:
    """How predictions are to be explained.

    Attributes:
        method: `tree` (exact, for trees), `linear` (exact, for linear models), `permutation` (any model, by asking it
            often), or `auto` for the first of them that fits.
        background: Rows to compare with, in the model's columns; without, rows of its training where they can be told.
            Trees need none.
        column: Which output: a class's label or place. Needed where there are more than two and no rule says which.
        rows: How many rows are drawn from the background.
        seed: Draws them, and the orders of columns.
        orders: How many orders of columns a permutation walks, each forwards and backwards.
    """

    method: Asked = "auto"
    background: Any = None
    column: str | int | None = None
    rows: int = 100
    seed: int = 0
    orders: int = 4

    def __post_init__(self) -> None:
        """Refuse what cannot be meant.

        Raises:
            InputError: There is no such method, or a count is less than one.
        """
        if self.method not in {"auto", *METHODS}:
            raise InputError(f"explain: expected 'auto' or one of {', '.join(METHODS)}, got {self.method!r}")
        if min(self.rows, self.orders) < 1:
            raise InputError(f"explain: expected at least one row and one order, got {self.rows} and {self.orders}")


def explain_of(given: Explain | str | None) -> Explain | None:
    """Return what somebody asked for by the name of a method, or whole.

    Raises:
        InputError: It is neither.
    """
    if given is None or isinstance(given, Explain):
        return given
    if not isinstance(given, str):
        raise InputError(f"explain: expected the name of a method or an Explain, got {type(given).__name__}")
    return Explain(method=given)  # type: ignore[arg-type]  # it says itself what is no method


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Calling:
    """How a model is called.

    Attributes:
        model: The model.
        method: Name of the method; `__call__` for a model that is called itself.
        container: How it is given its features, from `describe_container`.
        run: Calls it.
        decision: The rule that makes decisions of its output.
        has_options: Whether it is given anything besides the features.
    """

    model: Any
    method: str
    container: dict[str, Any]
    run: Callable[[Any], Any]
    decision: Threshold | None = None
    has_options: bool = False


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Plan:
    """A way to explain predictions of one model.

    Attributes:
        document: What the context of an explained prediction says of it.
        groups: The input columns, as they can be told apart.
        explain: Given the features and the output as recorded, returns what was added.
    """

    document: JsonObject
    groups: tuple[Group, ...]
    explain: Callable[[Any, pa.Array], Attribution]

    def columns(
        self,
        features: Any,  # noqa: ANN401  any table
        output: pa.Array,
    ) -> dict[str, pa.Array]:
        """Return what was added as columns of records.

        Args:
            features: The features as the model got them.
            output: What it gave, as it is recorded.

        Raises:
            ModelError: It does not add up to the output.
        """
        try:
            found = self.explain(features, output)
        except BackstoryError:
            raise
        except Exception as error:  # noqa: BLE001  a foreign model may raise anything, with values of rows in its words
            raise ModelError(f"explain: the model raises {type(error).__name__} where it is explained") from None
        values = [pa.array(found.added[:, at]) for at in range(len(self.groups))]
        names = [group_name(group) for group in self.groups]
        return {ATTRIBUTION: pa.StructArray.from_arrays(values, names=names), BASE: pa.array(found.base)}


def group_name(group: Group) -> str:
    """Return the name of input columns that cannot be told apart: of one its own.

    >>> group_name(("income", "debt"))
    'income + debt'
    """
    return " + ".join(group)


def plan_of(asked: Explain, calling: Calling, baseline: Callable[[], Baseline]) -> Plan:
    """Return the way to explain predictions as somebody asked.

    Args:
        asked: What they asked.
        calling: How the model is called.
        baseline: Returns the rows that are compared with; asked only where the method needs them.

    Raises:
        ModelError: The method is not for this model, or the output that is explained is not said.
        InputError: The rows that are compared with do not fit.
    """
    named = asked.method if asked.method != "auto" else None if calling.has_options else known_method(calling.model)
    method = named or "permutation"
    if calling.has_options and method != "permutation":
        raise ModelError("explain: the call has options, which change what its parts add: use method 'permutation'")
    columns = [str(name) for name in calling.container["columns"]]
    names = output_names(calling.model, calling.method)
    labels = names or class_labels(predictor_of(calling.model) if method != "permutation" else calling.model)
    column = asked.column
    if column is None and calling.decision is not None:
        column = calling.decision.column
        if column is None and labels is not None:
            column = len(labels) - 1  # the last, as the rule takes it
    # A permutation explains what is recorded, which has one column a class only where it has names.
    which = class_index(names if method == "permutation" else labels, column)
    compared = None if method == "tree" else baseline()
    document: JsonObject = {
        "baseline": {"paths": True} if compared is None else compared.document,
        "class": None if which is None else str(which),
        "column": names[which] if names and which is not None else None,
        "method": method,
    }
    if method == "permutation" and compared is not None:
        route = _permutation(asked, calling, columns, compared, which)
        groups = tuple((name,) for name in columns)
        more: JsonObject = {"orders": str(asked.orders), "seed": str(asked.seed)}
        return Plan(
            document={**document, **more, "units": "output", "versions": {"backstory": VERSION}},
            groups=groups,
            explain=route,
        )
    background = None if compared is None else rebuild(calling.container, _like(compared.table, calling, columns))
    path = route_of(calling.model, method, calling.method, columns, which, background)

    def explain(features: Any, output: pa.Array) -> Attribution:  # noqa: ANN401
        found = path.attribute(features)
        _compare(found.total, path.units, _numbers(output, which))
        return found

    joint: list[JsonValue] = [list(group) for group in path.groups if len(group) > 1]
    document |= {"joint": joint} if joint else {}
    return Plan(
        document={**document, "units": path.units, "versions": dict(path.versions)}, groups=path.groups, explain=explain
    )


def _like(table: pa.Table, calling: Calling, columns: Sequence[str]) -> pa.Table:
    """Return the rows compared with under the names the container has for its columns."""
    return table.select(list(columns)).rename_columns(list(calling.container["columns"]))


def _compare(total: np.ndarray, units: str, recorded: np.ndarray | None) -> None:
    """Insist that what was explained is the recorded output, where the units say how one leads to the other.

    Raises:
        ModelError: It is not.
    """
    if recorded is None or units not in {"output", "log-odds", "probability"}:
        return
    with np.errstate(over="ignore"):
        expected = 1.0 / (1.0 + np.exp(-total)) if units == "log-odds" else total
    off = np.abs(expected - recorded) > SINGLE * (1.0 + np.abs(recorded))
    if off.any():
        raise ModelError(
            f"explain: {int(off.sum())} of {len(off)} outputs are not what was explained; use 'permutation'"
        )


def _numbers(output: pa.Array, which: int | None) -> np.ndarray | None:
    """Return the numbers of the output that is explained; None where it is none, such as a label."""
    if pa.types.is_struct(output.type):
        if which is None and output.type.num_fields != 1:
            return None
        output = output.field(which or 0)
    elif which is not None:
        return None  # a label, or the margin of one class: `which` says what of the model is explained
    if not (pa.types.is_floating(output.type) or pa.types.is_integer(output.type)) or output.null_count:
        return None
    return np.asarray(output.to_numpy(zero_copy_only=False), np.float64)


def _permutation(
    asked: Explain, calling: Calling, columns: Sequence[str], compared: Baseline, which: int | None
) -> Callable[[Any, pa.Array], Attribution]:
    """Return what explains rows by asking the model about mixtures of them and of the rows compared with."""
    masks, walks = coalitions(len(columns), asked.orders, asked.seed)
    rows = compared.table.num_rows
    names = output_names(calling.model, calling.method)

    def answers_in(output: pa.Array) -> np.ndarray | None:
        return _numbers(output, which if pa.types.is_struct(output.type) else None)

    def explain(features: Any, output: pa.Array) -> Attribution:  # noqa: ANN401
        own = to_arrow(features)
        recorded = answers_in(output)
        if recorded is None:
            raise ModelError("explain: a permutation needs an output that is a number, got another")
        mixed = _stacks(own, compared.table, columns)
        answers = []
        for row in range(own.num_rows):

            def ask(places: np.ndarray, row: int = row) -> np.ndarray:
                taken = [
                    stack.take(pa.array(np.where(places[:, at] == 0, row, places[:, at] - 1 + own.num_rows)))
                    for at, stack in enumerate(mixed)
                ]
                table = pa.Table.from_arrays(taken, names=list(calling.container["columns"]))
                given = output_column(calling.run(_made(calling.container, table)), len(places), names)[0]
                found = answers_in(given)
                if found is None:
                    raise ModelError("explain: the model gave an output that is no number")
                return found

            answers.append(answers_of(masks, rows, ask, _ROWS_AT_ONCE))
        found = Attribution(
            added=np.stack([attribute(one, walks) for one in answers]),
            base=np.array([one[0] for one in answers]),
            total=recorded,
        )
        is_single = any(pa.types.is_float32(kind) or pa.types.is_float16(kind) for kind in _types(output))
        check_additive(found, SINGLE if is_single else DOUBLE)
        return found

    return explain


def _made(container: Mapping[str, Any], table: pa.Table) -> Any:  # noqa: ANN401
    """Return rows as the model takes them; of a list of one dict as many as there are."""
    return rebuild({**container, "single": False} if "single" in container else dict(container), table)


def _types(output: pa.Array) -> list[pa.DataType]:
    return [field.type for field in output.type] if pa.types.is_struct(output.type) else [output.type]


def _stacks(own: pa.Table, others: pa.Table, columns: Sequence[str]) -> list[pa.Array]:
    """Return for each column the rows' own values, then those of the rows compared with.

    Raises:
        InputError: The rows compared with have another type.
    """
    stacks = []
    for at, name in enumerate(columns):
        mine = unchunked(own.column(at))
        try:
            stacks.append(pa.concat_arrays([mine, unchunked(others[name]).cast(mine.type)]))
        except (pa.ArrowException, TypeError, ValueError):
            raise InputError(f"explain: expected background values of type {mine.type} (column {name!r})") from None
    return stacks
