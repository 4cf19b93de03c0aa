"""`backstory rootcause`: what bad predictions share upstream."""

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
from backstory.cli.progress import progress
from backstory.errors import QueryError


def rootcause(
    *,
    bad: Annotated[str, Parameter(allow_leading_hyphen=True)],
    good: str | None = None,
    model: str | None = None,
    since: str | None = None,
    until: str | None = None,
    steps: StepsOption = None,
    reference: Annotated[list[str] | None, Parameter(negative=())] = None,
    still_bad: str | None = None,
    support: int = 20,
    sample: int = 50,
    features: bool = True,
    confirm: bool = True,
    plot: Path | None = None,
    asking: Asking = ASKING,
    opening: Opening = SEALED_STAY_SEALED,
) -> int:
    """Find what bad predictions share upstream, and run some of them again with it swapped.

    Args:
        bad: Which predictions are bad: an SQL predicate as `search` takes it, such as "output > 300", or one over
            output and outcome; or - for ids on standard input, one a line.
        good: Those to compare with, as a predicate. [default: all others of the same models]
        model: Only predictions of this model, or of one version of it.
        since: Only those recorded at or after this moment, RFC 3339.
        until: Only those recorded before this moment.
        steps: Functions that prepare features.
        reference: What is right, as NAME=VERSION, such as weather=weather:1; may be repeated. [default: the newest
            other version with the same keys]
        still_bad: Predicate that says of a replayed output that it is bad, where --bad is none.
        support: How many predictions a value must select, and how many bad ones a pair.
        sample: How many bad predictions of a finding to run again.
        features: Look at features, too.
        confirm: Run predictions again.
        plot: Write the findings as a picture to this file, `.svg`.
        asking: Which archive.
        opening: Who asks.
    """
    from backstory.debug.chart import require_svg
    from backstory.debug.rootcause_page import rootcause_page

    if plot is not None:
        require_svg(plot, "rootcause")
    named = dict(_named(text) for text in reference or [])
    with progress("looking"), open_archive(asking, opening) as archive:
        answer = archive.rootcause(
            sys.stdin.read().split() if bad == "-" else bad,
            good,
            model=model,
            since=since,
            until=until,
            steps=steps_named(steps),
            reference=named,
            still_bad=still_bad,
            support=support,
            sample=sample,
            features=features,
            confirm=confirm,
        )
        if plot is not None:
            answer.plot(plot)
    if asking.json:
        print_json(answer.to_dict())
    else:
        print_page(rootcause_page(answer))
    return PARTIAL if "sealed" in answer.left_out or "erased" in answer.left_out else OK


def _named(text: str) -> tuple[str, str]:
    name, mark, version = text.partition("=")
    if not mark or not name or not version:
        raise QueryError("rootcause: expected --reference NAME=VERSION, such as weather=weather:1")
    return name, version
