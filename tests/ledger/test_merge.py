"""Merging changes where records are, and nothing else: every proof, every answer, every record stays."""

from __future__ import annotations

import json
import shutil
import sqlite3
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.ledger.test_faults import STEPS_MAX, Fault, FaultyDisk, FullDisk, with_faults
from tests.support.archives import fitted, loans
from tests.support.ledgers import OPEN, SEALED, make_batch, new_ledger, new_recorder, reopen, world

import backstory
from backstory.errors import BusyError, ForbiddenError, StorageError, VerificationError
from backstory.ledger.ledger import Ledger
from backstory.ledger.merge import FILES_MIN, SMALL_ROWS, MergeCount, _File, _worth_merging, merge_all
from backstory.ledger.read import find_record, manifests, read_sequence, segment_files
from backstory.ledger.receipt import make_receipt
from backstory.ledger.seal import seal_all
from backstory.lineage.search import search_predictions
from backstory.records.manifest import FileRef, Manifest
from backstory.records.merge import MERGE_TYPE
from backstory.storage.disk import hold_directory
from backstory.storage.segment import ParquetReader
from backstory.tlog.proof_file import parse_proof_file
from backstory.verify.archive import verify_archive
from backstory.verify.receipt import verify_receipt

SIZES = (8200, 300, 3, 1, 256, 2, 8200, 257, 7)
"""Rows of one stream's segments: below, at and above a run of 256, and more than a row group."""

SMALL = (3,) * FILES_MIN


def batch_of(ledger, schema, first, rows):
    """Return a batch whose context names a model version, so that it can be searched."""
    context = ledger.put_document({"model": {"name": f"model of {rows}", "version": "1"}, "v": 1})
    return replace(make_batch(ledger, schema, first, rows), context=context)


def record(ledger, sizes, schema=OPEN):
    """Record and seal so many records at a time in one stream; return their ids."""
    recorder, ids = new_recorder(ledger), []
    for size in sizes:
        ids += recorder.record(batch_of(ledger, schema, len(ids), size)).ids
        seal_all(ledger)
    recorder.close()
    seal_all(ledger)
    return ids


def reading(root):
    """Open an archive for reading, as another process does."""
    return Ledger(root, world(5), writable=False, vkey=None, actor=None)


def file_names(ledger):
    """Return the names of the segment files."""
    return sorted(path.name for path in ledger.layout.segments.iterdir())


def receipt_of(ledger, identity, groups=()):
    """Return a receipt's bytes, and what in them must never change."""
    data = make_receipt(ledger, find_record(ledger, str(identity), "prediction"), groups).data
    extra = json.loads(parse_proof_file(data).extra)
    return data, (parse_proof_file(data).index, extra)


def insist_whole(root, ids):
    """Insist that an archive verifies without a remark and has exactly these records, once each."""
    ledger = reopen(root)
    report = verify_archive(root, workers=1)
    findings = [finding for finding in report.findings if not finding.place.startswith("blobs/")]  # of `make_batch`
    assert (findings, report.counts["records"]) == ([], len(ids))
    assert all(find_record(ledger, str(identity), "prediction").place is not None for identity in ids[:: len(ids) // 8])
    return ledger


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """An archive with two streams of nine segments, one of them about persons; and the ids of each."""
    root = tmp_path_factory.mktemp("mixed") / "archive"
    ledger = new_ledger(root)
    ids = {schema.digest: record(ledger, SIZES, schema) for schema in (OPEN, SEALED)}
    return root, ids[OPEN.digest], ids[SEALED.digest]


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """An archive with one stream of eight segments of three records each; and the ids."""
    root = tmp_path_factory.mktemp("small") / "archive"
    return root, record(new_ledger(root), SMALL)


@pytest.fixture
def copied(small, tmp_path):
    """A copy of the small archive, open for writing; and the ids."""
    shutil.copytree(small[0], tmp_path / "archive")
    return reopen(tmp_path / "archive"), small[1]


def test_proofs_and_answers_stay_as_they_were(mixed, tmp_path):
    """After a merge every receipt has the row, entry and path it had, and every way of reading gives the same."""
    root = tmp_path / "archive"
    shutil.copytree(mixed[0], root)
    ledger = reopen(root)
    shards = sorted((root / "vault").glob("*.shard"))
    chosen = [0, 8199, 8200, 8499, 8500, 8503, 8504, 8759, 8760, 8762, 16954, 16961, 17000, 17219, 17225]
    asked = [(ids[at], groups) for ids, groups in ((mixed[1], ()), (mixed[2], ("output",))) for at in chosen]

    def answers():
        streams = {m.stream: ledger.schema(m.schema) for _, m in manifests(ledger, "prediction")}
        tables = [read_sequence(ledger, stream, schema, 8100, 9000, opened=True) for stream, schema in streams.items()]
        return search_predictions(ledger, "true", [], None).table(), tables

    receipts = [receipt_of(ledger, *question) for question in asked]
    before = answers()
    assert merge_all(ledger) == MergeCount(replaced=18, written=2)
    assert len(file_names(ledger)) == 2
    assert answers() == before
    for (data, lasting), question in zip(receipts, asked, strict=True):
        again, same = receipt_of(ledger, *question)
        assert same == lasting
        for receipt in (data, again):
            assert verify_receipt(receipt, vkey=ledger.layout.config.vkey)
    assert sorted((root / "vault").glob("*.shard")) == shards
    insist_whole(root, mixed[1] + mixed[2])


def test_questions_of_an_open_archive_stay_answered(tmp_path):
    """Who has an archive open while another process merges asks why, impact and search, and gets the same answers."""
    archive = backstory.init(tmp_path / "archive", origin="example.org/merging")
    table = loans()
    frame = archive.source(table, "loans", key="loan")
    features, rows = archive.split(frame, ["amount", "years"])
    model = archive.register(fitted(frame), name="credit", rows=rows, target=frame["paid"])
    ids = []
    for at in range(FILES_MIN):
        part = features.iloc[5 * at : 5 * at + 5]
        ids += archive.predict(model, part, rows=rows[5 * at : 5 * at + 5]).wait("sealed").ids
    proof = archive.receipt(ids[7])

    def answers():
        whys = [archive.why(identity).to_dict() for identity in (ids[0], ids[17], ids[-1])]
        for why in whys:
            why["proof"].pop("tree_size")
            why["proof"].pop("root")
        impact = archive.impact("loans", rows=[3, 17, 39]).to_dict()
        return whys, impact, archive.search("output >= ?", [0]), archive.replay(ids[3]).verdict

    before = answers()
    other = reopen(tmp_path / "archive")
    assert merge_all(other).written == 1
    assert answers()[:2] == before[:2]
    assert answers()[2].equals(before[2])
    assert answers()[3] == before[3]
    assert verify_receipt(proof.data, vkey=other.layout.config.vkey)
    assert not archive.verify().findings
    archive.close()


def test_row_groups_never_cross_a_manifest(mixed, tmp_path):
    """A merged file has the row groups of the files it replaces, one after another."""
    root = tmp_path / "archive"
    shutil.copytree(mixed[0], root)
    ledger = reopen(root)
    merge_all(ledger)
    reader = ParquetReader(next(ledger.layout.segments.iterdir()))
    rows = [reader.read_groups([group]).num_rows for group in range(reader.group_count)]
    assert rows == [8192, 8, 300, 3, 1, 256, 2, 8192, 8, 257, 7]
    assert reader.counts() == list(SIZES)


def test_merged_files_are_merged_again(copied):
    """What was merged is merged again with what came later, once that is as much; receipts made before any hold."""
    ledger, ids = copied
    proof, lasting = receipt_of(ledger, ids[5])
    stream = next(manifests(ledger, "prediction"))[1].stream
    recorder = new_recorder(ledger)
    for turn in range(3):
        for _ in SMALL:
            ids = [*ids, *recorder.record(batch_of(ledger, OPEN, len(ids), 3)).ids]
            seal_all(ledger)
        assert merge_all(ledger).written == (2 if turn == 0 else 1)  # the first turn has the other stream's too
    recorder.close()
    seal_all(ledger)
    assert len(file_names(ledger)) == 3
    for _ in range(2):
        merge_all(ledger)
    assert {name.split("-")[0] for name in file_names(ledger)} > {stream}
    assert receipt_of(ledger, ids[5])[1] == lasting
    assert verify_receipt(proof, vkey=ledger.layout.config.vkey)
    insist_whole(ledger.layout.root, ids)


def test_few_files_are_left_alone(tmp_path):
    """Below eight files nothing is written, and no entry says so."""
    ledger = new_ledger(tmp_path / "archive")
    record(ledger, (3,) * (FILES_MIN - 1))
    size = ledger.log.checkpoint().size
    assert merge_all(ledger) == MergeCount(replaced=0, written=0)
    assert ledger.log.checkpoint().size == size


def file_of(rows):
    """Return a file of so many rows."""
    ref, digest, time = FileRef(name="f", sha256="0" * 64, size=1), "0" * 64, "2026-01-01T00:00:00.000000000Z"
    manifest = Manifest(
        kind="prediction", stream="0" * 32, first_seq=0, count=rows, first_id="0" * 32, last_id="f" * 32,
        first_time=time, last_time=time, contexts=(digest,), schema=digest, root=digest, file=ref, shard=None,
    )  # fmt: skip
    return _File(ref=ref, manifests=(manifest,), parts=(0,))


@given(st.lists(st.integers(1, SMALL_ROWS - 1), max_size=60))
def test_merging_is_worth_it(sizes):
    """What is merged is many files, none larger than the others together, in order and each once."""
    files = [file_of(size) for size in sizes]
    runs = _worth_merging(files)
    at = {id(file): place for place, file in enumerate(files)}
    places = [at[id(file)] for run in runs for file in run]
    assert places == sorted(set(places))
    for run in runs:
        assert len(run) >= FILES_MIN
        assert 2 * max(file.rows for file in run) <= sum(file.rows for file in run)
        first = at[id(run[0])]
        assert [at[id(file)] for file in run] == list(range(first, first + len(run)))


def test_rows_are_seldom_written_again():
    """Merging after every eight segments rewrites a row at most as often as its file can double."""
    written = 0
    files: list[int] = []
    for _ in range(128):
        files += [1] * FILES_MIN
        sized = [file_of(size) for size in files]
        for run in _worth_merging(sized):
            at = next(place for place, file in enumerate(sized) if file is run[0])
            rows = sum(file.rows for file in run)
            written += rows
            sized[at : at + len(run)] = [file_of(rows)]
        files = [file.rows for file in sized]
    assert sum(files) == 1024
    assert written <= 1024 * 10
    assert len(files) < 3 * FILES_MIN


@pytest.mark.parametrize("persisted", [False, True], ids=["not persisted", "persisted"])
@pytest.mark.parametrize("operation", ["write_with", "remove", "commit"])
@pytest.mark.parametrize("again", ["reopened", "tried again"])
def test_merging_survives_every_fault(tmp_path, small, operation, persisted, again):
    """Whichever step fails, nothing is lost meanwhile, and the next merge completes it and leaves nothing behind."""
    original, ids = small
    for at in range(STEPS_MAX):
        root = tmp_path / str(at)
        shutil.copytree(original, root)
        ledger = reopen(root, disk=FaultyDisk())
        fault = Fault(operation, at, persisted=persisted)
        with_faults(ledger, fault)
        try:
            merge_all(ledger)
        except StorageError:
            if again == "reopened":
                ledger = reopen(root)
                assert not verify_archive(root, workers=1).failed
            assert all(find_record(ledger, str(identity), "prediction") for identity in ids[::5])
            merge_all(ledger)
        assert len(file_names(insist_whole(root, ids))) == 1
        if not fault.happened:
            break
    assert 0 < at < STEPS_MAX - 1


def test_a_full_disk_while_merging_loses_nothing(tmp_path, small):
    """With any amount of space left, merging succeeds or says why not, and works once there is."""
    original, ids = small
    failed = 0
    for step in range(STEPS_MAX):
        root = tmp_path / str(step)
        shutil.copytree(original, root)
        disk = FullDisk()
        ledger = reopen(root, disk=disk)
        disk.room = step * 2500
        try:
            merge_all(ledger)
        except StorageError:
            failed += 1
            disk.room = 10**9
            merge_all(ledger)
            assert len(file_names(insist_whole(root, ids))) == 1
            continue
        break
    assert 3 < failed < STEPS_MAX - 1


def test_files_left_behind_stay_while_the_merged_one_is_damaged(copied, tmp_path):
    """What a stopped merge left is removed only when the file that holds its records now is whole."""
    ledger, ids = copied
    shutil.copytree(ledger.layout.segments, tmp_path / "before")
    merge_all(ledger)
    (merged,) = ledger.layout.segments.iterdir()
    shutil.copytree(tmp_path / "before", ledger.layout.segments, dirs_exist_ok=True)
    data = merged.read_bytes()
    merged.write_bytes(data[:99] + bytes([data[99] ^ 1]) + data[100:])
    merge_all(ledger)
    assert len(file_names(ledger)) == FILES_MIN + 1
    merged.write_bytes(data)
    merge_all(ledger)
    assert file_names(insist_whole(ledger.layout.root, ids)) == [merged.name]


def test_a_wrong_catalog_removes_nothing(copied):
    """A file that only the catalog does not know stays."""
    ledger, ids = copied
    with sqlite3.connect(ledger.layout.catalog) as connection:
        connection.execute("DELETE FROM segment WHERE first_seq = 3")
    names = file_names(ledger)
    merge_all(ledger)
    assert file_names(ledger) == names
    ledger.reindex()
    insist_whole(ledger.layout.root, ids)


def test_a_changed_file_is_not_merged_and_keeps_no_other_apart(tmp_path):
    """A file that is not what its entry says is named and stays, with its neighbours; other streams are merged."""
    ledger = new_ledger(tmp_path / "archive")
    for _ in range(2):
        record(ledger, SMALL)
    path = sorted(ledger.layout.segments.iterdir())[3]
    data = path.read_bytes()
    path.write_bytes(data[:9] + bytes([data[9] ^ 1]) + data[10:])
    with pytest.raises(VerificationError, match=path.name):
        merge_all(ledger)
    assert len(file_names(ledger)) == FILES_MIN + 1
    assert [f.place for f in verify_archive(ledger.layout.root, workers=1).findings][:1] == [f"segments/{path.name}"]


def test_one_merges_at_a_time(copied):
    """Who comes while another process merges is told so."""
    ledger, _ = copied
    with hold_directory(ledger.layout.segments, "held"), pytest.raises(BusyError):
        merge_all(ledger)
    assert merge_all(ledger).written == 1


def test_a_reader_does_not_merge(copied):
    """An archive opened for reading is not changed."""
    with pytest.raises(ForbiddenError):
        merge_all(reading(copied[0].layout.root))


def test_a_file_that_is_open_can_be_read_on(copied):
    """A reader of a file that was merged and removed meanwhile goes on reading it."""
    ledger, _ = copied
    _, manifest = next(manifests(ledger, "prediction"))
    reader = ledger.segment(manifest, checked=False)
    table = reader.read_rows(0, 3)
    merge_all(reopen(ledger.layout.root))
    assert reader.read_groups([0]) == table
    assert ledger.segment(manifest, checked=False).read_rows(0, 3) == table


def test_a_reader_that_knows_nothing_of_a_merge_finds_every_record(copied):
    """Records are found by id and number although the files the reader knows of are gone."""
    ledger, ids = copied
    other = reading(ledger.layout.root)
    stream = next(manifests(ledger, "prediction"))[1].stream
    merge_all(ledger)
    assert [find_record(other, str(identity), "prediction").id for identity in ids] == [str(i) for i in ids]
    another = reading(ledger.layout.root)
    assert read_sequence(another, stream, OPEN, 0, len(ids), opened=False).num_rows == len(ids)


@pytest.mark.parametrize("sealed_meanwhile", [False, True])
def test_a_search_during_a_merge_finds_every_record_once(copied, sealed_meanwhile):
    """Files that are merged between listing and reading are found again, without records that came later twice."""
    ledger, ids = copied
    other = reading(ledger.layout.root)
    recorder = new_recorder(ledger)
    for _ in range(FILES_MIN - 1):
        ids = [*ids, *recorder.record(batch_of(ledger, OPEN, len(ids), 3)).ids]
        seal_all(ledger)
    late = recorder.record(batch_of(ledger, OPEN, len(ids), 3)).ids
    look = other.merge_of

    def first_merge(manifest):
        other.merge_of = look
        if sealed_meanwhile:
            seal_all(ledger)
        merge_all(ledger)
        if sealed_meanwhile:
            other.catch_up()
        return look(manifest)

    other.merge_of = first_merge
    found = search_predictions(other, "true", [], None).table()["id"].to_pylist()
    recorder.close()
    assert sorted(found) == sorted(str(identity) for identity in (*ids, *late))


def test_a_merge_newer_than_the_manifests_is_read_as_far_as_they_go(copied):
    """Of a file that holds records of others too, it is said where those of a list of manifests end."""
    ledger, _ = copied
    listed = list(manifests(ledger, "prediction"))
    merge_all(ledger)
    ends = [[file.end_seq for (file,) in segment_files(ledger, some).values()] for some in (listed[:-1], listed)]
    assert ends == [[listed[-1][1].first_seq], [None]]


def test_the_entry_says_what_was_merged(copied):
    """The entry has the file and the indexes of the manifests, and nothing of the records."""
    ledger, ids = copied
    parts = [str(position) for position, _ in manifests(ledger, "prediction")]
    merge_all(ledger)
    (entry,) = ledger.find_entries(MERGE_TYPE)
    (path,) = ledger.layout.segments.iterdir()
    assert set(entry) == {"count", "file", "first_seq", "parts", "stream", "time", "type", "v"}
    assert (entry["parts"], entry["first_seq"], entry["count"]) == (parts, "0", str(len(ids)))
    assert entry["file"]["name"] == path.name == f"{entry['stream']}-0-{len(ids)}.parquet"
