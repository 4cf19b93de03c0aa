"""Confirming which class the columns of a source or a model have, and saying which are in force.

A version is an entry; earlier ones stay. Where another person approved a version, every later one of that name needs
another person too. Bytes: docs/format.md section 35.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, TypeAlias

from backstory.errors import ConflictError, FormatError, InputError
from backstory.governance.proposal import (
    Proposal,
    decide,
    find_proposal,
    propose,
    refuse,
    require_actor,
)
from backstory.ledger.ledger import Ledger
from backstory.records import canonical
from backstory.records.canonical import JsonObject
from backstory.records.classification import (
    CONFIRMED,
    GIVEN,
    KINDS,
    Classes,
    Classification,
    ColumnClass,
    Confirmed,
    parse_classification,
)
from backstory.records.schema import dataset_columns
from backstory.records.sensitivity import IDENTIFYING, PERSONAL, PSEUDONYMOUS

PROPOSAL: Final = "classification"
"""Kind of the proposals another person decides on."""

Given: TypeAlias = "str | Mapping[str, Any]"
"""A class, or `{"class": …, "open": …}`."""


def classification(
    kind: str,
    name: str,
    columns: Mapping[str, Given],
    *,
    fields: bool | Sequence[str] = False,
    anonymous: bool = False,
) -> Classification:
    """Return the classification that a mapping says.

    Args:
        kind: `model` or `source`.
        name: Its name.
        columns: By column its class, or `{"class": "D1", "open": True}`.
        fields: The classes to be opened by field; True for all, False for none.
        anonymous: Whether rows without a subject are about nobody who can be found.

    Raises:
        InputError: It says something else.
    """
    if kind not in KINDS:
        raise InputError(f"classification: expected a {' or a '.join(KINDS)}, got {kind!r}")
    if not isinstance(columns, Mapping) or not columns:
        raise InputError(f"classification: expected classes by column, got {type(columns).__name__} ({kind} {name})")
    listed = [_column(str(column), given) for column, given in columns.items()]
    chosen = sorted({one.sensitivity for one in listed}) if fields is True else sorted(set(fields or ()))
    for one in (*[column.sensitivity for column in listed], *chosen):
        if one not in GIVEN:
            raise InputError(f"classification: expected classes of {', '.join(GIVEN)}, got {one!r} ({kind} {name})")
    ordered = tuple(sorted(listed, key=lambda column: column.name.encode()))
    try:
        return Classification(kind=kind, name=name, columns=ordered, fields=tuple(chosen), anonymous=anonymous)
    except FormatError as error:
        raise InputError(f"{error} ({kind} {name})") from None


def _column(name: str, given: Given) -> ColumnClass:
    if isinstance(given, str):
        return ColumnClass(name=name, sensitivity=given)
    if not isinstance(given, Mapping) or not {"class"} <= set(given) <= {"class", "open"}:
        raise InputError(f"classification: expected a class, or class and open, of column {name!r}")
    return ColumnClass(name=name, sensitivity=str(given["class"]), open=bool(given.get("open", False)))


def confirm(ledger: Ledger, given: Classification, reason: str | None = None) -> Confirmed:
    """Put a classification in force; the same one again changes nothing.

    Args:
        ledger: The archive.
        given: The classification.
        reason: Why; kept as a commitment. Needed where a column gets a lower class than it had or now stands open, and
            where rows without a subject are said to be anonymous.

    Raises:
        ForbiddenError: The archive was opened without an actor, or an earlier version was approved by another person,
            so that this one has to be proposed; that refusal is recorded.
        InputError: It needs a reason.
    """
    action = f"confirming classes of {given.kind} {given.name}"
    require_actor(ledger, action)
    latest = _latest(ledger, given.kind, given.name)
    if latest is not None and "proposal" in latest[0]:
        refuse(ledger, action, "one person", "expected four_eyes=True, as another person approved the version before")
    if latest is not None and latest[1] == given:
        return _confirmed(latest)
    return _put_in_force(ledger, given, reason)


def propose_classification(ledger: Ledger, given: Classification, reason: str | None = None) -> Proposal:
    """Propose a classification, which another person approves with `approve_classification`.

    Raises:
        ForbiddenError: The archive was opened without an actor.
        InputError: It needs a reason; see `confirm`.
    """
    _require_reason(ledger, given, reason)
    return propose(ledger, PROPOSAL, f"{given.kind}.{given.name}", given.document())


def approve_classification(ledger: Ledger, index: int, reason: str | None = None) -> Confirmed:
    """Approve a proposed classification, and put it in force.

    Args:
        ledger: The archive.
        index: Index of the proposal's entry.
        reason: Why; see `confirm`.

    Raises:
        NotFoundError: There is no such proposal.
        ConflictError: It was rejected, is of another kind, or is in force already.
        ForbiddenError: Whoever approves is who proposed; the refusal is recorded.
        InputError: It needs a reason.
    """
    proposal = find_proposal(ledger, index)
    if proposal.kind != PROPOSAL:
        raise ConflictError(f"proposal {index}: expected a classification, it is a {proposal.kind}")
    given = parse_classification(proposal.document)
    if any(entry.get("proposal") == str(index) for entry in ledger.find_entries(CONFIRMED, given.name)):
        raise ConflictError(f"proposal {index}: it is in force already")
    _require_reason(ledger, given, reason)
    if proposal.verdict is None:
        proposal = decide(ledger, index, "approved", reason)
    if proposal.verdict != "approved":
        raise ConflictError(f"proposal {index}: it was {proposal.verdict}")
    return _put_in_force(ledger, given, reason, proposal=index)


def _put_in_force(
    ledger: Ledger, given: Classification, reason: str | None, *, proposal: int | None = None
) -> Confirmed:
    _require_reason(ledger, given, reason)
    more: JsonObject = {} if proposal is None else {"proposal": str(proposal)}
    if reason is not None:
        more["reason"] = ledger.commit_text("reason", reason)
    digest = ledger.put_document(given.document())

    def numbered() -> list[JsonObject]:
        latest = _latest(ledger, given.kind, given.name)
        version = 1 if latest is None else canonical.count_of(latest[0], "version") + 1
        common: JsonObject = {"document": digest, "kind": given.kind, "name": given.name, "type": CONFIRMED}
        return [{**common, **more, "version": str(version)}]

    ledger.append(numbered)
    found = find_classification(ledger, given.kind, given.name)
    if found is None:  # it was appended just now
        raise AssertionError(f"no classification of {given.kind} {given.name}")
    return found


def find_classification(ledger: Ledger, kind: str, name: str) -> Confirmed | None:
    """Return the classification of a source or a model that is in force; None if none was confirmed."""
    latest = _latest(ledger, kind, name)
    return None if latest is None else _confirmed(latest)


def confirmed_of(ledger: Ledger, named: JsonObject) -> Confirmed:
    """Return the version that a context names."""
    document = parse_classification(ledger.document(canonical.text_of(named, "document")))
    return Confirmed(classification=document, version=canonical.text_of(named, "version"))


def classes_in_force(ledger: Ledger, model: str | None, sources: Iterable[str] = ()) -> Classes:
    """Return what the columns of predictions are placed by.

    Args:
        ledger: The archive.
        model: The model's name; None for predictions of no registered model.
        sources: Names of the sources their rows are from.
    """
    of_model = None if model is None else find_classification(ledger, "model", model)
    found = (find_classification(ledger, "source", name) for name in sorted(set(sources)))
    return Classes(of_model, [one for one in found if one is not None])


def classes_of_source(ledger: Ledger, dataset: str) -> dict[str, str]:
    """Return the class of each column of a dataset version, as it is classified now.

    Args:
        ledger: The archive.
        dataset: Digest of the version.

    Returns:
        By column, of a struct the struct, its class. Of a version with a subject a column nobody classified is D4, the
        subject's D3; of any other version a column nobody classified is not in it.

    Raises:
        NotFoundError: There is no such version.
    """
    document = ledger.document(dataset)
    confirmed = find_classification(ledger, "source", canonical.text_of(document, "name"))
    known = {} if confirmed is None else confirmed.classification.classes
    subject = document.get("subject")
    columns = dataset_columns(ledger.document(canonical.text_of(document, "schema")))
    unnamed = {} if subject is None else dict.fromkeys(columns, IDENTIFYING) | {str(subject): PSEUDONYMOUS}
    return {name: known.get(name, unnamed.get(name, "")) for name in columns if name in known or name in unnamed}


def require_subject(ledger: Ledger, source: str) -> None:
    """Refuse to fix a source without a subject whose columns tell of people: its rows would be kept in clear.

    Raises:
        InputError: They do, and nobody said with a reason that the rows are anonymous.
    """
    confirmed = find_classification(ledger, "source", source)
    if confirmed is not None and confirmed.classification.is_personal and not confirmed.classification.anonymous:
        personal = [one.name for one in confirmed.classification.columns if one.sensitivity in PERSONAL]
        raise InputError(
            f"source {source}: expected subject=, as its columns {', '.join(personal)} are about people; or a "
            "classification that says with a reason that the rows are anonymous"
        )


def kept_in_clear(ledger: Ledger, given: Classification) -> int:
    """Return how many versions of a source stand in clear though a classification says that they tell of people."""
    if given.kind != "source" or not given.is_personal or given.anonymous:
        return 0
    datasets = {canonical.text_of(entry, "dataset") for entry in ledger.find_entries("source.fixed", given.name)}
    return sum(ledger.document(dataset).get("personal") is not True for dataset in datasets)


def _require_reason(ledger: Ledger, given: Classification, reason: str | None) -> None:
    if reason is not None and reason.strip():
        return
    latest = _latest(ledger, given.kind, given.name)
    before = None if latest is None else latest[1]
    where = f"{given.kind} {given.name}"
    if given.anonymous and not (before is not None and before.anonymous):
        raise InputError(f"classification: expected a reason why the rows are about nobody who can be found ({where})")
    for column in given.columns if before is not None else ():
        earlier = before.column(column.name) if before is not None else None
        if earlier is not None and (column.sensitivity < earlier.sensitivity or (column.open and not earlier.open)):
            raise InputError(
                f"classification: expected a reason, as column {column.name!r} was {earlier.sensitivity} and sealed "
                f"and would be {column.sensitivity}{' and open' if column.open else ''} ({where})"
            )


def _latest(ledger: Ledger, kind: str, name: str) -> tuple[JsonObject, Classification] | None:
    entries = [entry for entry in ledger.find_entries(CONFIRMED, name) if entry.get("kind") == kind]
    return (entries[-1], _read(ledger, entries[-1])) if entries else None


def _read(ledger: Ledger, entry: JsonObject) -> Classification:
    return parse_classification(ledger.document(canonical.text_of(entry, "document")))


def _confirmed(found: tuple[JsonObject, Classification]) -> Confirmed:
    return Confirmed(classification=found[1], version=canonical.text_of(found[0], "version"))
