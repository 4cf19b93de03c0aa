"""What a hold or a freeze reaches: records by what they are, by whom they are about, and those on its list.

A record that fits joins by itself, whenever it is made. What is about a record that is reached, is reached too: its
outcomes, decisions, notices and corrections. Bytes: docs/format.md section 41.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING
from uuid import UUID

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from backstory.columns.trimmed import gone_rows
from backstory.errors import FormatError, InputError
from backstory.governance.retention_events import Events
from backstory.ledger.ledger import Ledger
from backstory.ledger.read import manifests
from backstory.records import canonical
from backstory.records.canonical import JsonObject
from backstory.records.envelope import PREDICTION
from backstory.records.identity import parse_time, time_text
from backstory.records.manifest import Manifest

if TYPE_CHECKING:
    import numpy.typing as npt

_COLUMNS = ("id", "time", "context", "of")
_MEMBERS = {"digest", "model", "predictions", "since", "subjects", "until", "where"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """What is reached. Where model, period and condition are given a prediction must fit all; the lists add to it.

    Attributes:
        model: Name of a model, or `name:version`.
        digest: Digest of a model version.
        since: Predictions from then on, nanoseconds since 1970.
        until: Predictions before then.
        where: A condition as `search` takes it.
        predictions: Ids.
        subjects: Persons.
    """

    model: str | None = None
    digest: str | None = None
    since: int | None = None
    until: int | None = None
    where: str | None = None
    predictions: frozenset[bytes] = frozenset()
    subjects: tuple[str, ...] = ()

    @property
    def narrows(self) -> bool:
        """Whether it says which predictions by what they are."""
        return any(given is not None for given in (self.model, self.digest, self.since, self.until, self.where))

    def document(self) -> JsonObject:
        """Return it as JSON; about people, so that it is only ever committed to."""
        document: JsonObject = {
            "digest": self.digest,
            "model": self.model,
            "predictions": [key.hex() for key in sorted(self.predictions)],
            "since": None if self.since is None else time_text(self.since),
            "subjects": list(self.subjects),
            "until": None if self.until is None else time_text(self.until),
            "where": self.where,
        }
        return {name: value for name, value in document.items() if value not in (None, [])}


def parse_scope(text: str) -> Scope:
    """Read a scope from its canonical JSON.

    Raises:
        FormatError: It is none.
    """
    document = canonical.parse_object(text.encode(), "scope of a hold")
    if set(document) - _MEMBERS:
        raise FormatError(f"scope of a hold: expected only {', '.join(sorted(_MEMBERS))}")
    texts = {name: canonical.text_of(document, name) for name in ("digest", "model", "where") if name in document}
    times = {name: parse_time(canonical.text_of(document, name)) for name in ("since", "until") if name in document}
    predictions, subjects = document.get("predictions", []), document.get("subjects", [])
    if not isinstance(predictions, list) or not isinstance(subjects, list):
        raise FormatError("scope of a hold: expected lists of predictions and subjects")
    return Scope(
        digest=texts.get("digest"),
        model=texts.get("model"),
        where=texts.get("where"),
        since=times.get("since"),
        until=times.get("until"),
        predictions=frozenset(bytes.fromhex(str(key)) for key in predictions),
        subjects=tuple(str(one) for one in subjects),
    )


def key_of_id(name: str | UUID) -> bytes:
    """Return the 16 bytes of a whole id.

    Raises:
        InputError: It is none.
    """
    try:
        return UUID(str(name)).bytes
    except ValueError:
        raise InputError("retention: expected the whole id of a prediction, 36 characters") from None


def look_at(ledger: Ledger, manifest: Manifest) -> pa.Table:
    """Return what scopes and rules look at of the records of a segment; nulls where they are gone."""
    reader = ledger.segment(manifest, checked=True)
    names = [name for name in _COLUMNS if name in reader.arrow_schema.names]
    return reader.read_groups(range(reader.group_count), names)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """The ids of predictions for which a condition holds, and the schemas of those of which nobody can tell."""

    ids: list[bytes]
    unread: frozenset[str]


@dataclass
class Reach:
    """Which records of an archive a scope reaches, as it is now.

    Attributes:
        ledger: The archive.
        scope: The scope.
        events: What is about what.
        listed: Rows on the list, by the index of their manifest.
    """

    ledger: Ledger
    scope: Scope
    events: Events
    listed: Mapping[int, npt.NDArray[np.int64]] = field(default_factory=dict)

    def mask(self, position: int, manifest: Manifest, table: pa.Table) -> npt.NDArray[np.bool_]:
        """Return which records of a segment are reached.

        Args:
            position: Index of its manifest.
            manifest: The manifest.
            table: What `look_at` gives of it.
        """
        mask = np.zeros(table.num_rows, dtype=bool)
        for rows in (self.listed.get(position), self._people.get(position)):
            if rows is not None:
                mask[rows] = True
        if manifest.kind == PREDICTION:
            mask |= self._fits(manifest, table)
        elif self._keys:
            mask |= self._leads_here(table)
        return mask & ~gone_rows(table["id"])

    def is_unread(self, manifest: Manifest) -> bool:
        """Say whether nobody can tell which records of a segment the condition holds for: it asks for sealed values."""
        return manifest.kind == PREDICTION and self._found is not None and manifest.schema in self._found.unread

    def _fits(self, manifest: Manifest, table: pa.Table) -> npt.NDArray[np.bool_]:
        """Return which predictions are what the scope says, or, as far as its condition cannot be told, may be."""
        mask = _is_in(table["id"], self.scope.predictions)
        if not self.scope.narrows:
            return mask
        times = table["time"].cast(pa.int64()).fill_null(-1).to_numpy()
        fitting = np.ones(table.num_rows, dtype=bool)
        if self.scope.since is not None:
            fitting &= times >= self.scope.since
        if self.scope.until is not None:
            fitting &= times < self.scope.until
        if self.scope.model is not None or self.scope.digest is not None:
            contexts = [c for c in pc.unique(table["context"]).to_pylist() if c is not None and self._is_of(c)]
            fitting &= _is_in(table["context"], contexts)
        if self._found is not None and not self.is_unread(manifest):
            fitting &= _is_in(table["id"], self._found.ids)
        return mask | fitting

    def _is_of(self, context: bytes) -> bool:
        """Say whether a context names the model."""
        model = model_of(self.ledger, context)
        if self.scope.digest is not None:
            return model.get("digest") == self.scope.digest
        return self.scope.model in {model.get("name"), f"{model.get('name')}:{model.get('version')}"}

    def _leads_here(self, table: pa.Table) -> npt.NDArray[np.bool_]:
        """Return which records are about a prediction that is reached."""
        keys = self._keys
        mask = _is_in(table["of"], keys) if "of" in table.column_names else np.zeros(table.num_rows, dtype=bool)
        about = [one for one, linked in self.events.about.items() if linked & keys]
        mask |= _is_in(table["id"], about)
        if "of" in table.column_names:
            mask |= _is_in(table["of"], about)
        return mask

    @cached_property
    def _keys(self) -> frozenset[bytes]:
        """The ids of the predictions that are reached."""
        found: set[bytes] = set(self.scope.predictions)
        for position, manifest in manifests(self.ledger, PREDICTION):
            table = look_at(self.ledger, manifest)
            mask = self.mask(position, manifest, table)
            found.update(table["id"].filter(pa.array(mask)).to_pylist())
        return frozenset(found)

    @cached_property
    def _found(self) -> _Found | None:
        """The predictions for which the condition holds; None without one."""
        if self.scope.where is None:
            return None
        from backstory.lineage.search import search_predictions  # brings DuckDB

        hits = search_predictions(self.ledger, self.scope.where, [], None)
        return _Found(ids=[UUID(name).bytes for name in hits.table()["id"].to_pylist()], unread=hits.unread)

    @cached_property
    def _people(self) -> dict[int, npt.NDArray[np.int64]]:
        """The rows about the persons, by the index of their manifest."""
        found: dict[int, npt.NDArray[np.int64]] = {}
        for position, rows in self._people_rows():
            found[position] = np.union1d(found.get(position, np.zeros(0, np.int64)), rows)
        return found

    def _people_rows(self) -> Iterator[tuple[int, npt.NDArray[np.int64]]]:
        if not self.scope.subjects:
            return
        from backstory.ledger.people_index import find_people_rows

        for subject in self.scope.subjects:
            for manifest, rows in find_people_rows(self.ledger, subject):
                yield position_of(self.ledger, manifest), np.asarray(rows, np.int64)


def position_of(ledger: Ledger, manifest: Manifest) -> int:
    """Return the index of a manifest's entry."""
    (position,) = ledger.catalog.segments_with_seq(manifest.stream, manifest.first_seq, manifest.end_seq)
    return position


def model_of(ledger: Ledger, context: bytes) -> JsonObject:
    """Return what a context says of the model; nothing where it names none."""
    model = ledger.document(context.hex()).get("model")
    return model if isinstance(model, dict) else {}


def _is_in(column: pa.ChunkedArray, keys: frozenset[bytes] | list[bytes]) -> npt.NDArray[np.bool_]:
    values = pa.array(sorted(keys), column.type)
    found: npt.NDArray[np.bool_] = pc.is_in(column, value_set=values).to_numpy(zero_copy_only=False)
    return found
