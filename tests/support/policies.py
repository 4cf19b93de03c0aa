"""Archives about people under the access policy that is shipped, with somebody in every role."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from tests.support.archives import ORIGIN

import backstory
from backstory.storage.world import World

if TYPE_CHECKING:
    from backstory.archive import Archive

ROWS = 8
MODEL = "credit"
ROLES: Mapping[str, Mapping[str, Any]] = {
    "operator": {},
    "data-scientist": {},
    "validator": {},
    "internal-auditor": {},
    "regulator": {},
    "data-subject": {"subject": "subject-3"},
    "dpo": {},
    "vendor": {"models": MODEL},
    "legal": {},
    "platform-admin": {},
}
"""Who has which role: each is named as it."""


def people(rows: int = ROWS) -> pd.DataFrame:
    """Return made-up people: an id, a name, and features of which one is about their faith."""
    numbers = range(rows)
    return pd.DataFrame(
        {
            "cust": [f"subject-{number}" for number in numbers],
            "name": [f"name-{number}-x" for number in numbers],
            "income": [41_000.0625 + 137 * number for number in numbers],
            "faith": [700_300.5 + 7919 * number for number in numbers],
        }
    )


def score(features: pd.DataFrame) -> list[float]:
    """Return a score of each row."""
    return [float(value) for value in features["income"] / 100]


def record_people(path: Path, world: World | None = None) -> list[str]:
    """Make an archive with predictions about people, classified and sealed; return their ids."""
    table = people()
    with backstory.init(path, origin=ORIGIN, world=world):
        pass
    with backstory.open(path, actor="root", purpose="set up", world=world) as archive:
        frame = archive.source(table, "loans", key="cust", subject="cust")
        classes = {"cust": "D3", "name": "D4", "income": "D4", "faith": "D5"}
        archive.privacy.confirm(classes, source="loans", reason="as the form says")
        features, rows = archive.split(frame, features=["income", "faith"])
        model = archive.register(score, name=MODEL, rows=rows)
        requests = [f"request-{number}" for number in range(len(table))]
        made = archive.predict(
            model, features, rows=rows, method="__call__", subject=table["cust"], request_id=requests
        )
        archive.outcome(made.ids[3], 90_210.25)
        return list(made.wait("sealed").ids)


def govern(path: Path, world: World | None = None) -> None:
    """Put the policy that is shipped in force, with somebody in every role."""
    with backstory.open(path, actor="root", world=world) as archive:
        for role, bound in ROLES.items():
            archive.access.assign(role, role, **bound)
        archive.access.assign_case("operator", "request-3")
        archive.access.assign_case("regulator", "inspection", models=MODEL)
        proposal = archive.access.propose_policy("starting")
    with backstory.open(path, actor="approver", world=world) as archive:
        archive.access.approve(proposal.index)


def opener(path: Path, world: World | None = None) -> Callable[..., Archive]:
    """Return what opens an archive as somebody in a role."""

    def open_as(
        role: str | None, *, case: str | None = "case", purpose: str | None = "review", **given: Any
    ) -> Archive:
        return backstory.open(
            path, **{"actor": role or "nobody", "role": role, "purpose": purpose, "case": case, "world": world} | given
        )

    return open_as
