"""Opening sealed values: what a shard holds is shown only where it opens the commitments of the records.

Whether they may be opened is the caller's question, and so is the proof of the records themselves. What was erased is
null; the commitments stay.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from backstory.columns.seal import merge_columns, pick_columns, wrong_openings
from backstory.errors import FormatError, NotFoundError, VerificationError
from backstory.ledger.ledger import Ledger
from backstory.records.manifest import FileRef, Manifest, parse_manifest
from backstory.records.schema import Schema
from backstory.records.sensitivity import groups_by_domain
from backstory.storage.segment import segment_range
from backstory.storage.shard_file import OpenSection

if TYPE_CHECKING:
    from numpy.typing import NDArray


def read_shard(ledger: Ledger, shard: FileRef, groups: Collection[str] | None = None) -> pa.Table:
    """Return the sealed values of a segment, for reading them as a whole; what was erased is null.

    The shard is the file its manifest names or, where values were erased since, what is left opens the commitments.

    Args:
        ledger: The archive.
        shard: The shard as the manifest names it.
        groups: The sealed groups that are wanted; None for all. Only the keys of their domains are needed.

    Raises:
        NotFoundError: The shard or its keys were erased.
        VerificationError: Its bytes were changed.
    """
    path = ledger.vault.path(shard.name)
    is_rewritten = any(section.is_rewritten for section in ledger.vault.sections(shard.name))
    if not is_rewritten:
        ledger.checked_path(ledger.layout.vault, shard)
    manifest = _manifest_of(ledger, shard)
    schema = ledger.schema(manifest.schema)
    wanted = _wanted(schema, groups)
    sections = _open(ledger, shard.name, wanted)
    runs = {domain: section.run(0, manifest.count) for domain, section in sections.items()}

    def check() -> str:
        reader = ledger.segment(manifest, checked=True)
        table = reader.read_groups(range(reader.group_count), ["commitment"])
        _insist_opens(shard.name, schema, wanted, sections, runs, 0, table)
        return shard.sha256

    if is_rewritten:
        ledger.checked.fits(path, f"{shard.sha256} {' '.join(wanted)}", lambda: f"{check()} {' '.join(wanted)}")
    return _columns(schema, wanted, runs.values())


def open_rows(
    ledger: Ledger, manifest: Manifest, first: int, rows: pa.Table, groups: Collection[str] | None = None
) -> pa.Table:
    """Return the sealed columns of records; what was erased is null.

    Args:
        ledger: The archive.
        manifest: Manifest of their segment, which has a shard.
        first: Row of the segment at which they begin.
        rows: The records as the segment has them, with their commitments.
        groups: The sealed groups that are wanted; None for all. Only the keys of their domains are needed.

    Raises:
        NotFoundError: The sealed values or their keys were erased.
        FormatError: The shard is malformed.
        VerificationError: The sealed values are not those the records committed to.
    """
    schema = ledger.schema(manifest.schema)
    if manifest.shard is None:
        raise FormatError(f"opening {manifest.file.name}: its manifest names no shard")
    wanted = _wanted(schema, groups)
    sections = _open(ledger, manifest.shard.name, wanted)
    for section in sections.values():
        if section.rows != manifest.count:
            what = f"expected {manifest.count} rows, got {section.rows}"
            raise FormatError(f"opening {manifest.shard.name}: {what}")
    runs = {domain: section.run(first, rows.num_rows) for domain, section in sections.items()}
    _insist_opens(manifest.shard.name, schema, wanted, sections, runs, first, rows)
    return _columns(schema, wanted, runs.values())


def erased_groups(ledger: Ledger, manifest: Manifest, row: int) -> tuple[str, ...]:
    """Return which sealed groups of a record were erased, in the schema's order.

    Args:
        ledger: The archive.
        manifest: Manifest of its segment.
        row: Its row in the segment.

    Raises:
        NotFoundError: The shard, or the keys of values of which some were erased, are not here.
        VerificationError: The shard was changed.
    """
    return tuple(group for group, gone in erased_values(ledger, manifest, row, 1).items() if gone[0])


def erased_values(ledger: Ledger, manifest: Manifest, first: int, rows: int) -> dict[str, NDArray[np.bool_]]:
    """Return for each sealed group in which of a run of records it was erased, in the schema's order.

    Raises:
        NotFoundError: The shard, or the keys of values of which some were erased, are not here.
        VerificationError: The shard was changed.
    """
    schema = ledger.schema(manifest.schema)
    found = {group: np.zeros(rows, np.bool_) for group in schema.groups}
    if manifest.shard is None:
        return found
    name = manifest.shard.name
    domains = [section.domain for section in ledger.vault.sections(name) if section.erased]
    by_domain = groups_by_domain(schema.groups)
    for domain, section in (ledger.vault.open_sections(name, domains) if domains else {}).items():
        gone = ~section.salts(len(by_domain[domain])).has(first, rows)
        found |= {group: gone[:, position] for position, group in enumerate(by_domain[domain])}
    return found


def _insist_opens(
    name: str,
    schema: Schema,
    wanted: Iterable[str],
    sections: dict[str, OpenSection],
    runs: dict[str, pa.Table],
    first: int,
    rows: pa.Table,
) -> None:
    by_domain = groups_by_domain(schema.groups)
    for domain, section in sections.items():
        salts, table = section.salts(len(by_domain[domain])), runs[domain]
        if table.num_rows != rows.num_rows:
            raise FormatError(f"opening {name}: expected {rows.num_rows} rows from {first} on, got {table.num_rows}")
        for group in by_domain[domain]:
            try:
                wrong = group in wanted and len(wrong_openings(schema, group, table, salts, first, rows["commitment"]))
            except (KeyError, pa.ArrowException) as error:
                raise FormatError(f"opening {name}: its columns are not those of the schema") from error
            if wrong:
                raise VerificationError(
                    f"opening {name}: sealed values of group {group!r} do not open their commitments; they were changed"
                )


def _wanted(schema: Schema, groups: Collection[str] | None) -> tuple[str, ...]:
    return tuple(group for group in schema.groups if groups is None or group in groups)


def _open(ledger: Ledger, name: str, wanted: Iterable[str]) -> dict[str, OpenSection]:
    return ledger.vault.open_sections(name, list(groups_by_domain(wanted)))


def _columns(schema: Schema, wanted: Collection[str], tables: Iterable[pa.Table]) -> pa.Table:
    """Return the columns of groups, in the schema's order."""
    whole: pa.Table | None = None
    for table in tables:
        whole = table if whole is None else merge_columns(whole, table)
    names = [column.name for column in schema.columns if column.group in wanted]
    return pa.table({}) if whole is None else pick_columns(whole, names)


def _manifest_of(ledger: Ledger, shard: FileRef) -> Manifest:
    """Return the manifest that names a shard.

    Raises:
        NotFoundError: The log has none.
    """
    where = segment_range(shard.name.replace(".shard", ".parquet"))
    for position in ledger.catalog.segments_with_seq(*where) if where else ():
        manifest = parse_manifest(ledger.log.entry(position))
        if manifest.shard == shard:
            return manifest
    raise NotFoundError(f"opening {shard.name}: the log names no such shard")
