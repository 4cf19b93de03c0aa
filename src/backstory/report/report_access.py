"""The access report: who saw sealed values, who was refused, what left the house, and who let whom."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from backstory.errors import InputError
from backstory.governance.access_log import read_log, who_saw
from backstory.governance.access_stream import Access
from backstory.lineage.plain import count_text
from backstory.records.access_record import ACCESS, ALLOWED, DENIED
from backstory.records.canonical import JsonObject
from backstory.report.report import Cell, Column, Content, Layout, Layouts, Supports, Told
from backstory.report.report_desk import Asked, Desk, quote, quote_time
from backstory.report.report_make import Kind
from backstory.report.report_streams import completeness_of

_EXPORTS = ("bundle.exported", "report.made", "membership.shown", "sharing.released", "reasons.disclosed")
_RIGHTS = (
    "role.assigned", "role.removed", "case.assigned", "access.granted", "access.ended", "access.reviewed",
)  # fmt: skip
_OPENED = ("staff", "why")
_NOT_SCOPE = "which records were read leads to people; `backstory access who-saw` answers it for one of them"

LAYOUTS = Layouts(
    kind="access-log",
    code="RPT-10",
    title="Who saw what",
    about="Reads of sealed values with who and what for, refusals, exports, and who was given which rights.",
    readers="for auditors and data protection officers; for a person, where the law gives it to them",
    supports=(
        Supports(article="GDPR, articles 5(2) and 32", serves="that access is controlled and accounted for"),
        Supports(article="Directive (EU) 2016/680, article 25", serves="logs of consultation and disclosure"),
        Supports(article="HIPAA, 45 CFR 164.312(b) and 164.528", serves="audit controls, accounting of disclosures"),
        Supports(article="SOC 2, CC6.1 to CC6.3", serves="population of accesses, grants and reviews"),
    ),
    sections=(
        Layout(
            name="accesses",
            title="Reads and refusals",
            standing="recorded",
            columns=(
                Column("access", "access", "id"),
                Column("time", "time", "time"),
                Column("who", "who"),
                Column("role", "role"),
                Column("question", "asked"),
                Column("outcome", "outcome"),
                Column("purpose", "what for"),
                Column("case", "case"),
                Column("groups", "sealed groups"),
                Column("records", "records", "count"),
                Column("certain", "surely these records"),
            ),
            none="No access is recorded.",
        ),
        Layout(
            name="figures",
            title="In figures",
            standing="computed",
            columns=(Column("question", "asked"), Column("outcome", "outcome"), Column("count", "times", "count")),
            none="There is nothing to count.",
        ),
        Layout(
            name="exports",
            title="What left the house",
            standing="recorded",
            columns=(
                Column("entry", "entry", "count"),
                Column("time", "time", "time"),
                Column("type", "what"),
                Column("who", "who"),
                Column("purpose", "what for"),
                Column("records", "records", "count"),
                Column("digest", "digest", "digest"),
            ),
            none="Nothing was given out.",
        ),
        Layout(
            name="refused",
            title="What was asked for and not done",
            standing="recorded",
            columns=(
                Column("entry", "entry", "count"),
                Column("time", "time", "time"),
                Column("action", "asked for"),
                Column("ground", "ground"),
                Column("who", "who"),
            ),
            none="Nothing was refused.",
        ),
        Layout(
            name="rights",
            title="Roles, cases, grants and reviews",
            standing="recorded",
            columns=(
                Column("entry", "entry", "count"),
                Column("time", "time", "time"),
                Column("type", "what"),
                Column("said", "which"),
                Column("person", "to whom"),
                Column("until", "until", "time"),
                Column("who", "by"),
            ),
            none="No role, case or grant is recorded.",
        ),
        Layout(
            name="policies",
            title="Policies of access",
            standing="recorded",
            columns=(
                Column("entry", "entry", "count"),
                Column("time", "proposed", "time"),
                Column("digest", "policy", "digest"),
                Column("verdict", "verdict"),
                Column("decided", "decided in entry", "count"),
            ),
            none="No policy of access was ever approved: whoever names themselves and a purpose may read.",
        ),
    ),
    limits=(
        "Reads of values that are not sealed.",
        "What people did with what they saw.",
        "Whoever has the keys of the vault and reads its files with another program.",
        "That somebody is who they said they were: the archive takes the name it is given.",
    ),
)


def tell(desk: Desk, asked: Asked) -> Content:
    """Tell who saw what.

    Raises:
        InputError: Neither a person nor a period.
        ForbiddenError: The log of accesses may not be read.
    """
    if asked.subject is None and asked.since is None and asked.until is None:
        raise InputError("report: expected a person, or a period: since, until or both")
    accesses, certain = _accesses(desk, asked)
    sealed = [one for one in accesses if one.entry is not None]
    proven = desk.prove(ACCESS.kind, [one.id for one in sealed], _OPENED)
    counted = Counter((one.question, one.outcome) for one in accesses)
    waiting = len(accesses) - len(sealed)
    about = asked.subject is not None
    rows = [
        {
            "access": one.id,
            "case": quote(proven[one.id], "case"),
            "certain": _sure(one, certain) if about else None,
            "groups": ", ".join(one.groups) or None,
            "outcome": quote(proven[one.id], "outcome"),
            "purpose": quote(proven[one.id], "purpose"),
            "question": quote(proven[one.id], "question"),
            "records": quote(proven[one.id], "records"),
            "role": quote(proven[one.id], "role"),
            "time": quote_time(proven[one.id]),
            "who": quote(proven[one.id], "actor"),
        }
        for one in sealed
    ]
    since, until = asked.period
    log: dict[str, Told] = {}
    if not about:
        log = {
            "exports": Told(rows=list(_exports(desk, asked))),
            "policies": Told(rows=list(_policies(desk))),
            "refused": Told(rows=list(_refused(desk, asked))),
            "rights": Told(rows=list(_rights(desk, asked))),
        }
    else:
        reason = "This report is about one person; it is told in one for a period."
        log = {name: Told(text=[reason]) for name in ("exports", "policies", "refused", "rights")}
    left_out = count_text(waiting, "access", "accesses")
    missing = [f"Left out, as not in the log yet: {left_out}."] if waiting else []
    return Content(
        scope={"accesses": "to what is about one person" if about else "all of the period"},
        summary=_summary(accesses, certain if about else None),
        sections={
            "accesses": Told(rows=rows),
            "figures": Told(
                rows=[
                    {"count": str(count), "outcome": outcome, "question": question}
                    for (question, outcome), count in sorted(counted.items())
                ]
            ),
            **log,
        },
        completeness=[*completeness_of(desk, asked, (ACCESS.kind,)), *missing],
        checked="each access and entry that is listed, against the checkpoint",
        withheld=desk.withheld,
        limits=[f"Which records an access read: {_NOT_SCOPE}."],
        since=since,
        until=until,
    )


def _sure(access: Access, certain: Mapping[str, bool]) -> str:
    """Say whether an access surely read records of the person who is asked about, and if not, why."""
    if certain.get(access.id):
        return "yes"
    return "perhaps: which were read was erased with somebody" if access.is_erased else "perhaps: not said which"


def _accesses(desk: Desk, asked: Asked) -> tuple[list[Access], dict[str, bool]]:
    """Return the accesses that are asked about, and which of them surely read records of the person."""
    if asked.subject is None:
        return read_log(desk.ledger, desk.gate, since=asked.since, until=asked.until), {}
    found = [one for one in who_saw(desk.ledger, desk.gate, subject=asked.subject) if asked.has(one.access.time)]
    return [one.access for one in found], {one.access.id: one.certain for one in found}


def _summary(accesses: Sequence[Access], certain: Mapping[str, bool] | None) -> list[str]:
    """Say how many reads there are; of those asked about one person only what is certain is said to be about them."""
    reads = [one for one in accesses if one.outcome == ALLOWED and (certain is None or certain[one.id])]
    perhaps = sum(one.outcome == ALLOWED for one in accesses) - len(reads)
    denied = sum(one.outcome == DENIED for one in accesses)
    people = len({one.actor for one in reads if one.actor is not None})
    of_whom = "of sealed values" if certain is None else "of what is about this person"
    names = f", by {count_text(people, 'name')}" if people else ""
    return [
        f"{count_text(len(reads), 'read')} {of_whom} {'is' if len(reads) == 1 else 'are'} recorded{names}.",
        *([f"Of {count_text(perhaps, 'more read')} it is not known what was read."] if perhaps else []),
        f"{count_text(denied, 'time')} whoever asked was shown nothing." if denied else "Nobody was refused.",
    ]


def _exports(desk: Desk, asked: Asked) -> Iterator[dict[str, Cell]]:
    for at, entry in sorted(
        (pair for type_ in _EXPORTS for pair in desk.listed(type_, asked)), key=lambda pair: pair[0]
    ):
        digest = next((name for name in ("manifest", "proof", "reasons") if name in entry), None)
        yield {
            "digest": None if digest is None else desk.cited(at, digest),
            "entry": str(at),
            "purpose": desk.text_behind(entry.get("purpose"), "purpose", "D7"),
            "records": desk.cited(at, "records"),
            "time": desk.cited(at, "time"),
            "type": desk.cited(at, "type"),
            "who": _who(desk, entry),
        }


def _refused(desk: Desk, asked: Asked) -> Iterator[dict[str, Cell]]:
    for at, entry in desk.listed("action.refused", asked):
        yield {
            "action": desk.cited(at, "action"),
            "entry": str(at),
            "ground": desk.cited(at, "ground"),
            "time": desk.cited(at, "time"),
            "who": _who(desk, entry),
        }


def _rights(desk: Desk, asked: Asked) -> Iterator[dict[str, Cell]]:
    for at, entry in sorted(
        (pair for type_ in _RIGHTS for pair in desk.listed(type_, asked)), key=lambda pair: pair[0]
    ):
        classes = entry.get("classes")
        said = ", ".join(map(str, classes)) if isinstance(classes, list) else None
        member = next((name for name in ("role", "verdict", "grant", "assignment") if name in entry), None)
        yield {
            "entry": str(at),
            "person": desk.text_behind(entry.get("person"), "person", "D6"),
            "said": said if member is None else desk.cited(at, member),
            "time": desk.cited(at, "time"),
            "type": desk.cited(at, "type"),
            "until": desk.cited(at, "until"),
            "who": _who(desk, entry),
        }


def _policies(desk: Desk) -> Iterator[dict[str, Cell]]:
    verdicts = {str(entry["proposal"]): at for at, entry in desk.ledger.numbered_entries("proposal.decided")}
    for at, entry in desk.ledger.numbered_entries("proposal.made", "access"):
        if entry.get("kind") == "policy":
            decided = verdicts.get(str(at))
            yield {
                "decided": None if decided is None else str(decided),
                "digest": desk.cited(at, "document"),
                "entry": str(at),
                "time": desk.cited(at, "time"),
                "verdict": None if decided is None else desk.cited(decided, "verdict"),
            }


def _who(desk: Desk, entry: JsonObject) -> str | None:
    return desk.text_behind(entry.get("actor"), "actor", "D6")


KIND = Kind(layouts=LAYOUTS, asks=frozenset({"subject", "since", "until"}), tell=tell)
