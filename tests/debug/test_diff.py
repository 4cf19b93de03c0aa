"""What differs between two things: the first stage, the values, and what it did; what is equal is not read."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pytest
from tests.support.accesses import accesses
from tests.support.archives import ORIGIN, loans
from tests.support.flights import flights, planes, weather
from tests.support.pipeline import Prepared, traced_features

import backstory
from backstory.errors import AmbiguousError, NotFoundError, QueryError
from backstory.ledger.ledger import Ledger

if TYPE_CHECKING:
    from backstory.archive import Archive
    from backstory.debug.diff import Diff

ROWS = 40
"""Predictions of each call."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """An archive of flights: three model versions, and predictions of the same rows by each of the first two."""

    archive: Archive
    prepared: Prepared
    ids: tuple[list[str], list[str]]


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    """Register a model, the same trained on shuffled rows, and one with more iterations on fewer rows."""
    from sklearn.ensemble import HistGradientBoostingRegressor

    with backstory.init(tmp_path_factory.mktemp("diff") / "audit", origin=ORIGIN) as archive:
        made = traced_features(archive, flights(), weather(), planes())
        shuffled = np.random.default_rng(0).permutation(len(made.train))
        versions = []
        for order, iterations in ((np.arange(len(made.train)), 5), (shuffled, 5), (np.arange(900), 8)):
            target = made.target.iloc[order]
            model = HistGradientBoostingRegressor(max_iter=iterations, random_state=0)
            model.fit(made.train.iloc[order], target)
            versions.append(archive.register(model, name="delay", rows=made.train_rows[order], target=target))
        features, rows, rule = made.test[:ROWS], made.test_rows[:ROWS], backstory.Threshold(15)
        first, third = (archive.predict(versions[at], features, rows=rows, decision=rule) for at in (0, 2))
        archive.flush()
        yield Scene(archive=archive, prepared=made, ids=(list(first.ids), list(third.ids)))


def stages(diff: Diff) -> dict[str, bool | None]:
    """Return whether each stage is equal."""
    return {stage.name: stage.same for stage in diff.stages}


def changed(diff: Diff, stage: str) -> dict[str, tuple[object, object]]:
    """Return what changed in a stage."""
    (found,) = (one for one in diff.stages if one.name == stage)
    return {change.name: (change.before, change.after) for change in found.changes}


def test_nothing_of_a_context_is_left_out(scene: Scene):
    """A call in tiles is another call; whatever else contexts say, such as how outputs were explained, is compared."""
    features, rows = scene.prepared.test[:ROWS], scene.prepared.test_rows[:ROWS]
    plain, tiled, told = (
        scene.archive.predict("delay", features, rows=rows, **options).ids[0]
        for options in ({}, {"tile": 64}, {"explain": "tree"})
    )
    assert changed(scene.archive.diff(plain, tiled), "call") == {"tile": ("absent", "64")}
    assert stages(scene.archive.diff(f"context:{plain}", f"context:{tiled}"))["call"] is False
    assert stages(scene.archive.diff(f"context:{plain}", f"context:{told}"))["recording"] is False


def test_two_predictions_of_one_call_differ_first_in_their_rows(scene: Scene):
    """Rows, groups and features differ and are told with their values; one context is one equal stage."""
    one, two = scene.ids[0][:2]
    diff = scene.archive.diff(one, two)
    assert diff.first is not None
    assert (diff.kind, diff.first.name) == ("prediction", "source rows")
    assert stages(diff) == {
        "source rows": False, "groups": False, "features": False, "context": True, "status": True, "output": False,
        "decision": False,
    }  # fmt: skip
    before, after = (scene.prepared.test.iloc[at] for at in (0, 1))
    assert changed(diff, "features")["dep_delay"] == (before.dep_delay, after.dep_delay)
    assert "flights.dep_delay" in changed(diff, "source rows")


def test_the_same_row_through_two_versions_differs_first_in_the_model(scene: Scene):
    """Rows, groups and features are equal, and the model stage says what differs first about the versions."""
    one, two = (ids[0] for ids in scene.ids)
    diff = scene.archive.diff(one, two)
    assert diff.first is not None
    assert (diff.first.name, diff.first.said) == ("model", "the versions differ first in training rows")
    assert changed(diff, "model")["version"] == ("delay:1", "delay:3")
    assert [name for name, same in stages(diff).items() if not same] == ["model", "output"]
    assert diff.swap is None


def test_swapping_says_what_the_output_differs_by(scene: Scene):
    """Where features and models both differ, each one's features go through each model: recorded ones as recorded."""
    one, two = scene.ids[0][0], scene.ids[1][1]
    swap = scene.archive.diff(one, two).swap
    assert swap is not None
    recorded = {name: scene.archive.why(name).output for name in (one, two, scene.ids[0][1], scene.ids[1][0])}
    assert swap.outputs == (
        (recorded[one], recorded[scene.ids[1][0]]),
        (recorded[scene.ids[0][1]], recorded[two]),
    )
    assert swap.cause == "both"


def test_a_prediction_is_equal_to_itself(scene: Scene):
    """Nothing differs, and of all documents only the context was read."""
    diff = scene.archive.diff(scene.ids[0][0], scene.ids[0][0])
    assert (diff.same, diff.first, len(diff.opened)) == (True, None, 1)


def test_shuffled_training_rows_are_named_as_the_difference(scene: Scene):
    """The same rows in another order are said to be that, by their order roots, before anything else."""
    diff = scene.archive.diff("delay:1", "delay:2")
    assert diff.first is not None
    assert (diff.first.name, diff.first.said) == ("training rows", "the same rows in another order")
    assert stages(diff)["hyperparameters"] is True


def test_other_training_rows_are_counted_by_source(scene: Scene):
    """Of flights, each of which is one training row, those only one version was trained on are counted."""
    trained = len(scene.prepared.train)
    diff = scene.archive.diff("delay:1", "delay:3")
    rows = changed(diff, "training rows")
    before, after = map(str, rows["flights"])
    assert rows["rows"] == (f"{trained:,} rows", "900 rows")
    assert (before.partition(",  of")[0].split(" only")[0], after.split(" only")[0]) == (f"{trained - 900:,}", "0")
    assert changed(diff, "hyperparameters") == {"hyperparameters.max_iter": (5, 8)}
    assert next(iter(changed(diff, "fitted steps"))) == "histgradientboostingregressor: parameters"


def test_what_is_equal_is_not_read(scene: Scene):
    """Of two versions that differ in the order of rows the documents are opened, and none that both name."""
    ledger = scene.archive._ledger
    documents = [ledger.document(scene.archive.model(f"delay:{version}").digest) for version in (1, 2)]
    equal = {str(documents[0]["environment"]), str(documents[0]["training"]["schema"])}
    diff = scene.archive.diff("delay:1", "delay:2")
    assert documents[0]["environment"] == documents[1]["environment"]
    assert equal.isdisjoint(diff.opened)
    assert len(diff.opened) == 2  # the two versions: what they are fitted of is equal, too


def test_equal_documents_may_be_gone(scene: Scene, tmp_path):
    """An environment both versions share can be missing from the archive: nobody looks at it."""
    import shutil

    shutil.copytree(scene.archive.path, tmp_path / "copy")
    environment = scene.archive._ledger.document(scene.archive.model("delay:1").digest)["environment"]
    (blob,) = (tmp_path / "copy" / "blobs").rglob(str(environment)[2:])
    blob.unlink()
    with backstory.open(tmp_path / "copy", mode="r") as copy:
        assert stages(copy.diff("delay:1", "delay:2"))["environment"] is True


def test_contexts_are_taken_from_predictions(scene: Scene):
    """`context:` takes an id of a prediction, and digests name the same contexts."""
    one, two = (f"context:{ids[0]}" for ids in scene.ids)
    diff = scene.archive.diff(one, two)
    assert diff.kind == "context"
    assert [name for name, same in stages(diff).items() if not same] == ["model", "recording"]
    assert scene.archive.diff(diff.before, diff.after).to_dict() == diff.to_dict()


def test_dataset_versions_are_compared_by_their_rows(scene: Scene):
    """Two dataset versions give what `data.diff` gives."""
    archive = scene.archive
    diff = archive.diff("weather", "data:weather:1")
    assert diff.data is not None
    assert (diff.kind, diff.same) == ("data", True)
    assert diff.data.to_dict() == archive.data.diff("weather", "weather:1").to_dict()


def test_things_of_different_kinds_are_refused(scene: Scene):
    """The error says what each text names."""
    with pytest.raises(QueryError, match="'delay:1' names a model version and 'weather' names a dataset version"):
        scene.archive.diff("delay:1", "weather")


def test_what_names_nothing_is_not_found(scene: Scene):
    """The error says how to be exact."""
    with pytest.raises(NotFoundError, match="`model:…`"):
        scene.archive.diff("delays", "delay:1")
    with pytest.raises(NotFoundError, match="no version"):
        scene.archive.diff("model:delay:9", "delay:1")


def test_a_name_of_two_kinds_must_be_made_exact(tmp_path):
    """A source and a model of one name are told apart by a prefix, and never guessed."""
    with backstory.init(tmp_path / "audit", origin=ORIGIN) as archive:
        frame = archive.source(loans(), "credit", key="loan")
        _, rows = archive.split(frame, ["amount"])
        archive.register(len, name="credit", rows=rows)
        with pytest.raises(AmbiguousError, match=r"model version or dataset version.*`data:…`"):
            archive.diff("credit", "credit:1")
        assert archive.diff("data:credit", "credit:1").kind == "data"
        assert archive.diff("model:credit", "credit:1").same


def test_page_says_the_first_difference_first(scene: Scene):
    """The headline names stage and outputs; what is equal is one line; JSON has all of it."""
    one, two = (ids[0] for ids in scene.ids)
    diff = scene.archive.diff(one, two)
    text = str(diff)
    assert text.startswith("first difference: model: the versions differ first in training rows; the output ")
    assert "equal   source rows, groups, features, container" in text
    assert json.loads(json.dumps(diff.to_dict()))["first"] == "model"
    assert repr(diff).startswith(f"<Diff of {one} and {two}: first difference: model")


def test_sealed_values_are_not_compared_without_a_purpose(tmp_path):
    """Of predictions about people nothing sealed is told; with a purpose it is, and the log says so."""
    with backstory.init(tmp_path / "audit", origin=ORIGIN) as archive:
        frame = archive.source(loans(), "loans", key="loan", subject="loan")
        features, rows = archive.split(frame, ["amount", "years"])
        version = archive.register(_doubled, name="doubled")
        ids = archive.predict(version, features, rows=rows, method="__call__").wait("sealed").ids
        diff = archive.diff(ids[0], ids[1])
        assert stages(diff) == {
            "source rows": None, "groups": True, "features": None, "context": True, "status": True, "output": None,
            "decision": None,
        }  # fmt: skip
        assert "137.5" not in str(diff)
        assert "PARTIAL" in str(diff)
        assert diff.same is None
        assert "no difference was found; 3 of 7 stages could be compared" in str(diff)
    with backstory.open(tmp_path / "audit", actor="me", purpose="case 77") as archive:
        assert changed(archive.diff(ids[0], ids[1]), "features")["amount"] == (0.0, 137.5)
        ledger: Ledger = archive._ledger
        assert {entry["question"] for entry in accesses(ledger)} == {"diff"}


def _doubled(table):
    return table["amount"].to_numpy() * 2
