"""Sealed values on disk: shards of segments, snapshots of personal sources, openings of entries.

Everything here is encrypted under keys of the key store and can be destroyed without touching the log.
Bytes: docs/format.md section 8.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from backstory.errors import FormatError, NotFoundError, VerificationError
from backstory.records import canonical
from backstory.storage.disk import Disk, read_file
from backstory.storage.keys import DIRECTORY_MODE, KeyStore
from backstory.storage.segment import parquet_bytes

if TYPE_CHECKING:
    from cryptography.utils import Buffer

SHARD_MAGIC = b"BSVS\x01"
OPENING_MAGIC = b"BSVO\x01"
_NONCE_SIZE = 12
_STEP_SIZE = 1 << 20
_FILE_MODE = 0o600
OPENINGS_KEY = "openings"


def encrypt(key: bytes, data: bytes, name: str) -> bytes:
    """Return nonce and AES-256-GCM ciphertext, bound to a name."""
    nonce = secrets.token_bytes(_NONCE_SIZE)
    return nonce + AESGCM(key).encrypt(nonce, data, name.encode())


class Encryption:
    """`encrypt` piece by piece: the nonce, what `update` gives for each piece, and what `finish` gives, in a row."""

    def __init__(self, key: bytes, name: str) -> None:
        """Begin under a key, bound to a name."""
        self.nonce = secrets.token_bytes(_NONCE_SIZE)
        self._context = Cipher(algorithms.AES256(key), modes.GCM(self.nonce)).encryptor()
        self._context.authenticate_additional_data(name.encode())
        self._memory = bytearray(_STEP_SIZE)

    def update(self, data: Buffer) -> Iterator[memoryview]:
        """Encrypt a piece; each part given holds until the next is asked for."""
        given, memory = memoryview(data).cast("B"), memoryview(self._memory)
        for start in range(0, len(given), _STEP_SIZE):
            yield memory[: self._context.update_into(given[start : start + _STEP_SIZE], self._memory)]

    def finish(self) -> bytes:
        """Return the rest and the tag."""
        return self._context.finalize() + self._context.tag


def decrypt(key: bytes, data: Buffer, name: str) -> bytes:
    """Return what `encrypt` was given.

    Raises:
        VerificationError: Wrong key, name or bytes.
    """
    try:
        given = memoryview(data).cast("B")
        return AESGCM(key).decrypt(given[:_NONCE_SIZE], given[_NONCE_SIZE:], name.encode())
    except (InvalidTag, ValueError) as error:
        raise VerificationError(
            f"vault: {name} does not decrypt under its key; its bytes or its key were changed"
        ) from error


class Vault:
    """Encrypted tables and small documents, each under a key of its own."""

    def __init__(self, root: Path, keys: KeyStore, disk: Disk) -> None:
        """Keep sealed values below `root`, their keys in `keys`."""
        self._root = root
        self._keys = keys
        self._disk = disk

    def path(self, name: str) -> Path:
        """Return where a shard is."""
        return self._root / name

    def write_table(self, name: str, table: pa.Table, shard_key: bytes, *, replace: bool = True) -> bytes:
        """Encrypt a table under a key, make it durable, and return the file's bytes.

        Raises:
            ConflictError: There is a shard of that name and it must stay.
        """
        self._disk.make_directory(self._root, mode=DIRECTORY_MODE)
        data = SHARD_MAGIC + encrypt(shard_key, parquet_bytes(table), name)
        self._disk.write(self.path(name), data, mode=_FILE_MODE, replace=replace)
        return data

    def read_table(self, name: str) -> pa.Table:
        """Decrypt a table.

        Raises:
            NotFoundError: The shard or its keys were erased.
            FormatError: Not a shard.
            VerificationError: Changed bytes.
        """
        path = self.path(name)
        if not path.is_file():
            raise NotFoundError(f"vault: no shard {name}; it was erased or lives elsewhere")
        data = read_file(path)
        if not data.startswith(SHARD_MAGIC):
            raise FormatError(f"vault: {name} is not a shard of version 1")
        key = self._keys.key(name, "shard_key")
        return pq.read_table(pa.BufferReader(decrypt(key, data[len(SHARD_MAGIC) :], name)))

    def write_opening(self, commitment: str, document: canonical.JsonObject) -> None:
        """Keep the opening of a commitment."""
        folder = self._root / "openings"
        self._disk.make_directory(folder, mode=DIRECTORY_MODE)
        key = self._keys.get_or_create(OPENINGS_KEY, "key")["key"]
        self._disk.write(
            folder / commitment, OPENING_MAGIC + encrypt(key, canonical.encode(document), commitment), mode=_FILE_MODE
        )

    def read_opening(self, commitment: str) -> canonical.JsonObject:
        """Return the opening of a commitment.

        Raises:
            NotFoundError: It, or its key, was erased or lives elsewhere.
            FormatError: Not an opening.
            VerificationError: Changed bytes.
        """
        path = self._root / "openings" / commitment
        if not path.is_file():
            raise NotFoundError(f"vault: no opening of {commitment}; it was erased or lives elsewhere")
        data = read_file(path)
        if not data.startswith(OPENING_MAGIC):
            raise FormatError(f"vault: openings/{commitment} is not an opening of version 1")
        key = self._keys.key(OPENINGS_KEY, "key")
        return canonical.parse_object(decrypt(key, data[len(OPENING_MAGIC) :], commitment), "opening")
