"""Master keys: each wraps the key files of one domain; and the tombstones of keys that were destroyed for good.

A key that opens sealed values never stands in a key file as it is, but wrapped: so a copy of the key files alone opens
nothing, and once a master key is replaced and destroyed every older copy of them is worth nothing. Both files live in a
directory of their own, best where no copy of the archive goes. Bytes: docs/format.md section 36.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol

from backstory.errors import ConflictError, ForbiddenError, FormatError, NotFoundError
from backstory.records import canonical
from backstory.records.sensitivity import DOMAINS
from backstory.storage.disk import Disk, hold_directory, read_file
from backstory.storage.encryption import decrypt, encrypt

DIRECTORY_MODE = 0o700
_FILE_MODE = 0o600
_KEY_SIZE = 32
_NAME_SIZE = 8
_FILE_PREFIX = "file:"
_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_KEY = re.compile(r"[0-9a-f]{64}")
_TOMBSTONES = "tombstones"
_TOMBSTONES_HEAD = "backstory/tombstones/v1"


class KeyWrapper(Protocol):
    """A master key: it wraps and unwraps, and need not be in this machine's memory.

    Attributes:
        name: What names the key; it stands in every key file the key wrapped, so it must never name another key.
    """

    @property
    def name(self) -> str:
        """What names the key, 1 to 255 printable characters."""

    def wrap(self, name: str, data: bytes) -> bytes:
        """Encrypt what a key file holds, bound to the file's name."""

    def unwrap(self, name: str, data: bytes) -> bytes:
        """Return what `wrap` was given under the same name.

        Raises:
            VerificationError: It was not wrapped under this key and name.
        """


class FileWrapper:
    """A master key that is held in a file."""

    def __init__(self, name: str, key: bytes) -> None:
        """Wrap under a key of 32 bytes."""
        self._name = name
        self._key = key

    @property
    def name(self) -> str:
        """What names the key."""
        return self._name

    def wrap(self, name: str, data: bytes) -> bytes:
        """Encrypt what a key file holds, bound to the file's name."""
        return encrypt(self._key, data, f"keys/{name}", "wrapped")

    def unwrap(self, name: str, data: bytes) -> bytes:
        """Return what `wrap` was given under the same name.

        Raises:
            VerificationError: It was not wrapped under this key and name.
        """
        return decrypt(self._key, data, f"keys/{name}", "wrapped")


Wrappers = Mapping[str, KeyWrapper]
"""Master keys that are held elsewhere than in a file, by the domain they wrap for."""


def wrappers_of(given: KeyWrapper | Wrappers | None) -> Wrappers:
    """Return master keys by domain; one that is given alone is that of every domain.

    Raises:
        NotFoundError: There is no such domain.
    """
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        return dict.fromkeys(DOMAINS, given)
    unknown = sorted(set(given) - set(DOMAINS))
    if unknown:
        raise NotFoundError(f"master keys: expected domains of {', '.join(DOMAINS)}, got {', '.join(unknown)}")
    return given


class MasterKeys:
    """The master keys of an archive, and its tombstones."""

    def __init__(
        self,
        root: Path,
        disk: Disk,
        random_bytes: Callable[[int], bytes] = secrets.token_bytes,
        given: Wrappers | None = None,
    ) -> None:
        """Keep master keys and tombstones below `root`; those that are given are held elsewhere."""
        self._root = root
        self._disk = disk
        self._random_bytes = random_bytes
        self._given = dict(given or {})
        self._former: dict[str, KeyWrapper] = {}
        self._dead: tuple[object, frozenset[str]] = (None, frozenset())

    def current(self, domain: str) -> KeyWrapper:
        """Return the key that wraps for a domain now; where it has none, one is drawn and stored durably.

        Raises:
            StorageError: It could not be stored.
        """
        if domain in self._given:
            return self._given[domain]
        if not self._path(domain).is_file():
            with suppress(ConflictError):  # another process drew one meanwhile
                self._write(domain, [self._draw()], replace=False)
        return self._held(domain)[-1]

    def named(self, domain: str, name: str) -> KeyWrapper:
        """Return the key that wrapped something.

        Raises:
            NotFoundError: It is not here.
        """
        for known in (self._given.get(domain), self._former.get(domain), *self._held(domain)):
            if known is not None and known.name == name:
                return known
        raise NotFoundError(
            f"keys: the master key {name!r} of domain {domain} is not here; it was destroyed or is kept elsewhere"
        )

    def is_here(self, domain: str) -> bool:
        """Say whether there is a key that wraps for a domain."""
        return domain in self._given or self._path(domain).is_file()

    def insist_here(self, domain: str) -> None:
        """Insist that there is a key that wraps for a domain.

        Raises:
            NotFoundError: There is none.
            ForbiddenError: Others than its owner may read the file.
            FormatError: The file is malformed.
        """
        if domain not in self._given and not self._read(domain):
            raise NotFoundError(
                f"keys: the master key of domain {domain} is not here; it is kept elsewhere, or was lost"
            )

    def begin(self, domain: str, wrapper: KeyWrapper | None) -> KeyWrapper:
        """Let another key wrap for a domain from now on, and return it; those before still unwrap.

        One that was begun before and not ended is begun anew: who saw the directory then may have its key.

        Args:
            domain: The domain.
            wrapper: The new key, where it is held elsewhere; None to draw one and store it.
        """
        before = self._given.pop(domain, None)
        if before is not None:
            self._former[domain] = before
        if wrapper is not None:
            self._given[domain] = wrapper
            return wrapper
        with self.hold():
            drawn = self._draw()
            self._write(domain, [*self._read(domain), drawn], replace=True)
        return FileWrapper(*drawn)

    def end(self, domain: str) -> None:
        """Destroy a domain's keys that are held here but the one that wraps now; the caller holds the directory."""
        path = self._path(domain)
        if domain not in self._given:
            self._write(domain, self._read(domain)[-1:], replace=True)
        elif path.is_file():
            self._disk.remove(path)
            self._disk.sync_directory(self._root)
        self._former.pop(domain, None)

    def dead(self) -> frozenset[str]:
        """Return the tombstones: SHA-256, in hex, of each key that was destroyed for good.

        Raises:
            FormatError: The file is malformed.
            StorageError: It cannot be read.
        """
        path = self._root / _TOMBSTONES
        try:
            status = path.stat()
        except FileNotFoundError:
            return frozenset()
        state = (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        if self._dead[0] != state:
            head, *digests = read_file(path).decode("ascii", "replace").split("\n")
            last = digests.pop() if digests else None
            is_sorted = digests == sorted(set(digests))
            if head != _TOMBSTONES_HEAD or last != "" or not is_sorted or not all(map(_KEY.fullmatch, digests)):
                raise FormatError("keys: the file of tombstones is malformed")
            self._dead = (state, frozenset(digests))
        return self._dead[1]

    def bury(self, keys: Iterable[bytes]) -> None:
        """Make tombstones of keys durable: no key file that holds one of them opens anything from then on.

        Raises:
            StorageError: They could not be made durable; then the keys must not be destroyed yet.
        """
        digests = {hashlib.sha256(key).hexdigest() for key in keys}
        with self.hold():
            known = self.dead()
            if digests <= known:
                return
            lines = [_TOMBSTONES_HEAD, *sorted(known | digests), ""]
            self._disk.write(self._root / _TOMBSTONES, "\n".join(lines).encode(), mode=_FILE_MODE)

    @contextmanager
    def hold(self, *, shared: bool = False) -> Iterator[None]:
        """Hold the directory for a moment: shared while a key file is wrapped, alone while what is in here changes.

        So no key file is wrapped under a key that is destroyed meanwhile.
        """
        self._disk.make_directory(self._root, mode=DIRECTORY_MODE)
        with hold_directory(self._root, "keys: another process is changing master keys", wait=True, shared=shared):
            yield

    def _draw(self) -> tuple[str, bytes]:
        return _FILE_PREFIX + self._random_bytes(_NAME_SIZE).hex(), self._random_bytes(_KEY_SIZE)

    def _held(self, domain: str) -> list[FileWrapper]:
        return [FileWrapper(name, key) for name, key in self._read(domain)]

    def _read(self, domain: str) -> list[tuple[str, bytes]]:
        """Return the names and keys in a domain's file, the one that wraps last.

        Raises:
            ForbiddenError: Others than its owner may read the file.
            FormatError: It is malformed.
        """
        path = self._path(domain)
        if not path.is_file():
            return []
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & _OTHERS:
            raise ForbiddenError(
                f"keys: {path.name} may be read by others than its owner: expected mode 0600, got {mode:04o}"
            )
        what = f"keys: {path.name}"
        document = canonical.parse_object(read_file(path), what)
        canonical.check_version(document, 1, what)
        items = document.get("keys")
        if set(document) != {"keys", "v"} or not isinstance(items, list) or not items:
            raise FormatError(f"{what} is not a file of master keys")
        found = []
        for item in items:
            name, text = (item.get("name"), item.get("key")) if isinstance(item, dict) else (None, None)
            if not isinstance(name, str) or not isinstance(text, str) or not _KEY.fullmatch(text):
                raise FormatError(f"{what} is not a file of master keys")
            found.append((name, bytes.fromhex(text)))
        return found

    def _write(self, domain: str, keys: list[tuple[str, bytes]], *, replace: bool) -> None:
        self._disk.make_directory(self._root, mode=DIRECTORY_MODE)
        items: list[canonical.JsonValue] = [{"key": key.hex(), "name": name} for name, key in keys]
        data = canonical.encode({"keys": items, "v": 1})
        self._disk.write(self._path(domain), data, mode=_FILE_MODE, replace=replace)

    def _path(self, domain: str) -> Path:
        return self._root / f"master-{domain}.json"
