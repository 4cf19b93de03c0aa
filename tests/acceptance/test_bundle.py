"""An evidence bundle on a machine without Backstory: it verifies, and whatever is changed in it is caught and named."""

from __future__ import annotations

import subprocess
import sys
import warnings
import zipfile

import pytest

import backstory
from backstory.errors import FormatError, StorageError, VerificationError
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
        member = zipfile.ZipInfo("link")
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
