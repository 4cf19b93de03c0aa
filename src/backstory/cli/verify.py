"""`backstory verify`: is the archive complete and untouched?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from backstory.cli.answer import print_json, print_text
from backstory.cli.archives import open_archive
from backstory.cli.exit_codes import FAILED, OK, UNVERIFIED
from backstory.cli.options import ASKING, Asking
from backstory.cli.progress import progress
from backstory.errors import FormatError, StorageError, VerificationError

if TYPE_CHECKING:
    from backstory.verify.finding import VerificationReport


def verify(
    *,
    workers: int | None = None,
    spool: Annotated[list[Path] | None, Parameter(negative=())] = None,
    asking: Asking = ASKING,
) -> int:
    """Check the whole archive from its bytes.

    Args:
        workers: Processes that hash. [default: one a core]
        spool: Directory of a worker's spool whose streams are not lost; may be repeated.
        asking: Which archive.
    """
    with progress("verifying") as report_progress:
        report = _check(asking, {"workers": workers, "spools": spool or [], "progress": report_progress})
    if asking.json:
        print_json(report.to_dict())
    else:
        print_text(str(report))
    if report.failed:
        return FAILED
    return UNVERIFIED if report.incomplete else OK


def _check(asking: Asking, options: dict[str, Any]) -> VerificationReport:
    """Verify through the archive, which checks the catalog too; without it where it is too damaged to open."""
    try:
        with open_archive(asking) as archive:
            return archive.verify(check=False, **options)
    except (VerificationError, FormatError, StorageError):
        from backstory.verify.archive import verify_archive

        report = verify_archive(asking.archive, vkey=asking.vkey, **options)
        if not report.failed and not report.incomplete:
            raise  # what keeps it from opening is nothing the report would tell
        return report
