"""Proofs of membership, made by an operator who has every key: honest ones verify, and no other shows an absence."""

from __future__ import annotations

import functools
import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.memberships import (
    KEY,
    OTHER_KEY,
    honest_claim,
    leaf_at,
    model_document,
    open_document,
    personal_document,
    proof_of,
    row_of,
    tag_of,
    write,
)
from tests.support.receipts import SIGNER, Log, make_segment, one_file

from backstory.columns.vrf import VrfKey
from backstory.errors import BackstoryError, FormatError, InputError, UnsupportedVersionError, VerificationError
from backstory.records import canonical
from backstory.records.membership import subject_message, tree_context
from backstory.tlog.hashing import hash_leaf, root_hash
from backstory.tlog.signer import Ed25519Signer
from backstory.tlog.vrf import verify_vrf
from backstory.verify import membership
from backstory.verify.membership import verify_membership
from backstory.verify.membership_file import AskedSubject, encode_membership

PEOPLE = [f"c-{number:02}" for number in range(12)]


def checked(data):
    """Return what our verifier makes of a file."""
    return verify_membership(data, vkey=SIGNER.vkey)


def refused(data):
    """Say whether a file does not verify."""
    try:
        checked(data)
    except VerificationError:
        return True
    return False


@pytest.fixture(scope="module")
def people():
    """Return the document of a dataset about people with its sorted tags."""
    document = personal_document(PEOPLE)
    return document, sorted(tag_of(document, one) for one in PEOPLE)


@pytest.fixture(scope="module")
def victim(people):
    """Return a person whose tag is neither the first nor the last, with the index of the tag."""
    document, tags = people
    one = next(one for one in PEOPLE if 1 < tags.index(tag_of(document, one)) < len(tags) - 2)
    return one, tags.index(tag_of(document, one))


def forged(people, victim, numbers, **changes):
    """Write a claim that the victim is absent, with the leaves of some numbers."""
    document, tags = people
    hashes = [hash_leaf(tag) for tag in tags]
    claim = honest_claim(document, victim[0], PEOPLE)
    leaves = tuple(leaf_at(tags, hashes, number) for number in numbers)
    return write(claim, **{"present": False, "leaves": leaves} | changes)


@pytest.mark.parametrize("document_of", [personal_document, model_document])
@pytest.mark.parametrize("count", [0, 1, 2, 3, 5])
def test_everybody_is_shown_as_they_are(document_of, count):
    """In trees of any size those who are there are shown present, others absent: before, between and behind them."""
    document, shown = document_of(PEOPLE[:count]), {}
    for one in [*PEOPLE[:count], *PEOPLE[-4:]]:
        proven = checked(encode_membership(honest_claim(document, one, PEOPLE[:count])))
        shown[one] = proven.present
        assert (proven.subject, proven.count, proven.row) == (one, count, None)
        assert proven.kind == ("model" if "training" in document else "dataset")
    assert shown == {one: one in PEOPLE[:count] for one in [*PEOPLE[:count], *PEOPLE[-4:]]}


@given(st.lists(st.integers(0, 9), max_size=9), st.integers(0, 9))
@settings(max_examples=60)
def test_rows_are_shown_as_they_are(numbers, asked):
    """A row is present exactly where the dataset has it, however often; the proof says which values."""
    document, rows = open_document(map(row_of, numbers)), [row_of(number) for number in numbers]
    proven = checked(encode_membership(honest_claim(document, row_of(asked), rows)))
    assert proven.present == (asked in numbers)
    assert proven.row == {"n": asked, "t": f"row {asked}"}


@pytest.mark.parametrize("name", ["row", "person"])
def test_each_changed_byte_is_refused(name, monkeypatch):
    """A file has one form: no byte of it can be changed."""
    monkeypatch.setattr(membership, "verify_vrf", functools.cache(verify_vrf))  # most changes are not in its proof
    data = encode_membership(
        honest_claim(open_document([row_of(1)]), row_of(3), [row_of(1)])
        if name == "row"
        else honest_claim(personal_document(PEOPLE[:2]), "nobody", PEOPLE[:2])
    )
    accepted = []
    for at in range(len(data)):
        changed = data[:at] + bytes([data[at] ^ (1, 2, 4, 8, 16, 32)[at % 6]]) + data[at + 1 :]
        try:
            checked(changed)
        except (VerificationError, FormatError, UnsupportedVersionError):
            continue
        accepted.append(at)
    assert accepted == []


def test_neighbours_that_leave_somebody_out(people, victim):
    """Two leaves that are not next to each other show nothing."""
    assert refused(forged(people, victim, [victim[1] - 1, victim[1] + 1]))


def test_a_leaf_with_a_wrong_number(people, victim):
    """A leaf under the number of another is not in the tree."""
    _, tags = people
    hashes = [hash_leaf(tag) for tag in tags]
    before = leaf_at(tags, hashes, victim[1] - 1)
    after = replace(leaf_at(tags, hashes, victim[1] + 1), index=victim[1])
    assert refused(forged(people, victim, [], leaves=(before, after)))


def test_neighbours_on_one_side(people, victim):
    """Neighbours that are both smaller, or both larger, or one of which is the person, show nothing."""
    at = victim[1]
    for numbers in ([at - 2, at - 1], [at + 1, at + 2], [at - 1, at], [at, at + 1], [at + 1, at], [at - 1, at - 1]):
        assert refused(forged(people, victim, numbers)), numbers


def test_an_end_that_is_none(people, victim):
    """One leaf shows an absence only where it is the first and larger, or the last and smaller."""
    for number in (0, victim[1] - 1, victim[1], victim[1] + 1, len(PEOPLE) - 1):
        assert refused(forged(people, victim, [number])), number


def test_no_leaf_of_a_tree_that_has_some(people, victim):
    """That there is nobody at all is believed of an empty tree only."""
    assert refused(forged(people, victim, []))


def test_another_persons_proof(people, victim):
    """The function's proof for another person does not speak for the one who is named."""
    document, _ = people
    claim = honest_claim(document, "nobody", PEOPLE)
    proof = claim.asked.proof
    assert checked(encode_membership(claim)).present is False
    assert refused(write(claim, asked=AskedSubject(text=victim[0], proof=proof)))


@pytest.mark.parametrize("key", [OTHER_KEY, VrfKey(bytes(32))])
def test_a_second_key(people, victim, key):
    """A tag under another key than the document's is refused, whatever its neighbours are."""
    document, tags = people
    hashes = [hash_leaf(tag) for tag in tags]
    message = subject_message(tree_context(document), victim[0])
    tag = tag_of(document, victim[0], key)
    at = sum(one < tag for one in tags)
    leaves = tuple(leaf_at(tags, hashes, one) for one in (at - 1, at) if 0 <= one < len(tags))
    asked = AskedSubject(text=victim[0], proof=key.prove(message))
    assert refused(forged(people, victim, [], leaves=leaves, asked=asked))


@pytest.mark.parametrize(
    "member",
    [
        {"count": "11"}, {"count": "0"}, {"count": "13"}, {"key": OTHER_KEY.public.hex()},
        {"root": root_hash([]).hex()}, {"count": "0", "root": root_hash([]).hex()},
    ],
)  # fmt: skip
def test_a_document_that_was_changed_later(people, victim, member):
    """Size, key and root are those that the log committed to, not those that would suit."""
    document, _ = people
    other = {**document, "subjects": {**document["subjects"], **member}}
    claim = honest_claim(document, victim[0], PEOPLE)
    for leaves in ((), claim.leaves):
        assert refused(write(claim, present=False, document=canonical.encode(other), leaves=leaves))


def test_a_tree_with_a_key_under_which_outputs_are_not_unique(people, victim):
    """A document the operator committed to with a key of small order proves nothing about anybody."""
    document, _ = people
    for key in (bytes([1, *[0] * 31]), bytes(32), (2**255 - 18).to_bytes(32, "little")):
        other = {**document, "subjects": {"count": "0", "key": key.hex(), "root": root_hash([]).hex()}}
        claim = honest_claim(document, victim[0], PEOPLE)
        data = write(claim, present=False, document=canonical.encode(other), leaves=(), log=proof_of(other))
        assert refused(data)


def test_the_tree_of_another_document(people, victim):
    """A proof of one dataset is none of another: the tag is of the tree, and the entry names the document."""
    other = personal_document(PEOPLE[:3], name="others")
    mine, theirs = honest_claim(people[0], victim[0], PEOPLE), honest_claim(other, victim[0], PEOPLE[:3])
    assert checked(encode_membership(theirs)).present == (victim[0] in PEOPLE[:3])
    for changed in (
        write(theirs, document=mine.document), write(theirs, document=mine.document, log=mine.log),
        write(theirs, log=mine.log), write(mine, leaves=theirs.leaves, present=False),
    ):  # fmt: skip
        assert refused(changed)


def test_a_present_row_cannot_be_shown_absent():
    """Nor with any choice of leaves a row that is there, once or twice."""
    rows = [row_of(number) for number in (1, 2, 2, 3, 4)]
    leaves = sorted(map(hash_leaf, rows))
    for number in (1, 2, 3, 4):
        claim = honest_claim(open_document(rows), row_of(number), rows)
        for numbers in [[], *([i] for i in range(5)), *([i, j] for i in range(5) for j in range(5))]:
            chosen = tuple(leaf_at(leaves, leaves, one) for one in numbers)
            assert refused(write(claim, present=False, leaves=chosen)), (number, numbers)


def test_an_absent_row_cannot_be_shown_present():
    """The leaf of another row does not show a row."""
    rows = [row_of(number) for number in (1, 2, 3)]
    claim = honest_claim(open_document(rows), row_of(9), rows)
    for leaf in claim.leaves:
        assert refused(write(claim, present=True, leaves=(leaf,)))
    assert refused(write(claim, present=True))


def test_rows_about_people_have_no_sorted_root(people):
    """A row of a dataset about people is refused, also where its document says a sorted root."""
    rows = [row_of(1)]
    document = {**open_document(rows), "personal": True}
    claim = honest_claim(document, row_of(2), rows)
    assert refused(encode_membership(claim))
    assert refused(write(claim, document=canonical.encode(people[0]), log=proof_of(people[0])))


def test_an_entry_of_another_type(people):
    """An entry that names a document but fixes no version is refused."""
    claim = honest_claim(people[0], "nobody", PEOPLE)
    assert refused(write(claim, log=proof_of(people[0], type="group.recorded")))


@pytest.mark.parametrize("where", ["file", "entry", "document"])
def test_newer_formats_cannot_be_checked(where):
    """Of a newer version nothing is said: it is neither wrong nor right."""
    rows = [row_of(1)]
    document = open_document(rows)
    claim = honest_claim(document, row_of(2), rows)
    newer = {**document, "v": 2}
    data = {
        "file": lambda: encode_membership(claim)[:-2] + b"2}",
        "entry": lambda: write(claim, log=proof_of(document, v=2)),
        "document": lambda: write(claim, document=canonical.encode(newer), log=proof_of(newer)),
    }[where]()
    with pytest.raises(UnsupportedVersionError):
        checked(data)


def test_the_key_is_given(people):
    """Under another key of a log of the same name the proof does not verify; without a key nothing is checked."""
    data = encode_membership(honest_claim(people[0], "nobody", PEOPLE))
    with pytest.raises(VerificationError):
        verify_membership(data, vkey=Ed25519Signer.from_seed(SIGNER.name, bytes(32)).vkey)
    with pytest.raises(InputError):
        verify_membership(data, vkey="none")


def test_other_files_are_told_apart():
    """A receipt is no proof of membership, and says so."""
    log = Log([make_segment(random.Random(1), 1)], cosigned=0)
    with pytest.raises(FormatError):
        checked(one_file(log, log.claim(0, 0)))


def test_it_is_read_from_a_file_or_text(people, tmp_path):
    """A path, bytes and text are taken; a missing file is a storage error."""
    data = encode_membership(honest_claim(people[0], "nobody", PEOPLE))
    (tmp_path / "x.membership").write_bytes(data)
    assert checked(tmp_path / "x.membership") == checked(data.decode()) == checked(data)
    with pytest.raises(BackstoryError, match="reading membership"):
        checked(tmp_path / "none")


def test_what_is_said_names_the_person_and_no_line_is_forged():
    """A name with a line break stays on its line; the short form names nobody."""
    document = personal_document(["a\npresent: person b"])
    proven = checked(encode_membership(honest_claim(document, "a\npresent: person b", ["a\npresent: person b"])))
    assert str(proven).splitlines()[0] == "present: person a\\npresent: person b"
    assert "person b" not in repr(proven)
    assert KEY.public.hex() == document["subjects"]["key"]
