"""A spool outside the archive, for workers that hold no signing key and cannot read the vault.

A directory with `spool.json`, `streams/`, `blobs/` and `keys/`. A worker encrypts what is about people under keys of
its own, which it leaves here wrapped for the archive (HPKE, RFC 9180): once they are out of its memory only the archive
can open them. Bytes: docs/format.md section 15.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

from backstory.errors import ForbiddenError, FormatError, NotFoundError, VerificationError
from backstory.records import canonical
from backstory.records.canonical import JsonObject, JsonValue
from backstory.records.identity import check_digest
from backstory.storage.blobs import BlobStore
from backstory.storage.disk import Disk, read_file
from backstory.storage.keys import KEY_MODE, KEY_SIZE
from backstory.storage.master import DIRECTORY_MODE
from backstory.storage.spool import Spool
from backstory.storage.world import World

_INFO_NAME = "spool.json"
_SUITE = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSpoolInfo:
    """What `spool.json` says.

    Attributes:
        origin: The archive's origin.
        vkey: The archive's public key.
        wrap_key: Public X25519 key under which a worker leaves its keys.
        models: The model versions a worker may name, by what it names them; each with digest, name, version.
        classes: What people confirmed of the columns of their records, by the same names.
    """

    origin: str
    vkey: str
    wrap_key: bytes
    models: Mapping[str, JsonObject]
    classes: Mapping[str, JsonObject] = field(default_factory=dict)


class WrappedKeys:
    """Keys of streams: those drawn here in memory, all of them wrapped on disk."""

    def __init__(
        self,
        root: Path,
        world: World,
        *,
        public: bytes,
        private: bytes | None = None,
    ) -> None:
        """Keep wrapped keys below `root`; with the private key any of them can be read."""
        self._root = root
        self._disk = world.disk
        self._public = X25519PublicKey.from_public_bytes(public)
        self._private = None if private is None else X25519PrivateKey.from_private_bytes(private)
        self._random_bytes = world.random_bytes
        self._own: dict[str, dict[str, bytes]] = {}

    def create(self, name: str, *parts: str) -> dict[str, bytes]:
        """Draw new keys and leave them wrapped; see `KeyStore.create`.

        Raises:
            ConflictError: There are keys of that name.
        """
        keys = {part: self._random_bytes(KEY_SIZE) for part in parts}
        document: JsonObject = {part: key.hex() for part, key in keys.items()}
        wrapped = _SUITE.encrypt(canonical.encode(document), self._public, info=name.encode())
        self._disk.make_directory(self._root, mode=DIRECTORY_MODE)
        self._disk.write(self._path(name), wrapped, mode=KEY_MODE, replace=False)
        self._own[name] = keys
        return keys

    def key(self, name: str, part: str) -> bytes:
        """Return one key.

        Raises:
            NotFoundError: There is none of that name.
            ForbiddenError: Another process drew it, and only the archive can unwrap it.
            VerificationError: It does not unwrap.
        """
        if name in self._own:
            return self._own[name][part]
        if not self._path(name).is_file():
            raise NotFoundError(f"keys: none called {name!r} in the worker's spool")
        if self._private is None:
            raise ForbiddenError(f"keys: {name!r} is wrapped for the archive")
        try:
            data = _SUITE.decrypt(read_file(self._path(name)), self._private, info=name.encode())
        except (InvalidTag, ValueError) as error:
            raise VerificationError(f"keys: {name!r} in the worker's spool does not unwrap") from error
        what = f"keys: {name!r}"
        return bytes.fromhex(check_digest(canonical.parse_object(data, what).get(part), what))

    def discard(self, name: str) -> None:
        """Remove keys."""
        self._own.pop(name, None)
        self._disk.remove(self._path(name))

    def _path(self, name: str) -> Path:
        return self._root / f"{name}.hpke"


def wrap_key_of(private: bytes) -> bytes:
    """Return the public key of a private one, 32 bytes each."""
    return X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()


def write_worker_spool(root: Path, info: WorkerSpoolInfo, disk: Disk) -> None:
    """Create a worker's spool, or let the one that is there name these models."""
    for name in ("streams", "blobs"):
        disk.make_directory(root / name)
    document: JsonObject = {
        "classes": dict(info.classes),
        "models": dict(info.models),
        "origin": info.origin,
        "v": 1,
        "vkey": info.vkey,
        "wrap_key": info.wrap_key.hex(),
    }
    disk.write(root / _INFO_NAME, canonical.encode(document))


def read_worker_spool(root: Path) -> WorkerSpoolInfo:
    """Return what a worker's spool says about itself.

    Raises:
        NotFoundError: There is none at `root`.
        FormatError: Its description is damaged.
    """
    path = root / _INFO_NAME
    if not path.is_file():
        raise NotFoundError(
            f"worker's spool: expected {_INFO_NAME} in {root}; an archive's spool() makes one in Python"
        )
    what = f"worker's spool: {_INFO_NAME}"
    document = canonical.parse_object(read_file(path), what)
    canonical.check_version(document, 1, what)
    wrap_key = bytes.fromhex(check_digest(document.get("wrap_key"), f"{what}, its key"))
    known, classes = (_by_name(document.get(member), what, member) for member in ("models", "classes"))
    return WorkerSpoolInfo(
        origin=canonical.text_of(document, "origin"),
        vkey=canonical.text_of(document, "vkey"),
        wrap_key=wrap_key,
        models=known,
        classes=classes,
    )


def _by_name(value: JsonValue, what: str, member: str) -> dict[str, JsonObject]:
    if not isinstance(value, dict):
        raise FormatError(f"{what} names no {member}")
    known = {name: one for name, one in value.items() if isinstance(one, dict)}
    if len(known) != len(value):
        raise FormatError(f"{what} names {member} without saying what they are")
    return known


def worker_stores(
    root: Path, info: WorkerSpoolInfo, world: World, private: bytes | None = None
) -> tuple[Spool, BlobStore]:
    """Return the streams and the blobs of a worker's spool; with the archive's private key all can be read."""
    keys = WrappedKeys(root / "keys", world, public=info.wrap_key, private=private)
    return Spool(root / "streams", keys, world.disk), BlobStore(root / "blobs", world.disk)
