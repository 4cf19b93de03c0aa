"""The check of receipts for whoever has no Backstory: one Python file, one JavaScript module, one page for a browser.

`check_bundle.py` checks an evidence bundle with the first of them, with `check_report.py` one that is a report;
`verify_membership.py` a proof of membership, and `check_erasure.py` a certificate of an erasure.

They import nothing of this package, and nothing of it imports them: a second and a third implementation of
docs/format.md section 14. Here they are only handed out.
"""

from __future__ import annotations

from pathlib import Path

_FOLDER = Path(__file__).parent
_SCRIPT_MARK = "/* verify_receipt.mjs */"
"""Stands in the page where the script goes."""


def verifier_files() -> dict[str, bytes]:
    """Return the stand-alone verifiers by file name; the page is whole, with the script in it."""
    files = {name: (_FOLDER / name).read_bytes() for name in ("verify_receipt.py", "verify_receipt.mjs")}
    page = (_FOLDER / "verify_receipt.html").read_text("utf-8")
    script = files["verify_receipt.mjs"].decode()
    return {**files, "verify_receipt.html": page.replace(_SCRIPT_MARK, script).encode()}


def bundle_checker() -> bytes:
    """Return the program that checks a bundle; it needs `verify_receipt.py` beside it."""
    return (_FOLDER / "check_bundle.py").read_bytes()


def report_checker() -> bytes:
    """Return what `check_bundle.py` needs beside it for a bundle that is a report."""
    return (_FOLDER / "check_report.py").read_bytes()


def membership_checker() -> bytes:
    """Return the program that checks a proof of membership; it needs `verify_receipt.py` beside it."""
    return (_FOLDER / "verify_membership.py").read_bytes()


def erasure_checker() -> bytes:
    """Return the program that checks a certificate of an erasure; it needs `verify_receipt.py` beside it."""
    return (_FOLDER / "check_erasure.py").read_bytes()
