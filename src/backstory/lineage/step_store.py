"""Keeping the runs of steps once something refers to their rows. Bytes: docs/format.md section 27."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

import pyarrow as pa

from backstory.errors import FormatError
from backstory.frames.row_set import RowSet
from backstory.ledger.ledger import Ledger
from backstory.lineage.reference import Reference, parse_references
from backstory.lineage.row_sets import keep_row_set, read_row_set
from backstory.lineage.source import Origin, Snapshot
from backstory.lineage.step import StepRun, step_document
from backstory.models.code_version import code_version
from backstory.records import canonical
from backstory.records.canonical import JsonObject, JsonValue
from backstory.records.keyed import keyed

_SETS = ("rows_in", "dropped")


class Keeper(Protocol):
    """What keeps the sources and the sealed tables of a step: the lineage store."""

    def reference(self, origin: Origin, grade: str) -> Reference:
        """Persist one origin and return a reference to it."""

    def keep_sealed_positions(self, table: pa.Table, earlier: Iterable[JsonValue]) -> JsonObject:
        """Store a table about people in the vault; return the members of a document that refer to it."""

    def personal_key(self) -> bytes:
        """Return the key that keyed digests are made with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptStep:
    """A run of a step in the log.

    Attributes:
        digest: Digest of its document.
        document: Its document.
        refs: What its rows are of, by name.
        rows_in: For each of these the positions that went in.
        dropped: The positions that went in and did not come out, for those of which it is known.
    """

    digest: str
    document: JsonObject
    refs: Mapping[str, Reference]
    rows_in: Mapping[str, RowSet]
    dropped: Mapping[str, RowSet]

    @property
    def name(self) -> str:
        """The step's name."""
        return canonical.text_of(self.document, "name")


def keep_step(ledger: Ledger, keeper: Keeper, run: StepRun, named: dict[str, set[str]]) -> str:
    """Store a run and name it in the log, unless an equal one is there already; return its document's digest.

    Args:
        ledger: The archive.
        keeper: Keeps what its rows are of.
        run: The run.
        named: By name of a step the digests of runs that are known to be in the log.
    """
    grade = run.grade
    references: dict[str, Reference] = {}
    sets: dict[str, tuple[RowSet, RowSet | None]] = {}
    for flow in run.flows.values():
        track = flow.track
        reference = keeper.reference((track,) if isinstance(track, Snapshot) else track, grade)
        name = _free_name(track.name, references)
        references[name] = reference
        sets[name] = (flow.rows_in(), flow.dropped())
    personal = any(reference.personal for reference in references.values())
    key = keeper.personal_key() if personal else None
    document: JsonObject = {
        **step_document(run, _code(), functools.partial(_digest, key)),
        "refs": {name: reference.document() for name, reference in references.items()},
    }
    if run.name not in named:
        entries = ledger.find_entries("step.recorded", run.name)
        named[run.name] = {canonical.text_of(entry, "step") for entry in entries}
    if personal:
        document |= keeper.keep_sealed_positions(_sealed_table(sets), map(ledger.document, named[run.name]))
        document["problems"] = []  # they can name the row of a frame
    else:
        for number, member in enumerate(_SETS):
            known = {name: both[number] for name, both in sets.items()}
            document[member] = {name: keep_row_set(ledger, rows) for name, rows in known.items() if rows is not None}
    digest = ledger.put_document(document)
    if digest not in named[run.name]:
        ledger.append([{"name": run.name, "step": digest, "type": "step.recorded"}])
        named[run.name].add(digest)
    return digest


def step_references(document: JsonObject) -> dict[str, Reference]:
    """Return what the rows of a step are of, by name, from its document."""
    return parse_references(document.get("refs"))


def read_step(ledger: Ledger, digest: str, sealed: pa.Table | None) -> KeptStep:
    """Return a step with its rows.

    Args:
        ledger: The archive.
        digest: Digest of its document.
        sealed: Its table in the vault, if it has one.

    Raises:
        FormatError: The document is none of a step.
        VerificationError: A set of rows was changed.
    """
    document = ledger.document(digest)
    found: list[dict[str, RowSet]] = []
    for member in _SETS:
        if sealed is not None:
            rows = sealed.select(["ref", member]).to_pylist()
            found.append({row["ref"]: RowSet.of_bytes(row[member]) for row in rows if row[member] is not None})
            continue
        named = document.get(member)
        if not isinstance(named, dict):
            raise FormatError(f"step: expected sets of rows as {member} (document {digest})")
        found.append({name: read_row_set(ledger, one) for name, one in named.items()})
    rows_in, dropped = found
    return KeptStep(digest=digest, document=document, refs=step_references(document), rows_in=rows_in, dropped=dropped)


def _sealed_table(sets: Mapping[str, tuple[RowSet, RowSet | None]]) -> pa.Table:
    return pa.table(
        {
            "ref": pa.array(list(sets), pa.string()),
            **{
                member: pa.array([_bytes_of(both[number]) for both in sets.values()], pa.binary())
                for number, member in enumerate(_SETS)
            },
        }
    )


def _bytes_of(rows: RowSet | None) -> bytes | None:
    return None if rows is None else rows.to_bytes()


def _free_name(name: str, taken: Mapping[str, Reference]) -> str:
    """Return a name for one of several versions or parts of a source: its own, or with a number behind it."""
    numbered = (f"{name}.{number}" for number in range(2, len(taken) + 2))
    return name if name not in taken else next(other for other in numbered if other not in taken)


def _digest(key: bytes | None, value: JsonValue) -> str:
    """Return the digest of a parameter, keyed where a step works on rows about people: a value might name one."""
    encoded = canonical.encode(value)
    return hashlib.sha256(encoded).hexdigest() if key is None else keyed(key, encoded)


@functools.cache
def _code() -> JsonObject:
    """The version of the code that runs, found out once."""
    return code_version()
