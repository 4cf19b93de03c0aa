"""Canonical queries about the log itself: its entries, its keys and clocks, whether it verifies and is complete."""

from __future__ import annotations

from collections.abc import Iterator

from backstory.errors import BackstoryError, QueryError
from backstory.governance.approval import APPROVED as DEFINITION_APPROVED
from backstory.governance.proposal import PROPOSED, is_same_person, proposals
from backstory.lineage.deployments import APPROVED, DEPLOYED
from backstory.lineage.plain import count_text
from backstory.lineage.reconcile import LISTED_MAX, reconcile_predictions
from backstory.lineage.registry import find_version
from backstory.records import canonical
from backstory.records.canonical import JsonObject
from backstory.records.identity import parse_time
from backstory.records.manifest import MANIFEST_TYPE, parse_manifest
from backstory.report.query import MODEL, SINCE, UNTIL, Cell, Found, Given, Names, Parameter, Query, Room
from backstory.report.report_make import ALGORITHMS
from backstory.report.report_streams import Stream, find_streams
from backstory.storage.anchors import anchor_sizes
from backstory.verify.archive import verify_archive

_PRIVILEGED = (
    "archive.created", "archive.restored", "key.rotated", "key.added", "promise.key", "role.assigned", "role.removed",
    "access.granted", "access.ended", "access.reviewed", "classification.confirmed", "contract.set",
)  # fmt: skip
_DEFINING = ("model.registered", "features.defined", "reasons.defined", DEPLOYED)
_SYNCHRONISED = "synchronised"


def completeness(streams: list[Stream]) -> list[str]:
    """Say what is known to be missing of some streams."""
    notes = []
    missing = sum(one.missing for one in streams)
    if missing:
        notes.append(f"{count_text(missing, 'number')} of records missing between those in the log")
    unclean = sum(1 for one in streams if one.closed is not None and one.closed.get("clean") is not True)
    if unclean:
        notes.append(f"{count_text(unclean, 'writer')} ended without a word: what they had not written is not known")
    left = sum(1 for one in streams if one.closed is None)
    if left:
        notes.append(f"{count_text(left, 'writer')} had not said that they ended")
    return notes


# --- Q-01 -------------------------------------------------------------------------------------------------------------


def _events(room: Room, given: Given) -> Found:
    ledger, model = room.ledger, given.text("model")
    version = None if model is None else find_version(ledger, model)
    size = ledger.log.checkpoint().size
    rows: list[dict[str, Cell]] = []
    for index, entry in ledger.log.entries(0, size):
        if not given.has(str(entry["time"])):
            continue
        if version is not None and not _is_about(room, entry, model or "", version.name):
            continue
        rows.append(
            {
                "entry": index,
                "time": str(entry["time"]),
                "type": str(entry["type"]),
                "name": _text(entry, "name"),
                "stream": _text(entry, "stream"),
                "first_seq": _text(entry, "first_seq"),
                "records": _text(entry, "count"),
            }
        )
    streams = find_streams(ledger)
    return Found(
        rows=rows,
        examined={"entries": size, "streams": len(streams), "numbers missing": sum(one.missing for one in streams)},
        notes=completeness(streams),
    )


def _is_about(room: Room, entry: JsonObject, model: str, name: str) -> bool:
    if entry["type"] != MANIFEST_TYPE:
        of_version = model == name or model == f"{name}:{entry.get('version')}"
        return entry.get("name") == name and of_version
    for context in parse_manifest(entry).contexts:
        said = room.ledger.document(context).get("model")
        if isinstance(said, dict) and model in {said.get("name"), f"{said.get('name')}:{said.get('version')}"}:
            return True
    return False


# --- Q-12 -------------------------------------------------------------------------------------------------------------


def _privileged(room: Room, given: Given) -> Found:
    names = Names(room, "Q-12")
    found = room.listed(*_PRIVILEGED, PROPOSED, given=given)
    rows: list[dict[str, Cell]] = [
        {
            "entry": index,
            "time": str(entry["time"]),
            "change": str(entry["type"]),
            "what": _said(entry, "kind", "role", "name", "vkey"),
            "by": names.of(entry.get("actor")),
        }
        for index, entry in found
    ]
    policies = [(index, str(entry["time"]), entry) for index, entry in room.listed("stream.opened", given=given)]
    before: str | None = None
    for index, time, entry in policies:
        policy = entry.get("policy")
        said = canonical.encode(policy).decode() if isinstance(policy, dict) else None
        if before is not None and said != before:
            rows.append({"entry": index, "time": time, "change": "recorder's policy", "what": said, "by": None})
        before = said
    return Found(
        rows=sorted(rows, key=lambda row: int(row["entry"] or 0)),
        examined={"changes": len(found), "writers": len(policies)},
        notes=["what an operating system, a key module or a backup logs is not in this archive"],
    )


# --- Q-15 -------------------------------------------------------------------------------------------------------------


def _verified(room: Room, _given: Given) -> Found:
    report = verify_archive(room.ledger.layout.root, vkey=room.vkey, world=room.ledger.world)
    anchors = anchor_sizes(room.ledger.layout)
    rows: list[dict[str, Cell]] = [
        {"severity": one.severity, "place": one.place, "what": one.what, "meaning": one.meaning}
        for one in report.findings
    ]
    last = f"last kept at size {max(anchors)}" if anchors else "none is kept"
    return Found(
        rows=rows,
        examined=report.counts,
        notes=[
            report.verdict,
            f"signatures of others (cosignatures, time stamps): {last}",
            f"algorithms: {'; '.join(ALGORITHMS)}",
        ],
        tells=report.authenticated and not report.incomplete,
        violated=report.failed,
    )


# --- Q-16 -------------------------------------------------------------------------------------------------------------


def _reconciled(room: Room, given: Given) -> Found:
    count, path = given.text("count"), given.text("requests")
    if (count is None) is (path is None):
        raise QueryError("Q-16: expected count, or requests: ids of requests separated by commas")
    since, until = given.period
    found = reconcile_predictions(
        room.ledger,
        count=None if count is None else int(count),
        requests=None if path is None else [one for one in path.split(",") if one],
        model=given.text("model"),
        since=since,
        until=until,
    )
    rows: list[dict[str, Cell]] = [
        {"figure": name, "value": getattr(found, name)} for name in ("outside", "recorded", "refused", "difference")
    ]
    for name, ids in (("missing here", found.missing), ("not counted outside", found.extra)):
        rows += [{"figure": name, "value": one} for one in ids[:LISTED_MAX]]
    return Found(
        rows=rows,
        examined={"predictions": found.recorded},
        notes=[f"stream {one}: its writer ended without a word" for one in found.unknown_streams],
        violated=found.difference != 0,
    )


# --- Q-17 -------------------------------------------------------------------------------------------------------------


def _clocks(room: Room, given: Given) -> Found:
    limit = given.count("jump_ms") * 10**6
    rows: list[dict[str, Cell]] = []
    marks = 0
    streams = find_streams(room.ledger)
    for stream in streams:
        began = parse_time(stream.opened) if stream.opened else 0
        for mark in stream.marks:
            marks += 1
            until = parse_time(canonical.text_of(mark, "time"))
            jump = int(str(mark.get("jump_ns", 0)))
            state = str(mark.get("clock"))
            if (state != _SYNCHRONISED or abs(jump) > limit) and given.has(canonical.text_of(mark, "time")):
                rows.append(
                    {
                        "stream": stream.stream,
                        "kind": stream.kind,
                        "before": canonical.text_of(mark, "time"),
                        "seconds": (until - began) / 1e9,
                        "state": state,
                        "set_by_ms": jump / 1e6,
                        "recorded_until": str(mark.get("recorded", mark.get("next_seq", ""))),
                    }
                )
            began = until
    return Found(
        rows=rows,
        examined={"writers": len(streams), "marks": marks},
        notes=["how far a clock is from true time is not known to a writer: only whether a service keeps it, and sets"],
        tells=marks > 0 or not streams,
    )


# --- Q-19 -------------------------------------------------------------------------------------------------------------


def _changes(room: Room, given: Given) -> Found:
    names = Names(room, "Q-19")
    rows: list[dict[str, Cell]] = [
        row
        | {
            "author": names.of(author),
            "approver": names.of(approver),
            "same_person": _same(room, author, approver),
        }
        for row, author, approver in _decided(room, given)
    ]
    approvals = sum(row["approved"] is not None for row in rows)
    unknown = sum(row["approved"] is not None and row["same_person"] is None for row in rows)
    notes = [f"of {count_text(unknown, 'approval')} it cannot be told whether two people acted"] if unknown else []
    return Found(
        rows=rows,
        examined={"changes": len(rows), "approvals": approvals},
        notes=[*notes, "prompts and code are known as far as they are in a model version or a feature set"],
        tells=approvals > 0 and not unknown,
        violated=any(row["same_person"] is True for row in rows),
    )


def _decided(room: Room, given: Given) -> Iterator[tuple[dict[str, Cell], object, object]]:
    """Yield changes that were made, with who made them and who gave a verdict."""
    ledger = room.ledger
    verdicts: dict[str, list[JsonObject]] = {}
    for entry in ledger.find_entries(DEFINITION_APPROVED):
        verdicts.setdefault(str(entry.get("of")), []).append(entry)
    for entry in ledger.find_entries(APPROVED):
        verdicts.setdefault(str(entry.get("model")), []).append(entry)
    for index, entry in room.listed(*_DEFINING, given=given):
        row: dict[str, Cell] = {
            "entry": index,
            "time": str(entry["time"]),
            "kind": str(entry["type"]).partition(".")[0],
            "name": _text(entry, "name"),
            "version": _text(entry, "version"),
        }
        of = str(entry["model"]) if entry["type"] == "model.registered" else str(index)
        if of not in verdicts:
            yield {**row, "verdict": None, "approved": None}, entry.get("actor"), None
        for verdict in verdicts.get(of, ()):
            said: dict[str, Cell] = {"verdict": _text(verdict, "verdict"), "approved": str(verdict["time"])}
            yield {**row, **said}, entry.get("actor"), verdict.get("actor")
    for one in proposals(ledger):
        if given.has(one.time):
            row = {"entry": one.index, "time": one.time, "kind": one.kind, "name": one.name, "version": None}
            yield {**row, "verdict": one.verdict, "approved": one.decided_time}, one.by, one.decided_by


def _same(room: Room, author: object, approver: object) -> bool | None:
    """Say whether two commitments are of one person; None where that cannot be told. A rule looks, and shows nobody."""
    if not isinstance(author, str) or not isinstance(approver, str):
        return None
    try:
        return is_same_person(room.ledger.text_of(author, "actor"), room.ledger.text_of(approver, "actor"))
    except BackstoryError:
        return None


def _text(entry: JsonObject, name: str) -> str | None:
    value = entry.get(name)
    return None if value is None else str(value)


def _said(entry: JsonObject, *names: str) -> str | None:
    return ", ".join(str(entry[name]) for name in names if isinstance(entry.get(name), str)) or None


QUERIES = (
    Query(
        id="Q-01",
        question="Which events does the log have of a period, in their order, and is any missing?",
        reads="every entry of the log; the ranges of record numbers in the entries about segments",
        columns={
            "entry": "index in the log",
            "time": "when, by the writer's clock",
            "type": "what happened",
            "name": "what it is about",
            "stream": "of records: their stream",
            "first_seq": "of records: number of the first",
            "records": "of records: how many",
        },
        shows="entries proven under the checkpoint; whether numbers of records are missing between those in the log",
        shows_not="what was never recorded; what a writer that ended without a word had not written",
        supports=("EU AI Act 12, 19, 21(2), 26(6)", "SEC 17a-4", "DORA RTS 12"),
        run=_events,
        parameters=(SINCE, UNTIL, MODEL),
    ),
    Query(
        id="Q-12",
        question="Which privileged changes, and changes of what is recorded, were made in a period, and by whom?",
        reads="entries about keys, roles, grants, classes, contracts and proposals; the policies of writers",
        columns={
            "entry": "index in the log",
            "time": "when",
            "change": "what kind of change",
            "what": "what was changed",
            "by": "who, where it may be seen; otherwise a commitment",
        },
        shows="changes made through this archive",
        shows_not="what was changed outside: rights of the operating system, configuration of services",
        supports=("SOC 2 CC6", "NIST SP 800-53 AU-2, AU-9", "21 CFR 11.10(e)"),
        run=_privileged,
        parameters=(SINCE, UNTIL),
    ),
    Query(
        id="Q-15",
        question="Does the archive verify, who else signed it, and with which algorithms?",
        reads="every byte of the archive",
        columns={
            "severity": "`failed`, `unknown` or `note`",
            "place": "where",
            "what": "what is wrong",
            "meaning": "what it means for whom",
        },
        shows="what `backstory verify` finds; incomplete without a pinned key, as nobody says whose archive it is",
        shows_not="that what was recorded is true; that no other log was shown to somebody else",
        supports=("EU AI Act 12", "SEC 17a-4", "NIST SP 800-53 AU-9, AU-10", "GDPR 5(1)(f)"),
        run=_verified,
        empty=True,
    ),
    Query(
        id="Q-16",
        question="Does what was served agree with what was recorded?",
        reads="all predictions of a period, and a count or ids that somebody else gives",
        columns={"figure": "what was counted, or on which side an id is", "value": "the count or the id"},
        shows="whether both sides agree, and which ids are on one side only (the first 1,000)",
        shows_not="that the outside count is right",
        supports=("EU AI Act 12", "NIST SP 800-53 AU-5", "DORA RTS 12"),
        run=_reconciled,
        parameters=(
            Parameter(name="count", about="How many predictions were served.", kind="count"),
            Parameter(name="requests", about="Ids of the requests that were served, separated by commas."),
            MODEL,
            SINCE,
            UNTIL,
        ),
        empty=True,
    ),
    Query(
        id="Q-17",
        question="Which records were stamped while the clock was not known to be right?",
        reads="what writers said of their clock, about every minute",
        columns={
            "stream": "the writer's stream",
            "kind": "kind of its records",
            "before": "end of the time it is said of",
            "seconds": "how long that time was",
            "state": "`synchronised`, `unsynchronised` or `unknown`",
            "set_by_ms": "by how much the clock was set meanwhile",
            "recorded_until": "how many records the writer had made by then",
        },
        shows="times in which no service kept the writer's clock, or in which it was set",
        shows_not="how far the clock was off; time stamps of an authority bound when entries were there",
        supports=("EU AI Act 12(3)(a)", "DORA RTS 12(2)(f)", "NIST SP 800-53 AU-8"),
        run=_clocks,
        parameters=(
            SINCE,
            UNTIL,
            Parameter(
                name="jump_ms", about="How far a clock may be set without being listed.", kind="count", default=1000
            ),
        ),
    ),
    Query(
        id="Q-19",
        question="What was changed, by whom, and who approved it? Nobody may approve their own.",
        reads="versions of models, features and reason maps, deployments, proposals, and the verdicts on them",
        columns={
            "entry": "index in the log",
            "time": "when it was changed",
            "kind": "what kind of thing",
            "name": "its name",
            "version": "its version",
            "verdict": "what was said of it",
            "approved": "when",
            "author": "who changed it, where it may be seen",
            "approver": "who gave the verdict, where it may be seen",
            "same_person": "whether it is one person; empty where that cannot be told",
        },
        shows="each change with each verdict on it; violated where an author approved",
        shows_not="two names of one person; approvals given outside",
        supports=("SR 26-2", "SS1/23", "SOC 2 CC8.1", "21 CFR 11"),
        run=_changes,
        parameters=(SINCE, UNTIL),
        empty=True,
    ),
)
"""Queries about the log."""
