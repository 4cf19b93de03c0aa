"""Checking what others said about a log's checkpoints: cosignatures and time stamps kept beside it.

Anchors are additions: a log is whole without them, and that one is missing shows only to whoever asks for it with a
policy or an authority's certificate. What is here must hold.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from backstory.errors import BackstoryError, FormatError, InputError, StorageError, VerificationError
from backstory.storage.anchors import CHECKPOINT, COSIGNED, FOLDER, STAMP_ENDING, anchor_sizes, stamp_name
from backstory.storage.disk import TEMPORARY_PREFIX, read_file, storage_errors
from backstory.tlog.checkpoint import Checkpoint, open_checkpoint
from backstory.tlog.cosignature import find_cosignatures
from backstory.tlog.key import ValidKey, VerifierKey
from backstory.tlog.note import parse_note
from backstory.tlog.policy import Policy
from backstory.verify.audit import Audit
from backstory.verify.time_stamp import Stamp, UnknownAuthorityError, read_stamp, require_client

if TYPE_CHECKING:
    from cryptography.x509 import Certificate


_MEANS_STRANGER = "by when these entries were there is open without the certificate of the authority that stamped them"


@dataclass(frozen=True, slots=True, kw_only=True)
class Anchor:
    """What is kept about one checkpoint and holds.

    Attributes:
        size: Its tree size.
        witnesses: Names of the policy's witnesses that cosigned it, if they make the quorum; else empty.
        stamps: What authorities said about when it existed.
        strangers: How many stamps are of other authorities than the audit goes by.
    """

    size: int
    witnesses: tuple[str, ...]
    stamps: tuple[Stamp, ...]
    strangers: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class AnchorRules:
    """What an audit goes by when it looks at anchors.

    Attributes:
        keys: Keys of the log.
        root_at: Gives the root of the first so many entries as recomputed from them; None where it could not be.
        size_now: Gives the size of the log now, which may have grown since its checkpoint was read.
        roots: Certificates of the authorities to believe; none to check only what stamps are over.
        policy: Whose cosignatures to check; None to check only that cosigned notes are this log's.
        now: Seconds since the epoch, by which cosignatures of the future are refused; None for any.
    """

    keys: tuple[VerifierKey | ValidKey, ...]
    root_at: Callable[[int], bytes | None]
    size_now: Callable[[], int]
    roots: tuple[Certificate, ...] = ()
    policy: Policy | None = None
    now: int | None = None


def check_anchors(audit: Audit, rules: AnchorRules) -> tuple[Anchor, ...]:
    """Check the anchors of a log.

    Args:
        audit: Is told what was found; its count `anchors` is set.
        rules: What to go by.

    Returns:
        One for each tree size with anchors, in ascending order; without what did not hold.

    Raises:
        InputError: There are authorities to believe, and the library for time stamps is not installed.
    """
    if rules.roots:
        require_client()
    folder = audit.layout.log / FOLDER
    try:
        sizes = anchor_sizes(audit.layout)
        others = {path.name for path in folder.iterdir()} - {str(size) for size in sizes} if sizes else set()
    except (StorageError, OSError) as error:
        audit.add("unknown", _place(audit), error)
        return ()
    for name in sorted(others):
        audit.add("failed", _place(audit, name), "does not belong here")
    anchors = tuple(_check_anchor(audit, rules, size) for size in sizes)
    audit.counts["anchors"] = len(anchors)
    stamps = [stamp for anchor in anchors for stamp in anchor.stamps]
    if rules.roots and not any(stamp.authenticated for stamp in stamps):
        audit.add("unknown", _place(audit), "no checkpoint has a time stamp under the given certificates")
    if rules.policy is not None and rules.policy.quorum is not None and not any(a.witnesses for a in anchors):
        audit.add("unknown", _place(audit), "no checkpoint kept here is cosigned as the policy demands")
    stamped = [(-anchor.size, one.time) for anchor in anchors for one in anchor.stamps if one.authenticated]
    if stamped:
        size, moment = min(stamped)
        what = f"time stamps under the given certificates: {len(stamped)}; the tree of size {-size} was there by"
        audit.add("note", _place(audit, str(-size)), f"{what} {moment}")
    _say_strangers(audit, anchors)
    if stamps and not rules.roots:
        what = f"time stamps over checkpoints of this log: {len(stamps)}; who made them is open without the certificate"
        audit.add("note", _place(audit), f"{what} of their authority")
    return anchors


def _say_strangers(audit: Audit, anchors: tuple[Anchor, ...]) -> None:
    """Say which stamps are of authorities that nobody asked to believe: open where none that holds is as new."""
    held = max((anchor.size for anchor in anchors if any(one.authenticated for one in anchor.stamps)), default=-1)
    what = "time stamps of authorities that the given certificates do not lead to"
    older, newer = (
        [one for one in anchors if one.strangers and (one.size > held) is is_newer] for is_newer in (False, True)
    )
    if older:
        place = _place(audit, str(older[-1].size))
        audit.add(
            "note", place, f"{what}: {sum(one.strangers for one in older)}, over no larger tree than one that holds"
        )
    if newer:
        count, size = sum(one.strangers for one in newer), newer[-1].size
        which = f"{what}: {count}, the newest over a tree of size {size}, and none that holds is over one as large"
        audit.add("unknown", _place(audit, str(size)), which, meaning=_MEANS_STRANGER)


def _check_anchor(audit: Audit, rules: AnchorRules, size: int) -> Anchor:
    folder = audit.layout.log / FOLDER / str(size)
    witnesses: tuple[str, ...] = ()
    stamps: list[Stamp] = []
    strangers = 0
    try:
        with storage_errors("listing", folder):
            names = sorted(path.name for path in folder.iterdir() if not path.name.startswith(TEMPORARY_PREFIX))
    except StorageError as error:
        audit.add("unknown", _place(audit, str(size)), error)
        names = []
    for name in names:
        place = _place(audit, str(size), name)
        try:
            data = read_file(folder / name)
            if name in {CHECKPOINT, COSIGNED}:
                checkpoint = _check_note(audit, rules, size, data)
                witnesses = witnesses or _check_cosignatures(rules, data, checkpoint)
            elif name.endswith(STAMP_ENDING):
                stamps.append(_check_stamp(audit, rules, size, name, data))
            else:
                audit.add("failed", place, "does not belong here")
        except UnknownAuthorityError:
            strangers += 1
        except StorageError as error:
            audit.add("unknown", place, error)
        except InputError as error:  # the library is not here and was not asked for
            audit.add("note", place, error)
        except BackstoryError as error:
            audit.add("failed", place, error)
    return Anchor(size=size, witnesses=witnesses, stamps=tuple(stamps), strangers=strangers)


def _check_note(audit: Audit, rules: AnchorRules, size: int, note: bytes) -> Checkpoint:
    """Check that a note is a checkpoint of this log at this size.

    Raises:
        VerificationError: It is not signed by the log, or is of another tree than the log.
        FormatError: It is malformed.
    """
    checkpoint = open_checkpoint(note, audit.layout.config.origin, rules.keys)
    if checkpoint.size != size:
        raise VerificationError(f"is a checkpoint of tree size {checkpoint.size}, expected {size}")
    if size > (now := rules.size_now()):
        raise VerificationError(f"the log signed {size} entries once and has {now}: it was put back or cut short")
    root = rules.root_at(size)
    if root is not None and root != checkpoint.root:
        raise VerificationError(
            f"the log signed another tree of size {size} than the one here: its history was changed"
        )
    return checkpoint


def _check_cosignatures(rules: AnchorRules, note: bytes, checkpoint: Checkpoint) -> tuple[str, ...]:
    """Return the witnesses that cosigned, if they make the quorum.

    Raises:
        VerificationError: A line of one of the policy's witnesses does not hold.
    """
    policy = rules.policy
    if policy is None:
        return ()
    find_cosignatures(parse_note(note), checkpoint, [witness.key for witness in policy.witnesses])
    try:
        return tuple(witness.name for witness in policy.check(note, keys=rules.keys, now=rules.now).witnesses)
    except VerificationError:
        return ()  # every line holds; they are not enough, or of the future


def _check_stamp(audit: Audit, rules: AnchorRules, size: int, name: str, data: bytes) -> Stamp:
    """Check a time stamp against the log's own tree, or against the note beside it where that is not known.

    Raises:
        VerificationError: It does not hold, or is over something else.
        FormatError: It is malformed.
    """
    if stamp_name(data) != name:
        raise FormatError(f"time stamp: its bytes are not those it is named after ({name})")
    root = rules.root_at(size)
    if root is None:
        note = read_file(audit.layout.log / FOLDER / str(size) / CHECKPOINT)
        checkpoint = open_checkpoint(note, audit.layout.config.origin, rules.keys)
    else:
        checkpoint = Checkpoint(origin=audit.layout.config.origin, size=size, root=root)
    return read_stamp(data, checkpoint.encode().encode(), rules.roots)


def _place(audit: Audit, *names: str) -> str:
    return "/".join(["log", audit.layout.log.name, FOLDER, *names])
