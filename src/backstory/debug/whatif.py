"""What would the model have said? Another version, other features, or a source row that says something else.

Predictions are run again in the call they were recorded in, with only their own rows replaced, so the numerics are
those of the call. The unchanged call is run too: an output counts as changed where it differs from that by more than a
replay may. Nothing is stored.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from backstory.columns.python_value import python_rows, python_value
from backstory.debug.case import ERASED, Case, Workshop, model_of, read_call, run_model
from backstory.debug.diff_parts import Change, StageDiff, stage_of
from backstory.debug.period import Period, draw
from backstory.debug.verdict import judge
from backstory.debug.whatif_features import GivenFeatures, differing
from backstory.debug.whatif_model import OtherModel
from backstory.debug.whatif_page import whatif_page
from backstory.debug.whatif_rows import Corrected, with_corrections
from backstory.errors import BackstoryError, ForbiddenError, ModelError, NotFoundError, VerificationError
from backstory.lineage.answer import Answer
from backstory.lineage.impact import ReachedModel
from backstory.lineage.page import Page
from backstory.lineage.plain import count_text, plain, shown
from backstory.lineage.reference import Part
from backstory.lineage.retry import despite_merges
from backstory.records.access import Scope

QUESTION = "whatif"
ROWS_TOLD = 10
"""Corrected rows whose values are told of one prediction."""
NO_RULE = "the recorded rule cannot be used on these outputs"
_NOISE = frozenset({"exact", "equivalent"})
"""Verdicts of a replay that is as good as the record."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Asked:
    """What is to be different.

    Attributes:
        ids: The predictions, whole ids.
        what: The same in words.
        corrected: Source rows with other values.
        features: Other features.
        model: Another version.
        trained: Model versions trained on the corrected rows.
        cautions: What is not known about that, in sentences.
    """

    ids: tuple[str, ...]
    what: str
    corrected: Corrected | None = None
    features: GivenFeatures | None = None
    model: OtherModel | None = None
    trained: tuple[ReachedModel, ...] = ()
    cautions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class WhatIf(Answer):
    """What the model would have said.

    Attributes:
        what: What was different, in words.
        table: A row for each prediction asked about: `id`, the output `before` as recorded and `after`, their
            `difference`, `decision_before`, `decision_after` (null where the rule is of other outputs), the features
            that `changed`, whether the output did (`output_changed`), and the `reason` where it was not computed.
        counts: How many predictions were `asked` about, of how many `features`, `outputs` and `decisions` changed, and
            how many were `not_computed`.
        not_computed: These by reason.
        trained: Model versions that were trained on the corrected rows, which are not trained again here.
        stages: Of one prediction, stage by stage what changed.
        cautions: What else is to be known, in sentences.
    """

    what: str
    table: pa.Table
    counts: dict[str, int]
    not_computed: dict[str, int]
    trained: tuple[str, ...] = ()
    stages: tuple[StageDiff, ...] = ()
    cautions: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the answer as values JSON has."""
        return {
            "cautions": list(self.cautions),
            "counts": self.counts,
            "not_computed": self.not_computed,
            "predictions": [plain(row) for row in python_rows(self.table)],
            "stages": [stage.to_dict() for stage in self.stages],
            "trained": list(self.trained),
            "what": self.what,
        }

    def __repr__(self) -> str:
        """Return the counts on one line."""
        return f"<WhatIf: {whatif_page(self).headline}>"

    def _page(self) -> Page:
        return whatif_page(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Line:
    """What became of one prediction; `after` is None where it was not computed."""

    before: pa.Array | None = None
    after: pa.Array | None = None
    difference: float | None = None
    decisions: tuple[bool | None, bool | None] = (None, None)
    changes: tuple[Change, ...] = ()
    changed: bool = False
    reason: str | None = None

    @property
    def redecided(self) -> bool:
        """Whether there is another decision, where the rule can be used on both outputs."""
        one, two = self.decisions
        return one is not None and two is not None and one != two


def ask_whatif(shop: Workshop, asked: Asked) -> WhatIf:
    """Run predictions again with something different.

    Args:
        shop: The archive.
        asked: What is different.

    Raises:
        ColumnError: There is no such feature, its type cannot hold a value, or the other version takes others.
        ForbiddenError: Source rows are about people, and the gate lets nothing through.
        InputError: The steps cannot be run on these sources, or a correction cannot be made.
        PreparationError: A step raises an error now, or returns no such columns.
        VerificationError: Something was changed.
    """
    cases: list[Case] = []
    lines: dict[str, _Line] = {}
    drawn = despite_merges(shop.ledger, lambda: draw(shop.ledger, Period(ids=asked.ids), QUESTION))
    for call in drawn.calls:
        try:
            cases.append(read_call(shop, call, QUESTION))
            gone = set(call.ids).difference(cases[-1].ids)
            lines |= {name: _Line(reason=f"its values are {ERASED}") for name in gone}
        except (ForbiddenError, ModelError, NotFoundError) as error:
            lines |= {name: _Line(reason=str(error)) for name in call.ids}
    features, reasons = [case.features for case in cases], dict[str, str]()
    if asked.corrected is not None and cases:
        features, reasons = with_corrections(shop, cases, asked.corrected)
    for case, changed in zip(cases, features, strict=True):
        if asked.features is not None:
            changed = asked.features.put(case, changed)  # noqa: PLW2901  rows first, then features
        if asked.model is not None:
            asked.model.require_features(case, changed.column_names)
        lines |= _run(shop, asked.model, case, changed, reasons)
    ordered = [(name, lines[name]) for name in asked.ids]
    return _answer(shop, asked, ordered)


def _run(
    shop: Workshop, other: OtherModel | None, case: Case, features: pa.Table, reasons: dict[str, str]
) -> dict[str, _Line]:
    """Run one call as it was and as it would have been; return what became of the rows asked about."""
    rows = pa.array(case.rows)
    recorded = case.output.take(rows)
    try:
        own, unchanged = _unchanged(shop, case, is_needed=other is None)
        after = run_model(other.estimator if other is not None else own, case, features).take(rows)
    except VerificationError:
        raise
    except BackstoryError as error:
        return {name: _Line(before=recorded.slice(at, 1), reason=str(error)) for at, name in enumerate(case.ids)}
    now = recorded if unchanged is None else unchanged.take(rows)
    found: dict[str, _Line] = {}
    changes = list(_changes(case, features))
    again, moved = judge(recorded, now, case.decision), judge(now, after, case.decision)
    decided = _decided(case, recorded), _decided(case, after)
    kept = case.table["decision"].take(rows).to_pylist() if "decision" in case.table.column_names else decided[0]
    for at, name in enumerate(case.ids):
        reason = reasons.get(name)
        if reason is None and again[at].verdict not in _NOISE:
            reason = "its unchanged call gives another output today: `backstory replay` says why"
        if reason is not None:
            found[name] = _Line(before=recorded.slice(at, 1), reason=reason)
            continue
        found[name] = _Line(
            before=recorded.slice(at, 1),
            after=after.slice(at, 1),
            difference=moved[at].difference,
            decisions=(kept[at], decided[1][at]),
            changes=changes[at],
            changed=moved[at].verdict not in _NOISE,
        )
    return found


def _unchanged(shop: Workshop, case: Case, *, is_needed: bool) -> tuple[object, pa.Array | None]:
    """Return the model of a call and what it says today; None of one that cannot be loaded where another is asked."""
    try:
        own = model_of(shop, case)
    except ModelError:
        if is_needed:
            raise
        return None, None
    return own, run_model(own, case, case.features)


def _decided(case: Case, output: pa.Array) -> list[bool | None]:
    """Return what the recorded rule makes of outputs; None where there is none or it cannot be used on them."""
    try:
        decided = case.decide(output)
    except ModelError:
        decided = None
    return [None] * len(output) if decided is None else list(decided.to_pylist())


def _changes(case: Case, features: pa.Table) -> Iterator[tuple[Change, ...]]:
    """Yield for each row asked about which features are others, with their values."""
    rows = pa.array(case.rows)
    before, after = case.features.take(rows), features.take(rows)
    moved = {name: differing(before[name], after[name]) for name in before.column_names}
    touched = [name for name, where in moved.items() if where.any()]
    for at in range(len(rows)):
        yield tuple(
            Change(name=name, before=python_value(before[name][at]), after=python_value(after[name][at]))
            for name in touched
            if moved[name][at]
        )


def _answer(shop: Workshop, asked: Asked, lines: Sequence[tuple[str, _Line]]) -> WhatIf:
    found = [line for _, line in lines]
    done = [line for line in found if line.reason is None]
    reasons = Counter(line.reason for line in found if line.reason is not None)
    table = pa.table(
        {
            "id": pa.array([name for name, _ in lines], pa.string()),
            "before": _stacked([line.before for line in found]),
            "after": _stacked([line.after for line in found]),
            "difference": pa.array([line.difference for line in found], pa.float64()),
            "decision_before": pa.array([line.decisions[0] for line in found], pa.bool_()),
            "decision_after": pa.array([line.decisions[1] for line in found], pa.bool_()),
            "changed": pa.array([[change.name for change in line.changes] for line in found], pa.list_(pa.string())),
            "output_changed": pa.array([line.changed if line.reason is None else None for line in found], pa.bool_()),
            "reason": pa.array([line.reason for line in found], pa.string()),
        }
    )
    undecided = sum(line.decisions[0] is not None and line.decisions[1] is None for line in done)
    counts = {
        "asked": len(found),
        "decisions": sum(line.redecided for line in done),
        "features": sum(bool(line.changes) for line in done),
        "not_computed": len(found) - len(done),
        "outputs": sum(line.changed for line in done),
    }
    return WhatIf(
        what=asked.what,
        table=table,
        counts=counts,
        not_computed=dict(reasons.most_common()),
        trained=tuple(f"{model.name}:{model.version}" for model in asked.trained),
        stages=tuple(_stages(shop, asked, found[0])) if len(found) == 1 and done else (),
        cautions=(
            *asked.cautions,
            *([f"{count_text(undecided, 'prediction')} without a decision: {NO_RULE}"] if undecided else []),
        ),
    )


def _stacked(values: Sequence[pa.Array | None]) -> pa.Array:
    """Return outputs as one column; as text where they are of several types."""
    types = {str(value.type): value.type for value in values if value is not None}
    if len(types) == 1:
        (kind,) = types.values()
        return pa.concat_arrays([pa.nulls(1, kind) if value is None else value for value in values])
    texts = [None if value is None else shown(python_value(value[0])) for value in values]
    return pa.array(texts, pa.string())


def _stages(shop: Workshop, asked: Asked, line: _Line) -> Iterator[StageDiff]:
    """Yield what changed about the one prediction."""
    if asked.corrected is not None:
        yield stage_of("source rows", tuple(_row_changes(shop, asked.corrected)))
    yield stage_of("features", line.changes)
    if asked.model is not None:
        yield StageDiff(name="model", same=False, said=asked.model.name)
    before, after = (None if one is None else python_value(one[0]) for one in (line.before, line.after))
    moved = (Change(name="output", before=before, after=after),) if line.changed else ()
    yield stage_of("output", moved, "" if line.difference is None or not moved else f"by {line.difference:.6g}")
    one, two = line.decisions
    if one is not None and two is None:
        yield StageDiff(name="decision", same=None, said=NO_RULE)
    else:
        yield stage_of("decision", (Change(name="decision", before=one, after=two),) if line.redecided else ())


def _row_changes(shop: Workshop, corrected: Corrected) -> Iterator[Change]:
    """Yield of the first corrected rows the values before and after."""
    told = 0
    for (dataset, first), mask in corrected.chosen.masks.items():
        part = Part(dataset=dataset, first=first, rows=len(mask))
        for at in np.flatnonzero(mask)[: ROWS_TOLD - told].tolist():
            told += 1
            if shop.tracer.dataset(dataset).get("personal") is True:
                shop.gate.pass_through(QUESTION, ["source"], 1, Scope(dataset=dataset, positions=(first + at,)))
            row = python_rows(shop.tracer.row(part, first + at))[0]
            for name, value in corrected.values.items():
                if row.get(name) != value:
                    yield Change(name=f"{corrected.source} {first + at:,}: {name}", before=row.get(name), after=value)
