"""Rows that are kept by reference: read again where they are, and believed only if they are the ones that were fixed.

The log holds what the rows were; their place holds the rows. Where the place has others by now, or none, a question is
answered with an error that says so, and the log verifies as before.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from backstory.columns.arrow_type import flat_fields
from backstory.columns.commit import personal_leaves
from backstory.columns.tree import leaf_hashes, root_of_subtrees, subtree_roots
from backstory.errors import BackstoryError, InputError, NotFoundError, StorageError, VerificationError
from backstory.frames.reading import Read, Reading, again
from backstory.frames.token import id_columns
from backstory.lineage.origin import changed_files, recorded_place
from backstory.records import canonical
from backstory.records.canonical import JsonObject
from backstory.records.keyed import is_under, keyed
from backstory.records.limits import ROW_GROUP_ROWS
from backstory.records.names import names_instead
from backstory.records.schema import dataset_schema
from backstory.storage.fork import renew_in_child
from backstory.storage.segment import group_count_of

if TYPE_CHECKING:
    import pyarrow as pa

    from backstory.ledger.ledger import Ledger
from backstory.ledger.sealed_table import DATASET_KEY

REFERENCE: Final = "reference"
State: TypeAlias = Literal["same", "changed", "gone", "unread"]
_TABLES_KEPT: Final = 4
_SHOWN_DIGITS: Final = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaceCheck:
    """What became of rows that are kept by reference.

    Attributes:
        name: The source.
        dataset: Digest of the dataset version.
        rows: How many rows it has.
        place: Where they were read, or should be.
        state: `same`; `changed`: other rows are there; `gone`: nothing is; `unread`: it could not be read.
        what: What is wrong; empty where nothing is.
    """

    name: str
    dataset: str
    rows: int
    place: str
    state: State
    what: str = ""


class Places:
    """Where the rows are that one open archive keeps by reference. Safe to use from several threads."""

    def __init__(self, ledger: Ledger) -> None:
        """Know what the archive says of places, and nothing else yet."""
        self._ledger = ledger
        self._lock = threading.RLock()
        renew_in_child(self, "_lock", threading.RLock)
        self._located: dict[str, Reading] = {}
        self._tables: OrderedDict[str, pa.Table] = OrderedDict()

    def remember(self, dataset: str, reading: Reading) -> None:
        """Read the rows of a dataset version here from now on, in this session."""
        with self._lock:
            self._located[dataset] = reading

    def forget(self) -> None:
        """Let go of the rows that were read."""
        with self._lock:
            self._tables.clear()

    def has(self, dataset: str) -> bool:
        """Say whether a dataset version was kept by reference, once at least."""
        return bool(self._entries(dataset))

    def rows(self, dataset: str) -> pa.Table:
        """Return the rows of a dataset version, read again where they are and checked.

        Raises:
            NotFoundError: They are not there any more.
            VerificationError: Other rows are there.
            StorageError: They cannot be read, or have to be located first.
        """
        with self._lock:
            if dataset not in self._tables:
                self._tables[dataset], _ = self._read(dataset)
                if len(self._tables) > _TABLES_KEPT:
                    self._tables.popitem(last=False)
            self._tables.move_to_end(dataset)
            return self._tables[dataset]

    def locate(self, name: str, reading: Reading) -> tuple[str, ...]:
        """Read from somewhere, and use it for the dataset versions whose rows are there.

        Args:
            name: The source.
            reading: Where its rows are.

        Returns:
            Digests of the versions.

        Raises:
            NotFoundError: No version of such a source is kept by reference, or nothing is there.
            VerificationError: The rows there are of no version of it.
        """
        wanted = self._versions(name)
        table, _ = _read_again(reading)
        found = tuple(dataset for dataset in wanted if self._fits(dataset, table))
        if not found:
            raise VerificationError(
                f"locate: expected the rows of a version of {name} that is kept by reference, got others ({name})"
            )
        for dataset in found:
            self.remember(dataset, reading)
        return found

    def check(self, spec: str | None) -> list[PlaceCheck]:
        """Read everything that is kept by reference again, and say of each dataset version what became of it.

        Args:
            spec: Name of a source, or the beginning of a version's digest; None for all.

        Raises:
            NotFoundError: Nothing of that name is kept by reference.
        """
        return [self._checked(dataset) for dataset in self._versions(spec)]

    def _checked(self, dataset: str) -> PlaceCheck:
        document = self._ledger.document(dataset)
        place = _place_of(self._origin(self._entries(dataset)[-1]))
        state: State = "same"
        what = ""
        try:
            _, place = self._read(dataset)
        except VerificationError as error:
            state, what = "changed", str(error)
        except NotFoundError as error:
            state, what = "gone", str(error)
        except BackstoryError as error:
            state, what = "unread", str(error)
        return PlaceCheck(
            name=canonical.text_of(document, "name"),
            dataset=dataset,
            rows=canonical.count_of(document, "rows"),
            place=place,
            state=state,
            what=what,
        )

    def _versions(self, spec: str | None) -> list[str]:
        entries = [entry for entry in self._ledger.find_entries("source.fixed") if entry.get("kept") == REFERENCE]
        named = {canonical.text_of(entry, "dataset"): canonical.text_of(entry, "name") for entry in entries}
        if spec is None:
            return list(named)
        found = [dataset for dataset, name in named.items() if name == spec]
        found = found or [dataset for dataset in named if len(spec) >= _SHOWN_DIGITS // 2 and dataset.startswith(spec)]
        if not found:
            raise NotFoundError(
                f"data: nothing called {spec!r} is kept by reference{names_instead(spec, named.values())}"
            )
        return found

    def _entries(self, dataset: str) -> list[JsonObject]:
        """Return the entries that keep a dataset version by reference, oldest first."""
        name = canonical.text_of(self._ledger.document(dataset), "name")
        entries = self._ledger.find_entries("source.fixed", name)
        return [entry for entry in entries if entry.get("dataset") == dataset and entry.get("kept") == REFERENCE]

    def _origin(self, entry: JsonObject) -> JsonObject:
        about = entry.get("about")
        origin = self._ledger.document(about).get("origin") if isinstance(about, str) else None
        return origin if isinstance(origin, dict) else {}

    def _read(self, dataset: str) -> tuple[pa.Table, str]:
        """Read a version where it was located, or where it was fixed, the newest first; say where that was."""
        located = self._located.get(dataset)
        origins = [self._origin(entry) for entry in reversed(self._entries(dataset))]
        ways: list[tuple[JsonObject, Reading | None]] = [(origin, None) for origin in origins]
        if located is not None:
            ways.insert(0, (origins[0], located))
        refusals: list[BackstoryError] = []
        for origin, reading in ways:
            try:
                return self._read_at(dataset, origin, reading), _place_of(origin)
            except BackstoryError as error:
                refusals.append(error)
        raise next((error for error in refusals if isinstance(error, VerificationError)), refusals[0])

    def _read_at(self, dataset: str, origin: JsonObject, located: Reading | None) -> pa.Table:
        what = f"{canonical.text_of(self._ledger.document(dataset), 'name')} {dataset[:_SHOWN_DIGITS]}"
        try:
            reading = located or recorded_place(origin, self._ledger.layout.root)
            table, files = _read_again(reading)
        except NotFoundError as error:
            raise NotFoundError(
                f"rows of {what} are kept by reference and are gone: expected them at {_place_of(origin)}; {error}",
                dataset=dataset,
            ) from None
        except StorageError as error:
            raise StorageError(
                f"rows of {what} are kept by reference and cannot be read: {error}", dataset=dataset
            ) from None
        except InputError as error:
            raise VerificationError(
                f"rows of {what} are kept by reference and changed: {_place_of(origin)} is not as it was; {error}",
                dataset=dataset,
            ) from None
        if not self._fits(dataset, table):
            other = changed_files(origin, files, self._key())
            files_text = f"; changed: {', '.join(other)}" if other else ""
            raise VerificationError(
                f"rows of {what} are kept by reference and changed: expected the rows that were fixed at "
                f"{_place_of(origin)}, got others{files_text}",
                dataset=dataset,
                files=other,
            )
        return table

    def _fits(self, dataset: str, table: pa.Table) -> bool:
        """Say whether rows are those of a dataset version: their columns too, which leaves do not hold in order."""
        document = self._ledger.document(dataset)
        if canonical.count_of(document, "rows") != table.num_rows:
            return False
        if canonical.digest_of(dataset_schema(flat_fields(table.schema))) != document.get("schema"):
            return False
        root = root_of_subtrees(subtree_roots(leaf_hashes(table)))
        if document.get("personal") is not True:
            return root.hex() == document.get("root")
        name, key = f"{dataset}.shard", self._key()
        if self._ledger.keys.has(name):
            salted = personal_leaves(table, self._ledger.keys.key(name, "salt_key"))
            return root_of_subtrees(subtree_roots(salted)).hex() == document.get("root")
        if key is None:
            raise NotFoundError("data: the key of content digests is not here: rows about people cannot be compared")
        if not is_under(key, document.get("content")):
            raise NotFoundError("data: rows about people cannot be compared: an erasure destroyed their key")
        return keyed(key, root) == document.get("content")

    def _key(self) -> bytes | None:
        return self._ledger.keys.key(DATASET_KEY, "key") if self._ledger.keys.has(DATASET_KEY) else None


class ReferencedRows:
    """Reads parts of a dataset version that is kept by reference, as a `ParquetReader` does of a kept one."""

    def __init__(self, places: Places, dataset: str) -> None:
        """Read a version of a dataset; nothing is read yet."""
        self._places = places
        self._dataset = dataset

    @property
    def group_count(self) -> int:
        """Row groups there would be."""
        return group_count_of(self._places.rows(self._dataset).num_rows)

    def subtrees(self) -> bytes:
        """Return the subtree roots, concatenated."""
        return subtree_roots(leaf_hashes(self._places.rows(self._dataset)))

    def read_groups(self, groups: Sequence[int], columns: list[str] | None = None) -> pa.Table:
        """Return a run of row groups."""
        first, end = groups[0] * ROW_GROUP_ROWS, (groups[-1] + 1) * ROW_GROUP_ROWS
        table = self.read_rows(first, end - first)
        return table if columns is None else table.select(columns)

    def read_rows(self, first: int, count: int) -> pa.Table:
        """Return a run of rows."""
        return self._places.rows(self._dataset).slice(first, count)


def _read_again(reading: Reading) -> Read:
    """Read rows again without id columns, which are no part of a snapshot."""
    table, files = again(reading)
    return table.drop_columns(id_columns(table.column_names)), files


def _place_of(origin: JsonObject) -> str:
    place = next((origin[name] for name in ("path", "engine", "database") if isinstance(origin.get(name), str)), None)
    version = origin.get("version") or origin.get("snapshot")
    return f"{place or origin.get('system')}{f' (version {version})' if version else ''}"
