"""An archive in which credit is decided about: predictions about people, a reason map, and people who act."""

from __future__ import annotations

import dataclasses
from itertools import count
from pathlib import Path
from typing import Any

from tests.support.archives import ORIGIN, fitted, loans

import backstory
from backstory.archive import Archive
from backstory.governance.proposal import REFUSED
from backstory.storage.world import World

BEGAN_NS = 1_800_000_000_000_000_000
FEATURES = ["amount", "years"]
PEOPLE = [f"applicant-{number:03d}" for number in range(6)]
CODES = {
    "R01": {"features": "amount", "direction": "increases", "text": "the amount asked for"},
    "R02": {"features": "amount", "direction": "decreases", "text": "the amount asked for is low"},
    "R03": {"features": "years", "direction": "increases", "text": "the time to pay"},
    "R04": {"features": "years", "direction": "decreases", "text": "the short time to pay"},
}
HUMAN: dict[str, Any] = {"automation": "human-decided", "reliance": "principal", "action": "accepted"}


def clock(began: int = 0) -> World:
    """Return a world whose clock goes on by a second each time somebody looks."""
    seconds = count(began)
    return dataclasses.replace(World(), now_ns=lambda: BEGAN_NS + next(seconds) * 10**9)


def acting(path: Path, actor: str | None, purpose: str | None = None, began: int = 0) -> Archive:
    """Open an archive as somebody."""
    return Archive(path, actor=actor, purpose=purpose, world=clock(began))


def credit_archive(path: Path) -> list[str]:
    """Make an archive with six predictions about people, a reason map and two domains; return the predictions' ids."""
    backstory.init(path, origin=ORIGIN).close()
    with acting(path, "Ann Lee") as archive:
        archive.register(fitted(loans(30)), name="credit")
        archive.explanations.define("credit-us", CODES)
        made = [
            archive.decisions.domain("credit-us", reasons="credit-us", notice="adverse-action"),
            archive.decisions.domain("biometric", verifiers=2, competence=True),
            archive.decisions.domain("four-eyes", verifiers=1),
        ]
        explain = backstory.Explain(method="linear", background=loans(30)[FEATURES])
        ids = archive.predict(
            "credit:1", loans(6)[FEATURES], method="predict_proba", subject=PEOPLE, explain=explain
        ).ids
        archive.flush()
    with acting(path, "Bo Chen", began=1_000) as archive:
        for proposal in made:
            archive.decisions.decide(proposal, "approved", reason="as agreed")
    return list(ids)


def refusals(archive: Archive) -> list[tuple[str, str]]:
    """Return what was refused in an archive, with its ground."""
    found = archive._ledger.find_entries(REFUSED)
    return [(str(entry["action"]), str(entry["ground"])) for entry in found]
