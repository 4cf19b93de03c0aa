"""An evidence bundle on a machine without Backstory: it verifies, and whatever is changed in it is caught and named."""

from __future__ import annotations

import hashlib
import io
import struct
import subprocess
import sys
import tracemalloc
import warnings
import zipfile
import zlib
from contextlib import closing

import pytest

import backstory
from backstory.errors import FormatError, StorageError, VerificationError
from backstory.ledger.ledger import Ledger
from backstory.ledger.read import Place, manifests
from backstory.ledger.receipt import make_receipts, prove_entry
from backstory.records import canonical
from backstory.records.identity import time_text
from backstory.storage.world import World
from backstory.verify.bundle import verify_bundle
from backstory.verify.standalone import check_bundle as alone


@pytest.fixture(scope="module")
def bundle(whole, tmp_path_factory):
    """A bundle of three predictions and the log's key."""
    folder = tmp_path_factory.mktemp("bundle")
    with backstory.open(whole[0]) as archive:
        archive.bundle(folder / "made.zip", whole[1][:3])
    return folder / "made.zip", whole[2]


def files_of(path):
    """Return what a bundle holds, by name."""
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def write(path, files):
    """Write a sound zip file, whatever is in it."""
    with warnings.catch_warnings(action="ignore"), zipfile.ZipFile(path, "w") as archive:
        for name, data in files:
            member = zipfile.ZipInfo(name)
            member.external_attr = 0o100644 << 16
            archive.writestr(member, data)
    return path


def refused(path, key):
    """Return what both verifiers say of a bundle that both refuse."""
    with pytest.raises(VerificationError) as ours:
        verify_bundle(path, vkey=key)
    with pytest.raises(alone.receipt.FailedError) as theirs:
        alone.check_bundle(str(path), [alone.receipt.Key(key, 1)])
    return str(ours.value), str(theirs.value)


def test_a_bare_interpreter_verifies_it(bundle, tmp_path):
    """With the programs it came with, no site packages, no path to Backstory."""
    with zipfile.ZipFile(bundle[0]) as archive:
        archive.extractall(tmp_path)
    command = [sys.executable, "-I", "-S", tmp_path / "verify" / "check_bundle.py", bundle[0], "--vkey", bundle[1]]
    done = subprocess.run(command, cwd=tmp_path, env={}, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.splitlines()[0]) == (0, "verified under the given key"), done.stderr


def test_both_verifiers_say_the_same(bundle):
    """What the stand-alone one reports is what ours does."""
    theirs = alone.check_bundle(str(bundle[0]), [alone.receipt.Key(bundle[1], 1)])
    assert theirs == verify_bundle(bundle[0], vkey=bundle[1]).to_dict()


def test_the_stand_alone_verifier_keeps_no_file_in_memory(bundle):
    """Else a bundle of a million predictions would take more memory than an auditor has."""
    alone.check_bundle(str(bundle[0]), [alone.receipt.Key(bundle[1], 1)])
    assert alone.receipt.from_json.cache_info().currsize == 0


def test_a_flipped_byte_in_any_file_is_caught_and_named(bundle, tmp_path):
    """First, middle and last byte of each file, packed again so that the zip file itself is sound."""
    files = files_of(bundle[0])
    for name, data in files.items():
        for at in (0, len(data) // 2, len(data) - 1):
            changed = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
            path = write(tmp_path / "b.zip", {**files, name: changed}.items())
            for said in refused(path, bundle[1]):
                assert name in said


def test_a_flipped_byte_in_the_packed_bytes_is_caught_and_named(bundle, tmp_path):
    """As a medium that wears out flips it."""
    whole = bundle[0].read_bytes()
    with zipfile.ZipFile(bundle[0]) as archive:
        places = [(m.filename, m.header_offset + 30 + len(m.filename), m.compress_size) for m in archive.infolist()]
    for name, first, size in places:
        at = first + size // 2
        (tmp_path / "b.zip").write_bytes(whole[:at] + bytes([whole[at] ^ 16]) + whole[at + 1 :])
        for said in refused(tmp_path / "b.zip", bundle[1]):
            assert name in said


def test_a_missing_file_is_named(bundle, tmp_path):
    """Each of them."""
    files = files_of(bundle[0])
    for gone in files:
        left = [(name, data) for name, data in files.items() if name != gone]
        assert all(gone in said for said in refused(write(tmp_path / "b.zip", left), bundle[1]))


@pytest.mark.parametrize("name", ["extra.txt", "../out", "/out", "a\\b", "verify/../out", "./README.txt", ".hidden"])
def test_an_extra_file_or_a_name_that_leads_elsewhere_is_named(bundle, tmp_path, name):
    """Nothing is there that the manifest does not list."""
    path = write(tmp_path / "b.zip", [*files_of(bundle[0]).items(), (name, b"x")])
    assert all(name.replace("\\", "\\\\") in said for said in refused(path, bundle[1]))


def test_a_file_that_is_there_twice_is_named(bundle, tmp_path):
    """Two programs could read different ones."""
    files = files_of(bundle[0])
    path = write(tmp_path / "b.zip", [*files.items(), ("README.txt", files["README.txt"])])
    assert all("README.txt" in said and "twice" in said for said in refused(path, bundle[1]))


def test_a_file_that_unpacks_to_more_than_it_should_is_named(bundle, tmp_path):
    """It is not unpacked any further than that."""
    files = {**files_of(bundle[0]), "README.txt": bytes(100 << 20)}
    path = tmp_path / "b.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            member = zipfile.ZipInfo(name)
            member.external_attr, member.compress_type = 0o100644 << 16, zipfile.ZIP_DEFLATED
            archive.writestr(member, data)
    assert all("README.txt" in said for said in refused(path, bundle[1]))


def test_a_link_is_no_plain_file(bundle, tmp_path):
    """Unpacked it would lead elsewhere."""
    path = write(tmp_path / "b.zip", files_of(bundle[0]).items())
    with zipfile.ZipFile(path, "a") as archive:
        member = zipfile.ZipInfo("verify/link.py")
        member.external_attr = 0o120777 << 16
        archive.writestr(member, "/etc/passwd")
    assert all("link" in said for said in refused(path, bundle[1]))


def test_a_changed_manifest_does_not_hide_a_change(bundle, tmp_path):
    """The log has its digest."""
    files = files_of(bundle[0])
    files["manifest.json"] = files["manifest.json"].replace(b'"records":"3"', b'"records":"2"')
    assert all("manifest.json" in said for said in refused(write(tmp_path / "b.zip", files.items()), bundle[1]))


def test_what_is_no_zip_file_cannot_be_checked(bundle, tmp_path):
    """That says nothing about any evidence."""
    (tmp_path / "b.zip").write_bytes(b"hello")
    with pytest.raises(FormatError):
        verify_bundle(tmp_path / "b.zip", vkey=bundle[1])


def test_what_is_not_there_cannot_be_checked(bundle, tmp_path):
    """Nor does that."""
    with pytest.raises(StorageError):
        verify_bundle(tmp_path / "none.zip", vkey=bundle[1])


def test_a_zip_file_cut_short_does_not_verify(bundle, tmp_path):
    """At any place behind its beginning."""
    whole = bundle[0].read_bytes()
    for end in range(4, len(whole), len(whole) // 20):
        (tmp_path / "b.zip").write_bytes(whole[:end])
        refused(tmp_path / "b.zip", bundle[1])


@pytest.fixture
def sign(kept, tmp_path):
    """What an operator can do, who has the log's key: pack other files under a manifest the log speaks of."""
    with closing(Ledger(kept[0], World(), writable=True, vkey=None, actor=None)) as ledger:

        def signed(files, **changed):
            own = {name: data for name, data in files.items() if name not in {"manifest.json", "bundle.tlog-proof"}}
            listed = [
                {"name": name, "sha256": hashlib.sha256(own[name]).hexdigest(), "size": str(len(own[name]))}
                for name in sorted(own)
            ]
            manifest = {**canonical.parse_object(files["manifest.json"], "manifest"), "files": listed, **changed}
            data = canonical.encode(manifest)
            digest = hashlib.sha256(data).hexdigest()
            entry = {"manifest": digest, "purpose": None, "records": manifest["records"], "type": "bundle.exported"}
            (index,) = ledger.append([entry])
            whole = {**own, "manifest.json": data, "bundle.tlog-proof": prove_entry(ledger, index)}
            return write(tmp_path / "signed.zip", whole.items())

        signed.ledger = ledger
        yield signed


def test_what_an_operator_packs_as_it_was_verifies(bundle, sign):
    """The other tests that sign change one thing each."""
    path = sign(files_of(bundle[0]))
    assert verify_bundle(path, vkey=bundle[1]).records == 3
    assert alone.check_bundle(str(path), [alone.receipt.Key(bundle[1], 1)])["records"] == "3"


@pytest.mark.parametrize(
    "name",
    ["SUMMARY.html", "Index.html", "README.txt.", "upstream/models/credit.json", "upstream/documents.json", "verify"],
)
def test_a_file_that_nothing_proves_is_refused_though_the_log_signed_it(bundle, sign, name):
    """It would pass for evidence, or take another file's place where case does not count."""
    for said in refused(sign({**files_of(bundle[0]), name: b"{}"}), bundle[1]):
        assert repr(name) in said


def test_a_prediction_is_counted_once(bundle, sign):
    """Two files of the same receipts are not twice as many predictions."""
    files = files_of(bundle[0])
    files["receipts/0002.receipts"] = files["receipts/0001.receipts"]
    files["records.jsonl"] *= 2
    assert all("receipts/0002" in said for said in refused(sign(files, records="6"), bundle[1]))


def test_an_outcome_is_no_prediction(bundle, kept, sign):
    """Its receipt verifies, but not as one of what was asked for."""
    with backstory.open(kept[0]) as archive:
        archive.outcome(kept[1][0], 1)
        archive.flush()
    sign.ledger.catch_up()
    ((position, manifest),) = manifests(sign.ledger, "outcome")
    receipts = make_receipts(sign.ledger, [Place(position=position, manifest=manifest, row=0)], opened=[]).data
    (proven,) = alone.receipt.check_file(receipts, [alone.receipt.Key(kept[2], 1)], [], 0)
    del proven["witnesses"]
    files = {name: data for name, data in files_of(bundle[0]).items() if not name.startswith("upstream/")}
    files |= {"receipts/0001.receipts": receipts, "records.jsonl": canonical.encode(proven) + b"\n"}
    assert all("is no prediction" in said for said in refused(sign(files, records="1"), kept[2]))


def test_true_is_not_one(bundle, sign):
    """A line is compared byte for byte, also where a language takes `true` for 1."""
    files = files_of(bundle[0])
    files["records.jsonl"] = files["records.jsonl"].replace(b'"v":1', b'"v":true')
    assert all("records.jsonl: line 1 " in said for said in refused(sign(files), bundle[1]))


@pytest.mark.parametrize(
    "changed",
    [
        {"time": 7},
        {"time": "\x1b[2J"},
        {"question": "all"},
        {"records": "x"},
        {"log": {"origin": "example.org/other", "root": "0" * 64, "size": "1"}},
        {"log": {"origin": "example.org/acceptance", "root": "0" * 64, "size": "9999"}},
        {"log": "none"},
    ],
)
def test_a_manifest_that_says_what_cannot_be_is_named(bundle, sign, changed):
    """Both verifiers refuse it, neither takes the file for something else."""
    assert all("manifest.json" in said for said in refused(sign(files_of(bundle[0]), **changed), bundle[1]))


@pytest.mark.parametrize(
    "rows", [{"rows": {}, "v": 1}, {"rows": [], "v": 1, "x": 1}, {"rows": [[]], "v": 1}, {"rows": []}]
)
def test_malformed_rows_are_named(bundle, sign, rows):
    """They are no rows of anything."""
    files = {**files_of(bundle[0]), "upstream/rows.json": canonical.encode(rows)}
    assert all("upstream/rows.json" in said for said in refused(sign(files), bundle[1]))


def test_what_is_no_receipt_among_receipts_is_named(bundle, sign):
    """The bundle does not verify; it is not that it cannot be checked."""
    files = {**files_of(bundle[0]), "receipts/0001.receipts": b"hello"}
    assert all("receipts/0001.receipts" in said for said in refused(sign(files), bundle[1]))


def sealed_in(files):
    """Return what the first record of a bundle proves."""
    return canonical.parse_object(files["records.jsonl"].splitlines()[0], "record")


def needed_in(files):
    """Return the files without which a bundle says less than it should."""
    record = sealed_in(files)
    digests = [record["values"]["context"], record["context"]["model"]["digest"]]
    return ["README.txt", "index.html", *(f"upstream/documents/{digest}.json" for digest in digests)]


def test_a_bundle_without_what_it_must_have_is_refused_though_the_log_signed_it(bundle, sign):
    """The page, the instructions, the context of a record, its model."""
    files = files_of(bundle[0])
    for gone in needed_in(files):
        path = sign({name: data for name, data in files.items() if name != gone})
        for said in refused(path, bundle[1]):
            assert gone in said
            assert "missing" in said


@pytest.mark.parametrize(
    "question",
    [
        {"model": "limit"},
        {"model": "credit:2"},
        {"model": "credit@production"},
        {"model": 1},
        {"model": "credit", "until": "2000-01-01T00:00:00.000000000Z"},
        {"since": "2200-01-01T00:00:00.000000000Z"},
        {"since": "2000-01-01"},
        {"since": "2000-13-01T00:00:00.000000000Z"},
        {"until": None},
        {"predictions": ["01a2088c-0000-7000-8000-000000000000"]},
        {"predictions": []},
        {"predictions": "all"},
        {"predictions": [1]},
    ],
)
def test_records_that_do_not_fit_the_question_are_refused(bundle, sign, question):
    """Whatever the operator says was asked for."""
    for said in refused(sign(files_of(bundle[0]), question=question), bundle[1]):
        assert "receipts/0001.receipts: " in said or "manifest.json: " in said


def test_a_prediction_that_is_asked_for_and_not_there_is_named(bundle, whole, sign):
    """By id, all must be there."""
    asked = sign(files_of(bundle[0]), question={"predictions": list(whole[1][:4])})
    assert all(whole[1][3] in said for said in refused(asked, bundle[1]))


def test_a_prediction_is_asked_for_once(bundle, whole, sign):
    """A longer list would say more was asked for."""
    asked = sign(files_of(bundle[0]), question={"predictions": [*whole[1][:3], whole[1][0]]})
    assert all("manifest.json" in said for said in refused(asked, bundle[1]))


@pytest.mark.parametrize("model", ["credit", "credit:1"])
def test_records_that_fit_the_question_verify(bundle, sign, model):
    """A period has its first moment, and not its last; where and case are not compared."""
    files = files_of(bundle[0])
    times = [int(canonical.parse_object(line, "record")["values"]["time"]) for line in files["records.jsonl"].split()]
    first, end = time_text(min(times)), time_text(max(times) + 1)
    path = sign(files, question={"model": model, "since": first, "until": end, "where": "false", "case": "none"})
    assert verify_bundle(path, vkey=bundle[1]).records == 3
    assert alone.check_bundle(str(path), [alone.receipt.Key(bundle[1], 1)])["records"] == "3"
    for bound in ({"until": time_text(max(times))}, {"since": time_text(min(times) + 1)}):
        refused(sign(files, question=bound), bundle[1])


def test_no_records_are_no_evidence(bundle, sign):
    """Nothing is proven then."""
    files = {n: d for n, d in files_of(bundle[0]).items() if not n.startswith(("receipts/", "upstream/"))}
    path = sign({**files, "records.jsonl": b""}, records="0", question={"model": "credit"})
    assert all("manifest.json: it has no records" in said for said in refused(path, bundle[1]))


def test_a_row_is_there_once(bundle, sign):
    """The same again is not more evidence."""
    files = files_of(bundle[0])
    rows = canonical.parse_object(files["upstream/rows.json"], "rows")["rows"]
    files["upstream/rows.json"] = canonical.encode({"rows": [*rows, rows[0]], "v": 1})
    assert all("upstream/rows.json: " in said and "twice" in said for said in refused(sign(files), bundle[1]))


def test_receipts_that_unpack_to_much_cost_little(bundle, sign):
    """Not even an operator can let a check take all memory."""
    path = sign({**files_of(bundle[0]), "receipts/0001.receipts": b'{"backstory":"receipts",' + b"[" * (17 << 20)})
    tracemalloc.start()
    said = refused(path, bundle[1])
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert all("too large" in text for text in said)
    assert most < 8 << 20


def central(whole):
    """Return where the directory of a zip file begins and ends."""
    end = whole.rindex(b"PK\5\6")
    size, begin = struct.unpack("<II", whole[end + 12 : end + 20])
    assert begin + size == end
    return begin, end


def other_zip():
    """Return a zip file with another `README.txt`, and where its directory begins and ends."""
    memory = io.BytesIO()
    write(memory, [("README.txt", b"believe me")])
    return memory.getvalue(), *central(memory.getvalue())


def moved(directory, by):
    """Return a directory for files that begin later."""
    data, at = bytearray(directory), 0
    while at < len(data):
        struct.pack_into("<I", data, at + 42, struct.unpack_from("<I", data, at + 42)[0] + by)
        at += 46 + sum(struct.unpack_from("<HHH", data, at + 28))
    return bytes(data)


def with_bytes_behind(whole):
    """Put bytes behind the end."""
    return whole + b"believe me"


def with_another_zip_before(whole):
    """Put a zip file before it, which some programs read instead."""
    return other_zip()[0] + whole


def with_files_between(whole):
    """Put files before the directory that are not in it, but in a stream."""
    begin, end = central(whole)
    other, first, _ = other_zip()
    return (
        whole[:begin] + other[:first] + whole[begin : end + 16] + struct.pack("<I", begin + first) + whole[end + 20 :]
    )


def with_two_ends(whole):
    """Let the two records at the end lead to different directories."""
    begin, end = central(whole)
    other, first, last = other_zip()
    directory = moved(whole[begin:end], last)
    front = other[:last] + whole[:begin] + directory
    count = struct.unpack("<H", whole[end + 10 : end + 12])[0]
    large = (44, 45, 45, 0, 0, count, count, len(directory), last + begin)
    ends = struct.pack("<4sQHHIIQQQQ", b"PK\6\6", *large) + struct.pack("<4sIQI", b"PK\6\7", 0, len(front), 1)
    return front + ends + struct.pack("<4sHHHHIIH", b"PK\5\6", 0, 0, 1, 1, last - first, first, 0)


def with_another_name(whole):
    """Give the first file a second name, which some programs unpack it under."""
    begin, end = central(whole)
    size = struct.unpack("<H", whole[begin + 28 : begin + 30])[0]
    name, at = whole[begin + 46 : begin + 46 + size], begin + 46 + size
    extra = struct.pack("<HHBI", 0x7075, 10, 1, zlib.crc32(name)) + b"other"
    directory = bytearray(whole[begin:at] + extra + whole[at:end])
    struct.pack_into("<H", directory, 30, len(extra))
    return whole[:begin] + directory + whole[end : end + 12] + struct.pack("<I", len(directory)) + whole[end + 16 :]


def with_another_size(whole):
    """Let the header before the first file say another size than the directory."""
    return whole[:18] + struct.pack("<I", 1) + whole[22:]


@pytest.mark.parametrize(
    "change",
    [
        with_bytes_behind,
        with_another_zip_before,
        with_files_between,
        with_two_ends,
        with_another_name,
        with_another_size,
    ],
)
def test_a_zip_file_that_says_two_things_is_refused(bundle, tmp_path, change):
    """Programs that unpack do not agree on what is in it."""
    (tmp_path / "b.zip").write_bytes(change(bundle[0].read_bytes()))
    refused(tmp_path / "b.zip", bundle[1])


def test_a_proof_that_unpacks_to_much_costs_little(bundle, tmp_path):
    """Whoever has no key cannot let a check take more memory than a proof is large."""
    path = tmp_path / "b.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        member = zipfile.ZipInfo("bundle.tlog-proof")
        member.external_attr, member.compress_type = 0o100644 << 16, zipfile.ZIP_DEFLATED
        archive.writestr(member, b"ab\n" * (20 << 20))
    tracemalloc.start()
    said = refused(path, bundle[1])
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert all("too large" in text for text in said)
    assert most < 8 << 20
