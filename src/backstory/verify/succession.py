"""Which keys speak for a log: those that were pinned, what they were rotated to, and what its entries say of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256

from backstory.errors import BackstoryError, VerificationError
from backstory.records import canonical
from backstory.records.canonical import JsonObject
from backstory.records.succession import (
    ADDED_TYPE,
    CREATED_TYPE,
    RESTORED_TYPE,
    ROTATED_TYPE,
    parse_restored,
    parse_rotated,
)
from backstory.storage.disk import TEMPORARY_PREFIX, read_file
from backstory.storage.layout import Layout
from backstory.storage.rotations import ROTATIONS, read_rotations
from backstory.tlog.checkpoint import open_checkpoint
from backstory.tlog.key import ValidKey, VerifierKey, require_keys
from backstory.tlog.rotation import follow_rotations
from backstory.verify.audit import Audit
from backstory.verify.log import LogCheck

_MEANS_KEY = (
    "who signs for this log now is not shown by who signed before: its newer checkpoints may be somebody else's"
)
_MEANS_CONFIG = "where this archive keeps what, and which key it names, is not what the log says it is"


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """The keys an archive's checkpoint may be signed by.

    Attributes:
        keys: The keys, each with the sizes it speaks for.
        is_pinned: Whether they come, directly or by rotation, from outside.
        rotations: How often a key was followed to another.
    """

    keys: tuple[ValidKey, ...]
    is_pinned: bool
    rotations: int = 0


def accepted_keys(layout: Layout, vkey: str | Sequence[str] | None) -> Accepted:
    """Return the keys to verify an archive with.

    Args:
        layout: The archive.
        vkey: Keys pinned from outside; None to take the archive's own.

    Raises:
        VerificationError: No pinned key is the archive's or leads to it.
        FormatError: The archive's own key is malformed.
        InputError: A pinned key is malformed.
    """
    config = layout.config
    own = [VerifierKey.parse(text) for text in (config.vkey, config.ml_dsa) if text]
    pinned = tuple(ValidKey(key=key) for key in own) if vkey is None else require_keys(vkey)
    accepted: dict[str, ValidKey] = {}
    problem = "no change of key leads from one to the other"
    for valid in pinned:
        try:
            chain = follow_rotations(valid, read_rotations(layout.log))
        except BackstoryError as error:
            problem, chain = str(error), (valid,)
        for link in chain:
            accepted.setdefault(link.key.vkey, link)
    if not accepted.keys() & {key.vkey for key in own}:
        what = "its public key is not the pinned one: the archive is another's, or its key was swapped"
        if any(valid.key.name != config.origin for valid in pinned):
            what += f", or it was restored and has the origin {config.origin} since"
        raise VerificationError(f"{what} ({problem})")
    return Accepted(keys=tuple(accepted.values()), is_pinned=vkey is not None, rotations=len(accepted) - len(pinned))


@dataclass(slots=True, kw_only=True)
class Succession:
    """What the entries say of a log's origin and keys so far.

    Attributes:
        origin: Its origin.
        vkey: The key that speaks for it.
        config: SHA-256 of `backstory.toml`, in hex.
        ml_dsa: A second key; empty without one.
        past: Earlier origins, each with the number of entries the log had under it when it was restored.
        vkeys: Every key there was.
        rotated: Sizes of the trees whose last entry changes the key.
    """

    origin: str = ""
    vkey: str = ""
    config: str = ""
    ml_dsa: str = ""
    past: dict[str, int] = field(default_factory=dict)
    vkeys: set[str] = field(default_factory=set)
    rotated: set[int] = field(default_factory=set)


def check_succession(audit: Audit, log: LogCheck) -> Succession:
    """Check that the log's own entries lead to the origin, key and settings that `backstory.toml` has."""
    line = Succession()
    if not len(log.entries):
        audit.add("failed", "entry 0", "expected the entry archive.created, got an empty log", meaning=_MEANS_CONFIG)
        return line
    types = (CREATED_TYPE, ROTATED_TYPE, ADDED_TYPE, RESTORED_TYPE)
    for index, entry in log.entries.documents(*types):
        try:
            _follow(audit, log, line, index, entry)
        except BackstoryError as error:
            audit.add("failed", f"entry {index}", error, index=index, meaning=_MEANS_KEY)
    if log.entries.document(0) is not None:
        _check_config(audit, line)
    _check_rotation_files(audit, line)
    return line


def _follow(audit: Audit, log: LogCheck, line: Succession, index: int, entry: JsonObject) -> None:
    """Take what one entry says of the log's keys.

    Raises:
        BackstoryError: It does not follow from what was said before.
    """
    if (index == 0) is not (entry["type"] == CREATED_TYPE):
        raise VerificationError("expected archive.created as the first entry and nowhere else")
    if entry["type"] == CREATED_TYPE:
        line.origin, line.vkey = canonical.text_of(entry, "origin"), canonical.text_of(entry, "vkey")
        line.config = canonical.text_of(entry, "config")
    elif entry["type"] == ROTATED_TYPE:
        rotated = parse_rotated(entry)
        if rotated.retired != line.vkey:
            raise VerificationError("retires another key than the one that speaks for the log")
        line.vkey, line.config = rotated.vkey, rotated.config
        line.rotated.add(index + 1)
        line.vkeys.add(rotated.vkey)
        _check_rotation(audit, log, line.origin, index, rotated.retired, rotated.vkey)
    elif entry["type"] == ADDED_TYPE:
        line.ml_dsa, line.config = canonical.text_of(entry, "vkey"), canonical.text_of(entry, "config")
    else:
        _restore(audit, log, line, index, entry)
    line.vkeys.add(line.vkey)


def _restore(audit: Audit, log: LogCheck, line: Succession, index: int, entry: JsonObject) -> None:
    restored = parse_restored(entry)
    if (restored.previous_origin, restored.previous_vkey) != (line.origin, line.vkey):
        raise VerificationError("goes on with a log of another origin or key than the entries before it")
    root = log.root_at(index)
    if restored.previous.size != index or (root is not None and root.hex() != restored.previous.root):
        raise VerificationError("goes on with another tree than the entries before it")
    lost = "how many are lost is not known" if restored.lost is None else f"{restored.lost} entries after it are lost"
    what = f"restored: the log up to entry {index - 1} continues that of {line.origin}; {lost}"
    audit.add("note", f"entry {index}", what, index=index)
    line.past[line.origin] = index
    line.origin, line.vkey, line.config = restored.origin, restored.vkey, restored.config
    line.ml_dsa = ""


def _check_rotation(audit: Audit, log: LogCheck, origin: str, index: int, retired: str, vkey: str) -> None:
    """Check the checkpoint that both keys signed, in whatever incarnation it was made.

    Raises:
        BackstoryError: It is not there or does not hold.
    """
    size = index + 1
    paths = sorted(audit.layout.root.glob(f"log/*/{ROTATIONS}/{size}"))
    if not paths:
        raise VerificationError(f"changes the key, and the checkpoint {ROTATIONS}/{size} that both sign is not here")
    for path in paths:
        note = read_file(path)
        for key in (retired, vkey):
            checkpoint = open_checkpoint(note, origin, [VerifierKey.parse(key)])
            root = log.root_at(size)
            if checkpoint.size != size or (root is not None and root != checkpoint.root):
                place = path.relative_to(audit.layout.root).as_posix()
                raise VerificationError(f"changes the key, and {place} is of another tree than the entries")


def _check_config(audit: Audit, line: Succession) -> None:
    config = audit.layout.config
    if (line.origin, line.vkey) != (config.origin, config.vkey):
        what = "the log is not that of backstory.toml: its entries name another origin or key"
        audit.add("failed", "entry 0", what, index=0, meaning=_MEANS_KEY)
    if line.ml_dsa != config.ml_dsa:
        audit.add("failed", "backstory.toml", "its second key is not the one the log names", meaning=_MEANS_KEY)
    try:
        digest = sha256(read_file(audit.layout.config_file)).hexdigest()
    except BackstoryError as error:
        audit.add("unknown", "backstory.toml", error, meaning=_MEANS_CONFIG)
        return
    if digest != line.config:
        what = "its digest is not the one the log names last: it was changed"
        audit.add("failed", "backstory.toml", what, meaning=_MEANS_CONFIG)


def _check_rotation_files(audit: Audit, line: Succession) -> None:
    """Name files among the rotations that no entry speaks of."""
    if not line.vkey:
        return  # said already
    for path in sorted(audit.layout.log.glob(f"{ROTATIONS}/*")):
        if not path.name.startswith(TEMPORARY_PREFIX) and path.name not in {str(size) for size in line.rotated}:
            place = path.relative_to(audit.layout.root).as_posix()
            audit.add("failed", place, "no entry of the log changes its key at this size", meaning=_MEANS_KEY)
