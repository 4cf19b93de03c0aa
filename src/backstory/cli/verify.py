"""`backstory verify`: is the archive complete and untouched?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from backstory.cli.answer import print_json, print_text
from backstory.cli.archives import require_named
from backstory.cli.exit_codes import FAILED, OK, UNVERIFIED
from backstory.cli.options import ASKING, Asking
from backstory.cli.progress import progress

_Several = Parameter(negative=())


def verify(
    *,
    workers: int | None = None,
    spool: Annotated[list[Path] | None, _Several] = None,
    state: Path | None = None,
    full: Annotated[bool, _Several] = False,
    against: Annotated[list[str] | None, _Several] = None,
    policy: Path | None = None,
    max_age: int | None = None,
    tsa_root: Annotated[list[Path] | None, _Several] = None,
    asking: Asking = ASKING,
) -> int:
    """Check the whole archive from its bytes.

    Of several public keys, each with the sizes it speaks for, --vkey takes a text with one on each line.

    Args:
        workers: Processes that hash. [default: one a core]
        spool: Directory of a worker's spool whose streams are not lost; may be repeated.
        state: File outside the archive in which you remember what was checked: the next run reads what is new, and goes
            on where one was interrupted.
        full: Read everything again, whatever the state says.
        against: A checkpoint you kept, which the log must contain: a file with a signed note, a receipt, a directory of
            such files, or the text `SIZE ROOT`; may be repeated.
        policy: File of a C2SP policy: witnesses that must have cosigned.
        max_age: Within how many seconds the policy's witnesses must have cosigned.
        tsa_root: File of a certificate of a time-stamping authority to believe; may be repeated.
        asking: Which archive.
    """
    from backstory.verify.archive import verify_archive

    require_named(asking)
    with progress("verifying") as report_progress:
        report = verify_archive(
            asking.archive,
            vkey=asking.vkey,
            workers=workers,
            spools=spool or [],
            state=state,
            full=full,
            against=against or [],
            policy=policy,
            max_age_seconds=max_age,
            tsa_roots=tsa_root or [],
            progress=report_progress,
        )
    if asking.json:
        print_json(report.to_dict())
    else:
        print_text(str(report))
    if report.failed:
        return FAILED
    return UNVERIFIED if report.incomplete else OK
