"""Charts: what they say in words and draw."""

from __future__ import annotations

from xml.etree import ElementTree as ET

from backstory.debug.chart import Bar, Level, Line, bars, lines

SVG = "{http://www.w3.org/2000/svg}"


def test_a_chart_of_bars_is_told_in_words():
    """The description of a chart of bars names each bar with its value and interval, escaped."""
    drawn = bars(
        "a < b", [Bar(label="<x>", value=2.5, low=1, high=4, note="3 of 9")], level=Level(label="none", value=1)
    )
    root = ET.fromstring(drawn)
    assert root.find(f"{SVG}title").text == "a < b"
    assert root.find(f"{SVG}desc").text == "<x>: 2.5, from 1 to 4 (3 of 9)"


def test_bars_below_zero_begin_at_zero():
    """Bars of values on both sides of zero end where zero is."""
    root = ET.fromstring(bars("t", [Bar(label="a", value=-1), Bar(label="b", value=1)]))
    first, second = (
        (float(r.get("x")), float(r.get("width"))) for r in root.iter(f"{SVG}rect") if r.get("class") == "bar"
    )
    assert first[0] + first[1] == second[0]


def test_a_line_breaks_where_there_is_no_value():
    """A line has a gap where a value is missing, and a ring where there is a mark."""
    values = [1.0, 2.0, None, 2.0, 1.0]
    root = ET.fromstring(lines("t", list("abcde"), [Line(label="x", values=values, marks=frozenset({3}))]))
    paths = [path.get("d") for path in root.iter(f"{SVG}path") if path.get("class") == "line"]
    assert paths[0].count("M") == 2
    assert "x: from 1 to 2, alarm at d" in root.find(f"{SVG}desc").text


def test_many_bars_stand_on_their_page():
    """More bars than fit across are on a page that stands, all within it."""
    root = ET.fromstring(bars("t", [Bar(label=str(at), value=at) for at in range(60)]))
    assert (root.get("width"), root.get("height")) == ("210mm", "297mm")
    bottom = float(root.get("viewBox").split()[3])
    assert all(float(text.get("y")) < bottom for text in root.iter(f"{SVG}text"))


def test_a_chart_of_nothing_is_a_chart():
    """No bars and no lines are drawn as an empty chart."""
    assert bars("t", []).endswith("</svg>\n")
    assert lines("t", [], []).endswith("</svg>\n")
