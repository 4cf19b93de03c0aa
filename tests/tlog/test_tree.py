"""Growing a log in tiles."""

from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.tlog.grown_log import RFC6962, GrownLog, numbered_entries, recursive_root

from backstory.errors import FormatError, InputError, LimitError, VerificationError
from backstory.tlog.hashing import EMPTY_ROOT, hash_leaf
from backstory.tlog.tile import parse_tile_path, tiles_at
from backstory.tlog.tree import grow, root_at


@cache
def _started(size):
    return GrownLog(numbered_entries(0, size))


def test_every_size_up_to_600_has_the_recursive_root():
    """A log grown entry by entry has the root of RFC 6962's recursion at every size from 0."""
    log = GrownLog()
    assert log.root == recursive_root([])
    for entry in numbered_entries(0, 600):
        log.append([entry])
        assert log.root == recursive_root(log.leaf_hashes)


@given(st.lists(st.integers(0, 400), max_size=6))
def test_batches_do_not_matter(counts):
    """After every batch, however many there were, a log has the root and the files of one grown at once."""
    log = GrownLog()
    for count in counts:
        log.append(numbered_entries(log.size, log.size + count))
        rebuilt = GrownLog(numbered_entries(0, log.size))
        assert log.root == rebuilt.root == recursive_root(log.leaf_hashes)
        assert rebuilt.files.items() <= log.files.items()


@given(st.lists(st.integers(1, 300), min_size=1, max_size=5))
def test_every_published_size_is_served(counts):
    """After growing on, every earlier size still has all its files and its root."""
    log = GrownLog()
    published = {}
    for count in counts:
        log.append(numbered_entries(log.size, log.size + count))
        published[log.size] = log.root
    for size, root in published.items():
        assert all(tile.path in log.files for tile in tiles_at(size))
        assert root_at(size, log.read_tile) == root


def test_growth_across_the_second_level():
    """Around 65,536 entries, where a second level begins, growing in steps gives the published roots."""
    log = GrownLog(numbered_entries(0, 65_500))
    for size in (65_535, 65_536, 65_537, 70_000):
        log.append(numbered_entries(log.size, size))
        assert log.root.hex() == RFC6962["large_tree"]["roots"][str(size)]
        assert root_at(size, log.read_tile) == log.root


def test_every_size_around_65536_has_the_recursive_root():
    """Grown entry by entry across 65,536, a log has the root of the recursion at every size, from its tiles too."""
    log = GrownLog(numbered_entries(0, 65_532))
    for size in range(65_533, 65_541):
        log.append(numbered_entries(size - 1, size))
        assert log.root == recursive_root(log.leaf_hashes) == root_at(size, log.read_tile)


@given(st.sampled_from([0, 250, 500, 65_400]), st.lists(st.integers(0, 300), min_size=1, max_size=6))
def test_no_path_is_given_other_bytes(start, counts):
    """Whatever batches follow each other, no path that was written is written again with other bytes."""
    log = GrownLog()
    log.size, log.files = start, dict(_started(start).files)
    written = {path: {data} for path, data in log.files.items()}
    for count in counts:
        growth = grow(log.size, numbered_entries(log.size, log.size + count), log.read_tile)
        for path, data in growth.files.items():
            written.setdefault(path, set()).add(data)
        log.files |= growth.files
        log.size = growth.size
    assert all(len(contents) == 1 for contents in written.values())


def test_growth_holds_only_what_is_new():
    """A growth writes no file that the log had before."""
    log = GrownLog(numbered_entries(0, 300))
    growth = grow(300, numbered_entries(300, 301), log.read_tile)
    assert set(growth.files) == {"tile/entries/001.p/45", "tile/0/001.p/45"}


def test_growth_by_nothing():
    """Appending no entries leaves size and root and writes nothing."""
    log = GrownLog(numbered_entries(0, 300))
    growth = grow(300, [], log.read_tile)
    assert (growth.size, growth.root, growth.files) == (300, log.root, {})


def test_empty_log_reads_no_tile():
    """A log without entries has the empty root and no files."""
    growth = grow(0, [], lambda _tile: pytest.fail("nothing to read"))
    assert (growth.size, growth.root, growth.files) == (0, EMPTY_ROOT, {})


@pytest.mark.parametrize("path", ["tile/entries/001.p/44", "tile/0/001.p/44"])
def test_damage_at_the_edge_is_not_carried_on(path):
    """A flipped byte in a kept entry or a kept leaf hash stops the growth."""
    log = GrownLog(numbered_entries(0, 300))
    data = bytearray(log.files[path])
    data[-1] ^= 1
    log.files[path] = bytes(data)
    with pytest.raises(VerificationError, match=parse_tile_path("tile/entries/001.p/44").path):
        grow(300, [b"next"], log.read_tile)


@pytest.mark.parametrize("path", ["tile/entries/001.p/44", "tile/0/001.p/44", "tile/1/000.p/1"])
def test_cut_file_at_the_edge_is_refused(path):
    """A partial file that lost its last byte stops the growth."""
    log = GrownLog(numbered_entries(0, 300))
    log.files[path] = log.files[path][:-1]
    with pytest.raises(FormatError):
        grow(300, numbered_entries(300, 600), log.read_tile)


def test_limits_of_growth():
    """No log is smaller than nothing or larger than 2**63 - 1, and no entry larger than 65,535 bytes."""
    log = GrownLog()
    with pytest.raises(LimitError):
        grow(2**63 - 1, [b"one more"], log.read_tile)
    with pytest.raises(LimitError):
        grow(0, [bytes(65_536)], log.read_tile)
    for call in (lambda: grow(-1, [b""], log.read_tile), lambda: root_at(-1, log.read_tile)):
        with pytest.raises(InputError):
            call()


def test_largest_root_reads_only_the_edge():
    """The root of a log of nearly 2**63 entries is computed from one tile a level."""
    read = []

    def read_tile(tile):
        read.append(tile)
        return hash_leaf(b"") * tile.width

    root_at(2**63 - 1, read_tile)
    assert len(read) == 8
