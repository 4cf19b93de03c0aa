"""Signed notes (C2SP signed-note) with Ed25519 keys.

    example.org/delays                 text, ends with a newline
    17
    XcnaeacGWamtVZy3Ad7ZoqudgjqtL0lgz+Nw7/RgQyg=
                                       empty line: the last one of the note
    — example.org/delays 6YNSgs4h…     one or more signatures: key name, base64 of key id and signature

The signature covers the text with its last newline and nothing below it, so others may add their signatures. A checker
ignores signatures of keys it does not know; of those it knows every one must hold, and there must be one.

This module knows the signature type 01 (Ed25519 over the text). What the text says is for others to parse.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Final, Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from backstory.errors import FormatError, InputError, VerificationError
from backstory.tlog.limits import KEY_NAME_SIZE_MAX, NOTE_SIGNATURES_MAX, NOTE_SIZE_MAX
from backstory.tlog.text import encode_base64, parse_base64

if TYPE_CHECKING:
    from collections.abc import Iterable

_ED25519: Final = b"\x01"
_ED25519_KEY_SIZE: Final = 32
_KEY_ID_SIZE: Final = 4
_CONTROL: Final = re.compile(r"[\x00-\x09\x0b-\x1f]")
_KEY_ID: Final = re.compile(r"[0-9a-f]{8}")
_SIGNATURE_MARK: Final = "\N{EM DASH}"


class Signer(Protocol):
    """Whoever can sign for one key: a key in memory, a file, a hardware module."""

    @property
    def name(self) -> str:
        """Name of the key; a log's key has the log's origin as its name."""

    @property
    def vkey(self) -> str:
        """The verifier key, `<name>+<key id>+<public key>`."""

    def sign(self, message: bytes) -> bytes:
        """Sign a message.

        Args:
            message: The bytes to sign.

        Returns:
            The bare signature, without a key id.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifierKey:
    """The public half of a key, under its name.

    Attributes:
        name: Name of the key.
        public_key: Ed25519 public key, 32 bytes.
    """

    name: str
    public_key: bytes

    @classmethod
    def parse(cls, vkey: str) -> VerifierKey:
        """Parse a verifier key.

        Args:
            vkey: `<name>+<key id in hex>+<base64 of type and public key>`.

        Returns:
            The key.

        Raises:
            FormatError: It has another form, the key id is not of this name and key, or the type is not Ed25519 (01).
        """
        # At most two cuts: base64 may hold a plus sign itself.
        match vkey.split("+", 2):
            case [name, key_id, public_text] if _KEY_ID.fullmatch(key_id) is not None:
                check_name(name, "name of the verifier key")
            case _:
                raise FormatError("verifier key is malformed: expected <name>+<8 hex digits>+<base64>")
        public = parse_base64(public_text, "public key of the verifier key", 1 + _ED25519_KEY_SIZE)
        if not public.startswith(_ED25519):
            raise FormatError(f"verifier key is malformed: expected type 01 (Ed25519), got {public[:1].hex()}")
        key = cls(name=name, public_key=public[1:])
        if key.key_id.hex() != key_id:
            raise FormatError(f"verifier key is malformed: expected key id {key.key_id.hex()}, got {key_id}")
        return key

    @property
    def key_id(self) -> bytes:
        """First four bytes of the hash of name, type and public key."""
        return sha256(self.name.encode() + b"\n" + _ED25519 + self.public_key).digest()[:_KEY_ID_SIZE]

    @property
    def vkey(self) -> str:
        """The key as text, as `parse` reads it."""
        return f"{self.name}+{self.key_id.hex()}+{encode_base64(_ED25519 + self.public_key)}"

    def verify(self, message: bytes, signature: bytes) -> None:
        """Check a signature.

        Args:
            message: The signed bytes.
            signature: The bare signature, without a key id.

        Raises:
            VerificationError: It is not a signature of this key over this message.
        """
        try:
            Ed25519PublicKey.from_public_bytes(self.public_key).verify(signature, message)
        except (InvalidSignature, ValueError) as error:
            raise VerificationError(f"signature does not verify under key {self.name}+{self.key_id.hex()}") from error


def require_key(vkey: str) -> VerifierKey:
    """Read a verifier key that a person gave.

    Args:
        vkey: The key as text; white space around it is passed over.

    Returns:
        The key.

    Raises:
        InputError: It is malformed: a key cut short is a mistake of the caller, not a sign of tampering.
    """
    if not isinstance(vkey, str):
        raise InputError(f"public key: expected the text that `init` printed, got {type(vkey).__name__}")
    try:
        return VerifierKey.parse(vkey.strip())
    except FormatError as error:
        hint = "" if "+" in vkey else "; if this names a file, give what is in it"
        raise InputError(f"public key: expected a C2SP verifier key as `init` printed it; {error}{hint}") from error


class Ed25519Signer:
    """A signing key held in memory."""

    __slots__ = ("_key", "_verifier")

    def __init__(self, name: str, key: Ed25519PrivateKey) -> None:
        """Give a key its name.

        Args:
            name: Name of the key: no space, no plus sign.
            key: The private key.

        Raises:
            FormatError: The name is not usable.
        """
        check_name(name, "name of the signing key")
        self._key = key
        self._verifier = VerifierKey(name=name, public_key=key.public_key().public_bytes_raw())

    @classmethod
    def generate(cls, name: str) -> Ed25519Signer:
        """Make a new key from the system's randomness.

        Args:
            name: Name of the key: no space, no plus sign.

        Returns:
            A signer that nobody else has; keep its `seed`.

        Raises:
            FormatError: The name is not usable.
        """
        return cls(name, Ed25519PrivateKey.generate())

    @classmethod
    def from_seed(cls, name: str, seed: bytes) -> Ed25519Signer:
        """Restore a key from its seed.

        Args:
            name: Name of the key: no space, no plus sign.
            seed: The 32 secret bytes.

        Returns:
            The signer.

        Raises:
            FormatError: The name is not usable, or the seed has another size.
        """
        if len(seed) != _ED25519_KEY_SIZE:
            raise FormatError(f"seed is malformed: expected {_ED25519_KEY_SIZE} bytes, got {len(seed)}")
        return cls(name, Ed25519PrivateKey.from_private_bytes(seed))

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


@dataclass(frozen=True, slots=True, kw_only=True)
class NoteSignature:
    """One signature line of a note.

    Attributes:
        name: Name of the key.
        key_id: 4 bytes that tell keys of one name apart.
        signature: What follows the key id; its form depends on the kind of key.
    """

    name: str
    key_id: bytes
    signature: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """A note taken apart, nothing verified.

    Attributes:
        text: The signed text with its last newline.
        signatures: Every signature line in order, 1 to `NOTE_SIGNATURES_MAX`.
    """

    text: str
    signatures: tuple[NoteSignature, ...]


def parse_note(data: bytes) -> Note:
    """Take a signed note apart without verifying it.

    Args:
        data: The note, at most `NOTE_SIZE_MAX` bytes.

    Returns:
        Text and signatures.

    Raises:
        FormatError: It is too large, not UTF-8, holds control characters, or a line is not where it belongs.
    """
    if len(data) > NOTE_SIZE_MAX:
        raise FormatError(f"note is malformed: expected at most {NOTE_SIZE_MAX} bytes, got {len(data)}")
    try:
        content = data.decode()
    except UnicodeDecodeError as error:
        raise FormatError("note is malformed: expected UTF-8") from error
    text, separator, tail = content.rpartition("\n\n")
    if not separator or not tail.endswith("\n"):
        raise FormatError(
            "note is malformed: expected text, an empty line, and signature lines that end with a newline"
        )
    _check_text(content)
    # Only a newline ends a line; splitlines would also cut at the line separators of other scripts.
    lines = tail[:-1].split("\n")
    if len(lines) > NOTE_SIGNATURES_MAX:
        raise FormatError(f"note is malformed: expected at most {NOTE_SIGNATURES_MAX} signatures, got {len(lines)}")
    return Note(text=text + "\n", signatures=tuple(_parse_signature(line) for line in lines))


def sign_note(text: str, signer: Signer) -> bytes:
    """Sign a text as a note with one signature.

    Args:
        text: The text, ending with a newline.
        signer: Who signs.

    Returns:
        The note.

    Raises:
        FormatError: The text has no last newline or holds control characters, or the signer's key is malformed.
        VerificationError: The signer's signature does not fit its own verifier key.
    """
    if not text.endswith("\n"):
        raise FormatError("text of a note is malformed: expected a newline at its end")
    _check_text(text)
    key = VerifierKey.parse(signer.vkey)
    signature = signer.sign(text.encode())
    # A signer can be a device or a service; a note nobody can verify must not get out.
    key.verify(text.encode(), signature)
    note = f"{text}\n{_SIGNATURE_MARK} {key.name} {encode_base64(key.key_id + signature)}\n"
    return note.encode()


def verify_note(data: bytes, keys: Iterable[VerifierKey]) -> str:
    """Check a signed note.

    Args:
        data: The note.
        keys: The keys to accept. They must come from somewhere else than the note.

    Returns:
        The text, signed by at least one of the keys.

    Raises:
        FormatError: The note is malformed.
        InputError: Two of the keys cannot be told apart by name and key id.
        VerificationError: No signature is by one of the keys, or one claims to be does not hold.
    """
    note = parse_note(data)
    known: dict[tuple[str, bytes], VerifierKey] = {}
    for key in keys:
        if known.setdefault((key.name, key.key_id), key) != key:
            raise InputError(f"keys are ambiguous: two are called {key.name}+{key.key_id.hex()}")
    message_bytes = note.text.encode()
    is_signed = False
    for line in note.signatures:
        signing_key = known.get((line.name, line.key_id))
        if signing_key is not None:
            signing_key.verify(message_bytes, line.signature)
            is_signed = True
    if not is_signed:
        signers = ", ".join(f"{line.name}+{line.key_id.hex()}" for line in note.signatures)
        accepted = ", ".join(f"{name}+{key_id.hex()}" for name, key_id in known)
        raise VerificationError(f"note does not verify: signed by {signers}, expected {accepted}")
    return note.text


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


def _check_text(text: str) -> None:
    if _CONTROL.search(text) is not None or text.startswith("\ufeff"):
        raise FormatError("note is malformed: expected no control character but newline, and no byte order mark")


def _parse_signature(line: str) -> NoteSignature:
    match line.split(" "):
        case [mark, name, blob_text] if mark == _SIGNATURE_MARK:
            check_name(name, "key name of a signature line")
        case _:
            raise FormatError("signature line is malformed: expected an em dash, a key name and base64")
    blob = parse_base64(blob_text, "signature")
    if len(blob) <= _KEY_ID_SIZE:
        raise FormatError(f"signature is malformed: expected more than {_KEY_ID_SIZE} bytes, got {len(blob)}")
    return NoteSignature(name=name, key_id=blob[:_KEY_ID_SIZE], signature=blob[_KEY_ID_SIZE:])
