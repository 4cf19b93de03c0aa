"""Signing keys: the interface of whoever can sign, and the two kinds of key that are held in memory.

A signer signs bytes; what those bytes are for its kind of key is decided in `note` and `cosignature`. So a key in a
file, in a hardware module or behind a service is the same three names: `name`, `vkey`, `sign`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from backstory.errors import FormatError
from backstory.tlog.key import KeyKind, VerifierKey, check_name, import_ml_dsa

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey

_SEED_SIZE: Final = 32


class Signer(Protocol):
    """Whoever can sign for one key: a key in memory, a file, a hardware module."""

    @property
    def name(self) -> str:
        """Name of the key; a log's key has the log's origin as its name."""

    @property
    def vkey(self) -> str:
        """The verifier key, `<name>+<key id>+<public key>`; it says what kind of signature `sign` makes."""

    def sign(self, message: bytes) -> bytes:
        """Sign a message.

        Args:
            message: The bytes to sign.

        Returns:
            The bare signature, without a key id.
        """


class Ed25519Signer:
    """An Ed25519 key held in memory, of a log or of a witness."""

    __slots__ = ("_key", "_verifier")

    def __init__(self, name: str, key: Ed25519PrivateKey, kind: KeyKind = KeyKind.ED25519) -> None:
        """Give a key its name.

        Args:
            name: Name of the key: no space, no plus sign.
            key: The private key.
            kind: `ED25519` for a log, `COSIGNATURE` for a witness.

        Raises:
            FormatError: The name is not usable.
        """
        check_name(name, "name of the signing key")
        self._key = key
        self._verifier = VerifierKey(name=name, public_key=key.public_key().public_bytes_raw(), kind=kind)

    @classmethod
    def generate(cls, name: str, kind: KeyKind = KeyKind.ED25519) -> Ed25519Signer:
        """Make a new key from the system's randomness.

        Args:
            name: Name of the key: no space, no plus sign.
            kind: `ED25519` for a log, `COSIGNATURE` for a witness.

        Returns:
            A signer that nobody else has; keep its `seed`.

        Raises:
            FormatError: The name is not usable.
        """
        return cls(name, Ed25519PrivateKey.generate(), kind)

    @classmethod
    def from_seed(cls, name: str, seed: bytes, kind: KeyKind = KeyKind.ED25519) -> Ed25519Signer:
        """Restore a key from its seed.

        Args:
            name: Name of the key: no space, no plus sign.
            seed: The 32 secret bytes.
            kind: `ED25519` for a log, `COSIGNATURE` for a witness.

        Returns:
            The signer.

        Raises:
            FormatError: The name is not usable, or the seed has another size.
        """
        _check_seed(seed)
        return cls(name, Ed25519PrivateKey.from_private_bytes(seed), kind)

    @property
    def name(self) -> str:
        """Name of the key."""
        return self._verifier.name

    @property
    def vkey(self) -> str:
        """The verifier key as text; this is what others pin."""
        return self._verifier.vkey

    @property
    def seed(self) -> bytes:
        """The 32 secret bytes."""
        return self._key.private_bytes_raw()

    def sign(self, message: bytes) -> bytes:
        """Sign a message.

        Args:
            message: The bytes to sign.

        Returns:
            64 bytes, always the same for the same message.
        """
        return self._key.sign(message)


class MlDsaSigner:
    """An ML-DSA-44 key held in memory: the optional second signature of a log, or a witness."""

    __slots__ = ("_key", "_verifier")

    def __init__(self, name: str, key: MLDSA44PrivateKey) -> None:
        """Give a key its name.

        Args:
            name: Name of the key: no space, no plus sign.
            key: The private key.

        Raises:
            FormatError: The name is not usable.
        """
        check_name(name, "name of the signing key")
        self._key = key
        public_key = key.public_key().public_bytes_raw()
        self._verifier = VerifierKey(name=name, public_key=public_key, kind=KeyKind.ML_DSA_44)

    @classmethod
    def generate(cls, name: str) -> MlDsaSigner:
        """Make a new key from the system's randomness.

        Args:
            name: Name of the key: no space, no plus sign.

        Returns:
            A signer that nobody else has; keep its `seed`.

        Raises:
            FormatError: The name is not usable.
            UnsupportedVersionError: The installed `cryptography` does not know ML-DSA.
        """
        return cls(name, import_ml_dsa().MLDSA44PrivateKey.generate())

    @classmethod
    def from_seed(cls, name: str, seed: bytes) -> MlDsaSigner:
        """Restore a key from its seed.

        Args:
            name: Name of the key: no space, no plus sign.
            seed: The 32 secret bytes.

        Returns:
            The signer.

        Raises:
            FormatError: The name is not usable, or the seed has another size.
            UnsupportedVersionError: The installed `cryptography` does not know ML-DSA.
        """
        _check_seed(seed)
        return cls(name, import_ml_dsa().MLDSA44PrivateKey.from_seed_bytes(seed))

    @property
    def name(self) -> str:
        """Name of the key."""
        return self._verifier.name

    @property
    def vkey(self) -> str:
        """The verifier key as text; this is what others pin."""
        return self._verifier.vkey

    @property
    def seed(self) -> bytes:
        """The 32 secret bytes."""
        return self._key.private_bytes_raw()

    def sign(self, message: bytes) -> bytes:
        """Sign a message.

        Args:
            message: The bytes to sign.

        Returns:
            2,420 bytes, other ones each time.
        """
        return self._key.sign(message)


def _check_seed(seed: bytes) -> None:
    if len(seed) != _SEED_SIZE:
        raise FormatError(f"seed is malformed: expected {_SEED_SIZE} bytes, got {len(seed)}")
