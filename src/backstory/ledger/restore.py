"""Beginning a new log where an old one cannot go on: its end is lost, or it was put back from a copy.

The new log has another origin and another key, so nobody takes it for the old one. It begins with the entries of the
old one that are still proven by a signed checkpoint, and then says what it is: which log it goes on with, up to where,
and how many entries are lost by the newest checkpoint anybody has. Why it carries the old entries: docs/adr/0015.

Writing `backstory.toml` is the one moment at which the archive has the new log. What is cut short before it, the next
restore begins again; what is cut short after it, the next restore ends.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import shutil
import string
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from backstory.errors import (
    BackstoryError,
    ConflictError,
    ForbiddenError,
    FormatError,
    NotFoundError,
    StorageError,
    VerificationError,
)
from backstory.ledger.adopt import Adopted, adopt_segments, close_streams
from backstory.ledger.collect import WRAP_KEY
from backstory.ledger.forget import forget_again
from backstory.ledger.ledger import Ledger
from backstory.ledger.log import LogReader
from backstory.ledger.seal import seal_all
from backstory.ledger.sequencer import Sequencer, hold_log
from backstory.ledger.signing import SEED, key_name, ml_dsa_key_name, next_key_name
from backstory.records import canonical
from backstory.records.identity import time_text
from backstory.records.manifest import MANIFEST_TYPE, parse_manifest
from backstory.records.succession import RESTORED_TYPE, Head, Restored, parse_restored
from backstory.storage.anchors import anchor_sizes, cosigned_at
from backstory.storage.disk import Disk, read_file, storage_errors
from backstory.storage.keys import KEY_SIZE, KeyStore, hold_keys
from backstory.storage.layout import ArchiveConfig, Layout, read_layout
from backstory.storage.lock import LockStore
from backstory.storage.log_file import read_log_file
from backstory.storage.master import DIRECTORY_MODE
from backstory.storage.rotations import ROTATIONS, rotation_sizes
from backstory.storage.world import World
from backstory.tlog.checkpoint import Checkpoint, open_checkpoint, parse_checkpoint, sign_checkpoint
from backstory.tlog.hashing import EMPTY_ROOT, hash_leaf, hash_node
from backstory.tlog.key import KeyKind, VerifierKey
from backstory.tlog.note import parse_note
from backstory.tlog.signer import Ed25519Signer
from backstory.tlog.tile import TILE_WIDTH, decode_bundle, tile_at
from backstory.tlog.tree import grow, root_at
from backstory.verify.receipt_file import note_in

_BATCH = 64 * TILE_WIDTH
"""Entries that are carried over at a time."""
FIRST = "1"
"""The incarnation of a log that was never restored."""
_UNFINISHED = "unfinished"
"""File in the new log's directory, for as long as something is left to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """Records of a stream that are neither in the log nor in its spool.

    Attributes:
        stream: The stream, in hex.
        first_seq: The first of them.
        end_seq: One more than the last.
    """

    stream: str
    first_seq: int
    end_seq: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Restoration:
    """What a restore did.

    Attributes:
        restored: What the new log says of itself.
        sealed: How many records were sealed from the spool.
        adopted: What became of segment files whose entries are lost.
        gaps: Records that are known to be missing.
    """

    restored: Restored
    sealed: int
    adopted: Adopted
    gaps: tuple[Gap, ...]


def restore(
    root: Path,
    world: World,
    *,
    vkey: str | Sequence[str] | None = None,
    last: bytes | None = None,
    rolled_back: bool = False,
) -> Restoration:
    """Begin a new log with what is proven of the old one, or end a restore that was cut short.

    Args:
        root: The archive.
        world: Clock, randomness, disk.
        vkey: The old log's public key, or keys, pinned from outside.
        last: The newest signed checkpoint of the old log that anybody has, as a witness or a monitor gives it, or a
            receipt or file of receipts that holds it.
        rolled_back: Whether to do it although log and lock store agree: both were put back from a copy, or the signing
            key is lost.

    Raises:
        ConflictError: There is nothing to restore.
        BusyError: Another process restores it, or changes its keys.
        VerificationError: The pinned key is another, no signed checkpoint is of the entries that are here, or one is of
            another branch of the log.
        FormatError: `last` is no signed checkpoint and no receipt, or `backstory.toml` or the log is malformed.
        StorageError: Something cannot be read or written.
    """
    last = None if last is None else note_in(last)
    keys = read_layout(root).keys
    world.disk.make_directory(keys, mode=DIRECTORY_MODE)  # they may be what is lost
    with hold_keys(keys):
        layout = read_layout(root)
        if not (layout.log / _UNFINISHED).exists() or _refusal(layout, world, None) is not None:
            former = layout
            _replace(layout, world, vkey, last, rolled_back=rolled_back)
        else:
            former = _former(layout)
        return _finish(root, world, former)


def _replace(
    layout: Layout, world: World, vkey: str | Sequence[str] | None, last: bytes | None, *, rolled_back: bool
) -> None:
    """Begin the new log, if there is reason to."""
    reader = LogReader(layout, vkey)
    known = _known(layout, reader, last)
    if not rolled_back and _proven(layout.log, known) == _newest(known):
        _insist_need(layout, world, vkey)
    with hold_log(layout.log):
        known = _known(layout, reader, last)  # again: until now somebody may have gone on writing
        kept, newest = _proven(layout.log, known), _newest(known)
        last_known = None if last is None and newest == kept else newest
        _begin(layout, world, kept, last_known, _key_at(reader, kept.size))


def _newest(known: list[Checkpoint]) -> Checkpoint:
    return max(known, key=lambda checkpoint: checkpoint.size)


def _former(layout: Layout) -> Layout:
    """Return the log that a restore began to replace and was cut short."""
    number = str(_number(layout.config) - 1)
    return Layout(layout.root, replace(layout.config, incarnation=number, lock=_lock_of(layout.config, number)))


def _number(config: ArchiveConfig) -> int:
    if not config.incarnation.isdecimal():
        raise FormatError(f"restoring: expected a number as incarnation, got {config.incarnation!r}")
    return int(config.incarnation)


def _finish(root: Path, world: World, former: Layout) -> Restoration:
    """Do what may be done again: name segments, seal the spool, and at last protect the former log."""
    with contextlib.closing(Ledger(root, world, writable=True, vkey=None, actor=None)) as ledger:
        forget_again(ledger)  # before anything is read: whom a copy brought back
        adopted = adopt_segments(ledger, former.config.incarnation)
        before = sum(ledger.lock.heads().values())
        with contextlib.suppress(FormatError, VerificationError):  # of a stream that has a gap or is damaged
            seal_all(ledger)
        if not ledger.keys.has(WRAP_KEY):  # or its streams may be in spools that are not here
            close_streams(ledger)
        restored = parse_restored(ledger.find_entries(RESTORED_TYPE)[-1])
        done = Restoration(
            restored=restored,
            sealed=sum(ledger.lock.heads().values()) - before,
            adopted=adopted,
            gaps=tuple(_gaps(ledger, former.lock, restored.previous_origin)),
        )
    with storage_errors("protecting", former.log):
        for path in [*former.log.rglob("*"), former.log]:
            path.chmod(0o555 if path.is_dir() else 0o444)
    log = read_layout(root).log
    world.disk.remove(log / _UNFINISHED)
    with storage_errors("removing", log):
        world.disk.sync_directory(log)  # one that came back would have the next restore take this one for its own
    return done


def _key_at(reader: LogReader, size: int) -> str:
    """Return the key of the log that speaks for a size, the newest where there are two."""
    speaking = [key for key in reader.keys if key.covers(size) and key.key.kind is KeyKind.ED25519]
    return speaking[-1].key.vkey if speaking else reader.layout.config.vkey


def _known(layout: Layout, reader: LogReader, last: bytes | None) -> list[Checkpoint]:
    """Return every signed checkpoint of the log that is here or was given."""
    origin = layout.config.origin
    sources: list[Callable[[], bytes]] = [
        lambda: read_file(layout.log / "checkpoint"),
        lambda: LockStore(layout.lock, writable=False).checkpoint()[1],
        *(partial(read_file, layout.log / ROTATIONS / str(size)) for size in rotation_sizes(layout.log)),
        *(partial(_cosigned, layout, size) for size in anchor_sizes(layout)),
    ]
    known = [] if last is None else [open_checkpoint(last, origin, reader.keys)]
    for read in sources:
        with contextlib.suppress(FormatError, StorageError, VerificationError):  # damaged: it says nothing
            known.append(open_checkpoint(read(), origin, reader.keys))
    if not known:
        raise VerificationError("restoring: no signed checkpoint of the log is here; give one with --last")
    return known


def _cosigned(layout: Layout, size: int) -> bytes:
    return cosigned_at(layout, size) or b""


def _insist_need(layout: Layout, world: World, vkey: str | Sequence[str] | None) -> None:
    """Insist that an archive whose newest known checkpoint is proven cannot be opened for writing all the same.

    Raises:
        ConflictError: It can, or could with the key.
    """
    refusal = _refusal(layout, world, vkey)
    if isinstance(refusal, ForbiddenError):  # its key may be elsewhere: that it is not here is no damage
        raise ConflictError(
            "restoring: log and lock store agree, and only the signing key is not in the key store. Put it back; or go"
            " on with the signer that has it, as signer=; if it is lost, say so with --rolled-back",
        ) from refusal
    if refusal is None:
        raise ConflictError(
            "restoring: log and lock store agree, and no newer checkpoint is known. If both were put back from a copy,"
            " say so with --rolled-back, best with the newest checkpoint anybody has as --last"
        )


def _refusal(layout: Layout, world: World, vkey: str | Sequence[str] | None) -> BackstoryError | None:
    """Return why an archive cannot be opened for writing; None if it can."""
    try:
        Ledger(layout.root, world, writable=True, vkey=vkey, actor=None).close()
    except (FormatError, ForbiddenError, StorageError, VerificationError) as error:
        return error
    return None


def _proven(log: Path, known: list[Checkpoint]) -> Checkpoint:
    """Return the largest tree of signed checkpoints that the entries on disk lead to.

    Raises:
        VerificationError: They lead to none; or one of a smaller tree is not of this log.
    """
    for kept in sorted(known, key=lambda checkpoint: checkpoint.size, reverse=True):
        with contextlib.suppress(FormatError, StorageError):
            roots = _roots(log, {other.size for other in known if other.size <= kept.size})
            if roots[kept.size] != kept.root:
                continue
            for other in known:
                if other.size <= kept.size and roots[other.size] != other.root:
                    raise VerificationError(
                        f"restoring: a signed checkpoint of {other.size} entries is of another branch than the log"
                        " here, which is signed too: somebody signed two logs with one key. Keep both as evidence;"
                        " restore a copy of the archive from before they parted"
                    )
            return kept
    raise VerificationError(
        "restoring: the entries here lead to no signed checkpoint; put back the directory"
        f" log/{log.name} of any earlier moment, or give an older checkpoint with --last"
    )


def _roots(log: Path, sizes: set[int]) -> dict[int, bytes]:
    """Return the roots that the entries on disk have at sizes, all from one reading: there may be many checkpoints."""
    roots = {0: EMPTY_ROOT}
    subtrees: list[bytes] = []  # of full subtrees, from left to right, each smaller than the one before
    for size, entry in enumerate(_entries(log, 0, max(sizes)), 1):
        subtrees.append(hash_leaf(entry))
        for _ in range((size & -size).bit_length() - 1):
            right = subtrees.pop()
            subtrees[-1] = hash_node(subtrees[-1], right)
        if size in sizes:
            root = subtrees[-1]
            for left in reversed(subtrees[:-1]):
                root = hash_node(left, root)
            roots[size] = root
    return roots


def _entries(log: Path, first: int, end: int) -> Iterator[bytes]:
    """Yield entries `first`, a multiple of 256, to `end`, exclusive, from their bundles."""
    for index in range(first // TILE_WIDTH, -(-end // TILE_WIDTH)):
        bundle = tile_at(end, None, index)
        yield from decode_bundle(read_log_file(log, bundle), bundle.width)


def _begin(layout: Layout, world: World, kept: Checkpoint, newest: Checkpoint | None, vkey: str) -> None:
    """Write the new log, its key and its lock store, and make it the archive's; `vkey` spoke for the old one."""
    old = layout.config
    first_origin = str(canonical.parse_object(next(_entries(layout.log, 0, kept.size)), "entry 0").get("origin"))
    number = str(_number(old) + 1)
    signer = Ed25519Signer.from_seed(f"{first_origin}/{number}", world.random_bytes(KEY_SIZE))
    lock = _free_lock(layout, number, signer.name)
    after = replace(old, origin=signer.name, vkey=signer.vkey, incarnation=number, lock=lock, ml_dsa="")
    new = Layout(layout.root, after)
    with storage_errors("removing", new.log):
        shutil.rmtree(new.log, ignore_errors=True)  # of a restore that was cut short
    with storage_errors("removing", new.lock):
        new.lock.unlink(missing_ok=True)
    world.disk.make_directory(new.staged)
    heads = _carry(layout, new, kept, world)
    KeyStore(new.keys, world.disk).put(key_name(after), {SEED: signer.seed})
    note = sign_checkpoint(Checkpoint(origin=after.origin, size=kept.size, root=kept.root), signer)
    world.disk.write(new.log / "checkpoint", note)
    restored = Restored(
        origin=after.origin,
        vkey=after.vkey,
        config=hashlib.sha256(after.encode()).hexdigest(),
        previous_origin=old.origin,
        previous_vkey=vkey,
        previous=Head(size=kept.size, root=kept.root.hex()),
        last_known=None if newest is None else Head(size=newest.size, root=newest.root.hex()),
        lost=None if newest is None else max(newest.size - kept.size, 0),
    )
    world.disk.make_directory(new.lock.parent)  # the disk it was on may be what is lost
    sequencer = Sequencer(
        lambda: new, LockStore.create(new.lock, note, kept.size, heads), lambda _: (signer,), world.disk
    )
    sequencer.commit([{"time": time_text(world.now_ns()), "v": 1, **restored.document()}])
    with storage_errors("removing", new.catalog):
        new.catalog.unlink(missing_ok=True)  # it may speak of entries that the new log has not
    keys = KeyStore(new.keys, world.disk)
    for name in (key_name(old), next_key_name(old), ml_dsa_key_name(old)):
        keys.discard(name)  # before: at no moment can both logs be signed
    world.disk.write(new.log / _UNFINISHED, b"")
    world.disk.write(new.config_file, after.encode())  # from here on the archive has the new log


def _lock_of(config: ArchiveConfig, number: str, letter: str = "") -> str:
    """Return the lock store of another incarnation: beside the one of this."""
    lock = Path(config.lock)
    stem = lock.stem if config.incarnation == FIRST else re.sub(f"-{config.incarnation}[b-z]?$", "", lock.stem)
    return str(lock.with_name(stem + ("" if number == FIRST else f"-{number}{letter}") + lock.suffix))


def _free_lock(layout: Layout, number: str, origin: str) -> str:
    """Return where the new log's lock store goes: where none is, but for what a restore that was cut short left.

    Raises:
        ConflictError: There is no room.
    """
    for letter in ("", *string.ascii_lowercase[1:]):
        name = _lock_of(layout.config, number, letter)
        path = layout.root / name
        if not path.exists() or _is_left_over(layout, number, path, origin):
            return name
    raise ConflictError(f"restoring: there are lock stores at {path} and beside it already; are they still in use?")


def _is_left_over(layout: Layout, number: str, lock: Path, origin: str) -> bool:
    """Say whether a lock store was made by a restore of this archive that was cut short: then its key is here too."""
    unused = replace(layout.config, incarnation=number)
    try:
        signer = Ed25519Signer.from_seed(origin, KeyStore(layout.keys, Disk()).key(key_name(unused), SEED))
        note = LockStore(lock, writable=False).checkpoint()[1]
        open_checkpoint(note, origin, [VerifierKey.parse(signer.vkey)])
    except (NotFoundError, FormatError, StorageError, VerificationError):
        return False
    return True


def _carry(old: Layout, new: Layout, kept: Checkpoint, world: World) -> dict[str, int]:
    """Write the entries of a tree into a new log, and return how far they seal each stream."""
    heads: dict[str, int] = {}
    read_new = partial(read_log_file, new.log)
    for first in range(0, kept.size, _BATCH):
        end = min(first + _BATCH, kept.size)
        entries = list(_entries(old.log, first, end))
        for name, data in grow(first, entries, read_new).files.items():
            world.disk.make_directory((new.log / name).parent)
            world.disk.write(new.log / name, data)
        for index, entry in enumerate(entries, first):
            document = canonical.parse_object(entry, f"entry {index}")
            if document.get("type") == MANIFEST_TYPE:
                manifest = parse_manifest(document)
                heads[manifest.stream] = manifest.end_seq
    if root_at(kept.size, read_new) != kept.root:
        raise VerificationError("restoring: what was written does not lead to the root it was read with")
    return heads


def _gaps(ledger: Ledger, old_lock: Path, old_origin: str) -> Iterator[Gap]:
    """Yield for each stream what is missing behind its end in the log, as its spool and the old lock store tell."""
    heads, reached = ledger.lock.heads(), {}
    with contextlib.suppress(FormatError, StorageError):
        lock = LockStore(old_lock, writable=False)
        if parse_checkpoint(parse_note(lock.checkpoint()[1]).text).origin == old_origin:
            reached = lock.heads()
    for stream in ledger.spool.stream_names():
        with contextlib.suppress(BackstoryError):  # damaged: sealing and verifying say so
            frame = next(ledger.spool.frames(ledger.spool.info(stream), heads.get(stream, 0)), None)
            if frame is not None:
                reached[stream] = frame.first_seq
    for stream, end in sorted(reached.items()):
        if end > heads.get(stream, 0):
            yield Gap(stream=stream, first_seq=heads.get(stream, 0), end_seq=end)
