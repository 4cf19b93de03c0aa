# ruff: noqa: PLR2004  the formats' numbers stand where they are used: this file is read next to the specification
"""Checks evidence bundles of Backstory without Backstory: this file, `verify_receipt.py` beside it, Python 3.9.

    python check_bundle.py BUNDLE.zip --vkey KEY [--json]

--vkey      the log's public key, `name+id+base64`, got from somewhere else than the bundle; repeated where the log
            changed its key: then each may end with ` from SIZE` and ` until SIZE`, the tree sizes it speaks for

Exit code 0: verified. 20: does not verify; the file that does not is named. 21: cannot be checked, which says nothing
about it. 2: asked wrongly.
It shows that the bundle is, byte for byte, what the log says was given out, that its records and what they stand on are
in the log, and that records.jsonl says what the receipts prove. It does not show that what was recorded was true, nor
that the bundle holds all the auditor should have got.

It is meant to be read from the top, next to docs/format.md, section "Bundles". What notes, paths, rows and receipts
are, `verify_receipt.py` knows.
"""

from __future__ import annotations

import argparse
import errno
import hashlib
import importlib
import json
import re
import struct
import sys
import zipfile
import zlib
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))  # `python -I` does not look beside the program
receipt: Any = importlib.import_module("verify_receipt")

Json = Any
MANIFEST, PROOF, RECORDS, ROWS = "manifest.json", "bundle.tlog-proof", "records.jsonl", "upstream/rows.json"
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}(/[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}){0,3}")
FILES_MAX, SMALL_MAX, TOTAL_MAX, REGULAR_FILE = 65_535, 64 << 20, 1 << 40, 0o100644 << 16
VERIFIED, FAILED, CANNOT_CHECK = 0, 20, 21
DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, ValueError, struct.error)


def check_bundle(path: str, logs: list[Any]) -> dict[str, Json]:
    """Check a bundle: the facts about it, or an error that names the file that is wrong."""
    with open(path, "rb") as file:  # noqa: PTH123
        if file.read(4) != b"PK\x03\x04":
            raise receipt.CannotCheckError("this is no bundle: its beginning is not that of a zip file")
    try:
        with zipfile.ZipFile(path) as archive:
            return Bundle(archive, logs).check()
    except (zipfile.BadZipFile, NotImplementedError, ArithmeticError, ValueError, struct.error) as error:
        raise receipt.FailedError("the zip file is damaged") from error
    except (LookupError, TypeError, AttributeError, RecursionError) as error:
        raise receipt.FailedError("something is not of the form it must have") from error
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        raise receipt.FailedError("the zip file is damaged") from error  # it names a place before its beginning


class Bundle:
    """A bundle that is being checked."""

    def __init__(self, archive: zipfile.ZipFile, logs: list[Any]) -> None:
        self.archive, self.logs, self.origin = archive, logs, ""
        self.members: dict[str, zipfile.ZipInfo] = {}
        self.named: set[str] = set()  # digests that something proven names
        self.rows: dict[str, list[dict[str, Json]]] = {}

    def check(self) -> dict[str, Json]:
        """Make the checks, in the order of the section."""
        self.check_members()  # 1
        index, entry, log = self.prove(PROOF)  # 2
        receipt.need(entry.get("type") == "bundle.exported", f"{PROOF}: its entry is of something else")
        self.origin = log["origin"]
        manifest = self.check_manifest(entry)  # 3
        self.check_files(manifest)  # 4
        self.read_rows()
        self.check_records(receipt.count_of(manifest["records"]))  # 5
        self.check_upstream()  # 6
        receipt.need(not self.rows, f"{ROWS}: a row is of a prediction that has no receipt here")
        return {
            "files": len(manifest["files"]),
            "index": index,
            "manifest": entry["manifest"],
            "origin": self.origin,
            "question": manifest["question"],
            "records": manifest["records"],
            "time": manifest["time"],
            "tree_size": log["size"],
        }

    def check_members(self) -> None:
        """Check 1: the zip file holds files of plain names, each once, and nothing else."""
        members = self.archive.infolist()
        receipt.need(len(members) <= FILES_MAX and not self.archive.comment, "the zip file has too much in it")
        for member in members:
            name = member.filename
            shown = repr(name[:200])
            receipt.need(
                member.orig_filename == name and NAME.fullmatch(name), f"{shown}: no name of a file in a bundle"
            )
            receipt.need(name not in self.members, f"{shown}: it is there twice")
            plain = member.compress_type in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED} and not member.flag_bits & ~0x6
            receipt.need(plain and member.external_attr == REGULAR_FILE, f"{shown}: it is not a plain file")
            self.members[name] = member

    def prove(self, name: str) -> tuple[int, dict[str, Json], dict[str, Json]]:
        """Check 2: a log entry (`extra`) is in the log that the key speaks for."""
        try:
            head, separator, note = self.read(name).partition(b"\n\n")
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
        except receipt.FailedError as error:
            raise receipt.FailedError(f"{name}: {error}") from error
        return index, entry, log

    def check_manifest(self, entry: dict[str, Json]) -> dict[str, Json]:
        """Check 3: the manifest is the one whose digest is in the log."""
        data = self.read(MANIFEST)
        receipt.need(hashlib.sha256(data).hexdigest() == entry.get("manifest"), f"{MANIFEST}: it was changed")
        manifest: dict[str, Json] = receipt.from_json(data)
        receipt.check_version(manifest, "manifest")
        receipt.need_members(manifest, "backstory files log question records time v")
        receipt.need(manifest["backstory"] == "bundle", f"{MANIFEST}: it is of something else")
        receipt.need(manifest["records"] == entry.get("records"), f"{MANIFEST}: it has another number of records")
        return manifest

    def check_files(self, manifest: dict[str, Json]) -> None:
        """Check 4: exactly the files of the manifest are there, each with its size and digest."""
        receipt.need(isinstance(manifest["files"], list), f"{MANIFEST}: expected a list of files")
        sizes: dict[str, int] = {}
        for file in manifest["files"]:
            receipt.need_members(file, "name sha256 size")
            receipt.need(isinstance(file["name"], str) and file["name"] not in sizes, f"{MANIFEST}: a malformed name")
            receipt.from_hex(file["sha256"])
            sizes[file["name"]] = receipt.count_of(file["size"])
        for name in sorted(self.members.keys() - sizes.keys() - {MANIFEST, PROOF}):
            raise receipt.FailedError(f"{name}: the manifest does not list it")
        for name in sorted(sizes.keys() - self.members.keys()):
            raise receipt.FailedError(f"{name}: it is missing")
        receipt.need(sum(sizes.values()) <= TOTAL_MAX, f"{MANIFEST}: the files are too large")
        for file in manifest["files"]:
            name = file["name"]
            receipt.need(self.members[name].file_size == sizes[name], f"{name}: it has another size")
            receipt.need(self.digest(name, sizes[name]) == file["sha256"], f"{name}: it was changed")

    def check_records(self, count: int) -> None:
        """Check 5: every receipt, and that the lines of records.jsonl say what the receipts prove."""
        found = 0
        with self.archive.open(RECORDS) as lines:
            for name in sorted(name for name in self.members if name.startswith("receipts/")):
                try:
                    records = receipt.check_file(self.read(name, receipt.FILE_MAX), self.logs, [], 0)
                except receipt.FailedError as error:
                    raise receipt.FailedError(f"{name}: {error}") from error
                for facts in records:
                    self.need_origin(name, facts["origin"])
                    line = lines.readline(SMALL_MAX)
                    receipt.need(line[-1:] == b"\n", f"{RECORDS}: line {found + 1} is missing or cut short")
                    said = {key: value for key, value in facts.items() if key != "witnesses"}
                    receipt.need(
                        receipt.from_json(line[:-1]) == said, f"{RECORDS}: line {found + 1} is not what is proven"
                    )
                    self.named.update(digests_in(facts["context"]))
                    self.named.add(facts["values"]["context"])
                    self.check_rows(facts)
                    found += 1
            receipt.need(not lines.read(1), f"{RECORDS}: it has a record without a receipt")
        receipt.need(found == count, f"{MANIFEST}: it says {count} records, the receipts are of {found}")

    def read_rows(self) -> None:
        """Read the rows of sources that predictions were made from, where there are any."""
        for row in receipt.from_json(self.read(ROWS))["rows"] if ROWS in self.members else []:
            receipt.need_members(row, "dataset index path prediction reference row")
            self.rows.setdefault(row["prediction"], []).append(row)

    def check_rows(self, facts: dict[str, Json]) -> None:
        """Check 6: a row is the one a prediction names, and is in the source under the root of its document."""
        for row in self.rows.pop(facts["id"], []):
            name, index = row["reference"], receipt.count_of(row["index"])
            parts = facts["context"]["refs"][name]["parts"]
            first = [receipt.count_of(part["first"]) for part in parts if part["dataset"] == row["dataset"]]
            position = str(facts["values"].get("row." + receipt.escape(name)))
            receipt.need(position in [str(start + index) for start in first], f"{ROWS}: a row is not the prediction's")
            document = receipt.from_json(self.read(document_name(row["dataset"])))
            path = [receipt.from_hex(text) for text in row["path"]]
            root, count = receipt.from_hex(document["root"]), receipt.count_of(document["rows"])
            try:
                receipt.check_inclusion(receipt.from_base64(row["row"]), index, count, path, root)
            except receipt.FailedError as error:
                raise receipt.FailedError(f"{ROWS}: a row of {name}: {error}") from error

    def check_upstream(self) -> None:
        """Check 6: entries are in the log, and each document is of the digest that something proven names."""
        for name in sorted(name for name in self.members if name.startswith("upstream/entries/")):
            index, entry, log = self.prove(name)
            receipt.need(name == f"upstream/entries/{index}.tlog-proof", f"{name}: it is of another entry")
            self.need_origin(name, log["origin"])
            self.named.update(digests_in(entry))
        documents = {name for name in self.members if name.startswith("upstream/documents/")}
        ready = documents & set(map(document_name, self.named))
        while ready:
            name = ready.pop()
            documents.remove(name)
            data = self.read(name)
            receipt.need(document_name(hashlib.sha256(data).hexdigest()) == name, f"{name}: it has another digest")
            ready |= documents & set(map(document_name, digests_in(receipt.from_json(data))))
        for name in sorted(documents):
            raise receipt.FailedError(f"{name}: nothing that is proven names it")

    def need_origin(self, name: str, origin: str) -> None:
        """Insist that a file is of the log the bundle is of."""
        receipt.need(origin == self.origin, f"{name}: it is of another log")

    def read(self, name: str, most: int = SMALL_MAX) -> bytes:
        """Read a file that must be there."""
        receipt.need(name in self.members, f"{name}: it is missing")
        receipt.need(self.members[name].file_size <= most, f"{name}: it is too large")
        try:
            with self.archive.open(name) as file:
                data = file.read(most + 1)
        except DAMAGED as error:
            raise receipt.FailedError(f"{name}: it is damaged") from error
        receipt.need(len(data) <= most, f"{name}: it is too large")
        return data

    def digest(self, name: str, size: int) -> str:
        """Return the SHA-256 of a file, of which no more is unpacked than it should have."""
        digest, left = hashlib.sha256(), size
        try:
            with self.archive.open(name) as file:
                while left >= 0:
                    data = file.read(min(left + 1, 1 << 20))
                    if not data:
                        return digest.hexdigest()
                    digest.update(data)
                    left -= len(data)
        except DAMAGED as error:
            raise receipt.FailedError(f"{name}: it is damaged") from error
        raise receipt.FailedError(f"{name}: it is larger than it should be")


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
        text += "entry {index} of the log of {origin} at tree size {tree_size}\n"
        sys.stdout.buffer.write(text.format(**facts).encode())
    return VERIFIED


if __name__ == "__main__":
    sys.exit(main())
