"""Canonical queries about how long things are kept: overdue and early disposals, erasures, incidents."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from backstory.errors import NotFoundError
from backstory.governance.disposal import disposals
from backstory.governance.disposal_list import parts_of
from backstory.governance.freeze import freezes
from backstory.governance.hold import holds
from backstory.governance.keeping import Keeping
from backstory.governance.retention import status
from backstory.governance.retention_list import read_list
from backstory.governance.retention_scope import look_at
from backstory.lineage.plain import count_text
from backstory.records.erasure import ERASED_TYPE, REFUSED_TYPE, parse_erased
from backstory.records.identity import parse_time, time_text
from backstory.records.manifest import parse_manifest
from backstory.report.query import SINCE, UNTIL, Cell, Found, Given, Names, Parameter, Query, Room

_CHECKED_MAX: Final = 10_000
"""Disposed rows that are compared with floors at once; the answer says how many were not."""


# --- Q-13 -------------------------------------------------------------------------------------------------------------


def _kept_too_long(room: Room, given: Given) -> Found:
    ledger = room.ledger
    at = given.text("at")
    now = ledger.world.now_ns() if at is None else parse_time(at)
    try:
        standing = status(ledger, now)
    except NotFoundError:
        return Found(notes=["the keys of the vault are not here, so nobody can say what is overdue"], tells=False)
    rows: list[dict[str, Cell]] = [
        {"what": "past its ceiling", "class": one.label, "rule": one.rule, "count": one.count, "moment": one.oldest}
        for one in standing.overdue
    ]
    early = _Early(room)
    rows += early.rows()
    listed = holds(ledger)
    notes = [
        f"hold {one.name}: placed {one.placed}, {count_text(one.records, 'record')} listed, "
        + (f"released {one.released}" if one.released else f"review {one.review}")
        for one in listed
    ]
    if early.gone:
        notes.append(
            f"{count_text(early.gone, 'disposed row')} went whole and cannot be compared with floors: "
            "whether they were due is not answered here"
        )
    if early.left_out:
        notes.append(f"{count_text(early.left_out, 'disposed row')} not compared: more than {_CHECKED_MAX:,}")
    return Found(
        rows=rows,
        examined={
            "rules": standing.rules,
            "holds": len(listed),
            "disposed rows compared": early.compared,
            "disposed rows gone whole": early.gone,
        },
        notes=notes,
        tells=standing.rules > 0 and not early.left_out,
    )


class _Early:
    """Compares what was disposed of with floors, as the rules are now."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self.compared = self.gone = self.left_out = 0

    def rows(self) -> list[dict[str, Cell]]:
        found: list[dict[str, Cell]] = []
        for one in disposals(self._room.ledger):
            begun = parse_time(one.time)
            early = list(self._early_of(one.digest, begun))
            if early:
                oldest = time_text(max(early))
                kept = {"what": "disposed of before its floor", "class": one.name, "rule": f"disposal {one.begun}"}
                found.append({**kept, "count": len(early), "moment": oldest})
        return found

    def _early_of(self, digest: str, begun: int) -> Iterator[int]:
        """Yield until when rows had to be kept that went before."""
        ledger = self._room.ledger
        table = read_list(ledger, ledger.document(digest))
        if table is None:
            return
        keeping = Keeping(ledger, begun)
        by_manifest: dict[int, set[int]] = {}
        for position, named in parts_of(table).items():
            by_manifest[position] = {row for rows in named.values() for row in rows.tolist()}
        for position, rows in by_manifest.items():
            manifest = parse_manifest(ledger.log.entry(position))
            there = look_at(ledger, manifest)
            for row in sorted(rows):
                if self.compared >= _CHECKED_MAX:
                    self.left_out += 1
                elif not there["id"][row].is_valid:
                    self.gone += 1
                else:
                    self.compared += 1
                    until = max((term.keep_until for term in keeping.terms(manifest, [row], there)), default=0)
                    if until > begun:
                        yield until


# --- Q-14 -------------------------------------------------------------------------------------------------------------


def _erasures(room: Room, given: Given) -> Found:
    names = Names(room, "Q-14")
    wanted = given.text("entry")
    rows: list[dict[str, Cell]] = []
    for index, entry in room.listed(ERASED_TYPE, given=given):
        said = parse_erased(entry)
        if wanted is not None and wanted not in {str(index), said.root}:
            continue
        rows.append(
            {
                "entry": index,
                "time": str(entry["time"]),
                "what": ("erased in part, as some had to be kept" if said.partial else "erased")
                + ("" if said.complete else ", and waiting for streams of others"),
                "ground": said.ground,
                "root": said.root,
                "values_at_most": said.values,
                "request": names.of(said.request, "request"),
                "follows": said.follows,
            }
        )
    for index, entry in room.listed(REFUSED_TYPE, given=given):
        if wanted is None or wanted == str(index):
            grounds = entry.get("grounds")
            codes = (
                [str(one.get("code")) for one in grounds if isinstance(one, dict)] if isinstance(grounds, list) else []
            )
            head: dict[str, Cell] = {"entry": index, "time": str(entry["time"]), "what": "refused"}
            head["ground"] = ", ".join(codes)
            rows.append({**head, "root": None, "values_at_most": None, "request": None, "follows": None})
    followed = {parse_erased(entry).follows for entry in room.ledger.find_entries(ERASED_TYPE)}
    waiting = {row["root"] for row in rows if str(row["what"]).endswith("others")}
    return Found(
        rows=sorted(rows, key=lambda row: int(row["entry"] or 0)),
        examined={"entries": len(rows)},
        notes=[
            "whose records they were, which, and exactly how many, no entry says",
            "the certificate that the person was given proves it record by record (`backstory verify-erasure`)",
            "that keys are gone is what `backstory verify` checks, by their tombstones (Q-15)",
        ],
        tells=waiting <= followed,
    )


# --- Q-18 -------------------------------------------------------------------------------------------------------------


def _incidents(room: Room, given: Given) -> Found:
    names = Names(room, "Q-18")
    found = [one for one in freezes(room.ledger) if given.has(one.placed)]
    rows: list[dict[str, Cell]] = [
        {
            "freeze": one.name,
            "model": one.model,
            "incident": names.of(one.incident, "incident"),
            "placed": one.placed,
            "lifted": one.lifted,
        }
        for one in found
    ]
    return Found(
        rows=rows,
        examined={"freezes": len(found)},
        notes=["when somebody became aware, and when reports were made, is not recorded: only what was frozen for it"],
        applies=bool(found),
        tells=False,
    )


QUERIES = (
    Query(
        id="Q-13",
        question="What is kept past its ceiling without a hold, or was disposed of before its floor? Nothing may be.",
        reads="rules in force, holds, freezes, records, decisions and notices, disposals",
        columns={
            "what": "`past its ceiling` or `disposed of before its floor`",
            "class": "kind, part and class; or the disposal",
            "rule": "by which rule or in which disposal",
            "count": "how many",
            "moment": "time of the oldest; or until when it had to be kept",
        },
        shows="that nothing here is overdue by the rules in force, and no disposed row that left a trace went early",
        shows_not="copies and backups; rules of before, where they were changed; whether rows that went whole were due",
        supports=("GDPR 5(1)(e), 17", "EU AI Act 19, 26(6)", "SOC 2 C1.2", "Reg B 1002.12"),
        run=_kept_too_long,
        classes=("D0",),
        parameters=(Parameter(name="at", about="As of this moment; now if not given.", kind="moment"),),
        empty=True,
    ),
    Query(
        id="Q-14",
        question="What proves an erasure, and what stayed on which ground?",
        reads="entries about erasures and refusals of them",
        columns={
            "entry": "index in the log",
            "time": "when",
            "what": "`erased`, `refused`, or what it waits for",
            "ground": "why it was erased, or why not",
            "root": "root over its salted leaves, which the certificate opens",
            "values_at_most": "how many values at most, rounded up to a power of two",
            "request": "the request, where it may be seen",
            "follows": "root of the erasure it completes",
        },
        shows="that an erasure was made, when and on which ground",
        shows_not="whose it was: only the certificate says",
        supports=("GDPR 17, 19", "CCPA 1798.105"),
        run=_erasures,
        classes=("D0",),
        parameters=(Parameter(name="entry", about="Index of its entry, or its root."), SINCE, UNTIL),
    ),
    Query(
        id="Q-18",
        question="Which incidents were there, and how much time was left to each deadline?",
        reads="freezes of model versions",
        columns={
            "freeze": "the freeze",
            "model": "the version that was frozen",
            "incident": "which incident, where it may be seen",
            "placed": "when",
            "lifted": "when it was lifted",
        },
        shows="which versions were frozen for which incident, and from when",
        shows_not="when somebody became aware, the causal link, reports and their deadlines",
        supports=("EU AI Act 73", "DORA 19"),
        run=_incidents,
        classes=("D0",),
        parameters=(SINCE, UNTIL),
    ),
)
"""Queries about keeping."""
