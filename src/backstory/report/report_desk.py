"""Where a report is made: what it reads is proven, opened through the gate, and noted as what the report stands on."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

from backstory.errors import BackstoryError, InputError, LimitError
from backstory.governance.access import AccessGate
from backstory.ledger.ledger import Ledger
from backstory.ledger.read import Found, Place, find_places
from backstory.ledger.receipt import make_receipts
from backstory.lineage.plain import count_text
from backstory.lineage.showing import has_business, open_classes, without_business
from backstory.lineage.trace import Tracer
from backstory.records.access import About, Scope
from backstory.records.access_record import EXPORT
from backstory.records.canonical import JsonObject
from backstory.records.identity import id_text, time_text
from backstory.records.limits import ACCESS_IDS_MAX, REPORT_ENTRIES_MAX, REPORT_RECORDS_MAX
from backstory.records.sensitivity import CONFIDENTIAL, class_of_group, group_name
from backstory.report.report import Cited, Quote, Withheld
from backstory.verify.receipt import Receipt, verify_receipts

if TYPE_CHECKING:
    from backstory.debug.case import Workshop

QUESTION: Final = "report"
"""What accesses made for a report are recorded as."""

_AT_ONCE: Final = 1_000
"""Records of one file of receipts, and of one access."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a report is asked for.

    Attributes:
        prediction: Id of a prediction.
        decision: Id of a decision.
        subject: A person.
        model: A model, or a version of it.
        map: A reason map.
        since: Begin of the period, in nanoseconds since 1970.
        until: End of it.
        adverse: Which side of the score is the adverse one.
        change: Features that may change, in the search for what would have changed the answer.
        target: The answer wanted in it.
        expected: How many predictions somebody else counted.
        states: What whoever asks adds, by name.
    """

    prediction: str | None = None
    decision: str | None = None
    subject: str | None = None
    model: str | None = None
    map: str | None = None
    since: int | None = None
    until: int | None = None
    adverse: str | None = None
    change: tuple[str, ...] = ()
    target: bool | str | None = None
    expected: int | None = None
    states: Mapping[str, str] = field(default_factory=dict)

    @property
    def period(self) -> tuple[str | None, str | None]:
        """Begin and end of the period, RFC 3339."""
        since, until = self.since, self.until
        return None if since is None else time_text(since), None if until is None else time_text(until)

    def has(self, moment: str) -> bool:
        """Say whether a moment, RFC 3339 with nine decimals, lies in the period."""
        since, until = self.period
        return (since is None or since <= moment) and (until is None or moment < until)


@dataclass(kw_only=True)
class Desk:
    """One report that is being made.

    Attributes:
        ledger: The archive.
        tracer: Reads its lineage.
        gate: Opens sealed values, or does not.
        find: Returns a prediction by its id.
        shop: What questions about behaviour work with.
        vkey: The pinned public key, if there is one.
        workers: Processes that hash where all is verified; None for one a core.
        receipts: Files of receipts made so far.
        records: What is proven so far, by id.
        entries: Indexes of entries cited so far.
        documents: Digests of documents to add.
        withheld: What stayed sealed.
        opened: Sealed groups that were opened.
        rows: Which rows of a dataset version were opened first, and as which groups.
    """

    ledger: Ledger
    tracer: Tracer
    gate: AccessGate
    find: Callable[[str], Found]
    shop: Callable[[], Workshop]
    vkey: str | None
    workers: int | None = None
    receipts: list[bytes] = field(default_factory=list)
    records: dict[str, Receipt] = field(default_factory=dict)
    entries: set[int] = field(default_factory=set)
    documents: set[str] = field(default_factory=set)
    withheld: list[Withheld] = field(default_factory=list)
    opened: set[str] = field(default_factory=set)
    rows: tuple[Scope, tuple[str, ...]] | None = None

    def prove(
        self,
        kind: str,
        ids: Collection[str],
        groups: Collection[str] = (),
        *,
        about: About | None = None,
        why: str = "",
        leave_out: bool = False,
    ) -> dict[str, Receipt]:
        """Prove records, open what may be opened of them, and note what stays sealed.

        A context that says business secrets, which whoever asks may not see, is left out of the receipts.

        Args:
            kind: Their kind.
            ids: Their ids, whole.
            groups: Sealed groups that belong in the report, without the class in their names.
            about: What decides who may see them; None for any record.
            why: Why the others do not belong in it.
            leave_out: Whether records in which business secrets stand open, which whoever asks may not see, are named
                as left out; otherwise they are refused.

        Returns:
            What a stranger gets to know of each that is proven, by id.

        Raises:
            LimitError: They are more than a report may have.
            NotFoundError: One is not in the log.
            ForbiddenError: What stands open in them is not for whoever asks: a receipt shows all of it.
        """
        gate = self.gate if about is None else self.gate.within(about)
        wanted = sorted(set(ids) - self.records.keys())
        if len(self.records) + len(wanted) > REPORT_RECORDS_MAX:
            raise LimitError(f"report: expected at most {REPORT_RECORDS_MAX:,} records; ask for a shorter period")
        for first in range(0, len(wanted), _AT_ONCE):
            names = wanted[first : first + _AT_ONCE]
            places = find_places(self.ledger, names, kind)
            if leave_out and not self.has_business:
                places, names = self._shown(places, names, gate)
                if not places:
                    continue
            self._require_open(places, gate)
            openable = self._open(places, names, groups, about)
            left_out = self._closed_contexts(places, gate)
            data = make_receipts(self.ledger, places, opened=openable, left_out=left_out).data
            self.receipts.append(data)
            proven = verify_receipts(data, vkey=[valid.text for valid in self.ledger.log.keys])
            self._note_bare(kind, proven, gate)
            for place, receipt in zip(places, proven, strict=True):  # both in the order of the log
                self.records[receipt.id] = receipt
                self._note_sealed(place, receipt, groups, why, gate)
        return {name: self.records[name] for name in ids if name in self.records}

    def context_of(self, receipt: Receipt) -> JsonObject:
        """Return the context of a record, as far as it may be seen: where its receipt has none, without secrets."""
        if receipt.context is not None:
            return receipt.context
        digest = value_of(receipt, "context")
        return without_business(self.ledger.document(digest.hex()))

    @property
    def gaps(self) -> list[str]:
        """What cannot be checked of the records, as a reader is told it."""
        bare = sum(receipt.context is None for receipt in self.records.values())
        found = [
            f"Left out, and proven nowhere here: {one.what}. {one.reason}." for one in self.withheld if not one.group
        ]
        if bare:
            found.append(
                f"The proofs of {count_text(bare, 'record')} leave the context out: which threshold held, and how the "
                "model was asked. Each names its context's digest, so that one disclosed later can be compared."
            )
        return found

    @property
    def has_business(self) -> bool:
        """Whether business secrets may be seen as they are, such as what models are and which thresholds hold."""
        return self.gate.views()[CONFIDENTIAL] == "clear"

    def require_business(self) -> None:
        """Insist that business secrets may be seen as they are: the report shows them so.

        Raises:
            ForbiddenError: A policy is in force under which they are not; the refusal is recorded.
        """
        self.gate.require_open(QUESTION, (CONFIDENTIAL,))

    def note_given_out(self) -> None:
        """Record which records with opened values are given out: what was read for it may have come to nothing."""
        given = [receipt for receipt in self.records.values() if receipt.opened]
        for first in range(0, len(given), ACCESS_IDS_MAX):
            some = given[first : first + ACCESS_IDS_MAX]
            groups = sorted({group for receipt in some for group in receipt.opened})
            scope = Scope(ids=tuple(bytes.fromhex(receipt.id.replace("-", "")) for receipt in some))
            self.gate.note_read(EXPORT, groups, len(some), scope)
        if not given and self.rows is not None:  # a report is given out once, whatever is in it
            scope, opened = self.rows
            self.gate.note_read(EXPORT, opened, len(scope.positions or ()), scope)

    def note_rows(self, dataset: str, rows: Sequence[int], classes: Iterable[str]) -> None:
        """Record that rows of a source are read as they are, before they are.

        Raises:
            ForbiddenError: It is not allowed, or cannot be recorded.
        """
        groups = tuple(sorted({group_name("source", class_) for class_ in classes}))
        for first in range(0, len(rows), ACCESS_IDS_MAX):
            some = tuple(rows[first : first + ACCESS_IDS_MAX])
            scope = Scope(dataset=dataset, positions=some)
            self.gate.pass_through(QUESTION, groups, len(some), scope)
            self.rows = self.rows or (scope, groups)
        self.opened.update(groups)

    def _require_open(self, places: Sequence[Place], gate: AccessGate) -> None:
        """Insist that all that stands open in records may be seen as it is."""
        schemas = [self.ledger.schema(digest) for digest in {place.manifest.schema for place in places}]
        gate.require_open(QUESTION, open_classes(schemas, ()))

    def _shown(self, places: Sequence[Place], names: Sequence[str], gate: AccessGate) -> tuple[list[Place], list[str]]:
        """Return records in which no business secret stands open, with their ids, and note the others as left out."""
        kept, gone = [], set()
        for place in places:
            if CONFIDENTIAL not in open_classes([self.ledger.schema(place.manifest.schema)], ()):
                kept.append(place)
                continue
            row = self.ledger.segment(place.manifest, checked=True).read_rows(place.row, 1)
            gone.add(id_text(row["id"][0].as_py()))
            what = f"{place.manifest.kind} {id_text(row['id'][0].as_py())}"
            self._withhold_business(what, "", gate, None)
        return kept, [name for name in names if name not in gone]

    def _closed_contexts(self, places: Sequence[Place], gate: AccessGate) -> list[str]:
        """Return the contexts of segments that say business secrets, where these may not be seen."""
        if gate.views()[CONFIDENTIAL] == "clear":
            return []
        contexts = {context for place in places for context in place.manifest.contexts}
        return [context for context in contexts if has_business(self.ledger.document(context))]

    def _note_bare(self, kind: str, proven: Sequence[Receipt], gate: AccessGate) -> None:
        """Note the contexts that were left out, each once: those of the records, and of no others of their segments."""
        bare = {value_of(receipt, "context").hex() for receipt in proven if receipt.context is None}
        for digest in sorted(bare - {one.commitment for one in self.withheld}):
            self._withhold_business(f"context of records of kind {kind}", "context", gate, digest)

    def _withhold_business(self, what: str, group: str, gate: AccessGate, commitment: str | None) -> None:
        reason = gate.reason(CONFIDENTIAL, gate.views()[CONFIDENTIAL])
        self.withheld.append(
            Withheld(what=what, group=group, class_=CONFIDENTIAL, reason=reason, commitment=commitment)
        )

    def _open(
        self, places: Sequence[Place], names: Sequence[str], groups: Collection[str], about: About | None
    ) -> tuple[str, ...]:
        """Return the sealed groups that are opened, after the access is on record."""
        there = {group for place in places for group in self.ledger.schema(place.manifest.schema).groups}
        asked = sorted(group for group in there if base_of(group) in groups)
        views = self.gate.views(about) if asked else {}
        openable = tuple(group for group in asked if views[class_of_group(group)] == "clear")
        if openable:
            scope = Scope(ids=tuple(bytes.fromhex(name.replace("-", "")) for name in names))
            gate = self.gate if about is None else self.gate.within(about)
            gate.pass_through(QUESTION, openable, len(names), scope)
            self.opened.update(openable)
        return openable

    def _note_sealed(self, place: Place, receipt: Receipt, groups: Collection[str], why: str, gate: AccessGate) -> None:
        """Note what stays sealed of a record: where it belongs in the report, or somebody is told why it does not."""
        views = gate.views() if receipt.sealed else {}
        for group in receipt.sealed:
            class_, is_wanted = class_of_group(group), base_of(group) in groups
            reason = why
            if is_wanted:
                reason = "erased" if group in receipt.erased else gate.reason(class_, views[class_])
            if reason:
                what = f"{base_of(group)} of {place.manifest.kind} {receipt.id}"
                value = self._commitments(place)[group]
                self.withheld.append(
                    Withheld(what=what, group=group, class_=class_, reason=reason, commitment=value.hex())
                )

    def _commitments(self, place: Place) -> Mapping[str, bytes]:
        table = self.ledger.segment(place.manifest, checked=True).read_rows(place.row, 1)
        found: Mapping[str, bytes] = table["commitment"][0].as_py()
        return found

    def cite(self, index: int) -> JsonObject:
        """Return an entry, which the report then stands on.

        Raises:
            LimitError: They are more than a report may have.
        """
        self.entries.add(index)
        if len(self.entries) > REPORT_ENTRIES_MAX:
            raise LimitError(f"report: expected at most {REPORT_ENTRIES_MAX:,} entries; ask for a shorter period")
        return self.ledger.log.entry(index)

    def cited(self, index: int, member: str) -> Cited | None:
        """Return a text of an entry as a cell that a verifier compares; None where there is none."""
        value = self.cite(index).get(member)
        return Cited(value, index, member) if isinstance(value, str) else None

    def listed(self, type_: str, asked: Asked, name: str | None = None) -> list[tuple[int, JsonObject]]:
        """Return the entries of a type in a period, oldest first, which the report then stands on."""
        found = self.ledger.numbered_entries(type_, name)
        return [(index, self.cite(index)) for index, entry in found if asked.has(str(entry["time"]))]

    def text_behind(self, commitment: object, group: str, class_: str) -> str | None:
        """Return the text that an entry commits to, where it may be seen and is there.

        Args:
            commitment: The commitment, in hex; nothing is behind anything else.
            group: What the text is.
            class_: Its class.
        """
        if not isinstance(commitment, str) or not self.gate.allows([group_name(group, class_)]):
            return None
        try:
            return self.ledger.text_of(commitment, group)
        except BackstoryError:
            return None


def base_of(group: str) -> str:
    """Return the name of a sealed group without its class.

    >>> base_of("staff.D6"), base_of("output")
    ('staff', 'output')
    """
    name, dot, class_ = group.rpartition(".")
    return name if dot and class_.startswith("D") else group


def value_of(receipt: Receipt, column: str) -> Any:  # noqa: ANN401  any value of a record
    """Return the value of a column, open or opened; None where it is null or not shown."""
    for values in (receipt.values, *receipt.opened.values()):
        if column in values:
            return values[column]
    return None


def columns_of(receipt: Receipt, prefix: str) -> dict[str, str]:
    """Return the columns of a record below a name, such as `feature`: by the name below it the column's whole name."""
    names = [name for values in (receipt.values, *receipt.opened.values()) for name in values]
    return {name.removeprefix(f"{prefix}."): name for name in names if name.startswith(f"{prefix}.")}


def unseen(receipt: Receipt, prefix: str) -> Literal["erased", "withheld"] | None:
    """Say why no column below a name is shown of a record that has some; None where one is, or it has none."""
    classes = {class_ for name, class_ in receipt.classes.items() if name.startswith(f"{prefix}.")}
    if not classes or columns_of(receipt, prefix):
        return None
    gone = {class_of_group(group) for group in receipt.erased if base_of(group) == "features"}
    return "erased" if classes <= gone else "withheld"


def quote(receipt: Receipt, column: str) -> Quote | None:
    """Return the value of a column as a cell that a verifier compares; None where nothing is there to quote."""
    shown = receipt.to_dict()
    opened = shown["opened"]
    for values in (shown["values"], *(opened.values() if isinstance(opened, dict) else ())):
        if isinstance(values, dict) and column in values:
            value = values[column]
            if isinstance(value, bool):
                return Quote("true" if value else "false", receipt.id, column)
            return Quote(value, receipt.id, column) if value is None or isinstance(value, str) else None
    return None


def quote_time(receipt: Receipt, column: str = "time") -> Quote | None:
    """Return a moment of a record as a cell of type `time` that a verifier compares."""
    value = value_of(receipt, column)
    return Quote(time_text(value), receipt.id, column) if isinstance(value, int) else None


def require(asked: Asked, *names: str) -> None:
    """Insist that one of some things was asked for.

    Raises:
        InputError: None of them was, or several.
    """
    given = [name for name in names if getattr(asked, name) is not None]
    if len(given) != 1:
        raise InputError(f"report: expected {' or '.join(names)}, got {' and '.join(given) or 'neither'}")
