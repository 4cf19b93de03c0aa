"""Rotating the log's key: who pinned the old one follows, everybody else is refused, the old secret is gone."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from tests.support.ledgers import OPEN, make_batch, new_ledger, new_recorder, reopen, world

from backstory.errors import BusyError, ConflictError, ForbiddenError, InputError, VerificationError
from backstory.ledger.ledger import Ledger
from backstory.ledger.log import LogReader
from backstory.ledger.read import find_record
from backstory.ledger.receipt import make_receipt
from backstory.ledger.rotate import add_ml_dsa, list_keys, rotate_key
from backstory.ledger.seal import seal_all
from backstory.records import canonical
from backstory.records.succession import parse_rotated
from backstory.storage.keys import hold_keys
from backstory.storage.rotations import read_rotation, read_rotations
from backstory.tlog.checkpoint import open_checkpoint
from backstory.tlog.key import KeyKind, ValidKey, VerifierKey
from backstory.tlog.limits import TREE_SIZE_MAX
from backstory.tlog.rotation import Rotation, follow_rotations
from backstory.tlog.signer import Ed25519Signer
from backstory.verify.receipt import verify_receipt


@pytest.fixture
def ledger(tmp_path):
    """An archive with an entry."""
    opened = new_ledger(tmp_path / "archive")
    opened.append([{"type": "test", "name": "a"}])
    return opened


def pin(ledger, vkey):
    """Open an archive for reading with a pinned key."""
    return Ledger(ledger.layout.root, world(9), writable=False, vkey=vkey, actor=None)


def test_whoever_pinned_the_first_key_follows_to_the_last(ledger):
    """After three rotations the first key opens the archive, and is valid as far as it was not retired."""
    first = ledger.layout.config.vkey
    sizes = [rotate_key(ledger).first for _ in range(3)]
    keys = pin(ledger, first).log.keys
    assert keys[0].key.vkey == first
    assert keys[-1].key.vkey == ledger.layout.config.vkey
    assert [(key.first, key.last) for key in keys] == list(zip([0, *sizes], [*sizes, TREE_SIZE_MAX], strict=True))


def test_whoever_pinned_a_key_in_between_follows_from_there(ledger):
    """The chain begins with whichever key was pinned."""
    between = rotate_key(ledger).key.vkey
    rotate_key(ledger)
    assert [key.key.vkey for key in pin(ledger, between).log.keys] == [between, ledger.layout.config.vkey]


def test_the_checkpoint_of_a_rotation_is_signed_by_both_keys_and_kept(ledger):
    """The note in `rotations/` is the published one, and each of the keys alone opens it."""
    old = VerifierKey.parse(ledger.layout.config.vkey)
    new = rotate_key(ledger)
    note = (ledger.layout.log / "rotations" / str(new.first)).read_bytes()
    assert note == (ledger.layout.log / "checkpoint").read_bytes()
    assert {open_checkpoint(note, old.name, [key]).size for key in (old, new.key)} == {new.first}


def test_after_a_rotation_the_old_key_signs_nothing(ledger):
    """The next checkpoint is signed by the new key alone, and the old one does not open it."""
    old = VerifierKey.parse(ledger.layout.config.vkey)
    new = rotate_key(ledger).key
    ledger.append([{"type": "test", "name": "b"}])
    note = (ledger.layout.log / "checkpoint").read_bytes()
    assert open_checkpoint(note, new.name, [new]).size == 4
    with pytest.raises(VerificationError):
        open_checkpoint(note, old.name, [old])


def test_the_old_secret_is_destroyed(ledger):
    """No file of the archive holds the old seed, and the new one is where the old one was."""
    seed = ledger.keys.key("log-1", "seed").hex().encode()
    rotate_key(ledger)
    assert not [path for path in ledger.layout.root.rglob("*") if path.is_file() and seed in path.read_bytes()]
    assert [path.name for path in ledger.layout.keys.iterdir()] == ["log-1.json"]


def test_a_process_that_was_open_goes_on_with_the_new_key(ledger):
    """Another process that has the archive open, with the old key in memory, signs with the new one from then on."""
    other = reopen(ledger.layout.root)
    new = rotate_key(ledger).key.vkey
    other.append([{"type": "test", "name": "b"}])
    assert other.layout.config.vkey == new
    assert [entry["name"] for entry in ledger.find_entries("test")] == ["a", "b"]


def test_a_swapped_key_is_refused_where_one_is_pinned(ledger, tmp_path):
    """An archive whose key was replaced, its log signed anew, is not the pinned one, and no rotation makes it so."""
    pinned = ledger.layout.config.vkey
    rotate_key(ledger)
    forged = new_ledger(tmp_path / "forged", seed=7)
    forged.append([{"type": "test", "name": "a"}])
    rotate_key(forged)
    shutil.copytree(ledger.layout.log / "rotations", forged.layout.log / "rotations", dirs_exist_ok=True)
    with pytest.raises(VerificationError, match="not the pinned one"):
        pin(forged, pinned)
    assert not pin(forged, None).log.authenticated


def test_a_rotation_that_the_old_key_did_not_sign_is_not_followed(ledger):
    """A note under the new key alone leads nowhere."""
    pinned = ValidKey.parse(ledger.layout.config.vkey)
    size = rotate_key(ledger).first
    path = ledger.layout.log / "rotations" / str(size)
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([*lines[:4], lines[5]]))
    with pytest.raises(VerificationError):
        follow_rotations(pinned, read_rotations(ledger.layout.log))


def test_a_rotation_to_a_key_that_did_not_sign_is_not_followed(ledger):
    """An entry that names a key whose holder did not sign with it leads nowhere."""
    pinned = ValidKey.parse(ledger.layout.config.vkey)
    rotation = read_rotation(ledger.layout.log, rotate_key(ledger).first)
    stranger = Ed25519Signer.generate(ledger.layout.config.origin).vkey
    forged = type(rotation)(
        note=rotation.note, entry=rotation.entry, proof=rotation.proof, retired=rotation.retired, vkey=stranger
    )
    with pytest.raises(VerificationError):
        follow_rotations(pinned, [forged])


def test_a_rotation_whose_entry_is_not_in_the_log_is_not_followed(ledger):
    """What names the new key has to be the last entry under the checkpoint that both signed."""
    pinned = ValidKey.parse(ledger.layout.config.vkey)
    rotation = read_rotation(ledger.layout.log, rotate_key(ledger).first)
    forged = type(rotation)(
        note=rotation.note,
        entry=rotation.entry.replace(b"key.rotated", b"key.Rotated"),
        proof=rotation.proof,
        retired=rotation.retired,
        vkey=rotation.vkey,
    )
    with pytest.raises(VerificationError):
        follow_rotations(pinned, [forged])


def test_an_older_configuration_does_not_bring_a_retired_key_back(ledger):
    """With `backstory.toml` of before the rotation, who pinned the old key still takes no later checkpoint from it."""
    config = ledger.layout.config_file.read_bytes()
    pinned = ledger.layout.config.vkey
    size = rotate_key(ledger).first
    ledger.layout.config_file.write_bytes(config)
    assert [(key.last, key.first) for key in pin(ledger, pinned).log.keys] == [(size, 0), (TREE_SIZE_MAX, size)]
    with pytest.raises(VerificationError):
        reopen(ledger.layout.root).append([{"type": "test", "name": "b"}])


def test_the_vector_of_a_rotation():
    """The published example leads from the first key to the second."""
    vector = json.loads((Path(__file__).parents[1] / "vectors" / "rotation.json").read_text())
    rotated = parse_rotated(canonical.parse_object(vector["entry"].encode(), "entry"))
    rotation = Rotation(
        note=vector["note"].encode(),
        entry=vector["entry"].encode(),
        proof=tuple(bytes.fromhex(sibling) for sibling in vector["proof"]),
        retired=rotated.retired,
        vkey=rotated.vkey,
    )
    keys = follow_rotations(ValidKey.parse(vector["retired"]), [rotation])
    assert [key.text for key in keys] == [f"{vector['retired']} until 2", f"{vector['vkey']} from 2"]


def test_keys_are_listed_with_the_sizes_they_speak_for(ledger):
    """`list_keys` gives every key as verifiers take it, and a receipt of either time verifies with the list."""
    recorder = new_recorder(ledger)
    ids = recorder.record(make_batch(ledger, OPEN, 0, 2)).ids
    recorder.close()
    seal_all(ledger)
    before = make_receipt(ledger, find_record(ledger, ids[0], "prediction"), ()).data
    old = ledger.layout.config.vkey
    size = rotate_key(ledger).first
    ledger.append([{"type": "test", "name": "b"}])
    texts = [key.text for key in list_keys(ledger)]
    assert texts == [f"{old} until {size}", f"{ledger.layout.config.vkey} from {size}"]
    after = make_receipt(ledger, find_record(ledger, ids[0], "prediction"), ()).data
    assert {verify_receipt(data, vkey="\n".join(texts)).id for data in (before, after)} == {ids[0]}
    assert verify_receipt(before, vkey=old).id == ids[0]


def test_two_rotations_at_once_are_refused(ledger):
    """One changes the keys, the other is told to wait."""
    with hold_keys(ledger.layout.keys), pytest.raises(BusyError):
        rotate_key(reopen(ledger.layout.root))


def test_a_rotation_made_for_other_settings_is_refused(ledger):
    """A commit that changes keys and was prepared before another did changes nothing."""
    other = reopen(ledger.layout.root)
    append = other.append

    def late(*arguments, **options):
        rotate_key_without_lock(ledger)
        return append(*arguments, **options)

    other.append = late
    with pytest.raises(ConflictError, match="settings"):
        rotate_key(other, Ed25519Signer.generate(other.layout.config.origin))


def rotate_key_without_lock(ledger):
    """Change the settings as somebody would who does not see the lock on the keys, such as from another machine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("backstory.storage.disk.fcntl.flock", lambda *_: None)
        rotate_key(ledger)


def test_a_key_of_another_name_is_refused(ledger):
    """The log's keys have its origin as their name, and the new one is another than the old one."""
    for signer in (Ed25519Signer.generate("example.org/other"), ledger._signers(ledger.layout.config)[0]):
        with pytest.raises(InputError, match="another key called"):
            rotate_key(ledger, signer)


def test_a_second_key_of_another_kind_signs_too(ledger):
    """With ML-DSA-44 added, each of the two keys opens the next checkpoint, before and after the first is rotated."""
    second = add_ml_dsa(ledger)
    assert second.kind is KeyKind.ML_DSA_44
    rotate_key(ledger)
    ledger.append([{"type": "test", "name": "b"}])
    checkpoint = pin(ledger, second.vkey).log.checkpoint()
    assert checkpoint == pin(ledger, ledger.layout.config.vkey).log.checkpoint()
    with pytest.raises(ConflictError):
        add_ml_dsa(ledger)


def test_without_its_key_nothing_is_written(ledger):
    """A key file of another key is refused, as is none."""
    ledger.keys.put("log-1", {"seed": bytes(32)})
    with pytest.raises(ForbiddenError, match="expected to sign with"):
        reopen(ledger.layout.root)
    ledger.keys.destroy("log-1")
    with pytest.raises(ForbiddenError, match="signer="):
        reopen(ledger.layout.root)


def test_a_reader_that_is_open_follows_a_rotation(ledger):
    """A reader with the first key goes on reading when the key changes under it."""
    reader = LogReader(ledger.layout, ledger.layout.config.vkey)
    assert reader.checkpoint().size == 2
    rotate_key(ledger)
    ledger.append([{"type": "test", "name": "b"}])
    assert reader.checkpoint().size == 4


def test_a_key_file_whose_key_gives_way_to_a_given_signer_is_destroyed(ledger):
    """Once a module signs, the secret that signed before is not left in the key store."""
    module = Ed25519Signer.generate(ledger.layout.config.origin)
    rotate_key(ledger, module)
    assert not list(ledger.layout.keys.glob("log-*"))
    again = Ledger(ledger.layout.root, world(3), writable=True, vkey=None, actor=None, signer=module)
    again.append([{"type": "test", "name": "b"}])


def test_a_given_signer_gives_way_to_a_key_file(ledger):
    """From a module back to a key file: the rotation ends, and the archive that did it goes on with the new key."""
    module = Ed25519Signer.generate(ledger.layout.config.origin)
    rotate_key(ledger, module)
    held = Ledger(ledger.layout.root, world(3), writable=True, vkey=None, actor=None, signer=module)
    new = rotate_key(held).key
    held.append([{"type": "test", "name": "b"}])
    assert reopen(ledger.layout.root).layout.config.vkey == new.vkey
    assert [path.name for path in ledger.layout.keys.glob("log-*")] == ["log-1.json"]
