# ruff: noqa: PLR2004  the formats' numbers stand where they are used: this file is read next to the specifications
"""Checks certificates of erasures of Backstory without Backstory: this file, `verify_receipt.py` beside it, Python 3.9.

    python check_erasure.py FILE --vkey KEY [--json]

FILE        what whoever answers for an archive gave a person who was erased from it
--vkey      the log's public key, `name+id+base64`, got from somewhere else than FILE; repeated where the log changed
            its key: then each may end with ` from SIZE` and ` until SIZE`, the tree sizes it speaks for

Exit code 0: verified; read whether it was all of it. 20: does not verify. 21: cannot be checked, which says nothing
about it. 2: asked wrongly.
It shows that the holder of the log's key said in the log that the records and rows in the file were erased, when and on
which ground. It does not show that no copy is left anywhere, nor that the file names all there was about a person.

It is meant to be read from the top, next to docs/format.md, section "Erasure and tombstones". What notes and proofs
are, `verify_receipt.py` knows.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from pathlib import Path
from typing import Any, Optional

sys.path.insert(0, str(Path(__file__).resolve().parent))  # `python -I` does not look beside the program
receipt: Any = importlib.import_module("verify_receipt")

Json = Any  # what JSON can hold
MAGIC, FILE_MAX, LEAVES_MAX = b'{"backstory":"erasure",', 256 << 20, 1 << 24
GROUNDS = ["request", "consent-withdrawn", "objection", "unlawful", "no-longer-needed", "legal-duty", "child"]
VERIFIED, FAILED, CANNOT_CHECK = 0, 20, 21


def check_file(data: bytes, logs: list[Any]) -> dict[str, Json]:
    """Check a certificate: the facts it proves, or an error if anything is wrong."""
    if not data.startswith(MAGIC):
        raise receipt.CannotCheckError("this is no certificate of an erasure: its beginning is not that of one")
    receipt.need(len(data) <= FILE_MAX, "the file is too large")
    file = receipt.from_json(data)
    receipt.check_version(file, "file")
    receipt.need_members(file, "backstory leaves log v")
    index, entry, log = check_entry(file["log"], logs)  # 1, 2
    leaves, root = check_said(entry)  # 3
    receipt.need(isinstance(file["leaves"], list), "expected a list of leaves")
    erased, before = [], -1
    for item in file["leaves"]:  # 4
        leaf = receipt.need_members(item, "index path salt what")
        number, salt = receipt.count_of(leaf["index"]), receipt.from_hex(leaf["salt"])
        receipt.need(number > before, "expected leaves in order, each once")
        receipt.need(isinstance(leaf["path"], list) and len(leaf["path"]) <= 63, "a malformed path")
        receipt.need(isinstance(leaf["what"], str), "a leaf says nothing")
        content = b"backstory/erasure/v1\x00" + salt + leaf["what"].encode()
        path = [receipt.from_hex(node) for node in leaf["path"]]
        receipt.check_inclusion(content, number, leaves, path, root)
        erased.append(leaf["what"])
        before = number
    return {
        "complete": entry["complete"],
        "erased": erased,
        "ground": entry["ground"],
        "leaf_index": index,
        "origin": log["origin"],
        "partial": entry["partial"],
        "time": entry["time"],
        "tree_size": log["size"],
    }


def check_entry(text: Json, logs: list[Any]) -> tuple[int, dict[str, Json], dict[str, Json]]:
    """Make checks 1 and 2: the entry (`extra` of a `.tlog-proof`) is in the log that the key speaks for."""
    magic = receipt.PROOF_MAGIC.decode()
    receipt.need(isinstance(text, str) and text.startswith(magic), "expected a proof of an entry")
    head, separator, note = text.partition("\n\n")
    lines = head.split("\n")[1:]
    receipt.need(separator and head.isascii() and len(lines) >= 2, "the proof of its entry is cut short")
    receipt.need(lines[0][:6] == "extra " and lines[1][:6] == "index ", "expected lines `extra`, `index`")
    receipt.need(len(lines) <= 2 + 63, "the proof of its entry is too large")
    data, index = receipt.from_base64(lines[0][6:]), receipt.log_number(lines[1][6:])
    proof = [receipt.from_base64(line, 32) for line in lines[2:]]
    log = receipt.check_note(note.encode(), logs, [], 0)
    receipt.check_inclusion(data, index, log["size"], proof, log["root"])
    entry = receipt.from_json(data)
    receipt.check_version(entry, "entry")
    return index, entry, log


def check_said(entry: dict[str, Json]) -> tuple[int, bytes]:
    """Make check 3: the entry says that a person was erased; return how many leaves its tree has, and its root."""
    receipt.need(entry.get("type") == "subject.erased", "its entry is of no erasure")
    receipt.need(entry.get("ground") in GROUNDS, "its entry gives no known ground")
    receipt.need(isinstance(entry.get("time"), str), "its entry has no time")
    receipt.need(
        all(isinstance(entry.get(name), bool) for name in ("complete", "partial", "rekeyed")), "a malformed entry"
    )
    for name in ("counts", "request", "follows"):
        is_absent = name != "counts" and entry.get(name) is None
        receipt.need(is_absent or receipt.from_hex(entry.get(name)), "a malformed entry")
    leaves, values, tables = (receipt.count_of(entry.get(name)) for name in ("leaves", "values", "tables"))
    receipt.need(not any(one & (one - 1) for one in (leaves, values, tables)), "expected powers of two")
    receipt.need(16 <= leaves <= LEAVES_MAX, "expected 16 leaves at least")
    return leaves, receipt.from_hex(entry.get("root"))


# --- The command ------------------------------------------------------------------------------------------------------


def describe(facts: dict[str, Json]) -> str:
    """Describe what a certificate proves for a reader."""
    lines = [
        "verified under the given key",
        "erased by entry {leaf_index} of {time}, ground {ground}".format(**facts),
        "in the log of {origin} at tree size {tree_size}".format(**facts),
    ]
    if not facts["complete"]:
        lines.append(
            "perhaps not all of it: when it was written other processes or workers' spools might still hold records; "
            "if they did, a later entry is about these"
        )
    if facts["partial"]:
        lines.append("not all of it: other records had to be kept, on grounds that the operator owes the person")
    lines += [f"  {what}" for what in facts["erased"]]
    return "\n".join("".join(c if c.isprintable() else repr(c)[1:-1] for c in line) for line in lines)


def main(arguments: Optional[list[str]] = None) -> int:  # noqa: UP045  Python 3.9
    """Check one file, say what it shows, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file")
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
        with open(given.file, "rb") as file:  # noqa: PTH123
            facts = check_file(file.read(FILE_MAX + 1), logs)
    except (receipt.FailedError, receipt.CannotCheckError, OSError) as error:
        failed = isinstance(error, receipt.FailedError)
        sys.stderr.write(f"{'does not verify' if failed else 'cannot be checked'}: {error}\n")
        return FAILED if failed else CANNOT_CHECK
    text = json.dumps({"verdict": "verified", **facts}, indent=2) if given.json else describe(facts)
    sys.stdout.buffer.write(text.encode() + b"\n")
    return VERIFIED


if __name__ == "__main__":
    sys.exit(main())
