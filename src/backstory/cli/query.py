"""`backstory query`: the canonical queries of auditors."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from backstory.cli.answer import print_json, print_page
from backstory.cli.archives import open_archive
from backstory.cli.exit_codes import FAILED, OK, PARTIAL, UNVERIFIED
from backstory.cli.options import ASKING, SEALED_STAY_SEALED, Asking, Opening
from backstory.cli.progress import progress
from backstory.cli.standard_input import STDIN, read_line
from backstory.errors import InputError

if TYPE_CHECKING:
    from backstory.lineage.page import Page

_CODES = {"answered": OK, "holds": OK, "violated": FAILED, "incomplete": PARTIAL, "not-applicable": UNVERIFIED}


def query(
    query: str | None = None,
    parameters: list[str] | None = None,
    /,
    *,
    csv: Annotated[bool, Parameter(negative=())] = False,
    asking: Asking = ASKING,
    opening: Opening = SEALED_STAY_SEALED,
) -> int:
    """Answer a canonical query, or list them.

    backstory query Q-04 model=credit since=2026-01-01T00:00:00Z

    A query that must be empty and is not ends with 20, one that could not be told with 3, one that does not apply to
    what is recorded with 21.

    Args:
        query: Its id, such as Q-07; none lists all of them.
        parameters: What it takes, as NAME=VALUE; the value - is read from standard input, so that a person's id stands
            in no list of commands.
        csv: Print the rows as CSV and nothing else.
        asking: Which archive.
        opening: Who asks, and what for.
    """
    from backstory.report.queries import query_of

    if query is None:
        _list(as_json=asking.json)
        return OK
    asked, given = query_of(query), _given(parameters or [])
    with progress(f"answering {asked.id}"), open_archive(asking, opening) as archive:
        answer = archive.query(asked.id, **given)
    if csv:
        sys.stdout.write(answer.csv())
    elif asking.json:
        print_json(answer.to_dict())
    else:
        print_page(answer._page())  # noqa: SLF001  as every answer is printed
    return _CODES[answer.status]


def _given(parameters: list[str]) -> dict[str, str]:
    given: dict[str, str] = {}
    for text in parameters:
        name, mark, value = text.partition("=")
        if not mark or name in given:
            raise InputError(f"query: expected each parameter once, as NAME=VALUE, got {name!r}")
        given[name] = read_line("query", f"the value of {name}") if value == STDIN else value
    return given


def _list(*, as_json: bool) -> None:
    from backstory.report.queries import QUERIES

    if as_json:
        document = [
            {
                "columns": dict(one.columns),
                "empty": one.empty,
                "id": one.id,
                "parameters": [
                    {"about": p.about, "default": p.default, "kind": p.kind, "name": p.name, "required": p.required}
                    for p in one.parameters
                ],
                "question": one.question,
                "reads": one.reads,
                "shows": one.shows,
                "shows_not": one.shows_not,
                "supports": list(one.supports),
                "version": one.version,
            }
            for one in QUERIES.values()
        ]
        print_json({"queries": document})
        return
    print_page(_page())


def _page() -> Page:
    from backstory.lineage.page import Page, Section, rows_of
    from backstory.report.queries import QUERIES

    lines = []
    for one in QUERIES.values():
        takes = ", ".join(f"{p.name}*" if p.required else p.name for p in one.parameters)
        lines.append((f"{one.id}{' ∅' if one.empty else ''}", f"{one.question}\n{'; '.join(one.supports)}", takes))
    section = Section(
        title="Canonical queries", columns=("query", "question, and what it supports", "takes"), rows=rows_of(lines)
    )
    facts = (("∅", "must be empty: exit code 20 where it is not"), ("*", "must be given"))
    return Page(headline=f"{len(lines)} canonical queries", facts=facts, sections=(section,))
