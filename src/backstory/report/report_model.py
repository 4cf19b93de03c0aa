"""The change history of a model, as a card: versions, tests, approvals, deployments, thresholds, what each served."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import pyarrow.compute as pc

from backstory.errors import InputError
from backstory.ledger.ledger import Ledger
from backstory.lineage.deployments import APPROVED
from backstory.lineage.history import History, VersionHistory, model_history
from backstory.lineage.plain import count_text
from backstory.records import canonical
from backstory.records.envelope import PREDICTION
from backstory.records.identity import time_text
from backstory.records.manifest import parse_manifest
from backstory.report.report import Cell, Column, Content, Layout, Layouts, Supports, Told
from backstory.report.report_desk import Asked, Desk
from backstory.report.report_make import Kind
from backstory.report.report_streams import completeness_of

SERVED = (
    Column("version", "version"),
    Column("predictions", "predictions in the log", "count"),
    Column("errors", "of these failed", "count"),
    Column("first", "first", "time"),
    Column("last", "last", "time"),
    Column("rule", "rules of decision"),
)
THRESHOLDS = (
    Column("entry", "entry", "count"),
    Column("time", "proposed", "time"),
    Column("name", "threshold"),
    Column("old", "from"),
    Column("new", "to"),
    Column("verdict", "verdict"),
    Column("decided", "decided in entry", "count"),
)

LAYOUTS = Layouts(
    kind="model-history",
    code="RPT-05",
    title="Change history of a model",
    about="Every version of a model: what it was made from, tests, approvals, where it served, and how much.",
    readers="for validators, notified bodies and examiners",
    supports=(
        Supports(article="EU AI Act, article 11 and annex IV", serves="versions, their relation, tests with dates"),
        Supports(article="SR 26-2, OCC 2026-13", serves="inventory: versions, use, approvals, changes"),
        Supports(article="PRA SS1/23", serves="model identification and change"),
        Supports(article="Colorado SB 26-189", serves="version identifiers and changelogs"),
        Supports(article="ISO/IEC 42001, A.6.2", serves="records of the life cycle"),
    ),
    sections=(
        Layout(
            name="versions",
            title="Versions",
            standing="recorded",
            columns=(
                Column("version", "version", "count"),
                Column("registered", "registered", "time"),
                Column("entry", "entry", "count"),
                Column("framework", "made with"),
                Column("parents", "made from"),
                Column("training", "training rows", "count"),
                Column("aliases", "aliases"),
                Column("digest", "digest", "digest"),
            ),
        ),
        Layout(
            name="changes",
            title="Why versions were chosen, and definitions approved",
            standing="recorded",
            columns=(
                Column("entry", "entry", "count"),
                Column("time", "time", "time"),
                Column("what", "what"),
                Column("said", "said"),
            ),
            none="Nobody said why a version was chosen.",
        ),
        Layout(
            name="tests",
            title="Trainings, tests and other runs",
            standing="recorded",
            columns=(
                Column("version", "version"),
                Column("part", "the version was"),
                Column("run", "run"),
                Column("ended", "ended", "time"),
                Column("metrics", "measured"),
                Column("digest", "digest of the run", "digest"),
                Column("entry", "entry", "count"),
            ),
            none="No run is recorded.",
        ),
        Layout(
            name="approvals",
            title="Verdicts",
            standing="recorded",
            columns=(
                Column("entry", "entry", "count"),
                Column("time", "time", "time"),
                Column("version", "version"),
                Column("verdict", "verdict"),
                Column("deployment", "for"),
                Column("role", "as"),
                Column("who", "by"),
                Column("reason", "because"),
            ),
            none="Nobody gave a verdict on any version.",
        ),
        Layout(
            name="deployments",
            title="Where it served",
            standing="recorded",
            columns=(
                Column("entry", "entry", "count"),
                Column("deployment", "deployment"),
                Column("since", "since", "time"),
                Column("until", "until", "time"),
                Column("version", "version"),
                Column("share", "part of the traffic", "number"),
                Column("reason", "because"),
            ),
            none="No deployment of it is recorded.",
        ),
        Layout(
            name="served",
            title="What it answered",
            standing="computed",
            columns=SERVED,
            none="No prediction of it is in the log.",
        ),
        Layout(
            name="thresholds",
            title="Thresholds that were changed",
            standing="recorded",
            columns=THRESHOLDS,
            none="No change of a threshold was proposed.",
        ),
        Layout(
            name="alarms",
            title="Alarms and freezes",
            standing="recorded",
            columns=(
                Column("entry", "entry", "count"),
                Column("time", "time", "time"),
                Column("version", "version"),
                Column("what", "what"),
                Column("value", "measured"),
            ),
            none="No alarm and no freeze is recorded.",
        ),
    ),
    limits=(
        "Changes that were made outside: data, code and people that nobody recorded.",
        "Whether the tests were the right ones, and passed: verdicts are of people.",
        "Predictions that were never recorded, and those that wait to be sealed.",
        "Intended use, limits and materiality, unless a justification says them.",
    ),
)


def tell(desk: Desk, asked: Asked) -> Content:
    """Tell the history of a model.

    Raises:
        InputError: No model is named.
        ForbiddenError: What a model is may not be seen as it is.
        NotFoundError: There is none of that name.
    """
    if asked.model is None:
        raise InputError("report: expected a model")
    desk.require_business()
    ledger = desk.ledger
    history = model_history(ledger, asked.model)
    digests = {one.digest: one.model for one in history.versions}
    served = count_served(ledger, digests)
    desk.documents.update(digests)
    return Content(
        scope={"model": history.name},
        summary=_summary(history, served),
        systems=[(history.name, one.model.rpartition(":")[2], one.digest) for one in history.versions],
        sections={
            "alarms": Told(rows=list(_alarms(desk, history.name, digests))),
            "approvals": Told(rows=list(_approvals(desk, history))),
            "changes": Told(rows=list(_changes(desk, digests))),
            "deployments": Told(rows=list(_deployments(desk, history))),
            "served": Told(rows=[one.row(name) for name, one in served.items() if one.predictions]),
            "tests": Told(rows=list(_tests(desk, history))),
            "thresholds": Told(rows=list(threshold_rows(desk))),
            "versions": Told(rows=list(_versions(desk, history))),
        },
        completeness=completeness_of(desk, asked),
        checked="each entry that is cited, against the checkpoint; each file of records that was counted",
    )


@dataclass(slots=True)
class Served:
    """What a version answered."""

    predictions: int = 0
    errors: int = 0
    first: str = ""
    last: str = ""
    rules: Counter[str] = field(default_factory=Counter)

    def add(self, count: int, errors: int, times: tuple[int, int], rule: str) -> None:
        """Add records of one context."""
        first, last = map(time_text, times)
        self.predictions += count
        self.errors += errors
        self.first = min(self.first or first, first)
        self.last = max(self.last, last)
        self.rules[rule] += count

    def row(self, name: str) -> dict[str, Cell]:
        """Return it as a row of a report."""
        return {
            "errors": str(self.errors),
            "first": self.first,
            "last": self.last,
            "predictions": str(self.predictions),
            "rule": "; ".join(f"{rule} ({count:,})" for rule, count in self.rules.most_common()),
            "version": name,
        }


def count_served(ledger: Ledger, digests: dict[str, str], asked: Asked | None = None) -> dict[str, Served]:
    """Count the predictions of versions, in a period where one is asked for."""
    found = {name: Served() for name in digests.values()}
    for at in ledger.catalog.segments(PREDICTION):
        manifest = parse_manifest(ledger.log.entry(at))
        contexts = {}
        for context in manifest.contexts:
            model = ledger.document(context).get("model")
            if isinstance(model, dict) and model.get("digest") in digests:
                contexts[context] = digests[str(model["digest"])]
        if not contexts:
            continue
        reader = ledger.segment(manifest, checked=True)
        table = reader.read_groups(range(reader.group_count), ["context", "status", "time"])
        for context, name in contexts.items():
            rows = table.filter(pc.equal(table["context"], bytes.fromhex(context)))
            if asked is not None:
                kept = [asked.has(time_text(one.value)) for one in rows["time"]]
                rows = rows.filter(kept)
            if rows.num_rows:
                bounds = pc.min_max(rows["time"])
                times = (bounds["min"].value, bounds["max"].value)
                errors = rows.num_rows - pc.sum(pc.equal(rows["status"], "ok")).as_py()
                found[name].add(rows.num_rows, errors, times, _rule(ledger, context))
    return found


def _rule(ledger: Ledger, context: str) -> str:
    rule = ledger.document(context).get("decision")
    return f"{rule.get('kind')} {rule.get('value')}" if isinstance(rule, dict) else "none"


def _summary(history: History, served: dict[str, Served]) -> list[str]:
    versions = count_text(len(history.versions), "version")
    latest = history.versions[-1]
    now = [one.deployment for one in latest.deployments if one.until is None]
    count = sum(one.predictions for one in served.values())
    verdicts = sum(len(one.approvals) for one in history.versions)
    return [
        f"{history.name} has {versions}; the latest, {latest.model}, was registered on {latest.registered[:10]}.",
        f"{latest.model} serves {', '.join(now)} now." if now else f"{latest.model} serves no deployment now.",
        f"{count_text(verdicts, 'verdict')} of people on its versions; {count_text(count, 'prediction')} in the log.",
    ]


def _versions(desk: Desk, history: History) -> Iterator[dict[str, Cell]]:
    entries = {str(entry["model"]): at for at, entry in desk.ledger.numbered_entries("model.registered", history.name)}
    for one in history.versions:
        document = desk.ledger.document(one.digest)
        model, training = document.get("model"), document.get("training")
        at = entries[one.digest]
        desk.cite(at)
        yield {
            "aliases": ", ".join(one.aliases) or None,
            "digest": desk.cited(at, "model"),
            "entry": str(at),
            "framework": str(model.get("framework") or model.get("format")) if isinstance(model, dict) else None,
            "parents": ", ".join(one.parents) or None,
            "registered": desk.cited(at, "time"),
            "training": str(training["rows"]) if isinstance(training, dict) and "rows" in training else None,
            "version": desk.cited(at, "version"),
        }


def _changes(desk: Desk, digests: dict[str, str]) -> Iterator[dict[str, Cell]]:
    for at, entry in desk.ledger.numbered_entries("choice.justified"):
        if entry.get("of") in digests:
            digest = canonical.text_of(entry, "document")
            desk.documents.add(digest)
            said = canonical.text_of(desk.ledger.document(digest), "text")
            what = f"why {digests[str(entry['of'])]}"
            yield {"entry": str(at), "said": said, "time": desk.cited(at, "time"), "what": what}
    for at, entry in desk.ledger.numbered_entries("definition.approved"):
        what = f"{entry['kind']} {entry['name']}"
        yield {"entry": str(at), "said": desk.cited(at, "verdict"), "time": desk.cited(at, "time"), "what": what}


def _tests(desk: Desk, history: History) -> Iterator[dict[str, Cell]]:
    entries = {str(entry["document"]): at for at, entry in desk.ledger.numbered_entries("run.recorded")}
    for version in history.versions:
        for part, runs in (("made", version.made_by), ("used", version.used_by)):
            for run in runs:
                at = entries.get(run.digest)
                metrics = ", ".join(f"{name} {value:.6g}" for name, value in run.metrics.items())
                yield {
                    "digest": run.digest if at is None else desk.cited(at, "document"),
                    "ended": run.ended,
                    "entry": None if at is None else str(at),
                    "metrics": f"failed: {run.error}" if run.error else metrics or None,
                    "part": part,
                    "run": run.name,
                    "version": version.model,
                }


def _approvals(desk: Desk, history: History) -> Iterator[dict[str, Cell]]:
    digests = {one.digest: one.model for one in history.versions}
    for at, entry in desk.ledger.numbered_entries(APPROVED, history.name):
        if entry.get("model") in digests:
            yield {
                "deployment": desk.cited(at, "deployment"),
                "entry": str(at),
                "reason": desk.cited(at, "reason"),
                "role": desk.cited(at, "role"),
                "time": desk.cited(at, "time"),
                "verdict": desk.cited(at, "verdict"),
                "version": digests[str(entry["model"])],
                "who": desk.text_behind(entry.get("actor"), "actor", "D6"),
            }


def _deployments(desk: Desk, history: History) -> Iterator[dict[str, Cell]]:
    found: dict[int, list[tuple[VersionHistory, str, str | None]]] = {}
    for version in history.versions:
        for one in version.deployments:
            share = next(share.share for share in one.shares if share.digest == version.digest)
            found.setdefault(one.entry, []).append((version, share, one.until))
    for at in sorted(found):
        for version, share, until in found[at]:
            yield {
                "deployment": desk.cited(at, "name"),
                "entry": str(at),
                "reason": desk.cited(at, "reason"),
                "share": share,
                "since": desk.cited(at, "time"),
                "until": until,
                "version": version.model,
            }


def threshold_rows(desk: Desk, asked: Asked | None = None) -> Iterator[dict[str, Cell]]:
    """Yield the changes of thresholds that were proposed, and what became of them."""
    verdicts = {str(entry["proposal"]): at for at, entry in desk.ledger.numbered_entries("proposal.decided")}
    for at, entry in desk.ledger.numbered_entries("proposal.made"):
        if entry.get("kind") != "threshold" or (asked is not None and not asked.has(str(entry["time"]))):
            continue
        document = desk.ledger.document(canonical.text_of(entry, "document"))
        desk.documents.add(canonical.text_of(entry, "document"))
        decided = verdicts.get(str(at))
        old = document.get("old")
        yield {
            "decided": None if decided is None else str(decided),
            "entry": str(at),
            "name": desk.cited(at, "name"),
            "new": str(document.get("new")),
            "old": None if old is None else str(old),
            "time": desk.cited(at, "time"),
            "verdict": None if decided is None else desk.cited(decided, "verdict"),
        }


def _alarms(desk: Desk, name: str, digests: dict[str, str]) -> Iterator[dict[str, Cell]]:
    for at, entry in desk.ledger.numbered_entries("drift.alarmed", name):
        if entry.get("model") in digests:
            what = f"drift of {entry['column']} ({entry['measure']}) against {entry['reference']}"
            yield {
                "entry": str(at),
                "time": desk.cited(at, "time"),
                "value": desk.cited(at, "value"),
                "version": digests[str(entry["model"])],
                "what": what,
            }
    for at, entry in desk.ledger.numbered_entries("freeze.placed"):
        model = entry.get("model")
        if isinstance(model, dict) and model.get("digest") in digests:
            version = digests[str(model["digest"])]
            yield {
                "entry": str(at),
                "time": desk.cited(at, "time"),
                "version": version,
                "what": "frozen for an incident",
            }


KIND = Kind(layouts=LAYOUTS, asks=frozenset({"model", "expected"}), tell=tell)
