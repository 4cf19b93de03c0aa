# ruff: noqa: PLR2004  the formats' numbers stand where they are used: this file is read next to the specifications
"""Checks proofs of membership of Backstory without Backstory: this file, `verify_receipt.py` beside it, Python 3.9.

    python verify_membership.py FILE --vkey KEY [--json]

FILE        a proof that a row or a person is in a dataset version or in the training set of a model, or is not
--vkey      the log's public key, `name+id+base64`, got from somewhere else than FILE; repeated where the log changed
            its key: then each may end with ` from SIZE` and ` until SIZE`, the tree sizes it speaks for

Exit code 0: verified; read which way. 20: does not verify. 21: cannot be checked, which says nothing about it. 2: asked
wrongly.
It shows that the holder of the log's key committed to a set of rows or persons, which the digest names, and that the
one in the file is in it or is not. It does not show that the set holds all it should, nor anything of rows that are
only similar, of values that were computed from a person's before, or of data outside the archive. A person is who has
exactly the id in the file: compare it letter by letter.

It is meant to be read from the top, next to docs/format.md, section "Membership proofs"; besides: RFC 9381, section
5.5, suite ECVRF-EDWARDS25519-SHA512-TAI. What notes, rows and points are, `verify_receipt.py` knows.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import json
import sys
from pathlib import Path
from typing import Any, Optional

sys.path.insert(0, str(Path(__file__).resolve().parent))  # `python -I` does not look beside the program
receipt: Any = importlib.import_module("verify_receipt")

Json = Any  # what JSON can hold
Point = Any  # of the curve, in extended coordinates
MAGIC, FILE_MAX = b'{"backstory":"membership",', 16 << 20
KINDS = {"source.fixed": "dataset", "model.registered": "model"}
VERIFIED, FAILED, CANNOT_CHECK = 0, 20, 21
ZERO = (0, 1, 1, 0)


def check_file(data: bytes, logs: list[Any]) -> dict[str, Json]:
    """Check a file: the facts it proves, or an error if anything is wrong."""
    if not data.startswith(MAGIC):
        raise receipt.CannotCheckError("this is no proof of membership: its beginning is not that of one")
    receipt.need(len(data) <= FILE_MAX, "the file is too large")
    file = receipt.from_json(data)
    receipt.check_version(file, "file")
    of = "row" if "row" in file else "subject"
    receipt.need_members(file, " ".join(sorted(["backstory", "claim", "document", "leaves", "log", "v", of])))
    receipt.need(file["claim"] in ["present", "absent"], "it says neither present nor absent")
    asked = receipt.need_members(file[of], "leaf row schema" if of == "row" else "proof text")
    leaves, document_bytes = read_leaves(file["leaves"]), receipt.from_base64(file["document"])
    if of == "row":
        row, schema = receipt.from_base64(asked["row"]), receipt.from_base64(asked["schema"])
        leaf = hashlib.sha256(b"\x00" + row).digest()
        receipt.need(receipt.from_hex(asked["leaf"]) == leaf, "its row is not the one whose hash stands beside it")
    else:
        receipt.need(isinstance(asked["text"], str), "the id of the person is no text")
        proof = receipt.from_hex(asked["proof"], 160)
    index, entry, log = check_entry(file["log"], logs)  # 1, 2
    kind = KINDS[entry["type"]]
    digest = hashlib.sha256(document_bytes).digest()
    receipt.need(digest == receipt.from_hex(entry.get(kind)), "its document is not the one its entry names")  # 3
    document = receipt.from_json(document_bytes)
    receipt.check_version(document, "document")
    if of == "row":  # 4, 5
        is_sorted = kind == "dataset" and document.get("personal") is not True and "sorted" in document
        receipt.need(is_sorted, "its document has no sorted root of rows")
        count, root = receipt.log_number(document.get("rows")), receipt.from_hex(document["sorted"])
        values: Optional[dict[str, Json]] = read_row(row, schema, document.get("schema"))  # noqa: UP045  Python 3.9
    else:
        count, root, leaf = read_tree(document if kind == "dataset" else document.get("training"), asked["text"], proof)
        values = None
    for one in leaves:  # 6
        node = one["leaf"] if of == "row" else hashlib.sha256(b"\x00" + one["leaf"]).digest()
        check_path(node, one["index"], count, one["path"], root)
    shown = shows(file["claim"], leaf, leaves, count, root)
    receipt.need(shown, f"its leaves do not show that what is asked about is {file['claim']}")  # 7
    named = {"name": document.get("name"), "time": entry.get("time"), "version": entry.get("version")}
    needed = ["name", "time", "version"] if kind == "model" else ["name", "time"]
    receipt.need(all(isinstance(named[name], str) for name in needed), "what it is about has no name or time")
    return {
        "claim": file["claim"],
        "count": str(count),
        "digest": digest.hex(),
        "kind": kind,
        "leaf_index": index,
        "name": named["name"],
        "origin": log["origin"],
        "root": log["root"].hex(),
        "row": values,
        "subject": None if of == "row" else asked["text"],
        "time": named["time"],
        "tree_size": log["size"],
        "version": named["version"] if kind == "model" else None,
    }


def read_leaves(value: Json) -> list[dict[str, Json]]:
    """Read the leaves: number, 32 bytes, and the hashes beside the way to the root."""
    receipt.need(isinstance(value, list) and len(value) <= 2, "expected at most two leaves")
    leaves = []
    for item in value:
        members = receipt.need_members(item, "index leaf path")
        receipt.need(isinstance(members["path"], list) and len(members["path"]) <= 63, "a malformed path")
        path = [receipt.from_hex(node) for node in members["path"]]
        leaf = receipt.from_hex(members["leaf"])
        leaves.append({"index": receipt.log_number(members["index"]), "leaf": leaf, "path": path})
    return leaves


def check_entry(text: Json, logs: list[Any]) -> tuple[int, dict[str, Json], dict[str, Json]]:
    """Make checks 1 and 2: the entry (`extra` of a `.tlog-proof`) is in the log that the key speaks for."""
    receipt.need(
        isinstance(text, str) and text.startswith(receipt.PROOF_MAGIC.decode()), "expected a proof of an entry"
    )
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
    receipt.need(entry.get("type") in list(KINDS), "its entry names neither a dataset version nor a model version")
    receipt.check_version(entry, "entry")
    return index, entry, log


def read_row(row: bytes, schema: bytes, digest: Json) -> dict[str, Json]:
    """Read the values of a row under the names in the dataset's schema (section 4), in byte order."""
    receipt.need(hashlib.sha256(schema).hexdigest() == digest, "its schema is not the one its document names")
    document = receipt.from_json(schema)
    receipt.check_version(document, "schema")
    columns = document.get("columns")
    receipt.need(isinstance(columns, list), "a malformed schema")
    names: list[Json] = [one.get("name") if isinstance(one, dict) else None for one in columns or []]
    receipt.need(all(isinstance(name, str) for name in names), "a malformed schema")
    values = receipt.named_values(row, sorted(names, key=str.encode))
    return {name: receipt.plain(value) for name, value in values.items()}


def read_tree(holder: Json, text: str, proof: bytes) -> tuple[int, bytes, bytes]:
    """Return size and root of a tree of persons, and the one leaf that the person of an id can have in it."""
    receipt.need(isinstance(holder, dict) and holder.get("subjects") is not None, "it has no tree of persons")
    tree = receipt.need_members(holder["subjects"], "count key root")
    count, key, root = receipt.count_of(tree["count"]), receipt.from_hex(tree["key"]), receipt.from_hex(tree["root"])
    content = {name: value for name, value in holder.items() if name not in {"root", "subjects"}}
    written = json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()  # its members are in order
    message = b"backstory/subject/v1\x00" + hashlib.sha256(written).digest() + text.encode()
    output = check_vrf(key, message, proof)
    receipt.need(count < 2**63, "expected a number below 2^63")
    return count, root, output[:32]


def check_path(digest: bytes, index: int, size: int, path: list[bytes], root: bytes) -> None:
    """Insist that a leaf hash is in a tree (RFC 6962 section 2.1.1): exactly as many hashes as it takes."""
    receipt.need(index < size, "an index is outside its tree")
    node, last = index, size - 1
    for sibling in path:
        receipt.need(last > 0, "a path is too long")
        if node & 1 or node == last:
            digest = hashlib.sha256(b"\x01" + sibling + digest).digest()
            while node and not node & 1:
                node, last = node >> 1, last >> 1
        else:
            digest = hashlib.sha256(b"\x01" + digest + sibling).digest()
        node, last = node >> 1, last >> 1
    receipt.need(last == 0, "a path is too short")
    receipt.need(digest == root, "a path leads to another root")


def shows(claim: str, leaf: bytes, leaves: list[dict[str, Json]], count: int, root: bytes) -> bool:
    """Say whether leaves of a sorted tree show that one is there, or that there is no room for it."""
    if claim == "present":
        return len(leaves) == 1 and bool(leaves[0]["leaf"] == leaf)
    if not leaves:
        return count == 0 and root == hashlib.sha256(b"").digest()
    first, last = leaves[0], leaves[-1]
    if len(leaves) == 2:
        return bool(last["index"] == first["index"] + 1 and first["leaf"] < leaf < last["leaf"])
    before_all, behind_all = first["index"] == 0 and leaf < first["leaf"], first["index"] == count - 1
    return bool(before_all or (behind_all and leaf > first["leaf"]))


# --- The verifiable random function: RFC 9381 -------------------------------------------------------------------------


def check_vrf(public: bytes, message: bytes, proof: bytes) -> bytes:
    """Return what the function gives for a message, after checking the proof of it (sections 5.3 and 5.4.5)."""
    key, gamma = receipt.decode_point(public), receipt.decode_point(proof[:32])
    receipt.need(key and gamma and written(times(8, key)) != written(ZERO), "a malformed key or proof of the function")
    c, s = int.from_bytes(proof[32:48], "little"), int.from_bytes(proof[48:], "little")
    receipt.need(s < receipt.L, "a malformed proof of the function")
    hashed = hash_to_curve(public, message)
    u = receipt.add_points(times(s, receipt.BASE), times(c, minus(key)))
    v = receipt.add_points(times(s, hashed), times(c, minus(gamma)))
    given = public + written(hashed) + proof[:32] + written(u) + written(v)
    challenge = hashlib.sha512(b"\x03\x02" + given + b"\x00").digest()[:16]
    receipt.need(challenge == proof[32:48], "the proof of the function is not of this key and person")
    return hashlib.sha512(b"\x03\x03" + written(times(8, gamma)) + b"\x00").digest()


def hash_to_curve(public: bytes, message: bytes) -> Point:
    """Return the first point that hashes of a message give (section 5.4.1.1)."""
    for attempt in range(256):
        digest = hashlib.sha512(b"\x03\x01" + public + message + bytes([attempt]) + b"\x00").digest()
        point = receipt.decode_point(digest[:32])
        if point and written(times(8, point)) != written(ZERO):
            return times(8, point)
    raise receipt.FailedError("the function gives nothing for this person")


def times(number: int, point: Point) -> Point:
    """Multiply a point."""
    total = ZERO
    for bit in range(number.bit_length() - 1, -1, -1):
        total = receipt.add_points(total, total)
        total = receipt.add_points(total, point) if number >> bit & 1 else total
    return total


def minus(point: Point) -> Point:
    """Return the point that adds up to nothing with another."""
    return receipt.P - point[0], point[1], point[2], receipt.P - point[3]


def written(point: Point) -> bytes:
    """Write a point (RFC 8032 section 5.1.2)."""
    inverse = pow(point[2], receipt.P - 2, receipt.P)
    x, y = point[0] * inverse % receipt.P, point[1] * inverse % receipt.P
    data: bytes = (y | (x & 1) << 255).to_bytes(32, "little")
    return data


# --- The command ------------------------------------------------------------------------------------------------------


def describe(facts: dict[str, Json]) -> str:
    """Describe what a file proves for a reader."""
    of_row = facts["subject"] is None
    where = "dataset {name}" if facts["kind"] == "dataset" else "training set of model {name}:{version}"
    lines = [
        "verified under the given key",
        facts["claim"] + (": row" if of_row else f": person {facts['subject']}"),
        f"{where}, digest {{digest}}, {int(facts['count']):,} {'rows' if of_row else 'persons'}".format(**facts),
        "in the log of {origin} at tree size {tree_size}, entry {leaf_index} of {time}, root {root}".format(**facts),
        *(f"  {name} = {value}" for name, value in (facts["row"] or {}).items()),
    ]
    return "\n".join("".join(c if c.isprintable() else repr(c)[1:-1] for c in line) for line in lines)


def main(arguments: Optional[list[str]] = None) -> int:  # noqa: UP045
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
