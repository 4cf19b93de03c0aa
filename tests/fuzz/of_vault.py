"""Parsers of what is in the vault and beside its keys: shards, salts that are left, indexes of persons, master keys."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from tests.fuzz.of_storage import DISK, folder, written
from tests.fuzz.parser import Parser

from backstory.columns.people import PeopleIndex, parse_people
from backstory.columns.salt import ShardSalts, parse_salts
from backstory.errors import FormatError, NotFoundError, VerificationError
from backstory.storage.keys import KeyStore
from backstory.storage.master import MasterKeys
from backstory.storage.shard_file import join_sections, read_head
from backstory.storage.vault import Vault, open_opening

KEY = bytes(range(32))
TABLE = pa.table({"subject": pa.chunked_array([["a", "b", None, "a"]])})
COMMITMENT = "a4" + 62 * "0"


def _vault():
    return Vault(folder() / "vault", KeyStore(folder() / "keys", DISK), DISK)


def _shards():
    KeyStore(folder() / "keys", DISK).put("a.shard", {"shard_key": KEY})
    return [_vault().write_table("a.shard", TABLE, KEY)]


def _check_shard(data):
    path = written("vault/a.shard", data)
    sections = _vault().sections("a.shard")
    yield
    with path.open("rb") as file:
        _, start = read_head(file, "a.shard")
        file.seek(start)
        parts = [(section, file.read(section.values + section.salts)) for section in sections]
    assert join_sections(parts) == data


def _check_opened_shard(data):
    written("vault/a.shard", data)
    opened = _vault().open_sections("a.shard")
    yield
    assert opened["personal"].table.equals(TABLE)


def _salts():
    gone = np.zeros((300, 2), np.bool_)
    gone[0, 0] = True
    return [ShardSalts.whole(KEY, 300, 2).without(gone).encode(), ShardSalts.whole(KEY, 3, 1).encode()]


def _check_salts(data):
    kept = parse_salts(data, "salts")
    yield
    assert kept.encode() == data


def _people():
    return PeopleIndex.of(KEY, "a.people", TABLE).blocks()


def _check_people(data):
    index = parse_people([data], "index")
    index.rows_of(index.tokens[0] if len(index.tokens) else PeopleIndex.of(KEY, "a.people", TABLE).tokens[0])
    yield
    assert parse_people(index.blocks(), "index").rows.tobytes() == index.rows.tobytes()


def _indexes():
    _vault().write_index("a.people", _people(), KEY, replace=True)
    return [_vault().path("a.people").read_bytes()]


def _check_index(data):
    written("vault/a.people", data)
    plain = _vault().read_index("a.people", [KEY])
    yield
    assert [*plain.values()] == _people()


def _openings():
    KeyStore(folder() / "keys", DISK).put("openings-a4", {"1": KEY})
    _vault().write_opening(COMMITMENT, {"name": "a", "salt": 64 * "0"})
    return [(folder() / "vault" / "openings" / COMMITMENT).read_bytes()]


def _check_opening(data):
    document = open_opening({"1": KEY}, data, COMMITMENT)
    yield
    assert document["name"] == "a"


def _plans():
    _vault().plans.write("p", b"a plan", KEY)
    return [(folder() / "vault" / "erasures" / "p").read_bytes()]


def _check_plan(data):
    written("vault/erasures/p", data)
    plain = _vault().plans.read("p")
    yield
    assert plain == b"a plan"


def _masters():
    keys = MasterKeys(folder() / "master", DISK)
    keys.current("personal")
    return [(folder() / "master" / "master-personal.json").read_bytes()]


def _check_masters(data):
    path = written("master/master-personal.json", data)
    path.chmod(0o600)
    MasterKeys(folder() / "master", DISK).insist_here("personal")
    yield


def _check_tombstones(data):
    written("master/tombstones", data)
    dead = MasterKeys(folder() / "master", DISK).dead()
    yield
    assert data == "\n".join(["backstory/tombstones/v1", *sorted(dead), ""]).encode()


SEALED = FormatError, VerificationError, NotFoundError
PARSERS = {
    "head of a shard": Parser(_check_shard, _shards, ("read_head", "open_shard_file")),
    "shard": Parser(_check_opened_shard, _shards, ("Vault.open_sections",), SEALED),
    "salts that are left": Parser(_check_salts, _salts, ()),
    "index of persons": Parser(_check_people, _people, ()),
    "sealed index of persons": Parser(_check_index, _indexes, ("Vault.read_index", "open_index"), SEALED),
    "opening in the vault": Parser(_check_opening, _openings, ("open_opening",), SEALED),
    "plan of an erasure in the vault": Parser(_check_plan, _plans, ("SealedFiles.read",), SEALED),
    "master keys": Parser(_check_masters, _masters, (), (FormatError, NotFoundError)),
    "tombstones": Parser(_check_tombstones, lambda: [f"backstory/tombstones/v1\n{64 * 'a'}\n".encode()], ()),
}
