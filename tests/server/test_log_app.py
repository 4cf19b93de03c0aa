"""The log over HTTP: what C2SP tlog-tiles names is served, to clients that are not ours, and nothing else."""

from __future__ import annotations

import gzip
import http.client
from urllib.parse import urlsplit

import pytest
from aics_tlog import remote
from aics_tlog.checkpoint import checkpoint_from_note, verify_checkpoint
from aics_tlog.note import parse_vkey
from aics_tlog.verified import audit_tiles
from starlette.applications import Starlette
from starlette.routing import Mount
from tests.support.logs import DiskLog
from tests.support.loopback import serving

from backstory.server import log_app
from backstory.storage.anchors import keep_cosigned
from backstory.storage.disk import Disk
from backstory.tlog.cosignature import cosign
from backstory.tlog.key import KeyKind
from backstory.tlog.note import add_signatures
from backstory.tlog.signer import Ed25519Signer

SIZE = 700


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    """A log of three bundles."""
    return DiskLog(tmp_path_factory.mktemp("audit")).append(300).append(SIZE - 300)


@pytest.fixture(scope="module")
def url(log):
    """Where it is served."""
    with serving(log_app(log.root)) as url:
        yield url


def get(url, path, method="GET", **headers):
    """Send one request as it stands, without making its path nicer; return status, headers, body."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=10)
    connection.putrequest(method, urlsplit(url).path + path, skip_accept_encoding=True)
    for name, value in headers.items():
        connection.putheader(name.replace("_", "-"), value)
    connection.endheaders()
    response = connection.getresponse()
    body = response.read()
    connection.close()
    return response.status, response.headers, body


def test_checkpoint_is_the_published_one(log, url):
    """`/checkpoint` gives the signed note, as text that may be kept for seconds only."""
    status, headers, body = get(url, "/checkpoint")
    assert (status, body) == (200, log.note)
    assert headers["content-type"] == "text/plain; charset=utf-8"
    assert headers["cache-control"] == "public, max-age=2"


@pytest.mark.parametrize("path", ["tile/0/000", "tile/0/002.p/188", "tile/1/000.p/2"])
def test_tiles_are_the_files(log, url, path):
    """A tile's path gives the bytes of its file, which may be kept for ever."""
    status, headers, body = get(url, f"/{path}", accept_encoding="gzip")
    assert (status, body) == (200, (log.folder / path).read_bytes())
    assert headers["content-type"] == "application/octet-stream"
    assert "immutable" in headers["cache-control"]
    assert headers["content-encoding"] is None


@pytest.mark.parametrize(
    ("accepted", "is_packed"),
    [("gzip, identity", True), ("GZIP;q=0.5", True), ("identity", False), ("gzip;q=0, identity", False)],
)
def test_entries_are_packed_for_who_wants_it(log, url, accepted, is_packed):
    """Entries come gzipped to a client that says so, and as they are to others."""
    _, headers, body = get(url, "/tile/entries/001", accept_encoding=accepted)
    assert (headers["content-encoding"] == "gzip") is is_packed
    assert (gzip.decompress(body) if is_packed else body) == (log.folder / "tile/entries/001").read_bytes()


def test_head_gives_the_headers_alone(url):
    """HEAD answers as GET does, without the body."""
    status, headers, body = get(url, "/tile/0/000", "HEAD")
    assert (status, headers["content-length"], body) == (200, "8192", b"")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_other_methods_are_not_allowed(url, method):
    """Nothing can be done to a log but reading it."""
    status, headers, _ = get(url, "/checkpoint", method)
    assert (status, headers["allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "//checkpoint",
        "/checkpoint/",
        "/backstory.toml",
        "/writer",
        "/staged/1",
        "/anchors/1/cosigned",
        "/tile/0/0",
        "/tile/00/000",
        "/tile/0/000.p/256",
        "/tile/0/000.p/0",
        "/tile/0/x000/000",
        "/tile/0/../0/000",
        "/tile/entries/../../checkpoint",
        "/tile/%2e%2e/%2e%2e/backstory.toml",
        "/tile/0/000%00",
        "/tile/0/%D9%A0%D9%A0%D9%A0",
        "/tile/0/001.p/44",
        "/tile/0/009",
        "/tile/63/000",
    ],
)
def test_everything_else_is_not_found(url, path):
    """A path C2SP does not name, or whose tile is not or no longer there, is 404."""
    assert get(url, path)[0] == 404


def test_what_is_not_there_yet_is_not_remembered(url):
    """That a tile is missing may be another answer in a moment: a cache that kept it would hide the tile."""
    status, headers, _ = get(url, "/tile/0/000.p/9")
    assert (status, headers["cache-control"]) == (404, "no-store")


def test_tile_that_cannot_be_read_is_not_called_missing(log, tmp_path):
    """A client must not take a broken server for a log that lost a tile."""
    broken = DiskLog(tmp_path / "a").append(1)
    tile = broken.folder / "tile/0/000.p/1"
    tile.unlink()
    tile.mkdir()
    with serving(log_app(broken.root)) as url:
        assert get(url, "/tile/0/000.p/1")[0] == 503


@pytest.mark.parametrize("content", [None, b"nonsense"])
def test_checkpoint_that_cannot_be_read_is_not_called_missing(tmp_path, content):
    """Nor for one that never had a checkpoint."""
    broken = DiskLog(tmp_path / "a").append(1)
    (broken.folder / "checkpoint").unlink()
    if content is not None:
        (broken.folder / "checkpoint").write_bytes(content)
    with serving(log_app(broken.root)) as url:
        assert get(url, "/checkpoint")[0] == 503


def test_checkpoint_comes_with_its_cosignatures(tmp_path):
    """Where the newest checkpoint was cosigned, that is what is served; an older one's cosignatures are not."""
    log = DiskLog(tmp_path / "a").append(3)
    witness = Ed25519Signer.generate("witness.example.net/w1", kind=KeyKind.COSIGNATURE)
    cosigned = add_signatures(log.note, [cosign(log.checkpoint, witness, 1)])
    keep_cosigned(log.layout, Disk(), cosigned)
    with serving(log_app(log.root)) as url:
        assert get(url, "/checkpoint")[2] == cosigned
        log.append(1)
        assert get(url, "/checkpoint")[2] == log.note


def test_foreign_client_audits_over_http(log, url):
    """A client that others wrote reads checkpoint, tiles and gzipped entries, and accepts them all."""
    reader = remote.HttpTileReader(url, proxies={})
    checkpoint, note = checkpoint_from_note(reader.read_checkpoint())
    assert verify_checkpoint(note, parse_vkey(log.vkey), expected_origin="example.org/delays").ok
    report = audit_tiles(reader, checkpoint.size, checkpoint.root)
    assert (report.size, report.bundles) == (SIZE, 3)


def test_another_foreign_client_proves_over_http(log, url):
    """A second one computes the root and a consistency proof from our tiles."""
    backend = pytest.importorskip("tlog_scales.backend")
    reader_module = pytest.importorskip("tlog_scales.reader")
    reader = reader_module.TilesReader(backend.HttpBackend(url))
    assert reader.get_checkpoint().size == SIZE
    assert reader.calculate_root_hash() == log.checkpoint.root
    assert reader.get_entry(299) == b"entry-299"


def test_it_mounts_in_a_framework(log):
    """Mounted below a path of a Starlette (so also FastAPI) application, it serves the log there."""
    with serving(Starlette(routes=[Mount("/public/log", app=log_app(log.root))])) as url:
        assert get(url, "/public/log/checkpoint")[2] == log.note
        assert get(url, "/public/log/tile/0/001")[0] == 200
        assert get(url, "/public/log/backstory.toml")[0] == 404
