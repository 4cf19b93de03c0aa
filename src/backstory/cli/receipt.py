"""`backstory receipt`: the file that proves predictions to a stranger."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from backstory.cli.answer import print_json, print_text
from backstory.cli.archives import open_archive
from backstory.cli.options import ASKING, SEALED_STAY_SEALED, Asking, Opening
from backstory.errors import ConflictError

if TYPE_CHECKING:
    from backstory.verify.receipt import Receipt


def receipt(
    prediction: str,
    /,
    *more: str,
    output: Annotated[Path | None, Parameter(name=("--output", "-o"))] = None,
    field: Annotated[list[str] | None, Parameter(negative=())] = None,
    verifier: Annotated[bool, Parameter(negative=())] = False,
    asking: Asking = ASKING,
    opening: Opening = SEALED_STAY_SEALED,
) -> None:
    """Write the file that proves predictions to a stranger with the public key.

    Args:
        prediction: Id of the prediction, or a unique prefix.
        more: Further ones, in the same file.
        output: File to write. [default: the id with .tlog-proof, of several the first with .receipts, in the current
            directory]
        field: Open this sealed column and nothing else, such as `feature.age`; may be repeated.
        verifier: Write beside it, too, programs that check it without Backstory: for Python, Node and a browser.
        asking: Which archive.
        opening: Who asks; sealed values are then opened in the receipt.
    """
    from backstory.verify.receipt import verify_receipts
    from backstory.verify.standalone import verifier_files

    with open_archive(asking, opening) as archive:
        ids = [prediction, *more]
        made = archive.receipts(ids, fields=field) if more else archive.receipt(prediction, fields=field)
        checked = verify_receipts(made.data, vkey=archive.vkey)
        path = output or Path(f"{checked[0].id}{'.receipts' if more else '.tlog-proof'}")
        files = verifier_files() if verifier else {}
        in_the_way = [
            path,
            *(path.parent / name for name, data in files.items() if _is_other(path.parent / name, data)),
        ]
        for there in in_the_way:
            if there.exists():
                raise ConflictError(f"receipt: expected nothing at {there}; -o names another file")
        made.save(path)
        for name, data in files.items():
            (path.parent / name).write_bytes(data)
    _print(path, len(made.data), checked, [str(path.parent / name) for name in files], as_json=asking.json)


def _is_other(path: Path, data: bytes) -> bool:
    return path.exists() and path.read_bytes() != data


def _print(path: Path, size: int, checked: tuple[Receipt, ...], programs: list[str], *, as_json: bool) -> None:
    first = checked[0]
    if as_json:
        which = {"id": first.id} if len(checked) == 1 else {"ids": [receipt.id for receipt in checked]}
        print_json({**which, "path": str(path), "size": size, "tree_size": first.tree_size})
    else:
        what = f"receipt of prediction {first.id}" if len(checked) == 1 else f"receipts of {len(checked):,} predictions"
        beside = [f"programs that check it: {', '.join(programs)}"] if programs else []
        print_text("\n".join([f"{path}: {what} at tree size {first.tree_size}, {size:,} bytes", *beside]))
