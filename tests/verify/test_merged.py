"""Merged files are checked as the files they replaced were, and what the log says of them is not believed."""

from __future__ import annotations

import contextlib
import shutil

import pyarrow as pa
import pytest
from tests.support.ledgers import OPEN, SEALED, make_batch, new_ledger, new_recorder, reopen

from backstory.errors import FormatError
from backstory.ledger import sequencer as sequencer_module
from backstory.ledger.merge import FILES_MIN, merge_all
from backstory.ledger.read import manifests
from backstory.ledger.seal import seal_all
from backstory.records.manifest import FileRef
from backstory.records.merge import MERGE_TYPE
from backstory.storage.checked_files import file_digest
from backstory.storage.segment import ParquetReader, merged_metadata, write_groups
from backstory.verify import archive as archive_module
from backstory.verify.archive import verify_archive

POSITIONS = 10
ROWS = 3
RECORDS = 2 * FILES_MIN * ROWS


@pytest.fixture(scope="module")
def unmerged(tmp_path_factory):
    """An archive with eight small segments each of two streams, one about persons."""
    root = tmp_path_factory.mktemp("unmerged") / "archive"
    ledger = new_ledger(root)
    recorder = new_recorder(ledger)
    for turn in range(FILES_MIN):
        for schema in (OPEN, SEALED):
            recorder.record(make_batch(ledger, schema, turn * ROWS, ROWS))
        seal_all(ledger)
    recorder.close()
    seal_all(ledger)
    return root


@pytest.fixture(scope="module")
def merged(unmerged, tmp_path_factory):
    """The same, merged."""
    root = tmp_path_factory.mktemp("merged") / "archive"
    shutil.copytree(unmerged, root)
    merge_all(reopen(root))
    return root


@pytest.fixture
def before(unmerged, tmp_path):
    """A copy of the archive that is not merged, open for writing."""
    shutil.copytree(unmerged, tmp_path / "archive")
    return reopen(tmp_path / "archive")


@pytest.fixture
def after(merged, tmp_path):
    """A copy of the merged archive."""
    shutil.copytree(merged, tmp_path / "archive")
    return tmp_path / "archive"


def bad_places(root, workers=1):
    """Return the places where evidence does not verify."""
    return {finding.place for finding in verify_archive(root, workers=workers).findings if finding.severity == "failed"}


def segments_of(ledger):
    """Return the manifests of the first stream, with their indexes."""
    listed = list(manifests(ledger, "prediction"))
    return [(index, manifest) for index, manifest in listed if manifest.stream == listed[0][1].stream]


def say_merged(ledger, **changes):
    """Append an entry that says that the first stream was merged, changed from what would be true."""
    parts = segments_of(ledger)
    entry = {
        "count": str(len(parts) * ROWS),
        "file": FileRef(name="merged.parquet", sha256="0" * 64, size=1).document(),
        "first_seq": "0",
        "parts": [str(index) for index, _ in parts],
        "stream": parts[0][1].stream,
        "type": MERGE_TYPE,
    }
    with pytest.MonkeyPatch.context() as patch:  # a writer that does not check what it signs
        patch.setattr(sequencer_module, "check_named_files", lambda *_: None)
        (index,) = ledger.append([{**entry, **changes}])
    return index


def write_merged(ledger, name, change=lambda table: table, counts=(ROWS,) * FILES_MIN):
    """Write a merged file of the first stream, changed from what would be true; return what an entry says of it."""
    readers = [ledger.segment(manifest, checked=False) for _, manifest in segments_of(ledger)]
    tables = [change(reader.read_rows(0, ROWS)) for reader in readers]
    roots = b"".join(reader.subtrees() for reader in readers)
    path = ledger.layout.segments / name
    write_groups(tables, tables[0].schema, path, merged_metadata(OPEN.encoded, roots, counts))
    return FileRef(name=name, sha256=file_digest(path), size=path.stat().st_size).document()


@pytest.mark.parametrize("workers", [1, 2])
def test_a_merged_archive_verifies(merged, workers):
    """Every record is checked, and nothing is found."""
    report = verify_archive(merged, workers=workers)
    assert [finding for finding in report.findings if finding.severity != "note"] == []
    assert (report.counts["records"], report.counts["segments"]) == (RECORDS, 2 * FILES_MIN)
    assert len(list((merged / "segments").iterdir())) == 2


def test_a_flipped_bit_is_named(after):
    """Any one bit flipped in a merged file makes verification fail and name it, and only it."""
    for path in (after / "segments").iterdir():
        data = path.read_bytes()
        for at in sorted({round(i * (len(data) - 1) / (POSITIONS - 1)) for i in range(POSITIONS)}):
            path.write_bytes(data[:at] + bytes([data[at] ^ 1 << at % 8]) + data[at + 1 :])
            assert bad_places(after) == {f"segments/{path.name}"}
        path.write_bytes(data)


def test_a_missing_or_cut_file_is_named(after):
    """A merged file that is gone or short is named once, with its records and entry."""
    for path in (after / "segments").iterdir():
        data = path.read_bytes()
        for left in (0, 4, len(data) // 2, len(data) - 1):
            path.write_bytes(data[:left])
            assert bad_places(after) == {f"segments/{path.name}"}
        path.unlink()
        (finding,) = [f for f in verify_archive(after, workers=1).findings if f.severity == "failed"]
        assert finding.place == f"segments/{path.name}"
        assert "records 0 to 23" in finding.what
        path.write_bytes(data)


def test_the_first_changed_record_is_named(before):
    """A value changed in a merged file, under a digest that fits, is found, with the manifest it is of."""

    def change(table):
        if table["seq"][0].as_py() != 2 * ROWS:
            return table
        return table.set_column(table.column_names.index("output"), "output", pa.array([0.5] * ROWS))

    say_merged(before, file=write_merged(before, "merged.parquet", change))
    (third, _) = segments_of(before)[2]
    (finding,) = [f for f in verify_archive(before.layout.root, workers=1).findings if f.severity == "failed"]
    assert finding.place == "segments/merged.parquet"
    assert f"entry {third}" in finding.what
    assert "seq 6 to 8" in finding.what


@pytest.mark.parametrize("counts", [(ROWS,) * (FILES_MIN - 1), (ROWS + 1,) * FILES_MIN, ()])
def test_counts_that_are_not_the_manifests_are_named(before, counts):
    """What a merged file says of itself must be what the manifests say, or readers would look elsewhere."""
    say_merged(before, file=write_merged(before, "merged.parquet", counts=counts))
    assert bad_places(before.layout.root) == {"segments/merged.parquet"}


def test_another_digest_is_named(before):
    """A file with the right records and another digest than its entry's was changed."""
    file = write_merged(before, "merged.parquet")
    say_merged(before, file={**file, "sha256": "0" * 64})
    assert bad_places(before.layout.root) == {"segments/merged.parquet"}


def other_part(parts):
    """Return parts, one of them an entry that is no manifest."""
    return [*parts[:3], "0", *parts[4:]]


LIES = {
    "a part is missing": lambda parts: {"parts": [*parts[:3], *parts[4:]]},
    "parts in another order": lambda parts: {"parts": parts[::-1]},
    "a part twice": lambda parts: {"parts": [parts[0], *parts]},
    "a part that is no manifest": lambda parts: {"parts": other_part(parts)},
    "a part that is to come": lambda parts: {"parts": [*parts[:-1], "999"]},
    "a part of another stream": lambda parts: {"parts": [*parts[:-1], str(int(parts[-1]) + 1)]},
    "fewer parts than it says": lambda parts: {"parts": parts[:-1]},
    "another first record": lambda _parts: {"first_seq": "1"},
    "another count": lambda _parts: {"count": "23"},
    "another stream": lambda _parts: {"stream": "0" * 32},
    "too many records": lambda _parts: {"count": "1048577"},
    "one part": lambda parts: {"parts": parts[:1]},
    "a file elsewhere": lambda _parts: {"file": {"name": "../backstory.toml", "sha256": "0" * 64, "size": "1"}},
}


@pytest.mark.parametrize("lie", LIES)
def test_a_lying_entry_is_named(before, lie):
    """An entry whose parts are not what it says is named and passed over: the manifests' own files are checked."""
    parts = [str(index) for index, _ in segments_of(before)]
    file, size = write_merged(before, "merged.parquet"), before.log.checkpoint().size
    with contextlib.suppress(FormatError):  # committed, but the catalog does not take it
        say_merged(before, **{"file": file, **LIES[lie](parts)})
    report = verify_archive(before.layout.root, workers=1)
    assert {f.place for f in report.findings if f.severity == "failed"} == {f"entry {size}"}
    assert report.counts["records"] == RECORDS


def test_a_merge_that_takes_another_apart_is_named(before):
    """Of a merged file's manifests a later entry has all or none."""
    file = write_merged(before, "merged.parquet")
    say_merged(before, file=file)
    parts = [str(index) for index, _ in segments_of(before)]
    index = say_merged(before, parts=parts[:4], count=str(4 * ROWS))
    assert bad_places(before.layout.root) == {f"entry {index}"}


def test_files_left_behind_are_noted(unmerged, after):
    """A file that was replaced and is still there is worth knowing, and nothing is wrong."""
    name = next((unmerged / "segments").iterdir()).name
    shutil.copy(unmerged / "segments" / name, after / "segments" / name)
    (finding,) = [f for f in verify_archive(after, workers=1).findings if f.place.startswith("segments/")]
    assert (finding.severity, finding.place) == ("note", f"segments/{name}")
    assert "by its name its records are in other files by the log: not looked into" in finding.what


@pytest.mark.parametrize("damaged", [False, True])
def test_verifying_while_merging(monkeypatch, before, damaged):
    """Files that are merged while an archive is verified are followed; damage in where they went is found."""
    check = archive_module.check_segments
    size = before.log.checkpoint().size
    places = set()

    def later(*arguments):
        recorder = new_recorder(before)
        for turn in range(2):
            for _ in range(FILES_MIN):
                recorder.record(make_batch(before, OPEN, 100, ROWS))
                seal_all(before)
            merge_all(before)
            if turn == 0:
                merge_all(before)
        recorder.close()
        for path in before.layout.segments.iterdir() if damaged else ():
            reader = ParquetReader(path)
            if reader.read_groups([0])["seq"][0].as_py() == 0:
                data = path.read_bytes()
                path.write_bytes(data[:99] + bytes([data[99] ^ 1]) + data[100:])
                places.add(f"segments/{path.name}")
        return check(*arguments)

    monkeypatch.setattr(archive_module, "check_segments", later)
    report = verify_archive(before.layout.root, workers=1)
    assert report.tree_size == size
    assert damaged or report.counts["records"] == RECORDS  # of a damaged file perhaps none can be read
    failed = {finding.place for finding in report.findings if finding.severity == "failed"}
    assert failed <= places
    assert bool(failed) == damaged


def test_a_missing_file_is_not_excused_by_a_merge_of_others(monkeypatch, before):
    """A segment that is gone stays missing when the log grew meanwhile."""
    path = before.layout.segments / segments_of(before)[2][1].file.name
    path.unlink()
    check = archive_module.check_segments

    def later(*arguments):
        before.append([{"type": "test"}])
        return check(*arguments)

    monkeypatch.setattr(archive_module, "check_segments", later)
    assert bad_places(before.layout.root) == {f"segments/{path.name}"}
