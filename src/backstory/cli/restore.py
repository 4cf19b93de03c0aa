"""`backstory restore`: begin a new log where the old one cannot go on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from backstory.cli.answer import print_json, print_text
from backstory.cli.options import Json, PublicKey
from backstory.cli.progress import progress
from backstory.lineage.plain import count_text

if TYPE_CHECKING:
    from backstory.ledger.restore import Restoration


def restore(
    archive: Path,
    /,
    *,
    last: Path | None = None,
    rolled_back: Annotated[bool, Parameter(negative=())] = False,
    vkey: PublicKey = None,
    json: Json = False,
) -> None:
    """Begin a new log with what is proven of the old one, and say in it what is lost.

    For an archive whose log is damaged, lost its end or its signing key, or was put back from a copy. The new log has
    another origin and key; the old one stays beside it as evidence, and its keys are destroyed.

    Args:
        archive: Directory of the archive.
        last: File with the newest signed checkpoint that anybody has: a witness's or a monitor's, or a receipt.
        rolled_back: Do it although log and lock store agree: both were put back from a copy, or the log's key is lost.
        vkey: Public key of the old log as `init` printed it, kept outside the archive.
        json: Print one JSON document.
    """
    from backstory.ledger.restore import restore as begin
    from backstory.storage.disk import read_file
    from backstory.storage.world import World

    with progress("restoring"):
        note = None if last is None else read_file(last)
        done = begin(archive, World(), vkey=vkey, last=note, rolled_back=rolled_back)
    if json:
        print_json(_document(done))
    else:
        print_text(_text(done))


def _document(done: Restoration) -> dict[str, object]:
    gaps = [{"end_seq": gap.end_seq, "first_seq": gap.first_seq, "stream": gap.stream} for gap in done.gaps]
    return {
        "adopted": done.adopted.records,
        "aside": list(done.adopted.aside),
        "gaps": gaps,
        "restored": done.restored.document(),
        "sealed": done.sealed,
    }


def _text(done: Restoration) -> str:
    restored = done.restored
    lost = (
        "how many entries are lost nobody here knows: no newer checkpoint was given"
        if restored.lost is None
        else f"{count_text(restored.lost, 'entry', 'entries')} lost, by the newest checkpoint known"
    )
    lines = [
        f"restored as {restored.origin}",
        f"public key to pin: {restored.vkey}",
        f"it goes on with {restored.previous.size} entries of {restored.previous_origin}",
        lost,
    ]
    if done.adopted.records:
        lines.append(f"{count_text(done.adopted.records, 'record')} in segment files without entry: named again")
    lines += [f"set aside below lost/: {name}" for name in done.adopted.aside]
    if done.sealed:
        lines.append(f"{count_text(done.sealed, 'record')} sealed from the spool")
    lines += [f"missing: records {gap.first_seq} to {gap.end_seq - 1} of stream {gap.stream}" for gap in done.gaps]
    return "\n".join(lines)
