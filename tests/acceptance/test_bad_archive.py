"""Archives that are not there, not ours, not writable or not whole: each is refused by name, and nothing is lost."""

from __future__ import annotations

import errno
import functools
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.support.archives import ORIGIN, fitted, loans

import backstory
from backstory.errors import (
    BackstoryError,
    ConflictError,
    ForbiddenError,
    InputError,
    NotFoundError,
    StorageError,
    UnsupportedVersionError,
    VerificationError,
)
from backstory.storage.disk import Disk
from backstory.storage.world import World
from backstory.verify.archive import verify_archive

Kept = tuple[Path, tuple[str, ...], str]


# --- opening ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prepare", [lambda _: None, Path.mkdir, lambda path: path.write_text("no archive")])
def test_what_is_no_archive_is_not_found(prepare: Callable[[Path], object], tmp_path: Path):
    """Nothing there, an empty directory, a file."""
    prepare(tmp_path / "here")
    with pytest.raises(NotFoundError, match="here"):
        backstory.open(tmp_path / "here")


@pytest.mark.parametrize("question", ["open", "open for reading", "verify"])
def test_a_newer_format_is_refused(question: str, kept: Kept):
    """A reader that meets a higher number does not guess."""
    path, _, _ = kept
    config = path / "backstory.toml"
    config.write_text(re.sub(r"format = 1\b", "format = 2", config.read_text()))
    ask = {
        "open": backstory.open,
        "open for reading": functools.partial(backstory.open, mode="r"),
        "verify": verify_archive,
    }
    with pytest.raises(UnsupportedVersionError, match="2"):
        ask[question](path)


@pytest.mark.parametrize("there", ["an archive", "another file"])
def test_init_never_overwrites(there: str, tmp_path: Path):
    """What is there stays as it is."""
    path = tmp_path / "audit"
    if there == "an archive":
        backstory.init(path, origin=ORIGIN).close()
    else:
        path.mkdir()
        (path / "notes.txt").write_text("mine")
    before = {file: file.read_bytes() for file in path.rglob("*") if file.is_file()}
    with pytest.raises(ConflictError, match="audit"):
        backstory.init(path, origin=ORIGIN)
    assert {file: file.read_bytes() for file in path.rglob("*") if file.is_file()} == before


@pytest.mark.parametrize("origin", ["", "two words", "line\nbreak", "plus+sign"])
def test_an_unusable_origin_is_refused(origin: str, tmp_path: Path):
    """The origin is the name of a key in signed notes, and nothing is made for a bad one."""
    with pytest.raises(InputError):
        backstory.init(tmp_path / "audit", origin=origin)
    assert not (tmp_path / "audit").exists()


def test_an_unknown_mode_is_refused(kept: Kept):
    """Only r and rw."""
    with pytest.raises(InputError, match="'w'"):
        backstory.open(kept[0], mode="w")  # type: ignore[arg-type]


# --- keys -------------------------------------------------------------------------------------------------------------


def _swap_key(path: Path, tmp_path: Path) -> None:
    """Do what a forger does: build another log with another key, and put both in the place of the archive's."""
    with backstory.init(tmp_path / "forged", origin=ORIGIN) as forged:
        frame = forged.source(loans(), "loans")
        features, rows = forged.split(frame, ["amount", "years"])
        version = forged.register(lambda table: np.ones(len(table)), name="credit", rows=rows)
        forged.predict(version, features, rows=rows, method="__call__")
    shutil.rmtree(path)
    shutil.copytree(tmp_path / "forged", path)


def test_a_swapped_key_is_refused_where_the_key_is_pinned(kept: Kept, tmp_path: Path):
    """Opening and verifying with the pinned key both refuse."""
    path, _, vkey = kept
    _swap_key(path, tmp_path)
    with pytest.raises(VerificationError, match="key"):
        backstory.open(path, vkey=vkey)
    assert verify_archive(path, vkey=vkey, workers=1).failed


def test_a_swapped_key_without_pinning_is_said_not_to_be_authenticated(kept: Kept, tmp_path: Path):
    """Such an archive is consistent in itself, and the report says that this is all it shows."""
    path, _, _ = kept
    _swap_key(path, tmp_path)
    with backstory.open(path, mode="r") as archive:
        report = archive.verify(workers=1)
        assert not report.failed
        assert not report.authenticated
        assert "not authenticated" in str(report)
        name = archive.search("true")["id"][0]
        assert "not authenticated" in archive.why(name).proof["key"]


def test_a_pinned_key_authenticates(kept: Kept):
    """With the key `init` printed the report says so."""
    path, _, vkey = kept
    with backstory.open(path, mode="r", vkey=vkey) as archive:
        assert archive.verify(workers=1).authenticated


def test_a_key_changed_in_the_config_alone_is_found(kept: Kept, tmp_path: Path):
    """The log's first entry and its checkpoint know better."""
    path, _, vkey = kept
    other = backstory.init(tmp_path / "other", origin=ORIGIN)
    other.close()
    config = path / "backstory.toml"
    config.write_text(config.read_text().replace(vkey, other.vkey))
    with pytest.raises(VerificationError):
        backstory.open(path)


# --- disks ------------------------------------------------------------------------------------------------------------


class _FullDisk(Disk):
    """A disk that takes no more files once `full` is set."""

    full = False

    def write_with(
        self, path: Path, fill: Callable[[Path], object], *, mode: int = 0o644, replace: bool = True
    ) -> None:
        if self.full:
            raise StorageError(f"writing {path.name}: {os.strerror(errno.ENOSPC)}", errno=errno.ENOSPC)
        super().write_with(path, fill, mode=mode, replace=replace)


@pytest.mark.parametrize("rows", [3, 40_000])
def test_a_disk_that_is_full_while_sealing_loses_nothing(rows: int, tmp_path: Path):
    """The seal fails with an error that says so; with room again everything is sealed, once."""
    disk = _FullDisk()
    features = loans(rows)[["amount", "years"]]
    with backstory.init(tmp_path / "audit", origin=ORIGIN, world=World(disk=disk)) as archive:
        version = archive.register(lambda table: np.ones(len(table)), name="one")
        ids = list(archive.predict(version, features, method="__call__").wait("durable").ids)
        disk.full = True
        with pytest.raises(StorageError, match="No space left"):
            archive.flush()
        assert archive.why(ids[0]).proof["state"] == "unsealed"
        disk.full = False
        archive.flush()
        assert archive.search("true")["id"].tolist() == ids
        assert archive.why(ids[0]).proof["state"] == "sealed"
        assert not archive.verify(workers=1).failed


def test_a_full_disk_gives_out_no_prediction(tmp_path: Path):
    """What could not be recorded is not given out, and what was recorded before is still there."""
    disk = _FullDisk()
    with backstory.init(tmp_path / "audit", origin=ORIGIN, world=World(disk=disk)) as archive:
        version = archive.register(lambda table: np.ones(len(table)), name="one")
        features = loans(50_000)[["amount", "years"]]
        ids = list(archive.predict(version, features.head(5), method="__call__").ids)
        disk.full = True
        with pytest.raises(StorageError):
            archive.predict(version, features, method="__call__")
        disk.full = False
        archive.predict(version, features.head(2), method="__call__")
        archive.flush()
        found = archive.search("true")["id"].tolist()
        assert found[:5] == ids
        assert len(found) == 7
        assert not archive.verify(workers=1).failed


# --- reading only -----------------------------------------------------------------------------------------------------


@pytest.fixture
def read_only(kept: Kept) -> Any:
    """An archive whose files nobody may write; root may all the same, so that only `mode` protects them."""
    path, ids, vkey = kept
    for file in sorted(path.rglob("*"), reverse=True):
        file.chmod(0o555 if file.is_dir() else 0o444)
    path.chmod(0o555)
    before = {file: (file.stat().st_mtime_ns, file.read_bytes()) for file in path.rglob("*") if file.is_file()}
    yield path, ids, vkey
    after = {file: (file.stat().st_mtime_ns, file.read_bytes()) for file in path.rglob("*") if file.is_file()}
    assert after == before
    for file in [path, *path.rglob("*")]:
        if file.is_dir():
            file.chmod(0o755)


def test_a_read_only_archive_answers_every_question(read_only: Kept):
    """Nothing in it is touched meanwhile."""
    path, ids, vkey = read_only
    with backstory.open(path, mode="r", vkey=vkey) as archive:
        assert archive.why(ids[3]).proof["state"] == "sealed"
        assert archive.replay(ids[3]).verdict == "exact"
        assert archive.impact("loans", rows=[3]).counts["predictions"] >= 1
        assert len(archive.search("true")) == len(ids)
        assert not archive.verify(workers=1).failed
        assert backstory.verify_receipt(archive.receipt(ids[3]).data, vkey=vkey)


WRITES = [
    pytest.param(lambda archive, _: archive.predict("credit", loans()[["amount", "years"]]), id="predict"),
    pytest.param(lambda archive, _: archive.model("credit").predict(loans()[["amount", "years"]]), id="model"),
    pytest.param(lambda archive, _: archive.traced(len)([1]), id="traced"),
    pytest.param(lambda archive, name: archive.outcome(name, 1.0), id="outcome"),
    pytest.param(lambda archive, _: archive.alias("credit", "other"), id="alias"),
    pytest.param(lambda archive, _: archive.register(len, name="length"), id="register"),
    pytest.param(lambda archive, _: archive.reindex(), id="reindex"),
]


def test_reading_makes_no_catalog(kept: Kept):
    """An archive that lost its catalog answers from its log, and stays as it is."""
    path, ids, _ = kept
    (path / "catalog.sqlite").unlink()
    with backstory.open(path, mode="r") as archive:
        assert archive.why(ids[0]).proof["state"] == "sealed"
    assert not (path / "catalog.sqlite").exists()


@pytest.mark.parametrize("write", WRITES)
def test_writing_into_a_read_only_archive_is_forbidden(write: Callable[..., object], read_only: Kept):
    """Whatever records is refused before anything is written."""
    path, ids, _ = read_only
    with backstory.open(path, mode="r") as archive, pytest.raises(ForbiddenError):
        write(archive, ids[0])


def test_closing_again_does_nothing(tmp_path: Path):
    """An archive may be closed inside its `with`, and as often as one likes."""
    with backstory.init(tmp_path / "audit", origin=ORIGIN) as archive:
        archive.predict(archive.register(fitted(loans()), name="credit"), loans()[["amount", "years"]])
        archive.close()
    archive.close()
    with backstory.open(tmp_path / "audit", mode="r") as archive:
        assert archive.reconcile(count=40).difference == 0


def test_a_closed_archive_records_nothing(tmp_path: Path):
    """Predicting after `close` is refused."""
    archive = backstory.init(tmp_path / "audit", origin=ORIGIN)
    version = archive.register(lambda table: np.ones(len(table)), name="one")
    archive.close()
    with pytest.raises(BackstoryError):
        archive.predict(version, loans()[["amount"]], method="__call__")
