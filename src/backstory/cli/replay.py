"""`backstory replay`: does the model still say that?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from backstory.cli.answer import print_json, print_page
from backstory.cli.archives import open_archive
from backstory.cli.code_option import FitOption, StepsOption, function_named, steps_named
from backstory.cli.exit_codes import FAILED, OK, PARTIAL, UNVERIFIED
from backstory.cli.options import ASKING, SEALED_STAY_SEALED, Asking, Opening
from backstory.cli.progress import progress
from backstory.errors import InputError

if TYPE_CHECKING:
    from backstory.debug.match_report import MatchReport
    from backstory.debug.replay import Replay
    from backstory.debug.retraining import Retraining
    from backstory.lineage.page import Page

_CODES = {"diverged": FAILED, "not-replayable": UNVERIFIED}
"""Exit codes of verdicts that do not confirm what was recorded."""


def replay(
    prediction: str | None = None,
    /,
    *,
    level: Literal[0, 1, 2, 3] = 1,
    alone: Annotated[bool, Parameter(negative=())] = False,
    steps: StepsOption = None,
    fit: FitOption = None,
    env: Literal["present", "recorded"] = "present",
    environments: Annotated[Path | None, Parameter(env_var="BACKSTORY_ENVIRONMENTS")] = None,
    pickle: Annotated[list[str] | None, Parameter(negative=())] = None,
    model: str | None = None,
    since: str | None = None,
    until: str | None = None,
    sample: int | None = None,
    seed: int = 0,
    asking: Asking = ASKING,
    opening: Opening = SEALED_STAY_SEALED,
) -> int:
    """Run what was recorded again and compare: of one prediction, of a sample, or the training of a model.

    Args:
        prediction: Id of the prediction, or a unique prefix; at level 3 a model version, such as `delay:3`. Without it
            all predictions that fit --model, --since and --until, or a sample of them.
        level: 0 looks at digests and runs nothing; 1 runs the model on the recorded features; 2 makes the features
            again from the source rows, with --steps; 3 trains the model again.
        alone: Give each row to the model by itself, not in its batch.
        steps: Functions that prepare features.
        fit: Function that trains.
        env: Run here, or in the recorded environment, made again with uv.
        environments: Directory that recorded environments are made in. [default: the user's cache directory]
        pickle: SHA-256 of an artifact that is a pickle and may be run, without network; may be repeated.
        model: Only predictions of this model: all versions of a name, or one such as `delay:3`.
        since: Only predictions recorded at or after this moment, RFC 3339.
        until: Only predictions recorded before this moment.
        sample: How many to draw, uniformly.
        seed: What decides which.
        asking: Which archive.
        opening: Who asks.
    """
    if prediction is None and model is None and since is None and until is None and sample is None:
        raise InputError("replay: expected a prediction, or --model, --since, --until or --sample")
    where: str | Path = environments if env == "recorded" and environments is not None else env
    with progress("replaying"), open_archive(asking, opening) as archive:
        answer: Replay | MatchReport | Retraining = archive.replay(  # type: ignore[call-overload,misc]
            prediction,
            level=level,
            alone=alone,
            steps=steps_named(steps),
            fit=None if fit is None else function_named(fit),
            env=where,
            pickles=pickle or (),
            model=model,
            since=since,
            until=until,
            sample=sample,
            seed=seed,
        )
    if asking.json:
        print_json(answer.to_dict())
    else:
        print_page(_page(answer))
    return _code(answer)


def _page(answer: Replay | MatchReport | Retraining) -> Page:
    from backstory.debug.match_report import MatchReport, report_page
    from backstory.debug.replay import Replay, replay_page
    from backstory.debug.retraining import retraining_page

    if isinstance(answer, MatchReport):
        return report_page(answer)
    return replay_page(answer) if isinstance(answer, Replay) else retraining_page(answer)


def _code(answer: Replay | MatchReport | Retraining) -> int:
    """Return the exit code: of many the one of the verdict, and another where only some could not be replayed."""
    counts = getattr(answer, "counts", {})
    if answer.verdict not in _CODES and counts.get("not-replayable"):
        return PARTIAL
    return _CODES.get(answer.verdict, OK)
