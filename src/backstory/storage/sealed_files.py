"""Small files in the vault that have a key each, which is destroyed for good with the file or when another is drawn.

Keys that take each other's place are numbered from 1. Bytes: docs/format.md section 38.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from backstory.errors import FormatError, NotFoundError, VerificationError
from backstory.storage.disk import TEMPORARY_PREFIX, Disk, read_file, storage_errors
from backstory.storage.encryption import decrypt, encrypt
from backstory.storage.keys import KeyStore
from backstory.storage.master import DIRECTORY_MODE

_FILE_MODE = 0o600


class SealedFiles:
    """The files of one kind: a directory of the vault, and what names of their keys begin with."""

    def __init__(self, folder: Path, keys: KeyStore, disk: Disk, *, prefix: str, magic: bytes) -> None:
        """Keep files in `folder`, which begin with `magic`, and their keys in `keys`, under names with `prefix`."""
        self._folder = folder
        self._keys = keys
        self._disk = disk
        self._prefix = prefix
        self._magic = magic

    def write(self, name: str, data: bytes, key: bytes) -> None:
        """Keep a file durably, in the place of an earlier one of that name.

        Args:
            name: Its name.
            data: What it says.
            key: The new key; those before are destroyed for good.

        Raises:
            StorageError: It could not be written; the one before is there, or this one.
        """
        before: dict[str, bytes] = {}
        with suppress(NotFoundError):
            before = self._keys.get(self._key(name))
        self._keys.put(self._key(name), {**before, following(before): key})
        # A crash before the next line leaves a key that opens nothing; after it, the old keys beside the new file.
        self._disk.make_directory(self._folder, mode=DIRECTORY_MODE)
        sealed = self._magic + encrypt(key, data, self._place(name))
        self._disk.write(self._folder / name, sealed, mode=_FILE_MODE)
        if before:
            self._keys.destroy(self._key(name), before.keys())

    def read(self, name: str) -> bytes:
        """Return what a file says.

        Raises:
            NotFoundError: There is none, or its key was destroyed.
            FormatError: Not such a file.
            VerificationError: Changed bytes.
        """
        if not (self._folder / name).is_file():
            raise NotFoundError(f"vault: no {self._place(name)}")
        data = read_file(self._folder / name)
        if not data.startswith(self._magic):
            raise FormatError(f"vault: {self._place(name)} is not what it should be, of version 1")
        return decrypt_under(self._keys.get(self._key(name)), data[len(self._magic) :], self._place(name))

    def has(self, name: str) -> bool:
        """Say whether there is such a file, and its key."""
        return (self._folder / name).is_file() and self._keys.has(self._key(name))

    def names(self) -> list[str]:
        """Return the names of the files, in order."""
        return sorted(path.name for path in self._folder.glob("*") if not path.name.startswith(TEMPORARY_PREFIX))

    def remove(self, name: str) -> None:
        """Destroy a file: its key for good, then the file."""
        self._keys.destroy(self._key(name))
        path = self._folder / name
        if path.is_file():
            self._disk.remove(path)
            with storage_errors("removing", path):
                self._disk.sync_directory(self._folder)

    def _key(self, name: str) -> str:
        return f"{self._prefix}{name}"

    def _place(self, name: str) -> str:
        return f"{self._folder.name}/{name}"


def decrypt_under(keys: Mapping[str, bytes], data: bytes, place: str) -> bytes:
    """Return what is encrypted under one of some numbered keys: there are several while one takes others' place.

    Raises:
        FormatError: There are none, or they have no numbers.
        VerificationError: Changed bytes, or other keys.
    """
    following(keys)
    for key in keys.values():
        with suppress(VerificationError):
            return decrypt(key, data, place)
    raise VerificationError(f"vault: {place} does not decrypt under its keys; its bytes or its keys were changed")


def newest(keys: Mapping[str, bytes]) -> bytes:
    """Return the key of the highest number.

    Raises:
        FormatError: There are none, or they have no numbers.
    """
    following(keys)
    return keys[max(keys, key=int)]


def following(keys: Mapping[str, bytes]) -> str:
    """Return the number after those of some keys.

    >>> following({}), following({"1": b"", "10": b""})
    ('1', '11')

    Raises:
        FormatError: One has no number.
    """
    if not all(part.isascii() and part.isdecimal() for part in keys):
        raise FormatError("keys: expected keys that are numbered")
    return str(max(map(int, keys), default=0) + 1)
