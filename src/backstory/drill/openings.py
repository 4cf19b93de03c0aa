"""Sealed values that walks open: what they are, and that the archive's own log says so before one is read in a copy."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from backstory.capture.recorder import Recorder
from backstory.drill.copies import SCRATCH
from backstory.governance.access import AccessGate
from backstory.governance.classification import classes_of_source
from backstory.ledger.ledger import Ledger
from backstory.ledger.read import find_places, records_now
from backstory.ledger.seal import seal_stream
from backstory.lineage.reference import Reference, parse_references
from backstory.records.envelope import OUTCOME, PREDICTION
from backstory.records.identity import id_text
from backstory.records.sensitivity import group_name
from backstory.storage.world import World

QUESTION = "drill"
"""What the archive's log names as the question that sealed values were read for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """Who opens sealed values.

    Attributes:
        actor: Who.
        purpose: What for.
        role: Under which role.
        case: For which case.
    """

    actor: str
    purpose: str
    role: str | None = None
    case: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedValues:
    """What walks may open.

    Attributes:
        names: Ids of the predictions that have sealed values.
        groups: All groups of values that may be opened for them.
        records: How many records are opened: a replay runs the whole call.
    """

    names: frozenset[str]
    groups: tuple[str, ...]
    records: int


def sealed_values(root: Path, names: Sequence[str]) -> SealedValues:
    """Return what walks of these sealed predictions may open, nothing opened."""
    groups: set[str] = set()
    sealed = set()
    calls: dict[tuple[str, int], int] = {}
    with closing(Ledger(root, SCRATCH, writable=False, vkey=None, actor=None)) as ledger:
        for place in find_places(ledger, names, PREDICTION) if names else ():
            own = ledger.schema(place.manifest.schema).groups
            if not own:
                continue
            table = ledger.segment(place.manifest, checked=True).read_rows(place.row, 1)
            name, context, seq, row, rows = (
                table[column][0].as_py() for column in ("id", "context", "seq", "batch_row", "batch_rows")
            )
            sealed.add(id_text(name))
            calls[place.manifest.stream, seq - row] = rows
            groups |= {*own, *_upstream(ledger, context.hex())}
        groups |= _of_outcomes(ledger) if sealed else set()
    return SealedValues(names=frozenset(sealed), groups=tuple(sorted(groups)), records=sum(calls.values()))


def record_opening(archive: Path, vkey: str | None, reader: Reader, values: SealedValues) -> None:
    """Let the archive's own stream of accesses say that sealed values are read, before they are; it is sealed at once.

    Raises:
        ForbiddenError: The signing key is not here, or the access policy in force does not let them be read.
        BackstoryError: The archive cannot be written.
    """
    with closing(Ledger(archive, World(), writable=True, vkey=vkey, actor=reader.actor)) as ledger:
        recorder = Recorder(ledger.spool, ledger.blobs, ledger.world)
        try:
            gate = AccessGate(ledger, recorder, purpose=reader.purpose, role=reader.role, case=reader.case)
            gate.require_role()
            gate.pass_through(QUESTION, values.groups, values.records)
        finally:
            streams = recorder.streams()
            recorder.close()
            for info, _ in streams:
                seal_stream(ledger, info)


def _upstream(ledger: Ledger, context: str) -> set[str]:
    """Return what a story reads of rows and groups that lead to people."""
    groups = set()
    for reference in parse_references(ledger.document(context).get("refs")).values():
        if reference.personal:
            groups |= {"source", *_of_rows(ledger, reference)}
        if reference.group is not None and "sealed_edges" in ledger.document(reference.group):
            groups |= {"positions", "source"}
    return groups


def _of_rows(ledger: Ledger, reference: Reference) -> set[str]:
    """Return the sealed groups that rows about people are in, by the classes of their columns."""
    classes = {class_ for part in reference.parts for class_ in classes_of_source(ledger, part.dataset).values()}
    return {group_name("source", class_) for class_ in classes}


def _of_outcomes(ledger: Ledger) -> set[str]:
    """Return the sealed groups of outcomes; whether one is of these predictions is not looked up."""
    sealed, waiting = records_now(ledger, OUTCOME)
    schemas = [ledger.schema(manifest.schema) for _, manifest in sealed] + [schema for schema, _ in waiting]
    return {group for schema in schemas for group in schema.groups}
