"""Receipts of many records in one file, and the checkpoint they stand under."""

from __future__ import annotations

import random

import pytest
from tests.support.ledgers import OPEN, SEALED, make_batch, new_ledger, new_recorder
from tests.support.receipts import WITNESSES

from backstory.columns.encode import encode_columns
from backstory.errors import InputError, LimitError, NotFoundError, QueryError
from backstory.ledger import receipt as making
from backstory.ledger.read import find_places, find_record
from backstory.ledger.receipt import make_receipt, make_receipts
from backstory.ledger.seal import seal_all
from backstory.storage.anchors import keep_cosigned
from backstory.tlog.checkpoint import Checkpoint, sign_checkpoint
from backstory.tlog.cosignature import cosign
from backstory.tlog.note import add_signatures
from backstory.tlog.signer import Ed25519Signer
from backstory.verify.receipt import verify_receipt, verify_receipts


def record_more(ledger, schema, first, count):
    """Record and seal a batch; return the ids."""
    recorder = new_recorder(ledger)
    ids = recorder.record(make_batch(ledger, schema, first, count)).ids
    recorder.close()
    seal_all(ledger)
    return [str(name) for name in ids]


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    """Return an archive with two segments, and the ids of its records."""
    ledger = new_ledger(tmp_path_factory.mktemp("receipts") / "archive")
    return ledger, record_more(ledger, SEALED, 0, 600) + record_more(ledger, OPEN, 600, 600)


def cosigned(ledger, signer=None):
    """Cosign the published checkpoint, or one of another signer, and keep it as `backstory feed` does."""
    checkpoint = ledger.log.checkpoint()
    if signer is None:
        note = ledger.log.signed_checkpoint()[0]
    else:
        checkpoint = Checkpoint(origin=checkpoint.origin, size=checkpoint.size, root=bytes(32))
        note = sign_checkpoint(checkpoint, signer)
    note = add_signatures(note, [cosign(checkpoint, WITNESSES[0], 7)])
    keep_cosigned(ledger.layout, ledger.world.disk, note)
    return checkpoint


def policy_of(ledger):
    """Return a policy that asks for the one witness."""
    return f"log {ledger.layout.config.vkey}\nwitness w {WITNESSES[0].vkey}\nquorum w\n"


def test_a_file_of_many_proves_what_each_receipt_does(filled):
    """Each record of a file of many has the facts of its own receipt."""
    ledger, ids = filled
    chosen = random.Random(1).sample(ids, 40)
    vkey = ledger.layout.config.vkey
    many = verify_receipts(
        make_receipts(ledger, find_places(ledger, chosen, "prediction"), opened=None).data, vkey=vkey
    )
    for receipt in many:
        found = find_record(ledger, receipt.id, "prediction")
        assert receipt == verify_receipt(make_receipt(ledger, found, found.schema.groups).data, vkey=vkey)
    assert {receipt.id for receipt in many} == set(chosen)


def test_a_thousand_in_one_file_are_a_fraction(filled):
    """A thousand receipts in one file are several times smaller than a thousand files."""
    ledger, ids = filled
    together = len(make_receipts(ledger, find_places(ledger, ids[:1_000], "prediction"), opened=()).data)
    some = [make_receipt(ledger, find_record(ledger, name, "prediction"), ()) for name in ids[:1_000:50]]
    assert sum(len(one.data) for one in some) / len(some) * 1_000 > 5 * together


def test_neighbours_are_encoded_together(filled, monkeypatch):
    """What is next to each other is read and encoded once, not once a record."""
    ledger, ids = filled
    calls = []
    monkeypatch.setattr(making, "encode_columns", lambda table: calls.append(1) or encode_columns(table))
    make_receipts(ledger, find_places(ledger, ids[600:856], "prediction"), opened=())
    assert len(calls) == 1


def test_a_record_named_twice_is_there_once(filled):
    """Naming a record twice gives one receipt of it."""
    ledger, ids = filled
    places = find_places(ledger, [ids[3], ids[3]], "prediction")
    assert make_receipts(ledger, places, opened=()).ids == (ids[3],)


def test_groups_stay_sealed_unless_opened(filled):
    """Without leave to open them, sealed groups are committed and not shown."""
    ledger, ids = filled
    data = make_receipts(ledger, find_places(ledger, ids[:2], "prediction"), opened=()).data
    assert {receipt.sealed for receipt in verify_receipts(data, vkey=ledger.layout.config.vkey)} == {SEALED.groups}


def test_an_id_of_no_record_is_named(filled):
    """One unknown id among many is an error that names it."""
    ledger, ids = filled
    unknown = "01900000-0000-7000-8000-000000000000"
    with pytest.raises(NotFoundError, match=unknown):
        find_places(ledger, [ids[0], unknown], "prediction")


def test_a_prefix_is_no_whole_id(filled):
    """Places are found by whole ids."""
    with pytest.raises(QueryError):
        find_places(filled[0], [filled[1][0][:8]], "prediction")


def test_no_record_is_no_file(filled):
    """A file of no receipts is not made."""
    with pytest.raises(InputError):
        make_receipts(filled[0], [], opened=())


@pytest.mark.parametrize("limit", ["RECEIPTS_COUNT_MAX", "RECEIPTS_SIZE_MAX"])
def test_what_no_verifier_would_read_is_not_made(filled, monkeypatch, limit):
    """A file over a limit of the format is refused by who makes it."""
    ledger, ids = filled
    monkeypatch.setattr(making, limit, 1)
    with pytest.raises(LimitError):
        make_receipts(ledger, find_places(ledger, ids[:2], "prediction"), opened=())


def test_a_cosigned_checkpoint_is_preferred(tmp_path):
    """A receipt stands under the newest checkpoint that was cosigned, where that covers it."""
    ledger = new_ledger(tmp_path / "a")
    ids = record_more(ledger, OPEN, 0, 3)
    checkpoint = cosigned(ledger)
    later = record_more(ledger, OPEN, 3, 3)
    old = verify_receipt(
        make_receipt(ledger, find_record(ledger, ids[0], "prediction"), ()).data, policy=policy_of(ledger)
    )
    new = make_receipt(ledger, find_record(ledger, later[0], "prediction"), ()).data
    assert (old.tree_size, [witness.time for witness in old.witnesses]) == (checkpoint.size, [7])
    assert verify_receipt(new, vkey=ledger.layout.config.vkey).tree_size == ledger.log.checkpoint().size


def test_many_stand_under_one_checkpoint(tmp_path):
    """Where the cosigned checkpoint does not cover all records of a file, it is the published one."""
    ledger = new_ledger(tmp_path / "a")
    ids = record_more(ledger, OPEN, 0, 3)
    cosigned(ledger)
    ids += record_more(ledger, OPEN, 3, 3)
    sizes = []
    for names in (ids[:2], ids):
        data = make_receipts(ledger, find_places(ledger, names, "prediction"), opened=()).data
        sizes += {receipt.tree_size for receipt in verify_receipts(data, vkey=ledger.layout.config.vkey)}
    assert sizes[0] < sizes[1] == ledger.log.checkpoint().size


@pytest.mark.parametrize("seed", ["own", "other"])
def test_a_cosigned_checkpoint_of_another_history_is_passed_over(tmp_path, seed):
    """A kept checkpoint that is not of this log, or not of this history, does not get into a receipt."""
    ledger = new_ledger(tmp_path / "a")
    ids = record_more(ledger, OPEN, 0, 3)
    key = bytes.fromhex(ledger.keys.key(f"log-{ledger.layout.config.incarnation}", "seed").hex())
    origin = ledger.layout.config.origin
    cosigned(ledger, Ed25519Signer.from_seed(origin, key if seed == "own" else bytes(32)))
    data = make_receipt(ledger, find_record(ledger, ids[0], "prediction"), ()).data
    assert verify_receipt(data, vkey=ledger.layout.config.vkey).root == ledger.log.checkpoint().root.hex()
