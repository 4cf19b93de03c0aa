"""Making a report: what it says, the two forms people read, the data, the proofs, in one bundle that the log names.

Bytes: docs/format.md section 43. The log says what is given out before the bundle has its name.
"""

from __future__ import annotations

import hashlib
import platform
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from backstory.errors import ConflictError, ForbiddenError, InputError
from backstory.ledger.receipt import prove_entry
from backstory.records import canonical
from backstory.records.canonical import JsonObject
from backstory.records.identity import id_number, id_text, time_text
from backstory.report.bundle_files import BundleFiles
from backstory.report.report import Content, Frame, Layouts, Report, report_of
from backstory.report.report_desk import Asked, Desk
from backstory.report.report_html import report_html
from backstory.report.report_instructions import report_instructions
from backstory.report.report_page import page_of
from backstory.report.report_pdf import report_pdf
from backstory.report.report_schema import schema_of
from backstory.report.report_streams import difference_of
from backstory.report.report_tables import table_files
from backstory.report.upstream import find_documents
from backstory.storage.anchors import anchor_folder, anchor_sizes, newest_cosigned
from backstory.verify.bundle import MANIFEST, PROOF, RECORDS
from backstory.verify.receipt import verify_receipts
from backstory.verify.report import ENTRY_TYPE, PAGE, PDF, REPORT, SCHEMA, list_of
from backstory.verify.standalone import bundle_checker, report_checker, verifier_files
from backstory.version import VERSION

ALGORITHMS = (
    "SHA-256 trees over records and over the log (RFC 6962)",
    "Ed25519 over the log's checkpoints (C2SP signed notes)",
    "salted SHA-256 commitments over sealed values",
    "AES-256-GCM over what is sealed",
)
_NS_PER_MS = 10**6
_RANDOM_SIZE, _BITS_TOO_MANY = 10, 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A kind of report: what it looks like, and what tells it.

    Attributes:
        layouts: What all its reports have in common.
        asks: What it may be asked for, of the names of `Asked`.
        tell: Returns what it says.
    """

    layouts: Layouts
    asks: frozenset[str]
    tell: Callable[[Desk, Asked], Content]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportFile:
    """A report that was given out.

    Attributes:
        path: The bundle.
        kind: Its kind.
        id: Its id.
        index: Index of the log's entry about it.
        digest: SHA-256 of the bundle's manifest, in hex, as the entry has it.
        records: How many records are proven in it.
        entries: How many entries are.
        withheld: How much was withheld.
        holds: Whether what it compared agrees: False where a count from outside differs from what is recorded, or the
            archive does not verify.
        document: The report as data: what `report.json` in the bundle holds.
        html: The page.
        pdf: The PDF.
    """

    path: Path
    kind: str
    id: str
    index: int
    digest: str
    records: int
    entries: int
    withheld: int
    holds: bool
    document: JsonObject
    html: str
    pdf: bytes

    @property
    def summary(self) -> list[str]:
        """The answer in a few plain sentences, the worst first."""
        return list(map(str, list_of(self.document["summary"])))

    @property
    def json(self) -> bytes:
        """The report as data, byte for byte as in the bundle."""
        return canonical.encode(self.document)

    def __repr__(self) -> str:
        """Return what it is on one line."""
        return f"<ReportFile: {self.kind} {self.id}, {self.records} records, entry {self.index}>"


def make_report(desk: Desk, kind: Kind, asked: Asked, arguments: Mapping[str, str], path: Path) -> ReportFile:
    """Write a report and the log's entry about it.

    Args:
        desk: Where it is made.
        kind: Its kind.
        asked: What it is asked for.
        arguments: The same as texts, for the report.
        path: The file to write.

    Raises:
        ConflictError: There is something at `path`.
        ForbiddenError: The archive is open for reading only.
        InputError: `path` is inside the archive; or what is asked for is not what a report of the kind is about.
        NotFoundError: There is no such prediction, decision, person or model.
        LimitError: It would be too large.
        VerificationError: The archive's bytes are not those the log committed to.
    """
    ledger = desk.ledger
    if not ledger.writable:
        raise ForbiddenError("report: the log records what is given out, so the archive must be open for writing")
    if path.resolve().is_relative_to(ledger.layout.root.resolve()):
        raise InputError("report: expected a file outside the archive")
    if path.exists():
        raise ConflictError(f"report: expected nothing at {path}")
    desk.gate.require("report")
    content = kind.tell(desk, asked)
    content = replace(content, completeness=[*content.completeness, *desk.gaps])
    difference = difference_of(desk, asked)
    if difference is not None:  # nobody should have to read to the end for it
        content = replace(content, summary=[difference, *content.summary], holds=False)
    writing = _Writing(desk, kind, content, arguments)

    def fill(temporary: Path) -> None:
        with temporary.open("wb") as file, zipfile.ZipFile(file, "w") as archive:
            writing.write(BundleFiles(archive))

    ledger.world.disk.write_with(path, fill, mode=0o600, replace=False)
    return writing.written(path)


class _Writing:
    """A report that is being written."""

    def __init__(self, desk: Desk, kind: Kind, content: Content, arguments: Mapping[str, str]) -> None:
        ledger = desk.ledger
        now = ledger.world.now_ns()
        drawn = int.from_bytes(ledger.world.random_bytes(_RANDOM_SIZE)) >> _BITS_TOO_MANY
        self._desk, self._kind, self._holds = desk, kind, content.holds
        self._withheld = len(content.withheld)
        self._made = time_text(now)
        self._purpose = desk.gate.purpose
        self._checkpoint = ledger.log.checkpoint()
        self._index = -1
        self._digest = ""
        frame = Frame(
            id=id_text(id_number(now // _NS_PER_MS, drawn).to_bytes(16)),
            made=self._made,
            generator={"backstory": VERSION, "python": platform.python_version()},
            requester=ledger.actor,
            purpose=self._purpose,
            function="archive.reports.make",
            arguments={"kind": kind.layouts.kind, **arguments},
            profile=_profile(desk),
            integrity=_integrity(desk, self._checkpoint.root.hex(), self._checkpoint.size),
            records=sorted(desk.records),
            entries=sorted(desk.entries),
        )
        self._report: Report = report_of(kind.layouts, content, frame)
        self._id = frame.id
        self._html, self._pdf = "", b""

    def write(self, files: BundleFiles) -> None:
        """Write all files, then the manifest, the entry, and its proof."""
        report = self._report
        digest = hashlib.sha256(report.data).hexdigest()
        page = page_of(report.document, digest)
        self._html = report_html(page)
        self._pdf = report_pdf(page, self._made, f"Backstory {VERSION}")
        self._add_receipts(files)
        ledger = self._desk.ledger
        documents = find_documents(ledger, self._desk.documents) if self._desk.documents else {}
        files.add_all({f"upstream/documents/{name}.json": data for name, data in documents.items()})
        files.add_all(
            {f"upstream/entries/{at}.tlog-proof": prove_entry(ledger, at) for at in sorted(self._desk.entries)}
        )
        files.add_all(dict(table_files(report.document)))
        programs = verifier_files() | {"check_bundle.py": bundle_checker(), "check_report.py": report_checker()}
        files.add_all({f"verify/{name}": data for name, data in programs.items()})
        about = report_instructions(self._kind.layouts, report.document)
        files.add_all(
            {
                "README.txt": about.encode(),
                PAGE: self._html.encode(),
                PDF: self._pdf,
                REPORT: report.data,
                SCHEMA: canonical.encode(schema_of(self._kind.layouts)),
            }
        )
        self._seal(files, digest)

    def written(self, path: Path) -> ReportFile:
        """Return what was written."""
        return ReportFile(
            path=path,
            kind=self._kind.layouts.kind,
            id=self._id,
            index=self._index,
            digest=self._digest,
            records=len(self._desk.records),
            entries=len(self._desk.entries),
            withheld=self._withheld,
            holds=self._holds,
            document=self._report.document,
            html=self._html,
            pdf=self._pdf,
        )

    def _add_receipts(self, files: BundleFiles) -> None:
        lines = bytearray()
        keys = [valid.text for valid in self._desk.ledger.log.keys]
        for number, data in enumerate(self._desk.receipts, 1):
            for receipt in verify_receipts(data, vkey=keys):
                proven = receipt.to_dict()
                del proven["witnesses"]
                lines += canonical.encode(proven) + b"\n"
            files.add(f"receipts/{number:04}.receipts", data)
        files.add(RECORDS, bytes(lines))

    def _seal(self, files: BundleFiles, digest: str) -> None:
        ledger, kind = self._desk.ledger, self._kind.layouts.kind
        checkpoint = self._checkpoint
        records = str(len(self._desk.records))
        manifest: JsonObject = {
            "backstory": "bundle",
            "files": files.listed,
            "log": {"origin": checkpoint.origin, "root": checkpoint.root.hex(), "size": str(checkpoint.size)},
            "question": {},
            "records": records,
            "report": {"digest": digest, "id": self._id, "kind": kind},
            "time": self._made,
            "v": 1,
        }
        data = canonical.encode(manifest)
        self._digest = hashlib.sha256(data).hexdigest()
        entry: JsonObject = {
            "kind": kind,
            "manifest": self._digest,
            "purpose": None if self._purpose is None else ledger.commit_text("purpose", self._purpose),
            "records": records,
            "report": self._id,
            "type": ENTRY_TYPE,
        }
        self._desk.note_given_out()
        (self._index,) = ledger.append([entry])
        files.add(MANIFEST, data)
        files.add(PROOF, prove_entry(ledger, self._index))


def _profile(desk: Desk) -> str:
    gate = desk.gate
    opened = f"sealed groups {', '.join(sorted(desk.opened))}" if desk.opened else "no sealed group"
    role = "" if gate.role is None else f", under the role {gate.role}"
    return f"{opened}{role}{'' if gate.policy is None else f', by the policy of entry {gate.policy}'}"


def _integrity(desk: Desk, root: str, size: int) -> JsonObject:
    ledger = desk.ledger
    config = ledger.layout.config
    anchors = []
    if newest_cosigned(ledger.layout) is not None:
        anchors.append(
            "a checkpoint cosigned by witnesses is kept beside the log; `backstory verify --policy` checks it"
        )
    stamped = [at for at in anchor_sizes(ledger.layout) if any(anchor_folder(ledger.layout, at).glob("*.tsr"))]
    if stamped:
        anchors.append(f"a time stamp (RFC 3161) over the checkpoint of size {max(stamped)} is kept beside the log")
    return {
        "algorithms": [*ALGORITHMS],
        "anchors": [*anchors] or ["nobody else has signed a checkpoint that is kept beside the log"],
        "origin": config.origin,
        "pinned": desk.vkey is not None,
        "root": root,
        "size": str(size),
        "vkey": config.vkey,
    }
