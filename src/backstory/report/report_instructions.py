"""The one page of text that goes with a report: what it is, what it shows and what not, and how to check it."""

from __future__ import annotations

import textwrap

from backstory.records import canonical
from backstory.records.canonical import JsonObject
from backstory.report.report import STANDINGS, Layouts
from backstory.verify.report import list_of, object_of

_WIDTH = 100
_TEXT = """\
{title}
{line}

{about}

{code}, report {id}, made {made} from the log {origin} at tree size {size}.

Read report.html or report.pdf first. They need no network and no other program.

WHAT IS IN IT

  report.html, report.pdf   the report for people: on a screen, and to print and to keep
  report.json               the same for programs; schema.json says what its members are (JSON Schema 2020-12)
  tables/                   its tables, as CSV and as Parquet
  records.jsonl             each record the report stands on, one a line, as its receipt proves it
  receipts/                 the proofs: each record is in the log, unchanged
  upstream/entries/         each entry of the log that the report cites, with its proof
  upstream/documents/       documents that these name; not there where there is none
  verify/                   programs that check all this
  manifest.json             every file with size and SHA-256
  bundle.tlog-proof         the log's entry about this report, with its proof; the manifest cannot list it

HOW IT KNOWS WHAT IT SAYS

{standings}

WHAT IT SHOWS, IF IT VERIFIES

The holder of the log's key committed to each of these records and entries, and none was changed
since. The log says that this very report was given out; no file of it was added, removed or changed.
The texts that report.json lists as quotes are what the records and entries say. The tables are those
of the report.

WHAT IT DOES NOT SHOW

That what was recorded was true. What is computed or stated is compared with nothing: it is what the
log says was given out. No program compares report.html, report.pdf and the Parquet files with
report.json; they are made from it. Times are those of the operator's clock. That others are shown the
same log: ask for witnesses. Values that are sealed and were not opened are only committed to.

WHAT IT DOES NOT COVER

{limits}

It is no legal advice, and no statement that any duty is met.

THE PUBLIC KEY

You need the log's public key: a line that begins with {origin}+. Get it from the
operator on paper, from a contract, a register or a page you trust. Never take it from a file that came
with this report: who can change the report can change the key in it. The same holds for the programs
in verify/: compare them with those you know, or take them from where Backstory is published.

HOW TO CHECK IT

1. With Python 3.9 or newer and nothing else. Unpack the folder verify/, then:

     python verify/check_bundle.py REPORT.zip --vkey "KEY"

2. With Backstory:

     backstory verify-bundle REPORT.zip --vkey "KEY"

Exit codes: 0 verified; 20 does not verify, and the file is named; 21 cannot be checked, which says nothing about the
report; 2 asked wrongly.

The formats are described in docs/format.md of Backstory, section "Reports".
"""


def report_instructions(kind: Layouts, document: JsonObject) -> str:
    """Return the instructions of a report."""
    integrity = object_of(document["integrity"])
    standings = {layout.standing: "" for layout in kind.sections if layout.columns}
    for standing in standings:
        titles = ", ".join(layout.title for layout in kind.sections if layout.standing == standing)
        standings[standing] = _filled(f"{standing}: {STANDINGS[standing]} So it is with: {titles}.")
    return _TEXT.format(
        about=_filled(kind.about),
        code=kind.code,
        id=document["id"],
        limits="\n".join(_filled(f"- {limit}") for limit in list_of(document["limits"])),
        line="=" * len(kind.title),
        made=document["made"],
        origin=canonical.text_of(integrity, "origin"),
        size=integrity["size"],
        standings="\n".join(standings.values()),
        title=kind.title.upper(),
    )


def _filled(text: str) -> str:
    return textwrap.fill(text, _WIDTH, subsequent_indent="  ")
