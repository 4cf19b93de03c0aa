"""Verifier keys: the public halves of the keys that sign notes, their names, and for which sizes of a log they speak.

    example.org/delays+4d2ac5b1+AYx…               a verifier key: name, key id, base64 of kind and public key
    example.org/delays+4d2ac5b1+AYx… until 1200    the same, for checkpoints of at most 1,200 entries

Three kinds are known: Ed25519 over a note (01, how a log signs), Ed25519 cosignatures (04, how a witness signs), and
ML-DSA-44 cosignatures (06, either of the two, for the time after quantum computers). What each of them signs is in
`note` and `cosignature`; here a key checks a bare signature over bytes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import IntEnum
from functools import cache, lru_cache
from hashlib import sha256
from typing import TYPE_CHECKING, Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from backstory.errors import FormatError, InputError, UnsupportedVersionError, VerificationError
from backstory.tlog.limits import KEY_NAME_SIZE_MAX, TREE_SIZE_MAX
from backstory.tlog.text import encode_base64, parse_base64, parse_decimal, printable

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType

KEY_ID_SIZE: Final = 4
"""Bytes of a key id."""

_KEY_ID: Final = re.compile(r"[0-9a-f]{8}")
_VALID_KEY: Final = re.compile(r"(?P<vkey>[^ ]+)(?: from (?P<first>[0-9]+))?(?: until (?P<last>[0-9]+))?")
_FILE_HINT: Final = "; if this names a file, give what is in it"
_FIELD_PRIME: Final = 2**255 - 19
_EDWARDS_D: Final = 0x52036CEE2B6FFE738CC740797779E89800700A4D4141D8AB75EB4DCA135978A3
_ORDER_8: Final = 0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826
# Second coordinates of the eight points of small order. Under such a key anyone can sign.
_SMALL_ORDER: Final = frozenset({0, 1, _FIELD_PRIME - 1, _ORDER_8, _FIELD_PRIME - _ORDER_8})


class KeyKind(IntEnum):
    """What a key signs and how; the number is the type byte of C2SP."""

    ED25519 = 1
    COSIGNATURE = 4
    ML_DSA_44 = 6

    @property
    def public_size(self) -> int:
        """Bytes of a public key."""
        return 1312 if self is KeyKind.ML_DSA_44 else 32


LOG_KINDS: Final = frozenset({KeyKind.ED25519, KeyKind.ML_DSA_44})
"""Kinds of key a log signs its own checkpoints with."""

WITNESS_KINDS: Final = frozenset({KeyKind.COSIGNATURE, KeyKind.ML_DSA_44})
"""Kinds of key a witness signs with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifierKey:
    """The public half of a key, under its name.

    Attributes:
        name: Name of the key; a log's key has the log's origin as its name.
        public_key: Public key, 32 bytes of Ed25519 or 1,312 of ML-DSA-44.
        kind: What it signs.
    """

    name: str
    public_key: bytes
    kind: KeyKind = KeyKind.ED25519

    @classmethod
    def parse(cls, vkey: str) -> VerifierKey:
        """Parse a verifier key.

        Args:
            vkey: `<name>+<key id in hex>+<base64 of kind and public key>`.

        Returns:
            The key.

        Raises:
            FormatError: It has another form, the key id is not of this name and key, the kind is not known, or it is
                an Ed25519 key that is no point of the curve or under which anyone can sign.
        """
        # At most two cuts: base64 may hold a plus sign itself.
        match vkey.split("+", 2):
            case [name, key_id, public_text] if _KEY_ID.fullmatch(key_id) is not None:
                check_name(name, "name of the verifier key")
            case _:
                raise FormatError("verifier key is malformed: expected <name>+<8 hex digits>+<base64>")
        public = parse_base64(public_text, "public key of the verifier key")
        try:
            kind = KeyKind(public[0])
        except ValueError as error:
            raise FormatError(
                f"verifier key is malformed: expected type 01, 04 or 06, got {public[:1].hex()}"
            ) from error
        size = 1 + kind.public_size
        if len(public) != size:
            raise FormatError(f"verifier key is malformed: expected {size} bytes of type {kind:02x}, got {len(public)}")
        key = cls(name=name, public_key=public[1:], kind=kind)
        if key.key_id.hex() != key_id:
            raise FormatError(f"verifier key is malformed: expected key id {key.key_id.hex()}, got {key_id}")
        if kind is not KeyKind.ML_DSA_44:
            _check_point(key)
        return key

    @property
    def key_id(self) -> bytes:
        """First four bytes of the hash of name, kind and public key."""
        return sha256(self.name.encode() + b"\n" + self._typed).digest()[:KEY_ID_SIZE]

    @property
    def vkey(self) -> str:
        """The key as text, as `parse` reads it."""
        return f"{self.name}+{self.key_id.hex()}+{encode_base64(self._typed)}"

    @property
    def label(self) -> str:
        """Name and key id, as messages name the key."""
        return f"{printable(self.name)}+{self.key_id.hex()}"

    def verify(self, message: bytes, signature: bytes) -> None:
        """Check a bare signature.

        Args:
            message: The signed bytes.
            signature: The signature, without a key id and without a time.

        Raises:
            VerificationError: It is not a signature of this key over this message.
            UnsupportedVersionError: It is an ML-DSA-44 key and the installed `cryptography` does not know them.
        """
        try:
            if self.kind is KeyKind.ML_DSA_44:
                import_ml_dsa().MLDSA44PublicKey.from_public_bytes(self.public_key).verify(signature, message)
            else:
                Ed25519PublicKey.from_public_bytes(self.public_key).verify(signature, message)
        except (InvalidSignature, ValueError) as error:
            raise VerificationError(f"signature does not verify under key {self.label}") from error

    @property
    def _typed(self) -> bytes:
        return bytes([self.kind]) + self.public_key


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidKey:
    """A key and the sizes of its log for which it speaks.

    A key that was retired goes on to vouch for what it signed, and for nothing that came later.

    Attributes:
        key: The key.
        first: Smallest tree size of a checkpoint it may sign.
        last: Largest one.
    """

    key: VerifierKey
    first: int = 0
    last: int = TREE_SIZE_MAX

    @classmethod
    def parse(cls, text: str) -> ValidKey:
        """Parse a key with its sizes.

        Args:
            text: A verifier key; ` from <size>` and ` until <size>` may follow, in this order.

        Returns:
            The key.

        Raises:
            FormatError: It has another form, or ends before it begins.
        """
        match = _VALID_KEY.fullmatch(text)
        if match is None:
            raise FormatError("key is malformed: expected <verifier key> [from <tree size>] [until <tree size>]")
        first = 0 if match["first"] is None else parse_decimal(match["first"], "first size of the key")
        last = TREE_SIZE_MAX if match["last"] is None else parse_decimal(match["last"], "last size of the key")
        if first > last:
            raise FormatError(f"key is malformed: valid from size {first} until size {last}")
        return cls(key=VerifierKey.parse(match["vkey"]), first=first, last=last)

    @property
    def text(self) -> str:
        """The key with its sizes, as `parse` reads it."""
        first = f" from {self.first}" if self.first else ""
        last = "" if self.last == TREE_SIZE_MAX else f" until {self.last}"
        return self.key.vkey + first + last

    def covers(self, size: int) -> bool:
        """Say whether the key may sign a checkpoint of this size."""
        return self.first <= size <= self.last


def parse_valid_keys(keys: str | Sequence[str]) -> tuple[ValidKey, ...]:
    """Parse several keys, each with the sizes it speaks for.

    Args:
        keys: Texts as `ValidKey.parse` takes them, or one text with a key on each line; empty lines and white space at
            the ends of a line are passed over.

    Returns:
        The keys in order; none for no text.

    Raises:
        FormatError: One of them is malformed.
    """
    texts = [keys] if isinstance(keys, str) else keys
    lines = [line.strip(" \t\r") for text in texts for line in text.split("\n")]
    return tuple(ValidKey.parse(line) for line in lines if line)


def require_keys(vkeys: str | Sequence[str]) -> tuple[ValidKey, ...]:
    """Parse the log keys that a person gave.

    Args:
        vkeys: One or more keys as `parse_valid_keys` takes them.

    Returns:
        The keys, at least one.

    Raises:
        InputError: One is malformed or cannot sign for a log, or there is none: a key cut short is a mistake of the
            caller, not a sign of tampering.
    """
    texts = [_require_text(vkey) for vkey in (vkeys if isinstance(vkeys, list | tuple) else [vkeys])]
    try:
        keys = parse_valid_keys(texts)
    except FormatError as error:
        hint = "" if "+" in "".join(texts) else _FILE_HINT
        raise InputError(f"public key: expected C2SP verifier keys as `init` printed them; {error}{hint}") from error
    if not keys:
        raise InputError("public key: expected at least one verifier key, got none")
    for valid in keys:
        _require_kind(valid.key, LOG_KINDS)
    return keys


def require_key(vkey: str) -> VerifierKey:
    """Parse the one Ed25519 log key that a person gave.

    Args:
        vkey: The key as text; white space around it is passed over.

    Returns:
        The key.

    Raises:
        InputError: It is malformed or of another kind.
    """
    try:
        key = VerifierKey.parse(_require_text(vkey).strip())
    except FormatError as error:
        hint = "" if "+" in vkey else _FILE_HINT
        raise InputError(f"public key: expected a C2SP verifier key as `init` printed it; {error}{hint}") from error
    _require_kind(key, frozenset({KeyKind.ED25519}))
    return key


def check_name(name: str, what: str) -> None:
    """Refuse a name that no key or origin may have.

    Args:
        name: The name.
        what: What it names, for the message.

    Raises:
        FormatError: It is empty or too long, or holds a space, a plus sign, a control character or a byte order mark.
    """
    try:
        size = len(name.encode())
    except UnicodeEncodeError as error:
        raise FormatError(f"{what} is malformed: expected text that has a UTF-8 form") from error
    has_bad_character = any(character.isspace() or character < " " or character in "+\ufeff" for character in name)
    if not 1 <= size <= KEY_NAME_SIZE_MAX or has_bad_character:
        raise FormatError(f"{what} is malformed: expected 1 to {KEY_NAME_SIZE_MAX} bytes without spaces and plus signs")


@cache
def import_ml_dsa() -> ModuleType:
    """Import ML-DSA where the installed `cryptography` has it.

    Returns:
        Its module `mldsa`.

    Raises:
        UnsupportedVersionError: It has none, or one that its OpenSSL cannot carry out.
    """
    try:
        from cryptography.hazmat.primitives.asymmetric import mldsa

        mldsa.MLDSA44PublicKey.from_public_bytes(bytes(KeyKind.ML_DSA_44.public_size))
    except (ImportError, UnsupportedAlgorithm) as error:
        raise UnsupportedVersionError(
            "key of type 06 (ML-DSA-44) cannot be used: the installed package cryptography does not know it; "
            "a newer version does"
        ) from error
    return mldsa


@lru_cache(maxsize=256)  # each commit reads the log's key again, three times
def _check_point(key: VerifierKey) -> None:
    """Refuse an Ed25519 key that is no point, is written in a second way, or under which anyone can sign."""
    y = int.from_bytes(key.public_key, "little") & (1 << 255) - 1
    if y >= _FIELD_PRIME or y in _SMALL_ORDER:
        raise FormatError(f"verifier key is malformed: {key.label} is not a key that only one party can sign with")
    # The square of the first coordinate is u/v; that it is one shows in u*v, by Euler's criterion.
    u, v = y * y - 1, _EDWARDS_D * y * y + 1
    if pow(u * v, (_FIELD_PRIME - 1) // 2, _FIELD_PRIME) != 1:
        raise FormatError(f"verifier key is malformed: {key.label} is not a point of the curve")


def _require_text(vkey: object) -> str:
    if not isinstance(vkey, str):
        raise InputError(f"public key: expected the text that `init` printed, got {type(vkey).__name__}")
    return vkey


def _require_kind(key: VerifierKey, kinds: frozenset[KeyKind]) -> None:
    if key.kind not in kinds:
        expected = " or ".join(f"{kind:02x}" for kind in sorted(kinds))
        raise InputError(f"public key: expected a log's key of type {expected}, got {key.label} of type {key.kind:02x}")
