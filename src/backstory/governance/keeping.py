"""Why a record is still kept: holds, freezes and floors, and what is past its time without any of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from backstory.columns.trimmed import gone_rows
from backstory.governance.freeze import freezes
from backstory.governance.hold import holds
from backstory.governance.proposal import proposals
from backstory.governance.retention_events import Events, Happened, read_events
from backstory.governance.retention_rules import (
    NEVER,
    PAYLOAD,
    SKELETON,
    Item,
    Rule,
    Term,
    latest_overdue,
    parse_rules,
    term_of,
)
from backstory.governance.retention_scope import Reach, Scope, look_at, model_of, position_of
from backstory.ledger.forget import is_destroyed
from backstory.ledger.ledger import Ledger
from backstory.ledger.read import manifests
from backstory.ledger.sealed import erased_values
from backstory.records.access import Gate
from backstory.records.envelope import OUTCOME
from backstory.records.identity import parse_time, time_text
from backstory.records.manifest import Manifest
from backstory.records.sensitivity import class_of_group, groups_by_domain

if TYPE_CHECKING:
    import numpy.typing as npt

    Mask = npt.NDArray[np.bool_]
    Rows = npt.NDArray[np.int64]

RULES: Final = "retention"
"""Kind of the proposals that bring sets of rules in force."""

HOLD, FREEZE, FLOOR = "hold", "freeze", "floor"
LEGAL_CLAIMS, LEGAL_DUTY = "GDPR 17(3)(e)", "GDPR 17(3)(b)"
"""Grounds on which an erasure is refused: legal claims; a legal obligation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """A reason why records must stay.

    Attributes:
        code: `hold`, `freeze` or `floor`.
        law: The ground it gives against an erasure.
        name: Which hold, freeze or rule it is.
        records: How many of the records it keeps.
        until: Until when, RFC 3339; None where nobody can say.
    """

    code: str
    law: str
    name: str
    records: int
    until: str | None = None

    def __str__(self) -> str:
        """Say why."""
        until = "" if self.until is None else f" until {self.until}"
        return f"{self.code} {self.name}{until} ({self.law}): {self.records} records"


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """Rows of a segment of which one part is past its time.

    Attributes:
        position: Index of the manifest.
        manifest: The manifest.
        group: The sealed group that is to go; empty for the row itself.
        label: Class of the records, such as `prediction/payload/D4`.
        rule: The rule whose ceiling has passed.
        rows: The rows, ascending.
        oldest: Time of the oldest of them, nanoseconds since 1970.
    """

    position: int
    manifest: Manifest
    group: str
    label: str
    rule: str
    rows: Rows
    oldest: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """Which records of a segment holds and freezes keep.

    Attributes:
        masks: The records by what keeps them, `hold` or `freeze`; without those that keep none.
        count: How many records the segment has.
    """

    masks: Mapping[str, Mask]
    count: int

    @property
    def stays(self) -> Mask:
        """The records that something keeps."""
        stays = np.zeros(self.count, np.bool_)
        for mask in self.masks.values():
            stays |= mask
        return stays

    def grounds(self, rows: Rows) -> Counter[str]:
        """Return how many of some records that stay are kept by what: `hold`, `freeze`, `freeze or hold`."""
        codes = sorted(self.masks)
        by = np.zeros(len(rows), np.int64)
        for bit, code in enumerate(codes):
            by |= self.masks[code][rows].astype(np.int64) << bit
        return Counter(
            {
                " or ".join(code for bit, code in enumerate(codes) if which >> bit & 1): count
                for which, count in enumerate(np.bincount(by).tolist())
                if count
            }
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Keeper:
    """A hold or a freeze, and which records it reaches."""

    code: str
    law: str
    name: str
    reach: Reach


class Keeping:
    """The rules in force, the holds and the freezes of an archive, at one moment."""

    def __init__(self, ledger: Ledger, now_ns: int) -> None:
        """Look at an archive.

        Args:
            ledger: The archive.
            now_ns: The moment, nanoseconds since 1970.
        """
        self.ledger = ledger
        self.now = now_ns
        self.rules = rules_in_force(ledger)
        self._cutoffs: dict[tuple[str, str, str, str, bool], int] = {}

    @cached_property
    def events(self) -> Events:
        """What happened to records."""
        return read_events(self.ledger)

    @cached_property
    def keepers(self) -> tuple[Keeper, ...]:
        """The holds and freezes."""
        found = [
            Keeper(
                code=HOLD,
                law=LEGAL_CLAIMS,
                name=hold.name,
                reach=Reach(self.ledger, hold.scope(self.ledger), self.events, hold.listed(self.ledger)),
            )
            for hold in holds(self.ledger)
            if hold.released is None
        ]
        found += [
            Keeper(
                code=FREEZE,
                law=LEGAL_DUTY,
                name=one.name,
                reach=Reach(self.ledger, Scope(digest=one.digest), self.events),
            )
            for one in freezes(self.ledger)
            if one.lifted is None
        ]
        return tuple(found)

    def reached(self, position: int, manifest: Manifest, table: pa.Table | None = None) -> list[tuple[Keeper, Mask]]:
        """Return which records of a segment holds and freezes reach; those that reach none are left out."""
        if not self.keepers:
            return []
        table = look_at(self.ledger, manifest) if table is None else table
        found = [(keeper, keeper.reach.mask(position, manifest, table)) for keeper in self.keepers]
        return [(keeper, mask) for keeper, mask in found if mask.any()]

    def overdue(self) -> Iterator[Due]:
        """Yield what is past its time, holds and freezes aside, in the order of the log."""
        if not any(rule.ceiling for rule in self.rules):
            return
        for kind in self.ledger.catalog.kinds():
            for position, manifest in manifests(self.ledger, kind):
                yield from self.due(position, manifest)

    def due(self, position: int, manifest: Manifest) -> list[Due]:
        """Return what of a segment is past its time and kept by nothing; see `past`."""
        return self.past(position, manifest, held_too=False)[0]

    def past(self, position: int, manifest: Manifest, *, held_too: bool) -> tuple[list[Due], Held]:
        """Return what of a segment is past its time, and which of its records holds and freezes keep.

        A row goes no earlier than its sealed values: as long as these are there, it proves what they are.

        Args:
            position: Index of the manifest.
            manifest: The manifest.
            held_too: Whether what holds and freezes keep is among what is past its time.
        """
        nothing: tuple[list[Due], Held] = [], Held(masks={}, count=manifest.count)
        if self.ledger.gone_in(position, manifest) == manifest.count:
            return nothing
        erased: dict[str, Mask] | None = self._all_erased(manifest)
        parts = [(SKELETON, "")]
        if erased is None:
            parts += [(PAYLOAD, class_of_group(group)) for group in self.ledger.schema(manifest.schema).groups]
        if not any(self._may_be_past(manifest, part, class_) for part, class_ in parts):
            return nothing
        table = look_at(self.ledger, manifest)
        erased = erased_values(self.ledger, manifest, 0, manifest.count) if erased is None else erased
        special = self._special(manifest, table)
        bare = there = ~gone_rows(table["id"])
        masks: dict[str, Mask] = {}
        for group, gone in erased.items():
            past = self._past(manifest, table, special, PAYLOAD, class_of_group(group))
            masks[group] = past & there & ~gone
            bare = bare & (gone | masks[group])
        masks[""] = self._past(manifest, table, special, SKELETON, "") & bare
        if not any(mask.any() for mask in masks.values()):
            return nothing
        held = self._held(position, manifest, table)
        wanted = there if held_too else ~held.stays
        return [
            one
            for group, mask in masks.items()
            for one in self._as_due(position, manifest, group, table, special, mask & wanted)
        ], held

    def _held(self, position: int, manifest: Manifest, table: pa.Table) -> Held:
        """Return which records of a segment holds and freezes keep."""
        masks: dict[str, Mask] = {}
        for keeper, mask in self.reached(position, manifest, table):
            masks[keeper.code] = mask | masks.get(keeper.code, mask)
        return Held(masks=masks, count=manifest.count)

    def _all_erased(self, manifest: Manifest) -> dict[str, Mask] | None:
        """Return that all sealed values of a segment are gone, if its shard says so or is itself; without any key."""
        groups, shard = self.ledger.schema(manifest.schema).groups, manifest.shard
        if shard is None:
            return {}
        if is_destroyed(self.ledger, shard.name, groups_by_domain(groups)):
            return dict.fromkeys(groups, np.ones(manifest.count, bool))
        gone = sum(section.erased for section in self.ledger.vault.sections(shard.name))
        return dict.fromkeys(groups, np.ones(manifest.count, bool)) if gone == len(groups) * manifest.count else None

    def _may_be_past(self, manifest: Manifest, part: str, class_: str) -> bool:
        """Say whether a part of any record of a segment can be past its time."""
        first = parse_time(manifest.first_time)
        models = {self._model(bytes.fromhex(context)) for context in manifest.contexts}
        return any(
            self._cutoff(manifest.kind, part, class_, model, adverse=adverse) >= first
            for model in models
            for adverse in (False, True)
        )

    def terms(self, manifest: Manifest, rows: Sequence[int], table: pa.Table) -> Iterator[Term]:
        """Yield what rules say of the parts of records that hold values about people, or of their rows without any."""
        groups = self.ledger.schema(manifest.schema).groups
        parts = {(PAYLOAD, class_of_group(group)) for group in groups} or {(SKELETON, "")}
        for row in rows:
            if table["id"][row].is_valid:
                for part, class_ in sorted(parts):
                    yield term_of(self.rules, self._item(manifest, table, row, part, class_))

    def _as_due(
        self, position: int, manifest: Manifest, group: str, table: pa.Table, special: list[int], past: Mask
    ) -> list[Due]:
        """Return rows as what is due, by the rule whose ceiling passed."""
        if not past.any():
            return []
        part, class_ = (PAYLOAD, class_of_group(group)) if group else (SKELETON, "")
        by_rule: dict[str, Mask] = {}
        plain = past.copy()
        for row in special:
            plain[row] = False
            if past[row]:
                rule = self._rule_of(self._item(manifest, table, row, part, class_))
                by_rule.setdefault(rule, np.zeros_like(past))[row] = True
        for context in pc.unique(table["context"].filter(pa.array(plain))).to_pylist():
            own = _is_of(table, context) & plain
            item = self._item(manifest, table, int(np.argmax(own)), part, class_)
            rule = self._rule_of(replace(item, model=self._model(context)))
            by_rule[rule] = by_rule.get(rule, own) | own
        times = table["time"].cast(pa.int64()).fill_null(0).to_numpy()
        return [
            Due(
                position=position,
                manifest=manifest,
                group=group,
                label=_label(manifest.kind, part, class_),
                rule=rule,
                rows=np.flatnonzero(own),
                oldest=int(times[own].min()),
            )
            for rule, own in sorted(by_rule.items())
        ]

    def _rule_of(self, item: Item) -> str:
        """Return the name of the rule whose ceiling counts for an item."""
        rule = term_of(self.rules, item).ceiling
        return "" if rule is None else rule.name

    def _past(self, manifest: Manifest, table: pa.Table, special: list[int], part: str, class_: str) -> Mask:
        """Return which records of a segment have a part that is past its time."""
        times = table["time"].cast(pa.int64()).fill_null(NEVER - 1).to_numpy()
        past = np.zeros(table.num_rows, dtype=bool)
        for context in pc.unique(table["context"]).to_pylist():
            if context is None:
                continue
            cutoff = self._cutoff(manifest.kind, part, class_, self._model(context), adverse=False)
            past |= _is_of(table, context) & (times <= cutoff)
        for row in special:
            past[row] = term_of(self.rules, self._item(manifest, table, row, part, class_)).delete_by <= self.now
        return past

    def _special(self, manifest: Manifest, table: pa.Table) -> list[int]:
        """Return the rows of records to which something happened."""
        if not self.events.of:
            return []
        keys = pa.array(sorted(self.events.of), table["id"].type)
        rows: list[int] = pc.indices_nonzero(pc.is_in(table[_key_column(manifest)], value_set=keys)).to_pylist()
        return rows

    def _item(self, manifest: Manifest, table: pa.Table, row: int, part: str, class_: str) -> Item:
        happened = self.events.of.get(table[_key_column(manifest)][row].as_py(), Happened())
        return Item(
            kind=manifest.kind,
            part=part,
            event=table["time"][row].value,
            class_=class_,
            model=self._model(table["context"][row].as_py()),
            adverse=happened.adverse,
            triggers=happened.triggers,
        )

    def _cutoff(self, kind: str, part: str, class_: str, model: str, *, adverse: bool) -> int:
        key = (kind, part, class_, model, adverse)
        if key not in self._cutoffs:
            item = Item(kind=kind, part=part, event=0, class_=class_, model=model, adverse=adverse)
            self._cutoffs[key] = latest_overdue(self.rules, item, self.now)
        return self._cutoffs[key]

    def _model(self, context: bytes) -> str:
        return str(model_of(self.ledger, context).get("name", ""))


def rules_in_force(ledger: Ledger) -> tuple[Rule, ...]:
    """Return the rules that were approved last, of every set there is."""
    sets: dict[str, tuple[int, Mapping[str, object]]] = {}
    for one in proposals(ledger, RULES):
        if one.verdict == "approved" and (one.decided or 0) >= sets.get(one.name, (0, {}))[0]:
            sets[one.name] = (one.decided or 0, one.document)
    return tuple(rule for _, document in sets.values() for rule in parse_rules(dict(document)))  # type: ignore[arg-type]


def grounds_to_keep(ledger: Ledger, gate: Gate, rows: Iterable[tuple[Manifest, Sequence[int] | Rows]]) -> list[Ground]:
    """Return why records must not be erased now, even if the person they are about asks for it.

    A floor that is no legal obligation is no ground, nor is one about a part that is gone already.

    Args:
        ledger: The archive.
        gate: Not asked, as nobody is shown anything; what reads about people elsewhere takes one.
        rows: The records: rows of segments.

    Returns:
        The grounds that bind, each with how many of the records it keeps; none if all may go.
    """
    del gate
    keeping = Keeping(ledger, ledger.world.now_ns())
    counts: dict[tuple[str, str, str], int] = {}
    ends: dict[tuple[str, str, str], int] = {}
    for manifest, given in rows:
        own = np.asarray(given, np.int64)
        table, position = look_at(ledger, manifest), position_of(ledger, manifest)
        for keeper, mask in keeping.reached(position, manifest, table):
            if kept := int(mask[own].sum()):
                key = (keeper.code, keeper.law, keeper.name)
                counts[key], ends[key] = counts.get(key, 0) + kept, NEVER
        for row in own.tolist() if any(rule.obligation for rule in keeping.rules) else ():
            for term in keeping.terms(manifest, [row], table):
                if term.binding is not None and term.binding_until > keeping.now:
                    key = (FLOOR, LEGAL_DUTY, term.binding.name)
                    counts[key] = counts.get(key, 0) + 1
                    ends[key] = max(ends.get(key, 0), term.binding_until)
    return [
        Ground(code=code, law=law, name=name, records=count, until=until_text(ends[code, law, name]))
        for (code, law, name), count in sorted(counts.items())
    ]


def rows_to_keep(ledger: Ledger, rows: Iterable[tuple[Manifest, Sequence[int] | Rows]]) -> Iterator[Rows]:
    """Yield of each segment which of the rows are among those that `grounds_to_keep` says must stay."""
    keeping = Keeping(ledger, ledger.world.now_ns())
    has_obligations = any(rule.obligation for rule in keeping.rules)
    for manifest, given in rows:
        own, table = np.asarray(given, np.int64), look_at(ledger, manifest)
        kept = np.zeros(table.num_rows, np.bool_)
        for _, mask in keeping.reached(position_of(ledger, manifest), manifest, table):
            kept |= mask
        for row in own[~kept[own]].tolist() if has_obligations else ():
            kept[row] = any(term.binding_until > keeping.now for term in keeping.terms(manifest, [row], table))
        yield own[kept[own]]


def until_text(moment: int) -> str | None:
    """Return a moment as RFC 3339; None where there is none."""
    return None if moment >= NEVER else time_text(moment)


def _is_of(table: pa.Table, context: bytes) -> Mask:
    """Return which records have a context."""
    own = pc.equal(table["context"], pa.scalar(context, table["context"].type)).fill_null(fill_value=False)
    mask: Mask = own.to_numpy(zero_copy_only=False)
    return mask


def _key_column(manifest: Manifest) -> str:
    """Return the column whose id says what happened: an outcome ends with its prediction."""
    return "of" if manifest.kind == OUTCOME else "id"


def _label(kind: str, part: str, class_: str) -> str:
    return "/".join(word for word in (kind, part, class_) if word)
