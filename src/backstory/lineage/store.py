"""Keeping lineage: snapshots become dataset versions, groups become edge tables, both become entries.

Nothing is written before something refers to it: a source that no model and no prediction used leaves no trace. Bytes:
docs/format.md sections 9 and 11.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from backstory.columns.arrow_type import flat_fields
from backstory.columns.commit import kept_leaves, personal_leaves
from backstory.columns.id_text import subject_texts
from backstory.columns.tree import leaf_hashes, root_of_subtrees, subtree_roots
from backstory.errors import FormatError, NotFoundError, StorageError, VerificationError
from backstory.frames.fingerprint import Fingerprinter
from backstory.frames.profile import Profile, parse_profile, profile_of
from backstory.ledger.ledger import Ledger
from backstory.ledger.sealed_table import DATASET_KEY, keep_sealed_table
from backstory.lineage.about import About
from backstory.lineage.canary import grade_by_sample
from backstory.lineage.derived import made_from
from backstory.lineage.group import MixNode
from backstory.lineage.origin import about_of
from backstory.lineage.passthrough import mixed_references
from backstory.lineage.reference import Part, Reference, parse_references
from backstory.lineage.referenced import REFERENCE, Places, ReferencedRows
from backstory.lineage.refs import RowRefs
from backstory.lineage.resolve import BROKEN
from backstory.lineage.source import NOTHING_SAID, Kept, Origin, Snapshot, Sources
from backstory.lineage.step import Steps
from backstory.lineage.step_store import keep_step
from backstory.lineage.subjects import keep_tree
from backstory.records import canonical
from backstory.records.canonical import JsonObject, JsonValue
from backstory.records.keyed import keyed
from backstory.records.limits import ROW_GROUP_ROWS
from backstory.records.membership import SUBJECTS
from backstory.records.schema import dataset_columns, dataset_schema
from backstory.records.sensitivity import PERSONAL_DOMAIN
from backstory.storage.fork import renew_in_child
from backstory.storage.segment import SUBTREES_KEY, ParquetReader, segment_metadata, write_parquet

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from backstory.records.access import Gate

GROUPS_KEPT = 48
"""Row groups of a snapshot that stay decoded: enough for questions about a source of 400,000 rows."""
_READERS_KEPT = 16
_SAMPLED_GROUPS = 4
"""Row groups that are read of a kept snapshot for a look at some of its rows."""
_SALT_SIZE = 8


class LineageStore:
    """Persists what row references point to, once."""

    def __init__(self, ledger: Ledger, places: Places | None = None) -> None:
        """Keep lineage in an archive.

        Args:
            ledger: The archive.
            places: Where the rows are that it keeps by reference; what it says itself, if not given.
        """
        self._ledger = ledger
        self._places = places or Places(ledger)
        self._lock = threading.RLock()
        renew_in_child(self, "_lock", threading.RLock)
        self._datasets: dict[int, str] = {}
        """Dataset version by the salt of its snapshot."""
        self._readers = functools.lru_cache(_READERS_KEPT)(
            lambda table: ParquetReader(self._ledger.blobs.checked_path(table))
        )
        self.steps = Steps()
        self._groups: dict[int, str] = {}
        """Group document by the salt of its node."""

    def draw_salt(self) -> int:
        """Return 64 random bits for a new source or group."""
        return int.from_bytes(self._ledger.world.random_bytes(_SALT_SIZE), "big")

    def references(self, refs: RowRefs) -> dict[str, Reference]:
        """Persist what row references point to, and return the references by name."""
        grades = {name: grade_by_sample(refs, name) for name in refs.names}
        with self._lock:
            found = {name: self.reference(refs.origins[name], grades[name]) for name in refs.names}
            self._keep_steps(refs)
            return found

    def _keep_steps(self, refs: RowRefs) -> None:
        """Persist the steps that worked on what row references point to."""
        runs = self.steps.take(refs.origins.values())
        while runs:
            try:
                keep_step(self._ledger, self, runs[0], self.steps.named)
            except BaseException:
                self.steps.put_back(runs)
                raise
            del runs[0]

    def personal_key(self) -> bytes:
        """Return the key of keyed digests of what is about people."""
        return self._ledger.keys.get_or_create(DATASET_KEY, "key")["key"]

    def reference(self, origin: Origin, grade: str) -> Reference:
        """Persist one origin and return a reference to it."""
        if isinstance(origin, MixNode):
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
            provable=frozenset(),  # as it was stored
            columns=frozenset(dataset_columns(self._ledger.document(canonical.text_of(document, "schema")))),
            load=lambda: read_snapshot(self._ledger, dataset, table, self._places),
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
        for parent in made_from(snapshot, self._datasets):
            self._dataset(parent)
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
            with_sorted = "rows" in snapshot.provable
            whole, blob = self._keep_open(table, document, snapshot.keep, with_sorted=with_sorted)
            entry |= {} if blob is None else {"table": blob}
            digest = canonical.digest_of(whole)
            profile = self._profile(snapshot, table, digest)
            self._ledger.put_document(whole)
        else:
            digest = self._keep_personal(
                table,
                {**document, "personal": True, "subject": snapshot.subject},
                snapshot.subject if SUBJECTS in snapshot.provable else None,
                snapshot.keep,
            )
            profile = self._profile(snapshot, table, digest)
        about = self._with_derivation(snapshot, digest, about_of(self._ledger, snapshot))
        if about.contract_text is not None:
            self._ledger.blobs.put(about.contract_text.encode())
        entry["about"] = self._ledger.put_document({**about.document(), "profile": profile})
        if snapshot.keep == REFERENCE and snapshot.reading is not None:
            entry["kept"] = REFERENCE
            self._places.remember(digest, snapshot.reading)
        self._ledger.append([{**entry, "dataset": digest}])
        self._datasets[snapshot.salt] = digest
        return digest

    def _with_derivation(self, snapshot: Snapshot, dataset: str, about: About) -> About:
        """Return what is said of a version with what it was made from, which is kept first; it is no parent of itself.

        Equal content is one version: rows that are fixed again as they were would otherwise be made from themselves.
        """
        if snapshot.derived is None or not snapshot.derived.origins:
            return about
        parents: dict[str, None] = {}
        waiting = [self.reference(origin, "exact") for origin in snapshot.derived.origins]
        while waiting:
            reference = waiting.pop()
            parents |= dict.fromkeys(part.dataset for part in reference.parts if part.dataset != dataset)
            if reference.group is not None:
                waiting += parse_references(self._ledger.document(reference.group).get("refs")).values()
        run = snapshot.derived.step
        step = None if run is None else keep_step(self._ledger, self, run, self.steps.named)
        return replace(about, parents=tuple(sorted(parents)), step=step)

    def _keep_open(
        self, table: pa.Table, document: JsonObject, keep: Kept, *, with_sorted: bool
    ) -> tuple[JsonObject, str | None]:
        """Store a snapshot in clear; return its version's document and the blob, None where it is kept by reference."""
        made = Fingerprinter(table.schema, with_sorted=with_sorted, keep_subtrees=True)
        made.add(table)
        roots = made.subtrees()
        whole: JsonObject = {**document, **made.fingerprint().document()}
        if keep == REFERENCE:
            return whole, None
        for entry in self._earlier(canonical.text_of(document, "name"), canonical.digest_of(whole)):
            blob = entry.get("table")
            if isinstance(blob, str) and self._ledger.blobs.path(blob).is_file():
                return whole, blob  # equal rows of other Arrow types would be other bytes
        return whole, self._ledger.blobs.put_with(
            lambda path: write_parquet(table, path, lambda: {SUBTREES_KEY: segment_metadata(b"", roots)[SUBTREES_KEY]})
        )

    def _profile(self, snapshot: Snapshot, table: pa.Table, dataset: str) -> JsonValue:
        """Store the profile of a version; return what its `about` says of it. Equal content has the one made first."""
        for entry in self._earlier(snapshot.name, dataset):
            about = entry.get("about")
            profile = self._ledger.document(about).get("profile") if isinstance(about, str) else None
            if profile is not None:
                return profile
        return self.keep_profile(table, sealed=snapshot.subject is not None)

    def keep_profile(self, table: pa.Table, *, sealed: bool) -> JsonValue:
        """Store the profile of a table; return what a document says of it, for `read_profile`."""
        document = profile_of([table]).document()
        if not sealed:
            return self._ledger.put_document(document)
        return self.keep_sealed(pa.table({"profile": [canonical.encode(document)]}), (), "sealed_table")

    def _earlier(self, name: str, dataset: str) -> Iterator[JsonObject]:
        """Yield the entries that recorded a version before; where its document is not there yet, none are looked at."""
        if not self._ledger.blobs.path(dataset).is_file():
            return iter(())
        entries = self._ledger.find_entries("source.fixed", name)
        return (entry for entry in entries if entry.get("dataset") == dataset)

    def _keep_personal(self, table: pa.Table, document: JsonObject, provable: str | None, keep: Kept) -> str:
        """Store a snapshot about people in the vault; return its version's digest.

        Args:
            table: The snapshot.
            document: What is said of the version so far.
            provable: Column of the persons who are to be provable.
            keep: Whether to store the rows too, or only what they are checked against.
        """
        key = self._ledger.keys.get_or_create(DATASET_KEY, "key")["key"]
        plain = root_of_subtrees(subtree_roots(leaf_hashes(table)))
        content = keyed(key, plain)
        for entry in self._ledger.find_entries("source.fixed", canonical.text_of(document, "name")):
            digest = canonical.text_of(entry, "dataset")
            kept = self._ledger.document(digest)
            same = {name: value for name, value in kept.items() if name not in {"root", SUBJECTS}}
            if same == {**document, "content": content} and (SUBJECTS in kept) is (provable is not None):
                self._keep_shard(digest, table, keep)
                return digest
        if provable is not None:
            tree = keep_tree(self._ledger, {**document, "content": content}, subject_texts(table[provable]))
            document = {**document, SUBJECTS: tree}
        keys = {part: self._ledger.world.random_bytes(32) for part in ("salt_key", "shard_key")}
        root = root_of_subtrees(subtree_roots(personal_leaves(table, keys["salt_key"]))).hex()
        digest = canonical.digest_of({**document, "content": content, "root": root})
        self._ledger.keys.put(f"{digest}.shard", keys)
        self._keep_shard(digest, table, keep)
        return self._ledger.put_document({**document, "content": content, "root": root})

    def _keep_shard(self, digest: str, table: pa.Table, keep: Kept) -> None:
        """Store the rows of a version about people under its keys, unless they are kept elsewhere or stored already."""
        name = f"{digest}.shard"
        if keep != REFERENCE and not self._ledger.vault.path(name).is_file() and self._ledger.keys.has(name):
            self._ledger.vault.write_table(name, table, self._ledger.keys.key(name, "shard_key"))

    def _group(self, node: MixNode) -> str:
        known = self._groups.get(node.salt)
        if known is not None:
            return known
        mixed = mixed_references(node)
        refs = {name: self.reference(node.origins[name], "exact") for name in mixed}
        personal = any(reference.personal for reference in refs.values())
        positions = positions_table({name: node.refs[name] for name in mixed})
        edges = pa.table({**node.memberships(), "row": positions["row"]})
        if personal:
            kept = self.keep_sealed_positions(edges, self._groups_named(node.name))
        else:
            kept = self.keep_positions(edges)
        documents: JsonObject = {name: reference.document() for name, reference in refs.items()}
        document: JsonObject = {**node.document(), "refs": documents, **kept}
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
        counters = ["begin", "end", "group", *(f"row.{field.name}" for field in table.schema.field("row").type)]
        return {"edges": self._ledger.blobs.put_with(lambda path: write_parquet(table, path, counters=counters))}

    def keep_sealed_positions(self, table: pa.Table, earlier: Iterable[JsonValue]) -> JsonObject:
        """Store a table of positions that point to people in the vault, unless an earlier document has the same.

        Args:
            table: The positions.
            earlier: Documents that may refer to the same positions.

        Returns:
            Members of the document that refers to it: `sealed_edges` and those of `keep_sealed`.
        """
        return self.keep_sealed(table, earlier, "sealed_edges")

    def keep_sealed(self, table: pa.Table, earlier: Iterable[JsonValue], member: str) -> JsonObject:
        """Store a table about people in the vault, unless an earlier document has the same.

        Args:
            table: The table.
            earlier: Documents that may refer to an equal one.
            member: Member of the document that names the shard: `sealed_edges` or `sealed_table`.

        Returns:
            Members of the document that refers to it: the shard's name, the salted `root` of its rows, how many `rows`,
            and the keyed `content` that equal tables share.
        """
        return keep_sealed_table(self._ledger, table, earlier, member)


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


def read_profile(ledger: Ledger, said: JsonValue) -> Profile | None:
    """Return a profile from what a document says of it; None if it says nothing. Sealed ones are read as they are.

    Raises:
        NotFoundError: It was erased.
        VerificationError: It is not the one that was recorded.
    """
    if isinstance(said, str):
        return parse_profile(ledger.document(said))
    if not isinstance(said, dict):
        return None
    table = checked_shard(ledger, canonical.text_of(said, "sealed_table"), canonical.text_of(said, "root"))
    return parse_profile(canonical.parse_object(table["profile"][0].as_py(), "profile"))


def positions_table(positions: Mapping[str, np.ndarray]) -> pa.Table:
    """Return positions as the struct column `row`; a broken one is null."""
    arrays = [pa.array(values, pa.int64(), mask=values == BROKEN) for values in positions.values()]
    return pa.table({"row": pa.StructArray.from_arrays(arrays, names=list(positions))})


def snapshot_reader(
    ledger: Ledger, dataset: str, table: str | None = None, places: Places | None = None
) -> ParquetReader | ReferencedRows | None:
    """Return a reader of a kept snapshot after checking the file's bytes; None for one about people.

    Where the rows are kept by reference alone, the reader reads them there and checks them against the version.

    Args:
        ledger: The archive.
        dataset: Digest of the dataset version.
        table: Digest of the blob with its rows, as its `source.fixed` entry has it, if that was read already: looking
            for it takes all entries of the source.
        places: Where rows are that are kept by reference; what the archive says itself, if not given.
    """
    if table is None:
        document = ledger.document(dataset)
        entries = ledger.find_entries("source.fixed", canonical.text_of(document, "name"))
        tables = (entry.get("table") for entry in entries if entry.get("dataset") == dataset)
        table = next((digest for digest in tables if isinstance(digest, str)), None)
        if table is None and document.get("personal") is not True:
            return ReferencedRows(places or Places(ledger), dataset)
    return None if table is None else ParquetReader(ledger.blobs.checked_path(table), GROUPS_KEPT)


def read_snapshot(ledger: Ledger, dataset: str, table: str | None = None, places: Places | None = None) -> pa.Table:
    """Return all rows of a dataset version; for `table` and `places` see `snapshot_reader`."""
    reader = snapshot_reader(ledger, dataset, table, places)
    if reader is None:
        return personal_snapshot(ledger, dataset, places)
    return reader.read_groups(range(reader.group_count))


def personal_snapshot(ledger: Ledger, dataset: str, places: Places | None = None) -> pa.Table:
    """Return all rows of a dataset version about people, after checking that they lead to its root.

    Raises:
        NotFoundError: They were erased, or are kept by reference and are gone.
        VerificationError: They are not those the version is of.
    """
    if not ledger.vault.path(f"{dataset}.shard").is_file():
        places = places or Places(ledger)
        if places.has(dataset):
            return places.rows(dataset)
    return checked_shard(ledger, f"{dataset}.shard", canonical.text_of(ledger.document(dataset), "root"))


def erased_rows(ledger: Ledger, dataset: str, places: Places | None = None) -> NDArray[np.bool_]:
    """Return which rows of a dataset version about people were erased; all of them where nothing of it is here.

    Raises:
        VerificationError: Its shard was changed.
    """
    name = f"{dataset}.shard"
    rows = canonical.count_of(ledger.document(dataset), "rows")
    if not ledger.vault.path(name).is_file() and (places or Places(ledger)).has(dataset):
        return np.zeros(rows, np.bool_)
    try:
        section = ledger.vault.open_sections(name)[PERSONAL_DOMAIN]
    except NotFoundError:
        return np.ones(rows, np.bool_)
    return ~section.salts(1).has(0, rows)[:, 0]


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
        section = ledger.vault.open_sections(name)[PERSONAL_DOMAIN]
        table = section.run(0, section.rows)
        return root_of_subtrees(subtree_roots(kept_leaves(table, section.salts(1)))).hex()

    if path.is_file() and not ledger.checked.fits(path, root, root_now):
        raise VerificationError(f"lineage: rows in {name} do not lead to their root; they were changed")
    return ledger.vault.read_table(name) if table is None else table
