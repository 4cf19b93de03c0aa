"""Opening archives for commands: to read, unless somebody said who asks for sealed values and why."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from backstory.cli.options import ARCHIVE_VARIABLE, SEALED_STAY_SEALED, Asking, Opening
from backstory.errors import ForbiddenError, InputError, NotFoundError

if TYPE_CHECKING:
    from backstory.archive import Archive
    from backstory.ledger.ledger import Ledger
    from backstory.storage.layout import Layout


@contextmanager
def open_archive(asking: Asking, opening: Opening = SEALED_STAY_SEALED, *, writes: bool = False) -> Iterator[Archive]:
    """Open an archive for a question.

    It is opened for writing only to open sealed values, as the log then records that they were read, or where the
    command `writes` what it found into the log.

    Raises:
        InputError: An actor without a purpose, or a purpose without an actor.
    """
    import backstory

    require_named(asking)
    if (opening.actor is None) != (opening.purpose is None):
        raise InputError("sealed values: expected both --actor and --purpose, got one of them")
    mode = "rw" if writes or opening.actor is not None else "r"
    who = {"actor": opening.actor, "purpose": opening.purpose, "role": opening.role, "case": opening.for_case}
    options = who | {"vkey": asking.vkey}
    with backstory.open(asking.archive, mode=mode, **options) as archive:  # type: ignore[arg-type]
        yield archive


def open_acting(asking: Asking, opening: Opening, what: str) -> Archive:
    """Open an archive for somebody who acts in it, with a purpose or without one.

    Args:
        asking: Which archive.
        opening: Who acts.
        what: What they do, for the error message.

    Raises:
        ForbiddenError: Nobody was named.
    """
    import backstory

    require_named(asking)
    if opening.actor is None:
        raise ForbiddenError(f"{what}: expected --actor: the record says who acted")
    return backstory.open(
        asking.archive,
        actor=opening.actor,
        purpose=opening.purpose,
        role=opening.role,
        case=opening.for_case,
        vkey=asking.vkey,
    )


@contextmanager
def open_ledger(asking: Asking, *, writable: bool = False) -> Iterator[Ledger]:
    """Open the stores of an archive, for commands about the log itself."""
    from backstory.ledger.ledger import Ledger
    from backstory.storage.world import World

    require_named(asking)
    if writable and asking.archive.is_dir() and not os.access(asking.archive, os.W_OK):
        raise ForbiddenError(f"opening archive: the directory {asking.archive} cannot be written")
    with closing(Ledger(asking.archive, World(), writable=writable, vkey=asking.vkey, actor=None)) as ledger:
        yield ledger


def tree_size(as_of: str | None, size_at: Callable[[str], int]) -> int | None:
    """Return the tree size that --as-of means; `size_at` gives that of a moment.

    Raises:
        QueryError: It is no tree size and no moment.
    """
    from backstory.lineage.reconcile import moment_ns

    if as_of is None or as_of.isdecimal():
        return None if as_of is None else int(as_of)
    moment_ns(as_of, "--as-of: expected a tree size, or a moment")
    return size_at(as_of)


def find_layout(asking: Asking) -> Layout:
    """Return where the files of an archive are, for commands that need none of its stores.

    Raises:
        VerificationError: Its public key is not the pinned one.
    """
    from backstory.ledger.log import LogReader
    from backstory.storage.layout import read_layout

    require_named(asking)
    layout = read_layout(asking.archive)
    LogReader(layout, asking.vkey)
    return layout


def require_named(asking: Asking) -> None:
    """Insist that the present directory is an archive where nobody named another."""
    if asking.archive == Path() and not Path("backstory.toml").is_file():
        raise NotFoundError(f"no archive in this directory: give -a DIR or set {ARCHIVE_VARIABLE}")
