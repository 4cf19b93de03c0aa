"""`backstory init`: create an archive."""

from __future__ import annotations

from pathlib import Path

from backstory.cli.answer import print_json, print_text
from backstory.cli.options import Json


def init(path: Path, /, *, origin: str, json: Json = False) -> None:
    """Create an archive and print the public key to pin.

    Args:
        path: Directory that does not exist yet, or is empty.
        origin: Name of the log; by convention a URL without scheme, such as example.org/delays.
        json: Print one JSON document.
    """
    from backstory.ledger.ledger import create_archive
    from backstory.storage.world import World

    vkey = create_archive(path, origin, World())
    if json:
        print_json({"archive": str(path), "origin": origin, "vkey": vkey})
    else:
        print_text(f"created {path}\npublic key to pin: {vkey}\nkeep the key outside the archive")
