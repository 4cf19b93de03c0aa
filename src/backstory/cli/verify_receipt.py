"""`backstory verify-receipt`: check a file of receipts without any archive."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from backstory.cli.answer import print_json, print_text
from backstory.cli.options import Json


def verify_receipt(
    path: Path,
    /,
    *,
    vkey: Annotated[list[str] | None, Parameter(negative=())] = None,
    policy: Path | None = None,
    max_age: int | None = None,
    json: Json = False,
) -> None:
    """Check a receipt, or a file of many, against a public key. Needs no archive.

    Args:
        path: The receipt.
        vkey: Public key of the log, obtained from somewhere other than the receipt; repeated where the log changed its
            key.
        policy: File of a C2SP policy: witnesses that must have cosigned, and without --vkey the log's key.
        max_age: Within how many seconds the policy's witnesses must have cosigned.
        json: Print one JSON document.
    """
    from backstory.storage.world import World
    from backstory.verify.receipt import describe, verify_receipts

    now = World().now_ns() // 10**9
    checked = verify_receipts(path, vkey=vkey, policy=policy, max_age_seconds=max_age, now=now)
    if json:
        found = [receipt.to_dict() for receipt in checked]
        print_json({"verdict": "verified", **(found[0] if len(found) == 1 else {"receipts": found})})
    else:
        whose = "the given key" if vkey else "a key of the given policy"
        log = f"in the log of {checked[0].origin} at tree size {checked[0].tree_size}"
        total = f": {len(checked)} predictions {log}" if len(checked) > 1 else ""
        print_text(f"verified under {whose}{total}\n{describe(checked)}")
