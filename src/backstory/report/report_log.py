"""The log extract for a period: every entry with its proof, records by writer, and what each type of entry says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from backstory.errors import InputError, NotFoundError
from backstory.lineage.plain import count_text
from backstory.records import canonical
from backstory.records.canonical import JsonObject
from backstory.report.report import Cell, Column, Content, Layout, Layouts, Supports, Told
from backstory.report.report_desk import Asked, Desk
from backstory.report.report_integrity import ALL_KINDS
from backstory.report.report_make import Kind
from backstory.report.report_streams import STREAMS, completeness_of, find_streams, manifests_in, stream_rows

SAYS = {
    "access.ended": "a grant, or the work on a case, ended before its time",
    "access.granted": "somebody may see classes of a case for a while",
    "access.reviewed": "another person looked at an access in an emergency",
    "action.refused": "something was asked for and not done",
    "archive.created": "the log began",
    "archive.restored": "the log goes on with the entries of another",
    "bundle.exported": "an evidence bundle was given out",
    "case.assigned": "somebody works on a case",
    "choice.justified": "why a model version or a feature set was chosen",
    "classification.confirmed": "how sensitive columns are",
    "contract.set": "which contract a source has",
    "decision.finalised": "a draft became a decision",
    "definition.approved": "a verdict on a reason map, a feature set or a deployment",
    "deployment.set": "what a deployment serves",
    "disposal.begun": "a disposal that was approved began",
    "disposal.executed": "what was past its time is gone",
    "drift.alarmed": "a model was given or said other things than before",
    "drill.held": "a drill was held on copies",
    "erasure.refused": "an erasure was refused, with its ground",
    "features.defined": "a version of a feature set",
    "freeze.lifted": "a model version is no longer frozen for an incident",
    "freeze.placed": "a model version was frozen for an incident",
    "group.recorded": "a step that mixes rows",
    "hold.extended": "a hold was extended",
    "hold.placed": "records are kept for a matter",
    "hold.released": "records are no longer kept for a matter",
    "job.finished": "a run of a job ended",
    "job.part": "a part of a run of a job is done",
    "key.added": "a second key signs too",
    "key.rotated": "another key speaks for the log",
    "membership.shown": "it was proven whether a person is in a dataset version",
    "model.aliased": "an alias points to a model version",
    "model.approved": "a verdict on a model version",
    "model.registered": "a model version",
    "promise.key": "promises are given under a key",
    "proposal.decided": "another person approved or rejected what was proposed",
    "proposal.made": "something that needs a second person was proposed",
    "reasons.defined": "a version of a reason map",
    "reasons.disclosed": "which reasons somebody was given",
    "report.made": "a report was given out",
    "role.assigned": "somebody has a role",
    "role.removed": "somebody has a role no longer",
    "run.recorded": "a training, evaluation or other run ended",
    "segment.sealed": "records were sealed",
    "segment.sketched": "what is kept of the values of records",
    "segments.merged": "one file holds the records of several",
    "segments.trimmed": "a file holds records without those that were disposed of",
    "sharing.released": "a figure was given out",
    "sharing.spent": "a part of a privacy budget is used up",
    "source.fixed": "a snapshot of a source",
    "step.recorded": "a step took rows in and dropped some",
    "stream.closed": "a writer ended",
    "stream.heartbeat": "what a writer has counted",
    "stream.opened": "a writer began",
    "subject.erased": "a person was erased",
}
"""What entries of each type say, for readers of an extract."""

_NAMES = ("name", "kind", "model", "action", "question", "prediction", "stream")
"""Members that say what an entry is about, the first that is there."""

LAYOUTS = Layouts(
    kind="log-extract",
    code="RPT-04",
    title="Log extract for a period",
    about="Every entry of the log of a period, each with its proof, and the records that were sealed.",
    readers="for authorities and auditors",
    supports=(
        Supports(article="EU AI Act, articles 12 and 19", serves="events recorded automatically over a period"),
        Supports(article="EU AI Act, article 21(2)", serves="access to the logs that are kept here, on request"),
        Supports(article="EU AI Act, article 26(6)", serves="logs that a deployer keeps"),
        Supports(article="SEC rule 17a-4(f)(3)", serves="records for people and for programs, and how to locate them"),
        Supports(
            article="DORA, article 17; NIST SP 800-53, AU-7", serves="an extract that leaves content and order alone"
        ),
    ),
    sections=(
        Layout(
            name="entries",
            title="Entries",
            standing="recorded",
            columns=(
                Column("entry", "entry", "count"),
                Column("time", "time", "time"),
                Column("type", "type"),
                Column("about", "about"),
                Column("actor", "actor (a commitment)", "digest"),
            ),
            none="The log has no entry of this period.",
        ),
        Layout(
            name="records",
            title="Records that were sealed",
            standing="recorded",
            columns=(
                Column("entry", "entry", "count"),
                Column("kind", "kind"),
                Column("stream", "stream"),
                Column("first_seq", "first number", "count"),
                Column("count", "records", "count"),
                Column("first_time", "from", "time"),
                Column("last_time", "to", "time"),
                Column("root", "root", "digest"),
            ),
            none="No records of this period are in the log.",
        ),
        Layout(
            name="types",
            title="What the types of entries say",
            standing="computed",
            columns=(Column("type", "type"), Column("says", "says"), Column("count", "here", "count")),
        ),
        STREAMS,
        Layout(
            name="control",
            title="Logs that are kept elsewhere",
            standing="stated",
            columns=(Column("what", "what"), Column("said", "said")),
            none="Nothing was said of logs that are not under the control of who made this extract.",
        ),
    ),
    limits=(
        "What was not recorded here, such as logs of other systems.",
        "Values of records: an evidence bundle has them (`backstory bundle`).",
        "Names of people: entries have commitments in their place.",
        "Times are those of the writers' clocks; the order of the log is given by the indexes.",
    ),
    states={"control": "which logs are not under our control"},
)


def tell(desk: Desk, asked: Asked) -> Content:
    """List the entries of a period.

    Raises:
        InputError: There is no period.
        NotFoundError: Nothing is in the log of this period.
    """
    since, until = asked.period
    if since is None and until is None:
        raise InputError("report: expected a period: since, until or both")
    ledger = desk.ledger
    size = ledger.log.checkpoint().size
    inside = [(at, entry) for at, entry in ledger.log.entries(0, size) if asked.has(str(entry["time"]))]
    records = list(manifests_in(ledger, asked))
    if not inside and not records:
        raise NotFoundError("report: the log has nothing of this period")
    streams = [one for one in find_streams(ledger) if any(asked.has(end) for end in _ends(desk, one.entries))]
    counted = Counter(str(entry["type"]) for _, entry in inside)
    rows = [_entry_row(desk, at, entry) for at, entry in inside]
    sealed = sum(manifest.count for _, manifest in records)
    entries = count_text(len(rows), "entry", "entries")
    return Content(
        scope={"log": ledger.layout.config.origin},
        summary=[
            f"{entries} of the log are of this period, each with its proof in this bundle.",
            f"Segments with records of it hold {count_text(sealed, 'record')}; a segment is listed whole.",
        ],
        sections={
            "control": Told(rows=[{"said": asked.states["control"], "what": "control"}] if asked.states else ()),
            "entries": Told(rows=rows),
            "records": Told(
                rows=[
                    {
                        "count": desk.cited(at, "count"),
                        "entry": str(at),
                        "first_seq": desk.cited(at, "first_seq"),
                        "first_time": desk.cited(at, "first_time"),
                        "kind": desk.cited(at, "kind"),
                        "last_time": desk.cited(at, "last_time"),
                        "root": desk.cited(at, "root"),
                        "stream": desk.cited(at, "stream"),
                    }
                    for at, _ in records
                ]
            ),
            "streams": Told(rows=list(stream_rows(streams))),
            "types": Told(
                rows=[
                    {"count": str(count), "says": SAYS.get(type_, "see docs/format.md, section 12"), "type": type_}
                    for type_, count in sorted(counted.items())
                ]
            ),
        },
        completeness=completeness_of(desk, asked, ALL_KINDS),
        checked="each entry listed, against the checkpoint; `integrity-certificate` checks the records, too",
        since=since,
        until=until,
    )


def _ends(desk: Desk, entries: list[int]) -> Iterator[str]:
    return (canonical.text_of(desk.ledger.log.entry(at), "time") for at in entries)


def _entry_row(desk: Desk, at: int, entry: JsonObject) -> dict[str, Cell]:
    member = next((name for name in _NAMES if isinstance(entry.get(name), str)), None)
    return {
        "about": None if member is None else desk.cited(at, member),
        "actor": desk.cited(at, "actor"),
        "entry": str(at),
        "time": desk.cited(at, "time"),
        "type": desk.cited(at, "type"),
    }


KIND = Kind(layouts=LAYOUTS, asks=frozenset({"since", "until", "expected"}), tell=tell)
