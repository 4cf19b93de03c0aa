"""`backstory verify-erasure`: check a certificate of an erasure without any archive."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from backstory.cli.answer import print_json, print_text
from backstory.cli.options import Json
from backstory.errors import InputError


def verify_erasure(
    path: Path,
    /,
    *,
    vkey: Annotated[list[str] | None, Parameter(negative=())] = None,
    json: Json = False,
) -> None:
    """Check a certificate of an erasure against a public key. Needs no archive.

    Args:
        path: The certificate.
        vkey: Public key of the log, obtained from somewhere other than the certificate. [repeatable]
        json: Print one JSON document.
    """
    from backstory.verify.erasure_certificate import verify_erasure as check

    if vkey is None:
        raise InputError("verify-erasure: expected --vkey, the log's public key")
    proof = check(path, vkey=vkey)
    if json:
        print_json({"verdict": "verified", **proof.to_dict()})
    else:
        print_text(f"verified under the given key: {proof}")
