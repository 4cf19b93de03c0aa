"""What must stay forgotten: openings of entries that were erased, and persons whom an older copy would bring back.

Openings share keys, so those that stay are encrypted again under a new key before the old one is destroyed. A crash
leaves both keys, under which each opening is found; doing it again ends it. What a copy of the archive must not bring
back has tombstones beside the master keys, and so has what the log said of it. Bytes: docs/format.md section 38.
"""

from __future__ import annotations

from collections.abc import Iterable

from backstory.ledger.ledger import Ledger
from backstory.records import canonical
from backstory.records.canonical import JsonObject
from backstory.records.erasure import ERASED_TYPE
from backstory.storage.disk import read_file
from backstory.storage.keys import KEY_SIZE
from backstory.storage.master import DIRECTORY_MODE
from backstory.storage.vault import openings_key

_FOLDER = "erasures"
_SUFFIX = ".json"
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
            _replace_key(ledger, name, gone)


def remember_erasure(ledger: Ledger, root: str, entry: JsonObject) -> None:
    """Keep what the log is about to say of an erasure beside the tombstones, where no copy of the archive goes."""
    folder = ledger.layout.master / _FOLDER
    ledger.world.disk.make_directory(folder, mode=DIRECTORY_MODE)
    ledger.world.disk.write(folder / f"{root}{_SUFFIX}", canonical.encode(entry), mode=_FILE_MODE)


def forget_again(ledger: Ledger) -> int:
    """See to it that an archive that was put back from a copy has forgotten whom it had; return how many erasures.

    Keys that have a tombstone are removed, with the shards that nothing opens any more; then the log says again what it
    had said. Where it says it already, nothing is done.

    Raises:
        FormatError: What was kept of an erasure is malformed.
        StorageError: Something could not be written; it can be called again.
    """
    kept = {path.stem: path for path in (ledger.layout.master / _FOLDER).glob(f"*{_SUFFIX}")}
    if not kept or not (kept.keys() - _said(ledger)):
        return 0
    before = set(ledger.keys.names())
    ledger.keys.sweep()
    for name in before - set(ledger.keys.names()):
        ledger.vault.remove(name.rpartition("/")[2])

    def missing() -> list[JsonObject]:
        roots = sorted(kept.keys() - _said(ledger))
        return [canonical.parse_object(read_file(kept[root]), "erasure") for root in roots]

    return len(ledger.append(missing))


def _said(ledger: Ledger) -> set[str]:
    return {canonical.text_of(entry, "root") for entry in ledger.find_entries(ERASED_TYPE)}


def _replace_key(ledger: Ledger, name: str, gone: list[str]) -> None:
    for commitment in gone:
        ledger.vault.remove_opening(commitment)
    keys = ledger.keys.get(name)
    if len(keys) == 1:
        following = str(max(map(int, keys)) + 1)
        ledger.keys.put(name, {**keys, following: ledger.world.random_bytes(KEY_SIZE)})
    for commitment in ledger.vault.opening_names(name.removeprefix(openings_key(""))):
        ledger.vault.write_opening(commitment, ledger.vault.read_opening(commitment))
    ledger.keys.destroy(name, sorted(ledger.keys.get(name), key=int)[:-1])
