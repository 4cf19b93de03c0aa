"""Contracts in an archive: which one a source has, what was found of its dataset versions, and who was made from them.

A source is checked when it is fixed, before it has ids. The verdict is said of the dataset version with everything else
(`about`), and is stored with it: a source that nothing refers to leaves no trace. Bytes: docs/format.md section 26.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

from backstory.errors import InputError, NotFoundError
from backstory.frames.contract import Contract
from backstory.frames.contract_check import check_table, refuse, told
from backstory.frames.contract_odcs import read_contract
from backstory.ledger.ledger import Ledger
from backstory.lineage.about import About
from backstory.lineage.plain import count_text
from backstory.lineage.reference import Reference, parse_references
from backstory.lineage.refs import warn_of_lineage
from backstory.lineage.source import require_name
from backstory.records import canonical
from backstory.records.canonical import JsonObject, JsonValue
from backstory.records.names import names_instead
from backstory.storage.fork import renew_in_child

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

CONTRACT_SET: Final = "contract.set"
_COLUMNS: Final = {
    "source": pa.string(),
    "part": pa.string(),
    "dataset": pa.string(),
    "fixed": pa.string(),
    "contract": pa.string(),
    "id": pa.string(),
    "version": pa.string(),
    "verdict": pa.string(),
    "rule": pa.string(),
    "severity": pa.string(),
    "rows": pa.int64(),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceContract:
    """The contract of a source.

    Attributes:
        source: Name of the source.
        contract: Digest of the contract's text.
        id: The contract's own id.
        version: The contract's own version.
        time: Since when it is the source's.
    """

    source: str
    contract: str
    id: str
    version: str
    time: str


def set_contract(ledger: Ledger, source: str, contract: Contract | None) -> None:
    """Let a contract be that of a source from now on, or none; nothing is written where it is so already.

    Raises:
        InputError: It names values of the column that says which person a row is about.
    """
    known = {one.source: one for one in list_contracts(ledger)}.get(source)
    if (None if known is None else known.contract) == (None if contract is None else contract.digest):
        return
    entry: JsonObject = {"contract": None, "name": source, "type": CONTRACT_SET}
    if contract is not None:
        for fixed in ledger.find_entries("source.fixed", source)[-1:]:
            subject = ledger.document(canonical.text_of(fixed, "dataset")).get("subject")
            require_no_people(contract, subject if isinstance(subject, str) else None)
        entry |= {"contract": contract.digest, "id": contract.id, "version": contract.version}
        ledger.blobs.put(contract.text.encode())
    ledger.append([entry])


def list_contracts(ledger: Ledger) -> list[SourceContract]:
    """Return the contracts of sources as they are now, by name."""
    latest = {canonical.text_of(entry, "name"): entry for entry in ledger.find_entries(CONTRACT_SET)}
    return [_source_contract(entry) for _, entry in sorted(latest.items()) if entry.get("contract") is not None]


def _source_contract(entry: JsonObject) -> SourceContract:
    return SourceContract(
        source=canonical.text_of(entry, "name"),
        contract=canonical.text_of(entry, "contract"),
        id=canonical.text_of(entry, "id"),
        version=canonical.text_of(entry, "version"),
        time=canonical.text_of(entry, "time"),
    )


def contract_of(ledger: Ledger, source: str) -> Contract | None:
    """Return the contract of a source; None if it has none."""
    entries = ledger.find_entries(CONTRACT_SET, source)
    digest = entries[-1].get("contract") if entries else None
    return stored_contract(ledger, digest, source) if isinstance(digest, str) else None


def stored_contract(ledger: Ledger, digest: str, source: str) -> Contract:
    """Return a contract that the archive keeps, as it is about a source."""
    text = ledger.blobs.get(digest).decode()
    return read_contract(text if "\n" in text else text + "\n", source)


def require_no_people(contract: Contract, subject: str | None) -> None:
    """Refuse a contract that names values of the column that says which person a row is about.

    Raises:
        InputError: It does; it is kept in clear.
    """
    if subject is not None and subject in contract.valued:
        raise InputError(
            f"contract {contract.id}: expected no values of {subject!r}, which names people, got some as an "
            "enumeration, bounds or examples; a contract is kept in clear"
        )


def require_no_trained_people(ledger: Ledger, contract: Contract, refs: JsonValue) -> None:
    """Refuse a contract of features that names values of the people they were computed from.

    Args:
        ledger: The archive.
        contract: The contract.
        refs: What the training rows refer to.

    Raises:
        InputError: It does; it is kept in clear.
    """
    for dataset in dict.fromkeys(_datasets(ledger, parse_references(refs).values())):
        subject = ledger.document(dataset).get("subject")
        require_no_people(contract, subject if isinstance(subject, str) else None)


def judging(
    ledger: Ledger,
    contract: Contract | Mapping[str, Any] | str | Path | None,
    source: str,
    subject: str | None,
) -> Callable[[pa.Table, About], About] | None:
    """Return what checks the rows of a source before they are fixed; None if it has no contract.

    Args:
        ledger: The archive.
        contract: The contract; the source's own if not given.
        source: Name of the source.
        subject: Column that says which person a row is about.

    Raises:
        InputError: The contract is malformed, or names values of people; or the name cannot be a source's.
    """
    require_name(source, 0)
    chosen = contract_of(ledger, source) if contract is None else read_contract(contract, source)
    if chosen is None:
        return None
    require_no_people(chosen, subject)
    return lambda table, about: _judge(chosen, table, about, f"source {source}", ledger.world.now_ns())


def _judge(contract: Contract, table: pa.Table, about: About, what: str, now_ns: int) -> About:
    verdict = check_table(contract, table, now_ns=now_ns)
    refuse(verdict, what)
    flagged = verdict.of("flag")
    if flagged:
        warn_of_lineage(f"contract {contract.id} {contract.version} flags {what}: {told(flagged)}")
    return replace(about, contract=verdict.document(), contract_text=contract.text)


class KeptVerdicts:
    """The verdicts said of the dataset versions of an archive. Each entry is read once."""

    def __init__(self, ledger: Ledger) -> None:
        """Look for verdicts in an archive."""
        self._ledger = ledger
        self._lock = threading.Lock()
        renew_in_child(self, "_lock", threading.Lock)
        self._read: dict[str, int] = {}
        self._verdicts: dict[str, JsonObject] = {}

    def of(self, dataset: str) -> JsonObject | None:
        """Return the last verdict on a dataset version, with `source` and `dataset`; None if there is none."""
        source = canonical.text_of(self._ledger.document(dataset), "name")
        with self._lock:
            positions = self._ledger.catalog.entries("source.fixed", source)
            for position in positions[self._read.get(source, 0) :]:
                entry = self._ledger.log.entry(position)
                verdict = _verdict_in(self._ledger, entry)
                if verdict is not None:
                    named = canonical.text_of(entry, "dataset")
                    self._verdicts[named] = {**verdict, "dataset": named, "source": source}
            self._read[source] = len(positions)
            return self._verdicts.get(dataset)

    def below(self, references: Iterable[Reference]) -> tuple[JsonObject, ...]:
        """Return the verdicts on all dataset versions that references lead to, directly or through groups."""
        found = (self.of(dataset) for dataset in dict.fromkeys(_datasets(self._ledger, references)))
        return tuple(verdict for verdict in found if verdict is not None)


def _datasets(ledger: Ledger, references: Iterable[Reference]) -> Iterator[str]:
    """Yield the dataset versions that references lead to, directly or through groups; some may come twice."""
    for reference in references:
        yield from (part.dataset for part in reference.parts)
        if reference.group is not None:
            yield from _datasets(ledger, parse_references(ledger.document(reference.group).get("refs")).values())


def _verdict_in(ledger: Ledger, entry: JsonObject) -> JsonObject | None:
    about = entry.get("about")
    verdict = ledger.document(about).get("contract") if isinstance(about, str) else None
    return verdict if isinstance(verdict, dict) else None


def verdicts_table(ledger: Ledger, source: str | None) -> pa.Table:
    """Return what was found of dataset versions: a row for each broken rule, one without a rule where none is.

    Raises:
        NotFoundError: There is no such source.
    """
    entries = ledger.find_entries("source.fixed", source)
    if source is not None and not entries:
        names = {canonical.text_of(entry, "name") for entry in ledger.find_entries("source.fixed")}
        raise NotFoundError(f"contracts: no source {source!r} that is kept{names_instead(source, names)}")
    rows = [row for entry in entries for row in _rows(entry, _verdict_in(ledger, entry))]
    return pa.table({name: pa.array([row.get(name) for row in rows], type_) for name, type_ in _COLUMNS.items()})


def _rows(entry: JsonObject, verdict: JsonObject | None) -> Iterator[dict[str, Any]]:
    if verdict is None:
        return
    common = {name: verdict.get(name) for name in ("contract", "id", "version", "verdict")} | {
        "dataset": canonical.text_of(entry, "dataset"),
        "fixed": canonical.text_of(entry, "time"),
        "part": None if entry.get("part") is None else canonical.text_of(entry, "part"),
        "source": canonical.text_of(entry, "name"),
    }
    for rule in broken_rules(verdict) or [{}]:
        count = canonical.count_of(rule, "rows") if "rows" in rule else None
        yield {**common, "rows": count, "rule": rule.get("id"), "severity": rule.get("severity")}


def broken_rules(verdict: JsonObject) -> list[JsonObject]:
    """Return the rules of a verdict that were broken."""
    rules: JsonValue = verdict.get("rules")
    return [rule for rule in rules if isinstance(rule, dict)] if isinstance(rules, list) else []


def verdict_text(verdict: JsonObject) -> str:
    """Return a verdict that names broken rules for a reader: `loans: contract loans 1.0.0, amount.range (3 rows)`."""
    rules = (
        f"{rule.get('id')}" + (f" ({count_text(canonical.count_of(rule, 'rows'), 'row')})" if "rows" in rule else "")
        for rule in broken_rules(verdict)
    )
    return f"{verdict.get('source')}: contract {verdict.get('id')} {verdict.get('version')}, {', '.join(rules)}"
