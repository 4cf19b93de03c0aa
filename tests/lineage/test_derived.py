"""A dataset that was made from others says so: its parents, and the step that made it."""

from __future__ import annotations

import pytest
from tests.support.archives import ORIGIN, fitted, loans

import backstory


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """An archive with a dataset made from another by a step, one made by hand, and one made from a group."""
    with backstory.init(tmp_path_factory.mktemp("derived") / "audit", origin=ORIGIN) as opened:
        frame = opened.source(loans(), "loans", key="loan")

        @opened.step
        def paid_only(frame):
            return frame[frame["paid"] == 1]

        means = opened.group(frame, "years", name="term", mean=("amount", "mean"))
        made = {"paid": paid_only(frame), "large": frame[frame["amount"] > 500], "terms": means}
        for name, table in made.items():
            used = opened.source(table, name)
            column = "mean" if name == "terms" else "amount"
            _, rows = opened.split(used, [column, "years"])
            opened.register(fitted(loans()), name=f"model_{name}", rows=rows)
        yield opened


def about(archive, name):
    """Return what is said of the latest version of a source."""
    return archive.data.show(name).about


def test_parents_are_what_the_ids_name(archive):
    """By the digests of their versions."""
    assert about(archive, "large")["parents"] == [archive.data.show("loans").version.digest]


def test_parents_are_found_through_groups(archive):
    """What went into the group."""
    assert about(archive, "terms")["parents"] == [archive.data.show("loans").version.digest]


def test_the_step_that_made_it_is_named(archive):
    """Where what it returned has exactly these rows."""
    (entry,) = archive._ledger.find_entries("step.recorded", "paid_only")
    assert about(archive, "paid")["step"] == entry["step"]
    assert "step" not in about(archive, "large")


def test_a_source_of_its_own_has_no_parents(archive):
    """Nothing is guessed."""
    assert not {"parents", "step"} & set(about(archive, "loans"))


def test_it_verifies(archive):
    """And everything is reached."""
    archive.flush()
    assert not archive.verify(workers=1).findings


def test_the_graph_goes_on_to_the_parents(archive):
    """From the model to what its data was made from."""
    nodes = [node["label"] for node in archive.graph("model_large").to_dict()["nodes"]]
    assert any("loans" in label for label in nodes)
