"""`backstory explain`: what it prints, as text and JSON, and which exit code it gives."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression

import backstory
from backstory.cli.exit_codes import FORBIDDEN, INPUT, NOT_FOUND, OK, PARTIAL


@pytest.fixture(scope="module")
def explained(tmp_path_factory):
    """An archive with a reason map and two predictions: of a thing, and of a person."""
    path = tmp_path_factory.mktemp("explain")
    chance = np.random.default_rng(1)
    loans = pd.DataFrame(chance.normal(size=(100, 2)), columns=["income", "debt"])
    loans.to_parquet(path / "some.parquet")
    backstory.init(path / "archive", origin="example.org/credit").close()
    with backstory.open(path / "archive", sealer="none") as archive:
        features, rows = archive.split(archive.source(loans, "loans"))
        model = archive.register(LogisticRegression().fit(features, loans.debt > loans.income), name="bad", rows=rows)
        archive.explanations.define(
            "credit", {"R01": {"features": ["debt"], "direction": "increases", "text": "debt too high"}}, model=model
        )
        row = pd.DataFrame({"income": [-1.0], "debt": [1.0]})
        ask = {"method": "predict_proba", "decision": backstory.Threshold(0.5)}
        thing = archive.predict(model, row, explain="linear", **ask).ids[0]
        person = archive.predict(model, row, subject="c-1", **ask).ids[0]
    return path / "archive", thing, person


def test_attributions_are_shown(explained, ask):
    """Each feature has a line, and JSON has what text has."""
    path, thing, _ = explained
    answer = ask("explain", thing, "-a", path)
    assert answer.code == OK
    assert "it names no causes" in answer.out
    found = ask("explain", thing, "--json", "-a", path).json()
    assert {one["feature"] for one in found["contributions"]} == {"income", "debt"}
    assert found["computed"] == "at decision time"


def test_rows_to_compare_with_may_be_a_file(explained, ask):
    """A Parquet file is the background of an explanation computed anew."""
    path, thing, _ = explained
    options = ("--method", "permutation", "--background", path.parent / "some.parquet", "--json")
    found = ask("explain", thing, *options, "-a", path).json()
    assert (found["method"], found["computed"], found["baseline"]["drawn"]) == ("permutation", "afterwards", "given")


def test_reasons_say_where_a_feature_has_no_code(explained, ask):
    """Reasons are listed; a feature that counts and has no code gives another exit code."""
    path, thing, _ = explained
    answer = ask("explain", thing, "--reasons", "credit", "-a", path)
    assert answer.code == PARTIAL
    assert "R01" in answer.out
    assert "NO CODE for income" in answer.out
    assert ask("explain", thing, "--reasons", "nothing", "-a", path).code == NOT_FOUND
    sure = ask("explain", thing, "--reasons", "credit", "--count", 1, "--adverse", "low", "--json", "-a", path).json()
    assert sure["codes"] == []


def test_counterfactuals_are_searched(explained, ask):
    """What would have changed it is shown, or how much was tried."""
    path, thing, _ = explained
    found = ask("explain", thing, "--target", "false", "--change", "debt", "--json", "-a", path).json()
    assert list(found["found"][0]["changes"]) == ["debt"]
    bounded = ("--target", "< 0.001", "--change", "debt", "--bounds", "debt=0.5..1")
    assert "none found in 15 evaluations" in ask("explain", thing, *bounded, "-a", path).out


def test_options_that_do_not_go_together_are_refused(explained, ask):
    """A target needs what may change, and values to try are a range or a list."""
    path, thing, _ = explained
    assert ask("explain", thing, "--target", "false", "-a", path).code == INPUT
    odd = ("--target", "false", "--change", "debt", "--bounds", "debt=1")
    assert ask("explain", thing, *odd, "-a", path).code == INPUT


def test_a_person_needs_a_purpose(explained, ask):
    """Without actor and purpose nothing of a person's prediction is explained, and nothing of it is in the error."""
    path, _, person = explained
    refused = ask("explain", person, "-a", path)
    assert refused.code == FORBIDDEN
    assert "debt" not in refused.out + refused.err
    assert ask("explain", person, "--actor", "anna", "--purpose", "case 7", "-a", path).code == OK
