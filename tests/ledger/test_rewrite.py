"""Erasing values from shards: what is gone is gone for good, what remains is what it was, whatever fails on the way."""

from __future__ import annotations

import os
import shutil

import pyarrow as pa
import pytest
from tests.ledger.test_every_operation import each_failure, on_ledger
from tests.support.ledgers import new_ledger, reopen
from tests.support.vaults import TWO_DOMAINS, manifest_in, new_vault, sealed_rows

from backstory.columns.commit import kept_leaves
from backstory.columns.tree import root_of_subtrees, subtree_roots
from backstory.errors import BusyError, ForbiddenError, FormatError, NotFoundError, VerificationError
from backstory.ledger.ledger import Ledger
from backstory.ledger.people_index import find_people_rows, rebuild_people
from backstory.ledger.rekey import rekey_domain
from backstory.ledger.rewrite import rewrite_shard, rewrite_table
from backstory.ledger.sealed import erased_groups, read_shard
from backstory.ledger.sealed_table import keep_sealed_table
from backstory.storage.disk import hold_directory
from backstory.verify.archive import verify_archive

ROW = 270
GROUPS = TWO_DOMAINS.groups
EVERYTHING = {group: [ROW] for group in GROUPS}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """An archive with 300 records in two key domains, and what they hold."""
    ledger = new_vault(tmp_path_factory.mktemp("vault") / "archive")
    rows = sealed_rows(ledger)
    ledger.close()
    return ledger.layout.root, rows


@pytest.fixture
def ledger(made, tmp_path):
    """A copy of it, open for writing."""
    shutil.copytree(made[0], tmp_path / "archive")
    opened = reopen(tmp_path / "archive", seed=7)
    yield opened
    opened.close()


def problems(root):
    """Return what an audit finds, but for whether the log accounts for what is missing."""
    report = verify_archive(root, workers=1)
    return [str(one) for one in report.findings if one.severity != "note" and "accounts for" not in one.what]


def without(row, *names):
    """Return a row of sealed values with nulls in some columns."""
    feature = {name: None if f"feature.{name}" in names else value for name, value in row["feature"].items()}
    kept = {name: None if name in names else value for name, value in row.items()} | {"feature": feature}
    return kept | {"row": {"loans": None}} if "row" in names else kept


def test_erased_values_are_gone_and_others_stay(made, ledger):
    """Of an erased record nothing is left but nulls; its neighbours are what they were and open their commitments."""
    assert rewrite_shard(ledger, manifest_in(ledger), EVERYTHING) == len(GROUPS)
    rows = sealed_rows(ledger)
    gone = without(made[1][ROW], "feature.x", "feature.name", "output", "decision", "subject", "row")
    assert rows == [*made[1][:ROW], gone, *made[1][ROW + 1 :]]
    assert erased_groups(ledger, manifest_in(ledger), ROW) == GROUPS
    assert erased_groups(ledger, manifest_in(ledger), ROW - 1) == ()
    assert read_shard(ledger, manifest_in(ledger).shard).to_pylist() == rows
    assert problems(ledger.layout.root) == []


def test_a_single_group_can_go_and_others_later(made, ledger):
    """Erasures add up; a domain in which nothing is erased keeps its bytes and its key."""
    manifest = manifest_in(ledger)
    assert rewrite_shard(ledger, manifest, {"features.D5": [3, ROW]}) == 2
    personal, special = ledger.vault.sections(manifest.shard.name)
    assert (personal.key, personal.erased, special.erased) == ("shard_key", 0, 2)
    assert rewrite_shard(ledger, manifest, {"features": [ROW], "features.D5": [ROW]}) == 1
    rows = sealed_rows(ledger)
    assert rows[3] == without(made[1][3], "feature.name")
    assert rows[ROW] == without(made[1][ROW], "feature.name", "feature.x")
    assert erased_groups(ledger, manifest, ROW) == ("features", "features.D5")
    assert problems(ledger.layout.root) == []


def test_all_rows_may_go(ledger):
    """A shard of which nothing is left is a shard."""
    assert rewrite_shard(ledger, manifest_in(ledger), dict.fromkeys(GROUPS, range(300))) == 300 * len(GROUPS)
    assert {row["subject"] for row in sealed_rows(ledger)} == {None}
    assert problems(ledger.layout.root) == []


def test_nothing_that_is_kept_leads_back(made, ledger):
    """No key that was used before is in any file, the file's time is the old one, and an older copy opens nothing."""
    manifest, root = manifest_in(ledger), ledger.layout.root
    path = ledger.vault.path(manifest.shard.name)
    modified = path.stat().st_mtime_ns
    names = [manifest.shard.name, f"special/{manifest.shard.name}", f"{path.stem}.people"]
    before = {name: ledger.keys.get(name) for name in names}
    rewrite_shard(ledger, manifest, EVERYTHING)
    assert path.stat().st_mtime_ns == modified
    assert not {key for keys in before.values() for key in keys.values()} & {
        key for name in names for key in ledger.keys.get(name).values()
    }
    for name in names:  # and as nobody's files are so easily gone, they are put back
        shutil.copy(made[0] / "keys" / f"{name}.json", root / "keys" / f"{name}.json")
        with pytest.raises(NotFoundError, match="destroyed for good"):
            ledger.keys.get(name)
    shutil.copy(made[0] / "vault" / path.name, path)
    with pytest.raises(NotFoundError):
        sealed_rows(ledger)
    assert len(ledger.keys.sweep()) == len(names)
    assert not any(ledger.keys.has(name) for name in names)


def test_a_reader_sees_the_old_shard_or_the_new_one(made, ledger, monkeypatch):
    """A shard that is rewritten between its bytes and its keys is read again."""
    other = Ledger(ledger.layout.root, ledger.world, writable=False, vkey=None, actor=None)
    get, rewritten = other.keys.get, []

    def get_late(name):
        if not rewritten:
            rewritten.append(rewrite_shard(ledger, manifest_in(ledger), EVERYTHING))
        return get(name)

    monkeypatch.setattr(other.keys, "get", get_late)
    rows = sealed_rows(other)
    assert (rewritten, rows[ROW]["subject"]) == ([len(GROUPS)], None)
    assert rows[:ROW] == made[1][:ROW]
    other.close()


def test_a_domain_is_read_without_the_keys_of_others(made, ledger):
    """Without the keys of special categories all else is read, and nothing of them."""
    shutil.rmtree(ledger.layout.keys / "special")
    rows = sealed_rows(ledger, ["features", "output", "subject"])
    assert rows[ROW]["feature"] == {"x": made[1][ROW]["feature"]["x"]}
    with pytest.raises(NotFoundError):
        sealed_rows(ledger)
    findings = verify_archive(ledger.layout.root, workers=1).findings
    assert {one.severity for one in findings if "special" in one.what} == {"unknown"}
    rewrite_shard(ledger, manifest_in(ledger), {"features": [ROW]})


def test_a_missing_value_that_nobody_erased_is_a_failure(ledger):
    """A shard whose values are gone without the form of an erasure was changed."""
    name = manifest_in(ledger).shard.name
    table = pa.Table.from_pylist(
        [{"feature": {"name": None}}] * 300, ledger.vault.open_sections(name)["special"].table.schema
    )
    tables = {
        domain: (one.table, ledger.keys.get(key)["shard_key"])
        for (domain, one), key in zip(ledger.vault.open_sections(name).items(), (name, f"special/{name}"), strict=True)
    }
    ledger.vault.write_tables(name, tables | {"special": (table, tables["special"][1])})
    with pytest.raises(VerificationError):
        sealed_rows(ledger)
    assert any("digest is not the one" in problem for problem in problems(ledger.layout.root))


def test_a_rewritten_shard_that_was_changed_is_refused(ledger):
    """What remains of a rewritten shard must open its commitments: other values under its own key do not."""
    manifest = manifest_in(ledger)
    rewrite_shard(ledger, manifest, EVERYTHING)
    name = manifest.shard.name
    opened = ledger.vault.open_sections(name)["personal"]
    changed = opened.table.set_column(opened.table.column_names.index("output"), "output", pa.array([1.5] * 299))
    from backstory.storage.shard_file import NewSection

    key = ledger.keys.key(name, opened.section.key)
    ledger.vault.replace_section(
        name, NewSection(domain="personal", key_name=opened.section.key, key=key, table=changed, kept=opened.kept)
    )
    for ask in (lambda: sealed_rows(ledger), lambda: read_shard(ledger, manifest.shard)):
        with pytest.raises(VerificationError):
            ask()
    assert any("do not open" in problem for problem in problems(ledger.layout.root))


def test_what_cannot_be_erased_is_refused(ledger, made):
    """Groups and rows that are not there, an archive for reading, a vault that somebody else rewrites."""
    manifest = manifest_in(ledger)
    for erased in ({"salary": [1]}, {"output": [300]}, {"output": [-1]}):
        with pytest.raises(FormatError):
            rewrite_shard(ledger, manifest, erased)
    with hold_directory(ledger.layout.vault, "test"), pytest.raises(BusyError):
        rewrite_shard(ledger, manifest, EVERYTHING)
    reading = Ledger(ledger.layout.root, ledger.world, writable=False, vkey=None, actor=None)
    with pytest.raises(ForbiddenError):
        rewrite_shard(reading, manifest, EVERYTHING)
    reading.close()
    assert sealed_rows(ledger) == made[1]


def test_the_index_of_people_finds_and_forgets(ledger):
    """Whom records are about is found with the index and without, and whoever was erased no more."""
    manifest, name = manifest_in(ledger), manifest_in(ledger).shard.name.replace(".shard", ".people")

    def found(person):
        return [(one.file.name, rows.tolist()) for one, rows in find_people_rows(ledger, person)]

    everyone = {f"person {n}": [(manifest.file.name, [n])] for n in (0, 1, ROW, 299)} | {"person": [], "person 300": []}
    assert {person: found(person) for person in everyone} == everyone
    rewrite_shard(ledger, manifest, EVERYTHING)
    everyone[f"person {ROW}"] = []
    assert {person: found(person) for person in everyone} == everyone
    assert rebuild_people(ledger) == 0
    data = ledger.vault.path(name).read_bytes()
    ledger.vault.path(name).unlink()
    assert {person: found(person) for person in everyone} == everyone
    assert rebuild_people(ledger) == 1
    assert len(ledger.vault.path(name).read_bytes()) == len(data)
    assert {person: found(person) for person in everyone} == everyone
    assert problems(ledger.layout.root) == []


def test_an_index_that_leaves_somebody_out_is_found(ledger):
    """An audit compares an index with the shard: one without a person is a failure, a damaged one a note."""
    from backstory.ledger.people_index import remove_people

    name = manifest_in(ledger).shard.name
    remove_people(ledger, name, [5])
    assert any("records are about whom" in problem for problem in problems(ledger.layout.root))
    path = ledger.vault.path(name.replace(".shard", ".people"))
    path.write_bytes(path.read_bytes()[:-1])
    assert problems(ledger.layout.root) == []


def test_rows_of_a_table_go_and_its_root_stays(tmp_path):
    """The commitments to erased rows of a table about persons are kept, so that its root is still computed."""
    ledger = new_ledger(tmp_path / "archive")
    table = pa.table(
        {"name": [f"p{n}" for n in range(300)], "address": [{"town": f"t{n}"} if n % 7 else None for n in range(300)]}
    )
    kept = keep_sealed_table(ledger, table, [], "sealed_table")
    name = kept["sealed_table"]
    assert rewrite_table(ledger, name, [0, 7, 299]) == 3
    assert rewrite_table(ledger, name, [7, 8]) == 1
    (section,) = ledger.vault.open_sections(name).values()
    left = section.run(0, section.rows)
    assert root_of_subtrees(subtree_roots(kept_leaves(left, section.salts(1)))).hex() == kept["root"]
    rows = table.to_pylist()
    assert [row for n, row in enumerate(left.to_pylist()) if n not in {0, 7, 8, 299}] == [
        row for n, row in enumerate(rows) if n not in {0, 7, 8, 299}
    ]
    assert left["name"].to_pylist()[7:9] == [None, None]
    with pytest.raises(FormatError):
        rewrite_table(ledger, name, [300])
    ledger.close()


def test_an_erasure_survives_the_failure_of_any_operation(tmp_path, monkeypatch, made):
    """Whatever fails, the record is there or gone, the others are there, and doing it again ends it."""

    def erase(ledger):
        rewrite_shard(ledger, manifest_in(ledger), EVERYTHING)

    for root, returned in each_failure(monkeypatch, tmp_path, made[0], on_ledger(erase), step=9):
        ledger = reopen(root, seed=os.getpid())
        row = sealed_rows(ledger)[ROW]
        assert not returned or row["subject"] is None
        erase(ledger)
        rows = sealed_rows(ledger)
        assert rows[ROW]["feature"] == {"x": None, "name": None}
        assert rows[:ROW] == made[1][:ROW]
        assert not find_people_rows(ledger, f"person {ROW}")
        for name in (manifest_in(ledger).shard.name, f"special/{manifest_in(ledger).shard.name}"):
            assert len(ledger.keys.get(name)) == 1
        ledger.close()
        assert problems(root) == []


def test_other_keys_open_the_same_values(made, ledger):
    """A domain encrypted under other keys holds what it held; the old keys open nothing, and the log says so."""
    name = manifest_in(ledger).shard.name
    old = ledger.keys.get(name)["shard_key"]
    rewrite_shard(ledger, manifest_in(ledger), {"output": [1]})
    assert rekey_domain(ledger, "personal", "compromise") == 1
    assert old not in ledger.keys.get(name).values()
    assert [row["subject"] for row in sealed_rows(ledger)] == [row["subject"] for row in made[1]]
    entry = ledger.log.entry(ledger.catalog.entries("vault.rekeyed")[-1])
    assert (entry["domain"], entry["keys"], entry["reason"], entry["count"]) == (
        "personal",
        "shards",
        "compromise",
        "1",
    )
    assert problems(ledger.layout.root) == []
