"""Features as they would be had a source row said something else: the preparation is run with and without.

Both runs are compared with each other, and the run without with what was recorded. What changed is then due to the
correction, and not to running the preparation again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from backstory.columns.arrow_type import decoded, unchunked
from backstory.debug.case import Case, Workshop
from backstory.debug.features_again import compare_features
from backstory.debug.recompute import Correction, Steps, recompute
from backstory.debug.whatif_features import differing, require_category, with_values
from backstory.errors import PreparationError, QueryError
from backstory.lineage.reach import Chosen
from backstory.lineage.reference import parse_references
from backstory.records import canonical

DROPPED = "with the corrected values no row of the same source rows comes out: it is dropped, or joined otherwise"
OTHERWISE = "its features are others when they are made again without any correction"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Corrected:
    """Source rows that are to have other values.

    Attributes:
        source: Name of the source.
        chosen: The rows.
        values: The values, by column.
        steps: The functions that prepare the features.
    """

    source: str
    chosen: Chosen
    values: Mapping[str, Any]
    steps: Steps

    def corrections(self) -> list[Correction]:
        """Return the rows with their values as `recompute` takes them."""
        return [
            Correction(
                source=self.source, dataset=dataset, positions=np.flatnonzero(mask) + first, values=dict(self.values)
            )
            for (dataset, first), mask in self.chosen.masks.items()
        ]


def with_corrections(
    shop: Workshop, cases: Sequence[Case], corrected: Corrected
) -> tuple[list[pa.Table], dict[str, str]]:
    """Return the features of each call with the rows that were asked about made of corrected source rows.

    The steps are given whole snapshots: a corrected row may join rows it did not join before. Calls with the same
    references are made again together.

    Args:
        shop: The archive.
        cases: The calls.
        corrected: The correction.

    Returns:
        The features of each call, and for each prediction that could not be made again why.

    Raises:
        ForbiddenError: Rows are about people, and the gate lets nothing through.
        InputError: The steps cannot be run on these sources, or a correction cannot be made.
        PreparationError: A step raises an error now, or returns no such columns for any of the calls.
    """
    made = [case.features for case in cases]
    reasons: dict[str, str] = {}
    alike: dict[tuple[bytes, str], list[int]] = {}
    for at, case in enumerate(cases):
        key = canonical.encode({"refs": case.context.get("refs")}), str(made[at].schema)
        alike.setdefault(key, []).append(at)
    failures: list[PreparationError] = []
    for places in alike.values():
        together = [cases[at] for at in places]
        try:
            found = _made(shop, together, corrected)
        except PreparationError as error:
            failures.append(error)
            reasons |= {name: str(error) for case in together for name in case.ids}
            continue
        for at, (features, why) in zip(places, found, strict=True):
            made[at] = features
            reasons |= why
    if failures and len(failures) == len(alike):
        raise failures[0]
    return made, reasons


def _made(shop: Workshop, cases: Sequence[Case], corrected: Corrected) -> list[tuple[pa.Table, dict[str, str]]]:
    """Return the same for calls whose references and features are alike."""
    references = parse_references(cases[0].context.get("refs"))
    rows = [np.array(case.rows) for case in cases]
    recorded = pa.concat_tables([case.features.take(pa.array(at)) for case, at in zip(cases, rows, strict=True)])
    found = [case.positions() for case in cases]
    if not references:
        raise QueryError("whatif: the predictions refer to no source rows; only their features were recorded")
    positions = {
        name: np.concatenate([one[name][at] for one, at in zip(found, rows, strict=True)]) for name in references
    }
    columns = recorded.schema
    without, with_ = (
        recompute(shop, references, positions, columns, corrected.steps, corrections, rows="all")
        for corrections in ((), corrected.corrections())
    )
    again = compare_features(recorded, without, with_values=False)
    reasons = [
        without.reasons[at]
        or (f"{OTHERWISE}: {again.reasons[at]}" if verdict == "diverged" else DROPPED if with_.reasons[at] else "")
        for at, verdict in enumerate(again.verdicts)
    ]
    answers, begin = [], 0
    for case, at in zip(cases, rows, strict=True):
        piece = slice(begin, begin + len(at))
        begin += len(at)
        sound = np.array([not why for why in reasons[piece]], np.bool_)
        features = case.features
        for name in columns.names:
            before, after = (unchunked(one.table[name].slice(piece.start, len(at))) for one in (without, with_))
            moved = np.flatnonzero(differing(before, after) & sound)
            if len(moved):
                values = decoded(after).take(pa.array(moved))
                require_category(case, name, values)
                features = with_values(features, name, at[moved], values)
        why = {name: why for name, why in zip(case.ids, reasons[piece], strict=True) if why}
        answers.append((features, why))
    return answers
