"""Outputs of a verifiable random function for many messages at once, and their proofs.

ECVRF-EDWARDS25519-SHA512-TAI of RFC 9381, the side of whoever has the private key. Every operation with a secret is
libsodium's and takes the same time whatever the secret is; how often hashing to the curve tries depends on the message.
The side of whoever checks is `backstory.tlog.vrf`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha512

from backstory.errors import InputError
from backstory.tlog.vrf import FIELD_PRIME, candidate, challenge_of, output_of

_EIGHT = (8).to_bytes(32, "little")
_NEUTRAL = (1).to_bytes(32, "little")
_SIGN = 1 << 255
_CHUNK = 1_000
"""Messages one thread takes at once: a fifth of a second."""
_SHARED_MIN = 50_000
"""From so many messages on, ten seconds' worth, threads share them."""


class VrfKey:
    """A private key of the function.

    Attributes:
        public: The public key, 32 bytes.
    """

    def __init__(self, seed: bytes) -> None:
        """Take a key from its 32 secret bytes.

        Raises:
            InputError: PyNaCl is not installed.
        """
        try:
            from nacl import bindings  # slow to load, and only needed where something is to be provable
        except ImportError as error:
            raise InputError(
                "proofs about persons need the package pynacl, expected `backstory[membership]`"
            ) from error

        self._sodium = bindings
        hashed = sha512(seed).digest()
        clamped = bytes([hashed[0] & 0xF8, *hashed[1:31], hashed[31] & 0x3F | 0x40])
        self._scalar = bindings.crypto_core_ed25519_scalar_reduce(clamped + bytes(32))
        self._eightfold = bindings.crypto_core_ed25519_scalar_mul(self._scalar, _EIGHT)
        self._prefix = hashed[32:]
        self.public = bytes(bindings.crypto_scalarmult_ed25519_base_noclamp(self._scalar))

    def outputs(self, messages: Iterable[bytes]) -> list[bytes]:
        """Return the function's output for each message, 64 bytes each, in order; of many over all cores."""
        given = list(messages)
        if len(given) < _SHARED_MIN:
            return self._outputs(given)
        chunks = (given[start : start + _CHUNK] for start in range(0, len(given), _CHUNK))
        with ThreadPoolExecutor(os.cpu_count() or 1) as pool:  # libsodium works without holding the interpreter
            return [output for outputs in pool.map(self._outputs, chunks) for output in outputs]

    def _outputs(self, messages: Sequence[bytes]) -> list[bytes]:
        multiply, eightfold, hash_to_curve = (
            self._sodium.crypto_scalarmult_ed25519_noclamp,
            self._eightfold,
            self._hash_to_curve,
        )
        return [output_of(multiply(eightfold, hash_to_curve(message))) for message in messages]

    def prove(self, message: bytes) -> bytes:
        """Return the proof of the output for a message, 80 bytes; always the same for the same message."""
        sodium = self._sodium
        hashed = self._hash_to_curve(message)
        gamma = sodium.crypto_scalarmult_ed25519_noclamp(self._scalar, hashed)
        nonce = sodium.crypto_core_ed25519_scalar_reduce(sha512(self._prefix + hashed).digest())
        u = sodium.crypto_scalarmult_ed25519_base_noclamp(nonce)
        v = sodium.crypto_scalarmult_ed25519_noclamp(nonce, hashed)
        challenge = challenge_of(self.public, hashed, gamma, u, v)
        product = sodium.crypto_core_ed25519_scalar_mul(challenge + bytes(16), self._scalar)
        return bytes(gamma + challenge + sodium.crypto_core_ed25519_scalar_add(nonce, product))

    def _hash_to_curve(self, message: bytes) -> bytes:
        """Hash a message to a point of the prime-order group: try and increment, then eight times the point."""
        add = self._sodium.crypto_core_ed25519_add
        attempt = 0
        while True:
            point = candidate(self.public, message, attempt)
            attempt += 1
            if int.from_bytes(point, "little") % _SIGN >= FIELD_PRIME:
                continue  # libsodium would take it for the point with a smaller number
            try:
                for _ in range(3):
                    point = add(point, point)
            except RuntimeError:  # what libsodium says of bytes that are no point
                continue
            if point != _NEUTRAL:
                return bytes(point)
