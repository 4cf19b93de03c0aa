"""`backstory report`: a report for people and for programs, in one bundle that is checked without Backstory."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from backstory.cli.answer import print_json, print_page, print_text
from backstory.cli.archives import open_archive
from backstory.cli.ending import interrupted_by_signals
from backstory.cli.exit_codes import FAILED, OK
from backstory.cli.options import ASKING, SEALED_STAY_SEALED, Asking, Opening
from backstory.cli.progress import progress
from backstory.cli.standard_input import STDIN, read_line
from backstory.errors import ConflictError, InputError
from backstory.storage.disk import save_file


def report(
    kind: str | None = None,
    /,
    *,
    to: Path | None = None,
    list_: Annotated[bool, Parameter(name="--list", negative=())] = False,
    prediction: str | None = None,
    decision: str | None = None,
    subject: Annotated[str | None, Parameter(allow_leading_hyphen=True)] = None,
    model: str | None = None,
    map_: Annotated[str | None, Parameter(name="--map")] = None,
    since: str | None = None,
    until: str | None = None,
    adverse: Literal["high", "low"] | None = None,
    change: Annotated[list[str] | None, Parameter(negative=())] = None,
    target: str | None = None,
    expected: int | None = None,
    state: Annotated[list[str] | None, Parameter(negative=())] = None,
    html: Path | None = None,
    pdf: Path | None = None,
    data: Path | None = None,
    asking: Asking = ASKING,
    opening: Opening = SEALED_STAY_SEALED,
) -> int:
    """Write a report into one file: a page, a PDF, data, proofs, and the programs that check it. The log records it.

    Args:
        kind: The kind, such as integrity-certificate.
        to: The file to write, such as report.zip.
        list_: List the kinds, with what each takes.
        prediction: Id of the prediction it is about, or a unique prefix.
        decision: Id of the decision it is about, or a unique prefix.
        subject: The person it is about; - is read from standard input, so that the id stands in no list of commands.
        model: The model it is about: NAME, or NAME:VERSION.
        map_: The reason map.
        since: Begin of its period, such as 2026-03-01T00:00:00Z.
        until: End of its period.
        adverse: Which side of the score is the adverse one: high or low.
        change: Feature that may change, in a search for what would have changed the answer; repeated for more.
        target: The answer wanted in that search, such as "< 0.5".
        expected: How many predictions somebody else counted.
        state: What you add, as NAME=TEXT; repeated for more. Nothing proves it, and the report says so.
        html: Write the page here, too.
        pdf: Write the PDF here, too.
        data: Write report.json here, too.
        asking: Which archive.
        opening: Who asks; the report says so, the log has a commitment to it.
    """
    if list_:
        _print_kinds(as_json=asking.json)
        return OK
    if kind is None or to is None:
        raise InputError("report: expected a kind and --to FILE.zip, or --list")
    copies = {path: name for name, path in (("html", html), ("pdf", pdf), ("json", data)) if path is not None}
    for path in copies:
        if path.exists():
            raise ConflictError(f"report: expected nothing at {path}")
    if subject == STDIN:
        subject = read_line("report", "the person's id")
    with interrupted_by_signals(), progress("reporting"), open_archive(asking, opening, writes=True) as archive:
        made = archive.reports.make(
            kind, to, prediction=prediction, decision=decision, subject=subject, model=model, map=map_, since=since,
            until=until, adverse=adverse, change=change or (), target=_target(target), expected=expected,
            states=_states(state or []),
        )  # fmt: skip
    for path, name in copies.items():
        content = getattr(made, name)
        save_file(content.encode() if isinstance(content, str) else content, path, "report", overwrite=False)
    if asking.json:
        counts = {"entries": made.entries, "records": made.records, "withheld": made.withheld}
        about = {"holds": made.holds, "id": made.id, "index": made.index, "kind": made.kind, "path": str(made.path)}
        print_json({**counts, **about})
    else:
        proven = f"{made.records:,} records and {made.entries:,} entries proven, {made.withheld:,} withheld"
        print_text(f"{made.path}: {made.kind}, {proven}; entry {made.index} of the log")
        if not made.holds:
            print_text(made.summary[0])
    return OK if made.holds else FAILED


def _states(given: list[str]) -> dict[str, str]:
    found = {}
    for one in given:
        name, equals, text = one.partition("=")
        if not equals or not text:
            raise InputError("report: expected --state NAME=TEXT")
        found[name] = text
    return found


def _target(text: str | None) -> bool | str | None:
    return {"true": True, "false": False}.get(text.lower(), text) if text is not None else None


def _print_kinds(*, as_json: bool) -> None:
    from backstory.lineage.page import Page, Row, Section
    from backstory.report.report_kinds import KINDS, kind_of

    kinds = [kind_of(name) for name in KINDS]
    if as_json:
        print_json(
            [
                {
                    "about": one.layouts.about,
                    "code": one.layouts.code,
                    "kind": one.layouts.kind,
                    "limits": list(one.layouts.limits),
                    "states": dict(one.layouts.states),
                    "supports": [{"article": s.article, "serves": s.serves} for s in one.layouts.supports],
                    "takes": sorted(one.asks),
                    "title": one.layouts.title,
                }
                for one in kinds
            ]
        )
        return
    rows = tuple(Row(cells=(k.layouts.kind, k.layouts.code, ", ".join(sorted(k.asks)), k.layouts.about)) for k in kinds)
    section = Section(title="Reports", columns=("kind", "code", "takes", "what it is"), rows=rows)
    print_page(Page(headline=f"{len(rows)} kinds of reports", sections=(section,)))
