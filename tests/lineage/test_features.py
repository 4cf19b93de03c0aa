"""What a feature is defined by: its digest, what is content of a set, and what is only said of it."""

from __future__ import annotations

import functools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.preprocessing import StandardScaler

import backstory
from backstory.errors import InputError
from backstory.lineage.feature_set import (
    Feature,
    FeatureSet,
    define_feature,
    feature_of,
    parse_definition,
)
from backstory.lineage.feature_use import FeatureBinding
from backstory.lineage.features import diff_features
from backstory.lineage.fitted import graded
from backstory.records import canonical

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)


def income(rows):
    """Return the income.

    More is said here.
    """
    return rows["income"]


def definition_of(thing, **said):
    """Return a feature of any name as it is kept."""
    return define_feature(Feature(name="one", definition=thing, **said))


def test_function_is_known_by_its_source():
    """A function is named, digested by its source, and described by the first line of its docstring."""
    found = definition_of(income)
    assert (found.kind, found.basis, found.description) == ("function", "source", "Return the income.")
    assert found.definition.endswith("test_features.income")
    assert found.source != definition_of(lambda rows: rows["income"]).source


def test_sql_is_its_text():
    """An SQL text is kept; blanks around it and at the ends of lines do not count, others do."""
    found = definition_of("select income\nfrom t")
    assert (found.kind, found.basis, found.definition) == ("sql", "text", "select income\nfrom t")
    assert definition_of("  select income  \nfrom t\n").source == found.source
    assert definition_of("select  income\nfrom t").source != found.source


def test_transformer_is_its_class_and_parameters():
    """Other parameters are another definition; a fitted one is the same as an unfitted one."""
    found = definition_of(StandardScaler())
    assert found.kind == "transformer"
    assert found.params == {"copy": True, "with_mean": True, "with_std": True}
    assert definition_of(StandardScaler(with_mean=False)).source != found.source
    assert definition_of(StandardScaler().fit([[1.0], [2.0]])).source == found.source


def test_feature_is_called_as_its_function():
    """What stands for a function in a program is still called as it is; an SQL text cannot be."""
    assert Feature(name="one", definition=income)({"income": 7}) == 7
    with pytest.raises(InputError, match="expected a function"):
        Feature(name="one", definition="select 1")()


@pytest.mark.parametrize("given_as", [7, None, "", "  ", {"a": 1}])
def test_what_defines_nothing_is_refused(given_as):
    """Numbers, blank texts and dicts are no definitions."""
    with pytest.raises(InputError, match="expected a function"):
        feature_of("one", given_as)


@pytest.mark.parametrize("nameless", [lambda rows: rows, "select 1", StandardScaler(), functools.partial(income)])
def test_what_has_no_name_is_refused(nameless):
    """A feature needs a name: a lambda, a text and a transformer have none of their own."""
    with pytest.raises(InputError, match="expected a name"):
        feature_of(None, nameless)


def test_what_is_said_must_be_text():
    """Owner, justification and description are texts."""
    with pytest.raises(InputError, match="as text"):
        definition_of(income, owner=7)


@given(
    name=TEXTS,
    text=TEXTS.filter(str.strip),
    inputs=st.lists(TEXTS, max_size=3),
    said=st.dictionaries(st.sampled_from(["description", "owner", "justification"]), TEXTS),
)
def test_definition_survives_being_kept(name, text, inputs, said):
    """Content and what is said, written as canonical JSON and read again, are the definition."""
    found = define_feature(Feature(name=name, definition=text, inputs=tuple(inputs), **said))
    content, words = (canonical.parse(canonical.encode(part)) for part in (found.content(), found.said()))
    assert parse_definition(content, words) == found


@given(said=st.dictionaries(st.sampled_from(["description", "owner", "justification"]), TEXTS))
def test_what_is_said_is_no_content(said):
    """Owner, justification and description do not make another definition."""
    assert definition_of("select 1", **said).content() == definition_of("select 1").content()


def test_inputs_are_content():
    """A feature made from other columns is another one."""
    assert definition_of(income, inputs=("t.income",)).content() != definition_of(income).content()


def test_set_that_cannot_be_read_is_named_by_its_digest(tmp_path):
    """That an archive is closed stops no prediction: the context names the set its model is bound to all the same."""
    with backstory.init(tmp_path / "archive", origin="example.org/features") as archive:
        binding = FeatureBinding(archive._ledger)
    assert binding.context_member("0" * 64, None) == {"digest": "0" * 64}


def a_set(version, **features):
    """Return a feature set of SQL texts."""
    made = tuple(define_feature(Feature(name=name, definition=text)) for name, text in features.items())
    return FeatureSet(name="s", version=version, digest=f"{version:064x}", features=made, owner="team")


def test_diff_says_what_of_a_feature_changed():
    """Added and removed features are named, of others what is different."""
    found = diff_features(a_set(1, kept="1", gone="2", other="3"), a_set(2, kept="1", other="4", new="5"))
    assert (found.before, found.after) == ("s:1", "s:2")
    assert (found.added, found.removed) == (("new",), ("gone",))
    assert found.changed == {"other": ("definition", "source")}
    assert "define the same" in str(diff_features(a_set(1, kept="1"), a_set(2, kept="1")))


FITTED = {
    "predictors": [
        {"name": "p", "features": [{"name": "f", "from": {"a": "exact"}}, {"name": "g", "from": {"b": "exact"}}]}
    ]
}


def test_edges_keep_their_grades_without_findings():
    """Where the probe agrees, or there was none, edges are as sure as the fitted steps make them."""
    expected = {("p", "f"): {"a": "exact"}, ("p", "g"): {"b": "exact"}}
    assert graded(FITTED, None) == graded(FITTED, {"findings": []}) == expected


def test_finding_grades_its_feature_from_the_probe():
    """A feature that moves with more than is said is no longer exact anywhere; others stay as they are."""
    moved = [{"feature": "f", "column": name, "kind": "undeclared", "predictor": "p"} for name in ("b", "c")]
    found = graded(FITTED, {"findings": moved})
    assert found[("p", "f")] == {"a": "coarse", "b": "probed", "c": "probed"}
    assert found[("p", "g")] == {"b": "exact"}
    unsteady = {"findings": [{"feature": "g", "kind": "unsteady", "predictor": "p"}]}
    assert graded(FITTED, unsteady)[("p", "g")] == {"b": "coarse"}
