"""Signed notes (C2SP signed-note): a text, and lines that sign it.

    example.org/delays                 text, ends with a newline
    17
    XcnaeacGWamtVZy3Ad7ZoqudgjqtL0lgz+Nw7/RgQyg=
                                       empty line: the last one of the note
    — example.org/delays 6YNSgs4h…     one or more signatures: key name, base64 of key id and signature

A signature covers the text with its last newline and nothing below it, so others may add theirs. A checker ignores
signatures of keys it does not know; of those it knows every one must hold, there must be one, and no key has two.

This module signs and checks with keys of type 01 (Ed25519 over the text, whatever it says). The other kinds sign what a
checkpoint says and are in `cosignature`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from backstory.errors import FormatError, InputError, VerificationError
from backstory.tlog.key import KEY_ID_SIZE, KeyKind, VerifierKey, check_name
from backstory.tlog.limits import NOTE_SIGNATURES_MAX, NOTE_SIZE_MAX
from backstory.tlog.text import encode_base64, parse_base64, printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from backstory.tlog.signer import Signer

_CONTROL: Final = re.compile(r"[\x00-\x09\x0b-\x1f]")
# Signers that a message names: others can add their lines to a note.
_NAMED_MAX: Final = 5
_SIGNATURE_MARK: Final = "\N{EM DASH}"


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

    @classmethod
    def parse(cls, line: str) -> NoteSignature:
        """Parse a signature line.

        Args:
            line: The line without its newline.

        Returns:
            Its parts.

        Raises:
            FormatError: It has another form.
        """
        match line.split(" "):
            case [mark, name, blob_text] if mark == _SIGNATURE_MARK:
                check_name(name, "key name of a signature line")
            case _:
                raise FormatError("signature line is malformed: expected an em dash, a key name and base64")
        blob = parse_base64(blob_text, "signature")
        if len(blob) <= KEY_ID_SIZE:
            raise FormatError(f"signature is malformed: expected more than {KEY_ID_SIZE} bytes, got {len(blob)}")
        return cls(name=name, key_id=blob[:KEY_ID_SIZE], signature=blob[KEY_ID_SIZE:])

    def encode(self) -> str:
        """Write the line with its newline."""
        return f"{_SIGNATURE_MARK} {self.name} {encode_base64(self.key_id + self.signature)}\n"


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
    return Note(text=text + "\n", signatures=tuple(NoteSignature.parse(line) for line in lines))


def sign_note(text: str, *signers: Signer) -> bytes:
    """Sign a text as a note.

    Args:
        text: The text, ending with a newline.
        signers: Who signs, at least one, each with an Ed25519 key (type 01); the lines are in this order.

    Returns:
        The note.

    Raises:
        FormatError: The text has no last newline or holds control characters, there is no signer or the same one twice,
            or a signer's key is malformed.
        InputError: A signer's key is of another kind.
        VerificationError: A signer's signature does not fit its own verifier key.
    """
    if not text.endswith("\n"):
        raise FormatError("text of a note is malformed: expected a newline at its end")
    _check_text(text)
    return encode_note(text, [sign_text(text, signer) for signer in signers])


def sign_text(text: str, signer: Signer) -> NoteSignature:
    """Make one signature line for a text.

    Args:
        text: The text, ending with a newline.
        signer: Who signs, with an Ed25519 key (type 01).

    Returns:
        The line.

    Raises:
        FormatError: The signer's key is malformed.
        InputError: The signer's key is of another kind.
        VerificationError: The signer's signature does not fit its own verifier key.
    """
    key = VerifierKey.parse(signer.vkey)
    _check_kind(key)
    return NoteSignature(name=key.name, key_id=key.key_id, signature=sign_checked(text.encode(), signer, key))


def sign_checked(message: bytes, signer: Signer, key: VerifierKey) -> bytes:
    """Let a signer sign, and check what comes back.

    Args:
        message: The bytes to sign.
        signer: Who signs.
        key: The signer's verifier key.

    Returns:
        The bare signature.

    Raises:
        VerificationError: The signature does not fit the key.
    """
    signature = signer.sign(message)
    # A signer can be a device or a service; a note nobody can verify must not get out.
    key.verify(message, signature)
    return signature


def encode_note(text: str, lines: Sequence[NoteSignature]) -> bytes:
    """Write a text and its signature lines as a note.

    Args:
        text: The text, ending with a newline.
        lines: The lines, 1 to `NOTE_SIGNATURES_MAX`.

    Returns:
        The note.

    Raises:
        FormatError: A reader would refuse it, or two lines are of one key.
    """
    if len({(line.name, line.key_id) for line in lines}) != len(lines):
        raise FormatError("note is malformed: expected one signature of each key")
    data = f"{text}\n{''.join(line.encode() for line in lines)}".encode()
    # What a reader would refuse must not be handed out.
    parse_note(data)
    return data


def add_signatures(data: bytes, lines: Sequence[NoteSignature]) -> bytes:
    """Add signature lines to a note; nothing is verified.

    Args:
        data: The note.
        lines: Lines to put at its end. One of a key that has a line there takes that line's place.

    Returns:
        The note with the lines.

    Raises:
        FormatError: The note is malformed, or would be over a limit.
    """
    note = parse_note(data)
    new = {(line.name, line.key_id) for line in lines}
    kept = [line for line in note.signatures if (line.name, line.key_id) not in new]
    return encode_note(note.text, [*kept, *lines])


def verify_note(data: bytes, keys: Iterable[VerifierKey]) -> str:
    """Check a signed note.

    Args:
        data: The note.
        keys: The Ed25519 keys (type 01) to accept. They must come from somewhere else than the note.

    Returns:
        The text, signed by at least one of the keys.

    Raises:
        FormatError: The note is malformed.
        InputError: A key is of another kind, or two of them cannot be told apart by name and key id.
        VerificationError: No signature is by one of the keys, or one that claims to be does not hold.
    """
    known = list(keys)
    for key in known:
        _check_kind(key)
    note = parse_note(data)
    lines = find_signatures(note, known)
    for key, line in lines:
        key.verify(note.text.encode(), line.signature)
    if not lines:
        raise unsigned(note, known)
    return note.text


def find_signatures(note: Note, keys: Iterable[VerifierKey]) -> list[tuple[VerifierKey, NoteSignature]]:
    """Find the signature lines of known keys; nothing is verified.

    Args:
        note: The note.
        keys: The keys to look for.

    Returns:
        Each line that names one of the keys, with that key, in the order of the note.

    Raises:
        InputError: Two of the keys cannot be told apart by name and key id.
        VerificationError: One of the keys has two lines.
    """
    known: dict[tuple[str, bytes], VerifierKey] = {}
    for key in keys:
        if known.setdefault((key.name, key.key_id), key) != key:
            raise InputError(f"keys are ambiguous: two are called {key.label}")
    found: dict[VerifierKey, NoteSignature] = {}
    for line in note.signatures:
        signing_key = known.get((line.name, line.key_id))
        if signing_key is None:
            continue
        if signing_key in found:
            raise VerificationError(f"note does not verify: two signatures of {signing_key.label}")
        found[signing_key] = line
    return list(found.items())


def unsigned(note: Note, keys: Iterable[VerifierKey]) -> VerificationError:
    """Make the error for a note without a signature that counts.

    Args:
        note: The note.
        keys: The keys that were accepted.

    Returns:
        The error to raise.
    """
    signers = ", ".join(f"{printable(line.name)}+{line.key_id.hex()}" for line in note.signatures[:_NAMED_MAX])
    if len(note.signatures) > _NAMED_MAX:
        signers += f" and {len(note.signatures) - _NAMED_MAX} more"
    accepted = ", ".join(key.label for key in keys)
    expected = f"expected {accepted}" if accepted else "and no key was given for that name"
    return VerificationError(f"note does not verify: signed by {signers}, {expected}")


def _check_text(text: str) -> None:
    if _CONTROL.search(text) is not None or text.startswith("\ufeff"):
        raise FormatError("note is malformed: expected no control character but newline, and no byte order mark")


def _check_kind(key: VerifierKey) -> None:
    if key.kind is not KeyKind.ED25519:
        raise InputError(
            f"key {key.label} is of type {key.kind:02x}: expected 01, the type that signs notes of any text"
        )
