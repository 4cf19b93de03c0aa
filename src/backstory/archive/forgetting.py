"""What everybody does about erased persons who opens for writing or collects: goes on, and undoes what came back.

A copy that is put back brings persons back, and so may a worker's spool that was elsewhere when they were erased.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from backstory.errors import BackstoryError, BusyError
from backstory.ledger.collect import collect
from backstory.ledger.forget import forget_again

if TYPE_CHECKING:
    from pathlib import Path

    from backstory.ledger.ledger import Ledger
    from backstory.ledger.watch import Looking, Stop

_log = logging.getLogger("backstory")
_PLANS = "erasures"


def forget_whom_it_should(ledger: Ledger) -> None:
    """Go on with erasures that were cut short or waited, and repeat those that a copy put back undid.

    What cannot be done now, the next opener does: an archive that cannot erase can still be read.
    """
    folder = ledger.layout.vault / _PLANS
    try:
        forget_again(ledger)
        if folder.is_dir() and any(folder.iterdir()):
            from backstory.governance.erasure import finish

            finish(ledger)
    except BusyError:
        _log.debug("another process is erasing; it goes on with what was cut short, or the next opener does")
    except BackstoryError as error:
        _log.warning("an erasure is not complete: %s", error)


def collect_and_forget(ledger: Ledger, root: Path) -> int:
    """Seal the streams of a worker's spool, and erase what came in about persons who were erased meanwhile.

    Args:
        ledger: The archive, open for writing.
        root: The spool's directory.

    Returns:
        How many records were sealed.

    Raises:
        BackstoryError: See `backstory.ledger.collect`; what came in about erased persons is erased all the same.
    """
    try:
        return collect(ledger, root)
    finally:
        forget_whom_it_should(ledger)


class Forgetting:
    """A watch of a worker's spool that erases what came in about persons who were erased meanwhile."""

    def __init__(self, ledger: Ledger, inner: Looking) -> None:
        """Let a watch look, and erase after it."""
        self._ledger = ledger
        self._inner = inner

    def look(self, stop: Stop) -> int:
        """Seal what is due; return how many records were sealed."""
        sealed = self._inner.look(stop)
        if sealed:
            forget_whom_it_should(self._ledger)
        return sealed
