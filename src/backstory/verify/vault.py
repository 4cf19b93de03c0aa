"""Checking what is in the vault besides tables, and keys: the openings of names, files nobody refers to, key files.

Tables and shards are opened where their records or rows are checked; here is the rest.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from backstory.errors import BackstoryError, FormatError, NotFoundError
from backstory.records import canonical
from backstory.records.canonical import JsonObject
from backstory.records.commitment import verify_opening
from backstory.records.redaction import PSEUDONYMS_KEY
from backstory.records.row import encode_row
from backstory.records.succession import ADDED_TYPE
from backstory.storage.disk import TEMPORARY_PREFIX, read_file
from backstory.storage.keys import KeyStore, domain_of_key
from backstory.storage.vault import MARK, OPENINGS_PREFIX, open_opening, openings_key
from backstory.storage.worker_spool import read_worker_spool, wrap_key_of
from backstory.tlog.signer import Ed25519Signer, MlDsaSigner
from backstory.verify.audit import Audit
from backstory.verify.blobs import DIGEST, Blobs
from backstory.verify.entries import Entries
from backstory.verify.held import Holdings
from backstory.verify.masters import closed_domains
from backstory.verify.people import PEOPLE_KEY
from backstory.verify.tables import DATASET_KEY

WRAP_KEY = "worker-spools"
ERASURE_PREFIX = "erasure-"
"""What names of keys of plans of erasures begin with."""
OPENED_GROUPS = (
    "actor",
    "answer",
    "case",
    "counts",
    "custodian",
    "incident",
    "matter",
    "person",
    "purpose",
    "question",
    "reason",
    "recipient",
    "request",
    "scope",
    "sealed_codes",
    "subject",
    "why",
)
"""Members of entries that are commitments to a text, and the groups these are commitments of."""
_SHARD = re.compile(r"([0-9a-f]{32})-([0-9]{1,18})-([0-9]{1,18})\.(?:shard|people)")
_MEANS_OPENING = (
    "who wrote this entry, why sealed values were read, or who was given which reasons, can no longer be shown"
)
_MEANS_KEY_GONE = "kept elsewhere, or destroyed: what only it opens cannot be read from here"
_MEANS_KEY_OTHER = "what is signed or opened with it is not this archive's: nothing can be added until it is put back"
_MEANS_KEY_BAD = "what only this key opens cannot be read until the key is put back from a copy"
_OF_PERSONS = frozenset({"recipient", "scope", "sealed_codes", "subject"})
"""Of these what an erasure takes, as the openings are about a person; with a `subject` goes the `person` beside it."""
_ERASED = "the opening of what this entry commits to is not here: erased with a person"


@dataclass(slots=True, kw_only=True)
class _Openings:
    """What is found of openings: commitments that are in entries, those without one, those that do not decrypt.

    How many were read with each key file, and which of these are not here.
    """

    named: set[bytes] = field(default_factory=set)
    missing: list[tuple[int, str]] = field(default_factory=list)
    read_with: Counter[str] = field(default_factory=Counter)
    keyless: set[str] = field(default_factory=set)
    bad: list[tuple[str, str, int | None]] = field(default_factory=list)

    def read(self, store: KeyStore, path: Path, group: str, commitment: str, index: int) -> None:
        """Open one; of a damaged key file it is said where keys are checked."""
        name = openings_key(commitment)
        try:
            keys = store.get(name)
        except NotFoundError:
            self.keyless.add(name)
            return
        except BackstoryError:
            return
        self.read_with[name] += 1
        try:
            _open(keys, read_file(path), group, commitment)
        except BackstoryError as error:
            self.bad.append((commitment, str(error), index))


def check_vault(audit: Audit, entries: Entries, holdings: Holdings, found: Blobs) -> None:
    """Check openings against their commitments, and name files of the vault that nothing refers to."""
    _check_openings(audit, entries)
    if not entries.is_whole:
        return  # an entry that could not be read may name what is here
    tables = found.tables
    for path in sorted(audit.layout.vault.glob("*")):
        if path.is_dir() or path.name == MARK or path.name.startswith(TEMPORARY_PREFIX):
            continue
        if path.name not in tables and _manifest_of(holdings, path.name) is None:
            audit.add("note", f"vault/{path.name}", "nothing refers to it: left by a writer that was stopped")


def check_keys(audit: Audit, entries: Entries, holdings: Holdings, found: Blobs, spools: Sequence[Path] = ()) -> None:
    """Check that key files are such, that those for the log are its keys, and that none opens nothing.

    Args:
        audit: The verification.
        entries: The log.
        holdings: Its manifests.
        found: What else it leads to.
        spools: Spools of workers, under whose public key they leave theirs.
    """
    store = audit.keys
    config = audit.layout.config
    signing = _signing_keys(audit, entries)
    signing[WRAP_KEY] = lambda keys: _opens_all(keys, spools)
    if not store.has(f"log-{config.incarnation}"):
        audit.add("note", f"keys/log-{config.incarnation}.json", "the signing key is not here: it is kept elsewhere")
    tables = found.tables
    if not store.has(DATASET_KEY) and any(name for name in tables):
        what = "the key of content digests is not here: they were not compared"
        audit.add("unknown", f"keys/{DATASET_KEY}.json", what, meaning=_MEANS_KEY_GONE)
    closed = closed_domains(audit)
    for name in store.names():
        if domain_of_key(name) in closed and store.is_wrapped(name):
            continue
        of, place = name.rpartition("/")[2], f"keys/{name}.json"
        index = _manifest_of(holdings, of)
        if index is not None and audit.keeper.skips(index):
            continue
        try:
            _check_signing(audit, signing, name, store.get(name))
        except NotFoundError as error:
            if store.has(name):  # not one that others removed meanwhile
                audit.add("unknown", place, error, index=index, meaning=_MEANS_KEY_GONE)
            continue
        except BackstoryError as error:
            audit.add("failed", place, error, index=index, meaning=_MEANS_KEY_BAD)
            continue
        is_referenced = of.removesuffix(".shard") in found.referenced
        if not (name in signing or of in tables or index is not None or is_referenced or _is_known(audit, name)):
            audit.add("note", place, "opens nothing that is here: left by a writer that was stopped, or by an erasure")


def _check_signing(
    audit: Audit, signing: Mapping[str, Callable[[dict[str, bytes]], bool]], name: str, keys: dict[str, bytes]
) -> None:
    """Compare a key that signs, or opens what was left for the archive, with what its public half is known to be.

    Raises:
        BackstoryError: It is not such a key.
    """
    place = f"keys/{name}.json"
    is_own = signing.get(name)
    if is_own is None:
        return
    if name == f"log-{audit.layout.config.incarnation}" and _is_rotating(audit.keys, is_own, f"{name}-next"):
        audit.add("note", place, "its rotation was cut short: the next who opens the archive for writing ends it")
    elif not is_own(keys):
        audit.add("failed", place, "is not the key that its public half is of", meaning=_MEANS_KEY_OTHER)


def _is_rotating(store: KeyStore, is_own: Callable[[dict[str, bytes]], bool], following: str) -> bool:
    """Say whether the log's key waits to take the place of the one it follows."""
    try:
        return store.has(following) and is_own(store.get(following))
    except BackstoryError:
        return False  # said of that file


def _is_known(audit: Audit, name: str) -> bool:
    stream = name.removeprefix("spool-")
    if stream != name:
        return (audit.layout.spool / stream).is_dir()
    is_kept = name in {DATASET_KEY, PEOPLE_KEY, PSEUDONYMS_KEY}
    return is_kept or name.startswith(("log-", "promise-", OPENINGS_PREFIX, ERASURE_PREFIX))


def _opens_all(keys: dict[str, bytes], spools: Sequence[Path]) -> bool:
    """Say whether a private key opens what workers leave in some spools."""
    if "private" not in keys:
        raise FormatError("keys: expected a key file with a private key")
    return all(read_worker_spool(root).wrap_key == wrap_key_of(keys["private"]) for root in spools)


def _signing_keys(audit: Audit, entries: Entries) -> dict[str, Callable[[dict[str, bytes]], bool]]:
    """Return for each key file that signs whether its key is the one the log names."""
    config = audit.layout.config
    promised = {str(entry.get("vkey")) for _, entry in entries.documents("promise.key")}
    second = {config.ml_dsa, *(str(entry.get("vkey")) for _, entry in entries.documents(ADDED_TYPE))}

    def ed25519(keys: dict[str, bytes], name: str = config.origin) -> str:
        return Ed25519Signer.from_seed(name, _seed(keys)).vkey

    return {
        f"log-{config.incarnation}": lambda keys: ed25519(keys) == config.vkey,
        f"log-{config.incarnation}-ml-dsa": lambda keys: (
            MlDsaSigner.from_seed(config.origin, _seed(keys)).vkey in second
        ),
        f"promise-{config.incarnation}": lambda keys: ed25519(keys, f"{config.origin}/promises") in promised,
    }


def _seed(keys: dict[str, bytes]) -> bytes:
    if "seed" not in keys:
        raise FormatError("keys: expected a key file with a seed")
    return keys["seed"]


def _manifest_of(holdings: Holdings, name: str) -> int | None:
    """Return the index of the manifest whose shard a name is of; None if there is none."""
    match = _SHARD.fullmatch(name)
    found = None if match is None else holdings.manifest_at(match[1], int(match[2]))
    return None if match is None or found is None or found[1] != int(match[3]) else found[0]


def _check_openings(audit: Audit, entries: Entries) -> None:
    folder = audit.layout.vault / "openings"
    found = _Openings()
    store = audit.keys
    last_erased = max((index for index, _ in entries.documents("subject.erased")), default=-1)
    for index, group, commitment, is_of_person in _commitments(entries):
        found.named.add(bytes.fromhex(commitment))
        path = folder / commitment
        if not path.is_file() and is_of_person and index < last_erased:
            audit.add("note", f"vault/openings/{commitment}", _ERASED, index=index)
        elif not path.is_file():
            found.missing.append((index, commitment))
        elif index >= audit.keeper.others_before:
            found.read(store, path, group, commitment, index)
    _say_openings(audit, found)
    for path in sorted(folder.glob("*")) if entries.is_whole else ():
        is_named = DIGEST.fullmatch(path.name) and bytes.fromhex(path.name) in found.named
        if not is_named and not path.name.startswith(TEMPORARY_PREFIX):
            what = "opens no commitment of the log: left by a writer that was stopped"
            audit.add("note", f"vault/openings/{path.name}", what)


def _say_openings(audit: Audit, found: _Openings) -> None:
    for name, count in sorted(found.read_with.items()):
        bad = sum(openings_key(commitment) == name for commitment, _, _ in found.bad)
        if bad == count > 1:
            what = "with this key no opening of an entry opens its commitment: it was changed"
            audit.add("failed", f"keys/{name}.json", what, meaning=_MEANS_KEY_BAD)
    for commitment, problem, index in found.bad:
        audit.add("failed", f"vault/openings/{commitment}", problem, index=index, meaning=_MEANS_OPENING)
    if found.missing and len(found.missing) == len(found.named):
        what = f"none of the {len(found.named)} openings of entries is here"
        audit.add("unknown", "vault/openings", what, meaning=_MEANS_OPENING)
        return
    for index, commitment in found.missing:
        what = f"the opening of what entry {index} commits to is not here: erased, or kept elsewhere"
        audit.add("unknown", f"vault/openings/{commitment}", what, index=index, meaning=_MEANS_OPENING)
    for name in sorted(found.keyless):
        what = "the key of these openings is not here: none of them was opened"
        audit.add("unknown", f"keys/{name}.json", what, meaning=_MEANS_KEY_GONE)


def _commitments(entries: Entries) -> Iterator[tuple[int, str, str, bool]]:
    """Yield index, group and commitment of every text that an entry commits to, and whether an erasure takes it."""
    for index, entry in entries.documents():
        for group in OPENED_GROUPS:
            commitment = entry.get(group)
            if isinstance(commitment, str) and DIGEST.fullmatch(commitment):
                is_own = group == "person" and isinstance(entry.get("subject"), str)
                yield index, group, commitment, is_own or group in _OF_PERSONS


def _open(keys: Mapping[str, bytes], data: bytes, group: str, commitment: str) -> None:
    """Insist that an opening opens its commitment.

    Raises:
        BackstoryError: It does not.
    """
    document: JsonObject = open_opening(keys, data, commitment)
    text, salt = canonical.text_of(document, "name"), canonical.text_of(document, "salt")
    if not DIGEST.fullmatch(salt):
        raise FormatError("opening: expected a salt of 32 bytes")
    row = encode_row([("name", "string", text)])
    verify_opening(bytes.fromhex(commitment), group, bytes.fromhex(salt), row)
