"""A person is erased: nobody finds them again, in no file and no copy put back, and all proofs stay.

`BACKSTORY_ERASURE_RECORDS=1000000` makes the archive as large as the promise is about.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import itertools
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import backstory
from backstory.archive import Archive
from backstory.columns.commit import commitments
from backstory.columns.people import index_file_key
from backstory.columns.tree import leaf_hashes, root_of_subtrees, subtree_roots
from backstory.columns.vrf import VrfKey
from backstory.errors import NotFoundError
from backstory.ledger.ledger import Ledger
from backstory.ledger.people_index import PEOPLE_KEY
from backstory.ledger.read import find_record
from backstory.records import canonical
from backstory.records.envelope import PREDICTION
from backstory.records.membership import subject_message, tree_context
from backstory.verify.archive import verify_archive
from backstory.verify.erasure_certificate import verify_erasure

RECORDS = int(os.environ.get("BACKSTORY_ERASURE_RECORDS", "3000"))
PERSONS = max(RECORDS // 10, 30)
WHO = "cust-00017-zebra"
SECRET = "Quetzalcoatlus Row 17"
INCOME = 7351.8125
OUTPUT = INCOME * 2 + 17
PLACES = ("vault", "keys", "master")


def twice(table: pd.DataFrame) -> np.ndarray:
    """Return an output that tells the features."""
    return np.asarray(table["income"], np.float64) * 2 + np.asarray(table["age"], np.float64)


def people(count: int) -> pd.DataFrame:
    """Return rows about people, three of them about the one who is erased."""
    numbers = np.arange(count)
    table = pd.DataFrame(
        {
            "customer": [f"cust-{number % PERSONS:05d}" for number in numbers],
            "age": numbers % 60 + 18.0,
            "income": numbers * 13.5 + 100.25,
            "note": [f"note {number}" for number in numbers],
        }
    )
    mine = np.arange(17, min(count, 3 * PERSONS), PERSONS)
    table.loc[mine, ["customer", "note"]] = [WHO, SECRET]
    table.loc[mine, "income"] = INCOME
    table.loc[mine, "age"] = 17.0
    return table


@dataclass
class Made:
    """An archive from which somebody was erased, and what was known of them before."""

    root: Path
    vkey: str
    ids: list[str]
    others: list[str]
    salts: list[bytes]
    guess: Any
    receipts: dict[str, Path]
    erasure: Any
    seconds: float
    backup: Path
    away: Path
    before: int
    known: dict[str, Any] = field(default_factory=dict)


def salts_of(ledger: Ledger, name: str) -> list[bytes]:
    """Return the salts of a record's sealed groups."""
    found = find_record(ledger, name, PREDICTION)
    place = found.place
    section = ledger.vault.open_sections(place.manifest.shard.name)["personal"]
    return [one.tobytes() for one in section.salts(len(found.schema.groups)).cut(place.row, 1)[0]]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Erase one person from an archive whose vault, keys and master keys live elsewhere."""
    home = tmp_path_factory.mktemp("erasure")
    root, away = home / "audit", home / "away"
    with backstory.init(root, origin="example.org/erasure", **{one: away / one for one in PLACES}) as archive:
        vkey = archive.vkey
    with backstory.open(root, vkey=vkey, actor="dpo", purpose="test") as archive:
        table = people(min(RECORDS, 3000))
        frame = archive.source(table, "people", subject="customer", provable="subjects")
        grouped = archive.group(frame, "customer", name="per_customer", mean_income=("income", "mean"))
        features, rows = archive.split(frame.drop(columns=["customer", "note"]))
        model = archive.register(twice, name="credit", rows=rows, provable="subjects")
        by_rows = archive.predict(model, features, rows=rows, method="__call__")
        of_group = grouped.rename(columns={"mean_income": "income"})[["_row_per_customer", "income"]].assign(age=1.0)
        of_group, group_rows = archive.split(of_group)
        by_group = archive.predict(model, of_group, rows=group_rows, method="__call__")
        given = people(RECORDS)
        by_hand = archive.predict(model, given[["age", "income"]], subject=given["customer"], method="__call__")
        mine = np.flatnonzero(given["customer"] == WHO).tolist()
        ids = [by_rows.ids[at] for at in mine if at < len(table)] + [by_hand.ids[at] for at in mine]
        others = [by_rows.ids[5], by_hand.ids[6]]
        archive.outcome([ids[0], ids[-1], others[0]], [INCOME, INCOME, 1.0])
        archive.flush()
        grouped_by = list(grouped["customer"]) if "customer" in grouped.columns else []
        ids += [by_group.ids[grouped_by.index(WHO)]] if WHO in grouped_by else []
        receipts = {
            name: archive.receipt(name).save(home / f"{name}.tlog-proof") for name in (ids[0], ids[-1], *others)
        }
        proof = archive.data.prove("people", subject=WHO).data
        archive.why(ids[0])
        archive.flush()
        salts = [salt for name in ids for salt in salts_of(archive._ledger, name)]
        before = archive._ledger.log.checkpoint().size
    backup = home / "backup"
    shutil.copytree(root, backup / "audit")
    shutil.copytree(away, backup / "away")
    with backstory.open(root, vkey=vkey, actor="dpo", purpose="a request") as archive:
        began = time.perf_counter()
        erasure = archive.privacy.erase(WHO, ground="request", request="case 17")
        seconds = time.perf_counter() - began
    return Made(
        root, vkey, ids, others, salts, None, receipts, erasure, seconds, backup, away, before, {"proof": proof}
    )


@pytest.fixture
def archive(made: Made) -> Iterator[Archive]:
    """Open the archive for somebody who may see everything."""
    with backstory.open(made.root, vkey=made.vkey, actor="dpo", purpose="test") as opened:
        yield opened


def values_in(value: Any) -> Iterator[Any]:
    """Yield every single value inside a value."""
    if isinstance(value, dict):
        for one in value.values():
            yield from values_in(one)
    elif isinstance(value, list | tuple):
        for one in value:
            yield from values_in(one)
    else:
        yield value


def decrypted(ledger: Ledger) -> tuple[set[Any], list[bytes], set[bytes]]:
    """Do what somebody with every file and key can: return all values, other plain bytes, and all keys and salts."""
    values: set[Any] = set()
    secrets: set[bytes] = set()
    for name in ledger.keys.names():
        secrets.update(ledger.keys.get(name).values())
    for path in sorted(ledger.layout.vault.glob("*.shard")):
        for section in ledger.vault.open_sections(path.name).values():
            if section.kept is not None:
                secrets.update(row.tobytes() for row in section.kept.explicit.reshape(-1, 32))
            for row in section.table.to_pylist():
                values.update(
                    one for one in values_in(row) if one is None or isinstance(one, str | bytes | float | int)
                )
    openings = sorted((ledger.layout.vault / "openings").glob("*"))
    plain = [canonical.encode(ledger.vault.read_opening(path.name)) for path in openings]
    for path in sorted(ledger.layout.segments.glob("*.parquet")):
        for row in pa.parquet.read_table(path).to_pylist():
            values.update(one for one in values_in(row) if isinstance(one, str | bytes | float | int))
    return values, plain, secrets


def files(made: Made) -> Iterator[tuple[Path, bytes]]:
    """Yield every file of the archive, wherever it lives, temporary ones too."""
    for folder in (made.root, made.away):
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                yield path, path.read_bytes()


def spellings(secret: bytes) -> list[bytes]:
    """Return how bytes may stand in a file."""
    encoded = base64.b64encode(secret).rstrip(b"=")
    return [secret, secret.hex().encode(), encoded[: len(encoded) - 2]]


def test_it_says_what_was_done(made: Made) -> None:
    """The answer names counts, models and closed trees, and it takes at most five seconds."""
    assert made.erasure.complete
    assert made.erasure.records >= len(made.ids)
    assert made.erasure.rows == int((people(min(RECORDS, 3000))["customer"] == WHO).sum())
    assert made.erasure.models == ("credit:1",)
    assert set(made.erasure.trees) == {"dataset people", "training set of credit:1"}
    assert made.seconds <= 5, made.seconds


def test_no_file_holds_a_value_or_salt(made: Made, archive: Archive) -> None:
    """With every remaining key nobody finds the person's id, values or salts in any file."""
    values, plain, secrets = decrypted(archive._ledger)
    wanted = {WHO, SECRET, INCOME, OUTPUT}
    assert not wanted & values
    texts = [WHO, SECRET]
    raw = [form for text in texts for code in ("utf-8", "utf-16-le") for form in spellings(text.encode(code))]
    raw += [hashlib.sha256(text.encode()).digest() for text in texts]
    raw += [form for salt in made.salts for form in spellings(salt)]
    raw += [np.float64(INCOME).tobytes(), np.float64(OUTPUT).tobytes(), repr(INCOME).encode(), repr(OUTPUT).encode()]
    assert not set(made.salts) & secrets
    for path, data in [*files(made), *((Path("opening"), one) for one in plain)]:
        assert not any(needle in data for needle in raw), path.name
    blobs = [value for value in values if isinstance(value, bytes)]
    assert not any(needle in blob for blob in blobs for needle in raw)


def test_no_keyed_digest_of_the_person_is_kept(made: Made, archive: Archive) -> None:
    """No HMAC of the id under any kept key stands in any file: the index of persons has no token left."""
    _, _, secrets = decrypted(archive._ledger)
    names = [path.name for path in archive._ledger.layout.vault.glob("*.people")]
    messages = [WHO.encode(), *(f"backstory/index/v1\0{name}\0subject\0{WHO}".encode() for name in names)]
    tokens = {hmac.digest(key, message, "sha256")[:16] for key in secrets for message in messages}
    whole = b"".join(data for _, data in files(made) if b"\0" in data)
    vault = archive._ledger.vault
    for path in sorted(archive._ledger.layout.vault.glob("*.people")):
        key, parts = archive._ledger.keys.key(PEOPLE_KEY, "key"), archive._ledger.keys.get(path.name)
        keys = [index_file_key(key, part) for part in parts.values()]
        whole += b"".join(vault.read_index(path.name, keys).values())
    pieces = {whole[at : at + 16] for at in range(len(whole) - 15)}
    assert not tokens & pieces
    assert archive.privacy.find(WHO).kinds == {}


def test_a_dictionary_attack_finds_nothing(made: Made, archive: Archive) -> None:
    """Who knows the whole population, all kept salts and the person's other groups still cannot test a guess."""
    ledger = archive._ledger
    found = find_record(ledger, made.ids[0], PREDICTION)
    population = people(min(RECORDS, 3000))
    candidates = pa.table(
        {
            "feature": pa.StructArray.from_arrays(
                [pa.array(population["age"]), pa.array(population["income"])], names=["age", "income"]
            )
        }
    )
    section = ledger.vault.open_sections(found.place.manifest.shard.name)["personal"]
    kept = section.salts(len(found.schema.groups))
    opened = backstory.verify_receipt(made.receipts[made.ids[0]], vkey=made.vkey)
    assert opened is not None
    count = max(1, 1_000_000 // len(population)) if RECORDS >= 1_000_000 else 20
    known = [*kept.explicit.reshape(-1, 32)[: count // 2], *kept.cut(0, count)[:, 0], np.zeros(32, np.uint8)]
    target = found.table["commitment"][0].as_py()["features"]
    for salt in known:
        all_salts = np.broadcast_to(np.asarray(salt, np.uint8), (len(population), 32))
        hashes = commitments(candidates, "features", np.ascontiguousarray(all_salts))
        assert target not in {hashes[at : at + 32] for at in range(0, len(hashes), 32)}


def test_rows_cannot_be_tested_against_keyed_digests(made: Made, archive: Archive) -> None:
    """Who puts the right row back and has every kept key does not get the digest that the version was named with."""
    _, _, secrets = decrypted(archive._ledger)
    document = archive.data.show("people").version.document
    plain = root_of_subtrees(
        subtree_roots(leaf_hashes(pa.Table.from_pandas(people(min(RECORDS, 3000)), preserve_index=False)))
    )
    assert {hmac.digest(key, plain, "sha256").hex() for key in secrets}.isdisjoint(
        {document["content"].partition(":")[2]}
    )
    context = tree_context(document)
    keys = [VrfKey(key) for key in itertools.islice(secrets, 200)]
    assert all(key.public.hex() != document["subjects"]["key"] for key in keys)
    assert subject_message(context, WHO)


def test_trees_with_the_person_are_closed(made: Made, archive: Archive) -> None:
    """Membership can no longer be asked for, of anybody; proofs given out before stay valid."""
    with pytest.raises(NotFoundError, match="closed"):
        archive.data.prove("people", subject="cust-00001")
    assert backstory.verify_membership(made.known["proof"], vkey=made.vkey).present


def test_the_entry_groups_nothing(made: Made, archive: Archive) -> None:
    """What the log says names no record, no segment and no exact count, and the salts are in the certificate only."""
    entry = archive._ledger.log.entry(made.erasure.entry)
    text = canonical.encode(entry).decode()
    streams = [path.name.partition("-")[0] for path in archive._ledger.layout.segments.iterdir()]
    assert not any(name in text or name.replace("-", "") in text for name in [*made.ids, *streams])
    leaves = made.erasure.records + made.erasure.rows
    assert int(entry["leaves"]) >= leaves
    assert entry["leaves"] != str(leaves)
    certificate = made.erasure.certificate.data
    salts = [bytes.fromhex(leaf["salt"]) for leaf in canonical.parse_object(certificate, "test")["leaves"]]
    assert not any(form in data for _, data in files(made) for salt in salts for form in spellings(salt))


def test_the_certificate_verifies(made: Made) -> None:
    """The certificate proves each record to whoever has it and the public key; a changed one does not."""
    proof = verify_erasure(made.erasure.certificate.data, vkey=made.vkey)
    assert {f"record {name}" for name in made.ids} <= set(proof.erased)
    changed = made.erasure.certificate.data.replace(b"record 01", b"record 02", 1)
    with pytest.raises(backstory.VerificationError):
        verify_erasure(changed, vkey=made.vkey)


def test_no_kept_reference_links_the_records(made: Made, archive: Archive) -> None:
    """Neither accesses nor groups nor training rows lead from one record of the person to another."""
    values, plain, _ = decrypted(archive._ledger)
    keys = {bytes.fromhex(name.replace("-", "")) for name in made.ids}
    ledger = archive._ledger
    for path in sorted(ledger.layout.vault.glob("*.shard")):
        for section in ledger.vault.open_sections(path.name).values():
            for row in section.table.to_pylist():
                assert len(keys & {one for one in values_in(row) if isinstance(one, bytes)}) <= 1, path.name
    assert not any(sum(name.encode() in text for name in made.ids) > 1 for text in plain)
    assert not any(WHO in str(value) for value in values)


def test_receipts_and_audit_pass(made: Made, archive: Archive) -> None:
    """Receipts made before stay valid, one made later says what was erased, and the audit finds nothing wrong."""
    for path in made.receipts.values():
        assert backstory.verify_receipt(path, vkey=made.vkey)
    later = backstory.verify_receipt(archive.receipt(made.ids[0]).data, vkey=made.vkey)
    assert later.erased == ("features", "output", "subject")
    report = verify_archive(made.root, vkey=made.vkey)
    assert [finding for finding in report.findings if finding.severity != "note"] == []


def test_answers_say_committed_erased(made: Made, archive: Archive) -> None:
    """Every question about the person's records is answered with what is left, and others' records with everything."""
    story = archive.why(made.ids[0])
    assert story.erased == ("features", "output", "subject")
    assert "committed, erased" in str(story)
    assert [row.state for row in story.rows] == ["erased"]
    replay = archive.replay(made.ids[0])
    assert (replay.verdict, "erased" in replay.reason) == ("not-replayable", True)
    other = archive.why(made.others[1])
    assert other.erased == ()
    assert other.output == twice(people(7).iloc[[6]])[0]
    assert len(archive.search("model = 'credit'", limit=5)) == 5


@pytest.mark.parametrize("whole", [False, True])
def test_a_backup_does_not_bring_the_person_back(made: Made, tmp_path: Path, whole: bool) -> None:
    """An older copy that is put back, of the archive or of vault and keys too, opens nothing of the person."""
    kept = tmp_path / "kept"
    shutil.copytree(made.root, kept / "audit")
    shutil.copytree(made.away, kept / "away")
    try:
        shutil.rmtree(made.root)
        shutil.copytree(made.backup / "audit", made.root)
        for place in ("vault", "keys") if whole else ():
            shutil.rmtree(made.away / place)
            shutil.copytree(made.backup / "away" / place, made.away / place)
        with backstory.open(made.root, vkey=made.vkey, actor="dpo", purpose="test") as archive:
            assert archive._ledger.find_entries("subject.erased")
            values, _, secrets = decrypted(archive._ledger)
            assert not {WHO, SECRET, INCOME, OUTPUT} & values
            assert not set(made.salts) & secrets
            assert archive.why(made.ids[0]).erased
            assert archive.privacy.find(WHO).kinds == {}
        report = verify_archive(made.root, vkey=made.vkey)
        assert [finding for finding in report.findings if finding.severity == "failed"] == []
        for path in made.receipts.values():
            assert backstory.verify_receipt(path, vkey=made.vkey)
    finally:
        for place, copy in ((made.root, "audit"), (made.away, "away")):
            shutil.rmtree(place)
            shutil.copytree(kept / copy, place)
