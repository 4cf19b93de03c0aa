"""What every opener for writing does about erased persons: goes on with that, and undoes what a copy brought back."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from backstory.errors import BackstoryError, BusyError
from backstory.ledger.forget import forget_again

if TYPE_CHECKING:
    from backstory.ledger.ledger import Ledger

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
