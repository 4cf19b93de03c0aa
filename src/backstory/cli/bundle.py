"""`backstory bundle` and `backstory verify-bundle`: what an auditor asked for in one file, and its check."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from backstory.cli.answer import print_json, print_text
from backstory.cli.archives import require_named
from backstory.cli.ending import interrupted_by_signals
from backstory.cli.exit_codes import OK, PARTIAL
from backstory.cli.options import ASKING, SEALED_STAY_SEALED, Asking, Json, Opening
from backstory.cli.progress import progress
from backstory.errors import InputError


def bundle(
    *predictions: str,
    to: Path,
    model: str | None = None,
    since: str | None = None,
    until: str | None = None,
    where: str | None = None,
    case: str | None = None,
    open_: Annotated[list[str] | None, Parameter(name="--open", negative=())] = None,
    asking: Asking = ASKING,
    opening: Opening = SEALED_STAY_SEALED,
) -> int:
    """Write what an auditor asked for into one file that is checked without Backstory. The log records it.

    Args:
        predictions: Ids of predictions, or unique prefixes; or else what they have in common:
        to: The file to write, such as bundle.zip.
        model: All predictions of this model: NAME, or NAME:VERSION.
        since: Recorded at or after this moment, such as 2026-03-01T00:00:00Z.
        until: Recorded before this moment.
        where: SQL predicate, as `backstory search` takes it.
        case: Id of a request.
        open_: Sealed group to open, repeated for more; needs --actor and --purpose.
        asking: Which archive.
        opening: Who asks; the bundle says so, the log has a commitment to it.
    """
    import backstory

    require_named(asking)
    if opening.purpose is not None and opening.actor is None:
        raise InputError("bundle: expected --actor with --purpose")
    with (
        interrupted_by_signals(),
        progress("packing"),
        backstory.open(asking.archive, actor=opening.actor, purpose=opening.purpose, vkey=asking.vkey) as archive,
    ):
        made = archive.bundle(
            to, predictions, model=model, since=since, until=until, where=where, case=case, opened=open_ or ()
        )
    if asking.json:
        counts = {
            "not_compared": made.not_compared,
            "not_sealed": made.not_sealed,
            "records": made.records,
            "size": made.size,
        }
        print_json({**counts, "index": made.index, "manifest": made.digest, "path": str(made.path)})
    else:
        noun = "prediction" if made.records == 1 else "predictions"
        print_text(f"{made.path}: {made.records:,} {noun}, {made.size:,} bytes, entry {made.index} of the log")
        if made.not_compared:
            print_text(f"{made.not_compared:,} others not compared: what is asked of them is sealed")
        if made.not_sealed:
            print_text(f"{made.not_sealed:,} others not in the log yet, so left out: `backstory seal`, then ask again")
    return PARTIAL if made.not_compared or made.not_sealed else OK


def verify_bundle(path: Path, /, *, vkey: Annotated[list[str], Parameter(negative=())], json: Json = False) -> None:
    """Check an evidence bundle against a public key: every file, every receipt. Needs no archive.

    Args:
        path: The bundle.
        vkey: Public key of the log, obtained from somewhere other than the bundle; repeated where the log changed its
            key.
        json: Print one JSON document.
    """
    from backstory.verify import bundle as checks

    with progress("checking"):
        checked = checks.verify_bundle(path, vkey=vkey)
    if json:
        print_json({"verdict": "verified", **checked.to_dict()})
    else:
        print_text(f"verified under the given key\n{checked}")
