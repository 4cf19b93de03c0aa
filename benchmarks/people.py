"""Records about people: what sealing by class and the index cost, how fast persons and decisions are found.

The records have three personal columns and are about 200,000 people, and with each a decision was made. What a policy
adds to `why` is measured in turn on one small archive, before a policy is in force and after.
"""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.tree import DecisionTreeClassifier

import backstory
from backstory.capture.prediction import Predictions
from benchmarks.measure import Row, median_seconds, seconds

PEOPLE = 200_000
BATCH = 200_000
CALLS = 101
_WHO = {"actor": "bench", "purpose": "bench"}


def people_rows(records: int) -> list[Row]:
    """Measure recording, finding and erasing people in an archive of so many records."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "archive"
        archive, made, sealed = _recorded(path, records)
        with archive:
            someone = _id(17)
            archive.privacy.find(someone)  # what is imported and opened once
            find = median_seconds(lambda: archive.privacy.find(someone), 5)
            erase = seconds(lambda: archive.privacy.erase(someone, ground="request"))
            left = archive.privacy.find(someone).ids
            decided = seconds(lambda: _decide(archive, made))
            asked = iter(made[-1].ids[:: BATCH // CALLS])
            archive.decisions.of(next(asked))
            of = median_seconds(lambda: archive.decisions.of(next(asked)), CALLS - 1)
        rate = records / sealed
        return [
            Row(
                what=f"record and seal {records:,} predictions, 3 personal columns, {PEOPLE:,} people",
                value=f"{rate:,.0f} rows/s",
                target=">= 100,000",
                met=rate >= 100_000,
            ),
            Row(what="find a person", value=f"{find * 1e3:.0f} ms"),
            Row(
                what="erase a person",
                value=f"{erase:.1f} s",
                target="<= 5 s",
                met=erase <= 5 and not left,
            ),
            Row(what=f"record and seal {records:,} decisions", value=f"{records / decided:,.0f} rows/s"),
            Row(
                what=f"decisions made with a prediction, of {records:,}, warm, p50",
                value=f"{of * 1e3:.0f} ms",
                target="<= 100 ms",
                met=of <= 0.1,
            ),
            _policy_row(Path(folder)),
        ]


def _recorded(path: Path, records: int) -> tuple[backstory.Archive, list[Predictions], float]:
    with redirect_stdout(io.StringIO()):
        backstory.init(path, origin="example.org/people").close()
    archive = backstory.open(path, **_WHO)  # type: ignore[arg-type]
    model = archive.register(_model(), name="score")
    batches = [_batch(start, min(BATCH, records - start)) for start in range(0, records, BATCH)]
    archive.predict(model, batches[0].drop(columns="who")[:10], subject=batches[0].who[:10])
    archive.flush()

    made: list[Predictions] = []

    def record() -> None:
        made.extend(archive.predict(model, batch.drop(columns="who"), subject=batch.who) for batch in batches)
        archive.flush()

    taken = seconds(record)
    return archive, made, taken


def _decide(archive: backstory.Archive, made: list[Predictions]) -> None:
    for start, predictions in enumerate(made):
        who = _batch(start * BATCH, len(predictions)).who
        archive.decisions.record_many(predictions.ids, outcome="accepted", adverse=False, reliance="sole", subject=who)
    archive.flush()


def _model() -> DecisionTreeClassifier:
    batch = _batch(0, 1_000)
    return DecisionTreeClassifier(max_depth=3, random_state=0).fit(batch.drop(columns="who"), batch.income > 50)


def _batch(start: int, rows: int) -> pd.DataFrame:
    chance = np.random.default_rng(start)
    who = chance.integers(0, PEOPLE, rows)
    return pd.DataFrame(
        {
            "who": [_id(number) for number in who],
            "income": chance.normal(50, 15, rows).round(1),
            "debt": chance.random(rows).round(3),
            "age": chance.integers(18, 90, rows),
        }
    )


def _id(number: int) -> str:
    return f"c-{number:06}"


def _policy_row(folder: Path) -> Row:
    """Measure `why` of one prediction before and after a policy is in force."""
    path = folder / "policy"
    archive, _, _ = _recorded(path, 1_000)
    with archive:
        one = archive.search("true", limit=1)["id"].iloc[0]
        plain = _why(archive, one)
        archive.access.propose_policy("starting")
        archive.access.assign("chief", "platform-admin")
    with backstory.open(path, actor="chief", purpose="bench") as chief:
        chief.access.assign("bench", "dpo")
        for proposal in chief.decisions.proposals("policy"):
            chief.access.approve(proposal.index)
    with backstory.open(path, **_WHO, role="dpo", case="bench") as ruled:  # type: ignore[arg-type]
        more = _why(ruled, one) - plain
    return Row(
        what=f"why of a sealed prediction: what a policy adds to its {plain * 1e3:.1f} ms",
        value=f"{more * 1e3:.1f} ms",
        target="<= 2 ms",
        met=more <= 0.002,
    )


def _why(archive: backstory.Archive, prediction: str) -> float:
    ask: Callable[[], object] = lambda: archive.why(prediction)  # noqa: E731
    ask()
    return median_seconds(ask, CALLS)
