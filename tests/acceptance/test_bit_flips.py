"""One bit changed anywhere in an archive is found by `verify`, or changes no answer.

Only what is losable may change unseen: the catalog, from which nothing is believed that the log does not confirm, and
what SQLite keeps beside the values in `lock.sqlite`.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.archives import ORIGIN, files_of, fitted, loans

import backstory
from backstory.archive import Archive
from backstory.errors import BackstoryError

FLIPS_PER_CLASS = 4
CLASSES = {
    "config": "backstory.toml",
    "lock": "lock.sqlite",
    "catalog": "catalog.sqlite",
    "checkpoint": "log/*/checkpoint",
    "tile": "log/*/tile/0/**/*",
    "entries": "log/*/tile/entries/**/*",
    "segment": "segments/*.parquet",
    "blob": "blobs/**/*",
    "shard": "vault/*.shard",
    "opening": "vault/openings/*",
    "key": "keys/**/*.json",
    "master": "master/*",
}
HARMLESS = {"catalog", "lock"}
"""Classes where a flip may be in bytes that carry nothing; then every answer must be as before."""
KEPT_FROM_VERIFICATION = {"opening", "key", "master"}
"""Erasable: a verification does not depend on them. What is opened with one is checked when it is opened."""


@pytest.fixture(scope="module")
def whole_archive(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str], str]:
    """A closed archive with everything in it, its answers, and its key."""
    path = tmp_path_factory.mktemp("flips") / "audit"
    with backstory.init(path, origin=ORIGIN) as archive:
        frame = archive.source(loans(), "loans", key="loan")
        groups = archive.group(frame, "years", name="term", term_mean=("amount", "mean"))
        features, rows = archive.split(frame.merge(groups, on="years"), ["amount", "years"])
        version = archive.register(
            fitted(loans()), name="credit", rows=rows, target=loans()["paid"], alias="production"
        )
        archive.predict(version, features, rows=rows, decision=backstory.Threshold(1)).wait("sealed")
        people = archive.source(loans(20).assign(person="P"), "people", subject="person")
        features, rows = archive.split(people, ["amount", "years"])
        name = archive.predict(version, features, rows=rows).wait("sealed").ids[0]
        archive.outcome(name, 1)
        vkey = archive.vkey
    with backstory.open(path, actor="me", purpose="test") as archive:
        archive.why(name)
    with backstory.open(path, mode="r", vkey=vkey) as archive:
        assert not archive.verify(workers=1).findings
        return path, _answers(archive), vkey


def _answers(archive: Archive) -> dict[str, str]:
    """Return what the archive says about everything in it."""
    found = archive.search("true")
    answers = {name: str(archive.why(name)) for name in found["id"][::25]}
    impact = archive.impact("loans", rows=[3])
    return {**answers, "search": found.to_csv(), "impact": str(impact.predictions), "models": str(impact.models)}


def _places(path: Path, kind: str) -> Iterator[tuple[Path, int]]:
    """Yield files and bit positions in them, drawn with a fixed seed."""
    draw = random.Random(kind)
    files = sorted(file for file in path.glob(CLASSES[kind]) if file.is_file())
    assert files, kind
    for _ in range(FLIPS_PER_CLASS):
        file = draw.choice(files)
        yield file, draw.randrange(file.stat().st_size * 8)


def _flip(file: Path, bit: int) -> None:
    file.chmod(0o644)
    data = bytearray(file.read_bytes())
    data[bit // 8] ^= 1 << (bit % 8)
    file.write_bytes(data)


def _is_caught(path: Path, vkey: str) -> bool:
    """Say whether verification finds something, or the archive does not even open."""
    try:
        with backstory.open(path, mode="r", vkey=vkey) as archive:
            return bool(archive.verify(check=False, workers=1).failed)
    except BackstoryError:
        return True


def test_every_file_is_of_a_class_that_is_flipped(whole_archive: tuple[Path, dict[str, str], str]):
    """No kind of file is left out; lock files without bytes have none to flip."""
    path, _, _ = whole_archive
    flipped = {file for pattern in CLASSES.values() for file in path.glob(pattern)}
    left = [file for file in files_of(path) if file not in flipped and file.stat().st_size]
    assert left == []


@pytest.mark.parametrize("kind", sorted(set(CLASSES) - KEPT_FROM_VERIFICATION))
def test_a_flipped_bit_is_found(kind: str, whole_archive: tuple[Path, dict[str, str], str], tmp_path: Path):
    """By verification; or, in what can be rebuilt, the answers are the same as before."""
    original, answers, vkey = whole_archive
    path = tmp_path / "audit"
    shutil.copytree(original, path)
    missed = []
    for file, bit in _places(path, kind):
        before = file.read_bytes()
        kept = path / "catalog.sqlite"
        catalog = kept.read_bytes()
        _flip(file, bit)
        if not _is_caught(path, vkey):
            same = False
            if kind in HARMLESS:
                with backstory.open(path, mode="r", vkey=vkey) as archive:
                    same = _answers(archive) == answers
            if not same:
                missed.append((str(file.relative_to(path)), bit))
        file.write_bytes(before)
        kept.write_bytes(catalog)
    assert missed == []


def test_a_damaged_catalog_is_rebuilt_to_the_same_answers(
    whole_archive: tuple[Path, dict[str, str], str], tmp_path: Path
):
    """Whatever a flip did to it, after `reindex` every answer is as before."""
    original, answers, vkey = whole_archive
    path = shutil.copytree(original, tmp_path / "audit")
    for file, bit in _places(path, "catalog"):
        before = file.read_bytes()
        _flip(file, bit)
        with backstory.open(path, vkey=vkey) as archive:
            archive.reindex()
            assert _answers(archive) == answers
            assert not archive.verify(workers=1).failed
        file.write_bytes(before)


@pytest.mark.parametrize("kind", sorted(KEPT_FROM_VERIFICATION))
def test_a_flipped_key_or_opening_gives_no_other_values(
    kind: str, whole_archive: tuple[Path, dict[str, str], str], tmp_path: Path
):
    """What such a flip can do is deny an answer, never change one."""
    original, answers, vkey = whole_archive
    path = shutil.copytree(original, tmp_path / "audit")
    for file, bit in _places(path, kind):
        before = file.read_bytes()
        _flip(file, bit)
        with backstory.open(path, mode="r", vkey=vkey) as archive:
            assert _answers(archive) == answers
        file.write_bytes(before)
