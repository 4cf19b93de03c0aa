"""What a file that proves membership says, taken apart and not verified. Bytes: docs/format.md section 25.

It has one form: a file that says the same in another one is refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from backstory.errors import FormatError
from backstory.records import canonical
from backstory.records.canonical import JsonObject, JsonValue
from backstory.records.identity import check_digest
from backstory.tlog.hashing import hash_leaf
from backstory.tlog.limits import PROOF_HASHES_MAX
from backstory.tlog.proof_file import ProofFile, encode_proof_file, parse_proof_file
from backstory.tlog.text import encode_base64, parse_base64, parse_decimal
from backstory.tlog.vrf import PROOF_SIZE
from backstory.verify.receipt_file import check_version

MAGIC: Final = b'{"backstory":"membership",'
"""How such a file begins: its first member has the name that comes first."""

FILE_SIZE_MAX: Final = 16 << 20

PRESENT: Final = "present"
ABSENT: Final = "absent"

_NEIGHBOURS_MAX: Final = 2
_COMMON: Final = frozenset({"backstory", "claim", "document", "leaves", "log", "v"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaf:
    """A leaf of a sorted tree with the way to its root.

    Attributes:
        index: Its number, from 0.
        leaf: 32 bytes: of rows the leaf's hash, of persons the leaf itself.
        path: Sibling hashes, leaf side first.
    """

    index: int
    leaf: bytes
    path: tuple[bytes, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedRow:
    """The row that is asked about: its encoding, and the canonical JSON of the dataset's schema.

    The file has the row's leaf hash too: another row that is absent as well would otherwise stand for it unnoticed.
    """

    row: bytes
    schema: bytes

    @property
    def leaf(self) -> bytes:
        """The row's leaf hash."""
        return hash_leaf(self.row)


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedSubject:
    """The person who is asked about: the id as text, and the proof of what the function gives for it."""

    text: str
    proof: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class MembershipClaim:
    """What a file says, nothing verified.

    Attributes:
        present: Whether what is asked about is said to be there.
        document: Canonical JSON of the dataset version's or model version's document.
        leaves: The leaf itself where it is present; otherwise the leaves next to where it would be.
        log: Proof of the entry that names the document; the entry is in `extra`.
        asked: What is asked about.
    """

    present: bool
    document: bytes
    leaves: tuple[Leaf, ...]
    log: ProofFile
    asked: AskedRow | AskedSubject


def encode_membership(claim: MembershipClaim) -> bytes:
    """Write a file.

    Raises:
        FormatError: Something in it has no form in such a file.
    """
    asked = claim.asked
    of: JsonObject = (
        {"row": {"leaf": asked.leaf.hex(), "row": encode_base64(asked.row), "schema": encode_base64(asked.schema)}}
        if isinstance(asked, AskedRow)
        else {"subject": {"proof": asked.proof.hex(), "text": asked.text}}
    )
    data = canonical.encode(
        {
            "backstory": "membership",
            "claim": PRESENT if claim.present else ABSENT,
            "document": encode_base64(claim.document),
            "leaves": [
                {"index": str(leaf.index), "leaf": leaf.leaf.hex(), "path": [node.hex() for node in leaf.path]}
                for leaf in claim.leaves
            ],
            "log": encode_proof_file(claim.log).decode(),
            "v": 1,
            **of,
        }
    )
    parse_membership(data)  # what a reader would refuse must not be handed out
    return data


def parse_membership(data: bytes) -> MembershipClaim:
    """Take a file apart.

    Raises:
        FormatError: It is malformed.
        UnsupportedVersionError: It is of a version that is not known here.
    """
    if len(data) > FILE_SIZE_MAX:
        raise FormatError(f"membership: expected at most {FILE_SIZE_MAX} bytes, got more")
    document = canonical.parse_object(data, "membership")
    check_version(document, "membership")
    named = set(document) - _COMMON
    if not set(document) > _COMMON or named not in ({"row"}, {"subject"}):
        raise FormatError(f"membership: expected exactly {', '.join(sorted(_COMMON))}, and row or subject")
    claim = document["claim"]
    if document["backstory"] != "membership" or claim not in (PRESENT, ABSENT):
        raise FormatError(f"membership: expected it to say {PRESENT!r} or {ABSENT!r}")
    leaves = document["leaves"]
    if not isinstance(leaves, list) or len(leaves) > _NEIGHBOURS_MAX:
        raise FormatError(f"membership: expected a list of at most {_NEIGHBOURS_MAX} leaves")
    log = parse_proof_file(_text(document["log"], "log").encode())
    if log.extra is None:
        raise FormatError("membership: expected the entry in the proof of it")
    return MembershipClaim(
        present=claim == PRESENT,
        document=_bytes(document["document"], "document"),
        leaves=tuple(_leaf(leaf) for leaf in leaves),
        log=log,
        asked=_row(document["row"]) if "row" in named else _subject(document["subject"]),
    )


def _leaf(value: JsonValue) -> Leaf:
    members = _members(value, {"index", "leaf", "path"})
    path = members["path"]
    if not isinstance(path, list) or len(path) > PROOF_HASHES_MAX:
        raise FormatError(f"membership: expected a path of at most {PROOF_HASHES_MAX} hashes")
    return Leaf(
        index=parse_decimal(_text(members["index"], "index"), "membership's index"),
        leaf=bytes.fromhex(check_digest(members["leaf"], "membership's leaf")),
        path=tuple(bytes.fromhex(check_digest(node, "membership's path")) for node in path),
    )


def _row(value: JsonValue) -> AskedRow:
    members = _members(value, {"leaf", "row", "schema"})
    asked = AskedRow(row=_bytes(members["row"], "row"), schema=_bytes(members["schema"], "schema"))
    if check_digest(members["leaf"], "membership's row") != asked.leaf.hex():
        raise FormatError("membership: its row is not the one whose hash stands beside it")
    return asked


def _subject(value: JsonValue) -> AskedSubject:
    members = _members(value, {"proof", "text"})
    proof = _text(members["proof"], "proof")
    if len(proof) != 2 * PROOF_SIZE or not set(proof) <= set("0123456789abcdef"):
        raise FormatError(f"membership: expected a proof of {2 * PROOF_SIZE} lower-case hex digits")
    return AskedSubject(text=_text(members["text"], "text"), proof=bytes.fromhex(proof))


def _members(value: JsonValue, names: set[str]) -> JsonObject:
    if not isinstance(value, dict) or set(value) != names:
        raise FormatError(f"membership: expected exactly {', '.join(sorted(names))}")
    return value


def _text(value: JsonValue, what: str) -> str:
    if not isinstance(value, str):
        raise FormatError(f"membership: expected {what} as text, got {type(value).__name__}")
    return value


def _bytes(value: JsonValue, what: str) -> bytes:
    return parse_base64(_text(value, what), f"membership's {what}")
