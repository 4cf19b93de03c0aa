"""Changing the keys of sealed values: another master key for a domain, or other keys for its shards.

Both can be repeated and go on where a crash stopped them, and the entry `vault.rekeyed` says that they ended. Bytes:
docs/format.md section 36.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Literal, TypeAlias

from backstory.errors import ForbiddenError, NotFoundError
from backstory.ledger.ledger import Ledger
from backstory.ledger.people_index import rekey_people
from backstory.ledger.rewrite import rekey_shard
from backstory.ledger.seal import seal_all
from backstory.records.canonical import JsonObject
from backstory.records.manifest import MANIFEST_TYPE, parse_manifest
from backstory.records.sensitivity import DOMAINS, PERSONAL_DOMAIN, groups_by_domain
from backstory.storage.keys import KEY_SIZE, domain_of_key, hold_keys
from backstory.storage.master import KeyWrapper, MasterKeys
from backstory.storage.shard_file import SALT_KEY, SHARD_KEY
from backstory.storage.vault import OPENINGS_PREFIX

REKEYED_TYPE = "vault.rekeyed"
Reason: TypeAlias = Literal["rotation", "compromise"]
"""Why keys are changed: because it is time, or because somebody may have them."""

_SHARD = ".shard"


def rotate_master(ledger: Ledger, domain: str, reason: Reason, wrapper: KeyWrapper | None = None) -> int:
    """Let another master key wrap the key files of a domain, and destroy the one that did.

    From then on every older copy of these key files opens nothing, for whoever has not kept the old master key too.

    Args:
        ledger: The archive, open for writing.
        domain: The key domain.
        reason: Why.
        wrapper: The new key, where it is held elsewhere; the archive has to be opened again with it. None to draw one
            and keep it in a file.

    Returns:
        How many key files are wrapped under it.

    Raises:
        BusyError: Another process is changing the keys.
        ForbiddenError: The archive cannot be written.
        NotFoundError: There is no such domain, or a master key that wraps some of the files is not here.
        StorageError: Something could not be written; calling again goes on.
    """
    masters = _masters(ledger, domain)
    with hold_keys(ledger.layout.keys):
        # A crash until the end leaves both keys, and each file says which wraps it: the next call goes on.
        new = masters.begin(domain, wrapper)
        count = ledger.keys.rewrap(domain, new)
        ledger.keys.end_rewrap(domain, new)
    _append(ledger, domain, count, reason, "master")
    return count


def rekey_domain(ledger: Ledger, domain: str, reason: Reason) -> int:
    """Encrypt all that is sealed in a domain under other keys, and destroy the ones before for good.

    That is shards, with their indexes of persons; in the domain of persons also openings, plans and certificates of
    erasures that wait, and what is in the spool, which is sealed. A stream that is still recorded stays under the key
    it has.

    Salts cannot change, as the log has the commitments: of a copy that was taken with the old keys everything stays
    readable.

    Args:
        ledger: The archive, open for writing.
        domain: The key domain.
        reason: Why.

    Returns:
        How many shards were encrypted anew.

    Raises:
        BusyError: Another process is erasing, or rewriting the vault.
        ForbiddenError: The archive cannot be written.
        NotFoundError: There is no such domain, or keys of a shard are not here.
        StorageError: Something could not be written; calling again begins anew.
        VerificationError: A shard or an opening was changed.
    """
    _masters(ledger, domain)
    with ledger.vault.hold_plans(wait=False):
        if domain == PERSONAL_DOMAIN:
            seal_all(ledger)
            _rekey_documents(ledger)
        count = _rekey_shards(ledger, domain)
    _append(ledger, domain, count, reason, "shards")
    return count


def domains_in_use(ledger: Ledger, domain: str | None = None) -> list[str]:
    """Return the key domains that have key files, or the one that is asked for.

    Raises:
        NotFoundError: There is no such domain.
    """
    if domain is not None:
        _masters(ledger, domain)
        return [domain]
    return sorted({domain_of_key(name) for name in ledger.keys.names()})


def _masters(ledger: Ledger, domain: str) -> MasterKeys:
    if domain not in DOMAINS:
        raise NotFoundError(f"keys: expected a domain of {', '.join(DOMAINS)}, got {domain!r}")
    if not ledger.writable or ledger.keys.masters is None:
        raise ForbiddenError("archive is open for reading only: expected mode 'rw' to change its keys")
    return ledger.keys.masters


def _rekey_documents(ledger: Ledger) -> None:
    """Encrypt openings, and plans and certificates of erasures, under other keys."""
    for name in list(ledger.keys.names()):
        if name.startswith(OPENINGS_PREFIX):
            ledger.vault.rekey_openings(name.removeprefix(OPENINGS_PREFIX), ledger.world.random_bytes(KEY_SIZE))
    for files in (ledger.vault.plans, ledger.vault.certificates):
        for name in files.names():
            with suppress(NotFoundError):  # one without a key is done
                files.write(name, files.read(name), ledger.world.random_bytes(KEY_SIZE))


def _rekey_shards(ledger: Ledger, domain: str) -> int:
    groups = _groups_of_shards(ledger, domain)
    count = 0
    for name in list(ledger.keys.names()):
        shard = name.rpartition("/")[2]
        if domain_of_key(name) != domain or not shard.endswith(_SHARD) or not ledger.vault.path(shard).is_file():
            continue
        keys = ledger.keys.get(name)
        if not any(part.startswith(SHARD_KEY) for part in keys):
            continue
        is_salted = SALT_KEY in keys or any(one.salts for one in ledger.vault.sections(shard) if one.domain == domain)
        rekey_shard(ledger, shard, domain, groups.get(shard, 1) if is_salted else None)
        rekey_people(ledger, shard)
        count += 1
    return count


def _groups_of_shards(ledger: Ledger, domain: str) -> dict[str, int]:
    """Return how many sealed groups of a domain the shards of records have."""
    found = {}
    for position in ledger.catalog.entries(MANIFEST_TYPE):
        manifest = parse_manifest(ledger.log.entry(position))
        if manifest.shard is not None:
            groups = groups_by_domain(ledger.schema(manifest.schema).groups)
            found[manifest.shard.name] = len(groups.get(domain, ()))
    return found


def _append(ledger: Ledger, domain: str, count: int, reason: Reason, keys: str) -> None:
    entry: JsonObject = {"count": str(count), "domain": domain, "keys": keys, "reason": reason, "type": REKEYED_TYPE}
    ledger.append([entry])
