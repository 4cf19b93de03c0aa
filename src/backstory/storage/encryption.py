"""AES-256-GCM as the archive uses it: a fresh nonce first, and every ciphertext bound to the name of what it is."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from backstory.errors import VerificationError

if TYPE_CHECKING:
    from cryptography.utils import Buffer

NONCE_SIZE = 12
OVERHEAD = NONCE_SIZE + 16
"""By how many bytes a ciphertext is longer than what was encrypted: the nonce and the tag."""
_STEP_SIZE = 1 << 20
_SEPARATOR = "\0"
"""Between the parts of what a ciphertext is bound to; messages show the first part only."""


def encrypt(key: bytes, data: Buffer, *bound: str) -> bytes:
    """Return nonce and AES-256-GCM ciphertext, bound to names."""
    nonce = secrets.token_bytes(NONCE_SIZE)
    return nonce + AESGCM(key).encrypt(nonce, data, _SEPARATOR.join(bound).encode())


class Encryption:
    """`encrypt` piece by piece: the nonce, what `update` gives for each piece, and what `finish` gives, in a row."""

    def __init__(self, key: bytes, name: str) -> None:
        """Begin under a key, bound to a name."""
        self.nonce = secrets.token_bytes(NONCE_SIZE)
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


def decrypt(key: bytes, data: Buffer, *bound: str) -> bytes:
    """Return what `encrypt` was given.

    Raises:
        VerificationError: Wrong key, names or bytes.
    """
    try:
        given = memoryview(data).cast("B")
        return AESGCM(key).decrypt(given[:NONCE_SIZE], given[NONCE_SIZE:], _SEPARATOR.join(bound).encode())
    except (InvalidTag, ValueError) as error:
        raise VerificationError(
            f"vault: {bound[0]} does not decrypt under its key; its bytes or its key were changed"
        ) from error
