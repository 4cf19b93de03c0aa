"""Making an evidence bundle: what an auditor asked for, in one file that is checked without this package.

Bytes: docs/format.md, section "Bundles". Every receipt that goes in was verified first; the log says what goes out
before it does.
"""

from __future__ import annotations

import hashlib
import tempfile
import zipfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from backstory.errors import ConflictError, ForbiddenError, InputError, LimitError
from backstory.ledger.ledger import Ledger
from backstory.ledger.read import Found, Place, read_place
from backstory.ledger.receipt import make_receipts, prove_entry
from backstory.lineage.search_shown import require_asked
from backstory.lineage.showing import about_record
from backstory.lineage.story import Story
from backstory.lineage.trace import Tracer
from backstory.lineage.why import tell_story
from backstory.records import canonical
from backstory.records.access import SHOWN, About, RecordRun, Scope, View, Viewer, Views
from backstory.records.canonical import JsonObject
from backstory.records.identity import time_text
from backstory.records.limits import (
    ACCESS_IDS_MAX,
    BUNDLE_RECEIPTS,
    BUNDLE_RECEIPTS_FILES_MAX,
    BUNDLE_RECEIPTS_SIZE_MAX,
    BUNDLE_STORIES,
)
from backstory.records.names import names_instead
from backstory.records.sensitivity import PERSONAL, class_of_group
from backstory.report.bundle_files import BundleFiles
from backstory.report.instructions import instructions
from backstory.report.page import index_page
from backstory.report.selection import Question, Selection, select_records
from backstory.report.tables import tables_of, write_parquet_file
from backstory.report.upstream import find_documents, find_entries, prove_rows
from backstory.tlog.checkpoint import Checkpoint
from backstory.verify.bundle import ENTRY_TYPE, MANIFEST, PROOF, RECORDS, ROWS
from backstory.verify.receipt import verify_receipts
from backstory.verify.standalone import bundle_checker, verifier_files


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleFile:
    """An evidence bundle that was written.

    Attributes:
        path: The file.
        records: How many predictions are in it.
        not_compared: How many others the predicate asks for values of that are sealed.
        not_sealed: How many others fit, as far as can be told, and are not in the log yet.
        index: Index of the log's entry about it.
        digest: SHA-256 of its manifest, in hex, as the entry has it.
        size: Its size in bytes.
    """

    path: Path
    records: int
    not_compared: int
    not_sealed: int
    index: int
    digest: str
    size: int

    def __repr__(self) -> str:
        """Return what it is on one line."""
        return f"<BundleFile: {self.records:,} predictions, {self.size:,} bytes, entry {self.index}>"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """Who asked for a bundle, and what they may see.

    Attributes:
        gate: Sealed values are shown through it as they may be seen, and only where groups are given.
        groups: Sealed groups to show.
        fields: Sealed columns to open besides, in the receipts.
        actor: Who asked; the log has a commitment, the bundle the text.
        purpose: What for; likewise.
    """

    gate: Viewer
    groups: tuple[str, ...] = ()
    fields: tuple[str, ...] = ()
    actor: str | None = None
    purpose: str | None = None


def make_bundle(ledger: Ledger, tracer: Tracer, question: Question, asking: Asking, path: Path) -> BundleFile:
    """Write the evidence bundle an auditor asked for, and the log's entry about it.

    Raises:
        ConflictError: There is something at `path`.
        ForbiddenError: The archive is open for reading only, or sealed groups were asked for by nobody.
        InputError: `path` is inside the archive, or no record has a group of that name; or as `select_records` says.
        NotFoundError: As `select_records` says, or sealed values were erased.
        LimitError: It would be too large.
        VerificationError: The archive's bytes are not those the log committed to.
    """
    if not ledger.writable:
        raise ForbiddenError("bundle: the log records what is given out, so the archive must be open for writing")
    if path.resolve().is_relative_to(ledger.layout.root.resolve()):
        raise InputError("bundle: expected a file outside the archive")
    if path.exists():
        raise ConflictError(f"bundle: expected nothing at {path}")
    if question.where is not None:
        require_asked(ledger, asking.gate, question.where, asking.gate.views())
    selection = select_records(ledger, question)
    asking.gate.require_open("bundle")  # documents of models and sources are in it
    gate, opened = _open(ledger, selection, asking)
    bundle = _Bundle(ledger, selection, asking)
    made: list[tuple[int, str]] = []

    def fill(temporary: Path) -> None:
        with temporary.open("wb") as file, zipfile.ZipFile(file, "w") as archive:
            made.append(bundle.write(BundleFiles(archive), gate, tracer, opened, path.parent))

    ledger.world.disk.write_with(path, fill, mode=0o600, replace=False)
    index, digest = made[0]
    return BundleFile(
        path=path,
        records=selection.count,
        not_compared=selection.not_compared,
        not_sealed=selection.not_sealed,
        index=index,
        digest=digest,
        size=path.stat().st_size,
    )


def _open(ledger: Ledger, selection: Selection, asking: Asking) -> tuple[Viewer, Collection[str]]:
    """Record that sealed groups are shown in the whole bundle, before anything is read.

    Returns:
        A gate for the stories, and which groups receipts open: those that may be seen as they are in every record.

    Raises:
        ForbiddenError: Nothing of a group may be shown.
        InputError: No record has a group of that name.
    """
    counts: dict[str, int] = {}
    for _, manifest, rows in selection.parts:
        for group in ledger.schema(manifest.schema).groups:
            counts[group] = counts.get(group, 0) + len(rows)
    unknown = [group for group in asking.groups if group not in counts]
    if unknown:
        raise InputError(f"bundle: no prediction has a sealed group {unknown[0]!r}{names_instead(unknown[0], counts)}")
    asked = sorted(set(asking.groups))
    # A story shows all groups of a record, so it is told sealed where some of them are not asked for.
    gate = _Opened(asking.gate, asked, is_whole=bool(asked) and counts.keys() == set(asked))
    if not asked:
        return gate, ()
    views = _least(ledger, selection, asking.gate)
    if any(views[class_of_group(group)] not in SHOWN for group in asked):
        asking.gate.pass_through("bundle", asked, max(counts[group] for group in asked))
    for places in selection.batches(ACCESS_IDS_MAX):
        runs = [RecordRun(stream=p.manifest.stream, first=p.manifest.first_seq + p.row, count=1) for p in places]
        asking.gate.show("bundle", asked, len(runs), Scope(runs=tuple(runs)), views)
    return gate, [group for group in asked if views[class_of_group(group)] == "clear"]


def _least(ledger: Ledger, selection: Selection, gate: Viewer) -> Views:
    """Return how classes are seen in every record of a selection: as in the one that shows least of them."""
    views = gate.views()
    if all(view in SHOWN for view in views.values()):
        return views
    least: dict[str, View] = {}
    for places in selection.batches(BUNDLE_RECEIPTS):
        for place in places:
            seen = gate.views(about_record(ledger, read_place(ledger, place)))
            least = {one: max(view, least.get(one, view), key=_shows_less) for one, view in seen.items()}
        if least == views:  # no record shows more than any does
            break
    return least


def _shows_less(view: View) -> int:
    order: tuple[View, ...] = ("clear", "pseudonymised", "masked")
    return order.index(view) if view in order else len(order)


class _Opened:
    """The gate behind the first: what was recorded as shown in the whole bundle is not recorded once a story."""

    def __init__(self, gate: Viewer, groups: Collection[str], *, is_whole: bool) -> None:
        self._gate, self._groups, self._is_whole = gate, groups, is_whole

    def allows(self, groups: Sequence[str] | None = None) -> bool:
        """Say whether everything was asked for and may be seen as it is."""
        return self._is_whole and self._gate.allows(groups)

    def lacking(self, groups: Sequence[str] | None = None) -> str:
        """Say what stands in the way: where not everything was asked for, that."""
        return self._gate.lacking(groups) if self._is_whole else "it was not asked for"

    def views(self, about: About | None = None) -> Views:
        """Return how classes are seen; where not everything was asked for, what is about people is not."""
        views = self._gate.views(about)
        return views if self._is_whole else {**views, **dict.fromkeys(PERSONAL, "none")}

    def pass_through(self, question: str, groups: Sequence[str], records: int, scope: Scope | None = None) -> None:
        """Record what was not yet, such as positions of rows about people."""
        if not set(groups) <= set(self._groups):
            self._gate.pass_through(question, groups, records, scope)

    def show(self, question: str, groups: Sequence[str], records: int, scope: Scope, views: Views) -> None:
        """Record what was not yet, such as rows of a source about people."""
        if self._is_whole and not set(groups) <= set(self._groups):
            self._gate.show(question, groups, records, scope, views)

    def require_open(self, question: str, classes: Sequence[str] = ("D0", "D1", "D2")) -> None:
        """Insist on what the gate insists on."""
        self._gate.require_open(question, classes)

    @property
    def bound_subject(self) -> str | None:
        """Whom the gate is bound to."""
        return self._gate.bound_subject

    def within(self, about: About) -> _Opened:
        """Return the same about one record."""
        return _Opened(self._gate.within(about), self._groups, is_whole=self._is_whole)

    def classes_of(self, dataset: str) -> Mapping[str, str]:
        """Return what the gate knows of a dataset version's columns."""
        return self._gate.classes_of(dataset)

    def pseudonym(self, subject: str) -> str:
        """Return the gate's pseudonym."""
        return self._gate.pseudonym(subject)

    def reason(self, class_: str, view: View) -> str:
        """Say why something is not shown."""
        return self._gate.reason(class_, view) if self._is_whole else "not asked for in this bundle"


class _Bundle:
    """A bundle that is being written: files go in one after another, and the manifest lists them."""

    def __init__(self, ledger: Ledger, selection: Selection, asking: Asking) -> None:
        self._ledger, self._selection, self._asking = ledger, selection, asking
        self._time = time_text(ledger.world.now_ns())
        self._checkpoint = ledger.log.checkpoint()

    def write(
        self, files: BundleFiles, gate: Viewer, tracer: Tracer, opened: Collection[str], beside: Path
    ) -> tuple[int, str]:
        """Write all files, then the manifest, the entry, and its proof; return the entry's index and its digest."""
        # Beside the bundle, as what was sealed must not come to lie on another disk; of no name, so that whoever kills
        # the process leaves nothing there.
        with tempfile.TemporaryFile(dir=beside) as lines:
            contexts = self._add_receipts(files, opened, lines)
            files.add_file(RECORDS, lines)
        for number, tables in enumerate(tables_of(self._ledger, self._selection, opened), 1):
            with tempfile.TemporaryFile(dir=beside) as file:
                write_parquet_file(tables, file)
                files.add_file(f"records-{number:04}.parquet", file)
        places = next(self._selection.batches(BUNDLE_STORIES))
        stories = [self._story(tracer, gate, read_place(self._ledger, place)) for place in places]
        documents = find_documents(self._ledger, contexts)
        self._add_upstream(files, documents, stories)
        checker = {"check_bundle.py": bundle_checker()}
        files.add_all({f"verify/{name}": data for name, data in (verifier_files() | checker).items()})
        asked = self._asked()
        page = index_page(stories, self._selection.count, asked, self._checkpoint, documents.keys())
        about = instructions(self._checkpoint.origin, self._selection.count, asked)
        files.add_all({"README.txt": about.encode(), "index.html": page.encode()})
        return self._seal(files)

    def _add_receipts(self, files: BundleFiles, opened: Collection[str], lines: BinaryIO) -> set[str]:
        """Add the receipts, write what each proves as a line, and return the contexts they name."""
        keys = [valid.text for valid in self._ledger.log.keys]
        contexts: set[str] = set()
        for number, data in enumerate(self._receipts(opened), 1):
            if number > BUNDLE_RECEIPTS_FILES_MAX:
                raise LimitError("bundle: the receipts are too large; ask for fewer predictions")
            for receipt in verify_receipts(data, vkey=keys):
                proven = receipt.to_dict()
                del proven["witnesses"]
                lines.write(canonical.encode(proven) + b"\n")
                contexts.add(canonical.digest_of(proven["context"]))
            files.add(f"receipts/{number:04}.receipts", data)
        return contexts

    def _receipts(self, opened: Collection[str]) -> Iterator[bytes]:
        """Yield files of receipts, each of as many as fit."""
        most = BUNDLE_RECEIPTS
        for places in self._selection.batches(BUNDLE_RECEIPTS):
            at = 0
            while at < len(places):
                data = self._receipts_of(places[at : at + most], opened)
                if data is not None:
                    yield data
                    at += most
                elif most == 1:
                    raise LimitError("bundle: the receipt of a prediction is too large")
                else:
                    most //= 2

    def _receipts_of(self, places: list[Place], opened: Collection[str]) -> bytes | None:
        """Return a file of receipts; None where it would be too large."""
        try:
            data = make_receipts(self._ledger, places, opened=opened, fields=self._asking.fields).data
        except LimitError:
            return None
        return data if len(data) <= BUNDLE_RECEIPTS_SIZE_MAX else None

    def _story(self, tracer: Tracer, gate: Viewer, found: Found) -> Story:
        story = tell_story(self._ledger, tracer, gate, found)
        return replace(story, proof={**story.proof, "key": "its receipt is in this bundle"})

    def _add_upstream(self, files: BundleFiles, documents: dict[str, bytes], stories: list[Story]) -> None:
        found = {f"upstream/documents/{digest}.json": data for digest, data in documents.items()}
        for position in find_entries(self._ledger, documents):
            found[f"upstream/entries/{position}.tlog-proof"] = prove_entry(self._ledger, position)
        rows = prove_rows(self._ledger, stories)
        if rows:
            found[ROWS] = canonical.encode({"rows": rows, "v": 1})
        files.add_all(found)

    def _asked(self) -> JsonObject:
        said = {"actor": self._asking.actor, "purpose": self._asking.purpose}
        opened: JsonObject = {"opened": [*sorted(set(self._asking.groups))]} if self._asking.groups else {}
        if self._asking.fields:
            opened["opened_fields"] = [*sorted(set(self._asking.fields))]
        counts = {"not_compared": self._selection.not_compared, "not_sealed": self._selection.not_sealed}
        left_out: JsonObject = {name: str(count) for name, count in counts.items() if count}
        given: JsonObject = {name: text for name, text in said.items() if text is not None}
        return {**self._selection.question.to_dict(), **opened, **left_out, **given, "time": self._time}

    def _seal(self, files: BundleFiles) -> tuple[int, str]:
        asked = self._asked()
        del asked["time"]
        manifest: JsonObject = {
            "backstory": "bundle",
            "files": files.listed,
            "log": _log(self._checkpoint),
            "question": asked,
            "records": str(self._selection.count),
            "time": self._time,
            "v": 1,
        }
        data = canonical.encode(manifest)
        digest = hashlib.sha256(data).hexdigest()
        purpose = self._asking.purpose
        entry: JsonObject = {
            "manifest": digest,
            "purpose": None if purpose is None else self._ledger.commit_text("purpose", purpose),
            "records": str(self._selection.count),
            "type": ENTRY_TYPE,
        }
        (index,) = self._ledger.append([entry])
        files.add(MANIFEST, data)
        files.add(PROOF, prove_entry(self._ledger, index))
        return index, digest


def _log(checkpoint: Checkpoint) -> JsonObject:
    return {"origin": checkpoint.origin, "root": checkpoint.root.hex(), "size": str(checkpoint.size)}
