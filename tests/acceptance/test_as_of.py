"""Every question at an earlier tree size: answered from the entries below it, under the root the log had then."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tests.support.archives import ORIGIN

import backstory
from backstory.archive import Archive
from backstory.errors import NotFoundError, QueryError
from backstory.ledger.merge import FILES_MIN, merge_all
from backstory.tlog.proof import tile_consistency_proof, verify_consistency

DAYS = FILES_MIN


@dataclass(frozen=True, slots=True, kw_only=True)
class Grown:
    """An archive that grew day by day.

    Attributes:
        archive: The archive, open.
        ids: Ids of the predictions of each day.
        sizes: Tree size after each day.
        roots: Root of the log then.
    """

    archive: Archive
    ids: list[list[str]]
    sizes: list[int]
    roots: list[bytes]


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Grown]:
    """One part of a source, one version of a model and ten predictions a day, merged at the end."""
    with backstory.init(tmp_path_factory.mktemp("grown") / "audit", origin=ORIGIN) as archive:
        ids, sizes, roots = [], [], []
        for day in range(DAYS):
            table = pd.DataFrame({"a": np.arange(10.0) + day, "b": np.arange(10) % 2})
            frame = archive.source(table, "t", part=f"day {day}")
            archive.register((_twice, _thrice)[day % 2], name="times", alias="newest")
            grouped = archive.group(frame, "b", name="halves", mean_a=("a", "mean"))
            features, rows = archive.split(frame.merge(grouped, on="b"), ["a", "mean_a"])
            ids.append(list(archive.predict("times@newest", features, rows=rows, method="__call__").ids))
            archive.flush()
            checkpoint = archive._ledger.log.checkpoint()
            sizes.append(checkpoint.size)
            roots.append(checkpoint.root)
        assert merge_all(archive._ledger).written == 1, "so that a file holds what is newer too"
        yield Grown(archive=archive, ids=ids, sizes=sizes, roots=roots)


def _twice(table: pd.DataFrame) -> np.ndarray:
    return table.iloc[:, 0].to_numpy() * 2.0


def _thrice(table: pd.DataFrame) -> np.ndarray:
    return table.iloc[:, 0].to_numpy() * 3.0


def test_why_is_proven_under_the_tree_of_that_size(grown: Grown):
    """The proof names that size and the root the log had then, from which today's log goes on."""
    proof = grown.archive.why(grown.ids[1][0], as_of=grown.sizes[1]).proof
    assert (proof["tree_size"], proof["root"]) == (grown.sizes[1], grown.roots[1].hex())
    log = grown.archive._ledger.log
    now = log.checkpoint()
    steps = tile_consistency_proof(log.read_tile, proof["tree_size"], now.size)
    verify_consistency(proof["tree_size"], now.size, bytes.fromhex(proof["root"]), now.root, steps)


def test_why_says_the_same_then_as_now(grown: Grown):
    """Of what was known, rows, features and output are what they are today."""
    then, now = (grown.archive.why(grown.ids[2][3], as_of=size) for size in (grown.sizes[2], None))
    assert (then.rows, then.features, then.output) == (now.rows, now.features, now.output)


def test_a_prediction_that_came_later_is_newer(grown: Grown):
    """It is not found, and is said to be newer rather than never made."""
    with pytest.raises(NotFoundError, match=f"at tree size {grown.sizes[0]}: it is newer"):
        grown.archive.why(grown.ids[1][0], as_of=grown.sizes[0])


def test_what_never_was_is_not_newer(grown: Grown):
    """An id nobody has is just not found."""
    with pytest.raises(NotFoundError) as error:
        grown.archive.why("0" * 32, as_of=grown.sizes[0])
    assert "newer" not in str(error.value)


@pytest.mark.parametrize("day", [0, 3, DAYS - 1])
def test_impact_counts_what_was_there(grown: Grown, day):
    """Rows of parts up to that day and their predictions, though all of them are in one file by now."""
    then = grown.archive.impact("t", where="true", as_of=grown.sizes[day])
    assert (then.rows, then.counts["predictions"]) == (10 * (day + 1), 10 * (day + 1))
    assert set(then.predictions["id"].to_pylist()) == {one for ids in grown.ids[: day + 1] for one in ids}


def test_a_source_that_came_later_is_newer(grown: Grown):
    """At a size before it was fixed the source is not known."""
    with pytest.raises(NotFoundError, match="it is newer"):
        grown.archive.impact("t", where="true", as_of=0)


@pytest.mark.parametrize("day", [0, 3, DAYS - 1])
def test_search_finds_what_was_there(grown: Grown, day):
    """Also in a file that holds records that came later."""
    found = grown.archive.search("true", as_of=grown.sizes[day])
    assert set(found["id"]) == {one for ids in grown.ids[: day + 1] for one in ids}


def test_an_alias_points_where_it_did(grown: Grown):
    """After the first day it meant the first version."""
    newest = [grown.archive.model("times@newest", as_of=size).version for size in (*grown.sizes[:2], None)]
    assert newest == [1, 2, 2 - DAYS % 2]


def test_a_version_that_came_later_is_newer(grown: Grown):
    """For `model`, `impact` of a model and `why` of a version alike."""
    for ask in (
        grown.archive.model,
        grown.archive.why,
        lambda spec, as_of: grown.archive.impact(model=spec, as_of=as_of),
    ):
        with pytest.raises(NotFoundError, match="it is newer"):
            ask("times:2", as_of=grown.sizes[0])


def test_a_graph_is_of_the_tree_of_that_size(grown: Grown):
    """It counts the predictions there were, and says under which tree."""
    graph = grown.archive.graph("times:1", as_of=grown.sizes[0])
    assert graph.proof["tree_size"] == str(grown.sizes[0])
    assert "10 predictions" in {node.label for node in graph.nodes}


def test_a_size_the_log_never_had_is_refused(grown: Grown):
    """Greater than the log, below nothing, or no number."""
    for size in (grown.archive._ledger.log.checkpoint().size + 1, -1, "3", True):
        with pytest.raises(QueryError, match="as_of: expected a tree size from 0 to"):
            grown.archive.search("true", as_of=size)


def test_the_size_at_a_moment_is_what_was_there(grown: Grown):
    """By the times of the entries, which have nanoseconds; nothing before the first."""
    last = grown.archive._ledger.log.entry(grown.sizes[1] - 1)
    assert grown.archive.tree_size_at(str(last["time"])) >= grown.sizes[1]
    assert grown.archive.tree_size_at("2001-01-01T00:00:00Z") == 0


def test_what_waits_was_in_no_tree(archive: Archive):
    """A record that is not sealed is in today's answer only."""
    archive.register(_twice, name="times")
    archive.predict("times", pd.DataFrame({"a": [1.0]}), method="__call__").wait("durable")
    size = archive._ledger.log.checkpoint().size
    assert [len(archive.search("true", as_of=of)) for of in (None, size)] == [1, 0]


def test_a_copy_without_the_lock_store_answers(tmp_path: Path):
    """An auditor's copy has the log, and not the lock store that is kept elsewhere."""
    away = tmp_path / "away.sqlite"
    with backstory.init(tmp_path / "audit", origin=ORIGIN, lock=away) as archive:
        archive.register(_twice, name="times")
        (name,) = archive.predict("times", pd.DataFrame({"a": [1.0]}), method="__call__").ids
        archive.flush()
    shutil.copytree(tmp_path / "audit", tmp_path / "copy")
    away.unlink()
    with backstory.open(tmp_path / "copy", mode="r") as copy:
        size = copy._ledger.log.checkpoint().size
        assert copy.why(name, as_of=size).output == 2.0
        assert (len(copy.search("true", as_of=size)), len(copy.search("true", as_of=0))) == (1, 0)
