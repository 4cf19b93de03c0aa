"""Replay from source rows: the features of a call made again, and compared with the recorded ones stage by stage.

Where few rows give other features than were recorded and all rows of the snapshots give the same, the steps use rows
that their ids do not name: that is said, and is a finding about the lineage rather than about the prediction.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from backstory.columns.arrow_type import unchunked
from backstory.columns.encode import iter_blocks
from backstory.columns.python_value import python_value
from backstory.debug.case import Case, Workshop
from backstory.debug.recompute import Recomputed, Steps, recompute
from backstory.debug.source_rows import Correction, Fed
from backstory.debug.step_run import Rerun
from backstory.debug.verdict import TOLERANCES, Verdict
from backstory.errors import BackstoryError, NotFoundError, PreparationError, VerificationError
from backstory.lineage.plain import count_text, shown
from backstory.lineage.reference import parse_references
from backstory.records import canonical

if TYPE_CHECKING:
    from numpy.typing import NDArray

ONLY_ALL = "whole snapshots give the recorded features; on traced rows alone the steps do not run"
USES_OTHERS = "the steps use rows their ids do not name: whole snapshots give the recorded features, traced rows do not"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One stage on the way from source rows to features.

    Attributes:
        name: `rows`, `step` and its name, or `features`.
        verdict: What it gave.
        seconds: How long it took for all rows of the call together; its share, where calls were made again together.
        note: What there is to say of it.
    """

    name: str
    verdict: Verdict
    seconds: float
    note: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return it as values JSON has."""
        return {"name": self.name, "note": self.note, "seconds": self.seconds, "verdict": self.verdict}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FeaturesAgain:
    """The features of some rows of a call, made again from source rows.

    Attributes:
        features: Those of the whole call, in its order; rows that were not asked about, or could not be made again, are
            as they were recorded.
        verdicts: For each row asked about: `exact`, `equivalent`, `diverged`, or `not-replayable`.
        reasons: For each why; "" where exact.
        stages: What was done, in order.
        columns: In how many rows each column diverged.
        finding: What the comparison shows of the steps themselves; "" if nothing.
    """

    features: pa.Table
    verdicts: tuple[Verdict, ...]
    reasons: tuple[str, ...]
    stages: tuple[Stage, ...]
    columns: Mapping[str, int] = field(default_factory=dict)
    finding: str = ""


def features_again(
    shop: Workshop,
    case: Case,
    steps: Steps,
    corrections: Sequence[Correction] = (),
) -> FeaturesAgain:
    """Make the features again of the rows of a call that were asked about, and compare; see `features_of_calls`.

    Raises:
        ForbiddenError: Rows are about people, and the gate lets nothing through.
        InputError: The steps cannot be run.
        NotFoundError: The record has no row references, or rows were erased.
        VerificationError: Rows were changed.
    """
    (found,) = features_of_calls(shop, [case], steps, corrections)
    if isinstance(found, BackstoryError):
        raise found
    return found


def features_of_calls(
    shop: Workshop,
    cases: Sequence[Case],
    steps: Steps,
    corrections: Sequence[Correction] = (),
) -> list[FeaturesAgain | BackstoryError]:
    """Make the features again of the rows of some calls that were asked about, and compare.

    Calls that refer to the same versions of the same sources are made again together. The steps are given the rows that
    lineage names, and all rows of the snapshots where features then differ, unless rows were corrected.

    Args:
        shop: The archive.
        cases: The calls.
        steps: The functions that made their features.
        corrections: Values that source rows are given before; a difference then says nothing of the steps.

    Returns:
        For each call its features, or why they cannot be made again.

    Raises:
        VerificationError: Rows were changed.
    """
    make = functools.partial(recompute, shop, steps=steps, corrections=corrections)
    fed: tuple[Fed, ...] = ("traced",) if corrections else ("traced", "all")
    alike: dict[tuple[bytes, str], list[int]] = {}
    for at, case in enumerate(cases):
        key = canonical.encode(case.context.get("refs")), str(case.table.schema.field("feature").type)
        alike.setdefault(key, []).append(at)
    found: list[FeaturesAgain | BackstoryError] = [NotFoundError("")] * len(cases)
    for places in alike.values():
        together = [cases[at] for at in places]
        answers: Sequence[FeaturesAgain | BackstoryError]
        try:
            answers = _of_alike(together, make, fed)
        except VerificationError:
            raise
        except BackstoryError as error:
            answers = [error] * len(together)
        for at, answer in zip(places, answers, strict=True):
            found[at] = answer
    return found


def _of_alike(cases: Sequence[Case], make: Callable[..., Recomputed], fed: tuple[Fed, ...]) -> list[FeaturesAgain]:
    """Do this for calls whose references and features are alike, on each of `fed` until they are as recorded."""
    everywhere = [case.positions() for case in cases]
    if not all(everywhere):
        raise NotFoundError("its record has no row references, so which source rows it was made of is not known")
    indices = [np.asarray(case.rows, np.int64) for case in cases]
    references = parse_references(cases[0].context.get("refs"))
    positions = {
        name: np.concatenate([one[name][index] for one, index in zip(everywhere, indices, strict=True)])
        for name in everywhere[0]
    }
    recorded = [case.features for case in cases]
    asked = pa.concat_tables([one.take(pa.array(index)) for one, index in zip(recorded, indices, strict=True)])
    is_open = not any(case.schema.groups for case in cases)

    def run(rows: Fed) -> tuple[Recomputed, Comparison]:
        made = make(references, positions, asked.schema, rows=rows)
        return made, compare_features(asked, made, with_values=is_open)

    found, compared, stages, finding = _run_until_same(run, fed)
    answers, begin = [], 0
    for one, index in zip(recorded, indices, strict=True):
        piece = slice(begin, begin + len(index))
        begin += len(index)
        answers.append(
            FeaturesAgain(
                features=_with_rows(one, index, found.table.slice(piece.start, len(index)), found.made[piece]),
                verdicts=compared.verdicts[piece],
                reasons=compared.reasons[piece],
                stages=tuple(replace(stage, seconds=stage.seconds / len(cases)) for stage in stages),
                columns=compared.columns,
                finding=finding,
            )
        )
    return answers


def _run_until_same(
    run: Callable[[Fed], tuple[Recomputed, Comparison]], fed: tuple[Fed, ...]
) -> tuple[Recomputed, Comparison, tuple[Stage, ...], str]:
    """Run a preparation, and again on all rows where few of them give something else; say what that shows of it."""
    best: tuple[Recomputed, Comparison] | None = None
    refused: PreparationError | None = None
    stages: tuple[Stage, ...] = ()
    finding = ""
    for rows in fed:
        try:
            made, compared = run(rows)
        except PreparationError as error:
            refused = refused or error
            continue
        tried = _stages(made, compared)
        if best is None or compared.agreeing > best[1].agreeing:
            is_again = rows != fed[0]
            finding = ""
            if is_again and compared.agreeing:
                finding = USES_OTHERS if refused is None else f"{ONLY_ALL}: {refused}"
            stages += tuple(replace(one, name=f"{one.name} (all rows)") if is_again else one for one in tried)
            best = made, compared
        if compared.agreeing == len(compared.verdicts):
            break
    if best is None:
        raise refused if refused is not None else AssertionError(fed)
    return *best, stages, finding


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Features made again beside the recorded ones.

    Attributes:
        verdicts: One a row.
        reasons: One a row; "" where exact.
        columns: In how many rows each column diverged.
    """

    verdicts: tuple[Verdict, ...]
    reasons: tuple[str, ...]
    columns: Mapping[str, int]

    def count(self, *verdicts: Verdict) -> int:
        """Return how many rows have one of some verdicts."""
        return sum(verdict in verdicts for verdict in self.verdicts)

    @property
    def agreeing(self) -> int:
        """How many rows were made again as they were."""
        return self.count("exact", "equivalent")


def compare_features(recorded: pa.Table, made: Recomputed, *, with_values: bool) -> Comparison:
    """Compare features made again with those recorded, row by row: by their row encoding, then within a tolerance.

    The tolerance is that of an output of the type, times the size of the value where that is more than 1: a sum in
    another order is off by little beside what was summed.

    Args:
        recorded: The recorded features of the rows that were asked about.
        made: The same, made again.
        with_values: Whether reasons may show values.
    """
    same = np.array([one == other for one, other in zip(_encoded(recorded), _encoded(made.table), strict=True)], bool)
    verdicts: list[Verdict] = ["exact"] * len(same)
    reasons = [""] * len(same)
    columns: Counter[str] = Counter()
    differs = ~same & made.made
    rows = np.flatnonzero(differs)
    other: dict[int, list[str]] = {int(row): [] for row in rows}
    for name in recorded.column_names:
        far = _is_far(recorded[name].take(pa.array(rows)), made.table[name].take(pa.array(rows)))
        for row in rows[far].tolist():
            other[row].append(name)
            columns[name] += 1
    for row, names in other.items():
        verdicts[row] = "diverged" if names else "equivalent"
        reasons[row] = "within the tolerance of sums in another order"
        if names:
            then, now = (python_value(table[names[0]][row]) for table in (recorded, made.table))
            values = f": {shown(then)} then, {shown(now)} now" if with_values else ""
            reasons[row] = f"another value of {', '.join((names[0] + values, *names[1:]))}"
    for row in np.flatnonzero(~made.made).tolist():
        verdicts[row], reasons[row] = "not-replayable", made.reasons[row]
    return Comparison(verdicts=tuple(verdicts), reasons=tuple(reasons), columns=dict(columns))


def _encoded(table: pa.Table) -> list[bytes]:
    return [row for block in iter_blocks(table) for row in block.rows()]


def _is_far(recorded: pa.ChunkedArray, made: pa.ChunkedArray) -> NDArray[np.bool_]:
    """Say which values differ by more than sums in another order do."""
    name = "value"
    same = np.array(
        [one == other for one, other in zip(*(_encoded(pa.table({name: v})) for v in (recorded, made)), strict=True)],
        bool,
    )
    if not pa.types.is_floating(recorded.type):
        return ~same
    one, other = (unchunked(v).to_numpy(zero_copy_only=False) for v in (recorded, made))
    size = np.maximum(1.0, np.maximum(np.abs(one), np.abs(other)))
    with np.errstate(invalid="ignore"):
        near = np.isfinite(size) & (np.abs(one - other) <= TOLERANCES[str(one.dtype)] * size)
    return np.asarray(~(same | near))


def rows_stages(rerun: Rerun) -> list[Stage]:
    """Return the stages of a preparation that was run again: fetching the rows, then each step."""
    fed = {name: rows for step in rerun.steps for name, rows in step.rows_in.items()}
    told = ", ".join(f"{rows:,} of {name}" for name, rows in fed.items())
    stages = [Stage(name="rows", verdict="exact", seconds=rerun.seconds, note=told)]
    return stages + [
        Stage(name=f"step {step.name}", verdict="exact", seconds=step.seconds, note=f"code: {step.code}")
        for step in rerun.steps
    ]


def _stages(made: Recomputed, compared: Comparison) -> tuple[Stage, ...]:
    stages = rows_stages(made.rerun)
    parts = [f"{compared.count(verdict):,} {verdict}" for verdict in ("exact", "equivalent", "diverged")]
    missing = compared.count("not-replayable")
    parts += [f"{missing:,} not made again"] if missing else []
    worst: Verdict = (
        "diverged"
        if compared.columns
        else "not-replayable"
        if missing
        else "equivalent"
        if compared.count("equivalent")
        else "exact"
    )
    note = ", ".join(parts)
    if compared.columns:
        note += "; other values of " + ", ".join(
            f"{name} in {count_text(count, 'row')}" for name, count in compared.columns.items()
        )
    return (*stages, Stage(name="features", verdict=worst, seconds=made.seconds, note=note))


def _with_rows(recorded: pa.Table, index: NDArray[np.int64], made: pa.Table, done: NDArray[np.bool_]) -> pa.Table:
    """Return features with those rows replaced that were made again."""
    place = np.arange(recorded.num_rows)
    place[index[done]] = recorded.num_rows + np.flatnonzero(done)
    return pa.concat_tables([recorded, made]).take(pa.array(place))
