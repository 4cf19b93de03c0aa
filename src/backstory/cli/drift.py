"""`backstory drift`: whether what a model is given and says has moved."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Final

from cyclopts import Parameter

from backstory.cli.answer import print_json, print_page
from backstory.cli.archives import open_archive
from backstory.cli.exit_codes import OK
from backstory.cli.options import ASKING, SEALED_STAY_SEALED, Asking, Opening
from backstory.cli.progress import progress

_PAIR: Final = re.compile(r"(\S+)\.\.(\S+)")
_HOURS: Final = re.compile(r"([1-9][0-9]{0,4})h")


def drift(
    model: str,
    /,
    *,
    since: str | None = None,
    until: str | None = None,
    period: str = "day",
    reference: str = "training",
    alpha: float = 0.01,
    plot: Path | None = None,
    alarm: Annotated[bool, Parameter(negative=())] = False,
    asking: Asking = ASKING,
    opening: Opening = SEALED_STAY_SEALED,
) -> int:
    """Compare what a model version was given and said, period by period, with a reference.

    Drift that is found is an answer and no failure: the exit code is 0.

    Args:
        model: The version: name, name@alias, name:version or digest.
        since: Only predictions recorded at or after this moment, RFC 3339.
        until: Only predictions recorded before this moment.
        period: How long a period is: hour, day, week, or hours such as 6h.
        reference: What to compare with: training, another version such as name:1, or two moments SINCE..UNTIL.
        alpha: How likely a period without drift may raise an alarm.
        plot: Draw the measures that moved most into this SVG file.
        alarm: Put the alarms into the log.
        asking: Which archive.
        opening: Who asks.
    """
    from backstory.debug.chart import require_svg
    from backstory.debug.drift_page import drift_page

    if plot is not None:
        require_svg(plot, "drift")
    pair, hours = _PAIR.fullmatch(reference), _HOURS.fullmatch(period)
    against: Any = reference if pair is None else (pair[1], pair[2])
    length: Any = period if hours is None else timedelta(hours=int(hours[1]))
    with progress("looking for drift"), open_archive(asking, opening, writes=alarm) as archive:
        ask = archive.drift.check if alarm else archive.drift.compare
        answer = ask(model, since=since, until=until, period=length, reference=against, alpha=alpha)
    if plot is not None:
        answer.plot(plot)
    if asking.json:
        print_json(answer.to_dict())
    else:
        print_page(drift_page(answer))
    return OK
