"""Creating and opening archives."""

from __future__ import annotations

import sys
from pathlib import Path

from backstory.archive.facade import Archive
from backstory.archive.sealing import Sealer
from backstory.archive.who import Mode
from backstory.capture.policy import BUFFER_SIZE, Durability, OnFailure, OnFull, Policy
from backstory.ledger.create import create_archive
from backstory.lineage.source import Kept
from backstory.storage.master import KeyWrapper, Wrappers
from backstory.storage.world import World
from backstory.tlog.signer import Signer


def init(
    path: str | Path,
    *,
    origin: str,
    lock: str | Path | None = None,
    vault: str | Path | None = None,
    keys: str | Path | None = None,
    master: str | Path | None = None,
    signer: Signer | None = None,
    wrapper: KeyWrapper | Wrappers | None = None,
    world: World | None = None,
) -> Archive:
    """Create an archive and open it for writing.

    Prints the public key: keep it somewhere else than the archive, and give it to `open(..., vkey=)`, `verify_receipt`
    and whoever audits. A key read from the archive itself authenticates nothing.

    Args:
        path: Directory that does not exist yet or is empty.
        origin: Name of the log; by convention a URL without scheme, such as `example.org/delays`.
        lock: File of the lock store, best on another disk and in no backup of the archive: who puts back an older copy
            of the archive does not put it back with it. None keeps it in the archive.
        vault: Directory of sealed values of people. None keeps it in the archive.
        keys: Directory of the keys, best with other backups than the vault. None keeps it in the archive.
        master: Directory of master keys and of tombstones, best where no copy of the archive goes: who puts back an
            older copy then brings back nobody who was erased. None keeps it in the archive.
        signer: Signs in place of a key file; see `open`.
        wrapper: Wraps key files in place of master keys in `master`; see `open`.
        world: Clock, randomness and disk; for tests.

    Raises:
        ConflictError: There is something at `path`, `lock`, `vault`, `keys` or `master`.
        InputError: The origin cannot be used.
        StorageError: The directory cannot be written.
    """
    places = {"lock": lock, "vault": vault, "keys": keys, "master": master}
    given = {name: None if place is None else Path(place) for name, place in places.items()}
    vkey = create_archive(Path(path), origin, world or World(), signer=signer, **given)
    sys.stdout.write(f"public key to pin: {vkey}\n")
    return Archive(path, mode="rw", vkey=vkey, signer=signer, wrapper=wrapper, world=world)


def open_archive(
    path: str | Path,
    *,
    mode: Mode = "rw",
    actor: str | None = None,
    purpose: str | None = None,
    role: str | None = None,
    case: str | None = None,
    vkey: str | None = None,
    signer: Signer | None = None,
    wrapper: KeyWrapper | Wrappers | None = None,
    durability: Durability = "group",
    on_full: OnFull = "block",
    on_failure: OnFailure = "closed",
    spill: str | None = None,
    buffer_size: int = BUFFER_SIZE,
    sealer: Sealer = "process",
    keep: Kept = "copy",
    world: World | None = None,
) -> Archive:
    """Open an archive.

    Opening for writing completes what a crash left behind: a commit that was not published, streams whose writer died.

    Args:
        path: The archive's directory.
        mode: `rw`, or `r` to ask questions only.
        actor: Who writes, or asks for sealed values; the log holds a commitment to it, not the name. Alone it opens no
            sealed values.
        purpose: Why sealed values are read; needed, with `actor`, to read any.
        role: Under which role `actor` acts; needed once an access policy is in force, and then one they were given.
        case: For which case, such as the id of a request; under a policy needed to see anything about a person.
        vkey: The public key pinned when the archive was created; None trusts the archive's own. Where the key was
            rotated since, the pinned one is followed to the one that is in use.
        signer: Signs checkpoints in place of the key file: whatever has a `name`, a `vkey` and `sign(message)`, such as
            a hardware module or a service. Then this process seals, and none beside it.
        wrapper: Wraps and unwraps key files in place of the master keys in files: whatever has a `name`,
            `wrap(name, data)` and `unwrap(name, data)`, such as a key service, for all key domains or one for each.
            Then too this process seals.
        durability: `group`: a record is on disk at most 50 ms after it was made. `sync`: before the prediction returns.
            `async`: at most 5 s after it was made.
        on_full: Where records come faster than they can be written, `block` lets the caller wait, `refuse` refuses and
            counts them, `spill` writes them to another directory where the first cannot be written.
        on_failure: `closed`: a prediction that cannot be recorded is not given out. `open`: it is, and is counted.
        spill: That directory, best on another disk.
        buffer_size: Bytes of single records one kind of record may hold in memory until they are written.
        sealer: `process`: once there is much to seal, a process beside this one does it, until this one closes the
            archive or ends. `none`: what is recorded is sealed by `flush` and `close`, or by a sidecar.
        keep: What `source` does where it is not told: `copy` keeps the rows, `reference` where they are, of all that is
            read from files, queries and tables.
        world: Clock, randomness and disk; for tests.

    Raises:
        NotFoundError: There is no archive.
        UnsupportedVersionError: It has a newer format.
        ForbiddenError: An actor, a purpose, a role, a case or a signer was given with `r`, which records nothing; or
            the signing key is not here; or `actor` does not have the role, which is recorded.
        InputError: A purpose, a role or a case was given without an actor.
        VerificationError: Its key is not the pinned one, its log is damaged, or, for `rw`, log and lock store are not
            of one moment.
        StorageError: Its files cannot be read or, for `rw`, written.
    """
    policy = Policy(durability=durability, on_full=on_full, on_failure=on_failure, spill=spill, buffer_size=buffer_size)
    return Archive(
        path,
        mode=mode,
        actor=actor,
        purpose=purpose,
        role=role,
        case=case,
        vkey=vkey,
        signer=signer,
        wrapper=wrapper,
        policy=policy,
        sealer=sealer,
        keep=keep,
        world=world,
    )
