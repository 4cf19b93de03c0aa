"""`backstory drill`: would faults and frauds be caught?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from backstory.cli.answer import print_json, print_text
from backstory.cli.archives import require_named
from backstory.cli.ending import interrupted_by_signals
from backstory.cli.exit_codes import FAILED, OK, UNVERIFIED
from backstory.cli.options import ASKING, SEALED_STAY_SEALED, Asking, Opening
from backstory.cli.progress import progress
from backstory.errors import InputError


def drill(
    *,
    sample: int | None = None,
    only: Annotated[list[str] | None, Parameter(negative=())] = None,
    seed: int = 0,
    walks: int = 5,
    report: Path | None = None,
    entry: Annotated[bool, Parameter(negative="--no-entry")] = True,
    workers: int | None = None,
    asking: Asking = ASKING,
    opening: Opening = SEALED_STAY_SEALED,
) -> int:
    """Plant every kind of fault and fraud in copies of the archive, and see who catches it, and how fast.

    The archive itself is only read, until at the end an entry in its log says that the drill was held. Exit code 20:
    something planted was not caught; 21: everything planted was, but something could not be planted or replayed.
    Predictions with sealed values are walked with --actor and --purpose, and the log says that they were read.

    Args:
        sample: Take no more than the oldest so many records into the copies, as far as the log can be cut there.
        only: Plant this alone: a name such as `edit-record` or a kind such as `forged receipt`; may be repeated.
        seed: Chooses the predictions that are walked from why over replay to receipt.
        walks: How many predictions to walk.
        report: File for the report: canonical JSON where it ends in `.json`, otherwise text.
        entry: Let the log say that the drill was held.
        workers: Processes that hash. [default: one a core]
        asking: Which archive.
        opening: Who opens sealed values in the walks.
    """
    from backstory.drill.hold import hold_drill, insist_recordable, record_drill
    from backstory.drill.openings import Reader
    from backstory.storage.disk import Disk

    require_named(asking)
    if walks < 0 or (sample is not None and sample < 1):
        raise InputError("drill: expected --walks of 0 or more, and --sample of 1 or more")
    if report is not None and report.resolve().is_relative_to(asking.archive.resolve()):
        raise InputError("drill: expected a file for the report outside the archive")
    if (opening.actor is None) != (opening.purpose is None):
        raise InputError("drill: expected both --actor and --purpose, got one of them")
    reader = None
    if opening.actor is not None and opening.purpose is not None:
        reader = Reader(actor=opening.actor, purpose=opening.purpose, role=opening.role, case=opening.for_case)
    if entry or reader is not None:
        insist_recordable(asking.archive, asking.vkey, opens=reader is not None)
    with interrupted_by_signals(), progress("drilling") as tell:
        held = hold_drill(
            asking.archive,
            vkey=asking.vkey,
            sample=sample,
            only=only or [],
            seed=seed,
            walks=walks,
            workers=workers,
            reader=reader,
            progress=tell,
        )
    if report is not None:
        Disk().write(report, held.data if report.suffix == ".json" else f"{held}\n".encode())
    index = record_drill(asking.archive, held, asking.vkey, opening.actor) if entry else None
    if asking.json:
        print_json(held.to_dict() | {"entry": index, "report": held.digest})
    else:
        print_text(str(held))
        print_text(
            "\nno entry says that it was held" if index is None else f"\nentry {index} of the log says that it was held"
        )
    if held.failed:
        return FAILED
    return UNVERIFIED if held.incomplete else OK
