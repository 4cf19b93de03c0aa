"""Reason codes: maps have versions, codes follow what was scored, and nothing else can be disclosed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression

import backstory
from backstory.errors import InputError, NotFoundError
from backstory.lineage.reason_map import Reason, ReasonMap
from backstory.lineage.reasons import Factor, Reasons, Scored, reasons_of
from backstory.verify.archive import verify_archive

CODES: dict[str, dict[str, Any]] = {
    "R01": {"features": ["debt"], "direction": "increases", "text": "debt too high"},
    "R02": {"features": ["income"], "direction": "increases", "text": "income too low"},
    "R03": {"features": ["age"], "direction": "decreases", "text": "long history"},
}


def _map(*reasons: tuple[str, tuple[str, ...], str], model: str | None = None) -> ReasonMap:
    made = [Reason(code=code, features=names, direction=way, text=code) for code, names, way in reasons]  # type: ignore[arg-type]
    return ReasonMap(name="m", version=1, digest="0" * 64, reasons=tuple(made), model=model, defined="")


def _reasons(known: ReasonMap, count: int | None, adverse: Any = "high", **added: float) -> Reasons:
    factors = tuple(Factor(columns=tuple(name.split("_and_")), added=value) for name, value in added.items())
    scored = Scored(
        id="p", model="d", factors=factors, units="output", method="tree", computed="afterwards", is_sealed=False
    )
    return reasons_of(scored, known, count, adverse)


def test_codes_are_those_that_moved_it_to_the_adverse_side() -> None:
    """Largest first; what moved it the other way, or not at all, gives no reason."""
    known = _map(("A", ("a",), "increases"), ("B", ("b",), "increases"), ("C", ("c",), "increases"))
    found = _reasons(known, 4, a=1.0, b=3.0, c=-2.0)
    assert [(one.code, one.added) for one in found.codes] == [("B", 3.0), ("A", 1.0)]


def test_low_scores_may_be_the_adverse_ones() -> None:
    """Where a low score is adverse, codes of features that decrease it apply."""
    known = _map(("A", ("a",), "increases"), ("C", ("c",), "decreases"))
    assert [one.code for one in _reasons(known, 4, "low", a=1.0, c=-2.0).codes] == ["C"]


def test_rounding_is_no_reason() -> None:
    """What a feature adds by rounding alone is no factor that was scored, nor one without a code."""
    known = _map(("A", ("a",), "increases"), ("B", ("b",), "increases"))
    found = _reasons(known, 4, a=2.0, b=3e-15, c=2e-9, d=-4.0)
    assert [one.code for one in found.codes] == ["A"]
    assert found.uncoded == ()


def test_a_code_of_several_features_adds_them_up() -> None:
    """The features of one code that moved it are told with what each added."""
    known = _map(("A", ("a", "b", "c"), "increases"))
    (code,) = _reasons(known, 4, a=1.0, b=2.0, c=-9.0).codes
    assert (code.features, code.added) == ({"b": 2.0, "a": 1.0}, 3.0)


def test_features_without_a_code_are_never_hidden() -> None:
    """A feature that would have been among the reasons and has no code is named; a smaller one need not be."""
    known = _map(("A", ("a",), "increases"), ("B", ("b",), "increases"))
    found = _reasons(known, 1, a=2.0, b=1.0, c=3.0, d=0.5)
    assert [next(iter(one.features)) for one in found.uncoded] == ["c"]
    assert found.left_out == 1
    assert "NO CODE for c" in str(found)
    assert [next(iter(one.features)) for one in _reasons(known, 4, a=2.0, d=0.5).uncoded] == ["d"]


def test_columns_that_cannot_be_told_apart_need_a_code_for_all() -> None:
    """What two columns added together is a reason only by a code that stands for both."""
    one, both = _map(("A", ("a",), "increases")), _map(("A", ("a", "b"), "increases"))
    assert _reasons(one, 4, a_and_b=1.0).codes == ()
    assert [found.code for found in _reasons(both, 4, a_and_b=1.0).codes] == ["A"]


def test_a_map_is_for_its_model() -> None:
    """The map of another model gives no reasons."""
    with pytest.raises(InputError, match="for another model"):
        _reasons(_map(("A", ("a",), "increases"), model="e"), 4, a=1.0)


@dataclass(frozen=True)
class World:
    """An archive with a model whose inputs are known, and two predictions of it: of a thing and of a person."""

    archive: backstory.Archive
    model: backstory.ModelVersion
    prediction: str
    person: str


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A score that debt moves up and income moves down."""
    path = tmp_path_factory.mktemp("world") / "audit"
    chance = np.random.default_rng(1)
    loans = pd.DataFrame(chance.normal(size=(200, 3)), columns=["income", "debt", "age"])
    backstory.init(path, origin="example.org/credit").close()
    with backstory.open(path, actor="anna", purpose="case 7", sealer="none") as archive:
        features, rows = archive.split(archive.source(loans, "loans"))
        fitted = LogisticRegression().fit(features, loans.debt - loans.income > 0)
        model = archive.register(fitted, name="bad", rows=rows)
        row = pd.DataFrame({"income": [-2.0], "debt": [1.0], "age": [0.0]})
        ask = {"method": "predict_proba", "explain": "linear"}
        archive.explanations.define("credit", CODES, model=model)
        yield World(
            archive=archive,
            model=model,
            prediction=archive.predict(model, row, **ask).ids[0],
            person=archive.predict(model, row, subject="c-1", **ask).ids[0],
        )


def test_the_same_map_is_the_same_version(world: World) -> None:
    """Defining the same again gives the version there is and appends nothing; another is the next."""
    maps = world.archive.explanations
    before = world.archive._ledger.log.checkpoint().size
    assert maps.define("credit", CODES, model=world.model) == maps.show("credit:1")
    assert world.archive._ledger.log.checkpoint().size == before
    other = maps.define("other", CODES)
    assert maps.define("other", {**CODES, "R02": {**CODES["R02"], "text": "income low"}}).version == 2
    assert [one.digest for one in maps.versions("other")] == [other.digest, maps.show("other").digest]
    assert maps.show(other.digest[:10]).version == 1


@pytest.mark.parametrize(
    "codes",
    [
        {},
        {"R 1": CODES["R01"]},
        {"R01": {**CODES["R01"], "direction": "up"}},
        {"R01": {**CODES["R01"], "features": []}},
        {"R01": {"features": ["debt"], "text": "x"}},
        {"R01": {**CODES["R01"], "features": ["shoe_size"]}},
        {"R01": CODES["R01"], "R02": CODES["R01"]},
    ],
)
def test_malformed_maps_are_refused(world: World, codes: dict[str, Any]) -> None:
    """A code has features of the model, a direction and a text, and no feature two codes of one direction."""
    with pytest.raises(InputError, match="reasons: "):
        world.archive.explanations.define("malformed", codes, model=world.model)
    with pytest.raises(NotFoundError, match="malformed"):
        world.archive.explanations.show("malformed")


def test_reasons_follow_what_was_recorded(world: World) -> None:
    """The codes of a prediction are those its recorded attributions give."""
    found = world.archive.explanations.reasons(world.prediction, "credit")
    added = {one.feature: one.added for one in world.archive.explain(world.prediction).contributions}
    assert {one.code: one.added for one in found.codes} == {"R01": added["debt"], "R02": added["income"]}
    assert found.scored.computed == "at decision time"


def test_only_what_was_scored_is_disclosed(world: World) -> None:
    """A code that is not in the map, or did not move the score to the adverse side, is refused and nothing written."""
    before = world.archive._ledger.log.checkpoint().size
    for codes in (["R99"], ["R01", "R03"], [], ["R01", "R01"]):
        with pytest.raises(InputError, match="reasons: "):
            world.archive.explanations.disclose(world.prediction, "credit", codes)
    assert world.archive._ledger.log.checkpoint().size == before


def test_reasons_are_those_that_were_recorded(world: World) -> None:
    """Compared with other rows the model would have other reasons; what was said when it was decided counts."""
    with pytest.raises(InputError, match="no explain="):
        world.archive.explanations.disclose(world.prediction, "credit", ["R02"], explain=backstory.Explain(rows=7))


def test_a_disclosure_is_an_entry(world: World) -> None:
    """It names prediction, map and codes, and commits to who was given them."""
    made = world.archive.explanations.disclose(world.prediction, "credit", ["R02"], to="Anna Example")
    entry = world.archive._ledger.log.entry(made.entry)
    assert (entry["prediction"], entry["codes"], entry["version"]) == (world.prediction, ["R02"], "1")
    assert "Anna" not in str(entry)


def test_a_forged_disclosure_is_named(tmp_path: Path) -> None:
    """The audit names a disclosure of a code that its map does not have."""
    with backstory.init(tmp_path / "audit", origin="example.org/credit") as archive:
        known = archive.explanations.define("credit", CODES)
        entry = {
            "adverse": "high", "codes": ["R99"], "computed": "afterwards", "method": "tree", "name": "credit",
            "prediction": "01a20a07-bdce-788d-9da6-53d4b8a28a50", "reasons": known.digest, "recipient": None,
            "type": "reasons.disclosed", "version": "1",
        }  # fmt: skip
        archive._ledger.append([entry])
        found = [one.what for one in verify_archive(archive.path).findings if one.severity == "failed"]
        assert found == ["reasons.disclosed: discloses codes that its map does not have"]


def test_codes_about_a_person_are_committed_to(world: World) -> None:
    """The log has no code of a person's prediction, and the audit finds the opening."""
    made = world.archive.explanations.disclose(world.person, "credit", ["R02"], to="Anna Example")
    entry = world.archive._ledger.log.entry(made.entry)
    assert "codes" not in entry
    assert "R02" not in str(entry)
    world.archive.flush()
    report = world.archive.verify(check=False)
    assert [finding for finding in report.findings if finding.severity != "note"] == []
    (world.archive.path / "vault" / "openings" / str(entry["sealed_codes"])).write_bytes(b"BSVOchanged")
    assert any("opening" in str(finding) for finding in world.archive.verify(check=False).findings)
