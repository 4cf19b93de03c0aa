"""Inclusion and consistency proofs: made and checked."""

from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.tlog.grown_log import RFC6962, GrownLog, numbered_entries, unhex

from backstory.errors import InputError, VerificationError
from backstory.tlog.hashing import EMPTY_ROOT, root_hash
from backstory.tlog.proof import (
    inclusion_proof,
    tile_consistency_proof,
    tile_inclusion_proof,
    verify_consistency,
    verify_inclusion,
)

INCLUSION = RFC6962["inclusion_proofs"]
CONSISTENCY = RFC6962["consistency_proofs"]
NEGATIVE = RFC6962["negative_cases"]
LARGE = RFC6962["large_tree"]
LEAF_INPUTS = unhex(RFC6962["leaf_inputs"])


@pytest.fixture(scope="module")
def large_log():
    """The log of 70,000 entries, grown so that every size the vectors name was published."""
    log = GrownLog()
    for size in sorted(int(size) for size in LARGE["roots"]):
        log.append(numbered_entries(log.size, size))
    return log


def _name(case):
    return "-".join(str(case[key]) for key in ("index", "old_size", "size", "new_size") if key in case)


@pytest.mark.parametrize("case", INCLUSION, ids=_name)
def test_inclusion_vectors(case):
    """Every inclusion proof of the small trees is made as published, from lists and from tiles, and holds."""
    log = GrownLog(LEAF_INPUTS[: case["size"]])
    proof = unhex(case["proof"])
    assert inclusion_proof(log.leaf_hashes, case["index"]) == proof
    assert tile_inclusion_proof(log.read_tile, case["index"], case["size"]) == proof
    leaf_hash, root = unhex([case["leaf_hash"], case["root"]])
    verify_inclusion(leaf_hash, case["index"], case["size"], proof, root)


@pytest.mark.parametrize("case", CONSISTENCY, ids=_name)
def test_consistency_vectors(case):
    """Every consistency proof of the small trees is made as published and holds."""
    log = GrownLog(LEAF_INPUTS[: case["new_size"]])
    proof = unhex(case["proof"])
    assert tile_consistency_proof(log.read_tile, case["old_size"], case["new_size"]) == proof
    old_root, root = unhex([case["old_root"], case["new_root"]])
    verify_consistency(case["old_size"], case["new_size"], old_root, root, proof)


@pytest.mark.parametrize("case", NEGATIVE, ids=lambda case: f"{case['kind']} {case['name']}")
def test_negative_vectors(case):
    """Every wrong proof of the vectors is refused."""
    proof = unhex(case["proof"])
    if case["kind"] == "inclusion":
        leaf_hash, root = unhex([case["leaf_hash"], case["root"]])
        check = partial(verify_inclusion, leaf_hash, case["index"], case["size"], proof, root)
    else:
        old_root, root = unhex([case["old_root"], case["new_root"]])
        check = partial(verify_consistency, case["old_size"], case["new_size"], old_root, root, proof)
    with pytest.raises(VerificationError):
        check()


@pytest.mark.parametrize("case", LARGE["inclusion_proofs"], ids=_name)
def test_large_inclusion_vectors(large_log, case):
    """Inclusion proofs across tile boundaries are made from tiles as published, and hold."""
    proof = unhex(case["proof"])
    assert tile_inclusion_proof(large_log.read_tile, case["index"], case["size"]) == proof
    assert inclusion_proof(large_log.leaf_hashes[: case["size"]], case["index"]) == proof
    root = bytes.fromhex(LARGE["roots"][str(case["size"])])
    verify_inclusion(bytes.fromhex(case["leaf_hash"]), case["index"], case["size"], proof, root)


@pytest.mark.parametrize("case", LARGE["consistency_proofs"], ids=_name)
def test_large_consistency_vectors(large_log, case):
    """Consistency proofs across tile boundaries are made from tiles as published, and hold."""
    proof = unhex(case["proof"])
    assert tile_consistency_proof(large_log.read_tile, case["old_size"], case["new_size"]) == proof
    old_root, root = unhex([LARGE["roots"][str(case[key])] for key in ("old_size", "new_size")])
    verify_consistency(case["old_size"], case["new_size"], old_root, root, proof)


@given(st.data())
def test_any_proof_from_tiles_holds(data):
    """For any two sizes of a log, inclusion and consistency made from tiles verify against roots of lists."""
    old_size = data.draw(st.integers(0, 600))
    size = data.draw(st.integers(max(old_size, 1), 700))
    index = data.draw(st.integers(0, size - 1))
    log = GrownLog(numbered_entries(0, size))
    proof = tile_inclusion_proof(log.read_tile, index, size)
    assert proof == inclusion_proof(log.leaf_hashes, index)
    verify_inclusion(log.leaf_hashes[index], index, size, proof, log.root)
    old_root = root_hash(log.leaf_hashes[:old_size])
    verify_consistency(old_size, size, old_root, log.root, tile_consistency_proof(log.read_tile, old_size, size))


@given(st.data())
def test_a_proof_holds_for_one_place_only(data):
    """A proof does not show its leaf at any other place of the tree."""
    size = data.draw(st.integers(2, 40))
    index, other = data.draw(st.lists(st.integers(0, size - 1), min_size=2, max_size=2, unique=True))
    log = GrownLog(numbered_entries(0, size))
    with pytest.raises(VerificationError):
        verify_inclusion(log.leaf_hashes[index], other, size, inclusion_proof(log.leaf_hashes, index), log.root)


def test_proofs_read_few_tiles(large_log):
    """A proof in 70,000 entries reads at most two tiles a level, each once."""
    read = []

    def read_tile(tile):
        read.append(tile)
        return large_log.read_tile(tile)

    tile_inclusion_proof(read_tile, 12_345, 70_000)
    assert len(read) == len(set(read)) <= 6


@pytest.mark.parametrize("size", [0, 1, 31, 33])
def test_hashes_of_another_size_are_refused(size):
    """No check accepts a hash that is not of 32 bytes, wherever it stands."""
    log = GrownLog(LEAF_INPUTS)
    proof = inclusion_proof(log.leaf_hashes, 5)
    wrong = bytes(size)
    for arguments in (
        (wrong, 5, 8, proof, log.root),
        (log.leaf_hashes[5], 5, 8, proof, wrong),
        (log.leaf_hashes[5], 5, 8, [wrong, *proof[1:]], log.root),
    ):
        with pytest.raises(VerificationError, match="32 bytes"):
            verify_inclusion(*arguments)
    for arguments in (
        (6, 8, wrong, log.root, proof),
        (6, 8, log.root, wrong, proof),
        (6, 8, log.root, log.root, [wrong]),
    ):
        with pytest.raises(VerificationError, match="32 bytes"):
            verify_consistency(*arguments)


def test_consistency_from_nothing_needs_the_empty_root():
    """From size 0 only the empty root and the empty proof are accepted."""
    log = GrownLog(LEAF_INPUTS)
    verify_consistency(0, 8, EMPTY_ROOT, log.root, [])
    verify_consistency(0, 0, EMPTY_ROOT, EMPTY_ROOT, [])
    assert tile_consistency_proof(log.read_tile, 0, 8) == []
    for arguments in (
        (0, 8, log.root, log.root, []),
        (0, 8, EMPTY_ROOT, log.root, [log.root]),
        (0, 0, log.root, log.root, []),
        (0, 0, EMPTY_ROOT, log.root, []),
    ):
        with pytest.raises(VerificationError):
            verify_consistency(*arguments)


def test_no_proof_has_64_hashes():
    """A proof of more than 63 hashes is refused before it is computed."""
    with pytest.raises(VerificationError, match="at most 63"):
        verify_inclusion(EMPTY_ROOT, 0, 2**63 - 1, [EMPTY_ROOT] * 64, EMPTY_ROOT)


@pytest.mark.parametrize(("index", "size"), [(-1, 8), (8, 8), (0, 0), (0, 2**63), (0, -1)])
def test_index_outside_the_tree_is_refused(index, size):
    """An index below 0 or not below the size, and a size over the limit, do not verify."""
    with pytest.raises(VerificationError):
        verify_inclusion(EMPTY_ROOT, index, size, [], EMPTY_ROOT)


@pytest.mark.parametrize(("old_size", "size"), [(-1, 8), (9, 8), (1, 2**63)])
def test_sizes_in_the_wrong_order_are_refused(old_size, size):
    """Consistency to a smaller tree, from below 0, or beyond the limit does not verify."""
    with pytest.raises(VerificationError):
        verify_consistency(old_size, size, EMPTY_ROOT, EMPTY_ROOT, [EMPTY_ROOT])


def test_impossible_proofs_cannot_be_asked_for():
    """Asking for a proof of a leaf or between sizes that do not exist is the caller's mistake."""
    log = GrownLog(LEAF_INPUTS)
    for call in (
        lambda: inclusion_proof(log.leaf_hashes, 8),
        lambda: inclusion_proof(log.leaf_hashes, -1),
        lambda: tile_inclusion_proof(log.read_tile, 8, 8),
        lambda: tile_inclusion_proof(log.read_tile, 0, 2**63),
        lambda: tile_consistency_proof(log.read_tile, 9, 8),
        lambda: tile_consistency_proof(log.read_tile, -1, 8),
    ):
        with pytest.raises(InputError):
            call()
