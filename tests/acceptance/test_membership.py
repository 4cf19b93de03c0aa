"""Who and what is in a dataset or a training set is proven either way, and the archive gives itself away if it lies."""

from __future__ import annotations

import json
import shutil
import sys
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import backstory
from backstory.errors import (
    AmbiguousError,
    ColumnError,
    ForbiddenError,
    InputError,
    NotFoundError,
    VerificationError,
)
from backstory.lineage.subjects import keep_tree
from backstory.records import canonical
from backstory.verify.archive import verify_archive

ORIGIN = "example.org/membership"
PEOPLE = pd.DataFrame({"customer": [f"c-{number:02}" for number in range(30)], "age": range(20, 50)})
VISITS = pd.DataFrame({"who": np.arange(100, 140) % 117, "branch": np.arange(40) % 4, "spent": np.arange(40) * 1.5})
RATES = pa.table(
    {
        "rate": [1.0, 2.0, 2.0, float("nan"), None],
        "name": pa.array(["a", "b", "b", "b", None]).dictionary_encode(),
        "at": pa.array([0, 1, 1, 2, 3], pa.timestamp("ns", "UTC")),
    }
)


def zeros(features):
    """Predict nothing much."""
    return np.zeros(len(features))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Return an archive with people, visits of people that were grouped, rates, and models of them."""
    path = tmp_path_factory.mktemp("membership") / "audit"
    with backstory.init(path, origin=ORIGIN) as archive:
        people = archive.source(PEOPLE, "people", key="customer", subject="customer", provable="subjects")
        visits = archive.source(VISITS, "visits", subject="who")
        spent = archive.group(visits, "branch", name="branch", spent_mean=("spent", "mean"))
        rates = archive.source(RATES, "rates", provable="rows")
        _, rows = archive.split(people[people.age < 40], ["age"])
        models = {"direct": archive.register(zeros, name="direct", rows=rows, provable="subjects")}
        again = archive.register(zeros, name="direct", rows=rows, provable="subjects")
        _, branch_rows = archive.split(spent[spent.branch < 2], ["spent_mean"])
        models["grouped"] = archive.register(zeros, name="grouped", rows=branch_rows, provable=["subjects"])
        _, rate_rows = archive.split(rates, ["rate"])
        models["rated"] = archive.register(zeros, name="rated", rows=rate_rows)
        vkey = archive.vkey
    archive = backstory.open(path, vkey=vkey, actor="dpo", purpose="request 17")
    yield SimpleNamespace(archive=archive, path=path, vkey=vkey, models=models, again=again, rate_rows=rate_rows)
    archive.close()


def is_there(made, version, **asked):
    """Say what a verified proof says."""
    file = made.archive.data.prove(version, **asked)
    proven = backstory.verify_membership(file.data, vkey=made.vkey)
    assert proven.present == file.present
    return proven.present


def test_every_person_of_a_dataset(made):
    """Of a dataset everybody in it is shown present, others absent, and nobody by another spelling."""
    assert all(is_there(made, "people", subject=f"c-{number:02}") for number in range(0, 30, 5))
    assert not any(is_there(made, "people", subject=one) for one in ("c-30", "C-01", "c-1", " c-01", "c-01 ", ""))


def test_the_training_set_is_about_its_rows_only(made):
    """Those whose rows were filtered out before the model saw them are absent from its training set."""
    found = {name for name in PEOPLE.customer[16:24] if is_there(made, "direct", subject=name)}
    assert found == set(PEOPLE.customer[PEOPLE.age < 40][16:])


def test_a_person_in_an_aggregate_is_in_the_training_set(made):
    """Whoever is in a group that a training row was made of is in the training set; whoever is in another is not."""
    found = {who for who in range(98, 108) if is_there(made, made.models["grouped"], subject=who)}
    assert found == set(VISITS.who[VISITS.branch < 2]) & set(range(98, 108))


def test_a_number_and_its_text_are_one_person(made):
    """An id is its text: 101 and "101" are the same person."""
    assert is_there(made, "grouped", subject=101) is is_there(made, "grouped", subject="101") is True


def test_registering_twice_gives_one_version(made):
    """The tree is part of the content: the same rows again are the same version."""
    assert made.again.digest == made.models["direct"].digest


@pytest.mark.parametrize(
    ("row", "present"),
    [
        ({"rate": 1.0, "name": "a", "at": "1970-01-01T00:00:00Z"}, True),
        ({"rate": 2, "name": "b", "at": pd.Timestamp(1, tz="UTC")}, True),
        ({"rate": float("nan"), "name": "b", "at": pd.Timestamp(2, tz="UTC")}, True),
        ({"rate": None, "name": None, "at": pd.Timestamp(3, tz="UTC")}, True),
        ({"rate": None, "name": "b", "at": pd.Timestamp(2, tz="UTC")}, False),
        ({"rate": 1.0000000000000002, "name": "a", "at": pd.Timestamp(0, tz="UTC")}, False),
    ],
)
def test_rows_of_an_open_dataset(made, row, present):
    """A row is present in every column or absent; null and NaN differ."""
    assert is_there(made, "rates", row=row) is present


def test_nan_for_what_was_recorded_as_missing(made):
    """Pandas shows what is missing as NaN, and it is recorded as null: NaN would be absent, and is refused."""
    frame = pd.DataFrame({"rate": [1.0, None]})
    _, rows = made.archive.split(made.archive.source(frame, "gaps", provable="rows"), ["rate"])
    made.archive.register(zeros, name="gapped", rows=rows)
    with pytest.raises(ColumnError, match="expected None, got NaN"):
        made.archive.data.prove("gaps", row=frame.iloc[1].to_dict())
    assert is_there(made, "gaps", row={"rate": None})


def test_what_is_refused(made):
    """What was not made provable, or is asked of the wrong thing, is refused with the way out."""
    prove = made.archive.data.prove
    row = {"rate": 1.0, "name": "a", "at": pd.Timestamp(0, tz="UTC")}
    with pytest.raises(InputError, match="about people"):
        prove("people", row={"customer": "c-01", "age": 21})
    with pytest.raises(InputError, match="built a tree"):
        prove("visits", subject=101)
    with pytest.raises(InputError, match="built a tree"):
        prove("rated", subject="c-01")
    with pytest.raises(InputError, match="of a model ask for a person"):
        prove("direct", row=row)
    with pytest.raises(InputError, match="one of row= and subject="):
        prove("people")
    with pytest.raises(ColumnError, match="a value for each of"):
        prove("rates", row={"rate": 1.0})
    with pytest.raises(ColumnError, match="'rate' is not of type"):
        prove("rates", row={**row, "rate": "much"})
    with pytest.raises(NotFoundError, match="did you mean 'people'"):
        prove("peopel", subject="c-01")


def test_registering_what_cannot_be_proven_is_refused(made):
    """Persons of rows that are about nobody, or of no rows, or something else to prove."""
    register = made.archive.register
    with pytest.raises(InputError, match="subject="):
        register(zeros, name="none", rows=made.rate_rows, provable="subjects")
    with pytest.raises(InputError, match="rows="):
        register(zeros, name="none", provable="subjects")
    with pytest.raises(InputError, match="'subjects'"):
        register(zeros, name="none", rows=made.rate_rows, provable="rows")


def test_a_row_of_unknown_origin_is_refused(made):
    """Where a training row may be about anybody, nobody can be proven not to be in it."""
    frame = made.archive.source(PEOPLE, "broken", key="customer", subject="customer")
    frame.loc[3, "_row_broken"] = 12345
    with pytest.warns(backstory.lineage.refs.LineageWarning):
        _, rows = made.archive.split(frame, ["age"], on_broken="grade")
    with pytest.raises(InputError, match="1 of 30 that are not"):
        made.archive.register(zeros, name="broken", rows=rows, provable="subjects")


def test_nobody_is_asked_about_without_a_purpose(made):
    """Without actor and purpose a person is as sealed as the rows; open rows are not."""
    with backstory.open(made.path, mode="r", vkey=made.vkey) as archive:
        with pytest.raises(ForbiddenError, match="an actor and a purpose"):
            archive.data.prove("people", subject="c-01")
        assert archive.data.prove("rates", row=RATES.slice(0, 1).to_pylist()[0]).present


def test_the_log_says_that_and_not_of_whom(made):
    """A proof leaves an entry with its digest; no entry and no open blob holds an id of a person."""
    made.archive.data.prove("people", subject="c-07")
    entries = made.archive._ledger.find_entries("membership.shown")
    assert entries[-1]["dataset"] == made.archive.data.versions("people")["dataset"][0].as_py()
    assert {"actor", "proof"} <= set(entries[-1])
    blobs = b"".join(path.read_bytes() for path in (made.path / "blobs").rglob("*") if path.is_file())
    assert b"c-07" not in json.dumps(entries).encode() + blobs


def test_the_audit_reads_the_trees(made):
    """The whole archive verifies, and every person of every tree was looked at."""
    report = verify_archive(made.path, vkey=made.vkey)
    assert [finding for finding in report.findings if finding.severity != "note"] == []
    assert report.counts["persons"] == 30 + 20 + len(set(VISITS.who[VISITS.branch < 2]))


def test_two_trees_share_no_leaf(made):
    """The same person has other leaves in a dataset and in a training set: proofs cannot be matched with each other."""
    vault = made.archive._ledger.vault
    documents = [made.models["direct"].document["training"], made.archive.data.show("people").version.document]
    leaves = [set(vault.read_table(f"{one['subjects']['key']}.shard")["tag"].to_pylist()) for one in documents]
    assert [len(one) for one in leaves] == [20, 30]
    assert not leaves[0] & leaves[1]


@pytest.fixture
def copied(made, tmp_path):
    """Return a copy of the archive, and the name of the shard with the leaves of its dataset."""
    made.archive.flush()
    root = made.archive.data.show("people").version.document["subjects"]["key"]
    path = tmp_path / "audit"
    shutil.copytree(made.path, path)
    return path, f"{root}.shard"


@pytest.mark.parametrize("change", ["leaf", "order", "gone", "key", "no key"])
def test_leaves_and_key_that_were_changed(made, copied, change):
    """Nothing is proven from leaves or with a key that are not those of the tree, and the audit names them."""
    path, name = copied
    with backstory.open(path, vkey=made.vkey, actor="dpo", purpose="test") as archive:
        vault, keys = archive._ledger.vault, archive._ledger.keys
        tags = vault.read_table(name)["tag"].to_pylist()
        if change in {"leaf", "order"}:
            tags = [*tags[:-1], bytes(32)] if change == "leaf" else tags[::-1]
            vault.write_table(name, pa.table({"tag": pa.array(tags, pa.binary())}), keys.key(name, "shard_key"))
        elif change == "gone":
            vault.path(name).unlink()
        elif change == "key":
            keys.put(name, {**keys.get(name), "seed": bytes(32)})
        else:
            keys.destroy(name)
        with pytest.raises((VerificationError, NotFoundError)):
            archive.data.prove("people", subject="c-01")
    report = verify_archive(path, vkey=made.vkey)
    found = {finding.place: finding.severity for finding in report.findings if finding.severity != "note"}
    assert found == {f"vault/{name}": "unknown" if change in {"gone", "no key"} else "failed"}


@pytest.mark.parametrize("fewer", [True, False])
def test_a_tree_that_leaves_somebody_out_is_found(made, copied, fewer):
    """An operator who fixes a dataset with a tree of fewer persons, or of another dataset, is found by a full audit."""
    path, _ = copied
    with backstory.open(path, vkey=made.vkey, actor="dpo", purpose="test") as archive:
        ledger = archive._ledger
        entry = ledger.find_entries("source.fixed", "people")[-1]
        holder = {**ledger.document(entry["dataset"]), "note": "forged"}
        tree = keep_tree(ledger, holder, set(PEOPLE.customer) - {"c-01"}) if fewer else holder["subjects"]
        digest = ledger.put_document({**holder, "subjects": tree})
        keys = ledger.keys.get(f"{entry['dataset']}.shard")
        ledger.keys.put(f"{digest}.shard", keys)
        table = ledger.vault.read_table(f"{entry['dataset']}.shard")
        ledger.vault.write_table(f"{digest}.shard", table, keys["shard_key"])
        ledger.append([{**{k: v for k, v in entry.items() if k not in {"time", "v", "actor"}}, "dataset": digest}])
        assert archive.data.prove(digest, subject="c-01").present is False
    report = verify_archive(path, vkey=made.vkey)
    assert any("the persons of its tree are not those of its rows" in str(finding.what) for finding in report.findings)


@pytest.mark.parametrize(("name", "left_out"), [("direct", "c-01"), ("grouped", "101")])
def test_a_tree_that_leaves_somebody_out_of_a_training_set_is_found(made, copied, name, left_out):
    """An operator who registers a model with a tree of fewer persons than its rows lead to is found, too."""
    path, _ = copied
    with backstory.open(path, vkey=made.vkey, actor="dpo", purpose="test") as archive:
        ledger = archive._ledger
        entry = ledger.find_entries("model.registered", name)[-1]
        document = ledger.document(entry["model"])
        trained = {one: value for one, value in document["training"].items() if one != "subjects"}
        people = {str(one) for one in (*PEOPLE.customer[PEOPLE.age < 40], *VISITS.who[VISITS.branch < 2])}
        tree = keep_tree(ledger, trained, {one for one in people if one.startswith(left_out[0])} - {left_out})
        digest = ledger.put_document({**document, "training": {**trained, "subjects": tree}})
        said = {**{k: v for k, v in entry.items() if k not in {"time", "v", "actor"}}, "model": digest, "version": "2"}
        ledger.append([said])
        assert archive.data.prove(digest, subject=left_out).present is False
    report = verify_archive(path, vkey=made.vkey)
    found = [finding.place for finding in report.findings if finding.severity != "note"]
    assert found == [f"model {name} {digest}"]


def test_without_the_library_nothing_is_guessed(made, monkeypatch):
    """Where PyNaCl is not installed a proof is refused with its name, and the audit says what it did not compare."""
    monkeypatch.setitem(sys.modules, "nacl", None)
    with pytest.raises(InputError, match=r"backstory\[membership\]"):
        made.archive.data.prove("people", subject="c-01")
    report = verify_archive(made.path, vkey=made.vkey)
    found = [(finding.severity, finding.place) for finding in report.findings if finding.severity != "note"]
    assert found == [("unknown", "trees of persons")]


def test_parts_are_told_apart(made):
    """What is in one part is not said of another: a source with parts needs one of them named."""
    archive, halves = made.archive, []
    for name, part in (("first", PEOPLE[:10]), ("second", PEOPLE[10:])):
        halves.append(archive.source(part, "halves", subject="customer", part=name, provable="subjects"))
    _, rows = archive.split(pd.concat(halves), ["age"])
    archive.register(zeros, name="halved", rows=rows, provable="subjects")
    with pytest.raises(AmbiguousError):
        archive.data.prove("halves", subject="c-01")
    assert (is_there(made, "halves@first", subject="c-01"), is_there(made, "halves@second", subject="c-01")) == (1, 0)
    assert is_there(made, "halved", subject="c-01")


def test_a_source_about_nobody_has_an_empty_tree(made):
    """A column of persons that is empty in every row is a tree of nobody, in which everybody is absent."""
    table = pa.table({"customer": pa.array([None, None], pa.string()), "x": [1, 2]})
    frame = made.archive.source(table, "nobody", subject="customer", provable="subjects")
    _, rows = made.archive.split(frame, ["x"])
    made.archive.register(zeros, name="nobodys", rows=rows, provable="subjects")
    assert not is_there(made, "nobody", subject="c-01")
    assert not is_there(made, "nobodys", subject="c-01")
    assert canonical.count_of(made.archive.data.show("nobody").version.document["subjects"], "count") == 0


def test_saving_and_showing(made, tmp_path):
    """A proof is written to a file once, and says which way it goes without saying of whom."""
    file = made.archive.data.prove("direct", subject="c-29")
    assert repr(file).startswith("<MembershipFile: absent, ")
    path = file.save(tmp_path / "c-29.membership")
    with pytest.raises(backstory.BackstoryError, match="expected nothing at"):
        file.save(path)
    assert "absent: person c-29\ntraining set of model direct:1" in str(
        backstory.verify_membership(path, vkey=made.vkey)
    )
