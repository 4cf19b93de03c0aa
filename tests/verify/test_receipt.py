"""Whom one believes when checking a receipt: keys with validity, policies with witnesses, and when."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest
from tests.support.receipts import (
    BEGAN,
    ORIGIN,
    POLICY,
    SIGNER,
    WITNESSES,
    Log,
    extra_of,
    join_file,
    make_segment,
    many_file,
    one_file,
)

import backstory
from backstory.errors import FormatError, InputError, StorageError, UnsupportedVersionError, VerificationError
from backstory.records import canonical
from backstory.records.limits import RECEIPTS_SIZE_MAX
from backstory.tlog.policy import parse_policy
from backstory.tlog.signer import Ed25519Signer
from backstory.verify.receipt import verify_receipt, verify_receipts

VKEY = SIGNER.vkey
OTHER = Ed25519Signer.from_seed(ORIGIN, bytes(32)).vkey
BY_WITNESSES = "".join(line + "\n" for line in POLICY.splitlines() if not line.startswith("log "))


def receipt(cosigned=0):
    """Return the receipt of one record of a log that so many witnesses cosigned."""
    log = Log([make_segment(random.Random(1), 3)], cosigned=cosigned)
    return one_file(log, log.claim(0, 1, ("output",)))


def receipts(cosigned=0):
    """Return a file of three receipts."""
    log = Log([make_segment(random.Random(1), 2), make_segment(random.Random(2), 2)], cosigned=cosigned)
    return many_file(log, [log.claim(0, 0), log.claim(0, 1), log.claim(1, 1)])


def test_without_a_policy_no_witness_was_asked_for():
    """Whoever gave no policy learns nothing about witnesses, and is told so."""
    checked = verify_receipt(receipt(cosigned=3), vkey=VKEY)
    assert checked.witnesses is None
    assert str(checked).endswith("no witness was asked for")


def test_a_policy_says_who_cosigned_and_when():
    """The answer has every witness of the policy that cosigned, and the time."""
    checked = verify_receipt(receipt(cosigned=2), policy=POLICY)
    assert [(witness.vkey, witness.time) for witness in checked.witnesses] == [
        (witness.vkey, BEGAN + number) for number, witness in enumerate(WITNESSES[:2])
    ]
    assert "cosigned by w0 at 2026-01-01T00:00:00Z, w1 at 2026-01-01T00:00:01Z" in str(checked)


def test_json_has_the_witnesses_by_key():
    """JSON names a witness by its key, as a name is the policy's own."""
    found = verify_receipt(receipt(cosigned=2), policy=POLICY).to_dict()["witnesses"]
    assert found == [{"time": str(BEGAN + n), "vkey": witness.vkey} for n, witness in enumerate(WITNESSES[:2])]


def test_too_few_witnesses_do_not_verify():
    """A receipt below the policy's quorum does not verify."""
    with pytest.raises(VerificationError, match="not witnessed"):
        verify_receipt(receipt(cosigned=1), policy=POLICY)


def test_keys_count_instead_of_those_of_the_policy():
    """With both, the log's key is the one that was given."""
    assert verify_receipt(receipt(cosigned=2), vkey=VKEY, policy=BY_WITNESSES).witnesses
    with pytest.raises(VerificationError):
        verify_receipt(receipt(cosigned=2), vkey=OTHER, policy=POLICY)


def test_an_age_can_be_asked_for():
    """Cosignatures older than the asked age do not count."""
    data = receipt(cosigned=2)
    assert verify_receipt(data, policy=POLICY, max_age_seconds=60, now=BEGAN + 60)
    with pytest.raises(VerificationError, match="too old"):
        verify_receipt(data, policy=POLICY, max_age_seconds=60, now=BEGAN + 61)


def test_the_future_does_not_count():
    """A cosignature that claims to be later than now does not count."""
    with pytest.raises(VerificationError, match="not witnessed"):
        verify_receipt(receipt(cosigned=2), policy=POLICY, now=BEGAN - 100)


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"policy": BY_WITNESSES},
        {"policy": "quorum\n"},
        {"policy": 7},
        {"vkey": VKEY, "max_age_seconds": 1, "now": BEGAN},
        {"policy": POLICY, "max_age_seconds": 1},
        {"vkey": []},
        {"vkey": WITNESSES[0].vkey},
        {"vkey": f"{VKEY} from 3 until 2"},
    ],
    ids=str,
)
def test_nobody_to_believe_is_a_mistake_of_the_caller(asked):
    """No key, a key of no log, a malformed policy, an age without witnesses or time: the caller must ask otherwise."""
    with pytest.raises(InputError):
        verify_receipt(receipt(cosigned=2), **asked)


def test_a_policy_may_be_a_file_its_content_or_parsed(tmp_path):
    """All forms of a policy do the same."""
    path = tmp_path / "policy"
    path.write_text(POLICY, "utf-8")
    for policy in (path, str(path), POLICY, POLICY.encode(), parse_policy(POLICY)):
        assert len(verify_receipt(receipt(cosigned=3), policy=policy).witnesses) == 3


def test_a_policy_that_cannot_be_read(tmp_path):
    """That there is no such policy says nothing of the receipt."""
    with pytest.raises(StorageError):
        verify_receipt(receipt(), policy=tmp_path / "none")


@pytest.mark.parametrize("vkey", [[OTHER, VKEY], f"{OTHER}\n{VKEY} from 3 until 3\n", [f"{VKEY} until 2", VKEY]])
def test_several_keys_may_be_given(vkey):
    """One of several keys must have signed, and speak for this size."""
    assert verify_receipt(receipt(), vkey=vkey).tree_size == 3


@pytest.mark.parametrize("sizes", ["until 2", "from 4"])
def test_a_key_vouches_for_its_sizes_only(sizes):
    """A key that was retired, or not yet in use, at this size does not count."""
    with pytest.raises(VerificationError, match="speak"):
        verify_receipt(receipt(), vkey=f"{VKEY} {sizes}")


def test_many_are_given_in_the_order_of_the_log():
    """A file of many gives each record's receipt."""
    checked = backstory.verify_receipts(receipts(cosigned=2), policy=POLICY)
    assert [(one.leaf_index, one.seq) for one in checked] == sorted((one.leaf_index, one.seq) for one in checked)
    assert {len(one.witnesses) for one in checked} == {2}


def test_one_is_a_file_of_one():
    """`verify_receipts` takes the file of one record too."""
    assert verify_receipts(receipt(), vkey=VKEY) == (verify_receipt(receipt(), vkey=VKEY),)


def test_many_are_not_one():
    """`verify_receipt` does not choose one of several."""
    with pytest.raises(InputError, match="verify_receipts"):
        verify_receipt(receipts(), vkey=VKEY)


def test_one_wrong_record_spoils_the_file():
    """A file verifies as a whole, and the error says which record does not."""
    log = Log([make_segment(random.Random(1), 3)])
    claims = [log.claim(0, row) for row in range(3)]
    claims[2]["row"] = claims[1]["row"]
    with pytest.raises(VerificationError, match="receipt 2 of the file"):
        verify_receipts(many_file(log, claims), vkey=VKEY)


@pytest.mark.parametrize("make", [receipt, receipts])
def test_a_file_may_be_given_as_path_bytes_or_text(tmp_path, make):
    """All forms of a file do the same."""
    path = tmp_path / "r"
    path.write_bytes(make())
    for given in (path, str(path), make(), make().decode()):
        assert verify_receipts(given, vkey=VKEY)


def test_a_newer_receipt_cannot_be_checked():
    """Of a version to come nothing is said: it is no failure."""
    log = Log([make_segment(random.Random(1), 1)])
    claim = log.claim(0, 0)
    data = join_file(canonical.encode({"more": 1, "v": 2}), "1", [], log.note)
    with pytest.raises(UnsupportedVersionError, match="version 2"):
        verify_receipt(data, vkey=VKEY)
    assert extra_of(claim)["v"] == 1


def test_a_newer_receipt_of_another_log_fails():
    """A version counts after the signature: anyone can write a number."""
    log = Log([make_segment(random.Random(1), 1)])
    with pytest.raises(VerificationError):
        verify_receipt(join_file(canonical.encode({"v": 2}), "1", [], log.note), vkey=OTHER)


@pytest.mark.parametrize(("begins", "error"), [(b"c2sp.org/tlog-proof@v1\n", VerificationError), (b"", FormatError)])
def test_a_file_too_large_is_not_read_whole(tmp_path, begins, error):
    """A file beyond every limit fails if it begins as a receipt, and is none otherwise; neither takes its size."""
    path = tmp_path / "large"
    with path.open("wb") as file:
        file.write(begins)
        file.truncate(RECEIPTS_SIZE_MAX * 2)
    with pytest.raises(error):
        verify_receipt(path, vkey=VKEY)


def test_a_decimal_has_no_exponent():
    """A small decimal is shown as it was recorded."""
    segment = make_segment(random.Random(1), 1)
    log = Log([segment])
    values = verify_receipt(one_file(log, log.claim(0, 0)), vkey=VKEY).to_dict()["values"]
    assert "E" not in (values["feature.d"] or "")


def test_a_check_takes_at_most_5_ms():
    """Checking a receipt is quick: the best of some runs is within the promise of docs/performance.md."""
    data, times = receipt(cosigned=2), []
    for _ in range(20):
        began = time.perf_counter()
        verify_receipt(data, policy=POLICY)
        times.append(time.perf_counter() - began)
    assert min(times) < 0.005


def test_a_directory_is_named_however_it_is_given(tmp_path, monkeypatch):
    """A path without a name of its own is shown as it was given."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StorageError, match=r"reading receipt \.: "):
        verify_receipt(Path(), vkey=VKEY)
