# ruff: noqa: PLR2004  the formats' numbers stand where they are used: this file is read next to the specification
"""Checks evidence bundles of Backstory without Backstory: this file, `verify_receipt.py` beside it, Python 3.9.

    python check_bundle.py BUNDLE.zip --vkey KEY [--json]

--vkey      the log's public key, `name+id+base64`, got from somewhere else than the bundle; repeated where the log
            changed its key: then each may end with ` from SIZE` and ` until SIZE`, the tree sizes it speaks for

Exit code 0: verified. 20: does not verify; the file that does not is named. 21: cannot be checked, which says nothing
about it. 2: asked wrongly.
It shows that the bundle is, byte for byte, what the log says was given out, that its records, their contexts, the
models these name and everything else in upstream/ are in the log, that records.jsonl says what the receipts prove, and
that the records are of the model, the period and the ids in the question. It does not show that what was recorded was
true, that the records fit `where` and `case` of the question, nor that these are all the auditor should have got. What
is asked of a bundle that is a report, `check_report.py` beside it says.

It is meant to be read from the top, next to docs/format.md, section "Bundles". What notes, paths, rows and receipts
are, `verify_receipt.py` knows.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime as dt
import errno
import hashlib
import importlib
import json
import re
import struct
import sys
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

sys.path.insert(0, str(Path(__file__).resolve().parent))  # `python -I` does not look beside the program
receipt: Any = importlib.import_module("verify_receipt")

Json = Any
MANIFEST, PROOF, RECORDS, ROWS = "manifest.json", "bundle.tlog-proof", "records.jsonl", "upstream/rows.json"
NAME = re.compile(
    r"manifest\.json|bundle\.tlog-proof|README\.txt|index\.html|records\.jsonl|records-[0-9]{4,5}\.parquet"
    r"|receipts/[0-9]{4}\.receipts|upstream/rows\.json|upstream/documents/[0-9a-f]{64}\.json"
    r"|upstream/entries/[0-9]{1,19}\.tlog-proof|verify/[a-z_]{1,64}\.(html|mjs|py)"
    r"|report\.(html|json|pdf)|schema\.json|tables/[a-z][a-z_]{0,63}\.(csv|parquet)"
)
OF_REPORTS = re.compile(r"report\.(html|json|pdf)|schema\.json|tables/.*")
NOT_OF_REPORTS = re.compile(r"index\.html|records-.*|upstream/rows\.json")
MOMENT = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{9}Z")
FILES_MAX, SMALL_MAX, PROOF_MAX, TOTAL_MAX, REGULAR_FILE = 65_535, 64 << 20, 2 << 20, 1 << 40, 0o100644 << 16
RECEIPTS_MAX = 16 << 20  # less than a file of receipts outside a bundle may have
ZIP64, ELSEWHERE = 1 << 31, 0xFFFFFFFF  # from the first on sizes and offsets have fields of their own
VERIFIED, FAILED, CANNOT_CHECK = 0, 20, 21
DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, ValueError, struct.error)


def check_bundle(path: str, logs: list[Any]) -> dict[str, Json]:
    """Check a bundle: the facts about it, or an error that names the file that is wrong."""
    with open(path, "rb") as file:  # noqa: PTH123
        if file.read(4) != b"PK\x03\x04":
            raise receipt.CannotCheckError("this is no bundle: its beginning is not that of a zip file")
    try:
        with open(path, "rb") as file, zipfile.ZipFile(file) as archive:  # noqa: PTH123
            return Bundle(archive, file, logs).check()
    except (*DAMAGED, ArithmeticError) as error:
        raise receipt.FailedError("the zip file is damaged") from error
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        raise receipt.FailedError("the zip file is damaged") from error  # it names a place before its beginning


@contextlib.contextmanager
def named(name: str) -> Iterator[None]:
    """Let what is wrong with a file name it."""
    try:
        yield
    except receipt.FailedError as error:
        raise receipt.FailedError(f"{name}: {error}") from error
    except DAMAGED as error:
        raise receipt.FailedError(f"{name}: it is damaged") from error
    except (LookupError, TypeError, AttributeError, RecursionError) as error:
        raise receipt.FailedError(f"{name}: it is not of the form it must have") from error


class Bundle:
    """A bundle that is being checked."""

    def __init__(self, archive: zipfile.ZipFile, file: BinaryIO, logs: list[Any]) -> None:
        self.archive, self.file, self.logs, self.origin = archive, file, logs, ""
        self.members: dict[str, zipfile.ZipInfo] = {}
        self.proven: set[str] = set()  # digests that something proven names
        self.needed: set[str] = set()  # names of the documents that must be there
        self.rows: dict[str, list[dict[str, Json]]] = {}
        self.reports: Any = None  # the module for reports, where this is one
        self.records: dict[str, dict[str, Json]] = {}  # of a report, what its receipts prove, by id
        self.entries: dict[int, dict[str, Json]] = {}
        self.sources: dict[str, tuple[bytes, int]] = {}

    def check(self) -> dict[str, Json]:
        """Make the checks, in the order of the section."""
        self.check_members()  # 1
        self.check_layout()
        with named(PROOF):  # 2
            index, entry, log = self.prove(PROOF)
            is_known = entry.get("type") in {"bundle.exported", "report.made"}
            receipt.need(is_known, "its entry is of something else")
            self.origin = log["origin"]
        with named(MANIFEST):  # 3
            manifest = self.check_manifest(index, entry)
            sizes = self.sizes_of(manifest)
            asked = Asked(manifest["question"])
        if "report" in manifest:
            self.reports = importlib.import_module("check_report")
        self.check_files(sizes)  # 4
        report = self.open_report(manifest) if self.reports else {}
        with named(ROWS):
            self.read_rows()
        self.check_records(receipt.count_of(manifest["records"]), asked)  # 5
        self.check_upstream()  # 6
        about: dict[str, Json] = {}
        if self.reports:
            with named("report.json"):
                about = {"report": self.reports.check_evidence(report, self.records, self.entries)}
        return {
            **about,
            "files": len(sizes),
            "index": index,
            "manifest": entry["manifest"],
            "origin": self.origin,
            "question": manifest["question"],
            "records": manifest["records"],
            "time": manifest["time"],
            "tree_size": log["size"],
        }

    def check_members(self) -> None:
        """Check 1: the zip file holds files of a bundle's names, each once, and nothing else."""
        members = self.archive.infolist()
        receipt.need(len(members) <= FILES_MAX and not self.archive.comment, "the zip file has too much in it")
        for member in members:
            name = member.filename
            with named(repr(member.orig_filename[:200])):
                receipt.need(member.orig_filename == name and NAME.fullmatch(name), "no name of a file in a bundle")
                receipt.need(name not in self.members, "it is there twice")
                packed = member.compress_type in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}
                receipt.need(packed and not member.flag_bits & ~0x6, "it is not a plain file")
                receipt.need(member.external_attr == REGULAR_FILE, "it is not a plain file")
                receipt.need(member.date_time == (1980, 1, 1, 0, 0, 0), "it is not a plain file")
            self.members[name] = member

    def check_layout(self) -> None:
        """Check 1: one file stands behind the other, then what lists them; nothing else, and nothing said twice."""
        at, listed = 0, 0
        for name, member in self.members.items():
            sizes = [member.file_size, member.compress_size]
            large = sizes if max(sizes) >= ZIP64 else []
            large += [member.header_offset] if member.header_offset >= ZIP64 else []
            extra = struct.pack(f"<HH{len(large)}Q", 1, 8 * len(large), *large) if large else b""
            receipt.need(member.extra == extra and not member.comment, f"{name}: it is not a plain file")
            headers = self.headers_of(member)
            self.file.seek(at)
            found = self.file.read(max(map(len, headers)))
            fits = [header for header in headers if found[:4] + found[6 : len(header)] == header[:4] + header[6:]]
            receipt.need(member.header_offset == at and fits, f"{name}: the zip file says two things of it")
            at += len(fits[0]) + member.compress_size
            listed += 46 + len(name) + len(extra)
        count = len(self.members)
        end = struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, count, count, listed, min(at, ELSEWHERE), 0)
        if at >= ZIP64:
            end = struct.pack("<4sIQI", b"PK\x06\x07", 0, at + listed, 1) + end
            end = struct.pack("<4sQ2H2I4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, count, count, listed, at) + end
        self.file.seek(at + listed)
        receipt.need(self.file.read(len(end) + 1) == end, "the zip file has bytes that are of no file")

    @staticmethod
    def headers_of(member: zipfile.ZipInfo) -> list[bytes]:
        """Return what may stand before a file's bytes: its sizes in their fields, or behind its name."""
        name, sizes = member.filename.encode(), (member.compress_size, member.file_size)
        start = struct.pack("<4s3HII", b"PK\x03\x04", 0, member.flag_bits, member.compress_type, 33 << 16, member.CRC)
        extra = struct.pack("<HHQQ", 1, 16, member.file_size, member.compress_size)
        headers = [start + struct.pack("<IIHH", ELSEWHERE, ELSEWHERE, len(name), 20) + name + extra]
        if max(sizes) < ELSEWHERE:
            headers.append(start + struct.pack("<IIHH", *sizes, len(name), 0) + name)
        return headers

    def prove(self, name: str) -> tuple[int, dict[str, Json], dict[str, Json]]:
        """Check 2: a log entry (`extra`) is in the log that the key speaks for."""
        head, separator, note = self.read(name, PROOF_MAX).partition(b"\n\n")
        lines = head.decode("ascii", "replace").split("\n")
        receipt.need(separator and head.isascii() and len(lines) <= 66, "expected a proof")
        receipt.need(lines[0] == "c2sp.org/tlog-proof@v1" and len(lines) > 2, "expected a proof")
        receipt.need(lines[1][:6] == "extra " and lines[2][:6] == "index ", "expected lines `extra` and `index`")
        data, index = receipt.from_base64(lines[1][6:]), receipt.log_number(lines[2][6:])
        log = receipt.check_note(note, self.logs, [], 0)
        path = [receipt.from_base64(line, 32) for line in lines[3:]]
        receipt.check_inclusion(data, index, log["size"], path, log["root"])
        entry = receipt.from_json(data)
        receipt.check_version(entry, "entry")
        return index, entry, log

    def check_manifest(self, index: int, entry: dict[str, Json]) -> dict[str, Json]:
        """Check 3: the manifest is the one whose digest is in the log."""
        data = self.read(MANIFEST)
        receipt.need(hashlib.sha256(data).hexdigest() == entry.get("manifest"), "it was changed")
        manifest: dict[str, Json] = receipt.from_json(data)
        receipt.check_version(manifest, "manifest")
        is_report = "report" in manifest
        members = "backstory files log question records time v"
        receipt.need_members(manifest, members.replace("time", "report time") if is_report else members)
        receipt.need(is_report == (entry["type"] == "report.made"), "its entry is of something else")
        receipt.need(manifest["backstory"] == "bundle", "it is of something else")
        receipt.need(isinstance(manifest["question"], dict), "it has no question")
        receipt.need(not is_report or not manifest["question"], "a report has a question of its own")
        receipt.need(manifest["records"] == entry.get("records"), "it has another number of records than the log")
        receipt.need(receipt.count_of(manifest["records"]) > 0 or is_report, "it has no records")
        receipt.need(isinstance(manifest["time"], str) and MOMENT.fullmatch(manifest["time"]), "its time is none")
        begun = receipt.need_members(manifest["log"], "origin root size")
        receipt.from_hex(begun["root"])
        receipt.need(begun["origin"] == self.origin, "it is of another log")
        receipt.need(receipt.count_of(begun["size"]) <= index, "its checkpoint is later than the entry about it")
        return manifest

    def sizes_of(self, manifest: dict[str, Json]) -> dict[str, tuple[int, str]]:
        """Return size and digest of every file of the manifest."""
        receipt.need(isinstance(manifest["files"], list), "expected a list of files")
        sizes: dict[str, tuple[int, str]] = {}
        for file in manifest["files"]:
            receipt.need_members(file, "name sha256 size")
            receipt.need(isinstance(file["name"], str) and file["name"] not in sizes, "a malformed name")
            receipt.from_hex(file["sha256"])
            sizes[file["name"]] = receipt.count_of(file["size"]), file["sha256"]
        receipt.need(sum(size for size, _ in sizes.values()) <= TOTAL_MAX, "the files are too large")
        return sizes

    def open_report(self, manifest: dict[str, Json]) -> dict[str, Json]:
        """Check, of a report, that it is the one the manifest names, and that its page and its tables are of it."""
        with named("report.json"):
            report: dict[str, Json] = self.reports.open_report(self.read("report.json"), manifest)
        with named("report.html"):
            of_it = manifest["report"]["digest"].encode() in self.read("report.html")
            receipt.need(of_it, "it is of another report")
        with named("tables"):
            self.reports.check_tables(report, list(self.members), self.read)
        return report

    def check_files(self, sizes: dict[str, tuple[int, str]]) -> None:
        """Check 4: exactly the files of the manifest are there, each with its size and digest."""
        for name in sorted(self.members.keys() - sizes.keys() - {MANIFEST, PROOF}):
            raise receipt.FailedError(f"{name}: the manifest does not list it")
        others = NOT_OF_REPORTS if self.reports else OF_REPORTS
        for name in sizes:
            receipt.need(not others.fullmatch(name), f"{name}: it is of another kind of bundle")
        for name in self.reports.FILES if self.reports else ("README.txt", "index.html"):
            receipt.need(name in sizes, f"{name}: it is missing")
        for name, (size, digest) in sizes.items():
            with named(name):
                receipt.need(name in self.members, "it is missing")
                receipt.need(self.members[name].file_size == size, "it has another size")
                receipt.need(self.digest(name, size) == digest, "it was changed")

    def check_records(self, count: int, asked: Asked) -> None:
        """Check 5: every receipt, that records.jsonl says what the receipts prove, and that it is what was asked."""
        found = set[bytes]()
        receipt.need(RECORDS in self.members, f"{RECORDS}: it is missing")
        with self.archive.open(RECORDS) as lines:
            for name in sorted(name for name in self.members if name.startswith("receipts/")):
                with named(name):
                    data = self.read(name, RECEIPTS_MAX)
                    receipt.need(data.startswith(receipt.MANY_MAGIC), "it is no file of receipts")
                    records = receipt.check_file(data, self.logs, [], 0)
                    receipt.need(records[0]["origin"] == self.origin, "it is of another log")
                for facts in records:
                    with named(name):
                        identity = bytes.fromhex(facts["id"].replace("-", ""))
                        is_asked = self.reports or facts["values"].get("kind") == "prediction"
                        receipt.need(is_asked, f"{facts['id']} is no prediction")
                        receipt.need(identity not in found, f"{facts['id']} again")
                    found.add(identity)
                    said = {key: value for key, value in facts.items() if key != "witnesses"}
                    with named(RECORDS):
                        is_said = lines.readline(SMALL_MAX) == written(said) + b"\n"
                        receipt.need(is_said, f"line {len(found)} is not what is proven")
                    with named(name):
                        asked.check(facts)
                        self.note_documents(facts)
                        if self.reports:
                            self.records[facts["id"]] = facts
                    with named(ROWS):
                        self.check_rows(facts)
                receipt.from_json.cache_clear()  # it would keep every file in memory
            with named(RECORDS):
                receipt.need(not lines.read(1), "it has a record without a receipt")
        receipt.need(len(found) == count, f"{MANIFEST}: it says {count} records, the receipts are of {len(found)}")
        with named(MANIFEST):
            asked.check_all_found()
        receipt.need(not self.rows, f"{ROWS}: a row is of a prediction that has no receipt here")

    def note_documents(self, facts: dict[str, Json]) -> None:
        """Note which documents must be there, and which may."""
        context = facts["values"]["context"]
        if facts["context"] is not None:
            self.proven.update({context, *digests_in(facts["context"])})
        if self.reports:
            return
        receipt.need(facts["context"] is not None, f"the context of {facts['id']} was left out")
        model = facts["context"].get("model")
        self.needed.add(document_name(context))
        if model is not None:
            self.needed.add(document_name(receipt.from_hex(model["digest"]).hex()))

    def read_rows(self) -> None:
        """Read the rows of sources that predictions were made from, where there are any."""
        if ROWS not in self.members:
            return
        file = receipt.from_json(self.read(ROWS))
        receipt.check_version(file, "file of rows")
        receipt.need_members(file, "rows v")
        receipt.need(isinstance(file["rows"], list), "expected a list")
        found = set[tuple[str, str]]()
        for row in file["rows"]:
            receipt.need_members(row, "dataset index path prediction reference row")
            receipt.need(isinstance(row["prediction"], str) and isinstance(row["path"], list), "a malformed row")
            which = (row["prediction"], row["reference"])
            receipt.need(isinstance(row["reference"], str) and which not in found, "a malformed row, or one twice")
            found.add(which)
            self.rows.setdefault(row["prediction"], []).append(row)

    def check_rows(self, facts: dict[str, Json]) -> None:
        """Check 6: a row is the one a prediction names, and is in the source under the root of its document."""
        for row in self.rows.pop(facts["id"], []):
            name, index = row["reference"], receipt.count_of(row["index"])
            parts = facts["context"]["refs"][name]["parts"]
            first = [receipt.count_of(part["first"]) for part in parts if part["dataset"] == row["dataset"]]
            position = str(facts["values"].get("row." + receipt.escape(name)))
            receipt.need(position in [str(start + index) for start in first], "a row is not the prediction's")
            path = [receipt.from_hex(text) for text in row["path"]]
            root, count = self.source(row["dataset"])
            receipt.check_inclusion(receipt.from_base64(row["row"]), index, count, path, root)

    def source(self, dataset: str) -> tuple[bytes, int]:
        """Return root and rows of a source, whose document is read once, however many rows are of it."""
        if dataset not in self.sources:
            document = receipt.from_json(self.read(document_name(dataset)))
            self.sources[dataset] = receipt.from_hex(document["root"]), receipt.count_of(document["rows"])
        return self.sources[dataset]

    def check_upstream(self) -> None:
        """Check 6: entries are in the log, and each document is of the digest that something proven names."""
        for name in sorted(name for name in self.members if name.startswith("upstream/entries/")):
            with named(name):
                index, entry, log = self.prove(name)
                receipt.need(name == f"upstream/entries/{index}.tlog-proof", "it is of another entry")
                receipt.need(log["origin"] == self.origin, "it is of another log")
                self.proven.update(digests_in(entry))
                self.entries[index] = entry
        for name in sorted(self.needed - self.members.keys()):
            raise receipt.FailedError(f"{name}: it is missing")
        documents = {name for name in self.members if name.startswith("upstream/documents/")}
        ready = documents & set(map(document_name, self.proven))
        while ready:
            name = ready.pop()
            documents.remove(name)
            with named(name):
                data = self.read(name)
                receipt.need(document_name(hashlib.sha256(data).hexdigest()) == name, "it has another digest")
                ready |= documents & set(map(document_name, digests_in(receipt.from_json(data))))
            receipt.from_json.cache_clear()
        for name in sorted(documents):
            raise receipt.FailedError(f"{name}: nothing that is proven names it")

    def read(self, name: str, most: int = SMALL_MAX) -> bytes:
        """Read a file that must be there."""
        receipt.need(name in self.members, f"{name} is missing")
        receipt.need(self.members[name].file_size <= most, "it is too large")
        with self.archive.open(name) as file:
            data = file.read(most + 1)
        receipt.need(len(data) <= most, "it is too large")
        return data

    def digest(self, name: str, size: int) -> str:
        """Return the SHA-256 of a file, of which no more is unpacked than it should have."""
        digest, left = hashlib.sha256(), size
        with self.archive.open(name) as file:
            while left >= 0:
                data = file.read(min(left + 1, 1 << 20))
                if not data:
                    return digest.hexdigest()
                digest.update(data)
                left -= len(data)
        raise receipt.FailedError("it is larger than it should be")


class Asked:
    """The question of a bundle, as far as it can be compared: `where` and `case` cannot."""

    def __init__(self, question: dict[str, Json]) -> None:
        ids = question.get("predictions", [])
        receipt.need(isinstance(ids, list) and all(isinstance(item, str) for item in ids), "malformed predictions")
        receipt.need(len(ids) == len(set(ids)), "its question names a prediction twice")
        self.by_id, self.missing = "predictions" in question, set(ids)
        self.model, self.has_model = question.get("model"), "model" in question
        receipt.need(isinstance(self.model, str) or not self.has_model, "a malformed model")
        self.since, self.until = (moment(question[name]) if name in question else None for name in ("since", "until"))

    def check(self, facts: dict[str, Json]) -> None:
        """Check that a record was asked for."""
        fits = not self.by_id or facts["id"] in self.missing
        self.missing.discard(facts["id"])
        if self.has_model:
            model = (facts["context"] or {}).get("model")
            names = [] if model is None else [model.get("name"), f"{model.get('name')}:{model.get('version')}"]
            fits = fits and self.model in names
        if self.since is not None or self.until is not None:
            text = str(facts["values"].get("time"))
            fits = fits and bool(re.fullmatch("-?[0-9]{1,19}", text))
            fits = fits and (self.since is None or self.since <= int(text))
            fits = fits and (self.until is None or int(text) < self.until)
        receipt.need(fits, f"{facts['id']} does not fit the question")

    def check_all_found(self) -> None:
        """Check that every prediction that is asked for by its id was there."""
        for name in sorted(self.missing)[:1]:
            raise receipt.FailedError(f"the question asks for {name[:200]!r}, which is not here")


def moment(text: Json) -> int:
    """Return the nanoseconds since 1970 of a time in the form the manifest's has."""
    receipt.need(isinstance(text, str) and MOMENT.fullmatch(text), "a malformed moment")
    seconds = dt.datetime.fromisoformat(text[:19]) - dt.datetime(1970, 1, 1)  # noqa: DTZ001  both UTC
    return seconds // dt.timedelta(seconds=1) * 10**9 + int(text[20:29])


def written(value: Json) -> bytes:
    """Write canonical JSON (section 1): one value, one sequence of bytes; in Python `True == 1`, in JSON it is not."""

    def ordered(value: Json) -> Json:
        if isinstance(value, list):
            return [ordered(item) for item in value]
        if isinstance(value, dict):
            names = sorted(value, key=lambda name: name.encode("utf-16-be"))
            return {name: ordered(value[name]) for name in names}
        return value

    return json.dumps(ordered(value), ensure_ascii=False, separators=(",", ":")).encode()


def digests_in(document: Json) -> set[str]:
    """Return everything in a document that may be a digest."""
    if isinstance(document, dict):
        return {digest for value in document.values() for digest in digests_in(value)}
    if isinstance(document, list):
        return {digest for value in document for digest in digests_in(value)}
    return {document} if isinstance(document, str) and re.fullmatch("[0-9a-f]{64}", document) else set()


def document_name(digest: str) -> str:
    """Return where the document of a digest is."""
    return f"upstream/documents/{digest}.json"


def main(arguments: list[str] | None = None) -> int:
    """Check one bundle, say what it shows, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle")
    parser.add_argument("--vkey", action="append", required=True)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args(arguments)
    try:
        logs = [receipt.Key(line, 1) for text in given.vkey for line in text.split("\n") if line.strip()]
    except receipt.FailedError as error:
        parser.error(f"a public key is malformed: {error}")
    if not logs:
        parser.error("--vkey: expected a public key")
    try:
        facts = check_bundle(given.bundle, logs)
    except (receipt.FailedError, receipt.CannotCheckError, OSError) as error:
        failed = isinstance(error, receipt.FailedError)
        sys.stderr.write(f"{'does not verify' if failed else 'cannot be checked'}: {error}\n")
        return FAILED if failed else CANNOT_CHECK
    if given.json:
        sys.stdout.write(json.dumps({"verdict": "verified", **facts}, indent=2) + "\n")
    else:
        text = "verified under the given key\nbundle of {records} predictions in {files} files, given out at {time}\n"
        if "report" in facts:
            text = "verified under the given key\nreport {kind} {id}: {title}\n".format(**facts["report"])
            text += "{records} records, {entries} entries and {quotes} quotes proven,".format(**facts | facts["report"])
            text += " in {files} files, given out at {time}\n"
        text += "entry {index} of the log of {origin} at tree size {tree_size}\n"
        sys.stdout.buffer.write(text.format(**facts).encode())
    return VERIFIED


if __name__ == "__main__":
    sys.exit(main())
