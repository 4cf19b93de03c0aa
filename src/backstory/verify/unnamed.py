"""Files of `segments/` that hold records by no entry: what a crash leaves there, and what it cannot have left.

A sealer that stops before its commit leaves a segment whose records are still in the spool; a merge that stops leaves
one whose records are in other files by the log. Records that are in neither were in a log once.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from pathlib import Path

from backstory.errors import BackstoryError, FormatError
from backstory.records.canonical import JsonObject
from backstory.storage.disk import TEMPORARY_PREFIX
from backstory.storage.segment import segment_range
from backstory.storage.spool import Spool
from backstory.verify.audit import Audit
from backstory.verify.entries import Entries
from backstory.verify.held import Holdings, add_later, held_file
from backstory.verify.streams import spools_of

_LEFT_BY = "not looked into, it may be left by a stopped run of"


def check_unnamed(
    audit: Audit,
    entries: Entries,
    holdings: Holdings,
    spools: Sequence[Path],
    later: Callable[[], Sequence[JsonObject | None]],
) -> None:
    """Say of each file that no entry names where its records are, if that is known.

    Args:
        audit: The verification under way.
        entries: The log; where one could not be read nothing is said, as it may name what is here.
        holdings: Its manifests, and what was merged.
        spools: Spools of workers, which may hold streams the archive's own does not.
        later: Gives the entries that are in the log by now behind these.

    Raises:
        NotFoundError: One of the spools is not there.
    """
    if not entries.is_whole:
        return  # said already
    paths = [
        path
        for path in sorted(audit.layout.segments.glob("*"))
        if not path.name.startswith(TEMPORARY_PREFIX) and not _holds(path.name, holdings, entries.document)
    ]
    if not paths:
        return
    ranges = {path: segment_range(path.name) for path in paths}
    waiting = {path for path, held in ranges.items() if held and _is_in_spool(spools_of(audit.layout, spools), *held)}
    new = dict(enumerate(later(), len(entries)))  # after the spool, which is left after a commit
    now = copy.deepcopy(holdings)
    add_later(now, new)

    def read(index: int) -> JsonObject | None:
        return new.get(index) if index in new else entries.document(index)

    for path, held in ranges.items():
        if path.exists() and not _holds(path.name, now, read):
            _say(audit, path, held, now, in_spool=path in waiting)


def _say(audit: Audit, path: Path, held: tuple[str, int, int] | None, now: Holdings, *, in_spool: bool) -> None:
    place = f"segments/{path.name}"
    if held is None:
        audit.add("note", place, "no entry speaks of it")
        return
    stream, seq, end_seq = held
    if end_seq <= now.ends.get(stream, 0):
        what = f"by its name its records are in other files by the log: {_LEFT_BY} a merge"
        audit.add("note", place, what, stream=stream, seq=seq, end_seq=end_seq)
    elif in_spool:
        what = f"by its name its records are in the spool, and not sealed: {_LEFT_BY} a sealer"
        audit.add("note", place, what, stream=stream, seq=seq, end_seq=end_seq)
    else:
        what = "no entry speaks of it, and by its name its records are in no spool: the log was longer once, or it is"
        what = f"{what} of another archive, or of a worker whose spool was not named"
        meaning = f"records {seq} to {end_seq - 1} of stream {stream} may have been in the log and were taken out of it"
        audit.add("unknown", place, what, stream=stream, seq=seq, end_seq=end_seq, meaning=meaning)


def _holds(name: str, holdings: Holdings, read: Callable[[int], JsonObject | None]) -> bool:
    """Say whether by the log a file holds records now."""
    held = segment_range(name)
    if name in holdings.odd_names:
        return holdings.is_holder(holdings.odd_names[name])
    found = None if held is None else holdings.manifest_at(held[0], held[1])
    if found is None:
        return False
    try:
        return held_file(holdings.holder_of(found[0]), read).ref.name == name
    except FormatError:
        return False


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
