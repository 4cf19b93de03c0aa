"""Checkpoints that a misbehaving log could hand out: really signed by its key, and none of them to be believed."""

from __future__ import annotations

import base64

from backstory.tlog.key import VerifierKey
from backstory.tlog.signer import Ed25519Signer, Signer

ORIGIN = "example.org/hostile"
SIGNER = Ed25519Signer.from_seed(ORIGIN, b"hostile log key, for tests only!")
ROOT = base64.b64encode(bytes(range(32))).decode()
TEXT = f"{ORIGIN}\n8\n{ROOT}\n"

# Each text is signed as it is.
_TEXTS = {
    "leading zero": f"{ORIGIN}\n08\n{ROOT}\n",
    "plus sign": f"{ORIGIN}\n+8\n{ROOT}\n",
    "space before the size": f"{ORIGIN}\n 8\n{ROOT}\n",
    "underscore": f"{ORIGIN}\n1_0\n{ROOT}\n",
    "digit of another script": f"{ORIGIN}\n\u0668\n{ROOT}\n",
    "negative size": f"{ORIGIN}\n-8\n{ROOT}\n",
    "size 2^63": f"{ORIGIN}\n{2**63}\n{ROOT}\n",
    "size 2^64": f"{ORIGIN}\n{2**64}\n{ROOT}\n",
    "root of 31 bytes": f"{ORIGIN}\n8\n{base64.b64encode(bytes(31)).decode()}\n",
    "root with stray bits": f"{ORIGIN}\n8\n{ROOT[:-2]}9=\n",
    "root without padding": f"{ORIGIN}\n8\n{ROOT[:-1]}\n",
    "size 0 with a root": f"{ORIGIN}\n0\n{ROOT}\n",
    "tab in the origin": f"example.org/\thostile\n8\n{ROOT}\n",
    "another origin": f"example.org/other\n8\n{ROOT}\n",
    "no origin": f"\n8\n{ROOT}\n",
    "byte order mark": f"\ufeff{TEXT}",
    "carriage returns": TEXT.replace("\n", "\r\n"),
    "line separators": f"{ORIGIN}\u20288\u2028{ROOT}\n",
    "extension line": f"{TEXT}more\n",
    "empty extension line": f"{TEXT}\n",
    "two lines": f"{ORIGIN}\n8\n",
}


def sign_line(text: str, signer: Signer) -> bytes:
    """Sign any text at all and return the signature line."""
    key = VerifierKey.parse(signer.vkey)
    blob = base64.b64encode(key.key_id + signer.sign(text.encode())).decode()
    return f"\N{EM DASH} {signer.name} {blob}\n".encode()


def _flip(line: bytes) -> bytes:
    mark, name, blob_text = line.split(b" ")
    blob = bytearray(base64.b64decode(blob_text))
    blob[-1] ^= 1
    return b" ".join((mark, name, base64.b64encode(blob))) + b"\n"


LINE = sign_line(TEXT, SIGNER)
GOOD = TEXT.encode() + b"\n" + LINE
_UNKNOWN = b"".join(sign_line(TEXT, Ed25519Signer.from_seed("a", bytes([n]) * 32)) for n in range(101))

HOSTILE: dict[str, bytes] = {
    **{name: text.encode() + b"\n" + sign_line(text, SIGNER) for name, text in _TEXTS.items()},
    "good signature, then a failing one": GOOD + _flip(LINE),
    "failing signature, then a good one": TEXT.encode() + b"\n" + _flip(LINE) + LINE,
    "two good signatures of one key": GOOD + LINE,
    "no final newline": GOOD[:-1],
    "101 unknown signatures": GOOD + _UNKNOWN,
    "junk after the signatures": GOOD + b"junk\n",
    "space after the signature": GOOD[:-1] + b" \n",
    "signature in base64 with stray bits": GOOD[:-3] + bytes([GOOD[-3] + 1]) + b"=\n",
}
