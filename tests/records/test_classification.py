"""Classifications as values, and where they put the columns of records."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backstory.errors import FormatError
from backstory.records import canonical
from backstory.records.classification import (
    NO_CLASSES,
    OF_RECORDS,
    UNKNOWN_CLASSES,
    Classes,
    Classification,
    ColumnClass,
    Confirmed,
    parse_classification,
    parse_confirmed,
)
from backstory.records.envelope import ENVELOPE, outcome_schema, prediction_schema, seals
from backstory.records.schema import parse_schema
from backstory.records.sensitivity import PERSONAL, class_of_group

FEATURES = [(f"feature.{name}", "int64") for name in ("a", "b", "c", r"d\.e", "s.x", "s.y")]
CLASSES = st.sampled_from(["D0", "D1", "D2", "D3", "D4", "D5", "D6"])


def classified(kind="model", fields=(), **columns):
    """Return a classification; `D1+` is an open column of class D1."""
    listed = [ColumnClass(name=n, sensitivity=c.removesuffix("+"), open=c.endswith("+")) for n, c in columns.items()]
    ordered = tuple(sorted(listed, key=lambda column: column.name.encode()))
    return Classification(kind=kind, name="x", columns=ordered, fields=tuple(fields))


def in_force(*given):
    """Return what is in force of these."""
    confirmed = [Confirmed(classification=one, version="1") for one in given]
    return Classes(
        next((one for one in confirmed if one.classification.kind == "model"), None),
        [one for one in confirmed if one.classification.kind == "source"],
    )


def schema_of(classes, *, subject=False, rows=(), personal=()):
    """Return the schema of predictions with everything that they can have."""
    return prediction_schema(
        rows=rows,
        personal_rows=personal,
        features=FEATURES,
        outputs=[("output", "float64")],
        decision="bool",
        subject=subject,
        steps=True,
        flags=True,
        attributions=[("attribution.a", "float64"), ("attribution_base", "float64")],
        classes=classes,
    )


def groups_of(schema):
    """Return the group of each column besides the envelope's."""
    return {column.name: column.group for column in schema.columns[len(ENVELOPE) :]}


def test_without_classifications_nothing_changes():
    """Without any, columns stand in clear in records about nobody, and in the usual groups in others."""
    assert set(groups_of(schema_of(NO_CLASSES)).values()) == {None}
    groups = groups_of(schema_of(NO_CLASSES, subject=True))
    assert {groups["feature.a"], groups["flags"], groups["attribution.a"]} == {"features"}
    assert (groups["output"], groups["decision"], groups["steps"], groups["subject"]) == (
        "output", "output", "steps", "subject",
    )  # fmt: skip


def test_each_class_has_a_group_of_its_own():
    """In a record about a person features of several classes are in several groups; an open one stands in clear."""
    classes = in_force(classified(**{"feature.a": "D5", "feature.b": "D3", "feature.c": "D1+", "output": "D4"}))
    groups = groups_of(schema_of(classes, subject=True))
    assert (groups["feature.a"], groups["feature.b"], groups["feature.c"]) == ("features.D5", "features.D3", None)
    assert (groups[r"feature.d\.e"], groups["output"], groups["decision"]) == ("features", "output.D4", "output")
    assert {groups["flags"], groups["attribution.a"], groups["attribution_base"]} == {"features.D5"}
    assert groups["steps"] == "steps.D5"


def test_in_records_about_nobody_only_what_is_personal_is_sealed():
    """A classified column of D3 and above is sealed there too, one below is not; what tells of all is, too."""
    classes = in_force(classified(**{"feature.a": "D6", "feature.b": "D2", "feature.s": "D1"}))
    schema = schema_of(classes)
    groups = groups_of(schema)
    assert groups["feature.a"] == groups["flags"] == groups["attribution.a"] == "features.D6"
    assert [groups[name] for name in ("feature.b", "feature.s.x", "output", "decision")] == [None] * 4
    assert groups["feature.c"] == "features"  # which nobody classified
    assert {column.sensitivity for column in schema.open_columns if column.name == "feature.b"} == {"D2"}


def test_a_source_says_what_the_model_does_not():
    """A feature that only sources classify has the highest class of columns of its name; else the model decides."""
    model = classified(**{"feature.a": "D3"})
    one = classified("source", **{"a": "D5", "b": "D5", "d.e": "D6"})
    two = classified("source", b="D4", s="D4")
    groups = groups_of(schema_of(in_force(model, one, two), subject=True))
    assert (groups["feature.a"], groups["feature.b"], groups[r"feature.d\.e"]) == (
        "features.D3", "features.D5", "features.D6",
    )  # fmt: skip
    assert groups["feature.s.x"] == groups["feature.s.y"] == "features"


@given(
    st.dictionaries(
        st.sampled_from([*(name for name, _ in FEATURES[:4]), "feature.s", *OF_RECORDS]), CLASSES, min_size=1
    ),
    st.sets(st.sampled_from(["feature.a", "feature.b", "output"])),
    st.sets(CLASSES),
    st.booleans(),
)
def test_nothing_personal_stands_open(columns, opened, fields, about_person):
    """Whatever is confirmed: no column of D3 or above stands in clear, and each group holds one class, its name's."""
    said = {name: class_ + "+" * (name in opened and class_ < "D3") for name, class_ in columns.items()}
    classes = in_force(classified(fields=sorted(fields), **said))
    schema = schema_of(classes, subject=about_person)
    assert parse_schema(schema.encoded) == schema
    for column in schema.columns:
        assert column.group is not None or column.sensitivity not in PERSONAL
        assert column.group is None or class_of_group(column.group) == column.sensitivity
    groups = groups_of(schema)
    for name, class_ in said.items():
        column = {"attribution": "attribution.a", "feature.s": "feature.s.x"}.get(name, name)
        is_open = class_ < "D3" and (class_.endswith("+") or not about_person)
        if name == "outcome":
            value = outcome_schema("int64", sealed=about_person, classes=classes).columns[-1]
            assert (value.group is None, value.sensitivity) == (is_open, class_.removesuffix("+"))
        else:
            assert (groups[column] is None) == is_open
        assert seals(classes, name, about_person=about_person) is not is_open
    assert {class_of_group(group) for group in schema.fields} <= fields
    assert {group.partition(".")[0] for group in schema.fields} <= {"features", "output"}


def test_documents_come_back():
    """A classification is what its document says, and so is what a worker's spool says of it."""
    given = classified(fields=["D5"], **{"feature.é": "D5", "output": "D1+"})
    assert parse_classification(canonical.parse_object(canonical.encode(given.document()), "x")) == given
    confirmed = Confirmed(classification=given, version="7")
    assert parse_confirmed(confirmed.document()) == confirmed
    assert in_force(given) == in_force(given)
    assert in_force(given) != NO_CLASSES


@pytest.mark.parametrize(
    "changed",
    [
        {"v": 2}, {"kind": "table"}, {"columns": []}, {"columns": [{"class": "D7", "name": "output", "open": False}]},
        {"columns": [{"class": "D3", "name": "output", "open": True}]}, {"fields": ["D5", "D3"]}, {"fields": ["D7"]},
        {"columns": [{"class": "D3", "name": "age", "open": False}]}, {"anonymous": 0}, {"more": 1},
        {"columns": [{"class": "D3", "name": name, "open": False} for name in ("steps", "output")]},
        {"columns": [{"class": "D3", "name": "output"}]}, {"columns": [{"class": "D3", "name": "output", "open": 0}]},
    ],
    ids=str,
)  # fmt: skip
def test_other_documents_are_refused(changed):
    """A document that format.md section 35 does not know is none."""
    with pytest.raises(FormatError):
        parse_classification({**classified(output="D3").document(), **changed})


def test_what_is_not_known_is_sealed():
    """Where the classifications cannot be read, nothing but row references of nobody stands in clear."""
    groups = groups_of(schema_of(UNKNOWN_CLASSES, rows=["r"]))
    assert {name for name, group in groups.items() if group is None} == {"row.r"}
    assert seals(UNKNOWN_CLASSES, "output", about_person=False)
    assert UNKNOWN_CLASSES != NO_CLASSES
