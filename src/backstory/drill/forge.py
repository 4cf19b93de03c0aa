"""What somebody does who has the log's key and the disk: write a log anew, sign it, and put everything else in line."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path

from backstory.drill.copies import SCRATCH, put
from backstory.ledger.ledger import Ledger
from backstory.storage.anchors import FOLDER
from backstory.storage.layout import Layout, read_layout
from backstory.storage.lock import LockStore
from backstory.storage.log_file import read_log_file
from backstory.storage.rotations import rotation_sizes
from backstory.tlog.checkpoint import Checkpoint, parse_checkpoint, sign_checkpoint
from backstory.tlog.hashing import EMPTY_ROOT
from backstory.tlog.note import parse_note
from backstory.tlog.signer import Signer
from backstory.tlog.tile import TILE_WIDTH, TilePath, decode_bundle, tile_at
from backstory.tlog.tree import grow


def checkpoint_of(root: Path) -> tuple[bytes, Checkpoint]:
    """Return the published checkpoint of a copy as signed and as what it says, nothing verified."""
    note = (read_layout(root).log / "checkpoint").read_bytes()
    return note, parse_checkpoint(parse_note(note).text)


def tile_reader(layout: Layout) -> Callable[[TilePath], bytes]:
    """Return what reads a log's tiles."""
    return lambda tile: read_log_file(layout.log, tile)


def read_entries(layout: Layout, size: int) -> list[bytes]:
    """Return the entries of a log, nothing verified."""
    read = tile_reader(layout)
    bundles = [tile_at(size, None, index) for index in range(-(-size // TILE_WIDTH))]
    return [entry for bundle in bundles for entry in decode_bundle(read(bundle), bundle.width)]


def rewrite_log(
    root: Path,
    change: Callable[[list[bytes]], list[bytes]],
    signers: Sequence[Signer],
    heads: Mapping[str, int] | None = None,
) -> None:
    """Write the whole log of a copy anew with other entries, sign it, and bring lock store and catalog in line.

    Args:
        root: The copy.
        change: Gives the entries there are to be instead.
        signers: Keys that sign.
        heads: Where each stream goes on then; None for where it does now.
    """
    layout = read_layout(root)
    _, checkpoint = checkpoint_of(root)
    entries = change(read_entries(layout, checkpoint.size))
    shutil.rmtree(layout.log / "tile")
    size, root_hash = 0, EMPTY_ROOT
    for end in (*(at for at in rotation_sizes(layout.log) if at < len(entries)), len(entries)):
        growth = grow(size, entries[size:end], tile_reader(layout))  # who follows a change of key reads its tiles
        for name, data in growth.files.items():
            put(layout.log / name, data)
        size, root_hash = growth.size, growth.root
    note = sign_checkpoint(Checkpoint(origin=checkpoint.origin, size=size, root=root_hash), *signers)
    put(layout.log / "checkpoint", note)
    then = LockStore(layout.lock).heads() if heads is None else heads
    layout.lock.unlink()
    LockStore.create(layout.lock, note, size, then)
    shutil.rmtree(layout.log / FOLDER, ignore_errors=True)  # what witnesses signed speaks of the log before
    layout.catalog.unlink(missing_ok=True)
    with closing(Ledger(root, SCRATCH, writable=True, vkey=None, actor=None)):
        pass  # whoever opens it builds the catalog again


def config_digest(layout: Layout) -> str:
    """Return what the log says of `backstory.toml`."""
    return hashlib.sha256(layout.config_file.read_bytes()).hexdigest()
