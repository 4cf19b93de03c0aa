"""The page of a bundle for people: one file, no scripts, nothing loaded from elsewhere, every value escaped."""

from __future__ import annotations

import re
from collections.abc import Collection
from html import escape

from backstory.lineage.page import Page, Row, Section
from backstory.lineage.plain import count_text, printable
from backstory.lineage.story import Story
from backstory.lineage.story_page import OPEN_HINT, story_page
from backstory.records.canonical import JsonObject, JsonValue
from backstory.tlog.checkpoint import Checkpoint

_IDS_SHOWN = 20
_DIGEST = re.compile(r"\b[0-9a-f]{64}\b")
_LABELS = {
    "actor": "asked by",
    "case": "case",
    "model": "model",
    "not_compared": "not compared, as what is asked of them is sealed",
    "not_sealed": "left out, as they were not in the log yet",
    "opened": "sealed groups opened",
    "opened_fields": "sealed columns opened",
    "predictions": "predictions",
    "purpose": "for the purpose",
    "since": "recorded at or after",
    "time": "given out",
    "until": "recorded before",
    "where": "for which holds",
}
_STYLE = """
:root{color-scheme:light dark;--ink:#1b1f24;--soft:#57606a;--line:#d0d7de;--paper:#fff;--tint:#f6f8fa;--loud:#a40e26;
--link:#0550ae}
@media (prefers-color-scheme:dark){:root{--ink:#e6edf3;--soft:#9da7b1;--line:#3d444d;--paper:#0d1117;--tint:#161b22;
--loud:#ff7b72;--link:#79c0ff}}
body{font:16px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--paper);max-width:60rem;margin:0 auto;
padding:2rem 1.25rem 4rem}
h1{font-size:1.75rem;line-height:1.2;margin:0 0 .25rem}h2{font-size:1.25rem;margin:2.5rem 0 .5rem}
h4{font-size:1rem;margin:1.25rem 0 .25rem}p{margin:.5rem 0;max-width:46rem}a{color:var(--link)}
table{border-collapse:collapse;width:100%;font-size:.875rem}
th,td{text-align:left;vertical-align:top;padding:.25rem .75rem .25rem 0;border-top:1px solid var(--line);
overflow-wrap:anywhere;white-space:pre-wrap}
th{color:var(--soft);font-weight:normal}tbody th{width:12rem}thead th{border-top:0}
article{border:1px solid var(--line);border-radius:.5rem;padding:1rem 1.25rem;margin:1.25rem 0}
article h3{margin:0 0 .25rem;font-size:1.125rem}.lead{color:var(--soft);margin-top:0}
.loud,.loud th{color:var(--loud);font-weight:600}
nav{background:var(--tint);border-radius:.5rem;padding:.75rem 1.25rem}nav ul{margin:0;padding-left:1.25rem}
code{font-family:ui-monospace,monospace;font-size:.875em;overflow-wrap:anywhere}
@media print{:root{--ink:#000;--soft:#333;--line:#999;--paper:#fff;--tint:#fff;--loud:#000;--link:#000}
body{font-size:10pt;padding:0;max-width:none}article{border-radius:0}tr{break-inside:avoid}h2,h3,h4{break-after:avoid}
nav{display:none}}
"""


def index_page(
    stories: Collection[Story], count: int, asked: JsonObject, checkpoint: Checkpoint, documents: Collection[str]
) -> str:
    """Return the page of a bundle.

    Args:
        stories: Stories of the first predictions.
        count: How many predictions there are.
        asked: What was asked, by whom, when.
        checkpoint: The log's when the bundle was begun.
        documents: Digests of the documents in the bundle; where one is shown, it leads there.
    """
    facts = [(_LABELS[name], _text(value)) for name, value in asked.items()]
    facts += [
        ("found", count_text(count, "prediction")),
        ("log", checkpoint.origin),
        ("tree size", f"{checkpoint.size:,}"),
        ("root", checkpoint.root.hex()),
    ]
    told = f"The first {len(stories)} are told here. " if count > len(stories) else ""
    links = [("#" + story.id, f"{story_page(story).headline} ({story.id})") for story in stories]
    articles = "".join(_article(story) for story in stories)
    body = (
        f'<header><h1>Evidence bundle</h1><p class="lead">{escape(count_text(count, "prediction"))} of the log '
        f"{_safe(checkpoint.origin)}</p></header><main>"
        f"<section><h2>What was asked</h2>{_table((), tuple(Row(cells=fact) for fact in facts))}</section>"
        "<section><h2>Before you believe it</h2><p>This page proves nothing by itself. "
        'How to check the bundle, with a public key from somewhere else, is in <a href="README.txt">README.txt</a>; '
        'the checks for a browser are in <a href="verify/verify_receipt.html">verify_receipt.html</a>.</p></section>'
        f"<section><h2>Predictions</h2><p>{told}All are in "
        '<a href="records.jsonl">records.jsonl</a>, and in Parquet for programs.</p>'
        f'<nav aria-label="Predictions"><ul>{"".join(_link(*link) for link in links)}</ul></nav>'
        f"{articles}</section></main>"
    )
    known = set(documents)
    linked = _DIGEST.sub(lambda found: _linked(found[0], known), body)
    title = f"<title>Evidence bundle of {_safe(checkpoint.origin)}</title>"
    viewport = '<meta name="viewport" content="width=device-width, initial-scale=1">'
    policy = "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
    head = f'<meta charset="utf-8">{policy}{viewport}{title}<style>{_STYLE}</style>'
    return f'<!DOCTYPE html>\n<html lang="en"><head>{head}</head>\n<body>{linked}</body></html>\n'


def _article(story: Story) -> str:
    page = _for_a_stranger(story_page(story))
    alarms = "".join(f'<p class="loud">{_safe(alarm)}</p>' for alarm in page.alarms)
    facts = _table((), tuple(Row(cells=fact) for fact in page.facts))
    sections = "".join(_section(section) for section in page.sections)
    return f'<article id="{story.id}"><h3>{_safe(page.headline)}</h3>{alarms}{facts}{sections}</article>\n'


def _for_a_stranger(page: Page) -> Page:
    """Return a page without what only helps somebody who has the archive."""
    alarms = tuple(alarm.replace(OPEN_HINT, "committed to, and not shown in this bundle") for alarm in page.alarms)
    return Page(headline=page.headline, alarms=alarms, facts=page.facts, sections=page.sections)


def _section(section: Section) -> str:
    return f"<h4>{_safe(section.title)}</h4>{_table(section.columns, section.rows)}"


def _table(columns: tuple[str, ...], rows: tuple[Row, ...]) -> str:
    head = "".join(f'<th scope="col">{_safe(column)}</th>' for column in columns)
    body = "".join(_row(row, labelled=not columns) for row in rows)
    return f"<table>{f'<thead><tr>{head}</tr></thead>' if head else ''}<tbody>{body}</tbody></table>"


def _row(row: Row, *, labelled: bool) -> str:
    first, *rest = row.cells
    cells = f'<th scope="row">{_safe(first)}</th>' if labelled else f"<td>{_safe(first)}</td>"
    cells += "".join(f"<td>{_safe(cell)}</td>" for cell in rest)
    return f'<tr class="loud">{cells}</tr>' if row.loud else f"<tr>{cells}</tr>"


def _link(target: str, text: str) -> str:
    return f'<li><a href="{escape(target)}">{_safe(text)}</a></li>'


def _linked(digest: str, known: Collection[str]) -> str:
    shown = f"<code>{digest}</code>"
    return f'<a href="upstream/documents/{digest}.json">{shown}</a>' if digest in known else shown


def _text(value: JsonValue) -> str:
    if not isinstance(value, list):
        return str(value)
    more = f", and {len(value) - _IDS_SHOWN:,} more in manifest.json" if len(value) > _IDS_SHOWN else ""
    return ", ".join(map(str, value[:_IDS_SHOWN])) + more


def _safe(text: str) -> str:
    return escape(printable(text))
