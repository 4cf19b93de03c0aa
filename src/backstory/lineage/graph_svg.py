"""A lineage graph as a picture: SVG, black on white, to be read on a screen and on a printed page across, A4 or larger.

What a line means is said by its dashes and in words, so that no colour is needed.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from backstory.lineage.graph import GRADES, KINDS, Edge, Grade, Graph, Kind, Node
from backstory.lineage.graph_layout import arrange
from backstory.lineage.svg import cut_text as _cut
from backstory.lineage.svg import svg_number as _n
from backstory.lineage.svg import svg_text as _text

_PAGE = (1123.0, 794.0)
"""A4 across, at 96 points an inch; a larger graph is drawn smaller, and on larger paper."""
_PAPERS = ((297, 210), (420, 297), (594, 420), (841, 594), (1189, 841))
"""A4 to A0 across, in millimetres."""
_SMALLER_MAX = 1.6
"""How much smaller things may be drawn before larger paper is taken: the smallest letters are then of 5 points."""
_MARGIN = 36.0
_TITLE_SIZE, _TEXT_SIZE, _SMALL_SIZE = 20.0, 13.0, 11.0
_LINE = 16.0
_PAD = 10.0
_GAP = 22.0
_WAYPOINT_HEIGHT = 6.0
_BESIDE = 102.0
"""Room between layers: for the bends of lines, and the words at their ends."""
_STUB = 64.0
"""How much of it lines are straight in, so that none runs through a word."""
_PORT = 15.0
"""Between lines that end at one node; a word fits."""
_TITLE_CHARACTERS, _LABEL_CHARACTERS, _FACT_CHARACTERS = 90, 26, 32
_WIDE = 0.56
"""Width of a character, as a part of the size of the letters."""
_HEAD_HEIGHT, _LEGEND_HEIGHT = 88.0, 96.0
_HOW_TO_READ = "What went in is to the left of what it went into. A thick frame: what was asked about."
_DASHES: dict[Grade, str] = {
    "exact": "",
    "probed": "14 4",
    "declared": "7 5",
    "coarse": "2 4",
    "broken": "10 4 2 4",
    "sealed": "4 3 1 3",
}
_ROUND: frozenset[Kind] = frozenset({"model", "predictions", "prediction"})
_SHOWN_FACTS = 3
_STYLE = (
    "text{font-family:Helvetica,Arial,'Liberation Sans',sans-serif;fill:#000}"
    ".box{fill:#fff;stroke:#000;stroke-width:1.2}.subject{stroke-width:3}"
    ".line{fill:none;stroke:#000;stroke-width:1.2}.kind{fill:#444}.word{fill:#222}"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Box:
    """A node with what is written in it.

    Attributes:
        node: The node.
        lines: The lines of text with their sizes, the first bold.
        width: Its width.
        height: Its height: for its lines, or for the edges at one side of it.
    """

    node: Node
    lines: tuple[str, ...]
    width: float
    height: float


def draw(graph: Graph) -> str:
    """Return a graph as an SVG document."""
    picture = _Picture(graph)
    wide, high = picture.size
    width, height = _page(wide + 2 * _MARGIN, high + _HEAD_HEIGHT + _LEGEND_HEIGHT)
    room = height - _HEAD_HEIGHT - _LEGEND_HEIGHT - high
    shift = f"translate({_n((width - wide) / 2)} {_n(_HEAD_HEIGHT + max(0.0, room) / 2)})"
    drawn = [f'<g transform="{shift}">', *picture.edges(), *picture.nodes(), "</g>"]
    parts = [*_opening(graph, width, height), *_head(graph), *drawn, *_legend(graph, width, height), "</svg>"]
    return "\n".join(parts) + "\n"


def _page(wide: float, high: float) -> tuple[float, float]:
    """Return the size of a page of the shape of A4 that is no smaller than it and has room for the graph."""
    scale = max(1.0, wide / _PAGE[0], high / _PAGE[1])
    return _PAGE[0] * scale, _PAGE[1] * scale


def _opening(graph: Graph, width: float, height: float) -> list[str]:
    smaller = width / _PAGE[0]
    across, down = next((paper for paper in _PAPERS if smaller * _PAPERS[0][0] <= paper[0] * _SMALLER_MAX), _PAPERS[-1])
    size = f'width="{across}mm" height="{down}mm" viewBox="0 0 {_n(width)} {_n(height)}"'
    return [
        '<?xml version="1.0" encoding="UTF-8"?>',
        f'<svg xmlns="http://www.w3.org/2000/svg" version="1.1" {size} role="img" aria-labelledby="title desc">',
        f'<title id="title">{_text(f"Lineage of {graph.title}")}</title>',
        f'<desc id="desc">{_text(str(graph))}</desc>',
        f"<style>{_STYLE}</style>",
        f'<rect width="{_n(width)}" height="{_n(height)}" fill="#fff"/>',
    ]


def _head(graph: Graph) -> list[str]:
    proof = graph.proof
    read = f"Read from the log of {proof['origin']} at tree size {proof['tree_size']}, root {proof['root'][:16]}…"
    title = _cut(f"Lineage of {graph.title}", _TITLE_CHARACTERS)
    at = f'x="{_n(_MARGIN)}" y="{_n(_MARGIN + 8)}" font-size="{_n(_TITLE_SIZE)}"'
    below = f'x="{_n(_MARGIN)}" y="{_n(_MARGIN + 28)}" font-size="{_n(_SMALL_SIZE)}"'
    return [f'<text {at} font-weight="bold">{_text(title)}</text>', f"<text {below}>{_text(read)}</text>"]


def _box(node: Node, ports: int) -> _Box:
    facts = tuple(_cut(f"{name} {text}", _FACT_CHARACTERS) for name, text in list(node.facts.items())[:_SHOWN_FACTS])
    label, kind = _cut(node.label, _LABEL_CHARACTERS), KINDS[node.kind]
    width = max(len(label) * _TEXT_SIZE * (_WIDE + 0.05), *(len(line) * _SMALL_SIZE * _WIDE for line in (kind, *facts)))
    height = max(_LINE * (2 + len(facts)), _PORT * ports)
    return _Box(node=node, lines=(label, kind, *facts), width=width + 2 * _PAD, height=height + 2 * _PAD)


class _Picture:
    """A graph laid out, and what is drawn of it."""

    def __init__(self, graph: Graph) -> None:
        """Lay a graph out."""
        self._graph = graph
        self._coming: dict[str, list[Edge]] = defaultdict(list)
        self._going: dict[str, list[Edge]] = defaultdict(list)
        for edge in graph.edges:
            self._coming[edge.target].append(edge)
            self._going[edge.source].append(edge)
        self._boxes = {
            node.id: _box(node, max(len(self._coming[node.id]), len(self._going[node.id]))) for node in graph.nodes
        }
        links = [(edge.source, edge.target) for edge in graph.edges]
        heights = {name: box.height for name, box in self._boxes.items()}
        layout = arrange(list(heights), links, lambda name: heights.get(name, _WAYPOINT_HEIGHT), _GAP)
        self._layout = layout
        self._layer = {name: index for index, names in enumerate(layout.layers) for name in names}
        self._widths = [
            max(self._boxes[name].width for name in layer if name in self._boxes) for layer in layout.layers
        ]
        self._lefts = [sum(self._widths[:index]) + _BESIDE * index for index in range(len(self._widths))]

    @property
    def size(self) -> tuple[float, float]:
        """Width and height."""
        bottoms = [self._layout.middles[name] + box.height / 2 for name, box in self._boxes.items()]
        return self._lefts[-1] + self._widths[-1], max(bottoms)

    def nodes(self) -> list[str]:
        """Return the boxes."""
        return [
            _drawn_box(
                box,
                self._left(box),
                self._layout.middles[name] - box.height / 2,
                is_subject=name == self._graph.subject,
            )
            for name, box in self._boxes.items()
        ]

    def edges(self) -> list[str]:
        """Return the lines with their words; at each node they begin and end in the order of where they lead."""
        starts, stops = self._ports(self._going, 1), self._ports(self._coming, -2)
        return [self._drawn_edge(edge, starts[edge], stops[edge]) for edge in self._graph.edges]

    def _left(self, box: _Box) -> float:
        layer = self._layer[box.node.id]
        return self._lefts[layer] + (self._widths[layer] - box.width) / 2

    def _ports(self, edges: dict[str, list[Edge]], at: int) -> dict[Edge, float]:
        """Return at which height each edge meets its node; `at` is where on its path the next thing is."""

        def beside(edge: Edge) -> float:
            return self._layout.middles[self._layout.paths[edge.source, edge.target][at]]

        return {
            edge: self._layout.middles[name] + (index - (len(own) - 1) / 2) * _PORT
            for name, own in edges.items()
            for index, edge in enumerate(sorted(own, key=beside))
        }

    def _drawn_edge(self, edge: Edge, start: float, stop: float) -> str:
        path = self._layout.paths[edge.source, edge.target]
        first, last = self._layer[edge.source], self._layer[edge.target]
        source, target = self._boxes[edge.source], self._boxes[edge.target]
        x, y = self._lefts[first] + self._widths[first], start
        line = f"M{_n(self._left(source) + source.width)} {_n(y)}H{_n(x)}"
        for name in path[1:-1]:
            left, right = (self._lefts[self._layer[name]] + more for more in (0.0, self._widths[self._layer[name]]))
            middle = self._layout.middles[name]
            line += _bend(x, y, left - _STUB, middle) + f"H{_n(right)}"
            x, y = right, middle
        stub, tip = self._lefts[last] - _STUB, self._left(target)
        line += _bend(x, y, stub, stop) + f"H{_n(tip - 6)}"
        whole = f"{edge.grade}: {GRADES[edge.grade]}" + (f"\n{edge.label}" if edge.label else "")
        at = f'x="{_n((stub + self._lefts[last]) / 2 - 6)}" y="{_n(stop - 3)}"'
        arrow = f"M{_n(tip - 9)} {_n(stop - 4)}L{_n(tip)} {_n(stop)}L{_n(tip - 9)} {_n(stop + 4)}z"
        return (
            f'<g><title>{_text(whole)}</title><path class="line" d="{line}"{_dash(edge.grade)}/><path d="{arrow}"/>'
            f'<text class="word" {at} font-size="{_n(_SMALL_SIZE)}" text-anchor="middle">{_text(edge.grade)}</text></g>'
        )


def _drawn_box(box: _Box, left: float, top: float, *, is_subject: bool) -> str:
    node = box.node
    corners = f' rx="{_n(_PAD * 1.4)}"' if node.kind in _ROUND else ""
    class_ = "box subject" if is_subject else "box"
    whole = "\n".join([node.label, KINDS[node.kind], *(f"{name}: {text}" for name, text in node.facts.items())])
    place = f'x="{_n(left)}" y="{_n(top)}" width="{_n(box.width)}" height="{_n(box.height)}"'
    parts = [f"<g><title>{_text(whole)}</title>", f'<rect class="{class_}" {place}{corners}/>']
    if node.kind == "dataset":  # a second line at its side, as tables are drawn
        parts.append(f'<path class="line" d="M{_n(left + 4)} {_n(top)}v{_n(box.height)}"/>')
    line = top + (box.height - _LINE * len(box.lines)) / 2 + _LINE * 0.76
    for index, text in enumerate(box.lines):
        size, more = (_TEXT_SIZE, ' font-weight="bold"') if index == 0 else (_SMALL_SIZE, "")
        more += ' class="kind" font-style="italic"' if index == 1 else ""
        at = f'x="{_n(left + box.width / 2)}" y="{_n(line + _LINE * index)}"'
        parts.append(f'<text {at} font-size="{_n(size)}" text-anchor="middle"{more}>{_text(text)}</text>')
    return "".join([*parts, "</g>"])


def _dash(grade: Grade) -> str:
    return f' stroke-dasharray="{_DASHES[grade]}"' if _DASHES[grade] else ""


def _bend(x: float, y: float, to_x: float, to_y: float) -> str:
    middle = (x + to_x) / 2
    return f"C{_n(middle)} {_n(y)} {_n(middle)} {_n(to_y)} {_n(to_x)} {_n(to_y)}"


def _legend(graph: Graph, width: float, height: float) -> list[str]:
    """Return what the lines mean: those that are in the graph."""
    used = [grade for grade in GRADES if any(edge.grade == grade for edge in graph.edges)]
    top = height - _LEGEND_HEIGHT + 30
    parts = [f'<path class="line" d="M{_n(_MARGIN)} {_n(top - 20)}H{_n(width - _MARGIN)}"/>']
    left = _MARGIN
    for grade in used:
        text = f"{grade}: {GRADES[grade]}"
        room = 46 + len(text) * _SMALL_SIZE * _WIDE + 16
        if left + room > width - _MARGIN:
            left, top = _MARGIN, top + _LINE
        parts.append(f'<path class="line" d="M{_n(left)} {_n(top - 4)}h40"{_dash(grade)}/>')
        parts.append(f'<text x="{_n(left + 46)}" y="{_n(top)}" font-size="{_n(_SMALL_SIZE)}">{_text(text)}</text>')
        left += room
    at = f'x="{_n(_MARGIN)}" y="{_n(top + _LINE)}" font-size="{_n(_SMALL_SIZE)}"'
    return [*parts, f"<text {at}>{_text(_HOW_TO_READ)}</text>"]
