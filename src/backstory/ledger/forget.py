"""What must stay forgotten: openings of entries that were erased, and persons whom an older copy would bring back.

Openings share keys, so those that stay are encrypted again under a new key before the old one is destroyed. A crash
leaves both keys, under which each opening is found; doing it again ends it. What a copy of the archive must not bring
back has tombstones beside the master keys, and so has what the log said of it. A mark in vault and keys says which
erasures they have seen: one that was put back says fewer. Bytes: docs/format.md section 38.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from pathlib import Path

from backstory.errors import BackstoryError, FormatError
from backstory.ledger.ledger import Ledger
from backstory.records import canonical
from backstory.records.canonical import JsonObject
from backstory.records.erasure import ERASED_TYPE
from backstory.storage.disk import read_file
from backstory.storage.keys import KEY_SIZE, key_name
from backstory.storage.master import DIRECTORY_MODE
from backstory.storage.shard_file import SHARD_KEY
from backstory.storage.vault import MARK, OPENINGS_PREFIX, openings_key

_FOLDER, _DISPOSALS = "erasures", "disposals"
_SUFFIX = ".json"
_STREAMS = "streams.json"
_FILE_MODE = 0o600


def forget_openings(ledger: Ledger, commitments: Iterable[str]) -> None:
    """Erase the openings of commitments, for good; those that are gone already are passed over.

    Args:
        ledger: The archive.
        commitments: The commitments, in hex.

    Raises:
        StorageError: Something could not be written; it can be called again.
    """
    shared: dict[str, list[str]] = {}
    for commitment in commitments:
        shared.setdefault(openings_key(commitment), []).append(commitment)
    for name, gone in shared.items():
        if ledger.keys.has(name):
            ledger.vault.rekey_openings(name.removeprefix(OPENINGS_PREFIX), ledger.world.random_bytes(KEY_SIZE), gone)


def remember_erasure(ledger: Ledger, root: str, entry: JsonObject) -> None:
    """Keep what the log is about to say of an erasure beside the tombstones, where no copy of the archive goes."""
    folder = ledger.layout.master / _FOLDER
    ledger.world.disk.make_directory(folder, mode=DIRECTORY_MODE)
    ledger.world.disk.write(folder / f"{root}{_SUFFIX}", canonical.encode(entry), mode=_FILE_MODE)


def remember_disposal(ledger: Ledger, root: str) -> None:
    """Keep beside the tombstones that a disposal destroyed keys: a copy of vault or keys from before is known by it."""
    folder = ledger.layout.master / _DISPOSALS
    ledger.world.disk.make_directory(folder, mode=DIRECTORY_MODE)
    ledger.world.disk.write(folder / f"{root}{_SUFFIX}", canonical.encode({"v": 1}), mode=_FILE_MODE)


def remember_streams(ledger: Ledger, ends: Mapping[str, int]) -> None:
    """Keep up to where streams hold records that are erased: a copy of their spool must not be sealed again.

    Args:
        ledger: The archive.
        ends: By stream, in hex, one more than its last sealed record.

    Raises:
        StorageError: It could not be written.
    """
    if not ends:
        return
    masters = ledger.keys.masters
    with nullcontext() if masters is None else masters.hold():
        known = _ends(ledger)
        merged = {name: max(end, known.get(name, 0)) for name, end in ends.items()}
        if merged.items() <= known.items():
            return
        document: JsonObject = {"streams": {name: str(end) for name, end in {**known, **merged}.items()}, "v": 1}
        ledger.world.disk.make_directory(ledger.layout.master, mode=DIRECTORY_MODE)
        ledger.world.disk.write(ledger.layout.master / _STREAMS, canonical.encode(document), mode=_FILE_MODE)


def has_erased(ledger: Ledger, stream: str, head: int) -> bool:
    """Say whether records of a stream were erased that the log, which was put back, does not have yet.

    Args:
        ledger: The archive.
        stream: The stream, in hex.
        head: One more than its last record in the log.

    Raises:
        FormatError: What was kept of it is malformed.
    """
    return head < _ends(ledger).get(stream, 0)


def forget_again(ledger: Ledger) -> int:
    """See to it that an archive that was put back from a copy has forgotten whom it had; return how many erasures.

    Keys that have a tombstone are removed, with the shards they opened and those that are older than their keys; then
    the log says again what it had said of persons. Where it says it already, and vault and keys are no older, nothing
    is done. What was disposed of and is there again is past its time: the next disposal takes it.

    Raises:
        BusyError: Another process rewrites the vault, or does this.
        FormatError: What was kept of an erasure is malformed.
        StorageError: Something could not be written; it can be called again.
    """
    kept = _kept(ledger)
    if (not kept or kept.keys() <= _said(ledger)) and _is_marked(ledger):
        return 0
    with ledger.vault.hold() if ledger.layout.vault.is_dir() else nullcontext():
        _sweep(ledger)  # held, as a shard that is being rewritten is older than its keys for a moment

    def missing() -> list[JsonObject]:
        roots = sorted(kept.keys() - _said(ledger))
        return [canonical.parse_object(read_file(kept[root]), "erasure") for root in roots]

    said = len(ledger.append(missing))
    mark_forgotten(ledger)
    return said


def _sweep(ledger: Ledger) -> None:
    """Remove keys that have a tombstone, and shards that nothing here opens any more."""
    swept = ledger.keys.sweep()
    gone = set(swept) - set(ledger.keys.names())
    for name in gone:
        shard = name.rpartition("/")[2]
        if not shard.endswith(".shard") or _names_one_of(ledger, shard, swept[name]):
            ledger.vault.remove(shard)
    for path in ledger.layout.vault.glob("*.shard"):
        if _is_older_than_keys(ledger, path.name):
            ledger.vault.remove(path.name)


def mark_forgotten(ledger: Ledger) -> None:
    """Let vault and keys say which erasures and disposals they have seen.

    Raises:
        StorageError: It could not be written; whoever opens the archive next looks through all keys.
    """
    mark = _mark(ledger)
    for folder in _marked(ledger):
        ledger.world.disk.write(folder / MARK, mark, mode=_FILE_MODE)


def is_destroyed(ledger: Ledger, shard: str, domains: Iterable[str]) -> bool:
    """Say whether nothing is left of a shard and its keys, where vault and keys are here and have seen all there was.

    Args:
        ledger: The archive.
        shard: Its name.
        domains: Its key domains.
    """
    if ledger.vault.path(shard).is_file() or any(ledger.keys.has(key_name(shard, domain)) for domain in domains):
        return False
    marks = [folder / MARK for folder in (ledger.layout.vault, ledger.layout.keys)]
    return all(path.is_file() for path in marks) and _is_marked(ledger)


def _kept(ledger: Ledger) -> dict[str, Path]:
    """Return what was kept of erasures, by their roots."""
    return {path.stem: path for path in (ledger.layout.master / _FOLDER).glob(f"*{_SUFFIX}")}


def _marked(ledger: Ledger) -> list[Path]:
    return [folder for folder in (ledger.layout.vault, ledger.layout.keys) if folder.is_dir()]


def _known(ledger: Ledger) -> list[str]:
    """Return the roots of the erasures and disposals that are kept, in order."""
    disposals = (path.stem for path in (ledger.layout.master / _DISPOSALS).glob(f"*{_SUFFIX}"))
    return sorted([*_kept(ledger), *disposals])


def _mark(ledger: Ledger) -> bytes:
    return hashlib.sha256("\n".join(_known(ledger)).encode()).hexdigest().encode()


def _is_marked(ledger: Ledger) -> bool:
    """Say whether vault and keys have seen all there were, as far as there were any."""
    if not _known(ledger):
        return True
    mark = _mark(ledger)
    paths = [folder / MARK for folder in _marked(ledger)]
    return all(path.is_file() and read_file(path) == mark for path in paths)


def _names_one_of(ledger: Ledger, shard: str, parts: Iterable[str]) -> bool:
    """Say whether a shard is, somewhere, under one of some keys; one that is under others was not put back."""
    try:
        return not {section.key for section in ledger.vault.sections(shard)}.isdisjoint(parts)
    except BackstoryError:
        return False


def _is_older_than_keys(ledger: Ledger, shard: str) -> bool:
    """Say whether the keys of a shard are here and are no longer those it is under."""
    try:
        sections = ledger.vault.sections(shard)
        keys = [ledger.keys.get(key_name(shard, section.domain)) for section in sections]
    except BackstoryError:
        return False  # its keys are elsewhere, or it is none: not for this to judge
    named = [any(part.startswith(SHARD_KEY) for part in own) for own in keys]
    return all(has and section.key not in own for section, own, has in zip(sections, keys, named, strict=True))


def _ends(ledger: Ledger) -> dict[str, int]:
    path = ledger.layout.master / _STREAMS
    if not path.is_file():
        return {}
    what = "streams of erased records"
    document = canonical.parse_object(read_file(path), what)
    canonical.check_version(document, 1, what)
    streams = document.get("streams")
    if not isinstance(streams, dict):
        raise FormatError(f"{what}: it is malformed")
    return {name: canonical.count_of(streams, name) for name in streams}


def _said(ledger: Ledger) -> set[str]:
    return {canonical.text_of(entry, "root") for entry in ledger.find_entries(ERASED_TYPE)}
