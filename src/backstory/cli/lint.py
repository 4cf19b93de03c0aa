"""`backstory lint`: warnings about a script, before it runs."""

from __future__ import annotations

from pathlib import Path

from backstory.cli.answer import print_json
from backstory.cli.exit_codes import FAILED, OK
from backstory.cli.options import Json
from backstory.errors import InputError, StorageError
from backstory.lineage.lint import lint_script
from backstory.lineage.lint_rules import Finding


def lint(*scripts: Path, json: Json = False) -> int:
    """Warn of lines where row ids would be lost or changed, and where a model would see what it must not.

    The scripts are read, not run. The exit code is 20 if there is a warning, 0 if there is none.

    Args:
        scripts: Python files.
        json: Print one JSON document, errors too.
    """
    if not scripts:
        raise InputError("lint: expected at least one script")
    found = {str(script): lint_script(_read(script), str(script)) for script in scripts}
    if json:
        print_json({script: [finding.to_dict() for finding in findings] for script, findings in found.items()})
    else:
        for script, findings in found.items():
            for finding in findings:
                print(_text(script, finding))  # noqa: T201  the answer
    return FAILED if any(found.values()) else OK


def _text(script: str, finding: Finding) -> str:
    place = f"{script}:{finding.line}:{finding.column}"
    return f"{place}: {finding.rule}: {finding.what}\n  why: {finding.why}\n  instead: {finding.instead}"


def _read(script: Path) -> str:
    try:
        return script.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise StorageError(f"lint: {script} cannot be read ({type(error).__name__})") from None
