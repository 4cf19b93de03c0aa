"""Where a person is in an archive: everything that an erasure must reach, found before anything is destroyed.

A record is about a person if it was made with their id, or without any id from rows that are theirs, or if it is about
a record that is. Rows that came through a group or a window are the person's where all that went into it is theirs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from backstory.columns.arrow_type import unchunked
from backstory.columns.id_text import subject_column
from backstory.errors import NotFoundError
from backstory.governance.erasure_acts import listed_by_acts, openings_of_acts
from backstory.ledger.ledger import Ledger
from backstory.ledger.people_index import find_people_rows, unread_shards
from backstory.ledger.read import manifests
from backstory.ledger.sealed import erased_values, read_shard
from backstory.lineage.reference import Reference, parse_references
from backstory.lineage.trace import Tracer
from backstory.records import canonical
from backstory.records.access_record import ACCESS
from backstory.records.canonical import JsonObject, JsonValue
from backstory.records.envelope import PREDICTION
from backstory.records.identity import id_text
from backstory.records.manifest import MANIFEST_TYPE, Manifest, parse_manifest
from backstory.records.membership import tree_of
from backstory.records.schema import Schema
from backstory.records.sensitivity import SECURITY, STAFF, class_of_group

if TYPE_CHECKING:
    from numpy.typing import NDArray

_OTHERS = frozenset({STAFF, SECURITY})
"""Classes of what is about those who handled a person's records: it is not the person's."""

_TEXTS = ("recipient", "sealed_codes")
"""Members of entries about a prediction whose openings are about the person."""


@dataclass(slots=True, kw_only=True)
class Survey:
    """Where a person is.

    Attributes:
        records: By index of a manifest and row of its segment, the sealed groups that are about the person.
        ids: Ids of the records about the person, in order of what was found, by manifest and row.
        kinds: How many records of each kind are about the person.
        rows: Rows about the person, by dataset version, as numbers in its snapshot.
        mixed: Rows of tables of groups and windows that are the person's, by name of the shard.
        lost: Shards that hold values of the person's rows and cannot be rewritten: profiles, trees of persons.
        sketches: Shards with sketches of segments that have records of the person.
        leftovers: Shards with records of the person that no manifest names: of a lost log, or of a sealer that died.
        openings: Commitments of entries about the person's records whose openings are the person's, in hex.
        trees: Names of dataset versions and models whose tree of persons has the person in it, perhaps.
        models: Model versions trained on rows of the person, as `name:version`.
        sources: Names of the sources with rows about the person.
        unreadable: Shards that could not be looked into, as they or their keys are not here.
    """

    records: dict[int, dict[int, tuple[str, ...]]] = field(default_factory=dict)
    ids: dict[tuple[int, int], bytes] = field(default_factory=dict)
    kinds: dict[str, int] = field(default_factory=dict)
    rows: dict[str, NDArray[np.int64]] = field(default_factory=dict)
    mixed: dict[str, NDArray[np.int64]] = field(default_factory=dict)
    lost: dict[str, None] = field(default_factory=dict)
    sketches: dict[str, None] = field(default_factory=dict)
    leftovers: dict[str, None] = field(default_factory=dict)
    openings: dict[str, None] = field(default_factory=dict)
    trees: list[str] = field(default_factory=list)
    models: list[str] = field(default_factory=list)
    sources: dict[str, None] = field(default_factory=dict)
    unreadable: list[str] = field(default_factory=list)

    @property
    def has_any(self) -> bool:
        """Whether there is anything of the person."""
        return any(
            (self.records, self.rows, self.mixed, self.lost, self.sketches, self.leftovers, self.openings, self.models)
        )

    @property
    def values(self) -> int:
        """How many sealed groups of records and rows of tables there are to erase."""
        groups = sum(len(found) for rows in self.records.values() for found in rows.values())
        return groups + sum(map(len, self.rows.values())) + sum(map(len, self.mixed.values()))


def survey_person(ledger: Ledger, subject: str, until: int | None = None, erased: Iterable[bytes] = ()) -> Survey:
    """Look everywhere for a person; what waits in the spool is not looked at.

    Args:
        ledger: The archive.
        subject: The person's id as text.
        until: Look for records made up to this time, in nanoseconds, and for what is about them, and for nothing else:
            what is theirs since then is not what an erasure that began then is of.
        erased: Ids of records of the person that were erased: what is about them is looked for too.

    Raises:
        StorageError: Something cannot be read.
        VerificationError: Something was changed.
    """
    return _Surveyor(ledger, subject, until, frozenset(erased)).look()


class _Surveyor:
    """One look for a person through an archive."""

    def __init__(self, ledger: Ledger, subject: str, until: int | None, erased: frozenset[bytes]) -> None:
        """Look for a person."""
        self._ledger = ledger
        self._subject = subject
        self._until = until
        self._erased = erased
        self._tracer = Tracer(ledger)
        self._found = Survey()
        self._own: dict[str, NDArray[np.int64]] = {}
        """Rows of the person by dataset version, and numbers by group."""

    def look(self) -> Survey:
        """Look everywhere."""
        self._ledger.catch_up()
        self._look_at_sources()
        self._look_at_groups()
        if self._until is not None:  # they say which predictions are the person's; themselves they were erased at once
            self._found = Survey()
        for manifest, rows in find_people_rows(self._ledger, self._subject):
            (position,) = [at for at in self._ledger.catalog.segments(manifest.kind) if self._is_at(at, manifest)]
            self._add(position, manifest, self._in_time(manifest, np.asarray(rows, np.int64)))
        unread = unread_shards(self._ledger)
        if unread:
            self._found.unreadable.append(f"sealed values of {unread} segments, which, or whose keys, are not here")
        self._look_at_predictions()
        self._look_at_what_is_about_them()
        self._look_at_accesses()
        self._look_at_sketches()
        self._look_at_disclosures()
        self._look_at_acts()
        if self._until is None:
            self._look_at_models()
            self._look_at_leftovers()
        return self._found

    def _look_at_acts(self) -> None:
        """Find what holds that ended and roles keep of the person."""
        ids = frozenset(self._found.ids.values())
        subject = self._subject if self._until is None else None  # acts that name them were found at once
        self._found.openings |= dict.fromkeys(openings_of_acts(self._ledger, subject, ids))
        self._found.mixed |= listed_by_acts(self._ledger, self._found.ids)

    def _look_at_leftovers(self) -> None:
        """Find shards that nothing refers to and nobody will seal again."""
        waiting = set(self._ledger.spool.stream_names())
        for path in sorted(self._ledger.layout.vault.glob("*-*-*.shard")):
            stream, first, count = path.stem.split("-")
            end = int(first) + int(count)
            if stream in waiting or any(self._ledger.catalog.segments_with_seq(stream, int(first), end)):
                continue
            try:
                table = self._ledger.vault.read_table(path.name)
            except NotFoundError:
                continue
            if "subject" in table.column_names and self._subject in subject_column(table["subject"]).to_pylist():
                self._found.leftovers[path.name] = None

    def _is_at(self, position: int, manifest: Manifest) -> bool:
        return parse_manifest(self._ledger.log.entry(position)) == manifest

    def _in_time(self, manifest: Manifest, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the rows of records that were made in the time that is looked at."""
        if self._until is None or not len(rows):
            return rows
        times = self._column(manifest, "time").cast(pa.int64()).to_numpy(zero_copy_only=False)
        in_time: NDArray[np.int64] = rows[times[rows] <= self._until]
        return in_time

    def _add(self, position: int, manifest: Manifest, rows: NDArray[np.int64]) -> None:
        """Take records for the person's, unless they are already."""
        schema = self._ledger.schema(manifest.schema)
        of_person = tuple(group for group in schema.groups if class_of_group(group) not in _OTHERS)
        known = self._found.records.setdefault(position, {})
        new = [row for row in rows.tolist() if row not in known]
        if not new or not of_person:
            if not known:
                del self._found.records[position]
            return
        table = self._ledger.segment(manifest, checked=True)
        for row in new:
            known[row] = of_person
            self._found.ids[position, row] = table.read_rows(row, 1)["id"][0].as_py()
        self._found.kinds[manifest.kind] = self._found.kinds.get(manifest.kind, 0) + len(new)

    # --- sources and what was made of them ----------------------------------------------------------------------------

    def _look_at_sources(self) -> None:
        for entry in self._ledger.find_entries("source.fixed"):
            dataset, name = canonical.text_of(entry, "dataset"), canonical.text_of(entry, "name")
            document = self._ledger.document(dataset)
            column = document.get("subject")
            if document.get("personal") is not True or not isinstance(column, str) or dataset in self._own:
                continue
            try:
                subjects = subject_column(self._ledger.vault.read_table(f"{dataset}.shard")[column])
            except NotFoundError:
                self._look_elsewhere(dataset, name, entry)
                continue
            rows = np.flatnonzero(pc.equal(subjects, self._subject).fill_null(fill_value=False))
            self._own[dataset] = rows
            if len(rows):
                self._found.rows[dataset] = rows
                self._found.sources[name] = None
                self._lose_profile(entry)
                self._lose_tree(document, f"dataset {name}")

    def _look_elsewhere(self, dataset: str, name: str, entry: JsonObject) -> None:
        """Note a version whose rows are not here: where they are is the operator's, what checks them is destroyed."""
        if entry.get("kept") == "reference" and self._ledger.keys.has(f"{dataset}.shard"):
            self._found.unreadable.append(f"rows of source {name}, which are kept by reference elsewhere")

    def _lose_profile(self, entry: JsonObject) -> None:
        about = entry.get("about")
        if isinstance(about, str):
            self._lose_table(self._ledger.document(about).get("profile"), self._found.lost)

    def _lose_table(self, said: JsonValue, lost: dict[str, None]) -> None:
        name = said.get("sealed_table") if isinstance(said, dict) else None
        if isinstance(name, str) and self._ledger.vault.path(name).is_file():
            lost[name] = None

    def _lose_tree(self, holder: JsonObject, name: str) -> None:
        tree = tree_of(holder)
        if tree is not None and self._ledger.vault.path(f"{tree.key}.shard").is_file():
            self._found.lost[f"{tree.key}.shard"] = None
            self._found.trees.append(name)

    def _look_at_groups(self) -> None:
        """Find the groups and windows all of whose rows are the person's; groups stand on earlier ones."""
        for entry in self._ledger.find_entries("group.recorded"):
            digest = canonical.text_of(entry, "group")
            document = self._ledger.document(digest)
            refs = parse_references(document.get("refs"))
            if digest in self._own or not any(self._has_own(reference) for reference in refs.values()):
                continue
            edges = self._tracer.edges(digest)
            own = np.zeros(len(next(iter(edges.positions.values()))), np.bool_)
            for name, reference in refs.items():
                own |= self._mask(reference, edges.positions[name])
            sums = np.concatenate(([0], np.cumsum(own if edges.order is None else own[edges.order])))
            members = edges.ends - edges.begins
            numbers = np.flatnonzero((sums[edges.ends] - sums[edges.begins] == members) & (members > 0))
            self._own[digest] = numbers
            sealed = document.get("sealed_edges")
            if isinstance(sealed, str):
                if document.get("kind") == "window":
                    rows = np.flatnonzero(own)
                else:
                    rows = np.sort(np.concatenate([_run(edges, number) for number in numbers.tolist()] or [_NONE]))
                if len(rows):
                    self._found.mixed[sealed] = rows

    def _has_own(self, reference: Reference) -> bool:
        names = [reference.group] if reference.group is not None else [part.dataset for part in reference.parts]
        return any(len(self._own.get(name, _NONE)) for name in names)

    def _mask(self, reference: Reference, positions: NDArray[np.signedinteger[Any]]) -> NDArray[np.bool_]:
        """Return which positions of a reference are the person's."""
        if reference.group is not None:
            return np.isin(positions, self._own.get(reference.group, _NONE))
        mask = np.zeros(len(positions), np.bool_)
        for part in reference.parts:
            mask |= np.isin(positions, self._own.get(part.dataset, _NONE) + part.first)
        return mask

    # --- records ------------------------------------------------------------------------------------------------------

    def _look_at_predictions(self) -> None:
        """Find predictions that were made of the person's rows without saying whom they are about."""
        for position, manifest in manifests(self._ledger, PREDICTION):
            schema = self._ledger.schema(manifest.schema)
            ways = self._ways(manifest)
            if not ways or not any(c.name.startswith("row.") and c.group for c in schema.columns):
                continue
            sealed = self._sealed(manifest, schema)
            if sealed is None:
                continue
            context = self._column(manifest, "context").cast(pa.binary())
            row = unchunked(sealed["row"])
            free = np.ones(manifest.count, np.bool_)
            if "subject" in sealed.column_names:
                free = sealed["subject"].is_null().to_numpy()
            mine = np.zeros(manifest.count, np.bool_)
            for digest, references in ways.items():
                of_context = pc.equal(context, bytes.fromhex(digest)).fill_null(fill_value=False)  # null: it is gone
                for reference in references:
                    names = [name.name for name in row.type]
                    if reference.name in names:
                        positions = row.field(reference.name).fill_null(-2).to_numpy(zero_copy_only=False)
                        mine |= of_context.to_numpy(zero_copy_only=False) & self._mask(reference, positions)
            self._add(position, manifest, self._in_time(manifest, np.flatnonzero(mine & free)))

    def _ways(self, manifest: Manifest) -> dict[str, list[Reference]]:
        """Return, by context of a segment, the references that lead to rows of the person."""
        ways = {}
        for digest in manifest.contexts:
            refs = self._ledger.document(digest).get("refs")
            found = parse_references(refs).values() if isinstance(refs, dict) else ()
            leading = [reference for reference in found if self._has_own(reference)]
            if leading:
                ways[digest] = leading
        return ways

    def _sealed(self, manifest: Manifest, schema: Schema) -> pa.Table | None:
        """Return all sealed values of a segment; None where they are not here."""
        if manifest.shard is None:
            return None
        try:
            return read_shard(self._ledger, manifest.shard, schema.groups)
        except NotFoundError:
            self._found.unreadable.append(f"sealed values of {manifest.file.name}")
            return None

    def _column(self, manifest: Manifest, name: str) -> pa.Array:
        reader = self._ledger.segment(manifest, checked=True)
        return unchunked(reader.read_groups(range(reader.group_count), [name])[name])

    def _look_at_what_is_about_them(self) -> None:
        """Find records that are about one that was found: outcomes, corrections, later states of decisions."""
        kinds = sorted(self._kinds() - {PREDICTION, ACCESS.kind})
        while True:
            before = len(self._found.ids)
            wanted = pa.array(sorted(self._erased.union(self._found.ids.values())), pa.large_binary())
            for kind in kinds:
                for position, manifest in manifests(self._ledger, kind):
                    schema = self._ledger.schema(manifest.schema)
                    if schema.groups and any(c.name == "of" and c.group is None for c in schema.columns):
                        of = self._column(manifest, "of").cast(pa.large_binary())
                        rows = np.flatnonzero(pc.is_in(of, value_set=wanted))
                        self._add(position, manifest, self._left(manifest, rows))
            if len(self._found.ids) == before:
                return

    def _left(self, manifest: Manifest, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the rows of records that were not erased before; none of those whose sealed values are not here."""
        if not (self._erased and len(rows)):
            return rows
        try:
            gone = np.logical_or.reduce([*erased_values(self._ledger, manifest, 0, manifest.count).values()])
        except NotFoundError:
            self._found.unreadable.append(f"sealed values of {manifest.file.name}")
            return rows[:0]
        left: NDArray[np.int64] = rows[~gone[rows]]
        return left

    def _kinds(self) -> set[str]:
        entries = self._ledger.find_entries(MANIFEST_TYPE)
        return {canonical.text_of(entry, "kind") for entry in entries}

    def _look_at_accesses(self) -> None:
        """Find what was noted of reads of the person's records: after the erasure it must not lead to them."""
        if not self._found.ids:
            return
        streams = self._streams()
        wanted = set(self._found.ids.values())
        for position, manifest in manifests(self._ledger, ACCESS.kind):
            schema = self._ledger.schema(manifest.schema)
            sealed = self._sealed(manifest, schema)
            groups = {column.name: column.group for column in schema.columns}
            if sealed is None or groups.get("ids") is None:
                continue
            hits = [
                row
                for row, (ids, runs, dataset) in enumerate(
                    zip(*(sealed[name].to_pylist() for name in ("ids", "runs", "dataset")), strict=True)
                )
                if not wanted.isdisjoint(ids or ()) or _covers(runs or (), streams) or dataset in self._found.rows
            ]
            if hits:
                known = self._found.records.setdefault(position, {})
                for row in hits:
                    known.setdefault(row, (str(groups["ids"]),))

    def _streams(self) -> dict[str, list[int]]:
        """Return, by stream, the numbers of the person's records in it."""
        numbers: dict[str, list[int]] = {}
        for position, row in self._found.ids:
            manifest = parse_manifest(self._ledger.log.entry(position))
            numbers.setdefault(manifest.stream, []).append(manifest.first_seq + row)
        return numbers

    def _look_at_sketches(self) -> None:
        """Find the sketches of segments with records of the person: they keep some of the values."""
        ends = {(m.stream, m.first_seq) for m in map(self._manifest, self._found.records)}
        for entry in self._ledger.find_entries("segment.sketched"):
            if (canonical.text_of(entry, "stream"), canonical.count_of(entry, "first_seq")) in ends:
                models = self._ledger.document(canonical.text_of(entry, "sketches")).get("models")
                for model in models if isinstance(models, list) else ():
                    self._lose_table(model.get("sealed") if isinstance(model, dict) else None, self._found.sketches)

    def _manifest(self, position: int) -> Manifest:
        return parse_manifest(self._ledger.log.entry(position))

    # --- models and disclosures ---------------------------------------------------------------------------------------

    def _look_at_models(self) -> None:
        """Find the models that were trained on rows of the person, with what was kept of their training rows."""
        for entry in self._ledger.find_entries("model.registered"):
            name = f"{canonical.text_of(entry, 'name')}:{canonical.text_of(entry, 'version')}"
            training = self._ledger.document(canonical.text_of(entry, "model")).get("training")
            if not isinstance(training, dict):
                continue
            refs = parse_references(training.get("refs"))
            leading = {name: reference for name, reference in refs.items() if self._leads(reference)}
            if not leading or not self._is_trained(training, leading):
                continue
            self._found.models.append(name)
            self._lose_profile(entry)
            self._lose_tree(training, f"training set of {name}")

    def _leads(self, reference: Reference) -> bool:
        """Say whether a reference leads to rows of the person, directly or through groups with others' rows too."""
        if reference.group is None:
            return self._has_own(reference)
        refs = parse_references(self._ledger.document(reference.group).get("refs"))
        return any(self._leads(one) for one in refs.values())

    def _is_trained(self, training: JsonObject, leading: Mapping[str, Reference]) -> bool:
        try:
            positions = self._tracer.training(training)
        except NotFoundError:
            return True  # not known any more: said rather than left out
        return any(self._touches(reference, positions[name]) for name, reference in leading.items())

    def _touches(self, reference: Reference, positions: NDArray[np.signedinteger[Any]]) -> bool:
        if reference.group is None:
            return bool(self._mask(reference, positions).any())
        edges = self._tracer.edges(reference.group)
        numbers = np.unique(positions[positions >= 0]).tolist()
        rows = np.concatenate([_run(edges, number) for number in numbers] or [_NONE])
        return any(self._touches(one, edges.positions[name][rows]) for name, one in edges.refs.items())

    def _look_at_disclosures(self) -> None:
        """Find what was told of the person's predictions, and to whom."""
        names = {id_text(name) for name in self._found.ids.values()}
        for entry in self._ledger.find_entries("reasons.disclosed") if names else ():
            if entry.get("prediction") in names:
                texts = (entry.get(member) for member in _TEXTS)
                self._found.openings |= dict.fromkeys(text for text in texts if isinstance(text, str))


_NONE = np.empty(0, np.int64)


def _run(edges: Any, number: int) -> NDArray[np.int64]:  # noqa: ANN401  `Edges` of the tracer
    """Return the rows of a table of edges that belong to one group."""
    rows = np.arange(edges.begins[number], edges.ends[number])
    return rows if edges.order is None else edges.order[rows]


def _covers(runs: Iterator[Mapping[str, Any]] | Any, streams: Mapping[str, list[int]]) -> bool:  # noqa: ANN401
    """Say whether some of the records of streams are in runs of records."""
    return any(
        run["first"] <= number < run["first"] + run["count"]
        for run in runs
        for number in streams.get(run["stream"], ())
    )
