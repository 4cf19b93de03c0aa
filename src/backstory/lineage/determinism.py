"""What is found out of a model's determinism when it is registered: which methods are asked, and with which rows.

It is said of a version beside its document, in the entry's `about`: what was seen of a few rows on one machine is no
content of the model. Bytes: docs/format.md section 31.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from backstory.frames.table import column_names
from backstory.lineage.fitted import sample_rows
from backstory.models import Artifact, function_of
from backstory.models.determinism import Determinism, probe
from backstory.models.determinism_known import what_is_known
from backstory.models.environment import kernels, one_thread
from backstory.models.sklearn_lineage import input_names
from backstory.models.sklearn_probe import PROBE_COLUMNS_MAX, PROBE_ROWS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from backstory.lineage.refs import RowRefs

_GENERATORS = (
    ("random", "getstate", "setstate"),
    ("numpy.random", "get_state", "set_state"),
    ("torch", "get_rng_state", "set_rng_state"),
)
"""Modules with a generator that a whole process shares, and what gives and sets its state."""

_METHODS = ("decision_function", "predict_proba", "inplace_predict", "predict", "transform", "__call__")
"""Methods to ask, the first that there is and that takes the rows: what a model's other answers are made of."""


def probe_determinism(model: object, artifact: Artifact, rows: RowRefs | None) -> Determinism | None:
    """Find out how far a model that is being registered gives the same bits again.

    Some of the training rows are run, or, where they are not known and the model takes numbers, made-up ones. Nothing
    of them is kept, and whatever the model does, this does not fail.

    Args:
        model: The model.
        artifact: What was captured of it.
        rows: The rows it was trained on.

    Returns:
        The class, or why there is none; None of what is code and nothing else.
    """
    if artifact.data is None or not artifact.replayable:
        return None
    known = what_is_known(model, artifact.framework)
    unprobed = "it has no method that predicts"
    for name in _METHODS:
        call = function_of(model, name)
        if call is None:
            continue
        calls = {name: call}
        if known.limit == "run-varying":
            return probe(calls, None, source="", known=known, one_thread=None, kernels=kernels())
        unprobed = "nothing says what it takes"
        for features, source in _samples(model, rows):
            with _chance_as_it_was():
                found = probe(calls, features, source=source, known=known, one_thread=one_thread, kernels=kernels())
            if found.kind is not None:
                return found
            unprobed = found.unprobed
    return Determinism(kind=None, methods={}, reason=known.reason, kernels=kernels(), unprobed=unprobed)


@contextmanager
def _chance_as_it_was() -> Iterator[None]:
    """Put generators that the whole process shares back to where they were: a model may draw from them."""
    found = [
        (getattr(module, put), getattr(module, get)())
        for name, get, put in _GENERATORS
        if (module := sys.modules.get(name)) is not None
    ]
    try:
        yield
    finally:
        for put_back, state in found:
            put_back(state)


def _samples(model: object, rows: RowRefs | None) -> Iterator[tuple[Any, str]]:
    """Yield a few rows as the model may take them, and where they are from, the likeliest first."""
    if rows is not None:
        sample = sample_rows(model, input_names(model, column_names(rows.features)), rows)
        if sample is not None:
            yield sample, "training"
            if isinstance(sample, np.ndarray) and sample.dtype.kind in "iuf":
                yield sample.astype(np.float32), "training"
        return
    width = _width(model)
    if width is None or width > PROBE_COLUMNS_MAX:
        return
    made = _synthetic(PROBE_ROWS, width)
    names, pandas = getattr(model, "feature_names_in_", None), sys.modules.get("pandas")
    yield made if names is None or pandas is None else pandas.DataFrame(made, columns=list(names)), "synthetic"
    if names is None:
        yield made.astype(np.float32), "synthetic"


def _width(model: Any) -> int | None:
    """Return how many columns a model takes, if it says so."""
    names = getattr(model, "feature_names_in_", None)
    width = getattr(model, "n_features_in_", None if names is None else len(names))
    for name in ("num_feature", "num_features"):
        if width is None and callable(getattr(model, name, None)):
            width = getattr(model, name)()
    return int(width) if isinstance(width, int | np.integer) and width > 0 else None


def _synthetic(rows: int, width: int) -> NDArray[np.float64]:
    """Return numbers as of a standard normal distribution, the same each time."""
    at = np.arange(1, rows * width + 1)
    radius = np.sqrt(-2 * np.log((at * ((math.sqrt(5) - 1) / 2)) % 1 * 0.999 + 0.0005))
    return np.asarray(radius * np.cos(2 * math.pi * ((at * math.sqrt(2)) % 1))).reshape(rows, width)
