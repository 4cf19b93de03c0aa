"""Sealing what workers recorded outside the archive: several spools, one log."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

from backstory.errors import ConflictError
from backstory.ledger.ledger import Ledger
from backstory.ledger.rotate import list_keys
from backstory.ledger.seal import seal_all
from backstory.ledger.watch import Rule, Watch
from backstory.storage.disk import read_file
from backstory.storage.worker_spool import read_worker_spool, worker_stores, wrap_key_of

WRAP_KEY = "worker-spools"


def wrap_key(ledger: Ledger) -> bytes:
    """Return the public key under which workers leave their keys for this archive."""
    return wrap_key_of(ledger.keys.get_or_create(WRAP_KEY, "private")["private"])


def collect(ledger: Ledger, root: Path) -> int:
    """Seal the streams of a worker's spool into the archive; return how many records were sealed.

    Args:
        ledger: The archive, open for writing.
        root: The spool's directory.

    Raises:
        NotFoundError: There is no worker's spool.
        ConflictError: It is another archive's.
        BackstoryError: What went wrong with the first stream that could not be sealed, after all others were.
    """
    view, copy_blobs = _view(ledger, root)
    copy_blobs()  # before a manifest speaks of what they say
    return seal_all(view)


def watch_worker(ledger: Ledger, root: Path, rule: Rule) -> Watch:
    """Return what seals a worker's spool again and again.

    Raises:
        NotFoundError: There is no worker's spool.
        ConflictError: It is another archive's.
    """
    view, copy_blobs = _view(ledger, root)
    return Watch(view, rule, before_seal=copy_blobs)


def _view(ledger: Ledger, root: Path) -> tuple[Ledger, Callable[[], None]]:
    """Return the archive with a worker's spool in place of its own, and what copies the blobs workers left there."""
    info = read_worker_spool(root)
    if info.vkey not in {valid.key.vkey for valid in list_keys(ledger)}:  # the key may have been rotated since
        raise ConflictError(f"collecting: the spool at {root} is for the archive {info.origin!r} with another key")
    private = ledger.keys.key(WRAP_KEY, "private")
    spool, blobs = worker_stores(root, info, ledger.world, private)
    view = copy.copy(ledger)
    view.spool = spool

    def copy_blobs() -> None:
        for path in blobs.paths():
            ledger.blobs.put(read_file(path))

    return view, copy_blobs
