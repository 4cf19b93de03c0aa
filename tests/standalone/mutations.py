"""Ways to change a receipt, each of which a verifier must refuse or see that nothing it says was changed."""

from __future__ import annotations

import base64
import json
import random

from tests.support.receipts import join_file


def mutate(chance: random.Random, data: bytes, other: bytes) -> bytes:
    """Return a file changed in one way; `other` is another good file of the same log and kind."""
    names = ["bytes", "note"] if chance.random() < 0.4 else ["document"]
    ways = {"bytes": _change_bytes, "note": _change_note, "document": _change_document}
    return ways[chance.choice(names)](chance, data, other)


def _change_bytes(chance, data, other):
    at = chance.randrange(len(data))
    cut = chance.randrange(1, 40)
    junk = bytes([chance.choice(b"\x00\t\n\r =Aa0\xff")])
    return chance.choice([
        lambda: data[:at] + bytes([data[at] ^ 1 << chance.randrange(8)]) + data[at + 1 :],
        lambda: data[:at], lambda: data[:-cut], lambda: data + junk, lambda: junk + data,
        lambda: data[:at] + data[at + cut :], lambda: data[:at] + junk + data[at:],
        lambda: data[:at] + other[at:], lambda: data.replace(b"\n", b"\r\n", 1), lambda: data + other,
        lambda: data[:at] + data[at : at + cut][::-1] + data[at + cut :],
    ])()  # fmt: skip


def _change_note(chance, data, other):
    """Change the signed checkpoint, in place or as the member of a document."""
    head, separator, note = data.partition(b"\n\n")
    if data.startswith(b"{"):
        document = json.loads(data)
        document["note"] = _note(chance, document["note"], json.loads(other)["note"])
        return _dump(document)
    return head + separator + _note(chance, note.decode(), other.partition(b"\n\n")[2].decode()).encode()


def _note(chance, note, other):
    text, _, tail = note.rpartition("\n\n")
    lines, signatures = text.split("\n"), tail[:-1].split("\n")
    at = chance.randrange(len(signatures))
    mark, name, blob = signatures[at].split(" ")
    raw = bytearray(base64.b64decode(blob))
    raw[chance.randrange(len(raw))] ^= 1 << chance.randrange(8)
    changed = {
        "swap": [*signatures[1:], signatures[0]], "twice": [*signatures, signatures[at]],
        "drop": signatures[:at] + signatures[at + 1 :],
        "blob": _put(signatures, at, f"{mark} {name} {base64.b64encode(raw).decode()}"),
        "short": _put(signatures, at, f"{mark} {name} {base64.b64encode(raw[:4]).decode()}"),
        "name": _put(signatures, at, f"{mark} {name}x {blob}"), "mark": _put(signatures, at, f"- {name} {blob}"),
        "space": _put(signatures, at, f"{mark}  {name} {blob}"),
        "stray": _put(signatures, at, f"{mark} {name} {_stray(blob)}"),
        "unknown": [*signatures, f"{mark} other.example {blob}"],
        "many": signatures + [f"{mark} o{i} {blob}" for i in range(100)],
    }  # fmt: skip
    texts = {
        "size": _put(lines, 1, chance.choice(["+3", "03", " 3", "3 ", "3_0", "\u0663", str(2**63), "4", "-1", ""])),
        "origin": _put(lines, 0, chance.choice(["example.org/other", "", "a b", "a+b", "\ufeffx", "a\u2028b", "é"])),
        "root": _put(lines, 2, _stray(lines[2])), "extension": [*lines, "more"], "empty": [*lines, ""],
        "tab": [lines[0] + "\t", *lines[1:]],
        "other": other.rpartition("\n\n")[0].split("\n"),
    }  # fmt: skip
    if chance.random() < 0.5:
        signatures = chance.choice(list(changed.values()))
    else:
        lines = chance.choice(list(texts.values()))
    return "\n".join([*lines, "", *signatures]) + chance.choice(["\n"] * 9 + [""])


def _change_document(chance, data, other):
    """Change the JSON of a receipt, and write it as such a receipt again."""
    if data.startswith(b"{"):
        return _document(chance, json.loads(data), json.loads(other))
    head, _, note = data.partition(b"\n\n")
    _, extra, index, *proof = head.decode().split("\n")
    other_head = other.partition(b"\n\n")[0].decode().split("\n")
    way = chance.random()
    if way < 0.1:
        return join_file(base64.b64decode(extra[6:]), _number(chance, index[6:]), proof, note)
    if way < 0.2:
        return join_file(base64.b64decode(extra[6:]), index[6:], _list(chance, proof, other_head[3:]), note)
    if way < 0.3:
        coded = chance.choice(
            [_stray(extra[6:]), extra[6:].rstrip("=") + "=", other_head[1][6:], extra[6:].replace("A", "-", 1)]
        )
        return data.replace(extra[6:].encode(), coded.encode(), 1)
    changed = _document(
        chance, json.loads(base64.b64decode(extra[6:])), json.loads(base64.b64decode(other_head[1][6:]))
    )
    return join_file(changed, index[6:], proof, note)


def _document(chance, document, other):
    target = document if "receipts" not in document or chance.random() < 0.4 else chance.choice(document["receipts"])
    source = other if target is document else chance.choice(other["receipts"])
    name = chance.choice(sorted(target))
    value = target[name]
    ways = [
        lambda: source.get(name),
        lambda: None, lambda: True, lambda: 0, lambda: -1, lambda: 2**53, lambda: 0.5, lambda: "",
        list, dict, lambda: [value], lambda: target[chance.choice(sorted(target))],
    ]  # fmt: skip
    if isinstance(value, str):
        ways += [
            lambda: _stray(value),
            lambda: _number(chance, value),
            lambda: _flip(chance, value),
            value.upper,
        ] * 3
    if isinstance(value, list):
        ways += [lambda: _list(chance, value, source.get(name) or [])] * 9
    if isinstance(value, dict) and value:
        group = chance.choice(sorted(value))
        opening = value[group]
        if "fields" in opening:
            ways += [lambda: {**value, group: _of_fields(chance, value[group])}] * 9
            opening = next(iter(opening["fields"].values()))
        ways += [lambda: {group + "x": opening}, lambda: {**value, group: {**opening, "row": opening["row"][:-4]}},
                 lambda: {**value, group: {**opening, "salt": "0" * 64}}, lambda: {**value, group: {**opening, "x": 1}},
                 lambda: {**value, group: chance.choice([None, [], {}, opening["row"]])}] * 4  # fmt: skip
    if chance.random() < 0.1:
        target[chance.choice(["x", "", "backstory", "v"])] = chance.choice([1, 2, 3, "2", True, -1, 0, 2**53 - 1])
    elif chance.random() < 0.1:
        del target[name]
    else:
        target[name] = chance.choice(ways)()
    return _dump(document, chance)


def _of_fields(chance, opening):
    """Change the opening of some fields of a group."""
    fields, leaves = opening["fields"], opening["leaves"]
    name = chance.choice(sorted(fields))
    one, rest = fields[name], {other: field for other, field in fields.items() if other != name}
    return chance.choice([
        {**opening, "fields": {**fields, name: {**one, "salt": "0" * 64}}}, {**opening, "fields": rest},
        {**opening, "fields": {**fields, name: {**one, "row": one["row"][:-4]}}}, {**opening, "leaves": leaves[::-1]},
        {**opening, "fields": {**rest, "field.x": one}}, {**opening, "fields": {**rest, "": one}}, {"fields": fields},
        {**opening, "fields": {**fields, name: opening}}, {**opening, "fields": chance.choice([[], {}, None, [one]])},
        {**opening, "leaves": leaves[1:]}, {**opening, "leaves": [*leaves, "0" * 64]}, {**opening, "leaves": None},
        {**opening, "leaves": _put(leaves, 0, 0) if leaves else {}}, one,
    ])  # fmt: skip


def _dump(document, chance=None):
    """Write JSON in its canonical form, or now and then in another."""
    text = json.dumps(document, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
    if chance is not None and chance.random() < 0.15:
        text = chance.choice([
            json.dumps(document, separators=(", ", ":"), sort_keys=True), json.dumps(document, separators=(",", ":")),
            text[:-1] + ',"v":1}', '{"v":1,' + text[1:], text.replace("1", "1.0", 1), text.replace('"v":1', '"v":1e0'),
            text + " ", "\ufeff" + text, text.replace("a", "\\u0061", 1), text.replace("/", "\\/", 1), "[" * 5_000,
        ])  # fmt: skip
    return text.encode("utf-8", "surrogatepass")


def _put(items, at, item):
    return [*items[:at], item, *items[at + 1 :]]


def _list(chance, items, others):
    items = list(items)
    at = chance.randrange(len(items) + 1)
    return chance.choice([
        lambda: items[::-1], lambda: items[1:], lambda: items[:-1], lambda: items + items[-1:],
        lambda: items + list(others)[:1],
        lambda: _put(items, at, (list(others) or [0])[0]), lambda: items[:at] + items[at + 1 :], lambda: [*items, 0],
        lambda: [*items[:at], chance.choice([True, -1, 10**6, "x", None, 1.5, []]), *items[at:]], lambda: items * 40,
    ])()  # fmt: skip


def _number(chance, text):
    return chance.choice([
        f"+{text}", f"0{text}", f" {text}", f"{text} ", f"{text}.0", f"{text}e0", "1_0", "\u0661", "-1", "", str(2**64),
        str(2**63 - 1), str(2**63), "0", "1", "2", "3", "1" * 21,
    ])  # fmt: skip


def _flip(chance, text):
    at = chance.randrange(len(text)) if text else 0
    return text[:at] + chance.choice("AQgw09af-_=\n") + text[at + 1 :]


def _stray(text):
    """Return base64 with bits that no byte has, or without its padding, where it has some."""
    if text.endswith("=") and len(text.rstrip("=")):
        body = text.rstrip("=")
        return body[:-1] + chr(ord(body[-1]) + 1) + text[len(body) :]
    return text + "===="
