"""Files of `segments/` that hold records by no entry: what a crash leaves there, and what it cannot have left.

A sealer that stops before its commit leaves a segment whose records are still in the spool; a merge that stops leaves
one whose records are in other files by the log. Records that are in neither were in a log once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from backstory.errors import BackstoryError
from backstory.records.canonical import JsonObject
from backstory.records.manifest import Manifest
from backstory.storage.disk import TEMPORARY_PREFIX
from backstory.storage.segment import segment_range
from backstory.storage.spool import Spool
from backstory.verify.audit import Audit
from backstory.verify.held import held_files, read_on
from backstory.verify.streams import spools_of

_LEFT_BY = "not looked into, it may be left by a stopped run of"


def check_unnamed(
    audit: Audit,
    entries: Sequence[JsonObject | None],
    manifests: Sequence[tuple[int, Manifest]],
    spools: Sequence[Path],
    later: Callable[[], Sequence[JsonObject | None]],
) -> None:
    """Say of each file that no entry names where its records are, if that is known.

    Args:
        audit: The verification under way.
        entries: The log; where one could not be read nothing is said, as it may name what is here.
        manifests: Its manifests, with their indexes.
        spools: Spools of workers, which may hold streams the archive's own does not.
        later: Gives the entries that are in the log by now behind these.

    Raises:
        NotFoundError: One of the spools is not there.
    """
    if None in entries:
        return  # said already
    named = {file.ref.name for file in held_files(entries, manifests)[0]}
    paths = [path for path in sorted(audit.layout.segments.glob("*")) if path.name not in named]
    ranges = {path: segment_range(path.name) for path in paths if not path.name.startswith(TEMPORARY_PREFIX)}
    waiting = {path for path, held in ranges.items() if held and _is_in_spool(spools_of(audit.layout, spools), *held)}
    log, all_manifests = list(entries), list(manifests)
    read_on(log, all_manifests, later())  # after the spool, which is left after a commit
    current = {file.ref.name for file in held_files(log, all_manifests)[0]}
    ends = {manifest.stream: manifest.end_seq for _, manifest in all_manifests}
    for path, held in ranges.items():
        if path.name in current or not path.exists():
            continue
        place = f"segments/{path.name}"
        if held is None:
            audit.add("note", place, "no entry speaks of it")
        elif held[2] <= ends.get(held[0], 0):
            audit.add("note", place, f"by its name its records are in other files by the log: {_LEFT_BY} a merge")
        elif path in waiting:
            audit.add("note", place, f"by its name its records are in the spool, and not sealed: {_LEFT_BY} a sealer")
        else:
            what = (
                "no entry speaks of it, and by its name its records are in no spool: the log was longer once, or it is"
            )
            audit.add("unknown", place, f"{what} of another archive, or of a worker whose spool was not named")


def _is_in_spool(spools: Sequence[Spool], stream: str, first: int, end: int) -> bool:
    """Say whether records of a stream are in one of some spools, all of them."""
    for spool in spools:
        if stream not in spool.stream_names():
            continue
        try:
            frames = list(spool.frames(spool.info(stream), first))
        except BackstoryError:
            continue  # said of the spool
        if frames and frames[0].first_seq <= first and frames[-1].first_seq + frames[-1].count >= end:
            return True
    return False
