"""What is past its time and held by nothing goes, is proven to be gone, and everything else stays provable."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import pyarrow as pa
import pytest
from tests.support.ledgers import OPEN, SEALED
from tests.support.retention import PAYLOAD, SKELETON, Clock, acting, in_force, recorded, registered, timed_ledger

from backstory.errors import ConflictError, ForbiddenError, NotFoundError
from backstory.governance.disposal import disposals, execute_disposal, propose_disposal
from backstory.governance.disposal_list import disposed_root, parts_of
from backstory.governance.hold import place_hold, propose_release
from backstory.governance.keeping import Keeping, grounds_to_keep
from backstory.governance.proposal import REFUSED, decide
from backstory.governance.retention import status
from backstory.governance.retention_decision import approve
from backstory.governance.retention_list import read_list
from backstory.governance.retention_scope import Scope
from backstory.ledger.read import find_record, manifests, read_place
from backstory.ledger.receipt import make_receipt
from backstory.ledger.sealed import erased_values
from backstory.records.identity import id_text
from backstory.verify.archive import verify_archive
from backstory.verify.receipt import verify_receipt


def dispose(ledger):
    """Let Ann propose, Bob approve and Ann execute; return the disposal."""
    proposal = propose_disposal(ledger)
    with acting(ledger, "bob"):
        decide(ledger, proposal.index, "approved")
    return execute_disposal(ledger, proposal.index)


def failures(root):
    """Return what a verification finds that is worse than a note."""
    return [one for one in verify_archive(root, workers=1).findings if one.severity != "note"]


@pytest.fixture
def clock():
    """A clock that the test sets."""
    return Clock()


@pytest.fixture
def ledger(tmp_path, clock):
    """An archive with two rules: values go after 6 months, rows after 24."""
    with acting(ledger := timed_ledger(tmp_path / "a", clock), "ann"):
        in_force(ledger, PAYLOAD, SKELETON)
        yield ledger
    ledger.close()


def test_nothing_goes_before_its_ceiling(ledger, clock):
    """A day before six months are over nothing is overdue, a day after it everything is."""
    recorded(ledger, 3)
    clock.on(180)
    with pytest.raises(ConflictError, match="nothing is past"):
        propose_disposal(ledger)
    clock.on(2)
    assert {one.group for one in Keeping(ledger, clock.now).overdue()} == set(SEALED.groups)


def test_values_go_and_rows_stay(ledger, clock):
    """After a disposal of values the records are there, their receipts verify, and an audit finds nothing wrong."""
    ids = recorded(ledger, 3)
    receipt = make_receipt(ledger, find_record(ledger, ids[1].hex(), "prediction"), ()).data
    clock.on(200)
    done = dispose(ledger)
    assert (done.executed is not None, done.count) == (True, 3 * len(SEALED.groups))
    ((_, manifest),) = manifests(ledger, "prediction")
    assert all(gone.all() for gone in erased_values(ledger, manifest, 0, 3).values())
    assert find_record(ledger, ids[1].hex(), "prediction").place is not None
    assert verify_receipt(receipt, vkey=ledger.layout.config.vkey).id == id_text(ids[1])
    assert failures(ledger.layout.root) == []
    assert list(Keeping(ledger, clock.now).overdue()) == []


def test_rows_go_after_their_values(ledger, clock):
    """After two years ids are gone too; numbers and roots stay, and receipts that were given out verify."""
    ids = recorded(ledger, 300)
    recorded(ledger, 5, OPEN)
    receipt = make_receipt(ledger, find_record(ledger, ids[7].hex(), "prediction"), ()).data
    clock.on(800)
    recorded(ledger, 2)
    dispose(ledger)
    with pytest.raises(NotFoundError, match="went by the disposal of entry"):
        find_record(ledger, ids[7].hex(), "prediction")
    assert verify_receipt(receipt, vkey=ledger.layout.config.vkey).id == id_text(ids[7])
    assert failures(ledger.layout.root) == []
    data = b"".join(path.read_bytes() for path in ledger.layout.segments.iterdir())
    assert not any(identity in data for identity in ids)
    assert {one.kind: (one.records, one.gone) for one in status(ledger, clock.now).classes} == {"prediction": (2, 305)}


def test_a_hold_in_a_segment_keeps_its_rows_only(ledger, clock):
    """Of a segment whose time is over the held record stays whole: it can be read, proven, opened."""
    ids = recorded(ledger, 300)
    hold = place_hold(ledger, "Doe v. Bank", Scope(subjects=("person 7",)), "legal", clock.now + 10**18)
    clock.on(800)
    assert (hold.records, hold.released) == (1, None)
    dispose(ledger)
    found = find_record(ledger, ids[7].hex(), "prediction")
    assert read_place(ledger, found.place).id == id_text(ids[7])
    assert verify_receipt(make_receipt(ledger, found, SEALED.groups).data, vkey=ledger.layout.config.vkey).opened
    with pytest.raises(NotFoundError):
        find_record(ledger, ids[8].hex(), "prediction")
    assert failures(ledger.layout.root) == []
    grounds = grounds_to_keep(ledger, None, [(found.place.manifest, [found.place.row])])
    assert [(one.code, one.law, one.records) for one in grounds] == [("hold", "GDPR 17(3)(e)", 1)]
    with acting(ledger, "carl"):
        proposal = propose_release(ledger, hold.name)
    with acting(ledger, "bob"):
        approve(ledger, proposal.index)
    dispose(ledger)
    with pytest.raises(NotFoundError):
        find_record(ledger, ids[7].hex(), "prediction")
    assert failures(ledger.layout.root) == []


def test_a_hold_after_the_approval_wins(ledger, clock):
    """What was approved and is held by the time it is executed stays, and the log says that something stayed."""
    ids = recorded(ledger, 3)
    clock.on(200)
    proposal = propose_disposal(ledger)
    with acting(ledger, "bob"):
        decide(ledger, proposal.index, "approved")
    place_hold(ledger, "m", Scope(predictions=frozenset(ids[:1])), "legal", clock.now + 10**18)
    done = execute_disposal(ledger, proposal.index)
    assert (done.count, done.kept) == (2 * len(SEALED.groups), {"hold": len(SEALED.groups)})
    assert failures(ledger.layout.root) == []


def between(ledger, acts):
    """Let others act while a disposal is prepared: one act each time it draws the salts of its list."""
    world, left = ledger.world, list(acts)

    def chance(size):
        if size == 32 * len(SEALED.groups) and left:
            ledger.world = world
            left.pop(0)()
            ledger.world = replace(world, random_bytes=chance)
        return world.random_bytes(size)

    ledger.world = replace(world, random_bytes=chance)
    return left


def approved(ledger):
    """Propose a disposal and let Bob approve it; return the index of the proposal."""
    proposal = propose_disposal(ledger)
    with acting(ledger, "bob"):
        decide(ledger, proposal.index, "approved")
    return proposal.index


@pytest.mark.parametrize("times", [1, 3])
def test_a_hold_while_a_disposal_is_prepared_wins(ledger, clock, times):
    """However often holds come between a look and the entry it is for, what they hold stays, and nothing else does."""
    ids = recorded(ledger, 5)
    clock.on(200)
    proposal = approved(ledger)

    def hold(key):
        place_hold(ledger, "m", Scope(predictions=frozenset([key])), "legal", clock.now + 10**18)

    left = between(ledger, [partial(hold, key) for key in ids[:times]])
    done = execute_disposal(ledger, proposal)
    assert (left, done.kept) == ([], {"hold": times * len(SEALED.groups)})
    assert done.count == (5 - times) * len(SEALED.groups)
    assert failures(ledger.layout.root) == []
    assert not [one for one in verify_archive(ledger.layout.root, workers=1).findings if "nothing refers" in one.what]


def held_while(ledger, clock, act):
    """Hold a model's records and let others act once the list of them is made; return the hold."""
    world = ledger.world

    def chance(size):
        if size == 32:  # the first key of the list
            ledger.world = world
            act()
        return world.random_bytes(size)

    ledger.world = replace(world, random_bytes=chance)
    return place_hold(ledger, "m", Scope(model="delay"), "legal", clock.now + 10**18)


def test_what_begins_to_go_while_a_hold_lists_it_is_not_listed(ledger, clock):
    """A hold lists what is there when it is placed, and leaves no list behind that was made before."""
    recorded(ledger, 2)
    registered(ledger, "delay")
    clock.on(800)
    hold = held_while(ledger, clock, partial(execute_disposal, ledger, approved(ledger)))
    assert (hold.records, disposals(ledger)[0].kept) == (0, {})
    findings = verify_archive(ledger.layout.root, workers=1).findings
    assert not [one for one in findings if one.severity != "note" or "nothing refers" in one.what]


def test_records_of_others_do_not_keep_a_hold_up(ledger, clock):
    """The log is not held while a hold lists records; those that are sealed meanwhile are held as later ones are."""
    recorded(ledger, 2)
    registered(ledger, "delay")
    hold = held_while(ledger, clock, partial(recorded, ledger, 1, first=2))
    assert hold.records == 2
    segments = manifests(ledger, "prediction")
    assert [mask.tolist() for at in segments for _, mask in Keeping(ledger, clock.now).reached(*at)] == [
        [True] * 2,
        [True],
    ]


def test_records_of_others_do_not_keep_a_disposal_up(ledger, clock):
    """What was looked at is not looked at again because somebody else recorded predictions meanwhile."""
    recorded(ledger, 3)
    clock.on(200)
    proposal = approved(ledger)
    other = [partial(recorded, ledger, 2, first=3), lambda: pytest.fail("it was looked at again")]
    left = between(ledger, other)
    assert execute_disposal(ledger, proposal).count == 3 * len(SEALED.groups)
    assert len(left) == 1


def test_a_list_is_as_long_as_its_gaps(ledger, clock):
    """Records that go together are one row of a list for each part; one that is held in their midst makes it two."""
    ids = recorded(ledger, 300)
    place_hold(ledger, "m", Scope(predictions=frozenset(ids[7:8])), "legal", clock.now + 10**18)
    clock.on(200)
    table = read_list(ledger, propose_disposal(ledger).document)
    assert table.num_rows == 2 * len(SEALED.groups)
    ((rows),) = parts_of(table).values()
    assert {group: own.tolist() for group, own in rows.items()} == {
        group: [row for row in range(300) if row != 7] for group in SEALED.groups
    }


def test_the_root_over_what_went_is_the_written_down_one():
    """The leaf of a row of a disposal's list is as docs/format.md says."""
    one = json.loads((Path(__file__).parents[1] / "vectors" / "retention.json").read_text("utf-8"))["disposed"]
    row = {"group": one["group"], **{name: int(one[name]) for name in ("manifest", "row", "rows")}}
    table = pa.Table.from_pylist([{**row, "salt": bytes.fromhex(one["salt"])}])
    assert disposed_root(table) == hashlib.sha256(b"\x00" + bytes.fromhex(one["leaf_data"])).digest()


def test_two_people(ledger, clock):
    """Who proposed may not approve, nothing unapproved is executed, and who placed a hold may not release it."""
    recorded(ledger, 1)
    registered(ledger, "delay")
    hold = place_hold(ledger, "m", Scope(model="delay"), "legal", clock.now + 10**18)
    clock.on(1)
    other = propose_release(ledger, hold.name)
    with acting(ledger, "bob"):
        mine = propose_release(ledger, hold.name)
    for act in (lambda: approve(ledger, other.index), lambda: approve(ledger, mine.index)):
        with pytest.raises(ForbiddenError):
            act()
    with acting(ledger, "bob"):
        approve(ledger, other.index)
    clock.on(200)
    proposal = propose_disposal(ledger)
    for act in (lambda: decide(ledger, proposal.index, "approved"), lambda: execute_disposal(ledger, proposal.index)):
        with pytest.raises(ForbiddenError):
            act()
    assert len(ledger.find_entries(REFUSED)) == 4
    assert disposals(ledger) == []
