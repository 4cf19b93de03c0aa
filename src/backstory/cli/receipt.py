"""`backstory receipt`: the file that proves one prediction to a stranger."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from backstory.cli.answer import print_json, print_text
from backstory.cli.archives import open_archive
from backstory.cli.options import ASKING, SEALED_STAY_SEALED, Asking, Opening
from backstory.errors import ConflictError


def receipt(
    prediction: str,
    /,
    *,
    output: Annotated[Path | None, Parameter(name=("--output", "-o"))] = None,
    asking: Asking = ASKING,
    opening: Opening = SEALED_STAY_SEALED,
) -> None:
    """Write the file that proves one prediction to a stranger with the public key.

    Args:
        prediction: Id of the prediction, or a unique prefix.
        output: File to write. [default: the id with .tlog-proof, in the current directory]
        asking: Which archive.
        opening: Who asks; sealed values are then opened in the receipt.
    """
    from backstory.verify.receipt import verify_receipt

    with open_archive(asking, opening) as archive:
        made = archive.receipt(prediction)
        checked = verify_receipt(made.data, vkey=archive.vkey)
        path = output or Path(f"{checked.id}.tlog-proof")
        if path.exists():
            raise ConflictError(f"receipt: expected nothing at {path}; -o names another file")
        made.save(path)
    facts = {"id": checked.id, "path": str(path), "size": len(made.data), "tree_size": checked.tree_size}
    if asking.json:
        print_json(facts)
    else:
        print_text(
            f"{path}: receipt of prediction {checked.id} at tree size {checked.tree_size}, {len(made.data):,} bytes"
        )
