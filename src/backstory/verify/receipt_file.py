"""What files of receipts say, taken apart and not verified: `.tlog-proof` of one record, `.receipts` of many.

Bytes: docs/format.md section 14. Everything has one form: a file that says the same in another one is refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from backstory.errors import FormatError, UnsupportedVersionError
from backstory.records import canonical
from backstory.records.canonical import JsonObject, JsonValue
from backstory.records.identity import check_digest
from backstory.records.limits import RECEIPTS_COUNT_MAX, RECEIPTS_SIZE_MAX
from backstory.tlog.limits import HASH_SIZE, PROOF_HASHES_MAX
from backstory.tlog.proof_file import ProofFile, begins_proof_file, parse_proof_file
from backstory.tlog.text import parse_base64, parse_decimal

MANY_MAGIC: Final = b'{"backstory":"receipts",'
"""How a file of many receipts begins: its first member has the name that comes first."""

_ONE: Final = frozenset({"context", "entry", "index", "openings", "path", "row", "schema", "v"})
_MAY: Final = frozenset({"erased"})
_MANY: Final = frozenset({"backstory", "contexts", "entries", "nodes", "note", "receipts", "schemas", "v"})
_ENTRY: Final = frozenset({"entry", "index", "proof"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """What opens a commitment, or a field of one.

    Attributes:
        row: Row encoding of the columns, or of the one.
        salt: Its salt.
    """

    row: bytes
    salt: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldOpenings:
    """What opens some fields of a group that is committed to by field.

    Attributes:
        fields: The opened ones, by the name of the column.
        leaves: Leaves of all others, in order.
    """

    fields: dict[str, Opening]
    leaves: tuple[bytes, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What a file says of one record, nothing verified.

    Attributes:
        leaf_index: Index of the manifest entry in the log.
        entry: The manifest entry.
        proof: Its inclusion proof in the log.
        schema: The schema's canonical JSON.
        context: The context's canonical JSON; None where whoever made the file left it out.
        row: The record's row.
        index: The row's index in the segment.
        path: Its inclusion proof in the segment's tree.
        openings: What opens each opened group, by name.
        erased: Groups that whoever made the file says were erased.
    """

    leaf_index: int
    entry: bytes
    proof: tuple[bytes, ...]
    schema: bytes
    context: bytes | None
    row: bytes
    index: int
    path: tuple[bytes, ...]
    openings: dict[str, Opening | FieldOpenings]
    erased: tuple[str, ...]


def read_claim(file: ProofFile) -> Claim:
    """Read what a receipt of one record says.

    Raises:
        FormatError: It is malformed.
        UnsupportedVersionError: It is of a version that is not known here.
    """
    extra = canonical.parse_object(file.extra or b"", "receipt")
    check_version(extra, "receipt")
    _check_members(extra, _ONE, _MAY)
    return Claim(
        leaf_index=file.index,
        entry=_bytes(extra["entry"]),
        proof=file.proof,
        schema=_bytes(extra["schema"]),
        context=None if extra["context"] is None else _bytes(extra["context"]),
        row=_bytes(extra["row"]),
        index=canonical.count_of(extra, "index"),
        path=tuple(bytes.fromhex(check_digest(value, "receipt's path")) for value in _list(extra["path"])),
        openings=_openings(extra["openings"]),
        erased=_erased(extra),
    )


class ManyReceipts:
    """A file of many receipts; `claims` reads them one after another."""

    def __init__(self, data: bytes) -> None:
        """Take a file apart.

        Args:
            data: Its bytes.

        Raises:
            FormatError: It is malformed.
            UnsupportedVersionError: It is of a version that is not known here.
        """
        if len(data) > RECEIPTS_SIZE_MAX:
            raise FormatError(f"receipts: expected at most {RECEIPTS_SIZE_MAX} bytes, got more")
        document = canonical.parse_object(data, "receipts")
        check_version(document, "receipts")
        _check_members(document, _MANY)
        self._receipts = _list(document["receipts"])
        if not 0 < len(self._receipts) <= RECEIPTS_COUNT_MAX:
            raise FormatError(f"receipts: expected 1 to {RECEIPTS_COUNT_MAX} of them, got {len(self._receipts)}")
        self.note = canonical.text_of(document, "note").encode()
        """The signed checkpoint."""
        self._contexts = _Shared([_bytes(item) for item in _list(document["contexts"])], "contexts")
        self._schemas = _Shared([_bytes(item) for item in _list(document["schemas"])], "schemas")
        self._nodes = _Shared([_bytes(item, HASH_SIZE) for item in _list(document["nodes"])], "nodes")
        self._entries = _Shared([canonical.encode(item) for item in _list(document["entries"])], "entries")
        self._read_entries: dict[int, tuple[int, bytes, tuple[bytes, ...]]] = {}

    def claims(self) -> Iterator[Claim]:
        """Iterate over what the file says, a record at a time.

        Raises:
            FormatError: Something is malformed, out of order, there twice, or of no record.
        """
        last = (-1, -1)
        for document in self._receipts:
            claim = self._claim(document)
            if (claim.leaf_index, claim.index) <= last:
                raise FormatError("receipts: expected the records in the order of the log, each once")
            last = claim.leaf_index, claim.index
            yield claim
        for shared in (self._contexts, self._schemas, self._nodes, self._entries):
            shared.check_all_taken()

    def _claim(self, value: JsonValue) -> Claim:
        document = _check_members(value, _ONE - {"v"}, _MAY)
        leaf_index, entry, proof = self._entry(document["entry"])
        return Claim(
            leaf_index=leaf_index,
            entry=entry,
            proof=proof,
            path=self._hashes(document["path"]),
            schema=self._schemas.take(document["schema"]),
            context=None if document["context"] is None else self._contexts.take(document["context"]),
            row=_bytes(document["row"]),
            index=canonical.count_of(document, "index"),
            openings=_openings(document["openings"]),
            erased=_erased(document),
        )

    def _entry(self, position: JsonValue) -> tuple[int, bytes, tuple[bytes, ...]]:
        """Return index, bytes and proof of an entry; its nodes are taken where it is first named."""
        encoded, known = self._entries.take(position), len(self._read_entries)
        if position == known:
            document = _check_members(canonical.parse(encoded), _ENTRY)
            index = parse_decimal(canonical.text_of(document, "index"), "index of an entry")
            self._read_entries[known] = index, _bytes(document["entry"]), self._hashes(document["proof"])
        return self._read_entries[position]  # type: ignore[index]  # `take` refuses what is no int

    def _hashes(self, value: JsonValue) -> tuple[bytes, ...]:
        positions = _list(value)
        if len(positions) > PROOF_HASHES_MAX:
            raise FormatError(f"receipts: expected at most {PROOF_HASHES_MAX} hashes, got {len(positions)}")
        return tuple(self._nodes.take(position) for position in positions)


class _Shared:
    """A list of things that records share: each there once, in the order of first use, none unused."""

    def __init__(self, items: list[bytes], name: str) -> None:
        if len(set(items)) != len(items):
            raise FormatError(f"receipts: something stands twice in {name!r}")
        self._items, self._name, self._taken = items, name, 0

    def take(self, position: JsonValue) -> bytes:
        """Return what is at a position that was named before or is the next one."""
        if type(position) is not int or not 0 <= position <= self._taken or position >= len(self._items):
            raise FormatError(f"receipts: a position in {self._name!r} is not in the order of first use")
        self._taken = max(self._taken, position + 1)
        return self._items[position]

    def check_all_taken(self) -> None:
        """Refuse what no record named."""
        if self._taken != len(self._items):
            raise FormatError(f"receipts: {len(self._items) - self._taken} of {self._name!r} are of no record")


def note_in(data: bytes) -> bytes:
    """Return the signed checkpoint of a file of receipts, of either kind; any other bytes as they are.

    Nothing is verified: a note is opened with the log's key, and of a malformed file it is malformed too.

    Raises:
        FormatError: It begins as a file of receipts and is malformed.
        UnsupportedVersionError: It is of a version that is not known here.
    """
    if data.startswith(MANY_MAGIC):
        return ManyReceipts(data).note
    return parse_proof_file(data).note if begins_proof_file(data) else data


def check_version(document: JsonObject, what: str) -> None:
    """Insist on version 1, and tell a newer version from a wrong one.

    Raises:
        UnsupportedVersionError: It is a later version.
        FormatError: It has no version.
    """
    version = document.get("v")
    if type(version) is int and version > 1:
        raise UnsupportedVersionError(f"{what} is of version {version}, and cannot be checked: expected version 1")
    canonical.check_version(document, 1, what)


def _openings(value: JsonValue) -> dict[str, Opening | FieldOpenings]:
    if not isinstance(value, dict):
        raise FormatError("receipt: expected openings by group")
    return {group: _of_fields(one) if _is_by_field(one) else _opening(one) for group, one in value.items()}


def _is_by_field(value: JsonValue) -> bool:
    return isinstance(value, dict) and "fields" in value


def _of_fields(value: JsonValue) -> FieldOpenings:
    members = _check_members(value, frozenset({"fields", "leaves"}))
    fields = members["fields"]
    if not isinstance(fields, dict) or not fields:
        raise FormatError("receipt: expected openings by field, at least one")
    return FieldOpenings(
        fields={name: _opening(one) for name, one in fields.items()},
        leaves=tuple(bytes.fromhex(check_digest(leaf, "leaf of a field")) for leaf in _list(members["leaves"])),
    )


def _opening(value: JsonValue) -> Opening:
    members = _check_members(value, frozenset({"row", "salt"}))
    return Opening(row=_bytes(members["row"]), salt=bytes.fromhex(check_digest(members["salt"], "salt of an opening")))


def _erased(document: JsonObject) -> tuple[str, ...]:
    """Return the groups that are said to be erased: absent where there are none, otherwise in byte order."""
    if "erased" not in document:
        return ()
    groups = [group for group in _list(document["erased"]) if isinstance(group, str)]
    if not groups or groups != document["erased"] or groups != sorted(set(groups), key=str.encode):
        raise FormatError("receipt: expected the erased groups, each once and in order")
    return tuple(groups)


def _check_members(value: JsonValue, names: frozenset[str], others: frozenset[str] = frozenset()) -> JsonObject:
    if not isinstance(value, dict) or set(value) - others != names:
        raise FormatError(f"receipt: expected exactly {', '.join(sorted(names))}")
    return value


def _list(value: JsonValue) -> list[JsonValue]:
    if not isinstance(value, list):
        raise FormatError(f"receipt: expected a list, got {type(value).__name__}")
    return value


def _bytes(value: JsonValue, size: int | None = None) -> bytes:
    if not isinstance(value, str):
        raise FormatError(f"receipt: expected base64, got {type(value).__name__}")
    return parse_base64(value, "receipt", size)
