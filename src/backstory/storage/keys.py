"""Key files: small canonical JSON documents below `keys/`, readable by their owner only.

What opens sealed values is wrapped under the master key of its domain; the keys that sign are as they are. Bytes:
docs/format.md sections 16 and 36.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import re
import secrets
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path

from backstory.errors import ConflictError, FormatError, NotFoundError
from backstory.records import canonical
from backstory.records.sensitivity import DOMAINS, PERSONAL_DOMAIN
from backstory.storage.disk import TEMPORARY_PREFIX, Disk, hold_directory, read_file, storage_errors
from backstory.storage.layout import Layout
from backstory.storage.master import DIRECTORY_MODE, KeyWrapper, MasterKeys, Wrappers

KEY_SIZE = 32
KEY_MODE = 0o600
_KEY = re.compile(r"[0-9a-f]{64}")
_SUFFIX = ".json"
_SIGNING = ("log-", "promise-")
"""What names of keys begin with that sign and open nothing: a rotation copies them, and a signer may hold them."""
_UNWRAPPED_MAX = 1024
"""So many key files are remembered as they were unwrapped: a master key may be in a machine far away."""


class KeyStore:
    """Named sets of 32-byte keys. Destroying a file destroys its keys.

    A name is that of a file without its ending; one that begins with a domain and `/` is wrapped for that domain, any
    other for the domain of persons.
    """

    def __init__(
        self,
        root: Path,
        disk: Disk,
        random_bytes: Callable[[int], bytes] = secrets.token_bytes,
        masters: MasterKeys | None = None,
    ) -> None:
        """Keep keys below `root`, drawing new ones from `random_bytes`; without master keys as they are."""
        self._root = root
        self._disk = disk
        self._random_bytes = random_bytes
        self._masters = masters
        self._unwrapped: OrderedDict[tuple[str, str, bytes], bytes] = OrderedDict()

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

    def put(self, name: str, keys: Mapping[str, bytes], *, replace: bool = True) -> None:
        """Store given keys durably; keys of that name give way or, as in `create`, are a conflict.

        Raises:
            NotFoundError: The master key that wraps for the domain is not here, though it wrapped other files.
            ConflictError: There are keys of that name, and they are to stay.
        """
        if self._masters is None or not _is_wrapped(name):
            self._write(name, self._encode(keys), replace=replace)
            return
        self._insist_master(domain_of_key(name))
        self._masters.current(domain_of_key(name))  # draws it where there is none, which others must not share
        with self._masters.hold(shared=True):  # or it is wrapped under a key that is destroyed meanwhile
            wrapper = self._masters.current(domain_of_key(name))
            self._write(name, _wrapped(wrapper, name, self._encode(keys)), replace=replace)

    def get(self, name: str) -> dict[str, bytes]:
        """Return the keys of a file by part, without those that have a tombstone.

        Raises:
            NotFoundError: They were destroyed, or never were here; or their master key is not here.
            FormatError: The file is not a key file.
            VerificationError: It was changed.
        """
        before, found = None, self._read(name)
        while found != before:
            dead = self._masters.dead() if self._masters is not None else frozenset()
            keys = {part: key for part, key in found.items() if hashlib.sha256(key).hexdigest() not in dead}
            if keys:
                return keys
            before, found = found, self._read(name)  # others may have replaced them before their tombstones were read
        raise NotFoundError(f"keys: those called {name!r} were destroyed for good; the file was put back from a copy")

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
        """Say whether there is a file of keys of that name."""
        return self._path(name).is_file()

    def is_wrapped(self, name: str) -> bool:
        """Say whether a file of that name is wrapped under a master key."""
        try:
            return "wrapped" in self._document(name)
        except (FormatError, NotFoundError):
            return False

    def names(self) -> Iterator[str]:
        """Yield the name of every key file, in order."""
        for folder in (self._root, *(self._root / domain for domain in DOMAINS)):
            for path in sorted(folder.glob(f"*{_SUFFIX}")):
                if not path.name.startswith(TEMPORARY_PREFIX):
                    yield path.relative_to(self._root).as_posix().removesuffix(_SUFFIX)

    def destroy(self, name: str, parts: Collection[str] | None = None) -> None:
        """Destroy keys for good: tombstones of them are durable before they are removed, durably.

        A key file that is put back from a copy later opens nothing. Calling it again does what a crash left undone.

        Args:
            name: Name of the key file without its ending.
            parts: Names of the keys that are to go; None for all.

        Raises:
            StorageError: Something could not be written; then nothing was destroyed, or it can be called again.
        """
        if not self.has(name):
            return
        keys = self._read(name)
        gone = {part: key for part, key in keys.items() if parts is None or part in parts}
        if self._masters is not None and gone:
            self._masters.bury(gone.values())
        left = {part: key for part, key in keys.items() if part not in gone}
        if not left:
            self.discard(name)
        elif gone:
            self.put(name, left)
        self._forget(name)

    def discard(self, name: str) -> None:
        """Remove a key file, durably, as of what ends in ordinary life: a copy of it may be put back.

        Raises:
            StorageError: It could not be removed, or may come back.
        """
        self._forget(name)
        # Held, or a rotation of the master key that has just read the file puts it there again.
        masters = self._masters if _is_wrapped(name) and self.has(name) else None
        with contextlib.nullcontext() if masters is None else masters.hold(shared=True):
            if self.has(name):
                path = self._path(name)
                self._disk.remove(path)
                with storage_errors("removing", path):
                    self._disk.sync_directory(path.parent)

    def sweep(self) -> dict[str, tuple[str, ...]]:
        """Remove every key that has a tombstone, as after a restore; return their names by file.

        Raises:
            StorageError: Something could not be written; it can be called again.
        """
        dead = frozenset() if self._masters is None else self._masters.dead()
        swept: dict[str, tuple[str, ...]] = {}
        for name in list(self.names()) if dead else []:
            if not _is_wrapped(name):
                continue
            try:
                keys = self._read(name)
            except NotFoundError:
                continue  # its master key is not here: it opens nothing
            gone = tuple(part for part, key in keys.items() if hashlib.sha256(key).hexdigest() in dead)
            if gone:
                self.destroy(name, gone)
                swept[name] = gone
        return swept

    def rewrap(self, domain: str, wrapper: KeyWrapper) -> int:
        """Wrap every key file of a domain under its new master key; see `MasterKeys.begin`.

        Returns:
            How many files are wrapped under it.

        Raises:
            NotFoundError: A master key that wraps some of the files is not here.
            StorageError: Something could not be written; it can be called again.
        """
        if self._masters is None:
            return 0
        names = self._wrapped_names(domain)
        for name in names:
            with self._masters.hold():  # or what another process puts there between reading and writing is lost
                self._rewrap(name, wrapper)
        return len(names)

    def end_rewrap(self, domain: str, wrapper: KeyWrapper) -> None:
        """Wrap what others wrote meanwhile under the key before, and destroy that key.

        Raises:
            StorageError: Something could not be written; it can be called again.
        """
        if self._masters is not None:
            with self._masters.hold():
                for name in self._wrapped_names(domain):
                    self._rewrap(name, wrapper)
                self._masters.end(domain)

    def _rewrap(self, name: str, wrapper: KeyWrapper) -> None:
        """Wrap a key file under another master key, unless it is or is gone; the caller holds these keys' directory."""
        if self.has(name) and self._document(name).get("by") != wrapper.name:
            self._write(name, _wrapped(wrapper, name, self._encode(self._read(name))), replace=True)
            self._forget(name)

    def _wrapped_names(self, domain: str) -> list[str]:
        return [name for name in self.names() if domain_of_key(name) == domain and _is_wrapped(name)]

    def _insist_master(self, domain: str) -> None:
        """Insist that a master key is drawn for a domain only where none has wrapped anything yet.

        Else a directory that is not mounted would be taken for a new one, and what is sealed from then on be lost.
        """
        if self._masters is None or self._masters.is_here(domain) or not (names := self._wrapped_names(domain)):
            return
        if not self._masters.is_here(domain):  # drawn by another process, which wrapped these
            raise NotFoundError(
                f"keys: the master key of domain {domain}, which wrapped {len(names)} key files, is not here: expected "
                f"it in the directory of master keys, or a wrapper; if it is lost for good, move these files away"
            )

    @property
    def masters(self) -> MasterKeys | None:
        """The master keys; None of a store that wraps nothing."""
        return self._masters

    def _encode(self, keys: Mapping[str, bytes]) -> bytes:
        document: canonical.JsonObject = {part: key.hex() for part, key in keys.items()}
        return canonical.encode({**document, "v": 1})

    def _write(self, name: str, data: bytes, *, replace: bool) -> None:
        path = self._path(name)
        self._disk.make_directory(path.parent, mode=DIRECTORY_MODE)
        if replace:
            self._disk.rewrite(path, data, mode=KEY_MODE)
        else:
            self._disk.write(path, data, mode=KEY_MODE, replace=False)

    def _document(self, name: str) -> canonical.JsonObject:
        path = self._path(name)
        if not path.is_file():
            raise NotFoundError(f"keys: none called {name!r} in the key store")
        what = f"keys: file {name!r}"
        document = canonical.parse_object(read_file(path), what)
        canonical.check_version(document, 1, what)
        return document

    def _read(self, name: str) -> dict[str, bytes]:
        """Return the keys of a file by part, those with a tombstone too."""
        what = f"keys: file {name!r}"
        document = self._document(name)
        if set(document) == {"by", "v", "wrapped"} and self._masters is not None:
            try:
                data = self._unwrap(self._masters, name, document)
            except NotFoundError:  # its master key may have been replaced between the two
                data = self._unwrap(self._masters, name, self._document(name))
            document = canonical.parse_object(data, what)
        keys = {part: _KEY.fullmatch(str(text)) for part, text in document.items() if part != "v"}
        if not keys or None in keys.values():
            raise FormatError(f"{what} is not a key file")
        return {part: bytes.fromhex(match[0]) for part, match in keys.items() if match}

    def _unwrap(self, masters: MasterKeys, name: str, document: canonical.JsonObject) -> bytes:
        by = canonical.text_of(document, "by")
        try:
            wrapped = base64.b64decode(canonical.text_of(document, "wrapped"), validate=True)
        except binascii.Error as error:
            raise FormatError(f"keys: file {name!r} is not a key file") from error
        data = self._unwrapped.get((name, by, wrapped))
        if data is None:
            data = masters.named(domain_of_key(name), by).unwrap(name, wrapped)
            self._unwrapped[name, by, wrapped] = data
            if len(self._unwrapped) > _UNWRAPPED_MAX:
                self._unwrapped.popitem(last=False)
        return data

    def _forget(self, name: str) -> None:
        for known in [key for key in self._unwrapped if key[0] == name]:
            del self._unwrapped[known]

    def _path(self, name: str) -> Path:
        return self._root / f"{name}{_SUFFIX}"


def open_keys(
    layout: Layout,
    disk: Disk,
    random_bytes: Callable[[int], bytes] = secrets.token_bytes,
    wrappers: Wrappers | None = None,
) -> KeyStore:
    """Return the key store of an archive.

    Args:
        layout: The archive.
        disk: Writes files durably.
        random_bytes: Draws new keys.
        wrappers: Master keys that are held elsewhere, by domain.
    """
    return KeyStore(layout.keys, disk, random_bytes, MasterKeys(layout.master, disk, random_bytes, wrappers or {}))


def domain_of_key(name: str) -> str:
    """Return the domain whose master key wraps a key file.

    >>> domain_of_key("special/0f.shard"), domain_of_key("openings")
    ('special', 'personal')
    """
    domain, slash, _ = name.partition("/")
    return domain if slash else PERSONAL_DOMAIN


def key_name(name: str, domain: str) -> str:
    """Return the name of the key file with the keys of one domain of a shard.

    >>> key_name("0f.shard", "personal"), key_name("0f.shard", "special")
    ('0f.shard', 'special/0f.shard')
    """
    return name if domain == PERSONAL_DOMAIN else f"{domain}/{name}"


def _wrapped(wrapper: KeyWrapper, name: str, data: bytes) -> bytes:
    """Return the bytes of a key file whose keys are wrapped."""
    text = base64.b64encode(wrapper.wrap(name, data)).decode()
    return canonical.encode({"by": wrapper.name, "v": 1, "wrapped": text})


def _is_wrapped(name: str) -> bool:
    return not name.startswith(_SIGNING)


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
