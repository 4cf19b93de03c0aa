"""Batch files of the spool: a large batch of records, written while it is encoded. Bytes: docs/format.md section 15.

Nothing of the batch is gathered in memory on its way: to touch 50 MB more takes as long as to hash them.
"""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa

from backstory.storage.encryption import Encryption


def write_batch(table: pa.Table, path: Path, key: bytes | None, name: str) -> bytes:
    """Write a table as an Arrow IPC stream into a file and return the SHA-256 of the file.

    Args:
        table: The records.
        path: The file; what it holds is replaced.
        key: 32 bytes to encrypt under, or None.
        name: What the encryption is bound to.

    Raises:
        OSError: The file cannot be written.
    """
    with path.open("wb") as file:
        sink = _Sink(file, None if key is None else Encryption(key, name))
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
        return sink.finish()


class _Sink(io.RawIOBase):
    """Encrypts and hashes what Arrow writes, buffer by buffer, on its way to the file."""

    def __init__(self, file: BinaryIO, encryption: Encryption | None) -> None:
        super().__init__()
        self._file = file
        self._encryption = encryption
        self._hash = hashlib.sha256()
        if encryption is not None:
            self._put(encryption.nonce)

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:  # noqa: ANN401  anything with a buffer
        if self._encryption is None:
            self._put(data)
        else:
            for part in self._encryption.update(data):
                self._put(part)
        return memoryview(data).nbytes

    def finish(self) -> bytes:
        if self._encryption is not None:
            self._put(self._encryption.finish())
        return self._hash.digest()

    def _put(self, data: Any) -> None:  # noqa: ANN401
        self._hash.update(data)
        self._file.write(data)
