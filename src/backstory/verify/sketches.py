"""Checking what the log says of the values of segments: made once more from the records, it must be the same.

Only what of it can be read: sketches of people need the keys of the vault. Bytes: docs/format.md section 34.
"""

from __future__ import annotations

from typing import Final

import pyarrow as pa

from backstory.errors import BackstoryError, NotFoundError
from backstory.frames.sketch import COLUMNS, same_sketches
from backstory.frames.sketch_document import Sketched, by_model, is_sealed, parse_sealed, parse_sketched, said_of
from backstory.records import canonical
from backstory.records.canonical import JsonObject
from backstory.records.manifest import SKETCHED_TYPE, parse_manifest
from backstory.records.schema import parse_schema
from backstory.storage.blobs import BlobStore
from backstory.storage.disk import Disk
from backstory.storage.segment import ParquetReader, group_count_of
from backstory.storage.vault import Vault
from backstory.verify.audit import Audit
from backstory.verify.entries import Entries
from backstory.verify.held import Holdings, Part, held_file

_MEANS: Final = "what is told of drift in these records cannot be believed; the records are checked by themselves"
_MEANS_UNKNOWN: Final = "whether what is told of drift in these records is right is not known"
_READ: Final = ("time", "context", "status", *COLUMNS)


def check_sketches(audit: Audit, entries: Entries, holdings: Holdings) -> None:
    """Make the sketches of segments again and compare; those an earlier audit compared are left out."""
    known: set[tuple[str, int]] = set()
    for index, entry in entries.documents(SKETCHED_TYPE):
        place = f"entry {index}"
        try:
            stream, first = canonical.text_of(entry, "stream"), canonical.count_of(entry, "first_seq")
            at = holdings.manifest_at(stream, first)
            if at is None or at[0] > index or at[1] != canonical.count_of(entry, "count"):
                problem: str | None = "names no manifest before it"
            elif (stream, first) in known:
                problem = "is the second about these records"
            elif _were_erased(audit, entries, entry, at[0]) or index < audit.keeper.others_before:
                problem = None
            else:
                problem = _problem(audit, entries, holdings, entry, at[0])
            known.add((stream, first))
        except NotFoundError as error:  # erased, or kept elsewhere; what must be here is named where it is looked for
            audit.add("unknown", place, f"{SKETCHED_TYPE}: {error}", index=index, meaning=_MEANS_UNKNOWN)
            continue
        except (BackstoryError, OSError, pa.ArrowException) as error:
            what = error if isinstance(error, BackstoryError) else type(error).__name__
            problem = f"cannot be compared with the records: {what}"
        if problem is not None:
            audit.add("failed", place, f"{SKETCHED_TYPE}: {problem}", index=index, meaning=_MEANS)


def _were_erased(audit: Audit, entries: Entries, entry: JsonObject, manifest: int) -> bool:
    """Say whether the sketches went with values of their segment, some of which they kept."""
    document = entries.document(manifest)
    shard = None if document is None else parse_manifest(document).shard
    if shard is None or not audit.erased.get(shard.name):
        return False
    blobs = BlobStore(audit.layout.blobs, Disk())
    digest = canonical.text_of(entry, "sketches")
    said = parse_sketched(canonical.parse_object(blobs.get(digest), f"blob {digest}"))
    names = {canonical.text_of(one.sealed, "sealed_table") for one in said if one.sealed is not None}
    if not names or not names <= audit.lost:
        return False
    audit.lost -= names
    return True


def _problem(audit: Audit, entries: Entries, holdings: Holdings, entry: JsonObject, manifest: int) -> str | None:
    """Say how an entry differs from the records it is about, if it does."""
    blobs = BlobStore(audit.layout.blobs, Disk())

    def document(digest: str) -> JsonObject:
        return canonical.parse_object(blobs.get(digest), f"blob {digest}")

    said = parse_sketched(document(canonical.text_of(entry, "sketches")))
    file = held_file(holdings.holder_of(manifest), entries.document)
    part = next(part for part in file.parts if part.index == manifest)
    if part.gone:
        return None  # of records that are not there any more it cannot be made again
    vault = Vault(audit.layout.vault, audit.keys, Disk())
    path = audit.layout.segments / file.ref.name
    if not path.is_file():
        raise NotFoundError(f"{file.ref.name} is not here")
    table = _records(ParquetReader(path), part, vault)
    schema = parse_schema(blobs.get(part.manifest.schema))
    if any((one.sealed is not None) is not is_sealed(schema) for one in said):
        return f"has {'open' if is_sealed(schema) else 'sealed'} sketches of records whose values are not"
    again = {model: said_of(model, own) for model, own in by_model(document, table)}
    if [one.model for one in said] != list(again):
        return "is about other model versions than the records"
    wrong = [one.model for one in said if not _is_same(one, again[one.model], vault)]
    return f"is not what the records of model version {wrong[0]} give" if wrong else None


def _records(reader: ParquetReader, part: Part, vault: Vault) -> pa.Table:
    groups = range(part.first_group, part.first_group + group_count_of(part.manifest.count))
    table = reader.read_groups(groups, [name for name in _READ if name in reader.arrow_schema.names])
    if part.manifest.shard is not None:
        shard = vault.read_table(part.manifest.shard.name)
        for name in COLUMNS:
            if name in shard.column_names and name not in table.column_names:
                table = table.append_column(name, shard[name])
    return table


def _is_same(said: Sketched, again: Sketched, vault: Vault) -> bool:
    columns = said.columns
    if said.sealed is not None:
        columns = parse_sealed(vault.read_table(canonical.text_of(said.sealed, "sealed_table")), said.rows)
    return said.document() == again.document() and same_sketches(columns, again.columns)
