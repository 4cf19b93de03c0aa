"""`backstory promise` and `backstory promise-key`: the operator's signed word about a record that is not sealed yet."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from backstory.cli.answer import print_json, print_text
from backstory.cli.archives import open_archive, open_ledger
from backstory.cli.options import ASKING, Asking
from backstory.errors import ConflictError
from backstory.lineage.plain import count_text

if TYPE_CHECKING:
    from backstory.archive import Archive


def promise(
    prediction: str,
    /,
    *,
    output: Annotated[Path | None, Parameter(name=("--output", "-o"))] = None,
    asking: Asking = ASKING,
) -> None:
    """Write the signed promise that a prediction is on disk and will be in the log.

    Args:
        prediction: Id of the prediction, or a unique prefix.
        output: File to write. [default: the id with .promise, in the current directory]
        asking: Which archive.
    """
    with open_archive(asking) as archive:
        made = archive.promise(prediction)
    path = output or Path(f"{made.id}.promise")
    if path.exists():
        raise ConflictError(f"promise: expected nothing at {path}; -o names another file")
    made.save(path)
    if asking.json:
        print_json({"deadline": made.deadline, "id": made.id, "path": str(path), "size": len(made.data)})
    else:
        print_text(f"{path}: promise that prediction {made.id} is on disk and will be in the log by {made.deadline}")


def promise_key(
    *,
    delay: int | None = None,
    asking: Asking = ASKING,
) -> None:
    """Print the public key of promises, and their delay; with --delay switch them on, or change it.

    Args:
        delay: Promise that a record will be in the log so many seconds after it is on disk; whoever opens the archive
            for writing from now on does.
        asking: Which archive.
    """
    from backstory.archive.promising import promise_terms

    if delay is not None:
        with _to_write(asking) as archive:
            archive.promises(delay=delay)
    with open_ledger(asking) as ledger:
        vkey, seconds = promise_terms(ledger)
    if asking.json:
        print_json({"delay": seconds, "vkey": vkey})
    else:
        print_text(
            f"public key of promises: {vkey}\n"
            f"they promise: in the log {count_text(seconds, 'second', 'seconds')} after it is on disk, at the latest\n"
            "whoever holds promises keeps the key, outside the archive"
        )


def _to_write(asking: Asking) -> Archive:
    import backstory

    return backstory.open(asking.archive, vkey=asking.vkey, sealer="none")
