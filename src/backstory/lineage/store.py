"""Keeping lineage: snapshots become dataset versions, groups become edge tables, both become entries.

Nothing is written before something refers to it: a source that no model and no prediction used leaves no trace. Bytes:
docs/format.md sections 9 and 11.
"""

from __future__ import annotations

import functools
import hashlib
import hmac
import threading
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from backstory.columns.arrow_type import flat_fields, flatten
from backstory.columns.commit import personal_leaves
from backstory.columns.encode import BLOCK_ROWS, encode_columns
from backstory.columns.tree import leaf_hashes, root_of_subtrees, subtree_roots
from backstory.errors import FormatError, StorageError, VerificationError
from backstory.ledger.ledger import Ledger
from backstory.lineage.canary import grade_by_sample
from backstory.lineage.group import GroupNode
from backstory.lineage.passthrough import mixed_references
from backstory.lineage.reference import Part, Reference, parse_references
from backstory.lineage.refs import RowRefs
from backstory.lineage.resolve import BROKEN
from backstory.lineage.source import NOTHING_SAID, Origin, Snapshot, Sources
from backstory.records import canonical
from backstory.records.canonical import JsonObject, JsonValue
from backstory.records.limits import ROW_GROUP_ROWS
from backstory.records.schema import dataset_columns, dataset_schema
from backstory.storage.fork import renew_in_child
from backstory.storage.segment import SUBTREES_KEY, ParquetReader, segment_metadata, write_parquet

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from backstory.records.access import Gate

DATASET_KEY = "datasets"
GROUPS_KEPT = 48
"""Row groups of a snapshot that stay decoded: enough for questions about a source of 400,000 rows."""
_READERS_KEPT = 16
_SAMPLED_GROUPS = 4
"""Row groups that are read of a kept snapshot for a look at some of its rows."""
_SALT_SIZE = 8


class LineageStore:
    """Persists what row references point to, once."""

    def __init__(self, ledger: Ledger) -> None:
        """Keep lineage in an archive."""
        self._ledger = ledger
        self._lock = threading.RLock()
        renew_in_child(self, "_lock", threading.RLock)
        self._datasets: dict[int, str] = {}
        """Dataset version by the salt of its snapshot."""
        self._readers = functools.lru_cache(_READERS_KEPT)(
            lambda table: ParquetReader(self._ledger.blobs.checked_path(table))
        )
        self._groups: dict[int, str] = {}
        """Group document by the salt of its node."""

    def draw_salt(self) -> int:
        """Return 64 random bits for a new source or group."""
        return int.from_bytes(self._ledger.world.random_bytes(_SALT_SIZE), "big")

    def references(self, refs: RowRefs) -> dict[str, Reference]:
        """Persist what row references point to, and return the references by name."""
        grades = {name: grade_by_sample(refs, name) for name in refs.names}
        with self._lock:
            return {name: self.reference(refs.origins[name], grades[name]) for name in refs.names}

    def reference(self, origin: Origin, grade: str) -> Reference:
        """Persist one origin and return a reference to it."""
        if isinstance(origin, GroupNode):
            group = self._group(origin)
            refs = parse_references(self._ledger.document(group).get("refs"))
            personal = any(reference.personal for reference in refs.values())
            return Reference(name=origin.name, grade=grade, personal=personal, group=group)
        parts = [
            Part(dataset=self._dataset(snapshot), first=snapshot.first_position, rows=snapshot.rows)
            for snapshot in origin
        ]
        personal = any(snapshot.subject is not None for snapshot in origin)
        return Reference(name=origin[0].name, grade=grade, personal=personal, parts=tuple(parts))

    def restore(self, sources: Sources, reference: str) -> None:
        """Register the versions of sources of earlier sessions whose tokens a frame may carry.

        Those are the sources whose names the reference begins with; nothing happens if the session has one of the
        very name.

        Args:
            sources: The session's registry.
            reference: Name of an id column without `_row_`: a source's name, and what joins added to it.
        """
        with self._lock:
            known = sources.find(reference)
            if reference in known:
                return
            for name in (reference[:end] for end in range(len(reference), 0, -1)):
                if name not in known:
                    for parts in source_versions(self._ledger.find_entries("source.fixed", name)):
                        sources.add(name, tuple(self._restored(entry) for entry in parts))

    def _restored(self, entry: JsonObject) -> Snapshot:
        dataset = canonical.text_of(entry, "dataset")
        document = self._ledger.document(dataset)
        salt = int(canonical.text_of(entry, "salt"), 16)
        self._datasets[salt] = dataset
        subject, part, origin = document.get("subject"), entry.get("part"), entry.get("origin")
        keys, given = document.get("key"), entry.get("table")
        table = given if isinstance(given, str) else None
        return Snapshot(
            name=canonical.text_of(entry, "name"),
            part=part if isinstance(part, str) else None,
            first_position=canonical.count_of(entry, "first"),
            rows=canonical.count_of(entry, "rows"),
            salt=salt,
            key=tuple(str(key) for key in keys) if isinstance(keys, list) else (),
            subject=subject if isinstance(subject, str) else None,
            origin=origin if isinstance(origin, str) else None,
            about=NOTHING_SAID,  # it is in the log already
            columns=frozenset(dataset_columns(self._ledger.document(canonical.text_of(document, "schema")))),
            load=lambda: read_snapshot(self._ledger, dataset, table),
            sample=lambda rows, column: None if table is None else self._sample(table, rows, column),
        )

    def _sample(self, table: str, rows: NDArray[np.signedinteger[Any]], column: str) -> pa.ChunkedArray | None:
        """Return a column of a kept snapshot in those of some rows that a few row groups hold, null in the others."""
        groups = rows // ROW_GROUP_ROWS
        numbers, counts = np.unique(groups, return_counts=True)
        chosen = np.sort(numbers[np.argsort(counts)[-_SAMPLED_GROUPS:]])
        index = np.searchsorted(chosen, groups) * ROW_GROUP_ROWS + rows % ROW_GROUP_ROWS
        try:
            found = self._readers(table).read_groups(chosen.tolist(), [column])
        except (StorageError, FormatError):  # nothing to compare with; whoever asks for the rows is told
            return None
        if column not in found.column_names:  # a struct's field: the file has the struct
            return None
        return found[column].take(pa.array(index, mask=~np.isin(groups, chosen)))

    def _dataset(self, snapshot: Snapshot) -> str:
        known = self._datasets.get(snapshot.salt)
        if known is not None:
            return known
        table = snapshot.table()
        fields = flat_fields(table.schema)
        document: JsonObject = {
            "key": list(snapshot.key),
            "name": snapshot.name,
            "rows": str(table.num_rows),
            "schema": self._ledger.put_document(dataset_schema(fields)),
            "v": 1,
        }
        entry: JsonObject = {
            "first": str(snapshot.first_position),
            "name": snapshot.name,
            "origin": snapshot.origin,
            "part": snapshot.part,
            "rows": str(snapshot.rows),
            "salt": f"{snapshot.salt:016x}",
            "type": "source.fixed",
        }
        if snapshot.subject is None:
            digest, entry["table"] = self._keep_open(table, document)
        else:
            digest = self._keep_personal(table, {**document, "personal": True, "subject": snapshot.subject})
        if snapshot.about != NOTHING_SAID:
            entry["about"] = self._ledger.put_document(snapshot.about.document())
        self._ledger.append([{**entry, "dataset": digest}])
        self._datasets[snapshot.salt] = digest
        return digest

    def _keep_open(self, table: pa.Table, document: JsonObject) -> tuple[str, str]:
        """Store a snapshot in clear; return its version's digest and the blob's."""
        roots = subtree_roots(leaf_hashes(table))
        blob = self._ledger.blobs.put_with(
            lambda path: write_parquet(table, path, lambda: {SUBTREES_KEY: segment_metadata(b"", roots)[SUBTREES_KEY]})
        )
        columns: list[JsonValue] = [{"digest": digest, "name": name} for name, digest in column_digests(table)]
        whole: JsonObject = {**document, "columns": columns, "root": root_of_subtrees(roots).hex()}
        return self._ledger.put_document(whole), blob

    def _keep_personal(self, table: pa.Table, document: JsonObject) -> str:
        """Store a snapshot about people in the vault; return its version's digest."""
        key = self._ledger.keys.get_or_create(DATASET_KEY, "key")["key"]
        plain = root_of_subtrees(subtree_roots(leaf_hashes(table)))
        content = hmac.new(key, plain, hashlib.sha256).hexdigest()
        for entry in self._ledger.find_entries("source.fixed", canonical.text_of(document, "name")):
            digest = canonical.text_of(entry, "dataset")
            kept = self._ledger.document(digest)
            if kept.get("content") == content and {**kept, "root": ""} == {**document, "content": content, "root": ""}:
                return digest
        keys = {part: self._ledger.world.random_bytes(32) for part in ("salt_key", "shard_key")}
        root = root_of_subtrees(subtree_roots(personal_leaves(table, keys["salt_key"]))).hex()
        digest = canonical.digest_of({**document, "content": content, "root": root})
        self._ledger.keys.put(f"{digest}.shard", keys)
        self._ledger.vault.write_table(f"{digest}.shard", table, keys["shard_key"])
        return self._ledger.put_document({**document, "content": content, "root": root})

    def _group(self, node: GroupNode) -> str:
        known = self._groups.get(node.salt)
        if known is not None:
            return known
        mixed = mixed_references(node)
        refs = {name: self.reference(node.origins[name], "exact") for name in mixed}
        personal = any(reference.personal for reference in refs.values())
        edges = positions_table({name: node.refs[name] for name in mixed}).add_column(
            0, "group", pa.array(node.codes, pa.uint32())
        )
        if personal:
            kept = self.keep_sealed_positions(edges, self._groups_named(node.name))
        else:
            kept = self.keep_positions(edges)
        document: JsonObject = {
            "aggs": {output: [column, function] for output, (column, function) in node.aggs.items()},
            "by": list(node.by),
            "dropna": node.dropna,
            "groups": str(node.groups),
            "name": node.name,
            "refs": {name: reference.document() for name, reference in refs.items()},
            "v": 1,
            **kept,
        }
        digest = self._ledger.put_document(document)
        entry: JsonObject = {
            "group": digest,
            "groups": str(node.groups),
            "name": node.name,
            "salt": f"{node.salt:016x}",
            "type": "group.recorded",
        }
        self._ledger.append([entry])
        self._groups[node.salt] = digest
        return digest

    def _groups_named(self, name: str) -> Iterable[JsonObject]:
        entries = self._ledger.find_entries("group.recorded", name)
        return (self._ledger.document(canonical.text_of(entry, "group")) for entry in entries)

    def keep_positions(self, table: pa.Table) -> JsonObject:
        """Store a table of positions; return the member of the document that refers to it: `edges`, a blob."""
        return {"edges": self._ledger.blobs.put_with(lambda path: write_parquet(table, path))}

    def keep_sealed_positions(self, table: pa.Table, earlier: Iterable[JsonValue]) -> JsonObject:
        """Store a table of positions that point to people in the vault, unless an earlier document has the same.

        Args:
            table: The positions.
            earlier: Documents that may refer to the same positions.

        Returns:
            Members of the document that refers to it: `sealed_edges`, their salted `root`, how many `rows`, and the
            keyed `content` that equal positions share.
        """
        key = self._ledger.keys.get_or_create(DATASET_KEY, "key")["key"]
        names = canonical.encode(dataset_schema(flat_fields(table.schema)))  # which leaves do not hold
        plain = root_of_subtrees(subtree_roots(leaf_hashes(table))) + names
        content = hmac.new(key, plain, hashlib.sha256).hexdigest()
        for document in earlier:
            if isinstance(document, dict) and document.get("content") == content:
                return {member: document[member] for member in ("content", "root", "rows", "sealed_edges")}
        keys = {part: self._ledger.world.random_bytes(32) for part in ("salt_key", "shard_key")}
        root = root_of_subtrees(subtree_roots(personal_leaves(table, keys["salt_key"]))).hex()
        name = f"{root}.shard"
        self._ledger.keys.put(name, keys)
        self._ledger.vault.write_table(name, table, keys["shard_key"])
        return {"content": content, "root": root, "rows": str(table.num_rows), "sealed_edges": name}


def source_versions(entries: Iterable[JsonObject]) -> list[list[JsonObject]]:
    """Group the `source.fixed` entries of a source into its versions, oldest first, each its parts by position.

    A part belongs to the version before it unless that holds its positions already. Parts are recorded when first
    used, so the second may come before the first.
    """
    versions: list[list[JsonObject]] = []
    taken: list[tuple[int, int]] = []
    for entry in entries:
        first = canonical.count_of(entry, "first")
        end = first + canonical.count_of(entry, "rows")
        parts = isinstance(entry.get("part"), str) and versions and isinstance(versions[-1][-1].get("part"), str)
        if parts and all(end <= low or first >= high for low, high in taken):
            versions[-1].append(entry)
            taken.append((first, end))
        else:
            versions.append([entry])
            taken = [(first, end)]
    return [sorted(parts, key=lambda part: canonical.count_of(part, "first")) for parts in versions]


def note_sealed_positions(gate: Gate, question: str, document: JsonObject) -> None:
    """Record that a question reads the positions a group or training set refers to, where they are sealed.

    Raises:
        ForbiddenError: They are, and the gate lets nothing through.
    """
    if isinstance(document.get("sealed_edges"), str):
        gate.pass_through(question, ["positions"], canonical.count_of(document, "rows"))


def positions_table(positions: Mapping[str, np.ndarray]) -> pa.Table:
    """Return positions as the struct column `row`; a broken one is null."""
    arrays = [pa.array(values, pa.int64(), mask=values == BROKEN) for values in positions.values()]
    return pa.table({"row": pa.StructArray.from_arrays(arrays, names=list(positions))})


def column_digests(table: pa.Table) -> list[tuple[str, str]]:
    """Return each column's digest: SHA-256 over its one-column rows in order."""
    hashers = {name: hashlib.sha256() for name, _ in flat_fields(table.schema)}
    for start in range(0, table.num_rows, BLOCK_ROWS):
        for column in flatten(table.slice(start, BLOCK_ROWS)):
            hashers[column.name].update(encode_columns([column]).joined()[0])
    return [(name, hasher.hexdigest()) for name, hasher in hashers.items()]


def snapshot_reader(ledger: Ledger, dataset: str, table: str | None = None) -> ParquetReader | None:
    """Return a reader of a kept snapshot after checking the file's bytes; None for one about people.

    Args:
        ledger: The archive.
        dataset: Digest of the dataset version.
        table: Digest of the blob with its rows, as its `source.fixed` entry has it, if that was read already: looking
            for it takes all entries of the source.
    """
    if table is None:
        entries = ledger.find_entries("source.fixed", canonical.text_of(ledger.document(dataset), "name"))
        tables = (entry.get("table") for entry in entries if entry.get("dataset") == dataset)
        table = next((digest for digest in tables if isinstance(digest, str)), None)
    return None if table is None else ParquetReader(ledger.blobs.checked_path(table), GROUPS_KEPT)


def read_snapshot(ledger: Ledger, dataset: str, table: str | None = None) -> pa.Table:
    """Return all rows of a dataset version; for `table` see `snapshot_reader`."""
    reader = snapshot_reader(ledger, dataset, table)
    if reader is None:
        return personal_snapshot(ledger, dataset)
    return reader.read_groups(range(reader.group_count))


def personal_snapshot(ledger: Ledger, dataset: str) -> pa.Table:
    """Return all rows of a dataset version about people, after checking that they lead to its root.

    Raises:
        NotFoundError: They were erased.
        VerificationError: They are not those the version is of.
    """
    return checked_shard(ledger, f"{dataset}.shard", canonical.text_of(ledger.document(dataset), "root"))


def checked_shard(ledger: Ledger, name: str, root: str) -> pa.Table:
    """Return a table of the vault after checking that its salted rows lead to a root.

    Raises:
        NotFoundError: It was erased.
        VerificationError: It is not the one the root is of.
    """
    path = ledger.vault.path(name)
    table: pa.Table | None = None

    def root_now() -> str:
        nonlocal table
        table = ledger.vault.read_table(name)
        leaves = personal_leaves(table, ledger.keys.key(name, "salt_key"))
        return root_of_subtrees(subtree_roots(leaves)).hex()

    if path.is_file() and not ledger.checked.fits(path, root, root_now):
        raise VerificationError(f"lineage: rows in {name} do not lead to their root; they were changed")
    return ledger.vault.read_table(name) if table is None else table
