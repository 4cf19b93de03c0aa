"""`backstory monitor`: remember what a log showed, and alarm when it shows something else."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from backstory.cli.answer import print_json, print_text
from backstory.cli.exit_codes import FAILED, OK, UNVERIFIED
from backstory.cli.options import Json
from backstory.errors import InputError

if TYPE_CHECKING:
    from backstory.verify.monitor import Look


def monitor(
    log: str,
    /,
    *,
    state: Path,
    vkey: Annotated[list[str], Parameter(negative=())],
    policy: Path | None = None,
    max_age: int | None = None,
    watch: float | None = None,
    json: Json = False,
) -> int:
    """Check that a log extends what it showed before, and that witnesses were shown the same. Needs no secret of it.

    Exit code 20 is an alarm: fork, rollback, damage, a bad signature, too few recent cosignatures; 21: not everything
    could be read.

    Args:
        log: URL of the log, an archive, or a directory with a log's files.
        state: Directory to remember in, kept away from whoever runs the log.
        vkey: Public key of the log, with ` from N` and ` until N` where it was rotated; may be repeated.
        policy: C2SP tlog-policy file with the witnesses to ask.
        max_age: Alarm if the policy's quorum has not cosigned within so many seconds.
        watch: Go on, with so many seconds between two looks, until SIGTERM or Ctrl-C, or an alarm.
        json: Print one JSON document a look.
    """
    from backstory.ledger.stopping import stop_on
    from backstory.storage.disk import read_file
    from backstory.storage.world import World
    from backstory.tlog.key import require_keys
    from backstory.tlog.policy import parse_policy
    from backstory.verify.log_source import open_log
    from backstory.verify.monitor import Monitor

    if (watch is not None and watch <= 0) or (max_age is not None and max_age <= 0):
        raise InputError("monitor: expected --watch and --max-age above 0 seconds")
    rules = None if policy is None else parse_policy(read_file(policy))
    watched = Monitor(state, require_keys(vkey), World(), policy=rules, max_age_seconds=max_age)
    source = open_log(log)
    if watch is None:
        return _tell(watched.look(source), as_json=json)
    with stop_on([signal.SIGTERM, signal.SIGINT]) as stop:
        while _tell(watched.look(source), as_json=json) != FAILED:
            if stop(watch):
                return OK
    return FAILED


def _tell(look: Look, *, as_json: bool) -> int:
    if as_json:
        print_json(look.to_dict())
    else:
        print_text(str(look))
    sys.stdout.flush()
    if look.failed:
        return FAILED
    return UNVERIFIED if look.alarms else OK
