"""`backstory data prove` and `backstory verify-membership`: proofs of who and what is in a dataset or training set."""

from __future__ import annotations

import json as json_format
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from backstory.cli.answer import print_json, print_text
from backstory.cli.archives import open_archive
from backstory.cli.exit_codes import OK
from backstory.cli.options import Asking, Json, Opening
from backstory.errors import ConflictError, InputError

if TYPE_CHECKING:
    from backstory.verify.membership import Membership


def prove(
    version: str,
    subject: str | None,
    row: str | None,
    output: Path | None,
    asking: Asking,
    opening: Opening,
    *,
    verifier: bool,
) -> int:
    """Write the file that proves that a person or a row is in a version, or is not; see `data`."""
    from backstory.verify.membership import verify_membership
    from backstory.verify.standalone import membership_checker, verifier_files

    path = output or Path(re.sub(r"[^0-9A-Za-z_.-]", "-", version) + ".membership")
    programs: dict[Path, bytes] = {}
    if verifier:
        programs = {
            path.parent / "verify_membership.py": membership_checker(),
            path.parent / "verify_receipt.py": verifier_files()["verify_receipt.py"],
        }
    in_the_way = [path, *(file for file, content in programs.items() if file.exists() and file.read_bytes() != content)]
    for file in in_the_way:
        if file.exists():
            raise ConflictError(f"data prove: expected nothing at {file}; -o names another file")
    with open_archive(asking, opening) as archive:
        made = archive.data.prove(version, row=None if row is None else _row(row), subject=subject)
        checked = verify_membership(made.data, vkey=archive.vkey)
    made.save(path)
    for file, content in programs.items():
        file.write_bytes(content)
    if asking.json:
        print_json({**_without_values(checked), "path": str(path), "size": len(made.data)})
    else:
        beside = [f"programs that check it: {', '.join(map(str, programs))}"] if programs else []
        print_text(
            "\n".join(
                [f"{path}: {repr(checked)[1:-1].removeprefix('Membership: ')}, {len(made.data):,} bytes", *beside]
            )
        )
    return OK


def verify_membership(
    path: Path,
    /,
    *,
    vkey: Annotated[list[str], Parameter(negative=())],
    json: Json = False,
) -> None:
    """Check a proof of membership against a public key. Needs no archive.

    Args:
        path: The proof.
        vkey: Public key of the log, obtained from somewhere other than the proof; repeated where the log changed its
            key.
        json: Print one JSON document.
    """
    from backstory.verify.membership import verify_membership as check

    checked = check(path, vkey=vkey)
    if json:
        print_json({"verdict": "verified", **checked.to_dict()})
    else:
        print_text(f"verified under the given key\n{checked}")


def _without_values(checked: Membership) -> dict[str, Any]:
    return {name: value for name, value in checked.to_dict().items() if name not in {"row", "subject"}}


def _row(text: str) -> dict[str, Any]:
    try:
        row = json_format.loads(text)
    except ValueError as error:
        raise InputError("data prove: expected --row as a JSON object with a value for every column") from error
    if not isinstance(row, dict):
        raise InputError("data prove: expected --row as a JSON object with a value for every column")
    return row
