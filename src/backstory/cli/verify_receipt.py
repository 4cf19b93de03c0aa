"""`backstory verify-receipt`: check a receipt without any archive."""

from __future__ import annotations

from pathlib import Path

from backstory.cli.answer import print_json, print_text
from backstory.cli.options import Json


def verify_receipt(path: Path, /, *, vkey: str, json: Json = False) -> None:
    """Check a receipt against a public key. Needs no archive.

    Args:
        path: The receipt.
        vkey: Public key of the log, obtained from somewhere other than the receipt.
        json: Print one JSON document.
    """
    from backstory.verify.receipt import verify_receipt as check

    checked = check(path, vkey=vkey)
    if json:
        print_json({"verdict": "verified", **checked.to_dict()})
    else:
        print_text(f"verified under the given key\n{checked}")
