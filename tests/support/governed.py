"""A small archive with what reports tell of: a model about people, decisions, notices, requests, approvals."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression

import backstory

ORIGIN = "example.org/credit"
PEOPLE = ("ann", "bob", "cem", "dea", "eve", "fay", "gus", "hal")


@dataclass(frozen=True)
class Governed:
    """What is in it.

    Attributes:
        path: The archive.
        vkey: Its key.
        predictions: Ids of the predictions, one for each of `PEOPLE`.
        decision: Id of the adverse decision on the first of them.
        began: When it was made, as a period begins.
    """

    path: Path
    vkey: str
    predictions: list[str]
    decision: str
    began: str


def applications() -> pd.DataFrame:
    """Return made-up applications of people, and who paid."""
    numbers = np.arange(32)
    return pd.DataFrame(
        {
            "person": [f"{PEOPLE[number % 8]}-{number // 8}" if number >= 8 else PEOPLE[number] for number in numbers],
            "amount": numbers * 137.5 % 1000,
            "years": numbers % 7 + 1.0,
            "paid": (numbers * 5 % 3 > 0).astype("int64"),
        }
    )


def govern(path: Path) -> Governed:
    """Make the archive."""
    with backstory.init(path, origin=ORIGIN) as archive:
        vkey, began = archive.vkey, "2020-01-01T00:00:00Z"
    with backstory.open(path, actor="Max Modeller", vkey=vkey, sealer="none") as archive:
        table = applications()
        frame = archive.source(table, "applications", key="person", subject="person")
        features, rows = archive.split(frame, ["amount", "years"])
        fitted = LogisticRegression().fit(features, table["paid"])
        model = archive.register(fitted, name="credit", rows=rows, target=table["paid"], alias="production")
        archive.explanations.define(
            "credit-reasons",
            {
                "A1": {"features": ["amount"], "direction": "decreases", "text": "Amount of credit requested"},
                "A2": {"features": ["amount"], "direction": "increases", "text": "Small amount requested"},
                "Y1": {"features": ["years"], "direction": "decreases", "text": "Time in present employment"},
                "Y2": {"features": ["years"], "direction": "increases", "text": "Long employment"},
            },
        )
        archive.deployments.set("production", {"credit:1": 1})
    with backstory.open(path, actor="Vera Validator", vkey=vkey, sealer="none") as archive:
        archive.deployments.approve("credit:1", role="validator", reason="passed the tests of March")
    with backstory.open(path, actor="Cleo Clerk", purpose="credit decisions", vkey=vkey, sealer="none") as archive:
        made = archive.predict(
            model.name + "@production",
            features.iloc[:8],
            rows=rows[:8],
            method="predict_proba",
            subject=table["person"][:8],
            decision=backstory.Threshold(0.7),
            explain="linear",
        )
        predictions = list(made.ids)
        first = archive.explanations.reasons(predictions[0], "credit-reasons", adverse="low")
        codes = [one.code for one in first.codes]
        archive.explanations.disclose(predictions[0], "credit-reasons", codes, to="ann", adverse="low")
        decision = archive.decisions.record(
            predictions[0],
            outcome="credit of 1,000 refused",
            adverse=True,
            automation="human-approved",
            reliance="principal",
            action="accepted",
            reasons=codes,
            map="credit-reasons:1",
            subject="ann",
            text="Spoke with the branch; nothing to add.",
            role="credit officer",
            authority="credit policy 7, section 2",
        ).id
        notice = archive.rights.notice(
            "adverse-action",
            ground="15 USC 1691(d)",
            decision=decision,
            subject="ann",
            content=b"We are sorry to say that we cannot grant the credit.",
            template="adverse-1",
            language="en",
            channel="letter",
            rule="us-reg-b",
            began=datetime.now(UTC),
        )
        archive.rights.delivery(notice.id, "sent")
        archive.rights.request("access", subject="ann", rule="eu-request", text="Please send me what you hold.")
        archive.outcome(predictions[0], 1)
        archive.flush()
    return Governed(path=path, vkey=vkey, predictions=predictions, decision=decision, began=began)
