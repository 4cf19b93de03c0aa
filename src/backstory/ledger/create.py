"""Creating an archive: its directories, its keys, its first entry."""

from __future__ import annotations

import hashlib
from pathlib import Path

from backstory.errors import ConflictError, FormatError, InputError
from backstory.ledger.sequencer import Sequencer
from backstory.ledger.signing import SEED, key_name
from backstory.records.canonical import JsonObject
from backstory.records.identity import time_text
from backstory.records.succession import CREATED_TYPE
from backstory.storage.keys import KEY_SIZE, KeyStore
from backstory.storage.layout import CONFIG_NAME, FORMAT, ArchiveConfig, Layout
from backstory.storage.lock import LockStore
from backstory.storage.master import DIRECTORY_MODE
from backstory.storage.world import World
from backstory.tlog.checkpoint import Checkpoint, sign_checkpoint
from backstory.tlog.hashing import EMPTY_ROOT
from backstory.tlog.signer import Ed25519Signer, Signer


def create_archive(
    root: Path,
    origin: str,
    world: World,
    *,
    lock: Path | None = None,
    vault: Path | None = None,
    keys: Path | None = None,
    master: Path | None = None,
    signer: Signer | None = None,
) -> str:
    """Create an archive and its keys, and write the first entry.

    Args:
        root: Directory that does not exist yet, or is empty.
        origin: Name of the log and of its key; by convention a URL without scheme.
        world: Clock, randomness, disk.
        lock: File of the lock store, best where no copy of the archive goes; None to keep it in the archive.
        vault: Directory of sealed values; None to keep it in the archive.
        keys: Directory of the keys, best with other backups than the vault; None to keep it in the archive.
        master: Directory of master keys and tombstones, best where no copy of the archive goes; None to keep it in the
            archive.
        signer: Signs in place of a key in the key store, and has the origin as its name.

    Returns:
        The public key to pin, as a C2SP verifier key.

    Raises:
        ConflictError: There is something at `root`, or where the lock store or one of the directories is to be.
        InputError: The origin is not usable as a key name, or is not the signer's.
    """
    if (root / CONFIG_NAME).is_file():
        raise ConflictError(f"creating archive: an archive is there; open it with backstory.open({str(root)!r})")
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise ConflictError(f"creating archive: expected nothing or an empty directory at {root}")
    lock = None if lock is None else lock.absolute()
    if lock is not None and lock.exists():
        raise ConflictError(f"creating archive: expected no lock store at {lock}")
    places = {"vault": vault, "keys": keys, "master": master}
    elsewhere = {name: place.absolute() for name, place in places.items() if place is not None}
    for name, place in elsewhere.items():
        if place.exists() and (not place.is_dir() or any(place.iterdir())):
            raise ConflictError(f"creating archive: expected nothing or an empty directory for the {name} at {place}")
    if not origin or '"' in origin or "\\" in origin or not origin.isprintable():
        raise InputError("creating archive: expected an origin such as 'example.org/delays'")
    if signer is not None and signer.name != origin:
        raise InputError(f"creating archive: expected a signer whose key is called {origin!r}, as the log is")
    seed = world.random_bytes(KEY_SIZE)
    try:
        first = signer or Ed25519Signer.from_seed(origin, seed)
    except FormatError as error:
        raise InputError(f"creating archive: the origin cannot be the name of a key: {error}") from error
    settings = {name: str(place) for name, place in {"lock": lock, **elsewhere}.items() if place is not None}
    config = ArchiveConfig(origin=origin, vkey=first.vkey, **settings)
    layout = Layout(root, config)
    _make_directories(layout, world)
    if signer is None:
        KeyStore(layout.keys, world.disk).put(key_name(config), {SEED: seed})
    note = sign_checkpoint(Checkpoint(origin=origin, size=0, root=EMPTY_ROOT), first)
    world.disk.write(layout.log / "checkpoint", note)
    lock_store = LockStore.create(layout.lock, note)
    Sequencer(lambda: layout, lock_store, lambda _: (first,), world.disk).commit([_created(config, world)])
    world.disk.write(layout.config_file, config.encode())  # last: before it, the directory is not an archive
    return config.vkey


def _make_directories(layout: Layout, world: World) -> None:
    for folder in (layout.staged, layout.segments, layout.blobs, layout.spool, layout.lock.parent):
        world.disk.make_directory(folder)
    for private in (layout.vault, layout.keys, layout.master):
        world.disk.make_directory(private, mode=DIRECTORY_MODE)


def _created(config: ArchiveConfig, world: World) -> JsonObject:
    return {
        "config": hashlib.sha256(config.encode()).hexdigest(),
        "format": FORMAT,
        "origin": config.origin,
        "time": time_text(world.now_ns()),
        "type": CREATED_TYPE,
        "v": 1,
        "vkey": config.vkey,
    }
