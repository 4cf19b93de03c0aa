"""Blobs, keys, the vault and durable writes."""

from __future__ import annotations

import hashlib
import stat

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backstory.errors import FormatError, NotFoundError, StorageError, UnsupportedVersionError, VerificationError
from backstory.storage.blobs import BlobStore
from backstory.storage.disk import Disk
from backstory.storage.keys import KeyStore
from backstory.storage.layout import ArchiveConfig, read_layout
from backstory.storage.vault import Vault


@pytest.fixture
def blobs(tmp_path):
    """An empty blob store."""
    return BlobStore(tmp_path / "blobs", Disk())


def mode_of(path):
    """Return a file's permissions."""
    return stat.S_IMODE(path.stat().st_mode)


@given(st.binary(max_size=99))
@settings(max_examples=20)
def test_a_blob_is_named_by_its_bytes(tmp_path_factory, data):
    """What is put is found under its SHA-256, whichever way it was put."""
    blobs = BlobStore(tmp_path_factory.mktemp("blobs"), Disk())
    digest = blobs.put(data)
    assert digest == hashlib.sha256(data).hexdigest() == blobs.put_with(lambda path: path.write_bytes(data))
    assert blobs.get(digest) == blobs.checked_path(digest).read_bytes() == data
    assert list(blobs.paths()) == [blobs.path(digest)]


def test_a_blob_that_changed_on_its_way_to_the_disk_is_refused(tmp_path):
    """Bytes that are not read back as they were given are not kept, and can be put again."""

    class FlippingDisk(Disk):
        is_fixed = False

        def write(self, path, data, **options):
            super().write(path, data if self.is_fixed else data[:-1] + b"?", **options)

    disk = FlippingDisk()
    blobs = BlobStore(tmp_path / "blobs", disk)
    with pytest.raises(StorageError, match="other bytes were read back"):
        blobs.put(b"some bytes")
    disk.is_fixed = True
    assert blobs.get(blobs.put(b"some bytes")) == b"some bytes"


def test_blobs_cannot_be_written_to(blobs):
    """A stored blob is read-only, whichever way it was put."""
    digests = [blobs.put(b"a"), blobs.put_with(lambda path: path.write_bytes(b"b"))]
    assert [mode_of(blobs.path(digest)) for digest in digests] == [0o444, 0o444]


@pytest.mark.parametrize("read", [BlobStore.get, BlobStore.checked_path])
def test_a_changed_blob_is_refused(blobs, read):
    """A blob is never given out with other bytes than its name promises, even after it was read once."""
    digest = blobs.put(b"some bytes")
    read(blobs, digest)
    path = blobs.path(digest)
    path.chmod(0o644)
    path.write_bytes(b"other bytes, longer")
    with pytest.raises(VerificationError):
        read(blobs, digest)
    path.unlink()
    with pytest.raises(StorageError, match=digest):
        read(blobs, digest)


@pytest.mark.parametrize("digest", ["", "../../etc/passwd", "A" * 64, "ab"])
def test_only_digests_name_blobs(blobs, digest):
    """A name that is no digest leads nowhere."""
    with pytest.raises(FormatError):
        blobs.get(digest)


def test_filling_a_blob_may_fail(blobs, tmp_path):
    """When the function that fills a blob fails, nothing is left behind."""

    def fail(path):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    with pytest.raises(StorageError, match="No space"):
        blobs.put_with(fail)
    assert list((tmp_path / "blobs").iterdir()) == []


def test_keys_are_their_owners_alone(tmp_path):
    """Key files have mode 0600 in a directory of mode 0700, and come back as they were."""
    keys = KeyStore(tmp_path / "keys", Disk())
    made = keys.create("name", "a", "b")
    assert keys.get("name") == made == keys.get_or_create("name", "a", "b")
    assert len(set(made.values())) == 2
    assert (mode_of(tmp_path / "keys" / "name.json"), mode_of(tmp_path / "keys")) == (0o600, 0o700)
    keys.destroy("name")
    with pytest.raises(NotFoundError):
        keys.get("name")


@pytest.mark.parametrize(
    "text", ['{"v":1}', '{"a":"00","v":1}', '{"a":7,"v":1}', '{"a":"' + "0" * 64 + '","v":2}', "x", ""]
)
def test_a_damaged_key_file_is_refused(tmp_path, text):
    """A key file that is not of its form is an error, never a short or empty key."""
    (tmp_path / "name.json").write_text(text)
    with pytest.raises(FormatError):
        KeyStore(tmp_path, Disk()).get("name")


def test_shards_open_under_their_key_and_name_alone(tmp_path):
    """A shard comes back as it was; changed, renamed or under another key it is refused."""
    keys = KeyStore(tmp_path / "keys", Disk())
    vault = Vault(tmp_path / "vault", keys, Disk())
    table = pa.table({"name": ["Ada", None]})
    data = vault.write_table("a.shard", table, keys.create("a.shard", "shard_key")["shard_key"])
    assert vault.read_table("a.shard").equals(table)
    assert b"Ada" not in data
    assert (mode_of(vault.path("a.shard")), mode_of(tmp_path / "vault")) == (0o600, 0o700)
    keys.put("b.shard", keys.get("a.shard"))
    vault.path("b.shard").write_bytes(data)
    with pytest.raises(VerificationError):
        vault.read_table("b.shard")
    for at in (5, 17, len(data) // 2, len(data) - 1):
        vault.path("a.shard").write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        with pytest.raises((VerificationError, FormatError)):
            vault.read_table("a.shard")
    vault.path("a.shard").write_bytes(b"x" + data[1:])
    with pytest.raises(FormatError):
        vault.read_table("a.shard")
    keys.destroy("b.shard")
    with pytest.raises(NotFoundError):
        vault.read_table("b.shard")


def test_a_failed_write_changes_nothing(tmp_path):
    """When filling, flushing or naming a file fails, the old bytes are there and no temporary file."""

    class Failing(Disk):
        def sync(self, _path):
            raise OSError(5, "Input/output error")

    path = tmp_path / "file"
    Disk().write(path, b"old")
    with pytest.raises(StorageError):
        Failing().write(path, b"new")
    with pytest.raises(StorageError):
        Disk().write(tmp_path / "none" / "file", b"new")
    assert [p.read_bytes() for p in tmp_path.iterdir()] == [b"old"]


def test_every_new_directory_is_flushed(tmp_path):
    """Each directory that is created is made durable in the one above it, and a failure leaves it uncreated."""
    synced = []

    class Watching(Disk):
        def sync_directory(self, path):
            synced.append(path)
            if path.name == "c":
                raise OSError(5, "Input/output error")

    Watching().make_directory(tmp_path / "a" / "b")
    assert synced == [tmp_path, tmp_path / "a"]
    with pytest.raises(StorageError):
        Watching().make_directory(tmp_path / "a" / "b" / "c" / "d")
    assert not (tmp_path / "a" / "b" / "c" / "d").exists()


def test_configuration_reads_back(tmp_path):
    """`backstory.toml` says what it was written with."""
    config = ArchiveConfig(origin="example.org/é ü", vkey="k")
    (tmp_path / "backstory.toml").write_bytes(config.encode())
    assert read_layout(tmp_path).config == config


@pytest.mark.parametrize(
    ("old", "new", "error"),
    [
        ("format = 1", "format = 2", UnsupportedVersionError),
        ("format = 1", "format = true", FormatError),
        ('"1"', '"../.."', FormatError),
        ('"1"', '".."', FormatError),
        ('"1"', "7", FormatError),
        ("vault", "walt", FormatError),
        ("=", "", FormatError),
        ('vault = "', 'vault = "' + "é" * 128, FormatError),
    ],
)
def test_other_configurations_are_refused(tmp_path, old, new, error):
    """A newer format, a path out of the archive, other members or other types are refused."""
    text = ArchiveConfig(origin="o", vkey="k").encode().decode()
    (tmp_path / "backstory.toml").write_text(text.replace(old, new, 1))
    with pytest.raises(error):
        read_layout(tmp_path)


def test_no_archive_is_not_found(tmp_path):
    """A directory without `backstory.toml` is no archive."""
    for root in (tmp_path, tmp_path / "none"):
        with pytest.raises(NotFoundError):
            read_layout(root)


@pytest.mark.parametrize("mode", [0o444, 0o600])
def test_a_file_that_will_be_read_only_can_be_filled(tmp_path, mode):
    """While a file is filled its owner may write to it, then it has the mode that was asked for."""

    def fill(path):
        assert path.stat().st_mode & stat.S_IWUSR
        path.write_bytes(b"data")

    Disk().write_with(tmp_path / "file", fill, mode=mode)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == mode
