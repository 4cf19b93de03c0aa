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
from backstory.errors import BackstoryError, FormatError, InputError, StorageError

if TYPE_CHECKING:
    from backstory.ledger.cosign import Fed


def feed(*, policy: Path, watch: float | None = None, asking: Asking = ASKING) -> int:
    """Show the newest checkpoint to the witnesses of a policy; keep it with their cosignatures if they make the quorum.

    Needs no key of the archive. Exit code 20: a witness says it has seen another history of this log; 21: no quorum.

    Args:
        policy: C2SP tlog-policy file: the log's key, witnesses with their keys and URLs, the quorum.
        watch: Go on, with so many seconds between two rounds, until SIGTERM or Ctrl-C; a witness that contradicts is
            told in each round and stops nobody.
        asking: Which archive.
    """
    from backstory.ledger.cosign import feed as feed_once
    from backstory.ledger.stopping import stop_on
    from backstory.storage.disk import Disk, read_file
    from backstory.tlog.policy import parse_policy

    if watch is not None and watch <= 0:
        raise InputError("feed: expected --watch above 0 seconds")

    def look() -> int:
        """Read settings and policy anew: the log's key may have been rotated, and the policy then says so."""
        return _tell(feed_once(find_layout(asking), parse_policy(read_file(policy)), Disk()), as_json=asking.json)

    if watch is None:
        return look()
    passing: tuple[type[BackstoryError], ...] = (StorageError,)  # as of a disk that is full
    with stop_on([signal.SIGTERM, signal.SIGINT]) as stop:
        while True:
            try:
                look()
                passing = (StorageError, InputError, FormatError)  # it was right once: until the policy has a new key
            except passing as error:  # the next round may do better
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
