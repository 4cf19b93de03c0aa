"""`backstory init`: create an archive."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from backstory.cli.answer import print_json, print_text
from backstory.cli.options import Json


def init(
    path: Path,
    /,
    *,
    origin: str,
    lock: Path | None = None,
    vault: Path | None = None,
    keys: Path | None = None,
    master: Path | None = None,
    ml_dsa: Annotated[bool, Parameter(negative=())] = False,
    json: Json = False,
) -> None:
    """Create an archive and print the public key to pin.

    Args:
        path: Directory that does not exist yet, or is empty.
        origin: Name of the log; by convention a URL without scheme, such as example.org/delays.
        lock: File of the lock store, best on another disk and in no backup of the archive.
        vault: Directory of sealed values of people; in the archive unless given.
        keys: Directory of the keys, best with other backups than the vault; in the archive unless given.
        master: Directory of master keys and of tombstones, best where no copy of the archive goes.
        ml_dsa: Sign with a second key too, of type ML-DSA-44.
        json: Print one JSON document.
    """
    from backstory.ledger.create import create_archive
    from backstory.storage.world import World

    vkey = create_archive(path, origin, World(), lock=lock, vault=vault, keys=keys, master=master)
    second = _add_ml_dsa(path) if ml_dsa else None
    if json:
        print_json({"archive": str(path), "ml_dsa": second, "origin": origin, "vkey": vkey})
        return
    print_text(f"created {path}\npublic key to pin: {vkey}")
    if second is not None:
        print_text(f"second key: {second}")
    print_text("keep the key outside the archive")


def _add_ml_dsa(path: Path) -> str:
    from backstory.cli.archives import open_ledger
    from backstory.cli.options import Asking
    from backstory.ledger.rotate import add_ml_dsa

    with open_ledger(Asking(archive=path), writable=True) as ledger:
        return add_ml_dsa(ledger).vkey
