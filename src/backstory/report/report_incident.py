"""The incident pack: what a model answered in a period, what was decided with it, what was done about it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from backstory.errors import InputError
from backstory.governance.decision_read import Decision, find_decisions
from backstory.lineage.deployments import APPROVED, DEPLOYED
from backstory.lineage.plain import count_text
from backstory.lineage.registry import Registered, find_version, versions_of
from backstory.records.canonical import JsonObject
from backstory.report.report import Cell, Column, Content, Layout, Layouts, Supports, Told
from backstory.report.report_desk import QUESTION, Asked, Desk
from backstory.report.report_make import Kind
from backstory.report.report_model import SERVED, THRESHOLDS, Served, count_served, threshold_rows
from backstory.report.report_streams import completeness_of, manifests_in

_FACT = (Column("what", "what"), Column("value", ""))
_STATES = {
    "reporter": "who reports",
    "system": "the system, with its registration",
    "aware": "when whoever reports became aware",
    "occurred": "when it happened",
    "link": "when a causal link was established, or why it is likely",
    "limb": "which kind of serious incident it is (EU AI Act, article 3(49))",
    "states": "Member States concerned",
    "persons": "persons affected, how many and how",
    "description": "what happened",
    "risk": "assessment of the risk",
    "actions": "corrective actions that were taken or are planned",
    "altered": "whether the system was altered since, and the authority told before",
    "follow_up": "what follows",
}

LAYOUTS = Layouts(
    kind="incident",
    code="RPT-06",
    title="Incident: what is on record",
    about="What a model answered in the period of an incident, what was decided with it, and what was done since.",
    readers="for a market surveillance authority, and for whoever investigates",
    supports=(
        Supports(article="EU AI Act, article 73", serves="what a report of a serious incident stands on"),
        Supports(article="EU AI Act, article 20", serves="that causes can be investigated, and action taken"),
        Supports(article="DORA, article 19", serves="facts for the reports of a major incident"),
        Supports(article="GDPR, article 33", serves="facts for a notification"),
    ),
    sections=(
        Layout(name="report", title="What is reported", standing="stated", columns=_FACT, none="Nothing was stated."),
        Layout(
            name="served",
            title="What the model answered in the period",
            standing="computed",
            columns=SERVED,
            none="No prediction of it in this period is in the log.",
        ),
        Layout(
            name="decisions",
            title="What was decided with them",
            standing="computed",
            columns=(
                Column("automation", "how"),
                Column("action", "what was done with the answer"),
                Column("adverse", "adverse"),
                Column("count", "decisions", "count"),
            ),
            none="No decision on predictions of it in this period is recorded.",
        ),
        Layout(
            name="events",
            title="What happened around it",
            standing="recorded",
            columns=(
                Column("entry", "entry", "count"),
                Column("time", "time", "time"),
                Column("type", "what"),
                Column("about", "about"),
                Column("said", "said"),
            ),
            none="No alarm, deployment, verdict, freeze or hold is recorded from the begin of the period on.",
        ),
        Layout(
            name="thresholds",
            title="Thresholds that were changed in the period",
            standing="recorded",
            columns=THRESHOLDS,
            none="No change of a threshold was proposed in the period.",
        ),
        Layout(
            name="logs",
            title="Records that are preserved",
            standing="recorded",
            columns=(
                Column("entry", "entry", "count"),
                Column("first_seq", "first number", "count"),
                Column("count", "records", "count"),
                Column("first_time", "from", "time"),
                Column("last_time", "to", "time"),
                Column("stream", "stream"),
                Column("root", "root", "digest"),
            ),
            none="No records of this period are in the log.",
        ),
        Layout(
            name="frozen",
            title="Is the version as it was?",
            standing="computed",
            columns=(
                Column("version", "version"),
                Column("digest", "digest", "digest"),
                Column("artifact", "its file", "digest"),
                Column("there", "is the file there, unchanged"),
                Column("frozen", "frozen for the incident"),
            ),
        ),
    ),
    limits=(
        "Whether this is a serious incident, and who has to be told by when.",
        "Causes: the command rootcause looks for what bad predictions share, and this report does not.",
        "Harm: the archive knows of people what was recorded about decisions.",
        "What happened outside the recorded systems.",
    ),
    states=_STATES,
)


def tell(desk: Desk, asked: Asked) -> Content:
    """Tell what is on record of an incident.

    Raises:
        InputError: No model, or no begin of a period.
        ForbiddenError: What a model is may not be seen as it is.
        NotFoundError: There is no such model.
    """
    if asked.model is None or asked.since is None:
        raise InputError("report: expected a model, and since: when the incident began")
    desk.require_business()
    ledger = desk.ledger
    versions = versions_of(ledger, asked.model) or [find_version(ledger, asked.model)]
    digests = {one.digest: f"{one.name}:{one.version}" for one in versions}
    served = count_served(ledger, digests, asked)
    decisions = _decisions(desk, asked, set(digests.values()))
    since, until = asked.period
    states = [{"value": asked.states[name], "what": text} for name, text in _STATES.items() if name in asked.states]
    name = versions[0].name
    return Content(
        scope={"model": asked.model if len(versions) == 1 else name},
        summary=_summary(name, served, decisions),
        systems=[(one.name, str(one.version), one.digest) for one in versions],
        sections={
            "decisions": Told(rows=list(_counted(decisions))),
            "events": Told(rows=list(_events(desk, asked, name, set(digests)))),
            "frozen": Told(rows=list(_frozen(desk, versions))),
            "logs": Told(rows=list(_logs(desk, asked, digests))),
            "report": Told(rows=states),
            "served": Told(rows=[one.row(version) for version, one in served.items() if one.predictions]),
            "thresholds": Told(rows=list(threshold_rows(desk, asked))),
        },
        completeness=completeness_of(desk, asked),
        checked="each entry that is cited, against the checkpoint; each file of records that was counted",
        since=since,
        until=until,
    )


def _decisions(desk: Desk, asked: Asked, names: set[str]) -> list[Decision]:
    """Return final decisions on predictions of a model in the period; nothing sealed is opened for it."""
    found = find_decisions(desk.ledger, desk.gate, QUESTION, groups=())
    return [one for one in found if one.is_final and names & set(one.models) and asked.has(one.recorded)]


def _summary(name: str, served: dict[str, Served], decisions: list[Decision]) -> list[str]:
    count = sum(one.predictions for one in served.values())
    adverse, made = sum(one.adverse for one in decisions), count_text(len(decisions), "decision")
    return [
        f"In the period {name} answered {count_text(count, 'time')}, as far as is in the log.",
        f"On record: {made} made with it, {adverse:,} adverse to the person.",
    ]


def _counted(decisions: list[Decision]) -> Iterator[dict[str, Cell]]:
    counts = Counter((one.automation, one.action, one.adverse) for one in decisions)
    for (automation, action, adverse), count in sorted(counts.items()):
        yield {"action": action, "adverse": "yes" if adverse else "no", "automation": automation, "count": str(count)}


def _events(desk: Desk, asked: Asked, name: str, digests: set[str]) -> Iterator[dict[str, Cell]]:
    """Yield what the log says of the model from the begin of the period on: what was done later belongs to it."""
    later = Asked(since=asked.since)
    found: list[tuple[int, JsonObject]] = []
    for type_ in ("drift.alarmed", APPROVED, "model.registered", "model.aliased"):
        found += [pair for pair in desk.ledger.numbered_entries(type_, name) if later.has(str(pair[1]["time"]))]
    for type_ in (DEPLOYED, "freeze.placed", "freeze.lifted", "hold.placed", "hold.released", "drill.held"):
        for at, entry in desk.ledger.numbered_entries(type_):
            if later.has(str(entry["time"])) and (type_ != DEPLOYED or _names(entry, digests)):
                found.append((at, entry))
    for at, _ in sorted(found, key=lambda pair: pair[0]):
        entry = desk.cite(at)
        said = next((one for one in ("verdict", "alias", "column", "version") if isinstance(entry.get(one), str)), None)
        yield {
            "about": desk.cited(at, "name"),
            "entry": str(at),
            "said": None if said is None else desk.cited(at, said),
            "time": desk.cited(at, "time"),
            "type": desk.cited(at, "type"),
        }


def _names(entry: JsonObject, digests: set[str]) -> bool:
    models = entry.get("models")
    named = {one.get("digest") for one in models if isinstance(one, dict)} if isinstance(models, list) else set()
    return bool(named & digests) or not named


def _frozen(desk: Desk, versions: list[Registered]) -> Iterator[dict[str, Cell]]:
    ledger = desk.ledger
    lifted = {str(entry["name"]) for entry in ledger.find_entries("freeze.lifted")}
    frozen = {
        str(model["digest"])
        for entry in ledger.find_entries("freeze.placed")
        if isinstance(model := entry.get("model"), dict) and str(entry["name"]) not in lifted
    }
    for one in versions:
        there = "it never had a file"
        if one.artifact is not None:
            there = "yes" if ledger.checked.fits(ledger.blobs.path(one.artifact), one.artifact) else "NO"
        yield {
            "artifact": one.artifact,
            "digest": one.digest,
            "frozen": "yes" if one.digest in frozen else "no",
            "there": there,
            "version": f"{one.name}:{one.version}",
        }


def _logs(desk: Desk, asked: Asked, digests: dict[str, str]) -> Iterator[dict[str, Cell]]:
    for at, manifest in manifests_in(desk.ledger, asked):
        models = [desk.ledger.document(context).get("model") for context in manifest.contexts]
        if any(isinstance(model, dict) and model.get("digest") in digests for model in models):
            yield {
                "count": desk.cited(at, "count"),
                "entry": str(at),
                "first_seq": desk.cited(at, "first_seq"),
                "first_time": desk.cited(at, "first_time"),
                "last_time": desk.cited(at, "last_time"),
                "root": desk.cited(at, "root"),
                "stream": desk.cited(at, "stream"),
            }


KIND = Kind(layouts=LAYOUTS, asks=frozenset({"model", "since", "until", "expected"}), tell=tell)
