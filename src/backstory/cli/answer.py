"""What commands print: one JSON document, a page on a terminal, or plain text; errors in one sentence on stderr."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

from backstory.errors import BackstoryError, VerificationError
from backstory.lineage.plain import plain, printable

if TYPE_CHECKING:
    from backstory.lineage.page import Page


def print_json(document: Any) -> None:  # noqa: ANN401  any value of an answer
    """Print one JSON document."""
    sys.stdout.write(json.dumps(plain(document), indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def print_text(text: str) -> None:
    """Print lines; what they hold may come from outside, so control characters are escaped."""
    sys.stdout.write(printable(text) + "\n")


def print_page(page: Page) -> None:
    """Print a page: with colour and frame on a terminal, as plain text into a pipe or file."""
    from backstory.lineage.page import page_text

    if sys.stdout.isatty():
        from rich.console import Console

        from backstory.lineage.page_rich import page_rich

        Console().print(page_rich(page))
    else:
        print_text(page_text(page))


def print_error(error: BackstoryError, *, as_json: bool) -> None:
    """Print an error on stderr: a sentence, or an object with code, message and details."""
    findings = [str(finding) for finding in error.findings] if isinstance(error, VerificationError) else []
    print_failure(error.code, str(error), error.details | ({"findings": findings} if findings else {}), as_json=as_json)


def print_failure(code: str, message: str, details: dict[str, object], *, as_json: bool) -> None:
    """Print what went wrong on stderr: a sentence, or an object."""
    if as_json:
        document = plain({"code": code, "details": details, "message": message})
        sys.stderr.write(json.dumps(document) + "\n")
        return
    sys.stderr.write(f"backstory: {printable(' '.join(message.split()))}\n")
