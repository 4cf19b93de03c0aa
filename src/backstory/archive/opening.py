"""Creating and opening archives."""

from __future__ import annotations

import sys
from pathlib import Path

from backstory.archive.facade import Archive, Mode
from backstory.capture.recorder import Durability
from backstory.ledger.ledger import create_archive
from backstory.storage.world import World


def init(path: str | Path, *, origin: str, world: World | None = None) -> Archive:
    """Create an archive and open it for writing.

    Prints the public key: keep it somewhere else than the archive, and give it to `open(..., vkey=)`, `verify_receipt`
    and whoever audits. A key read from the archive itself authenticates nothing.

    Args:
        path: Directory that does not exist yet or is empty.
        origin: Name of the log; by convention a URL without scheme, such as `example.org/delays`.
        world: Clock, randomness and disk; for tests.

    Raises:
        ConflictError: There is something at `path`.
        InputError: The origin cannot be used.
        StorageError: The directory cannot be written.
    """
    vkey = create_archive(Path(path), origin, world or World())
    sys.stdout.write(f"public key to pin: {vkey}\n")
    return Archive(path, mode="rw", vkey=vkey, world=world)


def open_archive(
    path: str | Path,
    *,
    mode: Mode = "rw",
    actor: str | None = None,
    purpose: str | None = None,
    vkey: str | None = None,
    durability: Durability = "group",
    world: World | None = None,
) -> Archive:
    """Open an archive.

    Opening for writing completes what a crash left behind: a commit that was not published, streams whose writer died.

    Args:
        path: The archive's directory.
        mode: `rw`, or `r` to ask questions only.
        actor: Who is asking or writing; the log holds a commitment to it, not the name.
        purpose: Why sealed values are read; needed, with `actor`, to read any.
        vkey: The public key pinned when the archive was created; None trusts the archive's own.
        durability: `group`: a record is on disk at most 50 ms after it was made. `sync`: before the prediction returns.
        world: Clock, randomness and disk; for tests.

    Raises:
        NotFoundError: There is no archive.
        UnsupportedVersionError: It has a newer format.
        ForbiddenError: A purpose was given and the archive cannot record what is read for it.
        VerificationError: Its key is not the pinned one, or its log is damaged.
        StorageError: Its files cannot be read or, for `rw`, written.
    """
    return Archive(path, mode=mode, actor=actor, purpose=purpose, vkey=vkey, durability=durability, world=world)
