"""Checking an evidence bundle: needs the file and a public key, nothing else.

Bytes and the order of the checks: docs/format.md, section "Bundles". `standalone/check_bundle.py` holds the same check
once more, written apart from this one.
"""

from __future__ import annotations

import errno
import hashlib
import re
import struct
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from backstory.errors import FormatError, StorageError, UnsupportedVersionError, VerificationError
from backstory.records import canonical
from backstory.records.canonical import JsonObject, JsonValue
from backstory.records.envelope import PREDICTION
from backstory.records.identity import check_digest, digests_in
from backstory.records.limits import BUNDLE_RECEIPTS_SIZE_MAX
from backstory.records.schema import escape_name
from backstory.tlog.checkpoint import Checkpoint, open_checkpoint, parse_checkpoint
from backstory.tlog.hashing import hash_leaf
from backstory.tlog.key import ValidKey, require_keys
from backstory.tlog.note import parse_note
from backstory.tlog.proof import verify_inclusion
from backstory.tlog.proof_file import parse_proof_file
from backstory.tlog.text import parse_base64
from backstory.verify.bundle_question import Asked
from backstory.verify.bundle_zip import check_zip
from backstory.verify.receipt import Receipt, verify_receipts
from backstory.verify.receipt_file import MANY_MAGIC, check_version
from backstory.verify.report import ENTRY_TYPE as REPORT_MADE
from backstory.verify.report import FILES as REPORT_FILES
from backstory.verify.report import PAGE, REPORT, ReportCheck, ReportFacts

MANIFEST: Final = "manifest.json"
PROOF: Final = "bundle.tlog-proof"
RECORDS: Final = "records.jsonl"
ROWS: Final = "upstream/rows.json"
ENTRY_TYPE: Final = "bundle.exported"

_MOMENT = re.compile("[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}[.][0-9]{9}Z")
_ZIP_MAGIC = b"PK\x03\x04"
_SMALL_MAX = 64 << 20
"""Bytes of a file that is read as a whole, other than of receipts; and of a line."""
_PROOF_MAX = 2 << 20
_TOTAL_MAX = 1 << 40
_PIECE = 1 << 20
_DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, ValueError, struct.error)
"""What the library for zip files raises of one that is malformed."""
_MEMBERS = frozenset({"backstory", "files", "log", "question", "records", "time", "v"})
_OF_REPORTS = re.compile(r"report\.(html|json|pdf)|schema\.json|tables/.*")
_NOT_OF_REPORTS = re.compile(r"index\.html|records-.*|upstream/rows\.json")


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """What a bundle that verifies is.

    Attributes:
        origin: Origin of the log.
        tree_size: Tree size of the checkpoint under which the log's entry about the bundle is proven.
        index: Index of that entry.
        manifest: SHA-256 of the manifest, in hex.
        time: When it was given out, by the operator's clock.
        question: What was asked, by whom and what for, as far as it was said.
        records: How many predictions it holds; of a report how many records.
        files: How many files the manifest lists.
        report: Of a report what it is.
    """

    origin: str
    tree_size: int
    index: int
    manifest: str
    time: str
    question: JsonObject
    records: int
    files: int
    report: ReportFacts | None = None

    def to_dict(self) -> JsonObject:
        """Return it as values JSON has."""
        return {
            "files": self.files,
            "index": self.index,
            "manifest": self.manifest,
            "origin": self.origin,
            "question": self.question,
            "records": str(self.records),
            "time": self.time,
            "tree_size": self.tree_size,
            **({} if self.report is None else {"report": self.report.to_dict()}),
        }

    def __str__(self) -> str:
        """Return it for a reader."""
        what = f"bundle of {self.records} predictions"
        if self.report is not None:
            what = (
                f"report {self.report.kind} {self.report.id}: {self.report.title}\n"
                f"{self.records} records, {self.report.entries} entries and {self.report.quotes} quotes proven,"
            )
        return (
            f"{what} in {self.files} files, given out at {self.time}\n"
            f"entry {self.index} of the log of {self.origin} at tree size {self.tree_size}"
        )


def verify_bundle(path: str | Path, *, vkey: str | Sequence[str]) -> Bundle:
    """Check an evidence bundle: every file of it, every receipt, and that the log says it was given out.

    Args:
        path: The file.
        vkey: The log's public key, obtained from somewhere other than the bundle, as `verify_receipt` takes it.

    Returns:
        What it is.

    Raises:
        VerificationError: Something in it does not verify, is missing or too much; the message names the file.
        FormatError: It is not a bundle: its beginning is not that of a zip file.
        UnsupportedVersionError: It is of a version newer than this package, so that nothing can be said.
        InputError: The key is malformed.
        StorageError: The file cannot be read.
    """
    keys = require_keys(vkey)
    try:
        with Path(path).open("rb") as file:
            if file.read(len(_ZIP_MAGIC)) != _ZIP_MAGIC:
                raise FormatError("bundle: this is none, its beginning is not that of a zip file")
            return _check(file, keys)
    except OSError as error:
        if error.errno == errno.EINVAL:  # it names a place before its beginning
            raise VerificationError("bundle: the zip file is damaged") from error
        raise StorageError(f"reading bundle: {error.strerror}") from error


def _check(file: BinaryIO, keys: tuple[ValidKey, ...]) -> Bundle:
    try:
        archive = zipfile.ZipFile(file)
    except (*_DAMAGED, OverflowError) as error:
        raise VerificationError("bundle: the zip file is damaged") from error
    with archive:
        return _Checking(archive, check_zip(archive, file), keys).check()


@contextmanager
def _named(name: str) -> Iterator[None]:
    """Let what is wrong with a file name it."""
    try:
        yield
    except UnsupportedVersionError:
        raise
    except (VerificationError, FormatError) as error:
        raise VerificationError(f"bundle: {name}: {error}") from error
    except _DAMAGED as error:
        raise VerificationError(f"bundle: {name}: it is damaged") from error


class _Checking:
    """A bundle that is being checked."""

    def __init__(
        self, archive: zipfile.ZipFile, members: dict[str, zipfile.ZipInfo], keys: tuple[ValidKey, ...]
    ) -> None:
        self._archive, self._members, self._keys, self._origin = archive, members, keys, ""
        self._proven: set[str] = set()
        self._needed: set[str] = set()
        self._rows: dict[str, list[JsonObject]] = {}
        self._entries: dict[int, JsonObject] = {}
        self._records: dict[str, Receipt] = {}
        self._report: ReportCheck | None = None
        self._sources: dict[str, tuple[bytes, int]] = {}

    def check(self) -> Bundle:
        """Make the checks in their order."""
        with _named(PROOF):
            index, entry, checkpoint = self._prove(PROOF)
            self._require(entry.get("type") in {ENTRY_TYPE, REPORT_MADE}, "its entry is of something else")
            self._origin = checkpoint.origin
        with _named(MANIFEST):
            manifest = self._read_manifest(index, entry)
            sizes = self._list(manifest)
            count, time = canonical.count_of(manifest, "records"), canonical.text_of(manifest, "time")
            self._require(count > 0 or "report" in manifest, "it has no records")
            self._require(_MOMENT.fullmatch(time) is not None, "its time is none")
            question = manifest["question"] if isinstance(manifest["question"], dict) else {}
            asked = Asked(question)
        self._check_files(sizes, REPORT_FILES if "report" in manifest else ("README.txt", "index.html"))
        if "report" in manifest:
            self._report = self._open_report(manifest)
        with _named(ROWS):
            self._read_rows()
        self._check_records(count, asked)
        self._check_upstream()
        report = None
        if self._report is not None:
            with _named(REPORT):
                report = self._report.check_evidence(self._records, self._entries, manifest)
        return Bundle(
            origin=self._origin,
            tree_size=checkpoint.size,
            index=index,
            manifest=canonical.text_of(entry, "manifest"),
            time=time,
            question=question,
            records=count,
            files=len(sizes),
            report=report,
        )

    def _prove(self, name: str) -> tuple[int, JsonObject, Checkpoint]:
        """Check that an entry is in the log the key speaks for."""
        file = parse_proof_file(self._read(name, _PROOF_MAX))
        checkpoint = open_checkpoint(file.note, parse_checkpoint(parse_note(file.note).text).origin, self._keys)
        data = file.extra or b""
        verify_inclusion(hash_leaf(data), file.index, checkpoint.size, file.proof, checkpoint.root)
        entry = canonical.parse_object(data, "entry")
        check_version(entry, "entry")
        return file.index, entry, checkpoint

    def _read_manifest(self, index: int, entry: JsonObject) -> JsonObject:
        data = self._read(MANIFEST)
        self._require(hashlib.sha256(data).hexdigest() == entry.get("manifest"), "it was changed")
        manifest = canonical.parse_object(data, "manifest")
        check_version(manifest, "manifest")
        self._require(set(manifest) - {"report"} == _MEMBERS, "it is of something else")
        self._require(manifest["backstory"] == "bundle", "it is of something else")
        is_report = "report" in manifest
        self._require(is_report == (entry["type"] == REPORT_MADE), "its entry is of something else")
        self._require(isinstance(manifest["question"], dict), "it has no question")
        self._require(not is_report or not manifest["question"], "a report has a question of its own")
        self._require(manifest["records"] == entry.get("records"), "it has another number of records than the log")
        log = manifest["log"]
        self._require(isinstance(log, dict) and set(log) == {"origin", "root", "size"}, "a malformed log")
        if isinstance(log, dict):
            check_digest(log["root"], "root of the log")
            self._require(log["origin"] == self._origin, "it is of another log")
            self._require(canonical.count_of(log, "size") <= index, "its checkpoint is later than the entry about it")
        return manifest

    def _list(self, manifest: JsonObject) -> dict[str, tuple[int, str]]:
        """Return size and digest of every file of the manifest."""
        sizes: dict[str, tuple[int, str]] = {}
        for file in _list_of(manifest["files"]):
            self._require(isinstance(file, dict) and set(file) == {"name", "sha256", "size"}, "a malformed file")
            if isinstance(file, dict):
                name = canonical.text_of(file, "name")
                self._require(name not in sizes, "it lists a file twice")
                sizes[name] = canonical.count_of(file, "size"), check_digest(file["sha256"], "a file's digest")
        self._require(sum(size for size, _ in sizes.values()) <= _TOTAL_MAX, "the files are too large")
        return sizes

    def _open_report(self, manifest: JsonObject) -> ReportCheck:
        """Open the report, and compare its tables with it."""
        with _named(REPORT):
            report = ReportCheck(self._read(REPORT), manifest)
        with _named(PAGE):
            self._require(report.digest.encode() in self._read(PAGE), "it is of another report")
        with _named("tables"):
            report.check_tables(self._members, self._read)
        return report

    def _check_files(self, sizes: dict[str, tuple[int, str]], needed: tuple[str, ...]) -> None:
        for name in sorted(self._members.keys() - sizes.keys() - {MANIFEST, PROOF}):
            raise VerificationError(f"bundle: {name}: the manifest does not list it")
        others = _NOT_OF_REPORTS if REPORT in needed else _OF_REPORTS
        for name in sizes:
            with _named(name):
                self._require(others.fullmatch(name) is None, "it is of another kind of bundle")
        for name in needed:
            with _named(name):
                self._require(name in sizes, "it is missing")
        for name, (size, expected) in sizes.items():
            with _named(name):
                self._require(name in self._members, "it is missing")
                self._require(self._members[name].file_size == size, "it has another size")
                self._require(self._digest(name, size) == expected, "it was changed")

    def _check_records(self, count: int, asked: Asked) -> None:
        found, seen = 0, set[bytes]()
        with _named(RECORDS):
            self._require(RECORDS in self._members, "it is missing")
        with self._archive.open(RECORDS) as lines:
            for name in sorted(name for name in self._members if name.startswith("receipts/")):
                for receipt in self._read_receipts(name):
                    found += 1
                    with _named(name):
                        is_asked = self._report is not None or receipt.values.get("kind") == PREDICTION
                        self._require(is_asked, f"{receipt.id} is no prediction")
                        self._require(bytes.fromhex(receipt.id.replace("-", "")) not in seen, f"{receipt.id} again")
                    seen.add(bytes.fromhex(receipt.id.replace("-", "")))
                    proven = receipt.to_dict()
                    del proven["witnesses"]
                    with _named(RECORDS):
                        line = lines.readline(_SMALL_MAX)
                        self._require(line == canonical.encode(proven) + b"\n", f"line {found} is not what is proven")
                    with _named(name):
                        asked.check(proven)
                        self._note_documents(receipt)
                        if self._report is not None:
                            self._records[receipt.id] = receipt
                    with _named(ROWS):
                        self._check_rows(receipt)
            with _named(RECORDS):
                self._require(not lines.read(1), "it has a record without a receipt")
        with _named(MANIFEST):
            self._require(found == count, f"it says {count} records, the receipts are of {found}")
            asked.check_all_found()
        with _named(ROWS):
            self._require(not self._rows, "a row is of a prediction that has no receipt here")

    def _note_documents(self, receipt: Receipt) -> None:
        """Note which documents must be there, and which may."""
        context = receipt.context
        if context is None:
            self._require(self._report is not None, f"the context of {receipt.id} was left out")
            return
        digest = canonical.digest_of(context)
        self._proven |= {digest, *digests_in(context)}
        if self._report is not None:
            return
        model = context.get("model")
        self._needed.add(digest)
        if model is not None:
            self._require(isinstance(model, dict), "a malformed model")
            self._needed.add(check_digest(model.get("digest") if isinstance(model, dict) else None, "model"))

    def _read_receipts(self, name: str) -> tuple[Receipt, ...]:
        with _named(name):
            data = self._read(name, BUNDLE_RECEIPTS_SIZE_MAX)
            self._require(data.startswith(MANY_MAGIC), "it is no file of receipts")
            receipts = verify_receipts(data, vkey=[valid.text for valid in self._keys])
            self._require(receipts[0].origin == self._origin, "it is of another log")
        return receipts

    def _read_rows(self) -> None:
        if ROWS not in self._members:
            return
        file = canonical.parse_object(self._read(ROWS), "rows")
        check_version(file, "file of rows")
        self._require(set(file) == {"rows", "v"}, "it is of something else")
        seen: set[tuple[str, str]] = set()
        for row in _list_of(file["rows"]):
            if not isinstance(row, dict) or set(row) != {"dataset", "index", "path", "prediction", "reference", "row"}:
                raise FormatError("a malformed row")
            which = canonical.text_of(row, "prediction"), canonical.text_of(row, "reference")
            self._require(which not in seen, "a row is there twice")
            seen.add(which)
            self._rows.setdefault(which[0], []).append(row)

    def _check_rows(self, receipt: Receipt) -> None:
        """Check that rows are those a prediction names, and are in their source under the root of its document."""
        for row in self._rows.pop(receipt.id, []):
            dataset, index = check_digest(row["dataset"], "row's source"), canonical.count_of(row, "index")
            reference = canonical.text_of(row, "reference")
            refs = (receipt.context or {}).get("refs")
            named = refs.get(reference) if isinstance(refs, dict) else None
            parts = _list_of(named.get("parts")) if isinstance(named, dict) else []
            firsts = [
                canonical.count_of(part, "first")
                for part in parts
                if isinstance(part, dict) and part.get("dataset") == dataset
            ]
            position = receipt.values.get(f"row.{escape_name(reference)}")
            self._require(position in [first + index for first in firsts], "a row is not the prediction's")
            path = [bytes.fromhex(check_digest(text, "row's path")) for text in _list_of(row["path"])]
            leaf = hash_leaf(parse_base64(canonical.text_of(row, "row"), "row"))
            root, count = self._source(dataset)
            verify_inclusion(leaf, index, count, path, root)

    def _source(self, dataset: str) -> tuple[bytes, int]:
        """Return root and rows of a source; its document is read once, however many rows are of it."""
        if dataset not in self._sources:
            document = canonical.parse_object(self._read(_document_name(dataset)), "source")
            root = bytes.fromhex(check_digest(document.get("root"), "source's root"))
            self._sources[dataset] = root, canonical.count_of(document, "rows")
        return self._sources[dataset]

    def _check_upstream(self) -> None:
        for name in sorted(name for name in self._members if name.startswith("upstream/entries/")):
            with _named(name):
                index, entry, checkpoint = self._prove(name)
                self._require(name == f"upstream/entries/{index}.tlog-proof", "it is of another entry")
                self._require(checkpoint.origin == self._origin, "it is of another log")
                self._proven |= set(digests_in(entry))
                self._entries[index] = entry
        for name in sorted(map(_document_name, self._needed)):
            with _named(name):
                self._require(name in self._members, "it is missing")
        documents = {name for name in self._members if name.startswith("upstream/documents/")}
        ready = documents & set(map(_document_name, self._proven))
        while ready:
            name = ready.pop()
            documents.remove(name)
            with _named(name):
                data = self._read(name)
                self._require(_document_name(hashlib.sha256(data).hexdigest()) == name, "it has another digest")
                ready |= documents & set(map(_document_name, digests_in(canonical.parse_object(data, "document"))))
        for name in sorted(documents):
            raise VerificationError(f"bundle: {name}: nothing that is proven names it")

    def _read(self, name: str, most: int = _SMALL_MAX) -> bytes:
        self._require(name in self._members, f"{name} is missing")
        self._require(self._members[name].file_size <= most, "it is too large")
        with self._archive.open(name) as file:
            data = file.read(most + 1)
        self._require(len(data) <= most, "it is too large")
        return data

    def _digest(self, name: str, size: int) -> str:
        """Return the digest of a file, of which no more is unpacked than it should have."""
        digest, left = hashlib.sha256(), size
        with self._archive.open(name) as file:
            while left >= 0 and (data := file.read(min(left + 1, _PIECE))):
                digest.update(data)
                left -= len(data)
        self._require(left == 0, "it has another size")
        return digest.hexdigest()

    @staticmethod
    def _require(condition: bool, what: str) -> None:  # noqa: FBT001  reads as a sentence
        if not condition:
            raise VerificationError(what)


def _list_of(value: JsonValue) -> list[JsonValue]:
    if not isinstance(value, list):
        raise FormatError("expected a list")
    return value


def _document_name(digest: str) -> str:
    return f"upstream/documents/{digest}.json"
