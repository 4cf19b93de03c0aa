"""`backstory explain`: what each feature added to an output, which reasons follow, what would have changed it."""

from __future__ import annotations

import json as json_format
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from backstory.cli.answer import print_json, print_page
from backstory.cli.archives import open_archive
from backstory.cli.exit_codes import OK, PARTIAL
from backstory.cli.options import ASKING, SEALED_STAY_SEALED, Asking, Opening
from backstory.cli.progress import progress
from backstory.errors import InputError, StorageError

if TYPE_CHECKING:
    from backstory.debug.counterfactual import Counterfactuals
    from backstory.lineage.reasons import Reasons

Method = Literal["auto", "tree", "linear", "permutation"]


def explain(
    prediction: str,
    /,
    *,
    method: Method = "auto",
    column: str | None = None,
    background: Path | None = None,
    anew: Annotated[bool, Parameter(negative=())] = False,
    reasons: str | None = None,
    count: int = 4,
    adverse: Literal["high", "low"] = "high",
    target: str | None = None,
    change: Annotated[list[str] | None, Parameter(negative=())] = None,
    bounds: Annotated[list[str] | None, Parameter(negative=())] = None,
    budget: int = 20_000,
    asking: Asking = ASKING,
    opening: Opening = SEALED_STAY_SEALED,
) -> int:
    """Say what each feature of a prediction added to its output: as recorded with it, or computed by replay.

    With --reasons the codes whose features moved it to the adverse side; with --target the fewest changes of the
    features named by --change after which the model would have answered otherwise.

    Args:
        prediction: Id of the prediction, or a unique prefix.
        method: How it is computed.
        column: Which output, where there are several: a class's label or place.
        background: Parquet file with rows to compare with, instead of rows of the model's training.
        anew: Compute it though the record has it.
        reasons: Reason map: its name, `name:version` or a prefix of its digest.
        count: How many reasons at most.
        adverse: Which score is the adverse one.
        target: What is wanted: the decision `true` or `false`, a comparison such as "< 0.5", or a label.
        change: Name of a feature that may change; may be repeated.
        bounds: Values to try, NAME=[…] with a list, or NAME=LOW..HIGH; may be repeated.
        budget: How many rows the model is given at most.
        asking: Which archive.
        opening: Who asks.

    Raises:
        InputError: Options do not go together.
    """
    from backstory.debug.explanation_plan import Explain

    if (target is None) is not (change is None) or (target is not None and reasons is not None):
        raise InputError("explain: expected --target with --change, and not with --reasons")
    with progress("explaining"), open_archive(asking, opening) as archive:
        if target is not None:
            wanted: bool | str = {"true": True, "false": False}.get(target.lower(), target)
            tried = _bounds(bounds or [])
            found = archive.explanations.counterfactual(
                prediction, target=wanted, change=change or [], bounds=tried, budget=budget
            )
            return _show_counterfactuals(found, asking)
        rows = None if background is None else _rows(background)
        if reasons is not None:
            asked = Explain(method=method, background=rows, column=column)
            given = archive.explanations.reasons(prediction, reasons, count=count, adverse=adverse, explain=asked)
            return _show_reasons(given, asking)
        answer = archive.explain(prediction, method, background=rows, column=column, anew=anew)
    if asking.json:
        print_json(answer.to_dict())
    else:
        from backstory.debug.explanation import explanation_page

        print_page(explanation_page(answer))
    return OK


def _show_reasons(found: Reasons, asking: Asking) -> int:
    from backstory.lineage.reasons import reasons_page

    if asking.json:
        print_json(found.to_dict())
    else:
        print_page(reasons_page(found))
    return PARTIAL if found.uncoded else OK


def _show_counterfactuals(found: Counterfactuals, asking: Asking) -> int:
    from backstory.debug.counterfactual import counterfactuals_page

    if asking.json:
        print_json(found.to_dict())
    else:
        print_page(counterfactuals_page(found))
    return OK


def _rows(path: Path) -> Any:  # noqa: ANN401  a table
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise StorageError(f"explain: the Parquet file {path} cannot be read ({type(error).__name__})") from error


def _bounds(texts: list[str]) -> dict[str, Any]:
    """Read which values are tried, by feature: a range `a..b`, or a JSON list.

    >>> _bounds(["debt=0..0.5", 'region=["north"]'])
    {'debt': (0.0, 0.5), 'region': ['north']}
    """
    found: dict[str, Any] = {}
    for text in texts:
        name, mark, value = text.partition("=")
        low, dots, high = value.partition("..")
        try:
            found[name] = (float(low), float(high)) if dots else json_format.loads(value)
        except ValueError:
            found[name] = None
        if not mark or not isinstance(found[name], tuple | list):
            raise InputError(f"explain: expected --bounds NAME=LOW..HIGH or NAME=[…], got {text!r}")
    return found
