"""Drafting a classification: what names, values and contracts suggest, for a person to go over and confirm.

A draft has no effect. It says classes and reasons, and no value of any row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from backstory.columns.arrow_type import is_text
from backstory.errors import InputError, NotFoundError
from backstory.frames.contract_yaml import load_yaml
from backstory.frames.personal_names import Hint, hints_of_name
from backstory.frames.personal_values import differs_in_every_row, hints_of_values
from backstory.governance.classification import find_classification
from backstory.ledger.ledger import Ledger
from backstory.lineage.answer import Answer
from backstory.lineage.contracts import contract_of
from backstory.lineage.dataset import find_versions
from backstory.lineage.page import Page, Section, rows_of
from backstory.lineage.plain import count_text
from backstory.lineage.reference import parse_references
from backstory.lineage.trace import Tracer
from backstory.records import canonical
from backstory.records.access import Gate
from backstory.records.canonical import JsonObject
from backstory.records.classification import FEATURE, GIVEN
from backstory.records.names import names_instead
from backstory.records.schema import dataset_columns, escape_name
from backstory.records.sensitivity import (
    CONFIDENTIAL,
    IDENTIFYING,
    OPERATIONAL,
    PSEUDONYMOUS,
    SPECIAL,
    STRUCTURAL,
)

if TYPE_CHECKING:
    import pyarrow as pa

_OF_CONTRACTS: Final = {
    "public": STRUCTURAL,
    "internal": OPERATIONAL,
    "confidential": CONFIDENTIAL,
    "secret": CONFIDENTIAL,
    "restricted": CONFIDENTIAL,
    "personal": IDENTIFYING,
    "pii": IDENTIFYING,
    "gdpr": IDENTIFYING,
    "sensitive": SPECIAL,
    "special": SPECIAL,
    "phi": SPECIAL,
    "pci": IDENTIFYING,
}
"""What words in a contract's `classification` and `tags` say."""
_TEXT_DIFFERS_MIN: Final = 0.5
"""A text of which so many values differ may say anything."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DraftColumn:
    """What a draft says of a column.

    Attributes:
        name: Its name, as a classification has it.
        sensitivity: The class it may have.
        reasons: Why.
        open: Whether it is to stand in clear in records about people too.
    """

    name: str
    sensitivity: str
    reasons: tuple[str, ...]
    open: bool = False


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Draft(Answer):
    """A classification that nobody confirmed.

    Attributes:
        kind: `model` or `source`.
        name: Its name.
        columns: What it says of each column, in their order.
    """

    kind: str
    name: str
    columns: tuple[DraftColumn, ...]

    def where(self, classes: Mapping[str, Any]) -> Draft:
        """Return the draft with other classes.

        Args:
            classes: By column its class, or `{"class": "D1", "open": True}`.

        Raises:
            InputError: It has no such column, or there is no such class.
        """
        known = {column.name: column for column in self.columns}
        for name, given in classes.items():
            if name not in known:
                raise InputError(f"classification: {self.name} has no column {name!r}{names_instead(name, known)}")
            said = dict(given) if isinstance(given, Mapping) else {"class": given}
            if said.get("class") not in GIVEN or not said.keys() <= {"class", "open"}:
                raise InputError(f"classification: expected a class of {', '.join(GIVEN)} of column {name!r}")
            known[name] = replace(
                known[name],
                sensitivity=str(said["class"]),
                open=bool(said.get("open", False)),
                reasons=("as a person said",),
            )
        return replace(self, columns=tuple(known.values()))

    @property
    def classes(self) -> dict[str, Any]:
        """The classes by column, as `confirm` takes them."""
        return {column.name: {"class": column.sensitivity, "open": column.open} for column in self.columns}

    def to_dict(self) -> dict[str, Any]:
        """Return the draft as JSON-safe values."""
        return {
            "columns": [
                {"class": one.sensitivity, "name": one.name, "open": one.open, "reasons": list(one.reasons)}
                for one in self.columns
            ],
            "kind": self.kind,
            "name": self.name,
        }

    def _page(self) -> Page:
        lines = [
            (one.name, one.sensitivity + (", open" if one.open else ""), "; ".join(one.reasons)) for one in self.columns
        ]
        columns = ("column", "class", "because")
        return Page(
            headline=f"draft for {self.kind} {self.name}: {count_text(len(lines), 'column')}, not confirmed by anybody",
            facts=(("a draft", "names, values and contracts suggest it; it has no effect until a person confirms it"),),
            sections=(Section(title="Columns", columns=columns, rows=rows_of(lines)),),
        )


def draft_of_source(ledger: Ledger, gate: Gate, tracer: Tracer, spec: str) -> Draft:
    """Draft the classes of a source's columns, from the rows of its latest version or of the one a text names.

    Raises:
        ForbiddenError: Its rows are about people and the gate lets nothing through.
        NotFoundError: There is no such source, or its rows were erased.
    """
    version = find_versions(ledger, spec)[0]
    if version.personal:
        gate.pass_through("classify", ["source"], version.rows)
    subject = version.document.get("subject")
    table = tracer.columns(version.digest, version.table)
    said = hints_of_contract(ledger, version.name)
    return draft_of_table(table, version.name, subject=subject if isinstance(subject, str) else None, said=said)


def draft_of_table(
    table: pa.Table, name: str, *, subject: str | None = None, said: Mapping[str, Sequence[Hint]] | None = None
) -> Draft:
    """Draft the classes of a table's columns.

    Args:
        table: The table.
        name: Name of the source.
        subject: Column that says which person a row is about.
        said: What a contract says of its columns.
    """
    columns = [
        _draft_column(column, table.column(column), subject, list((said or {}).get(column, ())))
        for column in table.column_names
    ]
    return Draft(kind="source", name=name, columns=tuple(columns))


def _draft_column(name: str, column: pa.ChunkedArray, subject: str | None, said: list[Hint]) -> DraftColumn:
    found = [*said, *hints_of_name(name), *hints_of_values(column)]
    if name == subject:
        found = [*said, *hints_of_values(column), Hint(PSEUDONYMOUS, "whom a row is about")]
    elif subject is not None:
        found.append(Hint(PSEUDONYMOUS, "a row is about a person"))
        if differs_in_every_row(column):
            found.append(Hint(IDENTIFYING, "differs in every row, so it may name the person"))
        elif is_text(column.type) and _is_varied(column):
            found.append(Hint(IDENTIFYING, "text that mostly differs, which may say anything"))
    if not found:
        found = [Hint(OPERATIONAL, "nothing found that is about a person")]
    highest = max(hint.sensitivity for hint in found)
    reasons = dict.fromkeys(hint.reason for hint in found if hint.sensitivity == highest)
    return DraftColumn(name=name, sensitivity=highest, reasons=tuple(reasons))


def _is_varied(column: pa.ChunkedArray) -> bool:
    import pyarrow.compute as pc

    values = column.drop_null()
    return len(values) > 1 and pc.count_distinct(values).as_py() >= _TEXT_DIFFERS_MIN * len(values)


def hints_of_contract(ledger: Ledger, source: str) -> dict[str, list[Hint]]:
    """Return what the contract of a source says of the classes of its columns; nothing where it has none."""
    contract = contract_of(ledger, source)
    if contract is None:
        return {}
    schemas = load_yaml(contract.text).get("schema")
    tables = [one for one in schemas if isinstance(one, dict)] if isinstance(schemas, list) else []
    chosen = [table for table in tables if table.get("name") == contract.table]
    properties = [one for table in chosen for one in table.get("properties") or ()]
    return {str(one["name"]): _of_property(one) for one in properties if isinstance(one, dict) and "name" in one}


def _of_property(said: Mapping[str, Any]) -> list[Hint]:
    tags = said.get("tags")
    words = [said.get("classification"), *(tags if isinstance(tags, list) else [])]
    found = []
    for word in words:
        plain = str(word or "").strip()
        class_ = plain.upper() if plain.upper() in GIVEN else _OF_CONTRACTS.get(plain.lower())
        if class_ is not None:
            found.append(Hint(class_, f"its contract says {plain}"))
    return found


def draft_of_model(ledger: Ledger, name: str, document: JsonObject) -> Draft:
    """Draft the classes of the columns of a model's records.

    Args:
        ledger: The archive.
        name: The model's name.
        document: The document of a version.

    Raises:
        NotFoundError: It was registered without its training rows, so that nothing is known of its features.
    """
    training = document.get("training")
    if not isinstance(training, dict):
        raise NotFoundError(f"classification: {name} was registered without rows=; give the classes of its features")
    known = _classes_of_sources(ledger, training)
    about_people = training.get("personal") is True
    columns = [
        _draft_feature(feature, known.get(feature, []), about_people=about_people)
        for feature in dataset_columns(ledger.document(canonical.text_of(training, "schema")))
    ]
    usual = PSEUDONYMOUS if about_people else OPERATIONAL
    why = "a score of a person" if about_people else "its training rows are about nobody"
    columns += [DraftColumn(name=one, sensitivity=usual, reasons=(why,)) for one in ("output", "decision", "outcome")]
    return Draft(kind="model", name=name, columns=tuple(columns))


def _classes_of_sources(ledger: Ledger, training: JsonObject) -> dict[str, list[Hint]]:
    found: dict[str, list[Hint]] = {}
    for reference in parse_references(training.get("refs")).values():
        for dataset in dict.fromkeys(part.dataset for part in reference.parts):
            source = canonical.text_of(ledger.document(dataset), "name")
            confirmed = find_classification(ledger, "source", source)
            for column in () if confirmed is None else confirmed.classification.columns:
                hint = Hint(column.sensitivity, f"confirmed for column {column.name!r} of source {source}")
                found.setdefault(column.name, []).append(hint)
    return found


def _draft_feature(name: str, known: list[Hint], *, about_people: bool) -> DraftColumn:
    found = known or hints_of_name(name)
    if not known and about_people:
        found.append(Hint(PSEUDONYMOUS, "the training rows are about people"))
    found = found or [Hint(OPERATIONAL, "nothing found that is about a person")]
    highest = max(hint.sensitivity for hint in found)
    reasons = dict.fromkeys(hint.reason for hint in found if hint.sensitivity == highest)
    return DraftColumn(name=FEATURE + escape_name(name), sensitivity=highest, reasons=tuple(reasons))
