"""`why-not`, `data overlap` and `lint`: answers, JSON and exit codes."""

from __future__ import annotations

import pytest


def test_why_not_names_what_became_of_a_row(ask):
    """A row is asked about by position or key; the answer says what became of it for each model."""
    answer = ask("why-not", "flights", "--key", "3", "--json")
    found = answer.json()
    assert answer.code == 0
    assert [(row["model"], row["verdict"], row["position"]) for row in found["verdicts"]] == [("delay", "used", 3)]
    text = ask("why-not", "flights", "--row", "3", "--row", "4", "--model", "delay")
    assert (text.code, "2 rows of flights and model delay:1: 2 used" in text.out) == (0, True)


def test_why_not_leaves_out_what_is_sealed(ask):
    """Without a purpose a model of people is left out, and the exit code says so."""
    answer = ask("why-not", "loans", "--row", "0", "--json")
    assert (answer.code, answer.json()["sealed"]) == (3, 1)


@pytest.mark.parametrize("choice", [(), ("--row", "1", "--key", "1")])
def test_why_not_needs_one_choice(ask, choice):
    """Rows are chosen in exactly one way."""
    assert ask("why-not", "flights", *choice).code == 2


def test_overlap_counts_shared_rows(ask):
    """A model shares all training rows with itself; where sets were to be disjoint that fails."""
    answer = ask("data", "overlap", "delay", "delay:1", "--json")
    shared = {source["source"]: source["shared"] for source in answer.json()["sources"]}
    assert (answer.code, shared["flights"]) == (0, 40)
    assert ask("data", "overlap", "delay", "delay", "--disjoint", "--by", "key").code == 20
    assert "delay and delay share 48 rows" in ask("data", "overlap", "delay", "delay").out


def test_lint_warns_and_fails(ask, tmp_path):
    """A script with a warning gives 20 and says where, why and what instead; one without gives 0 and nothing."""
    script = tmp_path / "prepare.py"
    script.write_text(
        "import backstory\narchive = backstory.open('audit')\n"
        "frame = archive.source(t, 'flights')\nframe = frame.dropna()\n"
    )
    answer = ask("lint", script)
    assert (answer.code, answer.out.splitlines()[0].removeprefix(str(script))) == (
        20,
        ":4:9: all-columns: dropna() over all columns of a frame with row ids",
    )
    assert ask("lint", script, "--json").json()[str(script)][0]["line"] == 4
    script.write_text("frame = frame.dropna()\n")
    assert (ask("lint", script).code, ask("lint", script).out) == (0, "")


@pytest.mark.parametrize(("text", "code"), [("a = = 1\n", 2), (None, 21)])
def test_lint_refuses_what_it_cannot_read(ask, tmp_path, text, code):
    """What is no Python is malformed, what is not there cannot be read."""
    script = tmp_path / "prepare.py"
    if text is not None:
        script.write_text(text)
    assert ask("lint", script).code == code
