"""`backstory feed`: show the checkpoint to witnesses and keep what they sign."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from backstory.cli.answer import print_error, print_json, print_text
from backstory.cli.archives import find_layout
from backstory.cli.exit_codes import FAILED, OK, UNVERIFIED
from backstory.cli.options import ASKING, Asking
from backstory.errors import InputError, StorageError

if TYPE_CHECKING:
    from backstory.ledger.cosign import Fed


def feed(*, policy: Path, watch: float | None = None, asking: Asking = ASKING) -> int:
    """Show the newest checkpoint to the witnesses of a policy; keep it with their cosignatures if they make the quorum.

    Needs no key of the archive. Exit code 20: a witness has seen another history of this log; 21: no quorum.

    Args:
        policy: C2SP tlog-policy file: the log's key, witnesses with their keys and URLs, the quorum.
        watch: Go on, with so many seconds between two rounds, until SIGTERM or Ctrl-C, or until a witness contradicts.
        asking: Which archive.
    """
    from backstory.ledger.cosign import feed as feed_once
    from backstory.ledger.stopping import stop_on
    from backstory.storage.disk import Disk, read_file
    from backstory.tlog.policy import parse_policy

    if watch is not None and watch <= 0:
        raise InputError("feed: expected --watch above 0 seconds")
    rules = parse_policy(read_file(policy))
    if watch is None:
        return _tell(feed_once(find_layout(asking), rules, Disk()), as_json=asking.json)
    with stop_on([signal.SIGTERM, signal.SIGINT]) as stop:
        while True:
            try:
                layout = find_layout(asking)  # anew: the log's key may have been rotated
                if _tell(feed_once(layout, rules, Disk()), as_json=asking.json) == FAILED:
                    return FAILED
            except StorageError as error:  # as of a disk that is full: the next round may do better
                print_error(error, as_json=asking.json)
            if stop(watch):
                return OK


def _tell(fed: Fed, *, as_json: bool) -> int:
    if as_json:
        print_json(fed.to_dict())
    else:
        print_text(str(fed))
    sys.stdout.flush()
    if fed.contradicted:
        return FAILED
    return OK if fed.path else UNVERIFIED
