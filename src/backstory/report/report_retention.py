"""Retention and deletion evidence: rules, ages, what was disposed of and erased, what is kept and why."""

from __future__ import annotations

from collections.abc import Iterator

from backstory.errors import NotFoundError
from backstory.governance.keeping import rules_in_force
from backstory.governance.retention import Status, status
from backstory.governance.retention_rules import Period
from backstory.lineage.plain import count_text
from backstory.records import canonical
from backstory.report.report import Cell, Column, Content, Layout, Layouts, Supports, Told
from backstory.report.report_desk import Asked, Desk
from backstory.report.report_make import Kind
from backstory.report.report_streams import completeness_of
from backstory.verify.report import list_of, object_of

_STATES = {
    "backups": "where backups are, and when they expire",
    "elsewhere": "which copies are kept outside the archive",
}

LAYOUTS = Layouts(
    kind="retention-evidence",
    code="RPT-08",
    title="Retention and deletion",
    about="The rules by which records are kept, how old they are, what was disposed of or erased, and what stays.",
    readers="for data protection officers and auditors",
    supports=(
        Supports(article="GDPR, articles 5(1)(e), 17 and 30(1)(f)", serves="terms, and that they are kept"),
        Supports(article="EU AI Act, articles 19 and 26(6)", serves="that logs are kept for at least six months"),
        Supports(article="SOC 2, C1.2; NIST SP 800-53, AU-11", serves="disposal and retention"),
        Supports(article="Regulation B, 12 CFR 1002.12(b)", serves="that what was used is kept for 25 months"),
    ),
    sections=(
        Layout(
            name="rules",
            title="Rules in force",
            standing="recorded",
            columns=(
                Column("rule", "rule"),
                Column("covers", "is about"),
                Column("trigger", "counts from"),
                Column("floor", "at least"),
                Column("ceiling", "at most"),
                Column("basis", "because of"),
                Column("source", "source"),
            ),
            none="No rule is in force: records are kept.",
        ),
        Layout(
            name="ages",
            title="What is kept, and how old it is",
            standing="computed",
            columns=(
                Column("kind", "kind of record"),
                Column("records", "there", "count"),
                Column("gone", "disposed of", "count"),
                Column("held", "held or frozen", "count"),
                Column("oldest", "oldest", "time"),
                Column("years", "by full years"),
            ),
            none="There are no records.",
        ),
        Layout(
            name="overdue",
            title="What is past its time, and kept by nothing",
            standing="computed",
            columns=(
                Column("what", "what"),
                Column("rule", "rule"),
                Column("count", "how much", "count"),
                Column("oldest", "oldest", "time"),
            ),
            none="Nothing is.",
        ),
        Layout(
            name="disposals",
            title="Disposals",
            standing="recorded",
            columns=(
                Column("begun", "begun in entry", "count"),
                Column("proposal", "approved proposal, entry", "count"),
                Column("time", "begun", "time"),
                Column("what", "what went"),
                Column("rule", "rule"),
                Column("count", "how much", "count"),
                Column("method", "how"),
                Column("executed", "done in entry", "count"),
                Column("root", "root of what went", "digest"),
            ),
            none="Nothing was disposed of.",
        ),
        Layout(
            name="kept",
            title="What was proposed for disposal and stays",
            standing="recorded",
            columns=(
                Column("begun", "disposal, entry", "count"),
                Column("ground", "ground"),
                Column("count", "how much", "count"),
            ),
            none="Nothing.",
        ),
        Layout(
            name="holds",
            title="Legal holds and freezes",
            standing="recorded",
            columns=(
                Column("entry", "entry", "count"),
                Column("time", "time", "time"),
                Column("what", "what"),
                Column("name", "name"),
                Column("review", "to be reviewed", "time"),
                Column("matter", "matter (a commitment)", "digest"),
            ),
            none="No hold and no freeze was ever placed.",
        ),
        Layout(
            name="erasures",
            title="Erasures of persons",
            standing="recorded",
            columns=(
                Column("entry", "entry", "count"),
                Column("time", "time", "time"),
                Column("what", "what"),
                Column("ground", "ground"),
                Column("values", "values gone, at most", "count"),
                Column("complete", "complete"),
                Column("root", "root", "digest"),
            ),
            none="No person was erased, and no erasure refused.",
        ),
        Layout(
            name="backups",
            title="Backups and copies",
            standing="stated",
            columns=(Column("what", "what"), Column("value", "")),
            none="Nothing was said of backups and of copies outside the archive.",
        ),
    ),
    limits=(
        "Copies outside the archive, backups among them, but for what is stated.",
        "What a disk keeps of a file that was overwritten or removed.",
        "Whether the rules are what the law wants: whoever approved them answers for it.",
        "What holds are about: the log has commitments to it.",
    ),
    states=_STATES,
)


def tell(desk: Desk, asked: Asked) -> Content:
    """Tell what is kept and what went."""
    ledger = desk.ledger
    since, until = asked.period
    now, problem = _status(desk)
    disposed, kept = _disposals(desk, asked)
    erasures = list(_erasures(desk, asked))
    return Content(
        scope={"archive": ledger.layout.config.origin},
        summary=_summary(now, len(erasures), sum(int(str(row["count"])) for row in disposed if row["count"])),
        sections={
            "ages": Told(rows=list(_ages(now)), text=problem),
            "backups": Told(
                rows=[
                    {"value": asked.states[name], "what": text}
                    for name, text in _STATES.items()
                    if name in asked.states
                ]
            ),
            "disposals": Told(rows=disposed),
            "erasures": Told(
                rows=erasures,
                text=["The log says neither who was erased, nor which records were theirs, nor exactly how many."]
                if erasures
                else (),
            ),
            "holds": Told(rows=list(_holds(desk))),
            "kept": Told(rows=kept),
            "overdue": Told(rows=list(_overdue(now)), text=problem),
            "rules": Told(rows=list(_rules(desk))),
        },
        completeness=completeness_of(desk, asked),
        checked="each entry that is cited, against the checkpoint; each file of records that was counted",
        since=since,
        until=until,
    )


def _status(desk: Desk) -> tuple[Status | None, list[str]]:
    try:
        return status(desk.ledger, desk.ledger.world.now_ns()), []
    except NotFoundError:
        return None, ["The keys of the vault are not here, so this cannot be said."]


def _summary(now: Status | None, erasures: int, disposed: int) -> list[str]:
    lines = [f"{count_text(disposed, 'item')} disposed of; {count_text(erasures, 'entry', 'entries')} about erasures."]
    if now is None:
        return [*lines, "What is past its time cannot be said: the keys of the vault are not here."]
    overdue = sum(one.count for one in now.overdue)
    late = f"{count_text(overdue, 'item')} past the time and kept by nothing" if overdue else "nothing is past its time"
    return [*lines, f"{count_text(now.rules, 'rule')} in force; {late}; {count_text(len(now.holds), 'hold')} in force."]


def _rules(desk: Desk) -> Iterator[dict[str, Cell]]:
    for entry_type in ("proposal.made", "proposal.decided"):
        for at, entry in desk.ledger.numbered_entries(entry_type):
            if entry.get("kind") == "retention":
                desk.cite(at)
                desk.documents.add(canonical.text_of(entry, "document"))
    for rule in rules_in_force(desk.ledger):
        classes = f", {', '.join(sorted(rule.classes))}" if rule.classes else ""
        adverse = {True: ", decided adversely", False: ", not decided adversely"}.get(rule.adverse, "")  # type: ignore[arg-type]
        duty = " (a duty)" if rule.obligation else ""
        kinds = ", ".join(sorted(rule.kinds))
        yield {
            "basis": rule.basis,
            "ceiling": _period(rule.ceiling),
            "covers": f"{rule.part} of {kinds}{classes}{adverse}; models {', '.join(rule.models)}",
            "floor": None if rule.floor is None else f"{_period(rule.floor)}{duty}",
            "rule": rule.name,
            "source": rule.source,
            "trigger": rule.trigger,
        }


def _period(period: Period | None) -> str | None:
    return None if period is None else str(period)


def _ages(now: Status | None) -> Iterator[dict[str, Cell]]:
    for one in now.classes if now else ():
        years = ", ".join(f"{age} years: {count:,}" for age, count in sorted(one.years.items()))
        yield {
            "gone": str(one.gone),
            "held": str(one.held),
            "kind": one.kind,
            "oldest": one.oldest,
            "records": str(one.records),
            "years": years or None,
        }


def _overdue(now: Status | None) -> Iterator[dict[str, Cell]]:
    for one in now.overdue if now else ():
        yield {"count": str(one.count), "oldest": one.oldest or None, "rule": one.rule, "what": one.label}


def _disposals(desk: Desk, asked: Asked) -> tuple[list[dict[str, Cell]], list[dict[str, Cell]]]:
    executed = {str(entry["begun"]): (at, entry) for at, entry in desk.ledger.numbered_entries("disposal.executed")}
    went: list[dict[str, Cell]] = []
    kept: list[dict[str, Cell]] = []
    for at, entry in desk.listed("disposal.begun", asked):
        head: dict[str, Cell] = {
            "begun": str(at),
            "proposal": desk.cited(at, "proposal"),
            "time": desk.cited(at, "time"),
        }
        desk.cite(int(canonical.text_of(entry, "proposal")))
        kept.extend(
            {"begun": str(at), "count": str(one["count"]), "ground": str(one["ground"])}
            for one in map(object_of, list_of(entry["kept"]))
        )
        done, said = executed.get(str(at), (None, {}))
        if done is None:
            went.append({**head, "what": "begun, and not said to be done"})
            continue
        went.extend(
            {
                **head,
                "count": str(one["count"]),
                "executed": str(done),
                "method": str(one["method"]),
                "root": desk.cited(done, "root"),
                "rule": str(one["rule"]),
                "what": str(one["class"]),
            }
            for one in map(object_of, list_of(said["classes"]))
        )
    return went, kept


def _holds(desk: Desk) -> Iterator[dict[str, Cell]]:
    types = ("hold.placed", "hold.extended", "hold.released", "freeze.placed", "freeze.lifted")
    found = [pair for type_ in types for pair in desk.ledger.numbered_entries(type_)]
    for at, _ in sorted(found, key=lambda pair: pair[0]):
        yield {
            "entry": str(at),
            "matter": desk.cited(at, "matter") or desk.cited(at, "incident"),
            "name": desk.cited(at, "name"),
            "review": desk.cited(at, "review"),
            "time": desk.cited(at, "time"),
            "what": desk.cited(at, "type"),
        }


def _erasures(desk: Desk, asked: Asked) -> Iterator[dict[str, Cell]]:
    found = [pair for type_ in ("subject.erased", "erasure.refused") for pair in desk.listed(type_, asked)]
    for at, entry in sorted(found, key=lambda pair: pair[0]):
        grounds = entry.get("grounds")
        refused = ", ".join(str(object_of(one)["code"]) for one in list_of(grounds)) if grounds is not None else None
        complete = entry.get("complete")
        yield {
            "complete": None
            if complete is None
            else "no: some had to be kept"
            if entry.get("partial") is True
            else "yes"
            if complete is True
            else "no: streams of others are waited for",
            "entry": str(at),
            "ground": refused or desk.cited(at, "ground"),
            "root": desk.cited(at, "root"),
            "time": desk.cited(at, "time"),
            "values": desk.cited(at, "values"),
            "what": desk.cited(at, "type"),
        }


KIND = Kind(layouts=LAYOUTS, asks=frozenset({"since", "until"}), tell=tell)
