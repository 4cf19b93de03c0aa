"""A lineage graph as data: what something was made of and what was made of it, each edge with its grade.

Rows are never nodes: a node stands for a set of rows and says how many they are. No node holds a value of a row.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

from backstory.errors import InputError

Kind: TypeAlias = Literal["origin", "dataset", "rows", "group", "code", "run", "model", "predictions", "prediction"]
Grade: TypeAlias = Literal["exact", "declared", "probed", "coarse", "broken", "sealed"]

KINDS: dict[Kind, str] = {
    "origin": "where rows were read",
    "dataset": "dataset version",
    "rows": "set of rows",
    "group": "group of rows",
    "code": "code",
    "run": "run",
    "model": "model version",
    "predictions": "predictions",
    "prediction": "prediction",
}
"""What a node of each kind is, in words."""

GRADES: dict[Grade, str] = {
    "exact": "follows from recorded ids or digests",
    "probed": "found by trying",
    "declared": "somebody said so",
    "coarse": "no finer than a table",
    "broken": "not known: an id was lost",
    "sealed": "about people, not opened",
}
"""What an edge of each grade is, in words, the surest first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A thing in a graph.

    Attributes:
        kind: What kind of thing.
        id: Names it in the graph; the same for the same thing in every graph.
        label: What it is called, in a few words.
        facts: What else is known, by name, as text.
    """

    kind: Kind
    id: str
    label: str
    facts: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Edge:
    """That one thing went into another.

    Attributes:
        source: Id of the node that went in.
        target: Id of the node it went into.
        grade: How sure that is.
        label: What came that way, such as features; may be empty.
    """

    source: str
    target: str
    grade: Grade
    label: str = ""


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Graph:
    """A lineage graph.

    Attributes:
        title: What it is about.
        subject: Id of the node it is about.
        proof: Tree size and root of the log it was read from.
        nodes: The nodes, each once.
        edges: The edges; they form no circle.
    """

    title: str
    subject: str
    proof: dict[str, str]
    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the graph as values JSON has."""
        return {
            "edges": [
                {"from": edge.source, "grade": edge.grade, "label": edge.label, "to": edge.target}
                for edge in self.edges
            ],
            "nodes": [asdict(node) for node in self.nodes],
            "proof": dict(self.proof),
            "subject": self.subject,
            "title": self.title,
        }

    def svg(self) -> str:
        """Return the graph as a picture, an SVG document."""
        from backstory.lineage.graph_svg import draw

        return draw(self)

    def dot(self) -> str:
        """Return the graph in the language of Graphviz."""
        lines = ["digraph lineage {", "  rankdir=LR;", '  node [shape=box, fontname="sans-serif"];']
        lines.append(f"  label={_quoted(self.title)};")
        for node in self.nodes:
            facts = [f"{name} {text}" for name, text in node.facts.items()]
            lines.append(f"  {_quoted(node.id)} [label={_quoted(chr(10).join([node.label, *facts]))}];")
        for edge in self.edges:
            label = edge.grade if not edge.label else f"{edge.grade}: {edge.label}"
            style = "solid" if edge.grade == "exact" else "dashed"
            ends = f"{_quoted(edge.source)} -> {_quoted(edge.target)}"
            lines.append(f"  {ends} [label={_quoted(label)}, style={style}];")
        return "\n".join([*lines, "}"]) + "\n"

    def save(self, path: str | Path) -> None:
        """Write the graph to a file.

        Args:
            path: By its ending a picture (`.svg`), data (`.json`), or for Graphviz (`.dot`).

        Raises:
            InputError: Its name has another ending.
        """
        path = Path(path)
        forms: dict[str, Callable[[], str]] = {
            ".svg": self.svg,
            ".dot": self.dot,
            ".json": lambda: json.dumps(self.to_dict(), indent=2, ensure_ascii=False) + "\n",
        }
        form = forms.get(path.suffix.lower())
        if form is None:
            raise InputError(f"graph: expected a file ending in one of {', '.join(forms)}, got {path.name!r}")
        path.write_text(form(), "utf-8")

    def __repr__(self) -> str:
        """Return on one line what it is about, and its size."""
        return f"<Graph of {self.title}: {len(self.nodes)} nodes, {len(self.edges)} edges>"

    def outline(self) -> Iterator[tuple[int, Edge]]:
        """Yield each edge once with how far it is from the subject: what went in below what it went into."""
        coming: dict[str, list[Edge]] = {}
        going: dict[str, list[Edge]] = {}
        for edge in self.edges:
            coming.setdefault(edge.target, []).append(edge)
            going.setdefault(edge.source, []).append(edge)
        told: set[Edge] = set()
        for onward, others in ((False, coming), (True, going)):
            waiting = [(0, edge) for edge in reversed(others.get(self.subject, []))]
            while waiting:
                depth, edge = waiting.pop()
                if edge in told:
                    continue
                told.add(edge)
                yield depth, edge
                after = others.get(edge.target if onward else edge.source, [])
                waiting += [(depth + 1, one) for one in reversed(after) if one not in told]
        yield from ((0, edge) for edge in self.edges if edge not in told)

    def __str__(self) -> str:
        """Return the graph as text: a line for each edge; what went in stands below what it went into, further in."""
        labels = {node.id: node.label for node in self.nodes}
        lines = [
            f"{'  ' * depth}{labels[edge.source]} -> {labels[edge.target]} ({edge.grade})"
            for depth, edge in self.outline()
        ]
        return "\n".join([self.title, *(f"  {line}" for line in lines)])

    def _repr_svg_(self) -> str:
        """Return the picture for a notebook."""
        return self.svg()


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
