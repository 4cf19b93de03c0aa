"""The kinds of reports there are; each is told by a module of its own, which is loaded when it is asked for."""

from __future__ import annotations

from importlib import import_module
from typing import Final

from backstory.errors import InputError
from backstory.records.names import names_instead
from backstory.report.report_make import Kind

KINDS: Final[dict[str, str]] = {
    "individual-explanation": "report_explanation",
    "subject-access": "report_subject",
    "adverse-action": "report_adverse",
    "log-extract": "report_log",
    "model-history": "report_model",
    "incident": "report_incident",
    "retention-evidence": "report_retention",
    "access-log": "report_access",
    "integrity-certificate": "report_integrity",
}
"""The module of each kind."""


def kind_of(name: str) -> Kind:
    """Return a kind of report.

    Raises:
        InputError: There is none of that name.
    """
    if name not in KINDS:
        raise InputError(f"report: no kind {name!r}{names_instead(name, KINDS)}")
    kind: Kind = import_module(f"backstory.report.{KINDS[name]}").KIND
    return kind
