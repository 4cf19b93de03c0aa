"""The PDF of a report, set by Typst: archival (PDF/A-2a), accessible (PDF/UA-1), fonts inside, the same bytes again.

Text goes to Typst as data, so nothing in it is read as markup. Only characters that its own fonts are known to have go
there, as it refuses others, and stops altogether at some.
"""

from __future__ import annotations

import dataclasses
import json
import re
from datetime import UTC, datetime
from importlib.resources import files
from typing import Any, Final

from backstory.errors import InputError
from backstory.records.identity import parse_time
from backstory.report.report_page import Part, ReportPage, Shown, pieces

_SHOWN: Final = (
    (0x20, 0x7E),
    (0xA0, 0x24F),
    (0x370, 0x3FF),
    (0x400, 0x4FF),
    (0x1E00, 0x1EFF),
    (0x2010, 0x2027),
    (0x2030, 0x203F),
    (0x2070, 0x209C),
    (0x20A0, 0x20BF),
    (0x2190, 0x22FF),
    (0x25A0, 0x25FF),
)
"""Latin, Greek, Cyrillic, punctuation, currencies, arrows, operators: what the fonts inside Typst have."""

_BREAK: Final = "\u200b"
_WIDTH_MAX = 44
_LETTERS_A_LINE = 118
_FIXED_WIDER = 1.2


def report_pdf(page: ReportPage, made: str, generator: str) -> bytes:
    """Return a report as PDF.

    Args:
        page: The report laid out for readers.
        made: When it was made, RFC 3339.
        generator: What made it, for the file's properties.

    Raises:
        InputError: The extra `report` is not installed.
    """
    try:
        import typst
    except ImportError:
        raise InputError("report: expected the package typst for PDF: pip install 'backstory[report]'") from None
    moment = datetime.fromtimestamp(parse_time(made) // 10**9, UTC)
    data = _data(page) | {"date": [*moment.timetuple()[:6]], "generator": _plain(generator)}
    pdf = typst.compile(
        files("backstory.report").joinpath("report.typ").read_bytes(),
        format="pdf",
        sys_inputs={"report": json.dumps(data)},
        pdf_standards=["a-2a", "ua-1"],
        ignore_system_fonts=True,
        timestamp=moment,
    )
    return bytes(pdf)


def _data(page: ReportPage) -> dict[str, Any]:
    """Return what the template takes."""
    return {
        "about": _plain(page.about),
        "checkpoint": _plain(page.checkpoint),
        "code": _plain(page.code),
        "digest": page.digest,
        "facts": [[{"fixed": False, "text": _plain(label)}, _value(value)] for label, value in page.facts],
        "id": page.id,
        "labels": max(len(label) for label, _ in page.facts),
        "legend": [{"tag": tag, "text": text} for tag, text in page.legend],
        "parts": [_part(part) for part in page.parts],
        "readers": _plain(page.readers),
        "summary": [_plain(line) for line in page.summary],
        "title": _plain(page.title),
    }


def _part(part: Part) -> dict[str, Any]:
    return {
        "headings": [{"label": _plain(one.label), "number": one.is_number} for one in part.headings],
        "known": _plain(part.known),
        "labels": max((len(row[0].text) for row in part.rows), default=0),
        "points": [_plain(point) for point in part.points],
        "rows": [[_value(value) for value in row] for row in part.rows],
        "tag": part.tag,
        "text": [_plain(line) for line in part.text],
        "title": _plain(part.title),
        "widths": _widths(part),
    }


def _widths(part: Part) -> list[float]:
    """Return how wide columns are beside each other: what the longest word needs, more for longer texts."""
    need, want = [], []
    for at, heading in enumerate(part.headings):
        cells = [(heading.label, False), *((row[at].text, row[at].fixed) for row in part.rows)]
        need.append(max(_letters(word, fixed) for text, fixed in cells for word in _words(text)) + 1)
        want.append(min(max(_letters(text, fixed) for text, fixed in cells) + 1, _WIDTH_MAX))
    more = [max(wide - least, 0) for wide, least in zip(want, need, strict=True)]
    room = max(_LETTERS_A_LINE - sum(need), 0) / max(sum(more), 1)
    return [round(least + extra * min(room, 1), 3) for least, extra in zip(need, more, strict=True)]


def _words(text: str) -> list[str]:
    """Return what cannot be broken."""
    return [word for piece in pieces(text) for word in re.split("[ -]", piece)]


def _letters(text: str, fixed: bool) -> float:  # noqa: FBT001  of a value, as it is
    return len(text) * (_FIXED_WIDER if fixed else 1)


def _value(value: Shown) -> dict[str, Any]:
    return dataclasses.asdict(value) | {"text": _plain(value.text)}


def _plain(text: str) -> str:
    """Return text of characters that can be shown, in which long words can be broken."""
    return _BREAK.join(pieces("".join(map(_shown, text))))


def _shown(character: str) -> str:
    number = ord(character)
    if character.isprintable() and any(first <= number <= last for first, last in _SHOWN):
        return character
    return " " if character == "\n" else f"<U+{number:04X}>"
