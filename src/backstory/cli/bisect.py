"""`backstory bisect`: which change flipped a prediction, or a figure over some."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from backstory.cli.answer import print_json, print_page
from backstory.cli.archives import open_archive
from backstory.cli.code_option import StepsOption, steps_named
from backstory.cli.exit_codes import OK, PARTIAL
from backstory.cli.options import ASKING, SEALED_STAY_SEALED, Asking, Opening
from backstory.errors import QueryError


def bisect(
    predictions: list[str],
    /,
    *,
    models: str | None = None,
    source: Annotated[list[str] | None, Parameter(negative=())] = None,
    commits: str | None = None,
    package: Annotated[list[str] | None, Parameter(negative=())] = None,
    steps: StepsOption = None,
    good: str | None = None,
    state: Path | None = None,
    asking: Asking = ASKING,
    opening: Opening = SEALED_STAY_SEALED,
) -> int:
    """Find the change that turned a prediction, or a figure over some, from good to bad.

    Args:
        predictions: Ids of predictions, or unique prefixes.
        models: Versions of the model, good..bad, such as delay:1..delay:64; those between are tried.
        source: Versions of a source, good..bad, such as weather:1..weather:9; may be repeated; needs --steps.
        commits: Commits of the code that --steps names, good..bad; the current directory says where it is.
        package: Versions of a package, good to bad: scikit-learn=1.7.2,1.8.0; may be repeated.
        steps: Functions that prepare features.
        good: What good means, in SQL: "output < 60" of one prediction, "avg(output) < 20" of several. [default: what
            the good end gave]
        state: File in which trials are kept, to go on with a search that was stopped.
        asking: Which archive.
        opening: Who asks.
    """
    from backstory.debug.bisect import bisection_page

    with open_archive(asking, opening) as archive:
        answer = archive.bisect(
            predictions,
            models=None if models is None else _ends(models, "--models"),
            sources=[_ends(text, "--source") for text in source or ()],
            commits=None if commits is None else _ends(commits, "--commits"),
            packages=dict(_versions(text) for text in package or ()),
            steps=steps_named(steps),
            good=good,
            state=state,
            say=_unsaid if asking.json else _said,
        )
    if asking.json:
        print_json(answer.to_dict())
    else:
        print_page(bisection_page(answer))
    unclear = answer.untested or any(change.untried for cause in answer.causes for change in cause)
    return PARTIAL if unclear else OK


def _said(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def _unsaid(_line: str) -> None:
    """Say nothing: with `--json` only an error stands on stderr."""


def _ends(text: str, option: str) -> tuple[str, str]:
    """Return the two ends of a range."""
    good, dots, bad = text.partition("..")
    if not dots or not good or not bad:
        raise QueryError(f"bisect: expected {option} good..bad, got {text!r}")
    return good, bad


def _versions(text: str) -> tuple[str, list[str]]:
    """Return a package and its versions."""
    name, mark, versions = text.partition("=")
    if not mark or not name or not versions:
        raise QueryError(f"bisect: expected --package name=good,bad, got {text!r}")
    return name, versions.split(",")
