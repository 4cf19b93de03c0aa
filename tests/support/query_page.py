"""The page of the canonical queries, as the registry says it: `python -m tests.support.query_page` writes it."""

from __future__ import annotations

from pathlib import Path

from backstory.report.queries import QUERIES
from backstory.report.query import Query

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "queries.md"
_HEAD = """# Canonical queries

For auditors, and for whoever has to answer them. `archive.query("Q-07", **parameters)` and `backstory query Q-07
NAME=VALUE …` answer; [how to read an answer](../how-to/canonical-queries.md). This page is made from the code
(`python -m tests.support.query_page`).

A query marked ∅ must be empty. Its status is `violated` where it is not, `holds` where it is, and `incomplete` where
that does not tell, because values stayed sealed or nothing of the kind was ever recorded. A query that asks for what is
not recorded here is `not-applicable`. Which articles an answer may serve under is a hint, not advice.
"""


def text_of_page() -> str:
    """Return the page."""
    return "\n".join([_HEAD, *(_section(one) for one in QUERIES.values())])


def _section(query: Query) -> str:
    lines = [f"## {query.id}{' ∅' if query.empty else ''}", "", query.question, ""]
    lines += ["| | |", "| --- | --- |", f"| reads | {query.reads} |", f"| shows | {query.shows} |"]
    lines += [f"| does not show | {query.shows_not} |", f"| may serve under | {'; '.join(query.supports)} |"]
    lines += [f"| version | {query.version} |", ""]
    if query.parameters:
        lines += ["| parameter | is |", "| --- | --- |"]
        for one in query.parameters:
            default = f" Default: `{one.default}`." if one.default is not None else ""
            needed = " Must be given." if one.required else ""
            kind = "" if one.kind == "text" else f" ({one.kind})"
            lines.append(f"| `{one.name}`{kind} | {one.about}{needed}{default} |")
        lines.append("")
    lines += ["| column | is |", "| --- | --- |", *(f"| `{name}` | {is_} |" for name, is_ in query.columns.items()), ""]
    return "\n".join(lines)


if __name__ == "__main__":
    PAGE.write_text(text_of_page(), "utf-8")
