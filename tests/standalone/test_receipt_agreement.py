"""Three verifiers, written apart, say the same of receipts: ours, the Python file and the JavaScript module."""

from __future__ import annotations

import random

import pytest
from tests.standalone.mutations import mutate
from tests.standalone.verifiers import run_verifiers
from tests.support.receipts import GROUPS, Log, make_segment, many_file, one_file

from backstory.cli.exit_codes import FAILED, OK, UNVERIFIED

COUNT = 1_000
WITNESSED = 100
"""So many of them are of a log with witnesses."""


def make_good(chance):
    """Make good files: `COUNT` in all, every tenth one of several records."""
    files = []
    for cosigned, count in ((0, COUNT - WITNESSED), (3, WITNESSED)):
        log = Log([make_segment(chance, size) for size in (1, 2, 255, 300)], cosigned=cosigned)
        for number in range(count):
            places = {(s := chance.randrange(4), chance.randrange(len(log.segments[s].rows))) for _ in range(4)}
            claims = [log.claim(*place, tuple(g for g in GROUPS if chance.random() < 0.5)) for place in sorted(places)]
            claims = [claim | ({"context": None} if chance.random() < 0.2 else {}) for claim in claims]
            files.append((cosigned, many_file(log, claims) if number % 10 == 0 else one_file(log, claims[0])))
    return files


def make_bad(chance, good):
    """Change each good file in one way; both files of a change are of one kind."""
    bad = []
    for cosigned, data in good:
        others = [other for other_cosigned, other in good if (other_cosigned, other[:1]) == (cosigned, data[:1])]
        changed = data
        while changed == data:
            changed = mutate(chance, data, chance.choice(others))
        bad.append((cosigned, changed))
    return bad


@pytest.fixture(scope="module")
def good():
    """Return the good files and what the three say of each."""
    files = make_good(random.Random("good"))
    return files, run_verifiers(files)


@pytest.fixture(scope="module")
def bad(good):
    """Return the changed files and what the three say of each."""
    files = make_bad(random.Random("bad"), good[0])
    return files, run_verifiers(files)


def test_every_good_receipt_verifies(good):
    """A thousand good files verify everywhere."""
    assert {code for answers in good[1] for code, _ in answers} == {OK}


def test_the_facts_are_the_same(good):
    """Of a good file all three give the same JSON."""
    assert [
        number for number, (own, *others) in enumerate(good[1]) if [own[1]] * 2 != [facts for _, facts in others]
    ] == []


def test_they_refuse_the_same(bad):
    """Of a thousand changed files all three refuse or accept the same, with the same exit code."""
    differing = [
        (number, [code for code, _ in answers])
        for number, answers in enumerate(bad[1])
        if len({c for c, _ in answers}) > 1
    ]
    assert [(number, codes, bad[0][number][1][:3_000]) for number, codes in differing[:3]] == []


def test_what_is_accepted_says_nothing_else(good, bad):
    """A change that all accept, such as an opening or a context left out, adds nothing to what is proven."""

    def fixed(record):
        shown = {"context", "erased", "opened", "sealed", "undisclosed", "witnesses"}
        return {name: value for name, value in record.items() if name not in shown}

    known, opened, contexts = {}, set(), set()
    for own, *_ in good[1]:
        for record in own[1]:
            place = record["stream"], record["seq"]
            known[place] = fixed(record)
            opened.update((*place, group, str(values)) for group, values in record["opened"].items())
            contexts.add((record["values"]["context"], str(record["context"])))
    for (code, records), *_ in bad[1]:
        for record in records if code == OK else ():
            place = record["stream"], record["seq"]
            assert fixed(record) == known[place]
            assert {(*place, group, str(values)) for group, values in record["opened"].items()} <= opened
            assert record["context"] is None or (record["values"]["context"], str(record["context"])) in contexts


def test_the_changes_are_of_every_kind(bad):
    """The changed files are refused for the most part, and some cannot be checked: the test tells the codes apart."""
    codes = [answers[0][0] for answers in bad[1]]
    assert codes.count(FAILED) > 0.8 * COUNT
    assert codes.count(UNVERIFIED) > 0
    assert codes.count(OK) < 0.1 * COUNT
