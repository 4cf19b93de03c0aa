"""Comparing a log with checkpoints kept elsewhere: in a file, on paper, in a monitor's or witness's store.

A log whose whole history was rewritten with its real key is consistent in itself. It is not consistent with what was
signed before, if anybody kept it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from backstory.errors import BackstoryError, FormatError, InputError
from backstory.storage.disk import TEMPORARY_PREFIX, read_file
from backstory.tlog.checkpoint import check_log_signatures, parse_checkpoint
from backstory.tlog.key import ValidKey
from backstory.tlog.limits import HASH_SIZE, NOTE_SIZE_MAX, TREE_SIZE_MAX
from backstory.tlog.note import Note, parse_note
from backstory.tlog.text import parse_base64
from backstory.verify.audit import Audit
from backstory.verify.log import LogCheck
from backstory.verify.receipt_file import note_in
from backstory.verify.succession import Succession

_PAPER = re.compile(r"\s*(0|[1-9][0-9]{0,18})[\s,:]+([0-9A-Fa-f]{64}|[A-Za-z0-9+/]{43}=)\s*")
_SIZE = re.compile(r"0|[1-9][0-9]{0,18}")
_MEANS_REWRITTEN = (
    "the log's past was rewritten, or another log is shown here: what was proven under the kept checkpoint and what is"
    " proven here cannot both be true"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptCheckpoint:
    """A checkpoint that somebody kept.

    Attributes:
        label: What findings call it.
        size: Its tree size.
        root: Its root.
        note: The signed note, where that was kept; None of what was copied from paper.
    """

    label: str
    size: int
    root: bytes
    note: Note | None = None


def read_kept(given: Sequence[str | Path]) -> list[KeptCheckpoint]:
    """Read checkpoints that a person gave.

    Args:
        given: Each a file with a signed note, a receipt or `size root`, a directory of such files as a monitor keeps
            them, or the text `size root`, the root in hex or base64.

    Raises:
        InputError: One is none of these.
        StorageError: A file cannot be read.
    """
    return [kept for one in given for kept in _read_one(one)]


def _read_one(given: str | Path) -> Iterator[KeptCheckpoint]:
    path = Path(given)
    if str(given).strip() and _is_there(path):
        if path.is_dir():
            yield from _read_folder(path)
            return
        kept = _read_bytes(read_file(path), path.name)
    else:
        kept = _read_bytes(str(given).encode(), "the given checkpoint")
    if kept is None:
        what = "expected a file with a signed checkpoint or receipt, a directory of such files, or the text `size root`"
        raise InputError(f"against: {what}, got neither ({path.name[:80]})")
    yield kept


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # a text that is too long for a name, or no name at all
        return False


def _read_folder(folder: Path) -> Iterator[KeptCheckpoint]:
    """Yield the checkpoints in a directory; what else is there, such as evidence, is passed over.

    Raises:
        InputError: There is none, or a file that is called as a monitor calls a checkpoint holds none.
    """
    found = False
    for path in sorted(folder.rglob("*")):
        is_note = path.is_file() and path.stat().st_size <= NOTE_SIZE_MAX
        if is_note and not path.name.startswith(TEMPORARY_PREFIX):
            kept = _read_bytes(read_file(path), path.relative_to(folder).as_posix())
            found = found or kept is not None
            if kept is None and _SIZE.fullmatch(path.name) is not None:
                raise InputError(f"against: expected a signed checkpoint in {path.relative_to(folder).as_posix()}")
            yield from [] if kept is None else [kept]
    if not found:
        raise InputError(f"against: expected signed checkpoints in the directory {folder.name}, got none")


def _read_bytes(data: bytes, label: str) -> KeptCheckpoint | None:
    try:
        note = parse_note(note_in(data))
        checkpoint = parse_checkpoint(note.text)
    except FormatError:
        return _read_paper(data, label)
    return KeptCheckpoint(label=label, size=checkpoint.size, root=checkpoint.root, note=note)


def _read_paper(data: bytes, label: str) -> KeptCheckpoint | None:
    try:
        match = _PAPER.fullmatch(data.decode("ascii"))
        if match is None or int(match[1]) > TREE_SIZE_MAX:
            return None
        text = match[2]
        is_hex = len(text) == 2 * HASH_SIZE
        root = bytes.fromhex(text) if is_hex else parse_base64(text, "root", HASH_SIZE)
    except (UnicodeDecodeError, FormatError):
        return None
    return KeptCheckpoint(label=label, size=int(match[1]), root=root)


def check_against(
    audit: Audit, log: LogCheck, kept: Sequence[KeptCheckpoint], line: Succession, keys: Sequence[ValidKey]
) -> None:
    """Check that the log contains checkpoints that were kept elsewhere.

    Args:
        audit: The verification.
        log: The log as it was checked.
        kept: The checkpoints.
        line: The log's origins and keys.
        keys: Keys that were accepted for it.
    """
    held = 0
    for one in kept:
        place = f"against {one.label}"
        origin = audit.layout.config.origin if one.note is None else parse_checkpoint(one.note.text).origin
        if origin != audit.layout.config.origin and one.size > line.past.get(origin, -1):
            why_not, meaning = _why_not(one, origin, line)
            audit.add("failed", place, f"is of {origin}: {why_not}", meaning=meaning)
            continue
        if not contains(audit, log, one.size, one.root, place):
            continue
        held += 1
        if one.note is not None and not _is_signed(one.note, origin, keys, line):
            what = "is not signed by a key that is accepted: it shows what you kept, not that the log said it"
            audit.add("note", place, what)
    if kept:
        audit.counts["kept checkpoints"], audit.totals["kept checkpoints"] = held, len(kept)


def contains(audit: Audit, log: LogCheck, size: int, root: bytes, place: str) -> bool:
    """Say whether the log begins with a tree, and add a finding where it does not, or where that is not known."""
    if size > len(log.entries):
        what = f"had {size} entries, the log has {len(log.entries)}: it was put back to an older state"
        meaning = f"entries {len(log.entries)} to {size - 1} were in the log and were taken out of it"
        audit.add("failed", place, what, index=len(log.entries), meaning=meaning)
        return False
    found = log.root_at(size)
    if found is None:
        what = f"the root at size {size} could not be recomputed: entries before it cannot be read"
        audit.add("unknown", place, what, index=size, meaning="whether the log is the one that was kept is not known")
        return False
    if found != root:
        what = f"at size {size} the log has root {found.hex()}, the kept one is {root.hex()}"
        audit.add("failed", place, what, index=max(size - 1, 0), meaning=_MEANS_REWRITTEN)
        return False
    return True


def _why_not(one: KeptCheckpoint, origin: str, line: Succession) -> tuple[str, str]:
    if origin not in line.past:
        return "another log", _MEANS_REWRITTEN
    left = line.past[origin]
    lost = f"entries {left} to {one.size - 1} of the log before were in it and are not in this one"
    return f"had {one.size} entries, and the archive was restored with {left} of them", lost


def _is_signed(note: Note, origin: str, keys: Sequence[ValidKey], line: Succession) -> bool:
    known = [valid for valid in keys if valid.key.vkey in line.vkeys or valid.key.name == origin]
    try:
        return bool(check_log_signatures(note, parse_checkpoint(note.text), origin, known))
    except BackstoryError:
        return False
