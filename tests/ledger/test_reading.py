"""Reading records: what is sealed is checked before it is shown, and one bad stream hides no other record."""

from __future__ import annotations

import pyarrow as pa
import pytest
from tests.support.ledgers import OPEN, SEALED, make_batch, new_ledger, new_recorder, reopen

from backstory.errors import VerificationError
from backstory.ledger.read import find_record, read_sequence, records_now
from backstory.ledger.receipt import make_receipt
from backstory.ledger.seal import seal_all
from backstory.storage.segment import segment_metadata, write_parquet
from backstory.verify.receipt import verify_receipt


@pytest.fixture
def ledger(tmp_path):
    """An archive with 300 sealed records about persons."""
    ledger = new_ledger(tmp_path / "archive")
    recorder = new_recorder(ledger)
    recorder.record(make_batch(ledger, SEALED, 0, 300))
    recorder.close()
    seal_all(ledger)
    return ledger


def sealed_record(ledger, row):
    """Return a record of the only segment, by its row."""
    ((_, manifest),), _ = records_now(ledger, "prediction")
    ids = ledger.segment(manifest, checked=False).read_rows(0, 300)["id"].to_pylist()
    return find_record(ledger, ids[row].hex(), "prediction")


def change_shard(ledger, name, row, value):
    """Put another output into one row of a shard, as whoever has its key can."""
    table = ledger.vault.read_table(name)
    at, values = table.column_names.index("output"), table["output"].to_pylist()
    values[row] = value
    ledger.vault.write_table(name, table.set_column(at, "output", pa.array(values)), ledger.keys.key(name, "shard_key"))


def test_sealed_values_are_read_as_they_were_recorded(ledger):
    """Any run of records, across runs of 256, comes back with what was sealed."""
    found = sealed_record(ledger, 0)
    stream = found.place.manifest.stream
    table = read_sequence(ledger, stream, found.schema, 250, 20, opened=True)
    assert table["subject"].to_pylist() == [f"person {n}" for n in range(250, 270)]


def test_changed_sealed_values_are_never_shown(ledger):
    """A shard rewritten under its own key is refused where a changed row is asked for, in receipts too."""
    found, other = sealed_record(ledger, 3), sealed_record(ledger, 4)
    stream = found.place.manifest.stream
    change_shard(ledger, found.place.manifest.shard.name, 3, 999.0)
    with pytest.raises(VerificationError, match="output"):
        read_sequence(ledger, stream, found.schema, 0, 10, opened=True)
    with pytest.raises(VerificationError, match="output"):
        make_receipt(ledger, found, ("output",))
    assert make_receipt(ledger, other, ("output",))
    assert read_sequence(ledger, stream, found.schema, 4, 10, opened=True).num_rows == 10


def test_changed_records_of_a_sequence_are_never_shown(ledger):
    """Records read by their numbers lead to the manifest's root, or are refused."""
    found = sealed_record(ledger, 0)
    manifest = found.place.manifest
    reader = ledger.segment(manifest, checked=False)
    table, schema, subtrees = reader.read_rows(0, 300), reader.metadata(b"backstory.schema"), reader.subtrees()
    changed = table.set_column(table.column_names.index("request_id"), "request_id", pa.array(["other"] * 300))
    metadata = segment_metadata(schema, subtrees)
    write_parquet(changed, ledger.layout.segments / manifest.file.name, lambda: metadata)
    with pytest.raises(VerificationError, match="root"):
        read_sequence(reopen(ledger.layout.root), manifest.stream, found.schema, 0, 1, opened=False)


def test_a_receipt_is_of_one_checkpoint(ledger):
    """A commit of another process while a receipt is made does not part its proof from its checkpoint."""
    other = reopen(ledger.layout.root)
    proof = ledger.log.proof

    def slow(*arguments):
        hashes = proof(*arguments)
        other.append([{"type": "test"}])
        return hashes

    found = sealed_record(ledger, 0)
    ledger.log.proof = slow
    receipt = make_receipt(ledger, found, ())
    assert verify_receipt(receipt.data, vkey=ledger.layout.config.vkey).id == found.id


@pytest.mark.parametrize("damage", ["frames", "stream.json", "key"])
def test_an_unreadable_stream_hides_no_other_record(ledger, caplog, damage):
    """Sealed records and those of other streams are found; a warning names the stream that was passed over."""
    for schema in (SEALED, OPEN):
        recorder = new_recorder(ledger)
        recorder.record(make_batch(ledger, schema, 0, 2))
        recorder.close()
    bad = next(info.stream for info in ledger.spool.streams() if info.schema == SEALED.digest)
    if damage == "key":
        (ledger.layout.keys / f"spool-{bad}.json").unlink()
    else:
        path = ledger.layout.spool / bad / ("frames-0" if damage == "frames" else damage)
        data = path.read_bytes()
        path.write_bytes(data[: len(data) // 2] + b"\xff" + data[len(data) // 2 + 1 :])
    _, waiting = records_now(ledger, "prediction")
    assert [schema for schema, _ in waiting] == [OPEN]
    assert bad in caplog.text
    caplog.clear()
    assert sealed_record(ledger, 0).place is not None
