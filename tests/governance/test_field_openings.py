"""Receipts that open single fields: what they show, what they hide, and that nothing in them can be another."""

from __future__ import annotations

import base64
import copy
import random

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.receipts import join_file

import backstory
from backstory.columns.commit import commitments
from backstory.errors import ForbiddenError, InputError, VerificationError
from backstory.records import canonical
from backstory.records.commitment import field_salt
from backstory.verify.bundle import verify_bundle
from backstory.verify.standalone import verify_receipt as alone

TABLE = pd.DataFrame({"a": [7, 8], "b": ["x", "y"], "c": [0.5, None], "d": [True, False], "e": [3, 4]})
CLASSES = {**dict.fromkeys((f"feature.{name}" for name in "abcd"), "D5"), "feature.e": "D3"}


def one(frame):
    """Return one for each row."""
    return [1.0] * len(frame)


@pytest.fixture(scope="module")
def classified(tmp_path_factory):
    """Return an archive with predictions of which features are committed to by field, and their ids."""
    root = tmp_path_factory.mktemp("fields") / "archive"
    backstory.init(root, origin="example.org/fields").close()
    with backstory.open(root, actor="Ann", purpose="tests") as archive:
        archive.register(one, name="m")
        archive.privacy.confirm(CLASSES, model="m", fields=["D5"])
        ids = archive.predict("m", TABLE, method="__call__", subject=["p-1", "p-2"]).wait("sealed").ids
        yield archive, list(ids)


def parts_of(data):
    """Return what a receipt says, and what puts it together again."""
    head, _, note = data.partition(b"\n\n")
    _, extra, index, *proof = head.decode().split("\n")
    document = canonical.parse_object(base64.b64decode(extra[6:]), "receipt")
    return document, lambda changed: join_file(canonical.encode(changed), index[6:], proof, note)


def test_only_the_chosen_fields_are_shown(classified):
    """Of a receipt of one field the others are committed to and not disclosed; everything else stays sealed."""
    archive, ids = classified
    receipt = backstory.verify_receipt(
        archive.receipt(ids[0], fields=["feature.a", "feature.c"]).data, vkey=archive.vkey
    )
    assert receipt.opened == {"features.D5": {"feature.a": 7, "feature.c": 0.5}}
    assert receipt.undisclosed == {"features.D5": ("feature.b", "feature.d")}
    assert receipt.sealed == ("features.D3", "output", "subject")
    assert "feature.b: committed, not disclosed" in str(receipt)


def test_a_later_full_opening_leads_to_the_same_commitment(classified):
    """What one receipt hides, a later one opens against the very commitment of the first."""
    archive, ids = classified
    (some, _), (whole, _) = (parts_of(archive.receipt(ids[0], fields=asked).data) for asked in ("feature.a", None))
    assert some["row"] == whole["row"]
    hidden = some["openings"]["features.D5"]["leaves"]
    fields = whole["openings"]["features.D5"]["fields"]
    leaves = [
        alone.hashlib.sha256(b"\0" + bytes.fromhex(f["salt"]) + base64.b64decode(f["row"])) for f in fields.values()
    ]
    assert hidden == [leaf.hexdigest() for leaf in leaves[1:]]
    assert whole["openings"]["features.D5"]["leaves"] == []


def test_files_of_many_and_bundles_open_fields_too(classified, tmp_path):
    """Receipts of many records, and the receipts of a bundle, open the same fields and no others."""
    archive, ids = classified
    many = backstory.verify_receipts(archive.receipts(ids, fields="feature.b").data, vkey=archive.vkey)
    assert [receipt.opened["features.D5"] for receipt in many] == [{"feature.b": "x"}, {"feature.b": "y"}]
    archive.bundle(tmp_path / "b.zip", ids, opened="features.D3", fields="feature.b")
    bundle = verify_bundle(tmp_path / "b.zip", vkey=archive.vkey)
    assert bundle.records == len(ids)


def test_fields_are_opened_for_somebody_only(classified):
    """Without actor and purpose no field is opened, and every opening is recorded."""
    archive, ids = classified
    with backstory.open(archive.path, mode="r") as reader, pytest.raises(ForbiddenError):
        reader.receipt(ids[0], fields="feature.a")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ("feature.zz", "no record has a column"),
        ("feature.e", "opened with its whole group 'features.D3'"),
        ("status", "stands in clear"),
        ([], "at least one column"),
    ],
)
def test_other_fields_cannot_be_opened_alone(classified, fields, message):
    """A column that is not there, open, or in a group that is opened as a whole is refused with the reason."""
    archive, ids = classified
    with pytest.raises(InputError, match=message):
        archive.receipt(ids[0], fields=fields)


def change(chance, opening):
    """Change one thing that an opening of fields says."""
    changed = copy.deepcopy(opening)
    fields, leaves = changed["fields"], changed["leaves"]
    name = chance.choice(sorted(fields))
    others = [f"feature.{letter}" for letter in "abcdz" if f"feature.{letter}" not in fields]

    def flipped(data):
        at = chance.randrange(8 * len(data))
        return bytes(byte ^ (1 << at % 8 if number == at // 8 else 0) for number, byte in enumerate(data))

    def field():
        row = flipped(base64.b64decode(fields[name]["row"]))
        fields[name]["row"] = base64.b64encode(row).decode()

    def salt():
        fields[name]["salt"] = flipped(bytes.fromhex(fields[name]["salt"])).hex()

    def renamed():
        fields[chance.choice(others)] = fields.pop(name)

    def leaf():
        at = chance.randrange(len(leaves))
        leaves[at] = flipped(bytes.fromhex(leaves[at])).hex()

    def more():
        leaves.insert(chance.randrange(len(leaves) + 1), "0" * 64)

    def fewer():
        leaves.pop(chance.randrange(len(leaves)))

    def moved():
        leaves.reverse()

    def left_out():
        fields.pop(name)

    ways = [field, salt, renamed, more, left_out] + ([leaf, fewer] if leaves else []) + ([moved] if leaves[1:] else [])
    chance.choice(ways)()
    return changed


@given(st.integers(0, 2**32), st.sets(st.sampled_from("abcd"), min_size=1))
def test_no_field_can_be_another(classified, seed, chosen):
    """Any changed field, salt, name, place or number of fields fails, in the library and by the stand-alone program."""
    archive, ids = classified
    document, join = parts_of(archive.receipt(ids[1], fields=[f"feature.{name}" for name in chosen]).data)
    opening = document["openings"]["features.D5"]
    document["openings"]["features.D5"] = changed = change(random.Random(seed), opening)
    if changed == opening:
        return
    data = join(document)
    with pytest.raises(VerificationError):
        backstory.verify_receipt(data, vkey=archive.vkey)
    with pytest.raises(alone.FailedError):
        alone.check_file(data, [alone.Key(archive.vkey, 1)], [], 0)


@given(st.integers(1, 9), st.integers(1, 5), st.integers(0, 2**32))
def test_in_bulk_as_one_by_one(columns, rows, seed):
    """Many records are committed to as each alone is."""
    import numpy as np
    import pyarrow as pa

    chance = np.random.default_rng(seed)
    table = pa.table({f"c{number}": chance.integers(0, 9, rows) for number in range(columns)})
    salts = chance.integers(0, 256, (rows, 32), np.uint8)
    whole = commitments(table, "features", salts, by_field=True)
    for row in range(rows):
        assert whole[32 * row : 32 * row + 32] == commitments(
            table.slice(row, 1), "features", salts[row : row + 1], by_field=True
        )


@given(st.binary(min_size=32, max_size=32), st.integers(0, 70_000), st.integers(0, 70_000))
def test_salts_of_fields_differ(salt, one_index, other_index):
    """Each field has a salt of its own, which is not the group's."""
    assert (field_salt(salt, one_index) == field_salt(salt, other_index)) == (one_index == other_index)
    assert field_salt(salt, one_index) != salt
