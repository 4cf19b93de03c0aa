"""Replaying: run what was recorded again and compare, stage by stage, with what was recorded.

The whole batch of the original call is run and the row picked out, because many models give other bits for a row alone
than in its batch (docs/adr/0006). What a verdict may be also depends on what the model's determinism class promises
(docs/adr/0021).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from backstory.columns.arrow_type import unchunked
from backstory.columns.python_value import python_rows, python_value
from backstory.debug.case import Case, Workshop, read_case
from backstory.debug.environment_diff import environment_changes, has_pools, kernel_families
from backstory.debug.features_again import FeaturesAgain, Stage, features_of_calls
from backstory.debug.promise import Promise, promise_of
from backstory.debug.replay import Replay
from backstory.debug.runner import Job, Ran, Runner
from backstory.debug.verdict import Judgement, Verdict, as_recorded, judge
from backstory.errors import BackstoryError, InputError, VerificationError
from backstory.records.canonical import JsonObject

if TYPE_CHECKING:
    from backstory.debug.recompute import Steps
    from backstory.ledger.read import Found

QUESTION = "replay"
RETRAIN = 3
"""The level at which a model is trained again."""

_FROM_ROWS = 2
_WORST_FIRST: tuple[Verdict, ...] = ("not-replayable", "diverged", "same-decision", "equivalent", "exact")


@dataclass(frozen=True, slots=True, kw_only=True)
class Manner:
    """How predictions are to be replayed.

    Attributes:
        runner: Runs models.
        level: 1 from the recorded features, 2 from the source rows.
        alone: Whether each row is given to the model by itself.
        steps: At level 2 the functions that prepare features.
    """

    runner: Runner
    level: int = 1
    alone: bool = False
    steps: Steps = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Made:
    """What the model of a call is given.

    Attributes:
        case: The call.
        features: Features of the whole call.
        stages: What was done so far, for the call as a whole.
        rows: How the features of each row asked about compare with the recorded ones; None where they are those.
    """

    case: Case
    features: pa.Table
    stages: tuple[Stage, ...]
    rows: tuple[Judgement, ...] | None = None


def require_question(
    level: int, *, is_one: bool, is_many: bool, alone: bool, steps: Steps, fit: object, env: str | Path
) -> None:
    """Refuse what does not go together, rather than leave some of it out.

    Raises:
        InputError: There is no such level or environment; or something is given that this level does not use.
    """
    if level not in {0, 1, _FROM_ROWS, RETRAIN}:
        raise InputError(f"replay: expected level 0, 1, 2 or 3, got {level!r}")
    if not isinstance(env, Path) and env not in {"present", "recorded"}:
        raise InputError(f"replay: expected env 'present', 'recorded' or a directory, got {env!r}")
    if is_one and is_many:
        raise InputError("replay: expected one prediction or model, or what many have in common, got both")
    if level == RETRAIN and not is_one:
        raise InputError("replay: level 3 trains a model again: expected a model version, such as 'delay:3'")
    if level in {0, RETRAIN} and (alone or env != "present"):
        raise InputError(f"replay: level {level} runs no prediction, so neither alone nor in another environment")
    if (steps is not None and level < _FROM_ROWS) or (fit is not None and level != RETRAIN):
        raise InputError("replay: steps are for level 2 and 3, fit is for level 3")
    if steps is None and level in {_FROM_ROWS, RETRAIN}:
        raise InputError(f"replay: expected steps at level {level}: the functions that prepare features")


def replay_prediction(shop: Workshop, found: Found, manner: Manner) -> Replay:
    """Replay one prediction.

    Args:
        shop: The archive.
        found: The prediction.
        manner: How.

    Raises:
        VerificationError: The model or something else the record refers to was changed.
    """
    clock = shop.ledger.world.monotonic_ns
    began = clock()
    try:
        case = read_case(shop, found, QUESTION)
    except VerificationError:
        raise
    except BackstoryError as error:
        return not_replayable(found.id, error, manner)
    return replay_cases(shop, [(case, (clock() - began) / 1e9)], manner)[0]


def not_replayable(
    name: str, error: BackstoryError, manner: Manner, stages: tuple[Stage, ...] = (), stage: str = "record"
) -> Replay:
    """Return the replay of a prediction that could not be made, as something is missing."""
    missing = Stage(name=stage, verdict="not-replayable", seconds=0.0, note=str(error))
    return Replay(
        id=name,
        verdict="not-replayable",
        reason=str(error),
        level=manner.level,
        alone=manner.alone,
        stages=(*stages, missing),
        environment={},
        ran_in=manner.runner.ran_in,
    )


def replay_cases(shop: Workshop, cases: Sequence[tuple[Case, float]], manner: Manner) -> list[Replay]:
    """Replay those predictions of some calls that were asked about.

    The model runs once a call, unless each row is to be alone.

    Args:
        shop: The archive.
        cases: The calls, each with how long it took to read it.
        manner: How.

    Returns:
        A replay for each row asked about, in order.

    Raises:
        VerificationError: A model or something else a record refers to was changed.
    """
    made = _made(shop, cases, manner)
    jobs = [_jobs(one, manner) for one in made if isinstance(one, _Made)]
    ran = iter(manner.runner.run([job for of_case in jobs for job in of_case]))
    counts = iter([len(of_case) for of_case in jobs])
    found: list[Replay] = []
    for one in made:
        found += (
            one if isinstance(one, list) else _compared(shop, one, [next(ran) for _ in range(next(counts))], manner)
        )
    return found


def _made(shop: Workshop, cases: Sequence[tuple[Case, float]], manner: Manner) -> list[_Made | list[Replay]]:
    """Return what the model of each call is given; or the replays, where nothing can be given to it."""
    heads = shop.ledger.heads()
    reads = [
        Stage(name="record", verdict="exact", seconds=seconds, note=_proof(case, heads)) for case, seconds in cases
    ]
    calls = [case for case, _ in cases]
    if manner.level < _FROM_ROWS:
        return [
            _Made(case=case, features=case.features, stages=(read,)) for case, read in zip(calls, reads, strict=True)
        ]
    made = features_of_calls(shop, calls, manner.steps)
    return [_from_rows(*one, manner) for one in zip(calls, reads, made, strict=True)]


def _proof(case: Case, heads: Mapping[str, int]) -> str:
    """Say whether the records that were read are proven: those below the head of their stream are."""
    last = python_rows(case.table.slice(case.table.num_rows - 1).select(["stream", "seq"]))[0]
    is_sealed = last["seq"] < heads.get(last["stream"].hex(), 0)
    return "proven by the log" if is_sealed else "not in the log yet: no proof covers it"


def _from_rows(case: Case, read: Stage, again: FeaturesAgain | BackstoryError, manner: Manner) -> _Made | list[Replay]:
    """Return what the model of one call is given, made of source rows."""
    if isinstance(again, BackstoryError):
        return [not_replayable(name, again, manner, (read,), "rows") for name in case.ids]
    judged = zip(again.verdicts, again.reasons, strict=True)
    rows = tuple(Judgement(verdict=verdict, reason=reason, difference=None) for verdict, reason in judged)
    stages = tuple(
        replace(stage, note=f"{stage.note}; {again.finding}") if again.finding and stage is again.stages[-1] else stage
        for stage in again.stages
    )
    return _Made(case=case, features=again.features, stages=(read, *stages), rows=rows)


def _jobs(made: _Made, manner: Manner) -> list[Job]:
    if not manner.alone:
        return [Job(case=made.case, features=made.features, rows=made.case.rows)]
    return [Job(case=made.case, features=made.features.slice(row, 1), rows=(0,)) for row in made.case.rows]


def _compared(shop: Workshop, made: _Made, ran: Sequence[Ran | BackstoryError], manner: Manner) -> list[Replay]:
    """Compare what the model of a call said now with what was recorded."""
    case = made.case
    problem = next((one for one in ran if isinstance(one, BackstoryError)), None)
    if problem is not None:
        return [not_replayable(name, problem, manner, made.stages, "model") for name in case.ids]
    done = [one for one in ran if isinstance(one, Ran)]
    digest = case.context.get("environment")
    then = shop.ledger.document(digest) if isinstance(digest, str) else {}
    changes = environment_changes(then, done[-1].environment, is_partial=done[-1].is_partial)
    promise = promise_of(shop.ledger, case, alone=manner.alone, same_environment=_is_same(then, done, changes))
    outputs = pa.concat_arrays([one.output for one in done])
    clock = shop.ledger.world.monotonic_ns
    began = clock()
    recorded = case.output.take(pa.array(case.rows))
    as_given = made.rows is None or all(row.verdict in {"exact", "not-replayable"} for row in made.rows)
    outcomes = judge(recorded, outputs, case.decision, promised=promise.is_exact and as_given)
    decided = _decisions(case, recorded, outputs)
    took = (clock() - began) / 1e9
    model_seconds = sum(one.seconds for one in done)
    typed = as_recorded(outputs, recorded.type)
    values = outputs if typed is None else typed
    stages = [*_row_stages(made, outcomes, decided, promise, kernel_families(changes), (model_seconds, took))]
    of_call = len(made.stages) - (made.rows is not None)
    ran_on = [made.rows is None or made.rows[at].verdict != "not-replayable" for at in range(len(outcomes))]
    return [
        replace(
            _verdict_of(name, stages[at], of_call, same_environment=not changes),
            level=manner.level,
            recorded=python_value(recorded[at]),
            replayed=python_value(values[at]) if ran_on[at] else None,
            difference=outcomes[at].difference if ran_on[at] else None,
            batch_rows=case.table.num_rows,
            alone=manner.alone,
            environment=changes,
            ran_in=manner.runner.ran_in,
            determinism=promise.class_name,
            promise=promise.words,
        )
        for at, name in enumerate(case.ids)
    ]


def _is_same(then: JsonObject, ran: Sequence[Ran], changes: dict[str, tuple[str, str]]) -> bool:
    """Say whether models ran where they were recorded: only where it is known whose kernels ran, then and now."""
    return not changes and has_pools(then) and has_pools(ran[-1].environment)


def _row_stages(
    made: _Made,
    outcomes: Sequence[Judgement],
    decided: Sequence[Stage] | None,
    promise: Promise,
    family: str,
    seconds: tuple[float, float],
) -> Iterator[tuple[Stage, ...]]:
    """Yield the stages of each row asked about: those of its call, with verdicts of its own where it has them."""
    for at, outcome in enumerate(outcomes):
        stages = made.stages
        if made.rows is not None:
            own = made.rows[at]
            *before, last = stages
            stages = (
                *before,
                replace(last, verdict=own.verdict, note="; ".join(filter(None, (own.reason, last.note)))),
            )
        model = _qualified(outcome, promise, family)
        if made.rows is not None and made.rows[at].verdict == "not-replayable":
            yield stages
            continue
        stages = (*stages, Stage(name="model", verdict=model.verdict, seconds=seconds[0], note=model.reason))
        yield stages if decided is None else (*stages, replace(decided[at], seconds=seconds[1]))


def _qualified(outcome: Judgement, promise: Promise, family: str) -> Judgement:
    """Return a judgement with what explains it; the same bytes where none were promised are no more than equivalent."""
    if outcome.verdict == "exact" and promise.varies:
        reason = f"the same bytes this time, which is luck: {promise.varies}"
        return Judgement(verdict="equivalent", reason=reason, difference=outcome.difference)
    because = [text for text in (promise.varies, family) if text and outcome.verdict != "exact"]
    return replace(outcome, reason="; ".join([text for text in (outcome.reason, *because) if text]))


def _decisions(case: Case, recorded: pa.Array, outputs: pa.Array) -> list[Stage] | None:
    """Return for each row asked about whether the rule decides now as it did then; None without a rule."""
    rule = case.decision
    if rule is None or "decision" not in case.table.column_names:
        return None
    then = unchunked(case.table["decision"]).take(pa.array(case.rows)).to_pylist()
    typed = as_recorded(outputs, recorded.type)
    now = [None] * len(then) if typed is None else rule.decide(typed).to_pylist()
    stages = []
    for was, is_ in zip(then, now, strict=True):
        note = "" if was == is_ else f"decided {was} then, and {is_} now"
        stages.append(Stage(name="decision", verdict="diverged" if note else "exact", seconds=0.0, note=note))
    return stages


def _verdict_of(name: str, stages: tuple[Stage, ...], of_call: int, *, same_environment: bool) -> Replay:
    """Return the verdict that stages add up to: the worst of the row's own, and of equals the last.

    Args:
        name: Id of the prediction.
        stages: Its stages.
        of_call: How many of them are of the call as a whole, and decide nothing of one row.
        same_environment: Whether it ran where it was recorded.
    """
    own = stages[of_call:]
    worst = min(reversed(own), key=lambda stage: _WORST_FIRST.index(stage.verdict))
    where = "in the recorded environment" if same_environment else "in this environment"
    reason = worst.note if worst.name == "model" else f"{worst.name}: {worst.note}"
    return Replay(
        id=name,
        verdict=worst.verdict,
        reason=f"the same bytes, {where}" if worst.verdict == "exact" else reason,
        stages=stages,
        first_diverging=next((stage.name for stage in own if stage.verdict == "diverged"), None),
        environment={},
    )
