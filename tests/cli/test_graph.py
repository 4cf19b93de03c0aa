"""`graph`, and what `why`, `impact` and `search` take for loads, versions and earlier trees."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree as ET

from backstory.cli.exit_codes import INPUT, NOT_FOUND, OK, PARTIAL


def test_a_graph_is_printed_edge_by_edge(ask, made):
    """Without a file there is a line for each edge, with its grade."""
    answer = ask("graph", made.first)
    assert answer.code == OK
    assert "1 row of flights -> " in answer.out
    assert answer.out.count("(exact)") > 3


def test_a_graph_is_written_to_a_file(ask, made, tmp_path: Path):
    """With --output it is a picture, and standard output stays empty for a pipe."""
    path = tmp_path / "lineage.svg"
    answer = ask("graph", "delay", "--output", str(path))
    assert (answer.code, answer.out) == (OK, "")
    assert ET.parse(path).getroot().get("width") == "297mm"


def test_a_graph_as_json(ask, made):
    """With --json it is data."""
    assert ask("graph", "weather", "--json").json()["title"] == "dataset weather:1"


def test_a_graph_with_a_lost_row_is_partial(ask, made):
    """An edge that is not known shows in the exit code."""
    assert ask("graph", made.broken).code == PARTIAL


def test_a_graph_says_what_it_did_not_look_at(ask, made):
    """Forward from a dataset, predictions with sealed references are a node of their own."""
    answer = ask("graph", "loans")
    assert (answer.code, "predictions not looked at (sealed)" in answer.out) == (PARTIAL, True)
    assert ask("graph", "flights").code == OK, "what is sealed cannot lead to these"


def test_why_of_a_version(ask, made):
    """A model and a dataset are told as a prediction is."""
    assert ask("why", "delay:1").out.startswith("model delay:1 was made from")
    assert ask("why", "weather", "--json").json()["kind"] == "dataset"


def test_impact_counts_without_listing(ask, made):
    """With --count no prediction is listed, neither as text nor as JSON."""
    assert "Predictions, one line" not in ask("impact", "weather", "--where", "true", "--count").out
    assert "predictions" not in ask("impact", "weather", "--where", "true", "--count", "--json").json()


def test_impact_exports(ask, made, tmp_path: Path):
    """The file has every line, and the answer says how many."""
    path = tmp_path / "found.jsonl"
    answer = ask("impact", "weather", "--where", "true", "--export", str(path), "--json").json()
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert answer["exported"] == len(lines) >= answer["counts"]["predictions"]


def test_impact_by_load_and_model(ask, made):
    """What was loaded before today's archive is nothing; a model reaches its predictions."""
    assert ask("impact", "weather", "--loaded-until", "2001-01-01T00:00:00Z").code == NOT_FOUND
    assert ask("impact", "--model", "delay", "--count").out.startswith("model delay:1 reached")


def test_an_earlier_tree_is_asked_for(ask, made):
    """At size 0 nothing is known: it is newer; a size the log never had is refused."""
    answer = ask("why", made.first, "--as-of", "0")
    assert (answer.code, "it is newer" in answer.err) == (NOT_FOUND, True)
    assert ask("search", "true", "--as-of", "0").out.startswith("0 predictions")
    assert ask("impact", "weather", "--where", "true", "--as-of", "1000000").code == INPUT
