"""Making a receipt: everything a stranger needs to check one record. Bytes: docs/format.md section 14."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from pathlib import Path

from backstory.columns.arrow_type import flatten
from backstory.columns.commit import salts
from backstory.columns.encode import encode_columns
from backstory.columns.seal import pick_columns
from backstory.columns.tree import split_hashes
from backstory.errors import ConflictError
from backstory.ledger.ledger import Ledger
from backstory.ledger.read import Found, read_run
from backstory.records import canonical
from backstory.records.canonical import JsonObject
from backstory.records.commitment import verify_opening
from backstory.records.limits import SUBTREE_ROWS
from backstory.storage.disk import Disk
from backstory.tlog.proof import inclusion_proof
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
        file = Path(path)
        if not overwrite and file.exists():
            raise ConflictError(f"receipt: expected nothing at {file}; overwrite=True replaces it")
        Disk().write(file, self.data)
        return file

    def __repr__(self) -> str:
        """Return of what it is and its size."""
        return f"<ReceiptFile: record {self.id}, {len(self.data):,} bytes>"


def make_receipt(ledger: Ledger, found: Found, groups: tuple[str, ...]) -> ReceiptFile:
    """Make the receipt of a record under the published checkpoint.

    Args:
        ledger: The archive.
        found: The record.
        groups: Sealed groups to open in it; whether the holder may see them is the caller's question.

    Raises:
        ConflictError: The record is not sealed yet.
        NotFoundError: The sealed values were erased.
    """
    place = found.place
    if place is None:
        raise ConflictError(f"receipt: record {found.id} is not sealed yet; `flush()` or `backstory seal` does it")
    run, leaves, roots = read_run(ledger, place)
    number, within = divmod(place.row, SUBTREE_ROWS)
    path = inclusion_proof(split_hashes(leaves), within) + inclusion_proof(roots, number)
    row = next(encode_columns(flatten(run.slice(within, 1))).rows())
    note, checkpoint = ledger.log.signed_checkpoint()  # once: another process may publish the next one meanwhile
    context = ledger.blobs.get(found.table["context"][0].as_py().hex())
    extra: JsonObject = {
        "context": _text(context),
        "entry": _text(ledger.log.entry_bytes(place.position)),
        "index": str(place.row),
        "openings": {group: _opening(ledger, found, group) for group in groups},
        "path": [sibling.hex() for sibling in path],
        "row": _text(row),
        "schema": _text(found.schema.encoded),
        "v": 1,
    }
    file = ProofFile(
        extra=canonical.encode(extra),
        index=place.position,
        proof=tuple(ledger.log.proof(place.position, checkpoint)),
        note=note,
    )
    return ReceiptFile(encode_proof_file(file), found.id)


def _opening(ledger: Ledger, found: Found, group: str) -> JsonObject:
    """Return the salt and row that open a sealed group of a record.

    Raises:
        ConflictError: The record has no such group.
        VerificationError: The sealed values are not those the record committed to.
    """
    place, schema = found.place, found.schema
    if place is None or place.manifest.shard is None or group not in schema.groups:
        raise ConflictError(f"receipt: record {found.id} has no sealed group {group!r}")
    shard = place.manifest.shard.name
    sealed = ledger.vault.read_table(shard).slice(place.row, 1)
    columns = pick_columns(sealed, [column.name for column in schema.group_columns(group)])
    salt_key = ledger.keys.key(shard, "salt_key")
    salt = salts(salt_key, place.row, 1, len(schema.groups))[0, schema.groups.index(group)].tobytes()
    row = next(encode_columns(flatten(columns)).rows())
    verify_opening(found.table["commitment"][0].as_py()[group], group, salt, row)
    return {"row": _text(row), "salt": salt.hex()}


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()
