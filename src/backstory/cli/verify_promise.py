"""`backstory verify-promise`: whether a promise was kept."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from backstory.cli.answer import print_json, print_text
from backstory.cli.exit_codes import FAILED, OK, UNVERIFIED
from backstory.cli.options import Json
from backstory.errors import InputError


def verify_promise(
    path: Path,
    /,
    *,
    vkey: Annotated[list[str] | None, Parameter(negative=())] = None,
    promise_vkey: str | None = None,
    log: Path | None = None,
    receipt: Path | None = None,
    policy: Path | None = None,
    as_of: str | None = None,
    json: Json = False,
) -> int:
    """Check a promise, and whether the record it is about came into the log.

    Ends with 0 where it was kept, with 20 where it was broken or does not verify, and with 21 where neither is shown.

    Args:
        path: The promise.
        vkey: Public key of the log, obtained from somewhere other than the operator's disk. [repeatable]
        promise_vkey: Public key of promises; without it those that the log names.
        log: The log to look into: an archive, or a directory with its checkpoint and tiles.
        receipt: A receipt of the record, instead of the log.
        policy: C2SP policy file the log's checkpoint, or the receipt's, must meet; its witnesses say how new it is.
        as_of: When you got the log, RFC 3339; without it the time of its last entry counts.
        json: Print one JSON document.
    """
    from backstory.verify.promise import verify_promise as check

    if vkey is None and (log is not None or receipt is not None):
        raise InputError("verify-promise: expected --vkey, the log's public key, with --log or --receipt")
    if promise_vkey is None and log is None:
        raise InputError(
            "verify-promise: expected --promise-vkey, the public key of promises; or --vkey and --log, which names it"
        )
    checked = check(
        path,
        vkey=vkey,
        promise_vkey=promise_vkey,
        log=log,
        receipt=receipt,
        policy=policy,
        as_of=None if as_of is None else _seconds(as_of),
    )
    if json:
        print_json(checked.to_dict())
    else:
        print_text(str(checked))
    return {"kept": OK, "broken": FAILED, "pending": UNVERIFIED}[checked.verdict]


def _seconds(moment: str) -> int:
    try:
        given = datetime.fromisoformat(moment)
    except ValueError as error:
        raise InputError("verify-promise: expected --as-of as RFC 3339, such as 2026-11-23T12:00:00Z") from error
    if given.tzinfo is None:
        raise InputError("verify-promise: expected --as-of with a time zone, such as 2026-11-23T12:00:00Z")
    return int(given.timestamp())
