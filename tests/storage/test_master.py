"""Master keys and tombstones: what is wrapped opens with its master key alone, and what is buried opens no more."""

from __future__ import annotations

import hashlib
import json
import shutil
import threading

import pytest

from backstory.errors import ConflictError, ForbiddenError, FormatError, NotFoundError, VerificationError
from backstory.storage.disk import Disk
from backstory.storage.keys import KeyStore
from backstory.storage.master import MasterKeys, wrappers_of


def store(folder, wrappers=None):
    """Return a key store with its master keys beside it."""
    return KeyStore(folder / "keys", Disk(), masters=MasterKeys(folder / "master", Disk(), given=wrappers))


class Xor:
    """A master key that is held elsewhere, and worth nothing."""

    def __init__(self, name):
        """Take a name."""
        self.name = name
        self.seen = []

    def wrap(self, name, data):
        """Turn bits over."""
        self.seen.append(name)
        return bytes(byte ^ 0xFF for byte in data)

    unwrap = wrap


def test_keys_of_sealed_values_are_wrapped(tmp_path):
    """In a key file no key stands as it is, but one that signs; each domain has a master key of its own."""
    keys = store(tmp_path)
    made = {name: keys.create(name, "a")["a"] for name in ("x.shard", "special/x.shard", "openings-00", "log-1")}
    for name, key in made.items():
        text = (tmp_path / "keys" / f"{name}.json").read_text()
        assert (key.hex() in text) == (name == "log-1")
        assert store(tmp_path).key(name, "a") == key
    assert sorted(path.name for path in (tmp_path / "master").iterdir()) == [
        "master-personal.json",
        "master-special.json",
    ]
    assert sorted(keys.names()) == sorted(made)
    with pytest.raises(ConflictError):
        keys.create("x.shard", "a")


@pytest.mark.parametrize("change", ["gone", "other", "renamed", "readable", "malformed"])
def test_without_its_master_key_a_key_file_opens_nothing(tmp_path, change):
    """A master key that is gone, another one, a file under another name, one that others may read."""
    store(tmp_path).create("x.shard", "a")
    path, expected = tmp_path / "master" / "master-personal.json", NotFoundError
    if change == "gone":
        path.unlink()
    elif change == "other":
        document = json.loads(path.read_bytes())
        document["keys"][0]["key"] = "00" * 32
        path.write_text(json.dumps(document, separators=(",", ":"), sort_keys=True))
        expected = VerificationError
    elif change == "renamed":
        shutil.move(tmp_path / "keys" / "x.shard.json", tmp_path / "keys" / "y.shard.json")
        with pytest.raises(VerificationError):
            store(tmp_path).get("y.shard")
    elif change == "readable":
        path.chmod(0o640)
        expected = ForbiddenError
    else:
        path.write_text('{"keys":[],"v":1}')
        expected = FormatError
    with pytest.raises(expected):
        store(tmp_path).get("x.shard")


def test_what_is_destroyed_for_good_does_not_come_back(tmp_path):
    """A key file that is put back after its keys were destroyed opens nothing, and is removed when somebody sweeps."""
    keys = store(tmp_path)
    dead, path = keys.create("x.shard", "a", "b"), tmp_path / "keys" / "x.shard.json"
    data = path.read_bytes()
    keys.destroy("x.shard", ["a"])
    assert keys.get("x.shard") == {"b": dead["b"]}
    path.write_bytes(data)
    assert keys.get("x.shard") == {"b": dead["b"]}
    keys.destroy("x.shard")
    keys.destroy("x.shard")
    path.write_bytes(data)
    for one in (keys, store(tmp_path)):
        with pytest.raises(NotFoundError, match="destroyed for good"):
            one.get("x.shard")
    head, *lines = (tmp_path / "master" / "tombstones").read_text().splitlines()
    assert head == "backstory/tombstones/v1"
    assert lines == sorted(hashlib.sha256(key).hexdigest() for key in dead.values())
    assert len(keys.sweep()) == 1
    assert not path.exists()
    assert keys.sweep() == {}


def test_what_is_discarded_may_be_put_back(tmp_path):
    """What ends in ordinary life leaves no tombstone."""
    keys = store(tmp_path)
    made, path = keys.create("spool-1", "key"), tmp_path / "keys" / "spool-1.json"
    data = path.read_bytes()
    keys.discard("spool-1")
    assert not keys.has("spool-1")
    path.write_bytes(data)
    assert keys.get("spool-1") == made
    assert not (tmp_path / "master" / "tombstones").exists()


@pytest.mark.parametrize("text", ["anything\n", "backstory/tombstones/v1\nb\n", "backstory/tombstones/v1"])
def test_malformed_tombstones_open_nothing(tmp_path, text):
    """Where it cannot be known what was destroyed, no sealed value is opened."""
    keys = store(tmp_path)
    keys.create("x.shard", "a")
    (tmp_path / "master" / "tombstones").write_text(text)
    with pytest.raises(FormatError):
        keys.get("x.shard")


def test_a_master_key_may_be_held_elsewhere(tmp_path):
    """A wrapper that is given wraps in place of a file; each file says which key did, and is unwrapped once."""
    wrapper = Xor("kms:1")
    keys = store(tmp_path, wrappers_of(wrapper))
    made = keys.create("x.shard", "a")
    keys.create("special/x.shard", "a")
    assert not list((tmp_path / "master").glob("master-*"))
    assert json.loads((tmp_path / "keys" / "x.shard.json").read_bytes())["by"] == "kms:1"
    again = store(tmp_path, {"personal": wrapper})
    assert again.get("x.shard") == again.get("x.shard") == made
    assert wrapper.seen == ["x.shard", "special/x.shard", "x.shard"]
    with pytest.raises(NotFoundError, match="kms:1"):
        again.get("special/x.shard")
    with pytest.raises(NotFoundError, match="domains"):
        wrappers_of({"salary": wrapper})


@pytest.mark.parametrize("following", [None, Xor("kms:2")])
@pytest.mark.parametrize("first", [None, Xor("kms:1")])
def test_a_master_key_gives_way_to_another(tmp_path, first, following):
    """From a file or elsewhere to a file or elsewhere: keys stay, older copies of the files open nothing here."""
    keys = store(tmp_path, {"personal": first} if first else None)
    made = {name: keys.create(name, "a") for name in ("x.shard", "y.shard", "log-1")}
    old = (tmp_path / "keys" / "x.shard.json").read_bytes()
    new = keys.masters.begin("personal", following)
    assert keys.rewrap("personal", new) == 2
    late = keys.create("z.shard", "a")
    keys.end_rewrap("personal", new)
    after = store(tmp_path, {"personal": following} if following else None)
    assert {name: after.get(name) for name in (*made, "z.shard")} == {**made, "z.shard": late}
    assert (tmp_path / "master" / "master-personal.json").exists() == (following is None)
    (tmp_path / "keys" / "x.shard.json").write_bytes(old)
    with pytest.raises(NotFoundError, match="master key"):
        after.get("x.shard")


def test_what_is_wrapped_meanwhile_is_not_lost(tmp_path):
    """A process that read the old master key before it gave way waits, or its file is wrapped anew."""
    keys, other = store(tmp_path), store(tmp_path)
    keys.create("x.shard", "a")
    new = keys.masters.begin("personal", None)
    keys.rewrap("personal", new)
    other._masters.current = lambda _domain: keys.masters._held("personal")[0]  # it has not seen the new one
    late = other.create("y.shard", "a")
    keys.end_rewrap("personal", new)
    assert store(tmp_path).get("y.shard") == late


class Slow(Xor):
    """A master key elsewhere that is in the middle of wrapping until it is told to go on."""

    def __init__(self, name):
        """Take a name."""
        super().__init__(name)
        self.begun, self.go_on = threading.Event(), threading.Event()

    def wrap(self, name, data):
        """Wrap, after a while."""
        self.begun.set()
        assert self.go_on.wait(60)
        return super().wrap(name, data)


def test_a_key_that_is_added_while_its_file_is_wrapped_anew_is_not_lost(tmp_path):
    """Who adds a key to a file that is being wrapped anew waits until it is: the key it added stays."""
    keys, other, slow = store(tmp_path), store(tmp_path), Slow("kms:2")
    made = keys.create("x.shard", "a")
    new = keys.masters.begin("personal", slow)
    wrapping = threading.Thread(target=keys.rewrap, args=("personal", new))
    wrapping.start()
    assert slow.begun.wait(60)
    adding = threading.Thread(target=other.put, args=("x.shard", {**made, "b": bytes(32)}))
    adding.start()
    adding.join(0.1)
    slow.go_on.set()
    wrapping.join(60)
    adding.join(60)
    keys.end_rewrap("personal", new)
    assert store(tmp_path, {"personal": Xor("kms:2")}).get("x.shard") == {**made, "b": bytes(32)}


def test_a_key_file_that_goes_while_it_is_wrapped_anew_does_not_come_back(tmp_path):
    """Who discards the keys of a file that is being wrapped anew waits until it is: then they are gone."""
    keys, other, slow = store(tmp_path), store(tmp_path), Slow("kms:2")
    keys.create("spool-1", "key")
    new = keys.masters.begin("personal", slow)
    wrapping = threading.Thread(target=keys.rewrap, args=("personal", new))
    wrapping.start()
    assert slow.begun.wait(60)
    discarding = threading.Thread(target=other.discard, args=("spool-1",))
    discarding.start()
    discarding.join(0.1)
    slow.go_on.set()
    wrapping.join(60)
    discarding.join(60)
    keys.end_rewrap("personal", new)
    assert list(keys.names()) == []


@pytest.mark.parametrize("change", [shutil.rmtree, lambda folder: (folder / "master-personal.json").unlink()])
def test_no_master_key_is_drawn_in_the_place_of_one_that_is_away(tmp_path, change):
    """Where a master key wrapped files and is not here, as on a disk that is not mounted, nothing is sealed."""
    keys = store(tmp_path)
    made = keys.create("x.shard", "a")
    shutil.move(tmp_path / "master", tmp_path / "safe")
    shutil.copytree(tmp_path / "safe", tmp_path / "master")
    change(tmp_path / "master")
    with pytest.raises(NotFoundError, match=r"wrapped 1 key files.*move these files away"):
        store(tmp_path).create("y.shard", "a")
    store(tmp_path).create("special/y.shard", "a")  # a domain of which nothing was wrapped yet
    shutil.copytree(tmp_path / "safe", tmp_path / "master", dirs_exist_ok=True)
    assert store(tmp_path).get("x.shard") == made


def test_a_rotation_that_was_cut_short_is_begun_anew(tmp_path):
    """A new master key that a crash left, and somebody may have copied, wraps nothing once a rotation has ended."""
    keys = store(tmp_path)
    made = keys.create("x.shard", "a")
    left = keys.masters.begin("personal", None)
    keys.rewrap("personal", left)
    stolen = (tmp_path / "master" / "master-personal.json").read_bytes()
    later = store(tmp_path)
    new = later.masters.begin("personal", None)
    later.rewrap("personal", new)
    later.end_rewrap("personal", new)
    assert store(tmp_path).get("x.shard") == made
    (tmp_path / "master" / "master-personal.json").write_bytes(stolen)
    with pytest.raises(NotFoundError, match="master key"):
        store(tmp_path).get("x.shard")
