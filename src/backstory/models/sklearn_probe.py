"""Asks a fitted pipeline itself which features move with which input column.

The values of one input column at a time are dealt out anew among some rows, the transformers are run, and the features
compared. It finds what the structure does not say; it proves nothing by finding nothing, as a rare category may not be
among the rows. So structure stays the answer and the probe its cross-check.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from backstory.models.sklearn_lineage import Column, Structure
from backstory.models.sklearn_stages import features_given
from backstory.records.canonical import JsonObject, JsonValue

if TYPE_CHECKING:
    from numpy.typing import NDArray

PROBE_ROWS = 64
"""Rows that are looked at."""

PROBE_COLUMNS_MAX = 256
"""Input columns up to which a model is probed."""

PROBE_SECONDS_MAX = 3.0
"""Seconds after which a probe is given up: registering a model must not wait for one that looks for neighbours."""

_FIRST_COLUMNS = 4
"""Columns that are dealt out in the first call; as long as that is fast, further calls have twice as many."""

_CELLS_MAX = 8_000_000
"""Cells of features that are held at once; more columns are dealt out in several calls."""

_SHUFFLE = 2_654_435_761
"""Multiples of this, modulo 2**32, are in an order that looks like chance and is the same each time."""

_RELATIVE, _ABSOLUTE = 1e-6, 1e-9
"""Differences up to which numbers are the same: many models give other last digits in another batch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What a probe saw that the structure does not say.

    Attributes:
        kind: `undeclared`: a feature moves with an input column it is not said to come from. `unsteady`: it is another
            for the same row among other rows, so nothing else can be said of it.
        predictor: Name of the predictor that gets the feature.
        feature: Name of the feature.
        column: The input column; empty for an unsteady feature.
    """

    kind: Literal["undeclared", "unsteady"]
    predictor: str
    feature: str
    column: str = ""

    def document(self) -> JsonObject:
        """Return it as JSON."""
        said: JsonObject = {"feature": self.feature, "kind": self.kind, "predictor": self.predictor}
        return {**said, "column": self.column} if self.column else said


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """What came of a probe.

    Attributes:
        rows: How many rows were looked at; 0 where the model was not probed, see `reason`.
        seen: How many of the structure's edges were seen to move a feature.
        edges: How many edges the structure has.
        findings: What contradicts it.
        reason: Why the model was not probed.
    """

    rows: int
    seen: int = 0
    edges: int = 0
    findings: tuple[Finding, ...] = ()
    reason: str | None = None

    def document(self) -> JsonObject:
        """Return it as JSON."""
        if self.reason is not None:
            return {"reason": self.reason, "rows": "0"}
        findings: list[JsonValue] = [one.document() for one in self.findings]
        return {"edges": str(self.edges), "findings": findings, "rows": str(self.rows), "seen": str(self.seen)}


def probe(model: Any, structure: Structure, rows: Any) -> Probe | None:
    """Compare what is said of a model's features with what they do.

    Args:
        model: The fitted model; its transformers are run, and not changed.
        structure: What is said of it.
        rows: At most `PROBE_ROWS` rows as the model takes them: a pandas or polars frame, or an array.

    Returns:
        What was seen; None where no transformer stands before a predictor, so that there is nothing to see.
    """
    if not any(step.outs for step in structure.steps):
        return None
    if len(structure.columns) > PROBE_COLUMNS_MAX:
        return Probe(rows=0, reason=f"more than {PROBE_COLUMNS_MAX} input columns")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a transformer about values nobody gave it
            return _probe(model, structure, rows)
    except Exception as error:  # noqa: BLE001  a transformer may raise what it likes, with values of rows in its words
        return Probe(rows=0, reason=f"the transformers raised {type(error).__name__}")


def _probe(model: Any, structure: Structure, rows: Any) -> Probe:
    until = time.monotonic() + PROBE_SECONDS_MAX
    alone = [_dense(given) for given in features_given(model, rows)]
    expected = [len(predictor.features) for predictor in structure.predictors]
    if [given.shape[1] for given in alone] != expected:
        return Probe(rows=0, reason="other numbers of features came out than the fitted steps say")
    some = max(1, len(rows) // 2)  # what is computed over the rows of a call shows among half of them
    halves = [_dense(given) for given in features_given(model, rows[:some])]
    unsteady = [_differ(half, whole[:some]) for half, whole in zip(halves, alone, strict=True)]
    moved: list[list[NDArray[np.bool_]]] = [[] for _ in alone]
    at_once = max(1, _CELLS_MAX // max(1, len(rows) * max(expected)) - 2)
    begin, some = 0, _FIRST_COLUMNS
    while begin < len(structure.columns):
        if time.monotonic() > until:
            return Probe(rows=0, reason=f"the transformers took more than {PROBE_SECONDS_MAX:g} seconds")
        count = min(some, at_once, len(structure.columns) - begin)
        together = features_given(model, _dealt(rows, range(begin, begin + count)))
        for at, given in enumerate(together):
            same, again, *blocks = np.split(_dense(given), count + 2)
            unsteady[at] |= _differ(same, again)
            moved[at] += [_differ(same, block) for block in blocks]
        begin, some = begin + count, 2 * some
    found = [_compare(structure, at, np.stack(by_column), unsteady[at]) for at, by_column in enumerate(moved)]
    return Probe(
        rows=len(rows),
        seen=sum(seen for seen, _ in found),
        edges=structure.edges,
        findings=tuple(finding for _, findings in found for finding in findings),
    )


def _compare(
    structure: Structure, at: int, moved: NDArray[np.bool_], unsteady: NDArray[np.bool_]
) -> tuple[int, list[Finding]]:
    """Return how many edges of a predictor's features were seen, and what contradicts them."""
    predictor, seen = structure.predictors[at], 0
    findings: list[Finding] = []
    for place, column in enumerate(predictor.features):
        if unsteady[place]:
            findings.append(Finding(kind="unsteady", predictor=predictor.name, feature=column.name))
            continue
        by = [name for name, is_moved in zip(structure.columns, moved[:, place], strict=True) if is_moved]
        seen += sum(name in column.sources for name in by)
        findings += [_undeclared(predictor.name, column, name) for name in by if name not in column.sources]
    return seen, findings


def _undeclared(predictor: str, column: Column, name: str) -> Finding:
    return Finding(kind="undeclared", predictor=predictor, feature=column.name, column=name)


def _dealt(rows: Any, columns: Sequence[int]) -> Any:
    """Return rows several times over: twice as they are, then once for each of some columns with that dealt out."""
    count = len(rows)
    places = np.tile(np.arange(count), len(columns) + 2)
    order = np.argsort(np.arange(count) * _SHUFFLE % (1 << 32))

    def of_column(at: int) -> NDArray[np.int64]:
        taken = places.copy()
        if at in columns:
            block = (columns.index(at) + 2) * count
            taken[block : block + count] = order
        return taken

    if isinstance(rows, np.ndarray):
        return np.column_stack([rows[of_column(at), at] for at in range(rows.shape[1])])
    names = list(rows.columns)
    if hasattr(rows, "iloc"):
        return type(rows)({name: rows.iloc[:, at].array.take(of_column(at)) for at, name in enumerate(names)})
    return type(rows)({name: rows[name].gather(of_column(at)) for at, name in enumerate(names)})


def _dense(given: Any) -> NDArray[Any]:
    if hasattr(given, "toarray"):
        given = given.toarray()
    dense: NDArray[Any] = np.asarray(given.to_numpy() if hasattr(given, "to_numpy") else given)
    return dense.reshape(len(dense), -1)


def _differ(one: NDArray[Any], other: NDArray[Any]) -> NDArray[np.bool_]:
    """Return which columns of two arrays are not the same."""
    if one.dtype.kind in "biuf" and other.dtype.kind in "biuf":
        same = np.isclose(one, other, rtol=_RELATIVE, atol=_ABSOLUTE, equal_nan=True)
    else:  # two values that are not equal to themselves are both missing
        same = (one == other) | ((one != one) & (other != other))  # noqa: PLR0124
    return np.asarray(~same.astype(bool).all(axis=0))
