"""Contracts are read as the Open Data Contract Standard says, and what they cannot mean is refused with its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from backstory.errors import InputError, UnsupportedVersionError
from backstory.frames.contract import Allowed, Fresh, InRange, NotMissing, Unique
from backstory.frames.contract_odcs import read_contract

FULL = Path(__file__).parent / "contracts" / "full.odcs.yaml"


def document(*properties, **members):
    """Return a small contract as a dict."""
    return {
        "kind": "DataContract",
        "apiVersion": "v3.1.0",
        "id": "t",
        "version": "1",
        "status": "active",
        "schema": [{"name": "t", "properties": list(properties) or [{"name": "a"}], **members}],
    }


@pytest.fixture(scope="module")
def full():
    """The contract with everything in it."""
    return read_contract(FULL)


def rule(contract, id_):
    """Return a rule of a contract."""
    return next(one for one in contract.rules if one.id == id_)


def test_every_rule_of_the_full_contract_is_read(full):
    """Each property, option, quality rule and service level that is checked is a rule, with kind and severity."""
    assert {one.id: (one.kind, one.severity) for one in full.rules} == {
        "branch.type": ("type", "refuse"),
        "branch.required": ("required", "refuse"),
        "branch.range.format": ("range", "refuse"),
        "loan.type": ("type", "refuse"),
        "loan.required": ("required", "refuse"),
        "loan.pattern": ("pattern", "refuse"),
        "loan.length": ("length", "refuse"),
        "amount.type": ("type", "refuse"),
        "amount.required": ("required", "refuse"),
        "amount.range": ("range", "flag"),
        "amount.multiple": ("multiple", "refuse"),
        "state.type": ("type", "refuse"),
        "state_known": ("enumeration", "flag"),
        "state.nullValues": ("required", "note"),
        "state.missingValues": ("missing", "refuse"),
        "email.type": ("type", "refuse"),
        "email.pattern.format": ("pattern", "refuse"),
        "email.unique": ("unique", "refuse"),
        "opened.type": ("type", "refuse"),
        "opened.range": ("range", "refuse"),
        "paid_at.type": ("type", "refuse"),
        "paid_at.range": ("range", "refuse"),
        "daily.type": ("type", "refuse"),
        "daily.range": ("range", "refuse"),
        "is_open.type": ("type", "refuse"),
        "marks.type": ("type", "refuse"),
        "marks.length": ("length", "refuse"),
        "address.type": ("type", "refuse"),
        "primaryKey": ("unique", "refuse"),
        "rowCount": ("row count", "refuse"),
        "duplicateValues": ("unique", "flag"),
        "paid_is_closed": ("sql", "flag"),
        "paid_at.freshness": ("freshness", "note"),
    }


def test_what_is_not_checked_is_named(full):
    """Text, other engines, other service levels, nested properties and formats are named with their place."""
    assert full.unchecked == (
        "property opened, logicalTypeOptions: format 'yyyy-MM-dd' is not checked",
        "property marks, logicalTypeOptions: uniqueItems is not checked",
        "property address: the properties within it are not checked",
        "schema, quality[3]: type text is not checked (The book is closed each night.)",
        "schema, quality[4]: type custom is not checked (engine soda)",
        "slaProperties[1]: retention is not checked",
        "slaProperties[2]: generalAvailability is not checked",
    )


def test_names_of_people_are_not_kept(full):
    """Of a contract with a team what is kept is without it, and says the same."""
    assert "mustermann" in FULL.read_text("utf-8")
    assert "mustermann" not in full.text
    assert read_contract(full.text).rules == full.rules


def test_text_is_kept_as_it_is():
    """A contract that names nobody is kept byte for byte, and named by its digest."""
    text = "# ours\n" + read_contract(document()).text
    assert read_contract(text).text == text


def test_primary_key_is_ordered(full):
    """The columns of a primary key stand in the order of their positions."""
    assert rule(full, "primaryKey").test == Unique(columns=("branch", "loan"))


def test_tolerated_counts_need_the_whole_table(full):
    """A rule that some rows may break is not about single rows; one that none may is."""
    assert rule(full, "state.nullValues").allowed == Allowed(operator="mustBeLessThan", operands=(10,), percent=True)
    assert rule(full, "state.nullValues").needs_table
    assert not rule(full, "state_known").needs_table


def test_missing_values_and_age(full):
    """Null among the missing values, and units of time, are understood."""
    assert rule(full, "state.missingValues").test == NotMissing(values=("", "N/A"), null=True)
    assert rule(full, "paid_at.freshness").test == Fresh(seconds=2 * 86_400, zone="Europe/Berlin")


def test_exclusive_as_in_version_3_0():
    """`exclusiveMaximum: true` beside a maximum opens it, as version 3.0 of the standard had it."""
    options = {"maximum": 9, "exclusiveMaximum": True}
    read = read_contract(document({"name": "a", "logicalType": "integer", "logicalTypeOptions": options}))
    assert rule(read, "a.range").test == InRange(high=9, high_open=True)


def test_of_several_tables_the_named_one_is_read():
    """A contract about several tables is read for one; without its name it is refused with the names."""
    two = document()
    two["schema"].append({"name": "u", "properties": [{"name": "b", "required": True}]})
    assert [one.id for one in read_contract(two, "u").rules] == ["b.type", "b.required"]
    with pytest.raises(InputError, match=r"about 2 tables.*known: t, u"):
        read_contract(two, "x")


def test_rules_have_ids_of_their_own():
    """Two rules of one name get ids that differ."""
    quality = [{"metric": "rowCount", "mustBe": 1}, {"metric": "rowCount", "mustNotBe": 2}]
    assert [one.id for one in read_contract(document(quality=quality)).rules] == ["a.type", "rowCount", "rowCount#2"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"requierd": True}, r"no 'requierd'; did you mean 'required'\? \(schema\[0\].properties\[0\]\)"),
        ({"logicalType": "int"}, r"logicalType of the standard, got 'int'.*\(property a\)"),
        ({"required": "perhaps"}, r"boolean.*\(schema\[0\].properties\[0\].required\)"),
        ({"logicalType": "integer", "logicalTypeOptions": {"pattern": "x"}}, "no option 'pattern' of type integer"),
        ({"logicalType": "integer", "logicalTypeOptions": {"minimum": "x"}}, "minimum to be a number"),
        ({"logicalType": "date", "logicalTypeOptions": {"minimum": "1.2.2020"}}, "minimum to be a date in ISO 8601"),
        ({"logicalType": "number", "logicalTypeOptions": {"minimum": 1, "exclusiveMinimum": 1}}, "got both"),
        ({"logicalType": "string", "logicalTypeOptions": {"pattern": "("}}, "regular expression.*property a"),
        ({"logicalType": "string", "logicalTypeOptions": {"minLength": -1}}, "minLength to be a count"),
        ({"logicalType": "number", "logicalTypeOptions": {"multipleOf": 0}}, "above 0"),
        ({"logicalType": "timestamp", "logicalTypeOptions": {"defaultTimezone": "Mars/X"}}, "no time zone 'Mars/X'"),
        ({"quality": [{"metric": "nulls", "mustBe": 0}]}, r"no metric 'nulls' of a property.*quality\[0\]"),
        ({"quality": [{"metric": "nullValues"}]}, "expected one operator such as mustBe, got 0"),
        ({"quality": [{"metric": "nullValues", "mustBe": 0, "mustNotBe": 1}]}, "got 2"),
        ({"quality": [{"metric": "nullValues", "mustBe": 0, "severity": "bad"}]}, "expected a severity, got 'bad'"),
        ({"quality": [{"metric": "nullValues", "mustBe": 0, "unit": "rwos"}]}, "unit rows or percent"),
        ({"quality": [{"metric": "invalidValues", "mustBe": 0, "pattern": "x"}]}, r"no 'pattern'.*quality\[0\]"),
        (
            {"logicalType": "string", "logicalTypeOptions": {"pattern": "(?=a)(a+)+$"}},
            "repeats what repeats.*property a",
        ),
        ({"quality": [{"metric": "invalidValues", "mustBe": 0}]}, "one of validValues and pattern, got 0"),
        ({"quality": [{"metric": "invalidValues", "mustBe": 0, "arguments": {"x": 1}}]}, "has no argument 'x'"),
        ({"enum": [{"value": "DE"}, {"value": False}]}, "text or booleans, got both.*property a, enum"),
        ({"quality": [{"type": "sql", "mustBe": 0}]}, "expected a query"),
        ({"quality": [{"type": "sqll", "query": "x", "mustBe": 0}]}, "no type of quality rule 'sqll'"),
        (
            {"customProperties": [{"property": "backstorySeverity", "value": {"rnge": "flag"}}]},
            "no kind of rule 'rnge'",
        ),
    ],
)
def test_malformed_property_is_refused_with_its_place(given, message):
    """What a contract cannot mean is an error that says what and where."""
    with pytest.raises(InputError, match=message):
        read_contract(document({"name": "a", **given}))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [\n", r"expected YAML.*line 3"),
        ("- a\n", "expected a mapping"),
        ("a: 1\na: 2\n", "'a' stands twice"),
        ("a: !!python/object/apply:os.system [x]\n", "expected YAML"),
        ("a: &x [*x]\n", "holds itself"),
        (
            "\n".join(["a0: &a0 [1, 1]", *(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 9))]),
            "values",
        ),
        ("kind: DataContract\napiVersion: v3.1.0\nid: t\nversion: 1.0\nschema: []\n", r"valid string \(version\)"),
        ("kind: DataContract\napiVersion: v3.1.0\nid: t\nversion: '1'\nschmea: []\n", "schmea"),
        ("kind: Other\napiVersion: v3.1.0\n", "kind: DataContract"),
        ("kind: DataContract\napiVersion: v3.1.0\nid: t\nversion: '1'\n5: 6\n", "strings"),
    ],
)
def test_malformed_text_is_refused(text, message):
    """Text that is no contract is refused, however it is wrong, and nothing in it is run."""
    with pytest.raises(InputError, match=message):
        read_contract(text + "\n")


def test_other_version_of_the_standard_is_refused():
    """Version 2 has other rules; reading it as 3 would check something else."""
    with pytest.raises(UnsupportedVersionError, match="version 3"):
        read_contract({**document(), "apiVersion": "v2.2.2"})


def test_missing_file_is_named():
    """A path without a file is an error of the caller."""
    with pytest.raises(InputError, match=r"no file 'nowhere\.yaml'"):
        read_contract("nowhere.yaml")
