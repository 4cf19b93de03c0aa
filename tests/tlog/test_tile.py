"""Tile paths, tiles and entry bundles."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.tlog.grown_log import C2SP, RFC6962, GrownLog, digest, numbered_entries

from backstory.errors import FormatError, InputError, LimitError
from backstory.tlog.tile import (
    TILE_WIDTH,
    TilePath,
    decode_bundle,
    decode_tile,
    encode_bundle,
    parse_tile_path,
    tile_at,
    tiles_at,
)


@pytest.fixture(scope="module")
def log_70000():
    """The log of 70,000 entries, grown at once."""
    return GrownLog(numbered_entries(0, 70_000))


@pytest.mark.parametrize(("index", "text"), RFC6962["tile_index_encoding"].items())
def test_tile_index_encoding(index, text):
    """Tile indexes are written in groups of three digits as the vectors write them, and read back."""
    tile = TilePath(level=0, index=int(index), width=TILE_WIDTH)
    assert tile.path == f"tile/0/{text}"
    assert parse_tile_path(tile.path) == tile


@pytest.mark.parametrize(("path", "expected"), RFC6962["large_tree"]["tiles_at_size_70000"].items())
def test_tiles_of_the_large_log(log_70000, path, expected):
    """The tiles of the 70,000 entry log have the published bytes."""
    assert parse_tile_path(path).width == expected["width"]
    assert len(log_70000.files[path]) == expected["bytes"]
    assert digest(log_70000.files[path]) == expected["sha256"]


def test_entry_bundle_of_the_large_log(log_70000):
    """The first entry bundle has the published bytes."""
    expected = RFC6962["large_tree"]["entry_bundle_0"]
    data = log_70000.files[expected["path"]]
    assert (len(data), digest(data)) == (expected["bytes"], expected["sha256"])
    assert data[:24].hex() == expected["first_24_bytes"]


def test_files_of_the_log_of_300_entries():
    """A log of 300 entries has the published files and no others."""
    expected = {path: tuple(value) for path, value in C2SP["log_300_files"].items() if path != "checkpoint"}
    files = GrownLog(numbered_entries(0, 300)).files
    assert {path: (len(data), digest(data)) for path, data in files.items()} == expected
    assert {tile.path for tile in tiles_at(300)} == set(expected)


@pytest.mark.parametrize("size", [0, 1, 255, 256, 257, 512, 65_535, 65_536, 70_000])
def test_tiles_at_are_what_one_growth_writes(size, log_70000):
    """The files a log must serve are those that growing it at once to that size writes."""
    log = log_70000 if size == log_70000.size else GrownLog(numbered_entries(0, size))
    listed = [tile.path for tile in tiles_at(size)]
    assert len(listed) == len(set(listed))
    assert set(listed) == set(log.files)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "tile/0/0",
        "tile/0/00",
        "tile/0/0000",
        "tile/00/000",
        "tile/64/000",
        "tile/-1/000",
        "tile/+1/000",
        "tile/entry/000",
        "tile/0/x000/001",
        "tile/0/001/000",
        "tile/0/x001",
        "tile/0/x001/x000",
        "tile/0/000.p/0",
        "tile/0/000.p/00",
        "tile/0/000.p/044",
        "tile/0/000.p/256",
        "tile/0/000.p/999",
        "tile/0/000.p/",
        "tile/0/000.p",
        "tile/0/000/",
        "/tile/0/000",
        "tile/0/000\n",
        "tile/0/\u0660\u0660\u0660",
        "tile/\u0661/000",
        "tile/0/../0/000",
        "tile/0/x009/x223/x372/x036/x854/x775/808",
    ],
)
def test_paths_of_another_form_are_refused(text):
    """A tile has one path; every other spelling is refused."""
    with pytest.raises(FormatError):
        parse_tile_path(text)


@given(
    st.one_of(st.none(), st.integers(0, 63)),
    st.integers(0, 2**63 - 1),
    st.integers(1, 256),
)
def test_paths_round_trip(level, index, width):
    """Every tile is found again from its path."""
    tile = TilePath(level=level, index=index, width=width)
    assert parse_tile_path(tile.path) == tile


@given(st.text(alphabet="tilenrs/x.p0123456789", max_size=30))
def test_path_parser_accepts_only_what_it_writes(text):
    """Whatever parses is written back the same."""
    try:
        tile = parse_tile_path(text)
    except FormatError:
        return
    assert tile.path == text


def test_no_tile_outside_the_log():
    """Naming a tile that a log of a size does not have is the caller's mistake."""
    for level, index in ((0, 2), (1, 1), (2, 0), (None, 2), (0, -1)):
        with pytest.raises(InputError):
            tile_at(300, level, index)


@pytest.mark.parametrize("size", [0, 31, 33, 63, 65, 8192])
def test_tile_of_another_size_is_refused(size):
    """A tile holds exactly as many bytes as its width says."""
    with pytest.raises(FormatError):
        decode_tile(bytes(size), 2)


@given(st.lists(st.binary(max_size=300), max_size=256))
def test_bundles_round_trip(entries):
    """Entries come back from a bundle as they went in."""
    assert decode_bundle(encode_bundle(entries), len(entries)) == entries


def test_bundle_example():
    """A bundle writes each entry after its length in two big-endian bytes."""
    assert encode_bundle(numbered_entries(0, 2)).hex() == "0007656e7472792d300007656e7472792d31"


@pytest.mark.parametrize(
    "data",
    [b"", b"\x00", b"\x00\x01", b"\x00\x02a", b"\x00\x01a\x00", b"\x00\x01a\x00\x01", b"\x00\x01a\x00\x01b\x00"],
)
def test_malformed_bundles_are_refused(data):
    """A bundle that ends early or late is refused."""
    with pytest.raises(FormatError):
        decode_bundle(data, 2)


def test_bundle_with_more_entries_is_refused():
    """A bundle may not go on after the entries its path promises."""
    with pytest.raises(FormatError):
        decode_bundle(encode_bundle([b"a", b"b", b""]), 2)


def test_entries_up_to_the_limit_fit():
    """An entry has at most 65,535 bytes, a bundle at most 256 entries."""
    largest = bytes(65_535)
    assert decode_bundle(encode_bundle([largest]), 1) == [largest]
    with pytest.raises(LimitError):
        encode_bundle([largest + b"x"])
    with pytest.raises(LimitError):
        encode_bundle([b""] * 257)
