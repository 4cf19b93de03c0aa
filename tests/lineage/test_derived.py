"""A dataset that was made from others says so: its parents, and the step that made it."""

from __future__ import annotations

from dataclasses import replace

import polars as pl
import pytest
from tests.support.archives import ORIGIN, fitted, loans

import backstory
from backstory.lineage.derived import Derivation, made_from
from backstory.lineage.refs import LineageWarning
from backstory.lineage.source import Sources


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


def test_the_step_that_made_several_frames_is_named(archive):
    """Each of them is what it made, as train and test sets are."""

    @archive.step
    def halves(frame):
        return frame[frame["amount"] < 500], frame[frame["amount"] >= 500]

    frame = archive.source(loans(), "loans_to_halve")
    for name, half in zip(("low", "high"), halves(frame), strict=True):
        _, rows = archive.split(archive.source(half, name), ["amount", "years"])
        archive.register(fitted(loans()), name=f"model_{name}", rows=rows)
    (entry,) = archive._ledger.find_entries("step.recorded", "halves")
    assert about(archive, "low")["step"] == about(archive, "high")["step"] == entry["step"]


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


def test_rows_that_came_back_as_they_were_make_no_circle(tmp_path):
    """Equal content is one version: made from what was made from it, it is drawn all the same."""
    with backstory.init(tmp_path / "audit", origin=ORIGIN) as opened:
        first = opened.source(loans(), "loans")
        second = opened.source(first, "copy")
        for name, frame in {"copy": second, "loans": opened.source(second.drop(columns="_row_loans"), "loans")}.items():
            _, rows = opened.split(frame, ["amount", "years"])
            opened.register(fitted(loans()), name=f"model_{name}", rows=rows)
        assert about(opened, "loans")["parents"] == [opened.data.show("copy").version.digest]
        for spec, parent in (("loans", "copy:1"), ("copy", "loans:1")):
            graph = opened.graph(spec)
            graph.save(tmp_path / "graph.svg")
            labels = {node.id: node.label for node in graph.nodes}
            assert parent in {labels[edge.source] for edge in graph.edges if edge.target == graph.subject}


def test_rows_that_are_fixed_again_are_not_their_own_parents(tmp_path):
    """A version is not said to be made from itself."""
    with backstory.init(tmp_path / "audit", origin=ORIGIN) as opened:
        first = opened.source(loans(), "loans")
        again = opened.source(first.rename(columns={"_row_loans": "_row_loans_before"}), "loans")
        _, rows = opened.split(again.drop(columns="_row_loans_before"), ["amount", "years"])
        opened.register(fitted(loans()), name="model", rows=rows)
        assert "parents" not in about(opened, "loans")


def test_a_lazy_frame_with_ids_is_run_once(archive):
    """Its parents are those of the rows that are fixed, which another run need not give."""
    runs = []
    table = pl.from_pandas(archive.source(loans(), "lazy_loans")).lazy()
    archive.source(table.map_batches(lambda frame: runs.append(1) or frame), "lazy_copy")
    assert len(runs) == 1


def test_rows_of_people_are_not_kept_in_clear_silently(archive):
    """Whoever leaves out the column that names them is told; whoever gives it is not."""
    frame = archive.source(loans(), "people", subject="loan")
    with pytest.warns(LineageWarning, match="source bare has rows of people, which are about people.*in clear"):
        archive.source(frame.drop(columns="loan"), "bare")
    archive.source(frame[frame["paid"] == 1], "paying", subject="loan")


def test_what_a_source_was_made_from_is_found_however_far_back():
    """The oldest first, as it is kept: a loop that fixes what it made of the last turn is no limit."""
    _, first = Sources().fix(loans(), "loans", salt=0)
    chain = [first]
    for salt in range(1, 5_000):
        parents = ((chain[-1],), (chain[max(salt - 3, 0)],))
        chain.append(replace(first, salt=salt, derived=Derivation(origins=parents)))
    assert [one.salt for one in made_from(chain[-1], set())] == list(range(4_999))
    assert [one.salt for one in made_from(chain[-1], {4_994, 4_995, 4_996})] == [4_997, 4_998]
