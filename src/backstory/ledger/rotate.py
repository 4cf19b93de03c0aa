"""Changing the keys of a log: a new key for the old one, or a second key beside it. Bytes: docs/format.md section 17.

The new key is durable before the log names it, and the old one is destroyed after: whatever is cut short, there is a
key for what `backstory.toml` says, and opening for writing ends what was begun.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace

from backstory.errors import ConflictError, InputError
from backstory.ledger.ledger import Ledger
from backstory.ledger.sequencer import Renewal
from backstory.ledger.signing import SEED, key_name, ml_dsa_key_name, next_key_name
from backstory.records.canonical import JsonObject
from backstory.records.succession import ADDED_TYPE, CREATED_TYPE, RESTORED_TYPE, ROTATED_TYPE, Rotated
from backstory.storage.keys import KEY_SIZE, hold_keys
from backstory.storage.layout import ArchiveConfig
from backstory.tlog.key import ValidKey, VerifierKey
from backstory.tlog.limits import TREE_SIZE_MAX
from backstory.tlog.signer import Ed25519Signer, MlDsaSigner, Signer


def rotate_key(ledger: Ledger, signer: Signer | None = None) -> ValidKey:
    """Let another key speak for the log from the next checkpoint on, and destroy the one that did.

    The commit that says so is signed by both.

    Args:
        ledger: The archive, open for writing.
        signer: The new key, where the key store does not keep it; None to draw one and keep it there. The archive has
            to be opened again with it.

    Returns:
        The new key, with the tree size from which on it speaks.

    Raises:
        BusyError: Another process is changing the keys.
        ConflictError: Somebody changed the settings meanwhile.
        InputError: The given key is not one of this log, or is the one it has.
        ForbiddenError: The archive cannot be written, or its signing key is not here.
        StorageError: Something could not be written. Where the commit had taken place, the next opening for writing
            ends the rotation; if not, nothing happened. Where the new key was given, a key file of the old one may
            have to be removed by hand.
    """
    with hold_keys(ledger.layout.keys):
        ledger.recover()
        before = ledger.layout.config
        new: Signer
        if signer is None:
            seed = ledger.world.random_bytes(KEY_SIZE)
            new = Ed25519Signer.from_seed(before.origin, seed)
            ledger.keys.put(next_key_name(before), {SEED: seed})
        else:
            new = signer
        _insist_other(before, new)
        after = replace(before, vkey=new.vkey)
        rotated = Rotated(vkey=new.vkey, retired=before.vkey, config=_digest(after))
        indexes = ledger.append([rotated.document()], renewal=Renewal(before=before, after=after, signer=new))
        ledger.log.renew()
        if signer is None:
            ledger.recover()  # puts the new key in the place of the old one
        else:
            for name in (key_name(before), next_key_name(before)):
                ledger.keys.discard(name)
    return ValidKey(key=VerifierKey.parse(new.vkey), first=indexes.stop)


def add_ml_dsa(ledger: Ledger) -> VerifierKey:
    """Let a second key, of type 06 (ML-DSA-44), sign beside the log's key from the next checkpoint on.

    Returns:
        Its public half.

    Raises:
        ConflictError: The log has one.
        BusyError: Another process is changing the keys.
        UnsupportedVersionError: The installed `cryptography` does not know such keys.
        ForbiddenError: The archive cannot be written, or its signing key is not here.
        StorageError: Something could not be written.
    """
    with hold_keys(ledger.layout.keys):
        ledger.recover()
        before = ledger.layout.config
        if before.ml_dsa:
            raise ConflictError(f"keys: the log has a key of type 06 already: {before.ml_dsa.rsplit('+', 1)[0]}")
        seed = ledger.world.random_bytes(KEY_SIZE)
        new = MlDsaSigner.from_seed(before.origin, seed)
        ledger.keys.put(ml_dsa_key_name(before), {SEED: seed})
        after = replace(before, ml_dsa=new.vkey)
        entry: JsonObject = {"config": _digest(after), "type": ADDED_TYPE, "vkey": new.vkey}
        ledger.append([entry], renewal=Renewal(before=before, after=after, signer=new))
        ledger.log.renew()
    return VerifierKey.parse(new.vkey)


def list_keys(ledger: Ledger) -> list[ValidKey]:
    """Return every key that speaks or spoke for the log or one it goes on with, with the sizes for which it does.

    What is said of them is what the log says: proven under its checkpoint, and as much worth as the key of that.
    """
    keys: list[ValidKey] = []
    types = (CREATED_TYPE, ROTATED_TYPE, ADDED_TYPE, RESTORED_TYPE)
    for position in sorted(position for type_ in types for position in ledger.catalog.entries(type_)):
        entry = ledger.log.entry(position)
        if entry["type"] == RESTORED_TYPE:
            keys = [replace(key, last=min(key.last, position)) for key in keys]
        elif entry["type"] == ROTATED_TYPE:
            keys = [_ended(key, str(entry["retired"]), position + 1) for key in keys]
        first = 0 if entry["type"] == CREATED_TYPE else position + 1
        keys.append(ValidKey(key=VerifierKey.parse(str(entry["vkey"])), first=first))
    return keys


def _ended(key: ValidKey, retired: str, size: int) -> ValidKey:
    return replace(key, last=size) if key.key.vkey == retired and key.last == TREE_SIZE_MAX else key


def _insist_other(config: ArchiveConfig, new: Signer) -> None:
    if new.name != config.origin or new.vkey == config.vkey:
        raise InputError(f"keys: expected another key called {config.origin}, got {new.vkey.rsplit('+', 1)[0]}")


def _digest(config: ArchiveConfig) -> str:
    return hashlib.sha256(config.encode()).hexdigest()
