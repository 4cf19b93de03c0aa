"""Charts as pictures: SVG, black on white, to be read on a screen and on a printed page of A4.

What belongs to what is said by dashes, shapes and words, so that no colour is needed. It draws numbers it is given and
computes none; a graph of lineage is drawn by `lineage/graph_svg.py`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from backstory.errors import InputError
from backstory.lineage.svg import cut_text as _cut
from backstory.lineage.svg import svg_number as _n
from backstory.lineage.svg import svg_text as _text
from backstory.storage.disk import storage_errors

_LONG, _SHORT = 1123.0, 794.0
"""The sides of A4 at 96 points an inch."""
_MARGIN = 36.0
_TITLE_SIZE, _TEXT_SIZE, _SMALL_SIZE = 20.0, 13.0, 11.0
_LINE = 16.0
_ROW = 36.0
_ACROSS_ROWS = 16
"""More bars than these are drawn on a page that stands."""
_HEAD, _FOOT = 96.0, 60.0
_LABEL_WIDTH, _VALUE_WIDTH, _KEY_WIDTH = 250.0, 76.0, 210.0
_TITLE_CHARACTERS, _LABEL_CHARACTERS, _NOTE_CHARACTERS, _KEY_CHARACTERS = 90, 34, 46, 28
_WIDE = 0.56
"""Width of a character, as a part of the size of the letters."""
_TICKS = 5
_WHOLE_MAX, _ROUNDED_FROM = 1e15, 1000
_DASHES = ("", "9 4", "3 3", "14 4 3 4", "6 3 1 3", "1 4")
_STYLE = (
    "text{font-family:Helvetica,Arial,'Liberation Sans',sans-serif;fill:#000}"
    ".line{fill:none;stroke:#000;stroke-width:1.6}.thin{fill:none;stroke:#000;stroke-width:1}"
    ".grid{fill:none;stroke:#ccc;stroke-width:1}.bar{fill:#ddd;stroke:#000;stroke-width:1}.soft{fill:#444}"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One bar.

    Attributes:
        label: What it is of.
        value: How long it is.
        low: Lower end of the interval its value is in; None without one.
        high: Upper end.
        note: A few words below the label.
    """

    label: str
    value: float
    low: float | None = None
    high: float | None = None
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line of a chart of lines.

    Attributes:
        label: What it is of.
        values: Its value at each label of the axis; None where there is none.
        marks: At which of them a mark is drawn, such as an alarm.
    """

    label: str
    values: Sequence[float | None]
    marks: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """A value drawn from side to side, such as a threshold.

    Attributes:
        label: What it is.
        value: Where.
    """

    label: str
    value: float


def bars(title: str, rows: Sequence[Bar], *, axis: str = "", subtitle: str = "", level: Level | None = None) -> str:
    """Return a chart of bars as an SVG document: one below the other, with their intervals and values.

    Args:
        title: What it shows.
        rows: The bars, from the top.
        axis: What the values are.
        subtitle: One line below the title.
        level: A value drawn from top to bottom.
    """
    wide, high = (_LONG, _SHORT) if len(rows) <= _ACROSS_ROWS else (_SHORT, _LONG)
    needed = _HEAD + _FOOT + _ROW * len(rows)
    scale = max(1.0, needed / high)
    width, height = wide * scale, high * scale
    left, right = _MARGIN + _LABEL_WIDTH, width - _MARGIN - _VALUE_WIDTH
    ends = [end for row in rows for end in (row.value, row.low, row.high) if end is not None]
    scale_of = _Scale.over([*ends, 0.0, *([level.value] if level else [])], left, right)
    bottom = _HEAD + _ROW * len(rows)
    parts = [f'<path class="grid" d="M{_n(x)} {_n(_HEAD)}V{_n(bottom)}"/>' for x, _ in scale_of.ticks()]
    parts += [_words(text, x, bottom + _LINE, _SMALL_SIZE, "middle") for x, text in scale_of.ticks()]
    parts += [_bar(row, scale_of, _HEAD + _ROW * index, right) for index, row in enumerate(rows)]
    if level is not None:
        x = scale_of.at(level.value)
        parts.append(f'<path class="thin" stroke-dasharray="7 5" d="M{_n(x)} {_n(_HEAD)}V{_n(bottom)}"/>')
        parts.append(_words(level.label, x, _HEAD - 6, _SMALL_SIZE, "middle"))
    parts.append(_words(axis, (left + right) / 2, bottom + 2.4 * _LINE, _SMALL_SIZE, "middle"))
    said = [f"{row.label}: {_number(row.value)}{_interval(row)}{f' ({row.note})' if row.note else ''}" for row in rows]
    return _document(title, subtitle, said, (width, height), parts)


def lines(
    title: str,
    labels: Sequence[str],
    series: Sequence[Line],
    *,
    axis: str = "",
    subtitle: str = "",
    levels: Sequence[Level] = (),
) -> str:
    """Return a chart of lines as an SVG document.

    Args:
        title: What it shows.
        labels: What the points are of, from the left, such as days.
        series: The lines, each with as many values; more than six look alike in their dashes.
        axis: What the values are.
        subtitle: One line below the title.
        levels: Values drawn from side to side.
    """
    left, right = _MARGIN + 60, _LONG - _MARGIN - _KEY_WIDTH
    top, bottom = _HEAD, _SHORT - _FOOT - 2 * _LINE
    values = [value for one in series for value in one.values if value is not None]
    scale = _Scale.over([*values, *(level.value for level in levels), 0.0], bottom, top)
    step = (right - left) / max(1, len(labels) - 1)
    across = [left + step * index for index in range(len(labels))] if len(labels) > 1 else [(left + right) / 2]
    parts = [f'<path class="grid" d="M{_n(left)} {_n(y)}H{_n(right)}"/>' for y, _ in scale.ticks()]
    parts += [_words(text, left - 8, y + 4, _SMALL_SIZE, "end") for y, text in scale.ticks()]
    parts += _axis_words(labels, across, bottom)
    for level in levels:
        y = scale.at(level.value)
        parts.append(f'<path class="thin" stroke-dasharray="7 5" d="M{_n(left)} {_n(y)}H{_n(right)}"/>')
        parts.append(_words(level.label, right - 4, y - 4, _SMALL_SIZE, "end"))
    parts += [_path(one, index, scale, across) for index, one in enumerate(series)]
    parts += _key(series, right + 16, top)
    parts.append(_words(axis, _MARGIN, top - 12, _SMALL_SIZE, "start"))
    said = [f"{one.label}: {_extent(one, labels)}" for one in series]
    return _document(title, subtitle, said, (_LONG, _SHORT), parts)


@dataclass(frozen=True, slots=True)
class _Scale:
    """Where values are drawn, in steps that are round numbers."""

    low: float
    high: float
    step: float
    start: float
    stop: float

    @staticmethod
    def over(values: Sequence[float], start: float, stop: float) -> _Scale:
        """Return one that has room for values, which are numbers."""
        least, greatest = min(values), max(values)
        if least == greatest:
            greatest = least + 1.0
        rough = (greatest - least) / _TICKS
        size = 10.0 ** math.floor(math.log10(rough))
        step = next(size * factor for factor in (1, 2, 5, 10) if size * factor >= rough * 0.999)
        return _Scale(math.floor(least / step) * step, math.ceil(greatest / step) * step, step, start, stop)

    def at(self, value: float) -> float:
        """Return where a value is."""
        return self.start + (value - self.low) / (self.high - self.low) * (self.stop - self.start)

    def ticks(self) -> list[tuple[float, str]]:
        """Return where the steps are, with their numbers."""
        count = round((self.high - self.low) / self.step)
        values = [self.low + self.step * index for index in range(count + 1)]
        return [(self.at(value), _number(0.0 if abs(value) < self.step / 2 else value)) for value in values]


def _bar(row: Bar, scale: _Scale, top: float, right: float) -> str:
    zero, end, middle = scale.at(0.0), scale.at(row.value), top + _ROW / 2
    place = f'x="{_n(min(zero, end))}" y="{_n(top + 9)}" width="{_n(abs(end - zero))}" height="{_n(_ROW - 18)}"'
    whole = f"{row.label}: {_number(row.value)}{_interval(row)}"
    parts = [f'<g><title>{_text(whole)}</title><rect class="bar" {place}/>']
    if row.low is not None and row.high is not None:
        low, high = scale.at(row.low), scale.at(row.high)
        ends = f"M{_n(low)} {_n(middle - 5)}v10M{_n(high)} {_n(middle - 5)}v10"
        parts.append(f'<path class="line" d="M{_n(low)} {_n(middle)}H{_n(high)}{ends}"/>')
    label = _cut(row.label, _LABEL_CHARACTERS)
    parts.append(_words(label, _MARGIN, middle + (0 if row.note else 5), _TEXT_SIZE, "start"))
    if row.note:
        parts.append(_words(_cut(row.note, _NOTE_CHARACTERS), _MARGIN, middle + 13, _SMALL_SIZE - 1, "start", "soft"))
    parts.append(_words(_number(row.value), right + 10, middle + 5, _TEXT_SIZE, "start"))
    return "".join([*parts, "</g>"])


def _path(one: Line, index: int, scale: _Scale, across: Sequence[float]) -> str:
    """Return a line, broken where there is no value; a value with none beside it is a dot."""
    points = [None if value is None else (x, scale.at(value)) for x, value in zip(across, one.values, strict=True)]
    line = "".join(
        "" if point is None else f"{'M' if before is None else 'L'}{_n(point[0])} {_n(point[1])}"
        for before, point in pairwise([None, *points])
    )
    dash = _DASHES[index % len(_DASHES)]
    parts = [f"<g><title>{_text(one.label)}</title>"]
    parts.append(f'<path class="line"{f" stroke-dasharray={chr(34)}{dash}{chr(34)}" if dash else ""} d="{line}"/>')
    for at, point in enumerate(points):
        beside = [points[near] for near in (at - 1, at + 1) if 0 <= near < len(points)]
        if point is not None and (at in one.marks or not any(beside)):
            radius, fill = ("5", "#fff") if at in one.marks else ("2", "#000")
            place = f'cx="{_n(point[0])}" cy="{_n(point[1])}" r="{radius}"'
            parts.append(f'<circle {place} fill="{fill}" stroke="#000" stroke-width="2"/>')
    return "".join([*parts, "</g>"])


def _axis_words(labels: Sequence[str], across: Sequence[float], bottom: float) -> list[str]:
    """Return the labels below the axis: as many as there is room for, the same distance apart."""
    room = max((len(label) for label in labels), default=1) * _SMALL_SIZE * _WIDE + 14
    step = across[1] - across[0] if len(across) > 1 else room
    every = max(1, math.ceil(room / step))
    return [
        _words(labels[at], across[at], bottom + _LINE, _SMALL_SIZE, "middle") for at in range(0, len(labels), every)
    ]


def _key(series: Sequence[Line], left: float, top: float) -> list[str]:
    parts = []
    for index, one in enumerate(series):
        y, dash = top + 8 + index * 1.4 * _LINE, _DASHES[index % len(_DASHES)]
        dashes = f' stroke-dasharray="{dash}"' if dash else ""
        parts.append(f'<path class="line"{dashes} d="M{_n(left)} {_n(y - 4)}h36"/>')
        parts.append(_words(_cut(one.label, _KEY_CHARACTERS), left + 42, y, _SMALL_SIZE, "start"))
    if any(one.marks for one in series):
        y = top + 8 + len(series) * 1.4 * _LINE
        parts.append(
            f'<circle cx="{_n(left + 18)}" cy="{_n(y - 4)}" r="5" fill="#fff" stroke="#000" stroke-width="2"/>'
        )
        parts.append(_words("alarm", left + 42, y, _SMALL_SIZE, "start"))
    return parts


def require_svg(path: str | Path, question: str) -> None:
    """Refuse a file for a chart whose name says that it is something else.

    Raises:
        InputError: Its name does not end in `.svg`.
    """
    if Path(path).suffix != ".svg":
        raise InputError(f"{question}: expected a file that ends in .svg, got {Path(path).suffix!r}")


def write_chart(path: str | Path, question: str, chart: str) -> None:
    """Write a chart to a file.

    Args:
        path: Where; its name ends in `.svg`.
        question: What was asked, for the errors, such as `drift`.
        chart: What `bars` or `lines` returned.

    Raises:
        InputError: Its name has another ending.
        StorageError: It cannot be written.
    """
    require_svg(path, question)
    with storage_errors("writing", Path(path)):
        Path(path).write_text(chart, encoding="utf-8")


def _document(title: str, subtitle: str, said: list[str], size: tuple[float, float], parts: list[str]) -> str:
    paper = (297, 210) if size[0] > size[1] else (210, 297)
    box = f'width="{paper[0]}mm" height="{paper[1]}mm" viewBox="0 0 {_n(size[0])} {_n(size[1])}"'
    opening = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        f'<svg xmlns="http://www.w3.org/2000/svg" version="1.1" {box} role="img" aria-labelledby="title desc">',
        f'<title id="title">{_text(title)}</title>',
        f'<desc id="desc">{_text("; ".join(said))}</desc>',
        f"<style>{_STYLE}</style>",
        f'<rect width="{_n(size[0])}" height="{_n(size[1])}" fill="#fff"/>',
        _words(_cut(title, _TITLE_CHARACTERS), _MARGIN, _MARGIN + 8, _TITLE_SIZE, "start", "", ' font-weight="bold"'),
        _words(subtitle, _MARGIN, _MARGIN + 28, _SMALL_SIZE, "start"),
    ]
    return "\n".join([*opening, *parts, "</svg>"]) + "\n"


def _words(text: str, x: float, y: float, size: float, anchor: str, class_: str = "", more: str = "") -> str:
    if not text:
        return ""
    more += f' class="{class_}"' if class_ else ""
    return f'<text x="{_n(x)}" y="{_n(y)}" font-size="{_n(size)}" text-anchor="{anchor}"{more}>{_text(text)}</text>'


def _interval(row: Bar) -> str:
    return "" if row.low is None or row.high is None else f", from {_number(row.low)} to {_number(row.high)}"


def _extent(one: Line, labels: Sequence[str]) -> str:
    known = [value for value in one.values if value is not None]
    extent = f"from {_number(min(known))} to {_number(max(known))}" if known else "no values"
    alarms = ", ".join(labels[at] for at in sorted(one.marks))
    return extent + (f", alarm at {alarms}" if alarms else "")


def _number(value: float) -> str:
    if float(value).is_integer() and abs(value) < _WHOLE_MAX:
        return f"{int(value):,}"
    return f"{value:,.0f}" if abs(value) >= _ROUNDED_FROM else f"{value:.3g}"
