"""Where the nodes of a graph stand: in layers, with few crossings and short edges (Sugiyama's method). Deterministic.

Layers run from left to right. An edge that passes layers gets a place in each of them, so that it runs round nodes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

_SWEEPS = 24
_WAYPOINT_WEIGHT = 4.0
"""How much more it counts that a long edge is straight than that a node is in the middle of its neighbours."""

Link = tuple[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Where things stand.

    Attributes:
        layers: Ids by layer, in order from top to bottom; a waypoint's is not a node's.
        paths: For each edge the ids it leads through, from its source to its target.
        middles: The vertical middle of each.
    """

    layers: list[list[str]]
    paths: dict[Link, list[str]]
    middles: dict[str, float]


@dataclass(slots=True)
class _Layers:
    """A graph in layers in which every link leads to the next layer."""

    layers: list[list[str]]
    paths: dict[Link, list[str]]
    before: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    after: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    waypoints: set[str] = field(default_factory=set)


def arrange(nodes: Sequence[str], links: Sequence[Link], height: Callable[[str], float], gap: float) -> Layout:
    """Arrange a graph without circles.

    Args:
        nodes: Ids of nodes.
        links: From which to which, each once.
        height: The height of a node; waypoints of edges are asked for as "".
        gap: Room between things that stand above each other.
    """
    layered = _in_layers(nodes, links)
    _uncross(layered)
    heights = {name: height("" if name in layered.waypoints else name) for layer in layered.layers for name in layer}
    return Layout(layers=layered.layers, paths=layered.paths, middles=_placed(layered, heights, gap))


def _in_layers(nodes: Sequence[str], links: Sequence[Link]) -> _Layers:
    """Give each node the last layer before all it leads to, and each long edge a waypoint in the layers it passes."""
    after: dict[str, list[str]] = defaultdict(list)
    for source, target in links:
        after[source].append(target)
    from_end: dict[str, int] = {}

    def depth(node: str) -> int:
        if node not in from_end:
            from_end[node] = 1 + max(map(depth, after[node]), default=-1)
        return from_end[node]

    last = max(map(depth, nodes), default=0)
    layers: list[list[str]] = [[] for _ in range(last + 1)]
    for node in nodes:
        layers[last - from_end[node]].append(node)
    layered = _Layers(layers, {})
    for source, target in links:
        first, end = last - from_end[source], last - from_end[target]
        inner = [f"{source}\n{target}\n{layer}" for layer in range(first + 1, end)]  # no id has line breaks
        for layer, name in enumerate(inner, first + 1):
            layers[layer].append(name)
        layered.waypoints.update(inner)
        path = layered.paths[source, target] = [source, *inner, target]
        for one, other in pairwise(path):
            layered.after[one].append(other)
            layered.before[other].append(one)
    return layered


def _uncross(layered: _Layers) -> None:
    """Order each layer by where its neighbours stand, to and fro, and keep the order with the fewest crossings."""
    layers = layered.layers
    best, fewest = [list(layer) for layer in layers], _crossings(layered)
    for sweep in range(_SWEEPS):
        if not fewest:
            break
        forward = sweep % 2 == 0
        neighbours = layered.before if forward else layered.after
        for index in range(1, len(layers)) if forward else range(len(layers) - 2, -1, -1):
            beside = {name: place for place, name in enumerate(layers[index - 1 if forward else index + 1])}
            own = {name: place for place, name in enumerate(layers[index])}
            layers[index].sort(key=lambda name: (_mean(neighbours[name], beside, own[name]), own[name]))
        count = _crossings(layered)
        if count < fewest:
            best, fewest = [list(layer) for layer in layers], count
    layered.layers[:] = best


def _mean(names: Sequence[str], places: Mapping[str, float], otherwise: float) -> float:
    return sum(places[name] for name in names) / len(names) if names else otherwise


def _crossings(layered: _Layers) -> int:
    count = 0
    for layer, following in pairwise(layered.layers):
        places = {name: place for place, name in enumerate(following)}
        ends = [sorted(places[target] for target in layered.after[name]) for name in layer]
        flat = [end for of_one in ends for end in of_one]
        count += sum(one > other for index, one in enumerate(flat) for other in flat[index + 1 :])
    return count


def _placed(layered: _Layers, heights: Mapping[str, float], gap: float) -> dict[str, float]:
    """Return the middles: each as near to its neighbours' as its layer leaves room, after some rounds to and fro."""
    middles: dict[str, float] = {}
    for layer in layered.layers:
        top = 0.0
        for name in layer:
            middles[name] = top + heights[name] / 2
            top += heights[name] + gap
    for sweep in range(_SWEEPS):
        forward = sweep % 2 == 0
        for layer in layered.layers if forward else reversed(layered.layers):
            sides = (
                (layered.before, layered.after)
                if sweep >= _SWEEPS - 2
                else ((layered.before,) if forward else (layered.after,))
            )
            wanted = {
                name: _mean([other for side in sides for other in side[name]], middles, middles[name]) for name in layer
            }
            weights = {name: _WAYPOINT_WEIGHT if name in layered.waypoints else 1.0 for name in layer}
            middles |= _spread(layer, wanted, weights, heights, gap)
    top = min((middles[name] - heights[name] / 2 for name in middles), default=0.0)
    return {name: middle - top for name, middle in middles.items()}


def _spread(
    layer: Sequence[str],
    wanted: Mapping[str, float],
    weights: Mapping[str, float],
    heights: Mapping[str, float],
    gap: float,
) -> dict[str, float]:
    """Return middles in the given order without overlap, as near to the wanted ones as can be (least squares).

    Without the room things need they need only rise: where they do not, neighbours are pooled at their mean.
    """
    offsets, total = [], 0.0
    for index, name in enumerate(layer):
        total += 0.0 if index == 0 else (heights[layer[index - 1]] + heights[name]) / 2 + gap
        offsets.append(total)
    pools: list[tuple[float, float, int]] = []
    for name, offset in zip(layer, offsets, strict=True):
        place, weight, count = wanted[name] - offset, weights[name], 1
        while pools and pools[-1][0] >= place:
            other, other_weight, others = pools.pop()
            place = (place * weight + other * other_weight) / (weight + other_weight)
            weight, count = weight + other_weight, count + others
        pools.append((place, weight, count))
    places = [place for place, _, count in pools for _ in range(count)]
    return {name: place + offset for name, place, offset in zip(layer, places, offsets, strict=True)}
