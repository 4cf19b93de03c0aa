"""Lineage graphs: how they are laid out, drawn and written down."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backstory.errors import InputError
from backstory.lineage.graph import Edge, Graph, Node
from backstory.lineage.graph_layout import arrange

SVG = "{http://www.w3.org/2000/svg}"
GAP = 20.0
LINKS = st.sets(st.tuples(st.integers(0, 9), st.integers(0, 9)).filter(lambda link: link[0] < link[1]), max_size=24)


def _graph(links: list[tuple[int, int]], grade: str = "exact") -> Graph:
    names = sorted({end for link in links for end in link} | {0})
    return Graph(
        title="prediction <1>",
        subject=f"n{names[-1]}",
        proof={"origin": "example.org", "root": "ab" * 32, "tree_size": "9"},
        nodes=tuple(
            Node(kind="rows", id=f"n{name}", label=f"{name} rows of a source with a long name", facts={"a": "1"})
            for name in names
        ),
        edges=tuple(Edge(source=f"n{a}", target=f"n{b}", grade=grade) for a, b in links),
    )


def _rectangles(root: ET.Element) -> list[tuple[float, float, float, float]]:
    boxes = [box for box in root.iter(f"{SVG}rect") if "box" in box.get("class", "")]
    return [tuple(float(box.get(name)) for name in ("x", "y", "width", "height")) for box in boxes]


def _height(name: str) -> float:
    return 40.0 if name else 6.0


@given(links=LINKS)
def test_a_link_leads_to_the_right(links):
    """Whatever the graph, what went in is in an earlier layer than what it went into, and nothing is lost."""
    nodes, named = [f"n{name}" for name in range(10)], sorted((f"n{a}", f"n{b}") for a, b in links)
    layout = arrange(nodes, named, _height, GAP)
    layer = {name: index for index, names in enumerate(layout.layers) for name in names}
    assert {name for name in layer if "\n" not in name} == set(nodes)
    for path in layout.paths.values():
        assert all(layer[other] == layer[one] + 1 for one, other in pairwise(path))


@given(links=LINKS)
def test_nothing_overlaps_in_a_layer(links):
    """Between things above each other there is the gap, whatever pulls them together."""
    layout = arrange([f"n{name}" for name in range(10)], sorted((f"n{a}", f"n{b}") for a, b in links), _height, GAP)
    for layer in layout.layers:
        for upper, lower in pairwise(layer):
            room = (_height("" if "\n" in upper else upper) + _height("" if "\n" in lower else lower)) / 2 + GAP
            assert layout.middles[lower] - layout.middles[upper] >= room - 1e-6


def test_crossings_are_undone():
    """Two nodes that feed two others crosswise are put in the order without a crossing."""
    layout = arrange(["a", "b", "c", "d"], [("a", "d"), ("b", "c")], _height, GAP)
    (first, second), order = layout.layers[0], layout.layers[1]
    assert [first, second].index("a") == order.index("d")


def test_a_picture_is_the_same_each_time():
    """The same graph gives the same bytes."""
    links = [(0, 3), (1, 3), (0, 2), (2, 3), (1, 2)]
    assert _graph(links).svg() == _graph(links).svg()


def test_a_picture_is_an_a4_page_that_says_what_it_is():
    """It is well-formed, has the shape of A4 across, a title and a description, and all names are escaped."""
    root = ET.fromstring(_graph([(0, 1)]).svg())
    assert (root.get("width"), root.get("height")) == ("297mm", "210mm")
    wide, high = map(float, root.get("viewBox").split()[2:])
    assert abs(wide / high - 297 / 210) < 0.01
    assert root.findtext(f"{SVG}title") == "Lineage of prediction <1>"
    assert "1 rows of a source" in root.findtext(f"{SVG}desc")


@pytest.mark.parametrize(("links", "paper"), [([(0, n) for n in range(1, 15)], "420mm"), ([(0, 1)], "297mm")])
def test_a_large_graph_is_on_larger_paper(links, paper):
    """No letters are smaller than five points when it is printed."""
    root = ET.fromstring(_graph(links).svg())
    across, wide = float(root.get("width")[:-2]), float(root.get("viewBox").split()[2])
    smallest = min(float(part.get("font-size")) for part in root.iter(f"{SVG}text") if part.get("font-size"))
    assert root.get("width") == paper
    assert smallest * across / wide / 25.4 * 72 >= 5


@pytest.mark.parametrize(
    "links", [[(0, 1)], [(a, b) for a in range(5) for b in range(5, 9)], [(n, n + 1) for n in range(14)]]
)
def test_boxes_are_on_the_page_and_apart(links):
    """No box overlaps another or leaves the page, of a small graph, a dense one and a long one."""
    root = ET.fromstring(_graph(links).svg())
    boxes = _rectangles(root)
    for index, (x, y, width, height) in enumerate(boxes):
        for left, top, wide, high in boxes[index + 1 :]:
            assert x + width <= left or left + wide <= x or y + height <= top or top + high <= y
    moved = next(part for part in root.iter(f"{SVG}g") if part.get("transform", "").startswith("translate("))
    right, down = map(float, moved.get("transform")[10:-1].split())
    page = tuple(map(float, root.get("viewBox").split()[2:]))
    assert all(
        right + x >= 0 and right + x + width <= page[0] and y + down + height <= page[1]
        for x, y, width, height in boxes
    )


@pytest.mark.parametrize("grade", ["declared", "probed", "coarse", "broken", "sealed"])
def test_a_grade_is_shown_by_its_line_and_in_words(grade):
    """No line that is not exact looks like one that is, and the word stands at it and in the legend."""
    drawn, exact = _graph([(0, 1)], grade).svg(), _graph([(0, 1)]).svg()
    assert [drawn.count("stroke-dasharray"), exact.count("stroke-dasharray")] == [2, 0]
    assert [drawn.count(f">{grade}</text>"), drawn.count(f">{grade}: ")] == [1, 2]


def test_a_long_name_is_cut_and_there_whole():
    """In the box it ends with an ellipsis; the box's title has all of it."""
    drawn = _graph([(0, 1)]).svg()
    assert "1 rows of a source with a…" in drawn
    assert "<title>1 rows of a source with a long name\nset of rows" in drawn


def test_data_names_what_led_where():
    """As values: nodes with kind, id, label and facts, edges with from, to, grade and label."""
    data = _graph([(0, 1)]).to_dict()
    assert data["edges"] == [{"from": "n0", "grade": "exact", "label": "", "to": "n1"}]
    assert set(data["nodes"][0]) == {"kind", "id", "label", "facts"}


@pytest.mark.parametrize(("ending", "begin"), [(".svg", "<?xml"), (".json", "{"), (".dot", "digraph")])
def test_a_graph_is_saved_by_the_ending(ending, begin, tmp_path: Path):
    """The file is a picture, data, or for Graphviz."""
    path = tmp_path / f"lineage{ending}"
    _graph([(0, 1)]).save(path)
    assert path.read_text().startswith(begin)
    assert ending != ".json" or json.loads(path.read_text())["subject"] == "n1"


def test_another_ending_is_refused(tmp_path: Path):
    """The form is never guessed."""
    with pytest.raises(InputError, match=r"\.svg, \.dot, \.json"):
        _graph([(0, 1)]).save(tmp_path / "lineage.png")
