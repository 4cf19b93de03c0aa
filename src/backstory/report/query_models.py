"""Canonical queries about models and their predictions: traces, what served, what is downstream, how right it was."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from backstory.columns.arrow_type import unchunked
from backstory.debug.drift import window_of
from backstory.debug.drift_alarms import find_alarms
from backstory.debug.drift_read import read_predictions
from backstory.errors import QueryError
from backstory.frames.sketch import category_text
from backstory.governance.decision_read import find_decisions
from backstory.governance.notice import find_notices
from backstory.governance.suppression import LEAST, margins, suppress
from backstory.ledger.read import Found as FoundRecord
from backstory.ledger.read import Place, records_now
from backstory.lineage.deployments import APPROVED, DEPLOYED, find_approvals, find_deployments, served_by
from backstory.lineage.plain import count_text, plain
from backstory.lineage.reconcile import reconcile_predictions
from backstory.lineage.registry import Registered, all_versions, find_version
from backstory.lineage.runs import runs_of
from backstory.lineage.story import Story
from backstory.records.envelope import PREDICTION
from backstory.records.identity import id_text, parse_time, time_text
from backstory.report.query import MODEL, SINCE, UNTIL, Cell, Found, Given, Parameter, Query, Room

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from backstory.ledger.ledger import Ledger

_PARTS: Final = (
    "status", "error", "request_id", "method", "model", "features", "rows", "output", "decision", "attributions",
    "attribution_base", "flags", "steps", "environment", "served", "outcomes", "proof",
)  # fmt: skip
_VERSION = Parameter(
    name="model", about="The model version: a name (its latest), `name@alias`, `name:version`.", required=True
)


# --- Q-02 -------------------------------------------------------------------------------------------------------------


def _trace(room: Room, given: Given) -> Found:
    story = room.why(given.text("prediction"))
    if not isinstance(story, Story):
        raise QueryError("Q-02: expected the id of a prediction")
    told = story.to_dict()
    rows = [row for part in _PARTS for row in _flat(part, told.get(part))]
    decisions = find_decisions(room.ledger, room.gate, "Q-02", predictions=[story.id])
    for one in decisions:
        rows += _flat("human decision", {one.id: plain(one.to_dict())})
    notices = find_notices(room.ledger, room.gate, "Q-02", decisions=[one.id for one in decisions]) if decisions else []
    for notice in notices:
        rows += _flat("notice", {notice.id: plain(notice.to_dict())})
    disclosed = [
        (index, entry)
        for index, entry in room.ledger.numbered_entries("reasons.disclosed")
        if entry.get("prediction") == story.id
    ]
    for index, entry in disclosed:
        codes = entry.get("codes")
        said = ", ".join(map(str, codes)) if isinstance(codes, list) else "codes sealed"
        rows.append({"part": "reasons disclosed", "name": f"entry {index}", "value": f"{said} of {entry['name']}"})
    sealed = [f"{group}: sealed, {'erased' if group in story.erased else 'not opened'}" for group in story.sealed]
    hidden = [] if story.followed is not None else ["whether decisions were made with it is sealed"]
    return Found(
        rows=rows,
        examined={"decisions": len(decisions), "notices": len(notices), "disclosures": len(disclosed)},
        notes=[*sealed, *hidden],
        tells=not sealed and not hidden,
    )


def _flat(part: str, value: Any, name: str = "") -> list[dict[str, Cell]]:  # noqa: ANN401  values of an answer
    """Return a value as rows, one for each plain value in it; what is null or empty is left out."""
    if isinstance(value, Mapping):
        return [row for key, item in value.items() for row in _flat(part, item, f"{name}.{key}".strip("."))]
    if isinstance(value, list | tuple):
        return [row for at, item in enumerate(value) for row in _flat(part, item, f"{name}.{at}".strip("."))]
    if value is None:
        return []
    shown = value if isinstance(value, str | int | float | bool) else str(value)
    return [{"part": part, "name": name, "value": shown if isinstance(shown, str) else json.dumps(shown)}]


# --- Q-04 -------------------------------------------------------------------------------------------------------------


def _live(room: Room, given: Given) -> Found:
    since, until = given.period
    at = given.text("at")
    if at is not None and (since or until):
        raise QueryError("Q-04: expected a moment at, or a period")
    rows: list[dict[str, Cell]] = []
    intervals = find_deployments(room.ledger)
    for one in intervals:
        if (at is not None and not (one.since <= at and (one.until is None or at < one.until))) or (
            (until is not None and one.since >= until)
            or (since is not None and one.until is not None and one.until <= since)
        ):
            continue
        for share in one.shares:
            if given.text("model") not in {None, share.model, share.model.rpartition(":")[0]}:
                continue
            version = find_version(room.ledger, share.digest)
            begun = [v for v in find_approvals(room.ledger, version) if v.deployment in {None, one.deployment}]
            before = [v for v in begun if v.entry < one.entry]
            low, high = max(filter(None, (one.since, since))), min(filter(None, (one.until, until)), default=None)
            rows.append(
                {
                    "deployment": one.deployment,
                    "model": share.model,
                    "digest": share.digest,
                    "share": share.share,
                    "since": one.since,
                    "until": one.until,
                    "verdict_before": before[-1].verdict if before else None,
                    "verdicts": len(begun),
                    "predictions": reconcile_predictions(
                        room.ledger, count=0, model=share.model, since=low, until=high
                    ).recorded,
                }
            )
    return Found(
        rows=rows,
        examined={"deployments": len({one.deployment for one in intervals}), "intervals": len(intervals)},
        notes=["of a version in several deployments at once, all predictions are counted for each"],
        applies=bool(intervals),
    )


# --- Q-05 -------------------------------------------------------------------------------------------------------------


def _downstream(room: Room, given: Given) -> Found:
    keys, where = given.text("keys"), given.text("where")
    asked: dict[str, Any] = {"keys": _key(keys), "where": where, "version": given.text("version")}
    if given.text("model") is not None:
        hits = room.impact(model=given.text("model"))
    elif given.text("source") is None:
        raise QueryError("Q-05: expected source or model")
    elif keys is None and where is None:
        hits = room.impact(given.text("source"), **(asked | {"where": "true"}))
    else:
        hits = room.impact(given.text("source"), **asked)
    rows: list[dict[str, Cell]] = [
        {"kind": "model", "id": f"{one.name}:{one.version}", "time": None, "via": None, "request_id": None}
        for one in hits.models
    ]
    for batch in hits.batches():
        times = [time_text(moment.value) for moment in batch["time"]]
        for time, row in zip(times, batch.drop_columns(["time"]).to_pylist(), strict=True):
            kept = {"id": row["id"], "time": time, "via": row["via"], "request_id": row["request_id"]}
            rows.append({"kind": "prediction", **kept})
    sealed = hits.sealed + hits.sealed_models
    notes = [f"{count_text(sealed, 'segment or model')} with sealed references not looked at"] if sealed else []
    notes += [f"dataset version {digest[:12]}: {why}" for digest, why in hits.left_out.items()]
    return Found(rows=rows, examined={"source rows": hits.rows, **hits.counts}, notes=notes, tells=not notes)


def _key(text: str | None) -> Any:  # noqa: ANN401  a key of any type
    if text is None or not text.startswith(("[", "{")):
        return text
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        raise QueryError("Q-05: expected keys as text or as JSON") from None


# --- Q-08 -------------------------------------------------------------------------------------------------------------


def _unapproved(room: Room, given: Given) -> Found:
    ledger = room.ledger
    known = bool(ledger.catalog.entries(APPROVED) or ledger.catalog.entries(DEPLOYED))
    verdicts = [(index, parse_time(str(entry["time"]))) for index, entry in ledger.numbered_entries(APPROVED)]
    verdicts += [(index, parse_time(str(entry["time"]))) for index, entry in ledger.numbered_entries(DEPLOYED)]
    deployed = {share.digest for one in find_deployments(ledger) for share in one.shares}
    found: dict[tuple[str, str], dict[str, Any]] = {}
    looked = unregistered = undeployed = 0
    for record, times in _runs(ledger, given, [time for _, time in verdicts]):
        looked += len(times)
        served = served_by(ledger, record)
        if served.model is None:
            unregistered += len(times)
            why = "no registered model"
        elif not served.approved:
            why = "not approved then"
        elif not served.deployments and find_version(ledger, served.model).digest in deployed:
            why = "not deployed then"
        else:
            undeployed += 0 if served.deployments else len(times)
            continue
        row = found.setdefault(
            (served.model or "", why),
            {
                "model": served.model,
                "why": why,
                "predictions": 0,
                "first": times.min(),
                "last": times.max(),
                "example": record.id,
                "judged": None if served.model is None else served.judged,
            },
        )
        row["predictions"] += len(times)
        row["first"], row["last"] = min(row["first"], times.min()), max(row["last"], times.max())
    rows = [
        row | {"first": time_text(int(row["first"])), "last": time_text(int(row["last"]))} for row in found.values()
    ]
    notes = ["expiry and declared scope of an approval are not recorded: withdraw it, or switch the deployment off"]
    if undeployed:
        made = count_text(undeployed, "prediction")
        notes.append(
            f"{made} by approved versions of which no deployment was ever recorded: whether deployed is not known"
        )
    return Found(
        rows=rows,
        examined={"predictions": looked, "verdicts and deployments": len(verdicts), "without a model": unregistered},
        notes=notes,
        tells=known and looked > 0 and not undeployed,
    )


def _runs(ledger: Ledger, given: Given, breaks: list[int]) -> Iterator[tuple[FoundRecord, NDArray[np.int64]]]:
    """Yield runs of predictions between which nothing about approval changed: one of each, and when all were made."""
    edges = np.array(sorted(breaks), np.int64)
    sealed, waiting = records_now(ledger, PREDICTION)
    for position, manifest in sealed:
        reader = ledger.segment(manifest, checked=True)
        whole = reader.read_groups(range(reader.group_count), ["id", "time", "context"])
        for row, times in _alike(whole, edges, given):
            place = Place(position=position, manifest=manifest, row=row)
            yield _record(ledger, whole, row, place, manifest.schema), times
    for schema, table in waiting:
        whole = table.select(["id", "time", "context"])
        for row, times in _alike(whole, edges, given):
            yield _record(ledger, whole, row, None, schema.digest), times


def _record(ledger: Ledger, table: pa.Table, row: int, place: Place | None, schema: str) -> FoundRecord:
    name = id_text(table["id"][row].as_py())
    return FoundRecord(id=name, schema=ledger.schema(schema), table=table.slice(row, 1), place=place)


def _alike(table: pa.Table, edges: NDArray[np.int64], given: Given) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """Yield the first row of each context and time between edges, and the times of all rows like it."""
    times = unchunked(table["time"]).cast(pa.int64()).fill_null(-1).to_numpy(zero_copy_only=False)
    codes = unchunked(table["context"]).dictionary_encode().indices.fill_null(-1).to_numpy(zero_copy_only=False)
    there = (codes >= 0) & pc.is_valid(unchunked(table["id"])).to_numpy(zero_copy_only=False)
    there &= (given.since is None or times >= given.since) & (given.until is None or times < given.until)
    spans = np.searchsorted(edges, times, side="right")
    for code, span in {(int(c), int(s)) for c, s in zip(codes[there], spans[there], strict=True)}:
        rows = np.flatnonzero(there & (codes == code) & (spans == span))
        yield int(rows[0]), times[rows]


# --- Q-20 -------------------------------------------------------------------------------------------------------------


def _selection(room: Room, given: Given) -> Found:
    version = find_version(room.ledger, given.text("model") or "")
    by, adverse = given.text("by") or "", given.text("selected")
    window = window_of(*given.period, given.text("period"))
    parts, is_personal = read_predictions(room.ledger, room.gate, version.digest, window)
    least = LEAST if is_personal else 1
    rows: list[dict[str, Cell]] = []
    looked = suppressed = 0
    for number in sorted({number for number, _ in parts}):
        counts = _counted([table for at, table in parts if at == number], by, adverse)
        looked += sum(total for total, _ in counts.values())
        totals: dict[tuple[str, ...], int] = {(name,): total for name, (total, _) in counts.items()}
        hidden = suppress(totals, margins(totals), least).cells
        shown = {name: pair for name, pair in counts.items() if (name,) not in hidden}
        best = max((chosen / total for total, chosen in shown.values()), default=0.0)
        suppressed += len(hidden)
        since = None if given.text("period") is None else time_text(window.bounds(number)[0])
        for name, (total, chosen) in sorted(counts.items()):
            rate = chosen / total if name in shown else None
            rows.append(
                {
                    "since": since,
                    "group": name if name in shown else f"suppressed {1 + sorted(hidden).index((name,))}",
                    "predictions": total if name in shown else None,
                    "selected": rate,
                    "impact_ratio": None if rate is None or not best else rate / best,
                }
            )
    notes = ["predictions are counted, not people: somebody scored twice counts twice"]
    if suppressed:
        notes.append(f"{count_text(suppressed, 'group')} of fewer than {LEAST}, or that would give one away, not shown")
    return Found(rows=rows, examined={"predictions": looked}, notes=notes, tells=looked > 0)


def _counted(tables: list[pa.Table], by: str, selected: str | None) -> dict[str, tuple[int, int]]:
    """Return by group how many predictions there are, and how many of them were decided so."""
    total: Counter[str] = Counter()
    chosen: Counter[str] = Counter()
    for table in tables:
        if "decision" not in table.column_names:
            raise QueryError("Q-20: expected predictions with a decision; give predict a rule")
        feature = unchunked(table["feature"]) if "feature" in table.column_names else None
        if feature is None or feature.type.get_field_index(by) < 0:
            raise QueryError(f"Q-20: no prediction has a feature {by!r}")
        groups = pc.struct_field(feature, [by]).to_pylist()
        for group, said in zip(groups, table["decision"].to_pylist(), strict=True):
            if said is None:
                continue
            name = "missing" if group is None else category_text(group)
            total[name] += 1
            chosen[name] += category_text(said) == selected if selected is not None else said is True
    return {name: (count, chosen[name]) for name, count in total.items()}


# --- Q-22 -------------------------------------------------------------------------------------------------------------


def _performance(room: Room, given: Given) -> Found:
    spec = given.text("model") or ""
    version = find_version(room.ledger, spec)
    since, until = given.period
    found = room.performance(
        spec, by=given.text("by"), since=since, until=until, period=given.text("period"), metric=given.text("metric")
    )
    declared = _declared(room.ledger, version, found.metric)
    hidden: set[tuple[str, ...]] = set()
    for moment in {one.since for one in found.groups}:
        own: dict[tuple[str, ...], int] = {
            (str(one.since), str(one.group)): one.outcomes for one in found.groups if one.since == moment
        }
        if any(one.value is None and one.outcomes for one in found.groups if one.since == moment):
            hidden |= suppress(own, margins(own)).cells
    rows: list[dict[str, Cell]] = [
        {
            "since": one.since,
            "group": one.group,
            "predictions": one.predictions,
            "outcomes": one.outcomes,
            "metric": found.metric,
            "observed": None if (str(one.since), str(one.group)) in hidden else one.value,
            "declared": declared,
        }
        for one in found.groups
    ]
    alarms = find_alarms(room.ledger, version)
    notes = [f"{count_text(len(alarms), 'alarm')} of drift in the log of this version"] if alarms else []
    if declared is None:
        notes.append(f"no run in the log has a metric {found.metric} of this version")
    if hidden:
        notes.append(f"{count_text(len(hidden), 'group')} of few people, or that would give one away, without a value")
    return Found(
        rows=rows,
        examined={"predictions": found.predictions, "outcomes": found.outcomes, "drift alarms": len(alarms)},
        notes=[*notes, "calibration is not measured"],
        tells=found.outcomes > 0,
    )


def _declared(ledger: Ledger, version: Registered, metric: str) -> float | None:
    """Return what the latest run that made or used a version says of a metric."""
    made, used = runs_of(ledger, version)
    values = [run.metrics[metric] for run in sorted([*made, *used], key=lambda run: run.ended) if metric in run.metrics]
    return float(values[-1]) if values else None


# --- Q-23 -------------------------------------------------------------------------------------------------------------


def _replayed(room: Room, given: Given) -> Found:
    since, until = given.period
    found = room.replay(
        model=given.text("model"), since=since, until=until, sample=given.count("sample"), seed=given.count("seed")
    )
    rows: list[dict[str, Cell]] = [
        {"result": verdict, "why": None, "predictions": count, "share": count / found.sample}
        for verdict, count in found.counts.items()
    ]
    for kind, counted in (("not-replayable", found.reasons), ("diverged", found.stages)):
        rows += [
            {"result": kind, "why": why, "predictions": count, "share": count / found.sample}
            for why, count in counted.items()
        ]
    return Found(
        rows=rows,
        examined={"population": found.population, "sample": found.sample},
        notes=[f"drawn: {found.how}", f"ran in: {found.ran_in}"],
    )


def _no_vendors(room: Room, _given: Given) -> Found:
    return Found(
        examined={"model versions": len(all_versions(room.ledger))},
        notes=[
            "calls of services of others are not recorded as such, nor the version these say they are",
            "a function that calls one can be traced: its answer is then the recorded output",
        ],
        applies=False,
    )


def _no_references(room: Room, _given: Given) -> Found:
    return Found(
        examined={"model versions": len(all_versions(room.ledger))},
        notes=["instructions for use, DPIA, FRIA and registrations are not recorded with predictions or deployments"],
        applies=False,
    )


_PERIOD = Parameter(name="period", about="A row for each `hour`, `day` or `week`.")

QUERIES = (
    Query(
        id="Q-02",
        question="What is the full trace of one prediction?",
        reads="the record and all it refers to; outcomes; decisions with it and their notices; reasons disclosed",
        columns={"part": "of what", "name": "which value", "value": "the value, as recorded"},
        shows="all that is recorded of it, and what of it stays sealed",
        shows_not="that what was recorded is true, or that nothing else was considered",
        supports=("EU AI Act 12, 86", "GDPR 15, 22", "Reg B 1002.9"),
        run=_trace,
        parameters=(Parameter(name="prediction", about="Its id, or a unique prefix.", required=True),),
    ),
    Query(
        id="Q-04",
        question="Which model versions were live, approved by then or not, and how many predictions did each make?",
        reads="deployments, verdicts on versions, and predictions by version",
        columns={
            "deployment": "where",
            "model": "the version",
            "digest": "its digest",
            "share": "its part of the traffic",
            "since": "from when",
            "until": "until when; empty while it is",
            "verdict_before": "the last verdict before it was deployed",
            "verdicts": "how many verdicts there are for it here",
            "predictions": "how many it made in that time, by the writer's clock",
        },
        shows="what was said to serve when, and what made predictions then",
        shows_not="what served without being deployed: see Q-08",
        supports=("EU AI Act 12, 26(5)", "SR 26-2", "SS1/23"),
        run=_live,
        parameters=(MODEL, Parameter(name="at", about="At this moment.", kind="moment"), SINCE, UNTIL),
    ),
    Query(
        id="Q-05",
        question="Which models and predictions are downstream of a dataset or of some of its rows, or of a model?",
        reads="row references of predictions and trainings, forward through groups and steps",
        columns={
            "kind": "`model` (trained on some of the rows) or `prediction`",
            "id": "the version, or the prediction's id",
            "time": "when it was recorded",
            "via": "by which reference",
            "request_id": "the caller's id of the request",
        },
        shows="what recorded references lead to",
        shows_not="what was made by steps that were not traced",
        supports=("EU AI Act 10, 72", "ISO/IEC 42001 A.7.5", "GDPR 5(1)(d)"),
        run=_downstream,
        parameters=(
            Parameter(name="source", about="The source."),
            Parameter(name="keys", about="A key of it, or JSON of several."),
            Parameter(name="where", about="An SQL predicate over its columns."),
            Parameter(name="version", about="A version of it."),
            Parameter(name="model", about="A model version instead of a source."),
        ),
    ),
    Query(
        id="Q-08",
        question="Which predictions were made by a version that was not approved, or not deployed, then? None may be.",
        reads="every prediction, and the verdicts and deployments before it in the log",
        columns={
            "model": "the version; empty where no registered model made it",
            "why": "`not approved then`, `not deployed then` or `no registered model`",
            "predictions": "how many",
            "first": "the first",
            "last": "the last",
            "example": "id of one",
            "judged": "what is known of its approval",
        },
        shows="that every prediction was made by a version approved before it, by the order of the log",
        shows_not="approvals that ended by time or by scope; whether a version was deployed that no deployment names",
        supports=("SR 26-2", "SS1/23", "EU AI Act 12(2)(a)"),
        run=_unapproved,
        parameters=(SINCE, UNTIL),
        empty=True,
    ),
    Query(
        id="Q-20",
        question="At which rate was each group selected, and how do the rates compare?",
        reads="decisions and one feature of the predictions of a model version",
        columns={
            "since": "begin of the period",
            "group": "value of the feature; a number where the group is too small to be named",
            "predictions": "how many were decided",
            "selected": "share of them that was selected",
            "impact_ratio": "that share over the largest one shown",
        },
        shows="rates of recorded decisions, groups of fewer than 10 and what would give them away left out",
        shows_not="people: somebody scored twice counts twice; causes of a difference",
        supports=("NYC Local Law 144", "EU AI Act 10", "Uniform Guidelines 1607.4"),
        run=_selection,
        classes=("D0", "D1", "D2"),
        parameters=(
            _VERSION,
            Parameter(name="by", about="The feature that groups.", required=True),
            Parameter(name="selected", about="The decision that counts as selected. [default: true]"),
            SINCE,
            UNTIL,
            _PERIOD,
        ),
    ),
    Query(
        id="Q-21",
        question="Which models or services of others were called, in which version as they say?",
        reads="nothing: it is not recorded",
        columns={"call": "the call", "vendor": "whose", "version": "as the vendor says"},
        shows="nothing here",
        shows_not="anything: it does not apply to what is recorded",
        supports=("EU AI Act 25(4)", "DORA 28"),
        run=_no_vendors,
    ),
    Query(
        id="Q-22",
        question="How right was a version, by group and period, beside what was declared?",
        reads="predictions with outcomes, metrics of runs, alarms of drift",
        columns={
            "since": "begin of the period",
            "group": "value of the feature that groups",
            "predictions": "how many",
            "outcomes": "how many of them have an outcome",
            "metric": "what was measured",
            "observed": "its value over these; empty where too few people",
            "declared": "what the latest run says",
        },
        shows="performance over the predictions whose outcome is recorded",
        shows_not="that those without an outcome are like them; calibration",
        supports=("EU AI Act 15, 72", "SR 26-2"),
        run=_performance,
        parameters=(
            _VERSION,
            Parameter(name="by", about="A feature to group by."),
            Parameter(name="metric", about="`mae`, `rmse`, `accuracy`, `rate` or `auto`.", default="auto"),
            SINCE,
            UNTIL,
            _PERIOD,
        ),
    ),
    Query(
        id="Q-23",
        question="Does a random sample of predictions come out the same again?",
        reads="recorded features and stored models; runs them in today's environment",
        columns={
            "result": "the verdict",
            "why": "of those that diverged or could not be replayed: why",
            "predictions": "how many",
            "share": "of the sample",
        },
        shows="how many of the sample replay exactly, within tolerance, or not",
        shows_not="predictions that were not drawn; the recorded environment: `backstory replay --env recorded`",
        supports=("SR 26-2", "21 CFR 11", "EU AI Act 12"),
        run=_replayed,
        parameters=(
            MODEL,
            SINCE,
            UNTIL,
            Parameter(name="sample", about="How many are drawn.", kind="count", default=100),
            Parameter(name="seed", about="What decides which.", kind="count", default=0),
        ),
    ),
    Query(
        id="Q-25",
        question="Which production use has no reference to instructions, DPIA, FRIA or registration? None may be.",
        reads="nothing: such references are not recorded",
        columns={"deployment": "where", "missing": "what is missing"},
        shows="nothing here",
        shows_not="anything: it does not apply to what is recorded",
        supports=("EU AI Act 13, 26, 27, 49", "GDPR 35"),
        run=_no_references,
        empty=True,
    ),
)
"""Queries about models."""
