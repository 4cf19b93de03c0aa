"""Making receipts: everything a stranger needs to check records. Bytes: docs/format.md section 14."""

from __future__ import annotations

import base64
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from backstory.columns.arrow_type import flatten
from backstory.columns.encode import encode_columns
from backstory.columns.tree import split_hashes
from backstory.errors import ConflictError, FormatError, InputError, LimitError, VerificationError
from backstory.ledger.ledger import Ledger
from backstory.ledger.opening import Openings, Wanted
from backstory.ledger.read import Found, Place, read_run
from backstory.records import canonical
from backstory.records.canonical import JsonObject, JsonValue
from backstory.records.identity import id_text
from backstory.records.limits import RECEIPTS_COUNT_MAX, RECEIPTS_SIZE_MAX, SUBTREE_ROWS
from backstory.storage.anchors import newest_cosigned
from backstory.storage.disk import save_file
from backstory.tlog.checkpoint import Checkpoint, open_checkpoint
from backstory.tlog.hashing import hash_leaf
from backstory.tlog.proof import inclusion_proof, verify_inclusion
from backstory.tlog.proof_file import ProofFile, encode_proof_file


@dataclass(frozen=True, slots=True)
class ReceiptFile:
    """A receipt as it goes out.

    Attributes:
        data: The bytes of the file, a C2SP `.tlog-proof`.
        id: Id of the record.
    """

    data: bytes
    id: str

    def save(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Write the receipt to a file, by convention `<id>.tlog-proof`, and return its path.

        Args:
            path: The file.
            overwrite: Whether a file that is there gives way.

        Raises:
            ConflictError: There is something at `path`, and it must stay.
            StorageError: It cannot be written.
        """
        return save_file(self.data, path, "receipt", overwrite=overwrite)

    def __repr__(self) -> str:
        """Return of what it is and its size."""
        return f"<ReceiptFile: record {self.id}, {len(self.data):,} bytes>"


@dataclass(frozen=True, slots=True)
class ReceiptsFile:
    """Receipts of many records as they go out, in one file.

    Attributes:
        data: The bytes of the file.
        ids: Ids of the records in the file's order, which is that of the log.
    """

    data: bytes
    ids: tuple[str, ...]

    def save(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Write the receipts to a file, by convention ending in `.receipts`, and return its path.

        Args:
            path: The file.
            overwrite: Whether a file that is there gives way.

        Raises:
            ConflictError: There is something at `path`, and it must stay.
            StorageError: It cannot be written.
        """
        return save_file(self.data, path, "receipt", overwrite=overwrite)

    def __repr__(self) -> str:
        """Return of how many records it is and its size."""
        return f"<ReceiptsFile: {len(self.ids):,} records, {len(self.data):,} bytes>"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Proven:
    """A record with its path in the segment's tree."""

    id: str
    place: Place
    row: bytes
    path: tuple[bytes, ...]
    context: str
    opened: JsonObject


def make_receipt(ledger: Ledger, found: Found, groups: tuple[str, ...], fields: Collection[str] = ()) -> ReceiptFile:
    """Make the receipt of a record under the newest checkpoint that others cosigned, else the published one.

    Args:
        ledger: The archive.
        found: The record.
        groups: Sealed groups to open in it; whether the holder may see them is the caller's question.
        fields: Columns to open besides, of groups that are committed to by field.

    Raises:
        ConflictError: The record is not sealed yet, or has no such group.
        NotFoundError: The sealed values or their keys are not here.
        VerificationError: The archive's bytes are not those the log committed to.
    """
    place = found.place
    if place is None:
        raise ConflictError(f"receipt: record {found.id} is not sealed yet; `flush()` or `backstory seal` does it")
    unknown = [group for group in groups if group not in found.schema.groups]
    if unknown:
        raise ConflictError(f"receipt: the record has no sealed group {', '.join(map(repr, unknown))}")
    (record,) = _prove(ledger, [place], Wanted(groups=frozenset(groups), fields=frozenset(fields)))
    entries, note, proofs = _prove_entries(ledger, [place.position])
    extra: JsonObject = {
        "context": _text(ledger.blobs.get(record.context)),
        "entry": _text(entries[0]),
        "index": str(place.row),
        **record.opened,
        "path": [sibling.hex() for sibling in record.path],
        "row": _text(record.row),
        "schema": _text(found.schema.encoded),
        "v": 1,
    }
    file = ProofFile(extra=canonical.encode(extra), index=place.position, proof=proofs[0], note=note)
    return ReceiptFile(encode_proof_file(file), found.id)


def make_receipts(
    ledger: Ledger,
    places: Sequence[Place],
    *,
    opened: Collection[str] | None,
    fields: Collection[str] = (),
    left_out: Collection[str] = (),
) -> ReceiptsFile:
    """Make one file of receipts of several records.

    Args:
        ledger: The archive.
        places: Where they are sealed.
        opened: Which of their sealed groups to open, None for all; whether the holder may see them is the caller's
            question.
        fields: Columns to open besides, of groups that are committed to by field.
        left_out: Digests of contexts that are left out: each record's row names its own.

    Raises:
        InputError: No record is asked for.
        LimitError: They are too many for one file.
        NotFoundError: Sealed values or their keys are not here.
        VerificationError: The archive's bytes are not those the log committed to.
    """
    distinct = sorted({(place.position, place.row): place for place in places}.items())
    if not distinct:
        raise InputError("receipts: expected at least one record")
    if len(distinct) > RECEIPTS_COUNT_MAX:
        raise LimitError(f"receipts: expected at most {RECEIPTS_COUNT_MAX:,} in one file, got {len(distinct):,}")
    ordered = [place for _, place in distinct]
    wanted = Wanted(groups=None if opened is None else frozenset(opened), fields=frozenset(fields))
    positions = list(dict.fromkeys(place.position for place in ordered))
    entries, note, proofs = _prove_entries(ledger, positions)
    contexts, schemas, nodes = _Shared(), _Shared(), _Shared()
    listed: list[JsonValue] = []
    receipts: list[JsonValue] = []
    ids: list[str] = []
    numbers: dict[int, int] = {}
    for record in _prove(ledger, ordered, wanted):
        position = record.place.position
        if position not in numbers:
            numbers[position] = entry = len(numbers)
            proof: list[JsonValue] = [nodes.add(node) for node in proofs[entry]]
            listed.append({"entry": _text(entries[entry]), "index": str(position), "proof": proof})
        path: list[JsonValue] = [nodes.add(node) for node in record.path]
        is_left_out = record.context in left_out
        receipts.append(
            {
                "context": None if is_left_out else contexts.add(ledger.blobs.get(record.context)),
                "entry": numbers[position],
                "index": str(record.place.row),
                **record.opened,
                "path": path,
                "row": _text(record.row),
                "schema": schemas.add(ledger.schema(record.place.manifest.schema).encoded),
            }
        )
        ids.append(record.id)
    file: JsonObject = {
        "backstory": "receipts",
        "contexts": contexts.texts(),
        "entries": listed,
        "nodes": nodes.texts(),
        "note": note.decode(),
        "receipts": receipts,
        "schemas": schemas.texts(),
        "v": 1,
    }
    data = canonical.encode(file)
    if len(data) > RECEIPTS_SIZE_MAX:
        raise LimitError(f"receipts: expected at most {RECEIPTS_SIZE_MAX:,} bytes in one file, got {len(data):,}")
    return ReceiptsFile(data, tuple(ids))


class _Shared:
    """Things that records share, each once, in the order of first use."""

    def __init__(self) -> None:
        self._positions: dict[bytes, int] = {}

    def add(self, item: bytes) -> int:
        """Return the position of a thing."""
        return self._positions.setdefault(item, len(self._positions))

    def texts(self) -> list[JsonValue]:
        """Return all of them in base64."""
        return [_text(item) for item in self._positions]


def prove_entry(ledger: Ledger, position: int) -> bytes:
    """Return a `.tlog-proof` of an entry, with the entry itself in `extra`; of which checkpoint, as in receipts.

    Raises:
        NotFoundError: The log has no such entry.
        VerificationError: It is not the entry the checkpoint commits to.
    """
    entries, note, proofs = _prove_entries(ledger, [position])
    return encode_proof_file(ProofFile(extra=entries[0], index=position, proof=proofs[0], note=note))


def _prove_entries(ledger: Ledger, positions: Sequence[int]) -> tuple[list[bytes], bytes, list[tuple[bytes, ...]]]:
    """Return entries, and a signed checkpoint with their inclusion proofs.

    It is the newest that a quorum of witnesses cosigned, where that covers them all, and otherwise the published one.
    """
    entries = [ledger.log.entry_bytes(position) for position in positions]
    cosigned = newest_cosigned(ledger.layout)
    if cosigned is not None:
        try:
            checkpoint = open_checkpoint(cosigned, ledger.layout.config.origin, ledger.log.keys)
            return entries, cosigned, _proofs(ledger, positions, entries, checkpoint)
        except (FormatError, VerificationError):
            pass  # of a smaller tree, damaged, or of another history, which is the audit's to report
    note, checkpoint = ledger.log.signed_checkpoint()  # once: another process may publish the next one meanwhile
    return entries, note, _proofs(ledger, positions, entries, checkpoint)


def _proofs(
    ledger: Ledger, positions: Sequence[int], entries: Sequence[bytes], checkpoint: Checkpoint
) -> list[tuple[bytes, ...]]:
    if positions[-1] >= checkpoint.size:
        raise VerificationError(f"receipt: entry {positions[-1]} is beyond the checkpoint of size {checkpoint.size}")
    proofs = [tuple(ledger.log.proof(position, checkpoint)) for position in positions]
    for position, entry, proof in zip(positions, entries, proofs, strict=True):
        verify_inclusion(hash_leaf(entry), position, checkpoint.size, proof, checkpoint.root)
    return proofs


def _prove(ledger: Ledger, places: Sequence[Place], wanted: Wanted) -> Iterator[_Proven]:
    """Read records in the order of the log, with their paths; what is next to each other is read once."""
    for _, of_entry in groupby(places, key=lambda place: place.position):
        in_entry = list(of_entry)
        manifest = in_entry[0].manifest
        schema = ledger.schema(manifest.schema)
        sealed = Openings(ledger, in_entry[0], schema, wanted)
        for number, of_run in groupby(in_entry, key=lambda place: place.row // SUBTREE_ROWS):
            in_run = list(of_run)
            run, leaves, roots = read_run(ledger, in_run[0])
            hashes, above = split_hashes(leaves), inclusion_proof(roots, number)
            records = run.take([place.row % SUBTREE_ROWS for place in in_run])
            opened = sealed.open(in_run, records)
            for at, (place, row) in enumerate(zip(in_run, encode_columns(flatten(records)).rows(), strict=True)):
                yield _Proven(
                    id=id_text(records["id"][at].as_py()),
                    place=place,
                    row=row,
                    path=(*inclusion_proof(hashes, place.row % SUBTREE_ROWS), *above),
                    context=records["context"][at].as_py().hex(),
                    opened=opened[at],
                )


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()
