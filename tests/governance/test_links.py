"""Sealed links: decisions are found from predictions by an index, and every search of it is on record."""

from __future__ import annotations

import shutil

import pytest
from tests.support.accesses import accesses
from tests.support.deciding import HUMAN, PEOPLE, acting, credit_archive

from backstory.columns.people import index_file_key
from backstory.ledger.people_index import PEOPLE_KEY, index_name, rebuild_people, remove_people
from backstory.ledger.read import manifests
from backstory.ledger.rekey import rekey_domain
from backstory.ledger.rewrite import rewrite_shard
from backstory.verify.archive import verify_archive

SAID = HUMAN | {"outcome": "granted", "adverse": False}


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """A closed archive with three segments of decisions about three persons; ids of the predictions and of these."""
    path = tmp_path_factory.mktemp("links") / "audit"
    ids, made = credit_archive(path), []
    for number in range(3):
        with acting(path, "Ann Lee", "deciding", 10_000 * (number + 1)) as archive:
            made.append(archive.decisions.record(ids[number], subject=PEOPLE[number], **SAID).id)
            archive.flush()
    return path, ids, made


@pytest.fixture
def archive(template, tmp_path):
    """A copy of it, open for somebody who may read."""
    with acting(shutil.copytree(template[0], tmp_path / "audit"), "Cy Diaz", "a complaint", 100_000) as opened:
        yield opened


def segments(archive):
    """Return the manifests of decisions."""
    return [manifest for _, manifest in manifests(archive._ledger, "decision")]


def decided(archive, ids):
    """Return the ids of the decisions that were made with each of some predictions."""
    return [[one.id for one in archive.decisions.of(prediction)] for prediction in ids]


def test_only_what_leads_to_a_prediction_is_opened(archive, template):
    """Shards without such a decision are not even looked into."""
    first, _, last = segments(archive)
    for manifest in (first, last):
        archive._ledger.vault.path(manifest.shard.name).unlink()
    assert decided(archive, template[1][1:2]) == [[template[2][1]]]


def test_without_an_index_links_are_looked_for_in_the_shard(archive, template):
    """What is found is the same, and the index can be made anew."""
    _, ids, made = template
    expected = [[one] for one in made] + [[]]
    assert decided(archive, ids[:4]) == expected
    path = archive._ledger.vault.path(index_name(segments(archive)[0].shard.name))
    path.unlink()
    assert decided(archive, ids[:4]) == expected
    assert rebuild_people(archive._ledger) == 1
    assert path.is_file()
    assert decided(archive, ids[:4]) == expected


def test_an_index_under_another_key_of_tokens_is_not_searched(archive, template):
    """Where that key was lost and another was drawn, whom an index has is found in the shard, not taken for nobody."""
    ledger = archive._ledger
    (ledger.layout.keys / f"{PEOPLE_KEY}.json").unlink()
    ledger.keys.create(PEOPLE_KEY, "key")
    assert decided(archive, template[1][:3]) == [[one] for one in template[2]]
    assert rebuild_people(ledger) > 2
    assert decided(archive, template[1][:3]) == [[one] for one in template[2]]


def test_an_erased_link_leaves_the_index(archive, template):
    """Once the values of the group are erased, nothing leads to the decision, and the index is under another key."""
    ledger, manifest = archive._ledger, segments(archive)[0]
    before = ledger.keys.get(index_name(manifest.shard.name))
    rewrite_shard(ledger, manifest, {"subject": [0]})
    assert decided(archive, template[1][:2]) == [[], [template[2][1]]]
    assert not set(before.values()) & set(ledger.keys.get(index_name(manifest.shard.name)).values())
    assert b"".join(
        ledger.vault.read_index(index_name(manifest.shard.name), _keys(ledger, manifest)).values()
    ) == bytes(4)


def test_links_are_found_under_new_keys(archive, template):
    """Whoever changes the keys of the shards changes those of the index."""
    ledger = archive._ledger
    before = [_keys(ledger, manifest) for manifest in segments(archive)]
    rekey_domain(ledger, "personal", "scheduled")
    assert all(not set(old) & set(_keys(ledger, one)) for old, one in zip(before, segments(archive), strict=True))
    assert decided(archive, template[1][:2]) == [[template[2][0]], [template[2][1]]]


def test_an_index_that_hides_a_decision_is_found(archive, template):
    """An audit compares the links of every shard with its index."""
    ledger, manifest = archive._ledger, segments(archive)[0]
    remove_people(ledger, manifest.shard.name, [0])
    assert decided(archive, template[1][:1]) == [[]]
    found = [str(one) for one in verify_archive(ledger.layout.root, workers=1).findings if one.severity == "failed"]
    assert len(found) == 1
    assert "lead to what" in found[0]


def test_a_search_that_finds_nothing_is_on_record(archive, template):
    """It is a read of the links of no record; one that finds something names all that is opened at once."""
    assert decided(archive, template[1][5:]) == [[]]
    (searched,) = accesses(archive._ledger, "decision")
    assert (searched["outcome"], searched["groups"], searched["records"]) == ("allowed", ["subject"], 0)
    assert decided(archive, template[1][:1]) == [[template[2][0]]]
    _, opened, reversals = accesses(archive._ledger, "decision")
    assert (opened["groups"], opened["records"]) == (["outcome", "staff.D6", "subject", "text.D4"], 1)
    assert (reversals["groups"], reversals["records"]) == (["subject"], 0)


def test_links_of_decisions_that_wait_are_found(archive, template):
    """A decision that nothing seals yet is found from its prediction too, and so is what it reverses."""
    reversal = SAID | {"action": "reversed", "ground": "new-evidence", "subject": PEOPLE[0], "reverses": template[2][0]}
    made = archive.decisions.record(template[1][0], **reversal).id
    first, second = archive.decisions.of(template[1][0])
    assert (first.id, first.reversed_by, second.id) == (template[2][0], (made,), made)


def _keys(ledger, manifest):
    key = ledger.keys.key(PEOPLE_KEY, "key")
    return [index_file_key(key, part) for part in ledger.keys.get(index_name(manifest.shard.name)).values()]
