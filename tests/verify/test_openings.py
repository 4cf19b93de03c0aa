"""Openings of what entries commit to: each is opened, and of what an erasure took it is said so."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tests.support.ledgers import new_ledger

import backstory
from backstory.verify.archive import verify_archive
from backstory.verify.vault import OPENED_GROUPS

_COMMITTED = re.compile(r"commit_text\(\s*\"([a-z_]+)\"")


@pytest.fixture
def ledger(tmp_path):
    """An archive whose log has an entry with a text in every group."""
    opened = new_ledger(tmp_path / "archive")
    opened.append([{"type": "role.assigned", **{group: opened.commit_text(group, group) for group in OPENED_GROUPS}}])
    yield opened
    opened.close()


def openings(ledger):
    """Return what verification says of openings, by the commitment."""
    found = verify_archive(ledger.layout.root, workers=1).findings
    return {one.place.rpartition("/")[2]: one for one in found if one.place.startswith("vault/openings")}


def assigned(ledger):
    """Return the entry."""
    return ledger.find_entries("role.assigned")[0]


def test_every_group_that_is_committed_to_is_opened():
    """Verification knows each group under which the archive commits to a text of an entry."""
    sources = Path(backstory.__file__).parent.rglob("*.py")
    committed = {group for path in sources for group in _COMMITTED.findall(path.read_text())}
    assert committed
    assert committed <= set(OPENED_GROUPS)


def test_openings_of_entries_are_no_leftovers(ledger):
    """Nothing is found where each opens its commitment."""
    assert openings(ledger) == {}


def test_a_changed_opening_fails_in_every_group(ledger):
    """Whichever text it is of."""
    commitments = {group: str(assigned(ledger)[group]) for group in OPENED_GROUPS}
    for commitment in commitments.values():
        path = ledger.layout.vault / "openings" / commitment
        data = path.read_bytes()
        path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    found = openings(ledger)
    assert {group: found[commitment].severity for group, commitment in commitments.items()} == dict.fromkeys(
        OPENED_GROUPS, "failed"
    )


def test_what_an_erasure_took_is_a_note(ledger):
    """Whom a role was bound to, and who had it, is erased with a person; a case and its like are missing."""
    ledger.append([{"type": "subject.erased"}])
    commitments = {group: str(assigned(ledger)[group]) for group in ("person", "subject", "case")}
    for commitment in commitments.values():
        (ledger.layout.vault / "openings" / commitment).unlink()
    found = openings(ledger)
    severities = {group: found[commitment].severity for group, commitment in commitments.items()}
    assert severities == {"person": "note", "subject": "note", "case": "unknown"}
