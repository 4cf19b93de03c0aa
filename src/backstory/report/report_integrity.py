"""The integrity certificate: what was checked of an archive, what was found, and what no check can show."""

from __future__ import annotations

from collections.abc import Iterator

from backstory.lineage.plain import count_text
from backstory.records import canonical
from backstory.records.access_record import ACCESS
from backstory.records.correction import CORRECTION
from backstory.records.decision import DECISION
from backstory.records.envelope import OUTCOME, PREDICTION
from backstory.records.notice import NOTICE
from backstory.records.request import REQUEST
from backstory.report.report import Cell, Column, Content, Layout, Layouts, Supports, Told
from backstory.report.report_desk import Asked, Desk
from backstory.report.report_make import ALGORITHMS, Kind
from backstory.report.report_streams import STREAMS, completeness_of, find_streams, stream_rows
from backstory.storage.anchors import anchor_folder, anchor_sizes
from backstory.verify.archive import verify_archive
from backstory.verify.finding import VerificationReport

ALL_KINDS = (PREDICTION, OUTCOME, *(kind.kind for kind in (DECISION, NOTICE, REQUEST, CORRECTION, ACCESS)))
"""Kinds of records that a statement about a whole archive is about."""

_KEYS = ("archive.created", "key.rotated", "key.added", "promise.key", "archive.restored")

LAYOUTS = Layouts(
    kind="integrity-certificate",
    code="RPT-13",
    title="Integrity and completeness certificate",
    about="What was checked of this archive, from its bytes, what was found, and what was not checked.",
    readers="for auditors, and for whoever relies on another report",
    supports=(
        Supports(article="EU AI Act, articles 12 and 19", serves="that logs that were kept are whole and unchanged"),
        Supports(article="GDPR, article 5(1)(f)", serves="integrity of what is stored"),
        Supports(article="SEC rule 17a-4(f), 21 CFR 11.10(e)", serves="that changes do not obscure what was recorded"),
        Supports(article="NIST SP 800-53, AU-9 and AU-10", serves="protection of audit information"),
    ),
    sections=(
        Layout(
            name="checks",
            title="What was checked",
            standing="computed",
            columns=(
                Column("what", "what"),
                Column("checked", "checked", "count"),
                Column("there", "there are", "count"),
            ),
        ),
        Layout(
            name="findings",
            title="What was found",
            standing="computed",
            columns=(
                Column("severity", "severity"),
                Column("place", "where"),
                Column("what", "what"),
                Column("meaning", "what it means"),
                Column("entry", "entry", "count"),
            ),
            none="No place was found where something is wrong or worth knowing.",
        ),
        STREAMS,
        Layout(
            name="keys",
            title="Keys of the log",
            standing="recorded",
            columns=(
                Column("entry", "entry", "count"),
                Column("time", "since", "time"),
                Column("what", "what"),
                Column("key", "public key"),
            ),
        ),
        Layout(
            name="anchors",
            title="What others said of the log",
            standing="computed",
            columns=(Column("size", "tree size", "count"), Column("kept", "kept beside the log")),
            none=(
                "No checkpoint that others signed is kept beside the log. So nothing here shows that others are shown "
                "the same log, nor when a checkpoint was there."
            ),
        ),
        Layout(
            name="algorithms",
            title="Algorithms",
            standing="computed",
            columns=(Column("what", "used for, and which"),),
        ),
    ),
    limits=(
        "That what was recorded is true. A wrong value is kept as faithfully as a right one.",
        "That everything was recorded: code that never calls the recorder leaves nothing to find.",
        "That the clocks of writers were right.",
        "That nobody was shown another log of the same name: that takes witnesses, or a checkpoint kept elsewhere.",
        "Anything after the checkpoint that is named below.",
    ),
)


def tell(desk: Desk, asked: Asked) -> Content:
    """Verify the whole archive and say what came of it."""
    ledger = desk.ledger
    found = verify_archive(ledger.layout.root, vkey=desk.vkey, workers=desk.workers, world=ledger.world)
    streams = find_streams(ledger)
    findings = [
        {
            "entry": None if one.index is None else str(one.index),
            "meaning": one.meaning,
            "place": one.place,
            "severity": one.severity,
            "what": one.what,
        }
        for one in found.findings
    ]
    for one in streams:
        for at in one.entries:
            desk.cite(at)
    return Content(
        scope={"archive": found.origin},
        summary=_summary(found),
        sections={
            "algorithms": Told(rows=[{"what": one} for one in ALGORITHMS]),
            "anchors": Told(rows=list(_anchors(desk))),
            "checks": Told(rows=list(_checks(found))),
            "findings": Told(rows=findings),
            "keys": Told(rows=list(_keys(desk))),
            "streams": Told(rows=list(stream_rows(streams))),
        },
        completeness=completeness_of(desk, asked, ALL_KINDS),
        checked=f"the whole archive, at tree size {found.tree_size}: {found.verdict}",
        holds=not found.failed,
    )


def _summary(found: VerificationReport) -> list[str]:
    failed = sum(one.severity == "failed" for one in found.findings)
    unknown = sum(one.severity == "unknown" for one in found.findings)
    records, entries = found.counts.get("records", 0), found.counts.get("entries", 0)
    read = f"{count_text(entries, 'entry', 'entries')} of the log and {count_text(records, 'record')} were read"
    if failed:
        verdict = f"The archive DOES NOT verify: {read}, and in {count_text(failed, 'place')} evidence does not hold."
    elif unknown:
        verdict = (
            f"Nothing failed, but not everything could be checked: {read}; {count_text(unknown, 'place')} left open."
        )
    else:
        verdict = (
            f"The archive verifies: {read} and lead to the checkpoint; nothing was changed, removed or put between."
        )
    if found.authenticated:
        return [verdict, "The public key was given from outside the archive, so it is known whose log this is."]
    return [verdict, "The public key was read from the archive itself: it is consistent; whose it is, is not shown."]


def _checks(found: VerificationReport) -> Iterator[dict[str, Cell]]:
    for name, count in found.counts.items():
        yield {"checked": str(count), "there": str(found.totals.get(name, count)), "what": name}


def _keys(desk: Desk) -> Iterator[dict[str, Cell]]:
    for type_ in _KEYS:
        for at, _ in desk.ledger.numbered_entries(type_):
            entry = desk.cite(at)
            yield {
                "entry": str(at),
                "key": desk.cited(at, "vkey"),
                "time": canonical.text_of(entry, "time"),
                "what": desk.cited(at, "type"),
            }


def _anchors(desk: Desk) -> Iterator[dict[str, Cell]]:
    for size in anchor_sizes(desk.ledger.layout):
        names = sorted(path.name for path in anchor_folder(desk.ledger.layout, size).iterdir())
        stamps = sum(name.endswith(".tsr") for name in names)
        kept = ["a checkpoint cosigned by witnesses"] if "cosigned" in names else []
        kept += [count_text(stamps, "time stamp")] if stamps else []
        if kept:
            yield {"kept": ", ".join(kept), "size": str(size)}


KIND = Kind(layouts=LAYOUTS, asks=frozenset({"expected"}), tell=tell)
