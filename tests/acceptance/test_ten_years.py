"""Ten years of records, rules, holds, releases, erasures and disposals, day by day, beside a plain list.

The list knows when each part of each record is to go, by months counted here once more, and every day what is overdue
and held. The archive must say the same whenever rules or holds change, every four months, and on some of the days when
something falls due. After each disposal exactly what the list says is gone must be gone. For more records and other
years there are BACKSTORY_RETENTION_RECORDS and BACKSTORY_RETENTION_SEED.
"""

from __future__ import annotations

import os
from calendar import monthrange
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from random import Random

import numpy as np
from tests.support.ledgers import SEALED, new_recorder
from tests.support.retention import DAY, Clock, acting, in_force, recorded, registered, timed_ledger

from backstory.capture.fact import record_facts
from backstory.governance.disposal import execute_disposal, propose_disposal
from backstory.governance.hold import place_hold, propose_release
from backstory.governance.keeping import Keeping, grounds_to_keep
from backstory.governance.proposal import decide
from backstory.governance.retention_decision import approve
from backstory.governance.retention_scope import Scope, look_at
from backstory.ledger.people_index import find_people_rows
from backstory.ledger.read import manifests
from backstory.ledger.rewrite import rewrite_shard
from backstory.ledger.seal import seal_all
from backstory.ledger.sealed import erased_values
from backstory.records.decision import DECISION
from backstory.records.sensitivity import class_of_group
from backstory.verify.archive import verify_archive

RECORDS = int(os.environ.get("BACKSTORY_RETENTION_RECORDS", "400"))
SEED = int(os.environ.get("BACKSTORY_RETENTION_SEED", "7"))
DAYS = 3653
BATCH = 20
PEOPLE = 40
PARTS = (*SEALED.groups, "")
"""Sealed groups of a record, and its row."""


def rule(name, part, ceiling, **more):
    """Return a rule about predictions."""
    given = {"kinds": ["prediction"], "name": name, "part": part, "source": "a test", "ceiling": f"{ceiling} months"}
    return given | more


YEARS = {
    0: [rule("values", "payload", 6), rule("row", "skeleton", 24)],
    900: [
        rule("values", "payload", 6, floor="12 months", obligation=True, basis="a law"),
        rule("row", "skeleton", 30, floor="40 months"),  # a wish, which a ceiling cuts
    ],
    1800: [
        rule("values", "payload", 9, adverse=False),
        rule("adverse", "payload", 36, adverse=True, trigger="decision"),
        rule("features", "payload", 3, classes=["D4"], models=["credit"]),
        rule("row", "skeleton", 12),
    ],
    2900: [rule("values", "payload", 4), rule("row", "skeleton", 18, floor="1 month")],
}
"""Rules by the day from which they are in force."""


def months_later(moment_ns, months):
    """Count calendar months, in another way than the archive does."""
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=moment_ns // 1000)
    year, month = moment.year, moment.month
    for _ in range(months):
        year, month = (year + 1, 1) if month == 12 else (year, month + 1)
    if moment.day > monthrange(year, month)[1]:  # the month is too short: at its end
        year, month = (year + 1, 1) if month == 12 else (year, month + 1)
        moment, moment_ns = datetime(year, month, 1, tzinfo=UTC), 0
    later = moment.replace(year=year, month=month)
    return (later - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) * 1000 + moment_ns % 1000


@dataclass
class Plain:
    """A record of the list."""

    key: bytes
    time: int
    model: str
    person: int
    decided: int | None = None
    adverse: bool = False
    gone: set[str] = field(default_factory=set)

    def due(self, rules, part):
        """Return when a part is to go, and until when it must stay, by the rules' words."""
        ceilings, floors, wishes = [], [], []
        for one in rules:
            if (one["part"] == "payload") != bool(part) or one.get("adverse", self.adverse) != self.adverse:
                continue
            if "classes" in one and class_of_group(part) not in one["classes"]:
                continue
            if self.model not in one.get("models", [self.model]):
                continue
            begin = self.decided if one.get("trigger") == "decision" and self.decided else self.time
            ceilings.append(months_later(begin, int(one["ceiling"].split()[0])))
            if "floor" in one:
                (floors if one.get("obligation") else wishes).append(months_later(begin, int(one["floor"].split()[0])))
        return max([min(ceilings), *floors])


class Decade:
    """The archive, the list beside it, and what happens to both."""

    def __init__(self, root):
        """Begin with no records and the first rules."""
        self.chance = Random(SEED)
        self.clock = Clock()
        self.ledger = timed_ledger(root, self.clock)
        registered(self.ledger, "delay", "credit")
        self.records: list[Plain] = []
        self.holds: dict[str, set[bytes]] = {}
        self.scopes: dict[str, Scope] = {}
        self.rules: list[dict[str, object]] = []
        self.counts = dict.fromkeys(("disposed", "held", "erased", "refused", "compared"), 0)
        self.dates = np.zeros((0, len(PARTS)), np.int64)

    def change_rules(self, rules):
        """Bring other rules in force."""
        self.rules = rules
        in_force(self.ledger, *rules)
        self.date()

    def date(self):
        """Work out again when everything is to go; a row no earlier than what it proves."""
        dates = [[one.due(self.rules, part) for part in PARTS] for one in self.records]
        self.dates = np.array(dates, np.int64).reshape(-1, len(PARTS))

    def record(self):
        """Record some predictions; some are decided on, adversely or not."""
        first, model = self.chance.randrange(PEOPLE // BATCH) * BATCH, self.chance.choice(["delay", "credit"])
        keys = recorded(self.ledger, BATCH, first=first, model=model)
        times = [value.value for value in self.tables()[-1][2]["time"]]
        new = [
            Plain(key=key, time=time, model=model, person=first + at)
            for at, (key, time) in enumerate(zip(keys, times, strict=True))
        ]
        self.records += new
        if self.chance.random() < 0.4:
            self.decide(new[:6])
        self.date()

    def decide(self, chosen):
        """Record final decisions about predictions."""
        adverse = self.chance.random() < 0.5
        recorder = new_recorder(self.ledger)
        row = {"adverse": adverse, "predictions": [one.key for one in chosen], "state": "final"}
        record_facts(recorder, self.ledger.blobs, DECISION, [row])
        recorder.close()
        seal_all(self.ledger)
        ((_, manifest),) = list(manifests(self.ledger, "decision"))[-1:]
        moment = look_at(self.ledger, manifest)["time"][0].value
        for one in chosen:
            one.decided, one.adverse = moment, adverse

    def place_hold(self):
        """Hold a person's records, some by id, or all of a model."""
        kind = self.chance.choice(["person", "ids", "model"])
        scope = Scope(model=self.chance.choice(["delay", "credit"]), until=self.clock.now - 200 * DAY)
        if kind == "person":
            scope = Scope(subjects=(f"person {self.chance.randrange(PEOPLE)}",))
        elif kind == "ids":
            scope = Scope(predictions=frozenset(one.key for one in self.chance.sample(self.records, 3)))
        hold = place_hold(self.ledger, "a matter", scope, "legal", self.clock.now + 400 * DAY)
        self.scopes[hold.name] = scope

    def release(self):
        """Release the oldest hold, by two others than who placed it."""
        name = next(iter(self.scopes))
        with acting(self.ledger, "carl"):
            proposal = propose_release(self.ledger, name)
        with acting(self.ledger, "bob"):
            approve(self.ledger, proposal.index)
        del self.scopes[name]

    def is_held(self, one):
        """Say whether a hold reaches a record that is still there and still leads to its person."""
        for scope in self.scopes.values():
            by_person = "subject" not in one.gone and f"person {one.person}" in scope.subjects
            by_model = scope.model == one.model and one.time < (scope.until or 0)
            if by_person or by_model or one.key in scope.predictions:
                return True
        return False

    def erase(self):
        """Erase a person's values, unless something must stay."""
        person = self.chance.randrange(PEOPLE)
        found = find_people_rows(self.ledger, f"person {person}")
        mine = [one for one in self.records if one.person == person and "subject" not in one.gone]
        assert sum(len(rows) for _, rows in found) == len(mine)
        grounds = grounds_to_keep(self.ledger, None, found)
        floors = [r for r in self.rules if r.get("obligation")]
        kept = any(self.is_held(one) for one in mine) or any(
            months_later(one.time, int(r["floor"].split()[0])) > self.clock.now for one in mine for r in floors
        )
        assert bool(grounds) == kept
        if grounds:
            self.counts["refused"] += 1
            return
        self.counts["erased"] += len(mine)
        for manifest, rows in found:
            rewrite_shard(self.ledger, manifest, {group: rows.tolist() for group in SEALED.groups})
        for one in mine:
            one.gone |= set(SEALED.groups)

    def overdue(self):
        """Return what the list says is overdue and not held, as (id, part)."""
        found = set()
        for at in np.nonzero((self.dates <= self.clock.now).any(axis=1))[0].tolist():
            one = self.records[at]
            if "" in one.gone or self.is_held(one):
                continue
            values = {PARTS[part] for part in np.nonzero(self.dates[at] <= self.clock.now)[0]} - one.gone
            if "" in values and set(SEALED.groups) - one.gone - values:
                values.remove("")
            found |= {(one.key, part) for part in values}
        return found

    def tables(self):
        """Return the manifests of predictions, with what rules look at of each."""
        return [(position, one, look_at(self.ledger, one)) for position, one in manifests(self.ledger, "prediction")]

    def compare(self, expected):
        """Insist that the archive says the same is overdue."""
        said = set()
        for one in Keeping(self.ledger, self.clock.now).overdue():
            keys = look_at(self.ledger, one.manifest)["id"]
            said |= {(keys[row].as_py(), one.group) for row in one.rows.tolist()}
        assert said == expected
        self.counts["compared"] += 1

    def dispose(self):
        """Dispose of what is overdue; insist that exactly that is gone then, and nothing is overdue."""
        expected = self.overdue()
        if not expected:
            return
        proposal = propose_disposal(self.ledger)
        with acting(self.ledger, "bob"):
            decide(self.ledger, proposal.index, "approved")
        done = execute_disposal(self.ledger, proposal.index)
        assert (done.count, done.kept) == (len(expected), {})
        self.counts["disposed"] += len(expected)
        known = {one.key: one for one in self.records}
        for key, part in expected:
            known[key].gone.add(part)
        self.insist_gone()
        self.compare(set())

    def insist_gone(self):
        """Insist that exactly what the list says is gone is gone."""
        at = 0
        for _, manifest, table in self.tables():
            erased = erased_values(self.ledger, manifest, 0, manifest.count)
            for row in range(manifest.count):
                one, key = self.records[at], table["id"][row].as_py()
                gone = {group for group in SEALED.groups if erased[group][row]} | ({""} if key is None else set())
                assert gone == one.gone
                assert key in {None, one.key}
                at += 1


def test_ten_years(tmp_path):
    """No day is anything disposed of before its time or under a hold, and after each run nothing is past its time."""
    decade = Decade(tmp_path / "archive")
    chance, every = decade.chance, DAYS * BATCH // RECORDS
    said = set()
    for day in range(DAYS):
        decade.clock.on(1)
        changed = day in YEARS
        if changed:
            decade.change_rules(YEARS[day])
        if day % every == 0:
            decade.record()
        if day % 170 == 90:
            decade.place_hold()
            changed = True
        if decade.scopes and (day % 210 == 205 or len(decade.scopes) > 3):
            decade.release()
            changed = True
        if day % 130 == 60:
            decade.erase()
        if day % 120 == 110:
            decade.dispose()
        expected = decade.overdue()
        decade.counts["held"] += day % 100 == 0 and sum(decade.is_held(one) for one in decade.records)
        if changed or day % 120 == 0 or (expected != said and chance.random() < 0.08):
            decade.compare(expected)
        said = expected
    assert all(decade.counts.values()), decade.counts
    report = verify_archive(decade.ledger.layout.root, workers=1)
    assert [one for one in report.findings if one.severity == "failed" and one.place != "vault"] == []
    decade.ledger.close()
