"""Ways to change the bytes a parser is given: blind ones, and ones that know numbers, lines, base64, hex and JSON."""

from __future__ import annotations

import base64
import binascii
import json
import re

SIZE_MAX = 1 << 17
"""Bytes of a changed input; what is longer is cut."""

NUMBERS = [
    *["0", "1", "2", "7", "8", "08", "00", "+8", "-1", "-0", "1_0", "8.", "8.0", "1e0", "0x8"],
    *["\u0668", "\uff18", "\u00b2", "\u0be7"],  # digits of other scripts
    " 8", "8 ", "", "8\n",
    *(str(2**bits + more) for bits in (8, 16, 31, 32, 53, 63, 64, 128) for more in (-1, 0)), "9" * 20, "9" * 5_000,
]  # fmt: skip
SPACES = ["\n", "\r", "\t", " ", "\0", "\x1c", "\x7f", "\x85", "\xa0", "\u2028", "\u3000", "\u200b", "\ufeff", "\u202e"]
VALUES = [
    None, True, False, 0, 1, -1, 2, 2**53 - 1, 2**53, 2**64, 0.5, "", "0", "1", "x", "a/b", "..", "\0", "\u0661",
    "0" * 64, "F" * 64, "0" * 32, [], {}, [[]], {"": None}, "\ud800", "D0", "int64",
]  # fmt: skip
FIELDS = [0, 1, 2, 127, 128, 255, 2**15, 2**16 - 1, 2**31, 2**32 - 1, 2**63, 2**64 - 1]

_NUMBER = re.compile(rb"[0-9]+")
_CODED = re.compile(rb"[A-Za-z0-9+/]{12,}={0,2}")
_DEEP_MAX = 2
_SHOW_MAX = 20_000


def mutate(chance, data, corpus):
    """Return the data changed in one to three ways; `corpus` holds other inputs of the same parser."""
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        data = _change(chance, data, corpus, 0)
    return data[:SIZE_MAX]


def _change(chance, data, corpus, deep):
    if chance.random() < 0.004:
        return _blow_up(chance, data)
    way = chance.random()
    if way < 0.45 and data[:1] in {b"{", b"["} and len(data) < _SHOW_MAX:
        return _change_json(chance, data, corpus, deep)
    if way < 0.75 and 0x0A <= max(data[:1], default=0) < 0x80:
        return chance.choice(_TEXT_WAYS)(chance, data, corpus, deep)
    return chance.choice(_BYTE_WAYS)(chance, data, corpus)


# --- Bytes ------------------------------------------------------------------------------------------------------------


def _place(chance, data):
    """Draw a run of the data, most often a short one."""
    start = chance.randrange(len(data) + 1)
    return start, min(len(data), start + chance.choice((1, 1, 2, 4, 8, 32, 1_000)))


def _flip(chance, data, corpus):
    if not data:
        return b"\0"
    at = chance.randrange(len(data))
    return data[:at] + bytes([data[at] ^ 1 << chance.randrange(8)]) + data[at + 1 :]


def _set(chance, data, corpus):
    start, end = _place(chance, data)
    return data[:start] + chance.choice((b"", b"\0", b"\xff", b"\x80", b"\n", b"=", chance.randbytes(4))) + data[end:]


def _insert(chance, data, corpus):
    at = chance.randrange(len(data) + 1)
    return data[:at] + chance.choice((chance.randbytes(1), b"\0\0\0\0", b"\n", b"\xed\xa0\x80")) + data[at:]


def _repeat(chance, data, corpus):
    start, end = _place(chance, data)
    return data[:end] + data[start:end] + data[end:]


def _delete(chance, data, corpus):
    start, end = _place(chance, data)
    return data[:start] + data[end:]


def _cut(chance, data, corpus):
    return data[: chance.randrange(len(data) + 1)]


def _splice(chance, data, corpus):
    other = chance.choice(corpus)
    start, end = _place(chance, other)
    at, rest = _place(chance, data)
    whole = chance.random() < 0.5
    return data[:at] + (other[start:] if whole else other[start:end]) + (b"" if whole else data[rest:])


def _swap(chance, data, corpus):
    (a, b), (c, d) = sorted((_place(chance, data), _place(chance, data)))
    return data if b > c else data[:a] + data[c:d] + data[b:c] + data[a:b] + data[d:]


def _field(chance, data, corpus):
    """Write a length or count of 2, 4 or 8 bytes."""
    size = chance.choice((2, 4, 8))
    number = chance.choice((*FIELDS, len(data), chance.randrange(300))) & (1 << 8 * size) - 1
    at = chance.randrange(len(data) + 1)
    return data[:at] + number.to_bytes(size, chance.choice(("little", "big"))) + data[at + size :]


_BYTE_WAYS = [_flip, _flip, _flip, _set, _insert, _repeat, _delete, _cut, _splice, _swap, _field, _field]


def _blow_up(chance, data):
    start, end = _place(chance, data)
    times = chance.choice((50, 1_000, 20_000))
    part = chance.choice((data[start:end] or b"[", b"[", b'{"a":', b"\n", b"A", b"9"))[: SIZE_MAX // times]
    return data[:start] + part * times + data[end:]


# --- Text -------------------------------------------------------------------------------------------------------------


def _token(pattern, spelled):
    """Return a way that writes one of the tokens of a pattern in another way."""

    def way(chance, data, corpus, deep):
        found = list(pattern.finditer(data[:_SHOW_MAX]))
        if not found:
            return data
        one = chance.choice(found)
        return data[: one.start()] + spelled(chance, one[0], corpus, deep) + data[one.end() :]

    return way


def _number(chance, token, corpus, deep):
    more = str(int(token[:15]) + chance.choice((-1, 1)))
    return chance.choice((*NUMBERS, more, more, "0" + token.decode())).encode()


def _coded(chance, token, corpus, deep):
    """Change what base64 or hex stands for, or how it is written."""
    is_hex = re.fullmatch(rb"(?:[0-9a-f]{2})+", token) is not None
    way = chance.randrange(6)
    try:
        inner = bytes.fromhex(token.decode()) if is_hex else base64.b64decode(token, validate=True)
    except (ValueError, binascii.Error):
        inner, way = b"", 0
    if way >= 3 and deep < _DEEP_MAX:
        changed = _change(chance, inner, [_decoded(other) for other in corpus[:3]], deep + 1)
        return changed.hex().encode() if is_hex else base64.b64encode(changed)
    stray = token.rstrip(b"=")
    return chance.choice((
        token.upper(), token[:-1], token + b"=", stray, token.replace(b"A", b"-", 1), token.replace(b"+", b" ", 1),
        stray[:-1] + bytes([stray[-1] + 1]) + token[len(stray) :], token[:4] + b"\n" + token[4:], b"=" + token,
    ))  # fmt: skip


def _decoded(data):
    """Return what the longest base64 of some data stands for, as material for splices."""
    found = max(_CODED.findall(data[:_SHOW_MAX]), key=len, default=b"")
    return base64.b64decode(found[: len(found) // 4 * 4] or b"AAAA", validate=False)


def _space(chance, data, corpus, deep):
    at = chance.choice([0, len(data), *(match.start() for match in re.finditer(rb"\W", data[:_SHOW_MAX]))])
    return data[:at] + chance.choice(SPACES).encode() + data[at:]


def _lines(chance, data, corpus, deep):
    lines = data.split(b"\n")
    at, other = chance.randrange(len(lines)), chance.randrange(len(lines))
    foreign = chance.choice(chance.choice(corpus).split(b"\n"))
    return b"\n".join(
        chance.choice((
            [*lines[:at], lines[at], *lines[at:]], lines[:at] + lines[at + 1 :], [*lines[:at], foreign, *lines[at:]],
            [*lines[:at], b"", *lines[at:]], [*lines[:at], lines[other], *lines[at + 1 :]],
            [line + b"\r" for line in lines],
        ))
    )  # fmt: skip


def _letter(chance, data, corpus, deep):
    at = chance.randrange(len(data))
    return data[:at] + chance.choice((data[at : at + 1].swapcase(), "é".encode(), b"\xff", b"+", b'"')) + data[at + 1 :]


_TEXT_WAYS = [_token(_NUMBER, _number), _token(_CODED, _coded), _space, _lines, _letter]


# --- JSON -------------------------------------------------------------------------------------------------------------


def _change_json(chance, data, corpus, deep):
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        return chance.choice(_TEXT_WAYS)(chance, data, corpus, deep)
    if chance.random() < 0.15:
        return _spell(chance, data)
    holder, key = _spot(chance, document)
    if holder is None:
        return _dump(chance.choice((*VALUES, [document])))
    value = holder[key]
    way = chance.random()
    if way < 0.15:
        del holder[key]
    elif way < 0.25 and isinstance(holder, dict):
        holder[chance.choice(("", "v", "x", "type", key + "x"))] = chance.choice((*VALUES, value))
    elif way < 0.35 and isinstance(holder, list):
        holder.insert(chance.randrange(len(holder) + 1), chance.choice(holder))
    elif isinstance(value, str) and way < 0.75:
        changed = chance.choice(_TEXT_WAYS)(chance, value.encode("utf-8", "surrogatepass") or b"0", corpus, deep)
        holder[key] = changed.decode("utf-8", "replace")
    elif isinstance(value, int) and way < 0.75:
        holder[key] = value + chance.choice((-1, 1, -value, 2**53 - 1))
    else:
        holder[key] = chance.choice((*VALUES, [value], {"a": value}, _nested(chance, value)))
    return _dump(document)


def _spot(chance, document):
    """Draw a place in a document: what holds it, and its key there; None for the whole."""
    holder, key = None, None
    while isinstance(document, dict | list) and document and (holder is None or chance.random() < 0.75):
        holder = document
        key = chance.choice(sorted(document)) if isinstance(document, dict) else chance.randrange(len(document))
        document = holder[key]
    return holder, key


def _nested(chance, value):
    for _ in range(chance.choice((5, 31, 32, 33, 100))):
        value = chance.choice(([value], {"list": value}))
    return value


def _dump(document):
    """Write JSON in its canonical form, for all but names outside the basic plane."""
    text = json.dumps(document, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
    return text.encode("utf-8", "surrogatepass")


def _spell(chance, data):
    """Write JSON that says the same in another way, or twice."""
    names = re.findall(rb'"[a-z_0-9]+":', data[:_SHOW_MAX]) or [b'"v":']
    name = chance.choice(names)
    return chance.choice((
        data.replace(b":", b": ", 1), data.replace(b",", b", ", 1), data + b"\n", b" " + data, b"\xef\xbb\xbf" + data,
        data.replace(b"a", b"\\u0061", 1), data.replace(b"/", b"\\/", 1), data.replace(b":1", b":1.0", 1),
        data.replace(b":1", b":1e0", 1), data.replace(b":1", b":01", 1), data.replace(b":0", b":-0", 1),
        data[:-1] + b"," + name + b"1}", data.replace(name, name + b"1," + name, 1), data[:-1] + b",}",
        data.replace(b"null", b"NaN", 1), data.replace(b":1", b":Infinity", 1),
    ))  # fmt: skip
