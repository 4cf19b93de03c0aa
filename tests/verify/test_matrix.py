"""The tamper matrix: every class of file an archive has, changed in every way, is caught and named.

The files are those of an archive that has everything; one of a class that is not listed here fails the first test.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import re
import shutil
import sqlite3
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import pytest
from asn1crypto import tsp
from tests.support.authority import Authority

import backstory
from backstory.errors import BackstoryError
from backstory.ledger.merge import FILES_MIN, merge_all
from backstory.ledger.rotate import rotate_key
from backstory.storage.anchors import keep_cosigned, keep_stamp
from backstory.storage.disk import Disk
from backstory.storage.layout import read_layout
from backstory.tlog.checkpoint import parse_checkpoint
from backstory.tlog.cosignature import cosign
from backstory.tlog.key import KeyKind
from backstory.tlog.note import add_signatures, parse_note
from backstory.tlog.signer import Ed25519Signer
from backstory.verify.archive import verify_archive
from backstory.verify.finding import Finding

ACTIONS = ("flip", "delete", "swap", "truncate", "older")
FLIPS = 1
"""Bits of a file that are flipped: more in `test_tampering`. Of a class the first and the last file are changed."""
SEVERITIES = ("note", "unknown", "failed")
WITNESS = Ed25519Signer.from_seed("example.net/witness", bytes(range(32)), kind=KeyKind.COSIGNATURE)


@dataclass(frozen=True)
class Expected:
    """What changing a file of a class must lead to: the least severity of each action.

    Attributes:
        least: The least severity of any change.
        others: Of some actions another; None where nothing can be said, which `why` explains.
        place: How findings name the file: a format of `path`, `stem`, `folder`.
        why: Why an action is not noticed by the archive alone.
        needs_index: Whether a finding says which entry or records it is about.
    """

    least: str = "failed"
    others: dict[str, str | None] = field(default_factory=dict)
    place: str = "{path}"
    why: str = ""
    needs_index: bool = True


LOG = r"log/1/"
CLASSES = {
    r"backstory\.toml": Expected(needs_index=False),
    r"lock\.sqlite": Expected(needs_index=False),
    r"catalog\.sqlite": Expected(others={"delete": "note", "older": "note"}, needs_index=False),
    LOG + r"checkpoint": Expected(needs_index=False),
    LOG + r"writer": Expected(others=dict.fromkeys(ACTIONS), why="an empty file that is locked, not read"),
    LOG + r"tile/entries/\d{3}": Expected(),
    LOG + r"tile/entries/\d{3}\.p/\d+": Expected(others={"delete": None}, why="of an earlier size: may be dropped"),
    LOG + r"tile/\d/\d{3}": Expected(),
    LOG + r"tile/\d/\d{3}\.p/\d+": Expected(others={"delete": None}, why="of an earlier size: may be dropped"),
    LOG + r"rotations/\d+": Expected(place="entry {entry}"),
    LOG + r"anchors/\d+/(checkpoint|cosigned)": Expected(
        "unknown",
        others=dict.fromkeys(("delete", "swap", "older")),
        place="log/1/anchors",
        needs_index=False,
        why="either is a signed checkpoint of this size; that the cosigned one is gone is another test's",
    ),
    LOG + r"anchors/\d+/.+\.tsr": Expected("unknown", place="log/1/anchors", needs_index=False),
    r"segments/.+\.parquet": Expected(),
    r"blobs/sha256/[0-9a-f]{2}/[0-9a-f]{62}": Expected(others={"delete": "unknown"}, needs_index=False),
    r"vault/[0-9a-f]{32}-\d+-\d+\.shard": Expected(others={"delete": "unknown"}),
    r"vault/[0-9a-f]{64}\.shard": Expected(others={"delete": "unknown"}, place="{stem}", needs_index=False),
    r"vault/[0-9a-f]{32}-\d+-\d+\.people": Expected("note"),
    r"keys/[0-9a-f]{32}-\d+-\d+\.people\.json": Expected("note", place="{stem}"),
    r"keys/people\.json": Expected(
        others={"delete": None}, needs_index=False, why="without it an index is looked past"
    ),
    r"master/master-personal\.json": Expected("unknown", needs_index=False),
    r"vault/openings/[0-9a-f]{64}": Expected(others={"delete": "unknown"}),
    r"keys/[0-9a-f]{32}-\d+-\d+\.shard\.json": Expected(others={"delete": "unknown"}, place="{stem}"),
    r"keys/[0-9a-f]{64}\.shard\.json": Expected(others={"delete": "unknown"}, place="{stem}", needs_index=False),
    r"keys/(openings-[0-9a-f]{2}|datasets)\.json": Expected(others={"delete": "unknown"}, needs_index=False),
    r"keys/log-1\.json": Expected(others={"delete": "note"}, needs_index=False),
    r"keys/(promise-1|worker-spools)\.json": Expected(
        others={"delete": None}, needs_index=False, why="kept elsewhere: nothing here is opened with it"
    ),
    r"keys/spool-[0-9a-f]{32}\.json": Expected(place="spool/{stream}"),
    r"spool/[0-9a-f]{32}/stream\.json": Expected(place="spool/{stream}"),
    r"spool/[0-9a-f]{32}/frames-\d+": Expected("note", place="spool/{stream}"),
    r"spool/[0-9a-f]{32}/\d+\.arrow": Expected(place="spool/{stream}"),
    r"spool/[0-9a-f]{32}/writer": Expected(others=dict.fromkeys(ACTIONS), why="an empty file that is locked, not read"),
    r"promises/[0-9a-f]{32}(\.old)?": Expected(
        others=dict.fromkeys(("delete", "older", "truncate")),
        needs_index=False,
        why="holders keep theirs; the last line may be torn",
    ),
}


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """An archive with everything in it, an older copy of it, and its audit's options."""
    folder = tmp_path_factory.mktemp("matrix")
    root, spool = folder / "archive", folder / "worker"
    authority, policy = Authority(), folder / "policy"
    build(root, folder / "older", spool, authority)
    (folder / "authority.pem").write_bytes(authority.pem)
    policy.write_text(f"log {read_layout(root).config.vkey}\nwitness w {WITNESS.vkey}\nquorum w\n", "utf-8")
    for path in root.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o600 if path.parent.name == "master" else 0o644)
    options = {"spools": [spool], "workers": 1, "policy": policy, "tsa_roots": [folder / "authority.pem"]}
    return root, folder / "older", options


def build(root, older, spool, authority):
    """Make an archive in which every class of file is."""
    with contextlib.redirect_stdout(io.StringIO()):
        backstory.init(root, origin="example.org/matrix").close()
    people = pd.DataFrame({"name": [f"p{n}" for n in range(30)], "town": np.arange(30) % 3, "age": np.arange(30.0)})
    with backstory.open(root, actor="auditor", purpose="a test", sealer="none") as archive:
        ledger = archive._ledger
        archive.promises(delay=3600)
        archive.spool(spool)
        ledger.append([{"type": "test", "name": f"filler {n}"} for n in range(255)])
        shops = archive.source(pd.DataFrame({"shop": np.arange(20), "size": np.arange(20.0)}), "shops", key="shop")
        frame = archive.source(people, "people", subject="name", provable="subjects")
        towns = archive.group(frame, "town", name="towns", mean=("age", "mean"))
        features, rows = archive.split(frame.merge(towns, on="town"), ["age", "mean"])
        model = archive.register(fitted(features), name="m", rows=rows, target=people["age"], provable="subjects")
        sizes, shop_rows = archive.split(shops, ["size"])
        plain = archive.register(fitted(sizes), name="plain", rows=shop_rows, target=sizes["size"])
        prepare(archive, root.with_name("loads.csv"))
        archive.predict(model, features, rows=rows)
        archive.traced(len)("x" * 70_000)
        archive.flush()
        for _ in range(FILES_MIN):
            archive.predict(plain, sizes, rows=shop_rows)
            archive.flush()
        shutil.copytree(root, older)
        merge_all(ledger)
        rotate_key(ledger)
        archive.predict(model, features, rows=rows, subject="p3")
        archive.flush()
        anchor(ledger.layout, authority)
        with backstory.open(root, actor="somebody else", sealer="none") as other:  # than who registered it
            other.deployments.approve(model.digest, role="head of risk")
        archive.deployments.set("production", model)
        archive.data.prove(model, subject="p3")
        archive.predict(model, features, rows=rows).wait()
        many = pd.concat([sizes] * 500, ignore_index=True)
        archive.predict(plain, many).wait()
        shutil.copytree(root, root.with_name("left"))  # as a crash leaves it: with what is not sealed
    shutil.rmtree(root)
    root.with_name("left").rename(root)


def prepare(archive, path):
    """Let an archive know loads and clients: a contract, a step, windows, a feature set, rows by reference, runs."""

    @archive.step
    def large(frame):
        return frame[frame.kilos > 3]

    loads = pd.DataFrame({"van": np.arange(40) % 4, "day": np.arange(40), "kilos": np.arange(40) % 7 * 1.5})
    loads.to_csv(path, index=False)
    archive.contracts.set("loads", archive.contracts.infer(loads, "loads"))
    archive.features.define("load", [archive.features.feature("select kilos", name="kilos", owner="fleet")])
    clients = loads.assign(client=[f"c{number}" for number in loads.day])
    for name, frame in (
        ("loads", archive.source(path, "loads", keep="reference", as_frame="pandas")),
        ("clients", archive.source(clients, "clients", subject="client", contract=archive.contracts.get("loads"))),
        ("vans", archive.source(loads, "vans", provable="rows")),
    ):
        windows = archive.window(frame, by="van", time="day", name=f"last_{name}", rows=3, before=("kilos", "mean"))
        features, rows = archive.split(large(windows).dropna(), ["kilos", "before"])
        with archive.runs.start("nightly", {"depth": 3}) as run:
            run.rows(train=rows[:15], test=rows[15:])
            run.metrics(rmse=0.5)
            run.makes(archive.register(fitted(features), name=name, rows=rows, feature_set="load"))


def fitted(features):
    """Return a small model."""
    from sklearn.linear_model import LinearRegression

    return LinearRegression().fit(features, np.arange(len(features)))


def anchor(layout, authority):
    """Keep a cosigned checkpoint and a time stamp beside the log."""
    note = (layout.log / "checkpoint").read_bytes()
    text = parse_note(note).text
    keep_cosigned(layout, Disk(), add_signatures(note, [cosign(parse_checkpoint(text), WITNESS, 1_767_225_600)]))
    digest = hashlib.sha256(text.encode()).digest()
    imprint = {"hash_algorithm": {"algorithm": "sha256"}, "hashed_message": digest}
    request = tsp.TimeStampReq({"version": 1, "message_imprint": imprint, "nonce": 7, "cert_req": True})
    keep_stamp(layout, Disk(), note, authority.answer(request.dump()))


def files_of(root):
    """Return the files of an archive by class; those of no class under None."""
    found = {}
    for path in sorted(path for path in root.rglob("*") if path.is_file()):
        name = path.relative_to(root).as_posix()
        kinds = [kind for kind in CLASSES if re.fullmatch(kind, name)]
        found.setdefault(kinds[0] if len(kinds) == 1 else None, []).append(path)
    return found


def test_every_file_is_of_a_class_that_is_looked_at(archive):
    """A new class of file needs an expectation, and an expectation files."""
    assert set(files_of(archive[0])) == set(CLASSES)


def test_untouched_it_verifies(archive):
    """The archive as it is has no finding that is more than a note."""
    root, _, options = archive
    report = verify_archive(root, **options)
    assert [str(finding) for finding in report.findings if finding.severity != "note"] == []


def test_everything_is_in_it(archive):
    """Its log has an entry of each type that is about data, models and people, and its documents all they can have."""
    root, _, options = archive
    with backstory.open(root, mode="r", sealer="none") as opened:
        entries = [entry for _, entry in opened._ledger.log.entries(0, opened._ledger.log.checkpoint().size)]
    assert {
        "source.fixed", "group.recorded", "step.recorded", "model.registered", "features.defined", "contract.set",
        "run.recorded", "deployment.set", "model.approved", "membership.shown",
    } <= {entry["type"] for entry in entries}  # fmt: skip
    written = b"".join(path.read_bytes() for path in sorted((root / "blobs").rglob("*")) if path.is_file())
    for member in ("sealed_edges", "sealed_table", "row_set", "fitted", "features", "profile", "subjects", "sorted"):
        assert f'"{member}":'.encode() in written, member
    assert any(entry.get("kept") == "reference" for entry in entries)
    report = verify_archive(root, **options)
    assert [str(one) for one in report.findings if "nothing refers to it" in one.what] == []


TOGETHER = {
    "a blob": ("blobs/sha256/*/*", "flip", "failed"),
    "a blob cut short": ("blobs/sha256/*/*", "truncate", "failed"),
    "a table": ("vault/*.shard", "flip", "failed"),
    "a table that is gone": ("vault/*.shard", "delete", "unknown"),
    "a key": ("keys/*.shard.json", "truncate", "failed"),
    "a key that is gone": ("keys/*.shard.json", "delete", "unknown"),
}


@pytest.mark.parametrize("what", TOGETHER)
def test_each_of_many_changed_files_is_named(archive, what, tmp_path):
    """Where all files of a kind are changed at once, each is named: none is hidden by the kind of thing it is."""
    pattern, action, least = TOGETHER[what]
    root = shutil.copytree(archive[0], tmp_path / "archive")
    changed = [path for path in sorted(root.glob(pattern)) if path.is_file()]
    for path in changed:
        data = path.read_bytes()
        path.unlink()
        if action != "delete":
            path.write_bytes(data[: len(data) // 2] + (b"" if action == "truncate" else bytes([data[-1] ^ 1])))
    findings = [one for one in found_in(root, archive[2]) if SEVERITIES.index(one.severity) >= SEVERITIES.index(least)]
    for path in changed:
        of = next(CLASSES[kind] for kind in CLASSES if re.fullmatch(kind, path.relative_to(root).as_posix()))
        assert any(names(one, path, root, of) for one in findings), path.name


def content_of(path):
    """Return what a database says, or None if it cannot be read; of any other file its bytes."""
    if path.suffix != ".sqlite":
        return path.read_bytes()
    with (
        contextlib.suppress(sqlite3.DatabaseError, UnicodeDecodeError),
        contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection,
    ):
        names = [name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
        version = connection.execute("PRAGMA user_version").fetchall()
        return version, [connection.execute(f"SELECT * FROM {name}").fetchall() for name in sorted(names)]
    return None


def flips_of(path):
    """Yield the bytes of a file with one bit flipped, at places that say something: not in the gaps of a database."""
    data, before = path.read_bytes(), content_of(path)
    rng = np.random.default_rng(len(data))
    tried = 0
    while data and tried < FLIPS:
        at, bit = int(rng.integers(max(len(data) - 1, 1))), int(rng.integers(8))  # the last byte may be a torn line's
        changed = data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1 :]
        path.write_bytes(changed)
        if path.suffix != ".sqlite" or content_of(path) != before:
            tried += 1
            yield changed
    path.write_bytes(data)


def changes_of(path, root, older, siblings):
    """Yield the name of each action and the bytes it leaves, None for no file."""
    for changed in flips_of(path):
        yield "flip", changed
    yield "delete", None
    data = path.read_bytes()
    other = next((one for one in siblings if one != path and one.read_bytes() != data), root / "backstory.toml")
    if other.read_bytes() != data:
        yield "swap", other.read_bytes()
    if data:
        yield "truncate", data[: len(data) // 2]
    before = older / path.relative_to(root)
    if not before.exists():  # partial tiles and rotations have a path for each size, and so older versions elsewhere
        before = next((one for one in siblings if one != path), path)
    if before.read_bytes() != data:
        yield "older", before.read_bytes()


def names(finding, path, root, expected):
    """Say whether a finding names a file."""
    name = path.relative_to(root).as_posix()
    stream = next((part for part in re.findall("[0-9a-f]{32}", name)), "")
    stem = path.name.removesuffix(".json").removesuffix(".shard")
    place = expected.place.format(
        path=name, stem=stem, stream=stream, entry=int(path.name) - 1 if path.name.isdecimal() else ""
    )
    return place in str(finding)


def found_in(root, options):
    """Return what verification finds, or says why there is no archive to verify: one without its settings is none."""
    try:
        return verify_archive(root, **options).findings
    except BackstoryError as error:
        return (Finding(severity="failed", place="backstory.toml", what=str(error)),)


@pytest.mark.parametrize("kind", CLASSES)
def test_a_change_of_any_file_is_caught_and_named(archive, kind):
    """Whatever is done to a file of this class is found, at the least severity expected, with its index or seq."""
    root, older, options = archive
    expected, siblings = CLASSES[kind], files_of(root)[kind]
    assert bool(expected.why) == (None in expected.others.values())
    for path in siblings[:1] + siblings[1:][-1:]:
        data, mode = path.read_bytes(), path.stat().st_mode
        for action, changed in changes_of(path, root, older, siblings):
            least = expected.others.get(action, expected.least)
            if least is None:
                continue
            path.unlink() if changed is None else path.write_bytes(changed)
            findings = found_in(root, options)
            path.write_bytes(data)
            path.chmod(mode)  # a file of master keys that was made anew could be read by others
            bad = [one for one in findings if SEVERITIES.index(one.severity) >= SEVERITIES.index(least)]
            caught = [one for one in bad if names(one, path, root, expected)]
            told = [str(one) for one in findings]
            assert caught, (action, path, told)
            has_index = any(one.index is not None or one.seq is not None for one in caught)
            assert has_index or not expected.needs_index, (action, path, told)
