"""Where a snapshot was read from, as the archive says it, and how to read there again.

What is recorded must not tell more than the rows' own place in the archive does: no password, and of sources about
people no digest that could be guessed back. Bytes: docs/format.md section 23.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from backstory.errors import InputError, StorageError
from backstory.frames.files import FileRead
from backstory.frames.lake import open_delta, open_iceberg
from backstory.frames.place import local_path, without_secrets
from backstory.frames.read_options import read_options
from backstory.frames.reading import Reading, delta_reading, iceberg_reading, path_reading
from backstory.ledger.sealed_table import DATASET_KEY
from backstory.lineage.about import About
from backstory.records import canonical
from backstory.records.canonical import JsonObject, JsonValue
from backstory.records.keyed import is_under, keyed

if TYPE_CHECKING:
    from backstory.ledger.ledger import Ledger
    from backstory.lineage.source import Snapshot

_FILES: Final = frozenset({"file", "directory"})
_SYSTEM: Final = re.compile(r"[a-z][a-z0-9_]{0,31}")
_ID_MAX: Final = 256


def about_of(ledger: Ledger, snapshot: Snapshot) -> About:
    """Return what is said about a snapshot, with where it was read from."""
    reading = snapshot.reading
    if reading is None:
        return snapshot.about
    key = ledger.keys.get_or_create(DATASET_KEY, "key")["key"]
    origin = _document(reading, key, ledger.layout.root, is_personal=snapshot.subject is not None)
    return replace(
        snapshot.about,
        external={**reading.external, **snapshot.about.external},
        origin={**origin, "extracted": reading.extracted},
    )


def _document(reading: Reading, key: bytes, archive: Path, *, is_personal: bool) -> JsonObject:
    files: list[JsonValue] = [
        {"hmac": keyed(key, file.sha256), "size": str(file.size)}
        if is_personal
        else {"name": file.name, "sha256": file.sha256.hex(), "size": str(file.size)}
        for file in reading.files
    ]
    query: JsonObject = {}
    if reading.query is not None:
        text = without_secrets(reading.query)
        query = {"hmac": keyed(key, text.encode())} if is_personal else {"text": text}
    if reading.parameters is not None:
        query["parameters"] = keyed(key, canonical.encode(reading.parameters))
    said: JsonObject = {
        "files": files,
        "path": None if reading.path is None else place_text(reading.path, archive),
        "query": query,
        "read": reading.options.document(),
    }
    return {**reading.place, "system": reading.system} | {name: value for name, value in said.items() if value}


def external_ids(given: Mapping[str, str | int] | None) -> dict[str, str]:
    """Return the ids other systems give to a snapshot, checked.

    Raises:
        InputError: A system or an id cannot be recorded.
    """
    if given is not None and not isinstance(given, Mapping):
        raise InputError(f"snapshot: expected ids by system, as {{'lakefs': '…'}}, got {type(given).__name__}")
    found: dict[str, str] = {}
    for system, value in (given or {}).items():
        text = str(value) if isinstance(value, int) else value
        if not isinstance(system, str) or not _SYSTEM.fullmatch(system):
            raise InputError("snapshot: expected the name of a system in small letters, such as 'lakefs'")
        if not isinstance(text, str) or not 1 <= len(text) <= _ID_MAX:
            raise InputError(f"snapshot: expected an id of 1 to {_ID_MAX} characters ({system})")
        found[system] = without_secrets(text)
    return found


def place_text(place: str, archive: Path) -> str:
    """Return a path or URL as it is recorded: relative to the archive where it is beside or in it."""
    path = local_path(place)
    if path is None:
        return without_secrets(place)
    archive = archive.absolute()
    if not path.is_relative_to(archive.parent):
        return str(path)
    below = path.relative_to(archive.parent)
    return (
        below.relative_to(archive.name).as_posix() if below.is_relative_to(archive.name) else f"../{below.as_posix()}"
    )


def recorded_place(origin: JsonObject, archive: Path) -> Reading:
    """Return how to read again what an origin names, without asking anybody.

    Only what is on this machine's file system is read so: a database or a store elsewhere is not asked because an
    archive says so.

    Raises:
        NotFoundError: It is not there.
        StorageError: It is not asked without being located, or the library that reads it is not installed.
    """
    system, place = origin.get("system"), origin.get("path")
    local = local_path(place) if isinstance(place, str) else None
    if local is None or system not in {*_FILES, "delta", "iceberg"}:
        where = place if isinstance(place, str) else origin.get("engine") or origin.get("database")
        raise StorageError(f"{system} {where} is not asked by itself: say where with archive.data.locate(name, …)")
    path = (archive / local).resolve()
    given = origin.get("read")
    options = read_options(given if isinstance(given, Mapping) else None)
    if system == "delta":
        return delta_reading(open_delta(path, canonical.count_of(origin, "version")), options)
    if system == "iceberg":
        snapshot = canonical.text_of(origin, "snapshot")
        return iceberg_reading(open_iceberg(path), replace(options, snapshot=snapshot))
    return path_reading(path, options)


def changed_files(origin: JsonObject, files: Sequence[FileRead], key: bytes | None) -> list[str]:
    """Return the names of the files that came, went or changed since an origin was recorded.

    There are none where that cannot be compared, as an erasure destroyed the key of their digests.
    """
    recorded = origin.get("files")
    if not isinstance(recorded, list) or not recorded:
        return []
    digests = [file["hmac"] for file in recorded if isinstance(file, dict) and "hmac" in file]
    if not all(key is not None and is_under(key, digest) for digest in digests):
        return []
    known = {str(file.get("sha256") or file.get("hmac")) for file in recorded if isinstance(file, dict)}
    now = {file.name: file.sha256 for file in files}
    other = [name for name, digest in now.items() if not known & {digest.hex(), keyed(key, digest) if key else ""}]
    names = [str(file["name"]) for file in recorded if isinstance(file, dict) and "name" in file]
    return sorted({*other, *(name for name in names if name not in now)})
