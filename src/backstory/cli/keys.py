"""`backstory keys`: which keys speak for the log, and changing them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

from backstory.cli.answer import print_json, print_text
from backstory.cli.archives import open_ledger
from backstory.cli.options import ASKING, Asking

Action = Literal["list", "rotate", "add-ml-dsa"]


def keys(action: Action, archive: Path | None = None, /, *, asking: Asking = ASKING) -> None:
    """List the keys of the log, or change them.

    list        print every key with the tree sizes it speaks for, as verifiers take it

    rotate      draw a new key, let both sign that it follows, destroy the old one

    add-ml-dsa  draw a second key, of type ML-DSA-44, that signs too from now on

    Args:
        action: What to do.
        archive: Directory of the archive, as --archive.
        asking: Which archive.
    """
    asking = asking if archive is None else replace(asking, archive=archive)
    if action == "list":
        _list(asking)
    elif action == "rotate":
        _rotate(asking)
    else:
        _add_ml_dsa(asking)


def _list(asking: Asking) -> None:
    from backstory.ledger.rotate import list_keys

    with open_ledger(asking) as ledger:
        texts = [valid.text for valid in list_keys(ledger)]
        authenticated = ledger.log.authenticated
    if asking.json:
        print_json({"authenticated": authenticated, "keys": texts})
    else:
        print_text("\n".join(texts))


def _rotate(asking: Asking) -> None:
    from backstory.ledger.rotate import rotate_key

    with open_ledger(asking, writable=True) as ledger:
        retired = ledger.layout.config.vkey
        valid = rotate_key(ledger)
    if asking.json:
        print_json({"from": valid.first, "retired": retired, "vkey": valid.key.vkey})
    else:
        print_text(
            f"rotated at tree size {valid.first}\npublic key to pin: {valid.key.vkey}\n"
            f"retired: {retired} until {valid.first}\nthe old secret key is destroyed here; destroy its copies too"
        )


def _add_ml_dsa(asking: Asking) -> None:
    from backstory.ledger.rotate import add_ml_dsa

    with open_ledger(asking, writable=True) as ledger:
        key = add_ml_dsa(ledger)
    if asking.json:
        print_json({"vkey": key.vkey})
    else:
        print_text(f"second key: {key.vkey}")
