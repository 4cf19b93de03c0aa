# ruff: noqa: E401, I001, PLR2004  the formats' numbers stand where they are used: it is read beside the specifications
"""Checks receipts of Backstory without Backstory: this one file, and Python 3.9 or newer with its standard library.

    python verify_receipt.py FILE --vkey KEY [--witness KEY ... [--quorum K]] [--json]

FILE        a receipt of one record (.tlog-proof) or of many (.receipts)
--vkey      the log's public key, `name+id+base64`, got from somewhere else than FILE; repeated where the log changed
            its key: then each may end with ` from SIZE` and ` until SIZE`, the tree sizes it speaks for
--witness   public key of a witness; repeated
--quorum    how many of the witnesses must have cosigned; all, without it

Exit code 0: verified. 20: does not verify. 21: cannot be checked, which says nothing about it. 2: asked wrongly.
It shows that the holder of the log's key committed to this record, and that it is unchanged; not that it was true, and
of the time no more than the witnesses say, whose times are for the reader to judge.

Read it from the top. Sections are those of docs/format.md; besides: C2SP signed-note, tlog-checkpoint,
tlog-cosignature, tlog-proof; RFC 6962, RFC 8032, RFC 8785.
"""

from __future__ import annotations

import argparse, base64, functools, hashlib, json, re, struct, sys, time
from typing import Any

Json = Any  # what JSON can hold
Hashes = list[bytes]
VERIFIED, FAILED, CANNOT_CHECK = 0, 20, 21
PROOF_MAGIC, MANY_MAGIC = b"c2sp.org/tlog-proof@v1\n", b'{"backstory":"receipts",'
FILE_MAX, RECEIPTS_MAX, EXTRA_MAX, NOTE_MAX = 256 << 20, 65_536, 16 << 20, 1_000_000


class FailedError(Exception):
    """Something does not verify, or is malformed."""


class CannotCheckError(Exception):
    """This program cannot tell: the file cannot be read, is no receipt, or is newer than this program."""


def need(condition: object, what: str) -> None:
    """Fail unless a condition holds."""
    if not condition:
        raise FailedError(what)


# --- The checks, in the order of section 14 ---------------------------------------------------------------------------
def check_file(data: bytes, logs: list[Key], witnesses: list[Key], quorum: int) -> list[dict[str, Json]]:
    """Check a file of either kind: the facts of each record, or an error if anything is wrong."""
    if not data.startswith((PROOF_MAGIC, MANY_MAGIC)):
        raise CannotCheckError("this is no receipt: its beginning is not that of one")
    return (check_one if data.startswith(PROOF_MAGIC) else check_many)(data, logs, witnesses, quorum)


def check_one(data: bytes, logs: list[Key], witnesses: list[Key], quorum: int) -> list[dict[str, Json]]:
    """Check a `.tlog-proof`: magic, what is proven, index, hashes; an empty line; the signed checkpoint."""
    head, separator, note = data.partition(b"\n\n")
    need(separator and head.isascii(), "expected ASCII lines, an empty line and a checkpoint")
    lines = head.decode().split("\n")[1:]
    need(len(lines) >= 2 and lines[0][:6] == "extra " and lines[1][:6] == "index ", "expected lines `extra`, `index`")
    extra, index = from_base64(lines[0][6:]), log_number(lines[1][6:])
    need(len(extra) <= EXTRA_MAX and len(lines) <= 2 + 63, "too large")
    proof = [from_base64(line, 32) for line in lines[2:]]
    log = check_note(note, logs, witnesses, quorum)  # 1
    receipt = from_json(extra)
    check_version(receipt, "receipt")
    need_members(receipt, "context entry erased index openings path row schema v", may="erased")
    need(isinstance(receipt["path"], list), "expected a list of hashes")
    context = None if receipt["context"] is None else from_base64(receipt["context"])
    documents = [from_base64(receipt["entry"]), from_base64(receipt["schema"]), context]
    return [check_record(log, index, proof, documents, [from_hex(text) for text in receipt["path"]], receipt)]


def check_many(data: bytes, logs: list[Key], witnesses: list[Key], quorum: int) -> list[dict[str, Json]]:
    """Check a `.receipts`: canonical JSON in which everything that records share stands once."""
    need(len(data) <= FILE_MAX, "the file is too large")
    file = from_json(data)
    check_version(file, "file")
    need_members(file, "backstory contexts entries nodes note receipts schemas v")
    lists = ("contexts", "entries", "nodes", "receipts", "schemas")
    need(isinstance(file["note"], str) and all(isinstance(file[name], list) for name in lists), "a malformed file")
    need(0 < len(file["receipts"]) <= RECEIPTS_MAX, "expected 1 to 65,536 receipts")
    contexts, schemas = (Shared([from_base64(item) for item in file[name]]) for name in ("contexts", "schemas"))
    nodes, entries = Shared([from_base64(item, 32) for item in file["nodes"]]), Shared(file["entries"])
    log = check_note(file["note"].encode(), logs, witnesses, quorum)  # 1
    facts, known, last = list[Json](), list[tuple[int, list[bytes], bytes]](), (-1, -1)
    for receipt in file["receipts"]:
        try:
            need_members(receipt, "context entry erased index openings path row schema", may="erased")
            entry = entries.take(receipt["entry"])
            if receipt["entry"] == len(known):
                need_members(entry, "entry index proof")
                proof = nodes.take_hashes(entry["proof"])
                known.append((log_number(entry["index"]), proof, from_base64(entry["entry"])))
            index, proof, manifest = known[receipt["entry"]]
            context = None if receipt["context"] is None else contexts.take(receipt["context"])
            documents = [manifest, schemas.take(receipt["schema"]), context]
            last, before = (index, count_of(receipt["index"])), last
            need(last > before, "expected the records in the order of the log, each once")
            path = nodes.take_hashes(receipt["path"])
            facts.append(check_record(log, index, proof, documents, path, receipt))
        except FailedError as error:
            raise FailedError(f"receipt {len(facts)} of the file: {error}") from error
    need(all(s.taken == len(s.items) for s in (contexts, entries, nodes, schemas)), "something is of no record")
    return facts


def check_record(log: Json, leaf_index: int, proof: Hashes, documents: Json, path: Hashes, receipt: Json) -> Json:
    """Make checks 2 to 7 for one record; of its documents the context may be None: left out."""
    entry, schema_bytes, context = documents
    row, index = from_base64(receipt["row"]), count_of(receipt["index"])
    need(isinstance(receipt["openings"], dict), "expected openings by group")
    openings = {group: read_opening(opening) for group, opening in receipt["openings"].items()}
    erased = receipt.get("erased", [])
    need(isinstance(erased, list) and all(isinstance(group, str) for group in erased), "expected a list of groups")
    need(erased == sorted(set(erased), key=str.encode) and (erased or "erased" not in receipt), "groups out of order")
    check_inclusion(entry, leaf_index, log["size"], proof, log["root"])  # 2
    manifest = read_manifest(entry)
    need(hashlib.sha256(schema_bytes).hexdigest() == manifest["schema"], "its schema is not the manifest's")  # 3
    leaf_names, groups, by_field = read_schema(schema_bytes)
    check_inclusion(row, index, manifest["count"], path, bytes.fromhex(manifest["root"]))  # 4
    values = named_values(row, leaf_names)
    seq, stream = manifest["first_seq"] + index, manifest["stream"]
    need(type(values.get("seq")) is int and values["seq"] == seq, "its seq is not that of its place")  # 5
    need(values.get("stream") == bytes.fromhex(stream), "its stream is not that of its place")
    need(context is None or hashlib.sha256(context).digest() == values.get("context"), "it has another context")  # 6
    opened, hidden = {}, {}
    for group, (fields, leaves) in openings.items():  # 7
        commitment, names = values.get("commitment." + escape(group)), groups.get(group, [])
        need(names and isinstance(commitment, bytes), "it opens a group the record does not have")
        need((group in by_field) is (leaves is not None), "it opens a group in another way than it is committed to")
        need(commit(group, names, fields, leaves) == commitment, "an opening is not what was committed to")
        rows = [named_values(cells, names if leaves is None else [name]) for name, (_, cells) in fields.items()]
        opened[group] = {column: plain(value) for cells in rows for column, value in cells.items()}
        hidden[group] = [name for name in names if name not in opened[group]]
    need(set(erased) <= set(groups) - set(opened), "it says that something was erased which it opens, or does not have")
    identity = values.get("id", b"")
    need(isinstance(identity, bytes) and len(identity) == 16, "its id is none")
    shown = {name: plain(value) for name, value in values.items() if not name.startswith("commitment.")}
    return {
        "context": None if context is None else from_json(context), "erased": erased, "opened": opened,
        "id": re.sub("^(.{8})(.{4})(.{4})(.{4})", r"\1-\2-\3-\4-", identity.hex()), "origin": log["origin"],
        "root": log["root"].hex(), "sealed": [group for group in groups if group not in opened], "seq": str(seq),
        "stream": stream, "tree_size": log["size"], "undisclosed": {g: names for g, names in hidden.items() if names},
        "values": shown, "witnesses": log["witnesses"], "leaf_index": leaf_index,
    }  # fmt: skip


def read_opening(opening: Json) -> tuple[dict[str, tuple[bytes, bytes]], list[bytes] | None]:
    """Read an opening: salt and row of the group under "", or of its opened columns, and the leaves of the others."""
    leaves = opening.get("leaves") if isinstance(opening, dict) and "fields" in opening else None
    fields = {"": opening} if leaves is None else need_members(opening, "fields leaves")["fields"]
    need(
        isinstance(fields, dict) and fields and (leaves is None or isinstance(leaves, list)), "an opening opens nothing"
    )
    pairs = [(name, need_members(one, "row salt")) for name, one in fields.items()]
    read = {name: (from_hex(one["salt"]), from_base64(one["row"])) for name, one in pairs}
    return read, None if leaves is None else [from_hex(leaf) for leaf in leaves]


def commit(group: str, names: list[str], fields: dict[str, tuple[bytes, bytes]], leaves: list[bytes] | None) -> bytes:
    """Compute the commitment that an opening opens (section 5)."""
    name = group.encode()
    need(0 < len(name) <= 255, "the name of a group is too long")
    sized, leaf = bytes([len(name)]) + name, {of: b"\x00" + salt + row for of, (salt, row) in fields.items()}
    if leaves is None:
        return hashlib.sha256(b"backstory/commitment/v1\x00" + sized + leaf[""][1:]).digest()
    need(set(fields) <= set(names) and len(fields) + len(leaves) == len(names), "it opens other columns than there are")
    level = [hashlib.sha256(leaf[name]).digest() if name in leaf else leaves.pop(0) for name in names]
    while len(level) > 1:  # a last one without a neighbour moves up
        pairs = [hashlib.sha256(b"\x01" + level[at] + level[at + 1]).digest() for at in range(0, len(level) - 1, 2)]
        level = pairs + level[2 * len(pairs) :]
    return hashlib.sha256(b"backstory/commitment/v2\x00" + sized + struct.pack("<I", len(names)) + level[0]).digest()


# --- The log: notes, cosignatures, inclusion --------------------------------------------------------------------------
def check_note(data: bytes, logs: list[Key], witnesses: list[Key], quorum: int) -> dict[str, Json]:
    """Check 1: what the log signed (signed-note, tlog-checkpoint), and who cosigned it (tlog-cosignature)."""
    need(len(data) <= NOTE_MAX, "the note is too large")
    content = decode_utf8(data)
    text, separator, tail = content.rpartition("\n\n")  # the last empty line parts text and signatures
    need(separator and tail.endswith("\n"), "expected a note with signature lines")
    need(not re.search("[\x00-\x09\x0b-\x1f]", content) and content[0] != "\ufeff", "the note has control characters")
    lines, text = tail[:-1].split("\n"), text + "\n"
    need(len(lines) <= 100, "too many signatures")
    signed = [re.fullmatch("\u2014 ([^ ]+) ([^ ]+)", line) for line in lines]  # em dash, name, base64 of id, signature
    need(all(signed), "expected signature lines")
    blobs = [(check_name(line[1]), from_base64(line[2])) for line in signed if line]
    signatures = [(name, blob[:4], blob[4:]) for name, blob in blobs]
    need(all(signature for _, _, signature in signatures), "a signature is too short")
    parts = text.split("\n")
    need(len(parts) == 4 and not parts[3], "expected a checkpoint of three lines")
    origin, size, root = check_name(parts[0]), log_number(parts[1]), from_base64(parts[2], 32)
    need(size or root == hashlib.sha256(b"").digest(), "an empty log has another root")
    own = {(key.name, key.id): key for key in logs if key.name == origin}
    others = {(key.name, key.id): key for key in witnesses}
    named = [line[:2] for line in signatures if line[:2] in own or line[:2] in others]
    need(len(set(named)) == len(named), "a key has two signatures")
    seen = {}
    for name, key_id, signature in signatures:  # lines of unknown keys are passed over; all others must hold
        if (name, key_id) in own:
            key = own[name, key_id]
            need(is_ed25519(key.public, text.encode(), signature), "the log's signature does not hold")
        elif (name, key_id) in others:
            key, moment = others[name, key_id], int.from_bytes(signature[:8], "big")
            message = f"cosignature/v1\ntime {moment}\n{text}".encode()
            need(moment < 2**63 and is_ed25519(key.public, message, signature[8:]), "a cosignature does not hold")
            if name != origin and key.public not in [one.public for one in own.values()]:  # no log is its own witness
                seen[key.text] = str(moment)
    need(set(named) & own.keys(), "no signature is by the given key")
    speaks = [key for key in logs if (key.name, key.id) in named and key.first <= size <= key.last]
    need(speaks, "the key that signed does not speak for a tree of this size")
    need(len(seen) >= quorum, f"expected cosignatures of {quorum} witnesses, got {len(seen)}")
    who = [{"time": seen[text], "vkey": text} for text in sorted(seen, key=str.encode)]
    return {"origin": origin, "size": size, "root": root, "witnesses": who if witnesses else None}


def check_name(name: str) -> str:
    """Insist on a name of a key or log: no space and no plus sign in it; here at most 255 bytes."""
    data = name.encode("utf-8", "replace")  # a name that was typed may hold what is no UTF-8
    need(0 < len(data) <= 255 and data.decode() == name, "a name is empty, too long or not UTF-8")
    need(not any(c.isspace() or c < " " or c in "+\ufeff" for c in name), "a name has spaces or plus signs")
    return name


def check_inclusion(leaf: bytes, index: int, size: int, path: list[bytes], root: bytes) -> None:
    """Insist that a leaf is in a tree (RFC 6962 section 2.1.1): exactly as many hashes as it takes, to this root."""
    need(index < size, "an index is outside its tree")
    node, last, digest = index, size - 1, hashlib.sha256(b"\x00" + leaf).digest()
    for sibling in path:
        need(last > 0, "a path is too long")
        if node & 1 or node == last:
            digest = hashlib.sha256(b"\x01" + sibling + digest).digest()
            while node and not node & 1:
                node, last = node >> 1, last >> 1
        else:
            digest = hashlib.sha256(b"\x01" + digest + sibling).digest()
        node, last = node >> 1, last >> 1
    need(last == 0, "a path is too short")
    need(digest == root, "a path leads to another root")


# --- What is recorded: manifest, schema, row --------------------------------------------------------------------------
FILE_NAME = re.compile(r"[0-9A-Za-z_-][0-9A-Za-z_.-]{0,254}")
TYPE = re.compile(
    r"null|bool|u?int(8|16|32|64)|float(16|32|64)|string|bytes|date|time|duration"
    r"|timestamp(\[[^\[\]\x00-\x20]{1,64}\])?|decimal\([0-9]{1,2},-?[0-9]{1,2}\)"
)


def read_manifest(entry: bytes) -> dict[str, Json]:
    """Read an entry `segment.sealed` (section 12)."""
    manifest = from_json(entry)
    need(manifest.get("type") == "segment.sealed", "its entry is not a manifest")
    check_version(manifest, "manifest")
    need(all(isinstance(manifest.get(n), str) for n in ("kind", "first_time", "last_time")), "a malformed manifest")
    for name in ("stream", "first_id", "last_id"):
        from_hex(manifest.get(name), 32)
    digests, shard = manifest.get("contexts"), manifest.get("shard")
    need(isinstance(digests, list) and 0 < len(digests or []) <= 256, "a malformed manifest")
    files: list[Json] = [manifest.get("file")] + ([] if shard is None else [shard])
    for file in files:
        need(isinstance(file, dict) and isinstance(file.get("name"), str), "a malformed manifest")
        need(FILE_NAME.fullmatch(file["name"]) is not None, "a file has a name that no file has")
        from_hex(file.get("sha256"))
        count_of(file.get("size"))
    for digest in [manifest.get("schema"), manifest.get("root"), *(digests or [])]:
        from_hex(digest)
    count = count_of(manifest.get("count"))
    need(0 < count <= 1_048_576, "expected 1 to 1,048,576 records in a segment")
    return {**manifest, "count": count, "first_seq": count_of(manifest.get("first_seq"))}


@functools.cache  # of what many records share, once; so too their contexts
def read_schema(data: bytes) -> tuple[list[str], dict[str, list[str]], list[str]]:
    """Read a schema (section 4): names of the cells of a leaf, and of each sealed group; which are opened by field."""
    schema = from_json(data)
    check_version(schema, "schema")
    need_members(schema, "columns fields kind v", may="fields")
    need(isinstance(schema["kind"], str) and isinstance(schema["columns"], list), "a malformed schema")
    names, leaf, groups = list[str](), list[str](), dict[str, list[str]]()
    for column in schema["columns"]:
        need_members(column, "class group name type")
        name, group = column["name"], column["group"]
        need(isinstance(name, str) and (group is None or isinstance(group, str)), "a malformed column")
        need(column["class"] in [f"D{number}" for number in range(8)], "a column has an unknown class")
        check_type(column["type"], 0)
        names.append(name)
        (leaf if group is None else groups.setdefault(group, [])).append(name)
    leaf += ["commitment." + escape(group) for group in groups]
    need(len(set(names)) == len(names) <= 65_535 and len(set(leaf)) == len(leaf), "two columns have one name")
    ordered = {group: sorted(groups[group], key=str.encode) for group in sorted(groups, key=str.encode)}
    by_field = schema.get("fields", [])
    need(isinstance(by_field, list) and (by_field or "fields" not in schema), "expected a list of groups")
    need(by_field == [group for group in ordered if group in by_field], "unknown groups, or not in order")
    return sorted(leaf, key=str.encode), ordered, by_field


def check_type(kind: Json, depth: int) -> None:
    """Insist on a type of section 4: a primitive one, a list, or a struct inside a list."""
    need(depth <= 32, "a type is nested too deep")
    if isinstance(kind, dict) and list(kind) == ["list"]:
        check_type(kind["list"], depth + 1)
    elif isinstance(kind, dict) and list(kind) == ["struct"]:
        need(depth and isinstance(kind["struct"], list) and kind["struct"], "a struct stands where it cannot")
        for field in kind["struct"]:
            need_members(field, "name type")
            need(isinstance(field["name"], str), "a field has no name")
            check_type(field["type"], depth + 1)
        need(len({field["name"] for field in kind["struct"]}) == len(kind["struct"]), "two fields have one name")
    else:
        need(isinstance(kind, str) and TYPE.fullmatch(kind), "an unknown type")


def escape(part: str) -> str:
    """Escape dots and backslashes in a part of a name (section 2, rule 3)."""
    return part.replace("\\", "\\\\").replace(".", "\\.")


def named_values(row: bytes, names: list[str]) -> dict[str, Json]:
    """Read a row (section 2). The names are not in it, but in the schema, in byte order."""
    need(row[:4] == b"BR\x01\x00", "a row begins with something else")
    values = read_cells(row[4:], 0)
    need(len(values) == len(names), "a row has another number of columns than its schema")
    return dict(zip(names, values))  # noqa: B905  `strict` came with Python 3.10


def read_cells(data: bytes, depth: int) -> list[Json]:
    """Read a count, cells of 9 bytes (tag and payload), then what did not fit into them."""
    need(len(data) >= 4 and depth <= 32, "a row is cut short or nested too deep")
    (count,) = struct.unpack("<I", data[:4])
    at, values = 4 + 9 * count, []
    need(at <= len(data) and (depth or count <= 65_535), "a row has too many cells")
    for start in range(4, at, 9):
        tag, payload, content = data[start], data[start + 1 : start + 9], b""
        need(tag != (0x0B if depth else 0x14), "a cell stands where it cannot")
        if 0x10 <= tag <= 0x14:
            (length,) = struct.unpack("<Q", payload)
            need(length <= len(data) - at, "the content of a cell is cut short")
            content, at = data[at : at + length], at + length
        values.append(read_value(tag, payload, content, depth))
    need(at == len(data), "there are bytes behind a row")
    return values


def read_value(tag: int, payload: bytes, content: bytes, depth: int) -> Json:
    """Read the value of a cell; each has one form only."""
    number = int.from_bytes(payload, "little")
    if tag in {0x02, 0x06, 0x07, 0x08, 0x09, 0x0A}:
        return int.from_bytes(payload, "little", signed=True)
    if tag == 0x03:
        return number
    if tag in {0x04, 0x05}:
        (value,) = struct.unpack("<d" if tag == 0x04 else "<f4x", payload)
        only_nan = "000000000000f87f" if tag == 0x04 else "0000c07f00000000"
        need(value == value or payload.hex() == only_nan, "NaN in another form")  # noqa: PLR0124  NaN is not itself
        need(tag == 0x04 or payload[4:] == bytes(4), "a malformed cell")
        return value
    if tag in {0x00, 0x01, 0x0B}:
        need(number <= {0x00: 0, 0x01: 1, 0x0B: 32}[tag], "a malformed cell")
        return number == 1 if tag == 0x01 else None
    if tag == 0x11:
        return content
    if tag in {0x13, 0x14}:
        values = read_cells(content, depth + 1)
        tags = set(content[4 : 4 + 9 * len(values) : 9]) - {0x00}
        need(tag == 0x14 or len(tags) <= 1, "a list of several types")
        return values
    need(tag in {0x10, 0x12}, "a cell of an unknown type")
    text = decode_utf8(content)
    is_decimal = re.fullmatch(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?", text) and (text[0] != "-" or text.strip("-0."))
    need(tag == 0x10 or is_decimal, "a malformed decimal")
    return text


def plain(value: Json) -> Json:
    """Return a value as JSON: numbers as text, so that none loses digits; bytes as hex."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, list):
        return [plain(item) for item in value]
    return value if value is None or isinstance(value, (bool, str)) else repr(value)


# --- Forms with exactly one spelling ----------------------------------------------------------------------------------
class Shared:
    """A list of a `.receipts`: each thing once, in the order of its first use, and none that nobody uses."""

    def __init__(self, items: list[Json]) -> None:
        need(len({repr(item) for item in items}) == len(items), "something that is shared stands twice")
        self.items, self.taken = items, 0

    def take(self, position: Json) -> Json:
        """Return the thing at a position."""
        is_next = type(position) is int and 0 <= position <= self.taken and position < len(self.items)
        need(is_next, "a position is not in the order of first use")
        self.taken = max(self.taken, position + 1)
        return self.items[position]

    def take_hashes(self, positions: Json) -> list[bytes]:
        """Return the hashes at several positions."""
        need(isinstance(positions, list) and len(positions) <= 63, "expected a list of at most 63 positions")
        return [self.take(position) for position in positions]


@functools.cache
def from_json(data: bytes) -> dict[str, Json]:
    """Read an object in canonical JSON without floats (section 1): bytes that are not what it is written as, fail."""

    def ordered(value: Json, depth: int) -> Json:  # members by their UTF-16 code units, as RFC 8785 wants them
        if depth > 32 or isinstance(value, float) or (isinstance(value, int) and abs(value) >= 2**53):
            raise ValueError
        if isinstance(value, list):
            return [ordered(item, depth + 1) for item in value]
        if isinstance(value, dict):
            by_name = sorted(value.items(), key=lambda member: member[0].encode("utf-16-be"))
            return {name: ordered(item, depth + 1) for name, item in by_name}
        return value

    try:
        value = json.loads(data.decode())
        written = json.dumps(ordered(value, 0), ensure_ascii=False, separators=(",", ":")).encode()
    except (ValueError, RecursionError) as error:
        raise FailedError("expected canonical JSON") from error
    need(written == data and isinstance(value, dict), "expected an object in canonical JSON")
    return dict(value)


def from_base64(text: Json, size: int | None = None) -> bytes:
    """Read base64 (RFC 4648 section 4), padded, without stray bits, not empty."""
    try:
        data = base64.b64decode(text if isinstance(text, str) else "", validate=True)
    except ValueError as error:
        raise FailedError("expected base64") from error
    need(data and base64.b64encode(data).decode() == text and size in {None, len(data)}, "expected canonical base64")
    return data


def from_hex(text: Json, digits: int = 64) -> bytes:
    """Read lower-case hex digits."""
    need(isinstance(text, str) and re.fullmatch(f"[0-9a-f]{{{digits}}}", text), f"expected {digits} hex digits")
    return bytes.fromhex(text)


def count_of(text: Json, end: int = 10**20) -> int:
    """Read a count: text, plain decimal, below an end."""
    need(isinstance(text, str) and re.fullmatch("0|[1-9][0-9]{0,19}", text) and int(text) < end, "expected a decimal")
    return int(text)


log_number = functools.partial(count_of, end=2**63)  # a size or index of the log


def need_members(value: Json, names: str, may: str = "") -> dict[str, Json]:
    """Insist on an object with exactly these members, one of which may be absent."""
    known = sorted({*value, *may.split()}) if isinstance(value, dict) else None
    need(known == names.split(), f"expected the members {names}")
    return dict(value)


def check_version(document: dict[str, Json], what: str) -> None:
    """Insist on version 1; a higher one is not wrong, but not for this program to judge."""
    version = document.get("v")
    need(type(version) is int and version >= 1, f"the {what} has no version")
    if version != 1:
        raise CannotCheckError(f"the {what} is of version {version}; this program knows version 1")


def decode_utf8(data: bytes) -> str:
    """Read UTF-8 and nothing else."""
    need(data.decode(errors="replace").encode() == data, "expected UTF-8")
    return data.decode()


# --- Ed25519: RFC 8032 section 5.1, verification only -----------------------------------------------------------------
Point = tuple[int, int, int, int]
P, L = 2**255 - 19, 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P


def is_ed25519(public: bytes, message: bytes, signature: bytes) -> bool:
    """Say whether S*B = R + h*A: S below L, and each point in its one encoding, R by comparing bytes."""
    key, s = decode_point(public), int.from_bytes(signature[32:], "little")
    if key is None or len(signature) != 64 or s >= L:
        return False
    h = int.from_bytes(hashlib.sha512(signature[:32] + public + message).digest(), "little") % L
    minus_key = (P - key[0], key[1], key[2], P - key[3])
    choices, point = (None, BASE, minus_key, add_points(BASE, minus_key)), (0, 1, 1, 0)
    for bit in range(252, -1, -1):  # S*B - h*A, one doubling for both
        point = add_points(point, point)
        choice = choices[(s >> bit & 1) + 2 * (h >> bit & 1)]
        point = point if choice is None else add_points(point, choice)
    inverse = pow(point[2], P - 2, P)
    x, y = point[0] * inverse % P, point[1] * inverse % P
    return (y | (x & 1) << 255).to_bytes(32, "little") == signature[:32]


def add_points(p: Point, q: Point) -> Point:
    """Add two points in extended coordinates (section 5.1.4); the formula holds for doubling too."""
    a, b = (p[1] - p[0]) * (q[1] - q[0]) % P, (p[1] + p[0]) * (q[1] + q[0]) % P
    c, d = 2 * p[3] * q[3] * D % P, 2 * p[2] * q[2] % P
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % P, g * h % P, f * g % P, e * h % P


def decode_point(data: bytes) -> Point | None:
    """Decode a point (section 5.1.3); None for what is none, or is written in another way than the canonical one."""
    sign, y = divmod(int.from_bytes(data, "little"), 1 << 255)
    square = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * pow(2, (P - 1) // 4, P) % P
    if len(data) != 32 or y >= P or (x * x - square) % P or (x == 0 and sign):
        return None
    x = x if x & 1 == sign else P - x
    return x, y, 1, x * y % P


BASE = decode_point((4 * pow(5, P - 2, P) % P).to_bytes(32, "little")) or (0, 1, 1, 0)


# --- The command ------------------------------------------------------------------------------------------------------
class Key:
    """A verifier key: name, 8 hex digits of its id, base64 of its type and 32 bytes; ` from N`, ` until N` behind."""

    def __init__(self, text: str, kind: int) -> None:
        found = re.fullmatch(r"(\S+)(?: from (\S+))?(?: until (\S+))?", text.strip())
        need(found and found[1].count("+") >= 2, "expected name+id+base64")
        self.text, first, last = found.groups() if found else ("", "", "")
        name, key_id, encoded = self.text.split("+", 2)
        data = from_base64(encoded, 33)
        self.name, self.public = check_name(name), data[1:]
        self.id = hashlib.sha256(name.encode() + b"\n" + data).digest()[:4]
        need(data[0] == kind and self.id.hex() == key_id, "expected another kind of key, or its id is wrong")
        self.first, self.last = log_number(first or "0"), log_number(last or str(2**63 - 1))
        point = decode_point(self.public)
        for _ in range(3):
            point = point and add_points(point, point)
        need(point and point[0] and self.first <= self.last, "nobody alone can sign with it, or it is never valid")


def describe(facts: dict[str, Json]) -> list[str]:
    """Describe one record for a reader."""
    moment = str(facts["values"].get("time"))
    if re.fullmatch("[0-9]{1,20}", moment):  # nanoseconds since 1970; anything else is shown as it is
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(int(moment) // 10**9)) + f".{moment[-9:]:0>9}Z"
    where = "prediction {id}\nin the log of {origin} at tree size {tree_size}, entry {leaf_index}, root {root}"
    lines, model = where.format(**facts).split("\n"), (facts["context"] or {}).get("model")
    if isinstance(model, dict):
        named = [model.get(name, "?") for name in ("name", "version", "digest")]
        lines.append("model {} version {}, digest {}".format(*named))
    lines.append(f"recorded {moment}, stream {facts['stream']}, seq {facts['seq']}")
    shown = [*facts["values"].items(), *(pair for group in facts["opened"].values() for pair in group.items())]
    envelope = ("id", "stream", "seq", "time", "kind", "context", "batch_row", "batch_rows")
    lines += [f"  {name} = {value}" for name, value in shown if name.split(".")[0] not in envelope]
    lines += [f"  {name}: committed, not disclosed" for names in facts["undisclosed"].values() for name in names]
    lines += [f"  context: committed, not shown; SHA-256 {facts['values']['context']}"] * (facts["context"] is None)
    said = dict.fromkeys(facts["erased"], "erased, as whoever made this says")
    return lines + [f"  sealed group {group!r}: committed, {said.get(group, 'not shown')}" for group in facts["sealed"]]


def main(arguments: list[str] | None = None) -> int:
    """Check one file, say what it shows, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file")
    parser.add_argument("--vkey", action="append", required=True)
    parser.add_argument("--witness", action="append", default=[])
    parser.add_argument("--quorum", type=int)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args(arguments)
    try:
        logs = [Key(line, 1) for text in given.vkey for line in text.split("\n") if line.strip()]
        witnesses = [Key(text, 4) for text in given.witness]
        need(logs and len({key.public for key in witnesses}) == len(witnesses), "there is none, or one is there twice")
    except FailedError as error:
        parser.error(f"a public key is malformed: {error}")
    quorum = len(witnesses) if given.quorum is None else given.quorum
    if not min(len(witnesses), 1) <= quorum <= len(witnesses):
        parser.error("--quorum: expected 1 to the number of witnesses")
    try:
        with open(given.file, "rb") as file:  # noqa: PTH123
            facts = check_file(file.read(FILE_MAX + 1), logs, witnesses, quorum)
    except (FailedError, CannotCheckError, OSError) as error:
        sys.stderr.write(f"{'does not verify' if isinstance(error, FailedError) else 'cannot be checked'}: {error}\n")
        return FAILED if isinstance(error, FailedError) else CANNOT_CHECK
    if given.json:
        answer = facts[0] if len(facts) == 1 else {"receipts": facts}
        sys.stdout.write(json.dumps({"verdict": "verified", **answer}, indent=2) + "\n")
        return VERIFIED
    cosigned = ", ".join(f"{by['vkey'].split('+')[0]} at second {by['time']}" for by in facts[0]["witnesses"] or [])
    total = f": {len(facts)} predictions in the log of {facts[0]['origin']} at tree size {facts[0]['tree_size']}"
    lines = ["verified under the given key" + (total if len(facts) > 1 else "")]
    lines += [line for record in facts for line in describe(record)]
    lines.append(f"cosigned by {cosigned}" if cosigned else "no witness was asked for")
    text = "\n".join("".join(c if c.isprintable() else repr(c)[1:-1] for c in line) for line in lines)
    sys.stdout.buffer.write(text.encode() + b"\n")
    return VERIFIED


if __name__ == "__main__":
    sys.exit(main())
