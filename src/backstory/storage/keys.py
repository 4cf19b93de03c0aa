"""Key files: small canonical JSON documents below `keys/`, readable by their owner only."""

from __future__ import annotations

import contextlib
import re
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

from backstory.errors import ConflictError, FormatError, NotFoundError
from backstory.records import canonical
from backstory.storage.disk import Disk, hold_directory, read_file, storage_errors

KEY_SIZE = 32
KEY_MODE = 0o600
DIRECTORY_MODE = 0o700
_KEY = re.compile(r"[0-9a-f]{64}")


class KeyStore:
    """Named sets of 32-byte keys. Destroying a file destroys its keys."""

    def __init__(self, root: Path, disk: Disk, random_bytes: Callable[[int], bytes] = secrets.token_bytes) -> None:
        """Keep keys below `root`, drawing new ones from `random_bytes`."""
        self._root = root
        self._disk = disk
        self._random_bytes = random_bytes

    def create(self, name: str, *parts: str) -> dict[str, bytes]:
        """Draw new keys and store them durably.

        Args:
            name: Name of the key file without its ending.
            parts: Names of the keys in it.

        Returns:
            The keys by part.

        Raises:
            ConflictError: There are keys of that name; they stay, as something may be encrypted under them.
        """
        keys = {part: self._random_bytes(KEY_SIZE) for part in parts}
        self.put(name, keys, replace=False)
        return keys

    def put(self, name: str, keys: dict[str, bytes], *, replace: bool = True) -> None:
        """Store given keys durably; keys of that name give way or, as in `create`, are a conflict."""
        self._disk.make_directory(self._root, mode=DIRECTORY_MODE)
        document: canonical.JsonObject = {part: key.hex() for part, key in keys.items()}
        self._disk.write(self._path(name), canonical.encode({**document, "v": 1}), mode=KEY_MODE, replace=replace)

    def get(self, name: str) -> dict[str, bytes]:
        """Return the keys of a file by part.

        Raises:
            NotFoundError: They were destroyed, or never were here.
            FormatError: The file is not a key file.
        """
        path = self._path(name)
        if not path.is_file():
            raise NotFoundError(f"keys: none called {name!r} in the key store")
        what = f"keys: file {name!r}"
        document = canonical.parse_object(read_file(path), what)
        canonical.check_version(document, 1, what)
        keys = {part: _KEY.fullmatch(str(text)) for part, text in document.items() if part != "v"}
        if not keys or None in keys.values():
            raise FormatError(f"{what} is not a key file")
        return {part: bytes.fromhex(match[0]) for part, match in keys.items() if match}

    def key(self, name: str, part: str) -> bytes:
        """Return one key of a file.

        Raises:
            NotFoundError: The keys were destroyed, or never were here.
            FormatError: The file is not a key file, or has no such key.
        """
        keys = self.get(name)
        if part not in keys:
            raise FormatError(f"keys: file {name!r} has no {part!r}")
        return keys[part]

    def get_or_create(self, name: str, *parts: str) -> dict[str, bytes]:
        """Return the keys of a file, drawing them first where there are none."""
        if not self.has(name):
            with contextlib.suppress(ConflictError):  # another process drew them meanwhile
                return self.create(name, *parts)
        return self.get(name)

    def has(self, name: str) -> bool:
        """Say whether keys of that name exist."""
        return self._path(name).is_file()

    def destroy(self, name: str) -> None:
        """Remove a key file, durably: a power cut must not bring a destroyed key back.

        Raises:
            StorageError: It could not be removed, or may come back.
        """
        if self.has(name):
            self._disk.remove(self._path(name))
            with storage_errors("removing", self._path(name)):
                self._disk.sync_directory(self._root)

    def _path(self, name: str) -> Path:
        return self._root / f"{name}.json"


@contextlib.contextmanager
def hold_keys(folder: Path) -> Iterator[None]:
    """Keep others from changing the keys of a log meanwhile; the kernel lets go when this process dies.

    Args:
        folder: Directory of the keys.

    Raises:
        BusyError: Another process is changing them.
        StorageError: The directory cannot be opened.
    """
    with hold_directory(folder, "keys: another process is changing them"):
        yield
