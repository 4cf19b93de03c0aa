"""The page of a report: one file, no scripts, nothing loaded from elsewhere, every value escaped; it can be printed."""

from __future__ import annotations

from html import escape

from backstory.report.report_page import Part, ReportPage, Shown, pieces

_STYLE = """
:root{color-scheme:light dark;--ink:#1b1f24;--soft:#57606a;--line:#d0d7de;--paper:#fff;--tint:#f6f8fa;--link:#0550ae;
--recorded:#116329;--computed:#0550ae;--stated:#8a4600}
@media (prefers-color-scheme:dark){:root{--ink:#e6edf3;--soft:#9da7b1;--line:#3d444d;--paper:#0d1117;--tint:#161b22;
--link:#79c0ff;--recorded:#56d364;--computed:#79c0ff;--stated:#f0a35e}}
*{box-sizing:border-box}
body{font:16px/1.55 system-ui,sans-serif;color:var(--ink);background:var(--paper);max-width:62rem;margin:0 auto;
padding:2rem 1.25rem 3rem}
h1{font-size:1.875rem;line-height:1.2;margin:.25rem 0 .5rem}h2{font-size:1.25rem;line-height:1.3;margin:0}
p{margin:.5rem 0;max-width:44rem}.lead{font-size:1.0625rem;color:var(--soft)}.code{color:var(--soft);margin:0}
a{color:var(--link)}
section{margin:2.25rem 0 0}.head{display:flex;flex-wrap:wrap;gap:.25rem .75rem;align-items:baseline;
border-bottom:1px solid var(--line);padding-bottom:.25rem}
.tag{font-size:.8125rem;font-weight:600}.tag.recorded{color:var(--recorded)}.tag.computed{color:var(--computed)}
.tag.stated{color:var(--stated)}
.legend{list-style:none;padding:0;font-size:.875rem;color:var(--soft)}.legend li{margin:.125rem 0}
.short{background:var(--tint);border-left:4px solid var(--link);border-radius:.25rem;padding:.5rem 1.25rem;
margin:1.5rem 0}
.short h2{font-size:1rem;margin:.25rem 0}.short p{margin:.375rem 0}
table{border-collapse:collapse;width:100%;font-size:.875rem;margin:.5rem 0}
th,td{text-align:left;vertical-align:top;padding:.3125rem .75rem .3125rem 0;border-bottom:1px solid var(--line)}
th:last-child,td:last-child{padding-right:0}
th{color:var(--soft);font-weight:600}tbody th{font-weight:normal;width:13rem}thead th{vertical-align:bottom}
th.number,td.number{text-align:right;font-variant-numeric:tabular-nums}
code{font-family:ui-monospace,SFMono-Regular,Menlo,monospace;font-size:.8125rem}
ul{margin:.5rem 0;padding-left:1.25rem;max-width:44rem}li{margin:.25rem 0}
footer{margin-top:3rem;border-top:1px solid var(--line);padding-top:.75rem;font-size:.8125rem;color:var(--soft)}
footer p{max-width:none}footer code{overflow-wrap:anywhere}
@media (max-width:44rem){body{padding:1.25rem 1rem 2rem}
thead{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%)}
table,tbody,tr,th,td{display:block;width:auto}tbody th{width:auto;padding-bottom:0;border-bottom:0}
tr.cells{border-bottom:1px solid var(--line);padding:.375rem 0}
tr.cells td,tr.cells td.number{border:0;text-align:left;padding:.0625rem 0}
tr.cells td::before{content:attr(data-label) ": ";color:var(--soft)}}
@page{size:A4;margin:18mm 18mm 22mm}
@media print{:root{--ink:#000;--soft:#333;--line:#999;--paper:#fff;--tint:#fff;--link:#000;--recorded:#000;
--computed:#000;--stated:#000}body{font-size:10pt;padding:0;max-width:none}table{font-size:8.5pt}
h2,.head,.known{break-after:avoid}tr{break-inside:avoid}thead{display:table-header-group}.short{border:1px solid #999}}
"""


def report_html(page: ReportPage) -> str:
    """Return a report as a page."""
    facts = Part(title="", name="facts", rows=tuple((Shown(text=label), value) for label, value in page.facts))
    summary = "".join(f"<p>{escape(line)}</p>" for line in page.summary)
    legend = "".join(f'<li><span class="tag {tag}">{tag}</span> {escape(text)}</li>' for tag, text in page.legend)
    body = (
        f'<header><p class="code">{escape(page.code)} · {escape(page.readers)}</p><h1>{escape(page.title)}</h1>'
        f'<p class="lead">{escape(page.about)}</p></header><main>'
        f'<div class="short"><h2>In short</h2>{summary}</div>'
        f'{_table(facts)}<ul class="legend">{legend}</ul>'
        f"{''.join(map(_section, page.parts))}</main>"
        f"<footer><p>{escape(page.code)} {escape(page.title)}, made {escape(page.made)}. Checkpoint: "
        f"{escape(page.checkpoint)}.</p><p>SHA-256 of report.json: <code>{page.digest}</code></p></footer>"
    )
    margins = (
        f'@page{{@bottom-left{{content:"{_css(page.code)} · {_css(page.checkpoint)}\\a report.json {page.digest}";'
        "white-space:pre;font:7.5pt/1.4 ui-monospace,monospace}"
        '@bottom-right{content:counter(page) " / " counter(pages);font:8pt system-ui,sans-serif}}'
    )
    viewport = '<meta name="viewport" content="width=device-width, initial-scale=1">'
    policy = "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
    title = f"<title>{escape(page.title)}</title>"
    head = f'<meta charset="utf-8">{policy}{viewport}{title}<style>{_STYLE}{margins}</style>'
    return f'<!DOCTYPE html>\n<html lang="en"><head>{head}</head>\n<body>{body}</body></html>\n'


def _section(part: Part) -> str:
    tag = f'<span class="tag {part.tag}" title="{escape(part.known)}">{part.tag}</span>' if part.tag else ""
    known = f'<p class="known code">{escape(part.known)}</p>' if part.known else ""
    text = "".join(f"<p>{escape(line)}</p>" for line in part.text)
    points = f"<ul>{''.join(f'<li>{escape(point)}</li>' for point in part.points)}</ul>" if part.points else ""
    head = f'<div class="head"><h2 id="{part.name}">{escape(part.title)}</h2>{tag}</div>'
    table = _table(part) if part.rows else ""
    return f'<section aria-labelledby="{part.name}">{head}{known}{text}{points}{table}</section>\n'


def _table(part: Part) -> str:
    """Return a table; the roles keep it one where a narrow screen lays its cells out one below the other."""
    if not part.headings:
        rows = "".join(
            f'<tr role="row"><th role="rowheader" scope="row">{escape(row[0].text)}</th>'
            f'<td role="cell">{_value(row[1])}</td></tr>'
            for row in part.rows
        )
        return f'<table role="table"><tbody role="rowgroup">{rows}</tbody></table>'
    heads = "".join(
        f'<th role="columnheader" scope="col"{_class(heading.is_number)}>{escape(heading.label)}</th>'
        for heading in part.headings
    )
    rows = ""
    for row in part.rows:
        cells = "".join(
            f'<td role="cell" data-label="{escape(heading.label)}"{_class(heading.is_number)}>{_value(value)}</td>'
            for heading, value in zip(part.headings, row, strict=True)
        )
        rows += f'<tr role="row" class="cells">{cells}</tr>'
    head = f'<thead role="rowgroup"><tr role="row">{heads}</tr></thead>'
    return f'<table role="table">{head}<tbody role="rowgroup">{rows}</tbody></table>'


def _value(value: Shown) -> str:
    text = "<wbr>".join(escape(piece) for piece in pieces(value.text))
    whole = f' title="{escape(value.whole)}"' if value.whole else ""
    if value.fixed:
        return f"<code{whole}>{text}</code>"
    return f"<span{whole}>{text}</span>" if whole else text


def _class(is_number: bool) -> str:  # noqa: FBT001  one flag, and private
    return ' class="number"' if is_number else ""


def _css(text: str) -> str:
    """Return text as it can stand in a string of a style sheet."""
    return "".join(c if c.isalnum() or c in " .,-/_:" else f"\\{ord(c):x} " for c in text)
