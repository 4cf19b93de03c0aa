"""What waits to be sealed when a bundle is asked for: sealed first, as far as this process can."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from functools import partial

from backstory.errors import BackstoryError
from backstory.ledger.ledger import Ledger
from backstory.ledger.seal import seal_all, seal_up_to
from backstory.storage.spool import StreamInfo

_log = logging.getLogger("backstory")


def seal_what_waits(ledger: Ledger, own: Iterable[tuple[StreamInfo, int]]) -> None:
    """Seal every stream that can be sealed; a bundle counts what fits and still waits.

    Args:
        ledger: The archive, open for writing.
        own: Streams of this process, each with the sequence number after its last record: another process that is
            sealing one of these is waited for.
    """
    seals: list[Callable[[], object]] = [partial(seal_up_to, ledger, info, end_seq) for info, end_seq in own]
    seals.append(partial(seal_all, ledger))
    for seal in seals:
        try:
            seal()
        except BackstoryError as error:  # what is damaged must not keep the rest from being given out
            _log.warning("bundle: some of what waits to be sealed is left out: %s", error)
