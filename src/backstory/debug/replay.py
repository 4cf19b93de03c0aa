"""Replay at level 1: the recorded features, through the recorded model, compared with the recorded output.

The whole batch of the original call is replayed and the row picked out, because many models give other bits for a row
alone than in its batch (see docs/adr/0006). Today's environment is used, and the report says how it differs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from backstory.columns.python_value import python_value
from backstory.debug.case import Workshop, model_of, read_case, run_model
from backstory.debug.verdict import Verdict, as_recorded, judge
from backstory.errors import BackstoryError, VerificationError
from backstory.ledger.ledger import Ledger
from backstory.ledger.read import Found
from backstory.lineage.plain import plain, shown
from backstory.models.environment import environment
from backstory.records.canonical import JsonObject


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """What a replay showed.

    Attributes:
        id: Id of the prediction.
        verdict: `exact`: same bytes. `equivalent`: within the stated tolerance. `same-decision`: outside it, but the
            decision is the same and further from the threshold than the difference. `diverged`: neither.
            `not-replayable`: something is missing, see `reason`.
        reason: Why, in a sentence.
        recorded: The recorded output.
        replayed: The output now.
        difference: Largest absolute difference of numeric outputs, None where it cannot be computed.
        batch_rows: Rows replayed together.
        environment: What differs between the recorded environment and this one: name to recorded and present value.
    """

    id: str
    verdict: Verdict
    reason: str
    recorded: Any = None
    replayed: Any = None
    difference: float | None = None
    batch_rows: int = 0
    environment: dict[str, tuple[str, str]]

    def to_dict(self) -> dict[str, Any]:
        """Return the replay as values JSON has."""
        return {
            "batch_rows": self.batch_rows,
            "difference": plain(self.difference),
            "environment": {name: list(pair) for name, pair in self.environment.items()},
            "id": self.id,
            "reason": self.reason,
            "recorded": plain(self.recorded),
            "replayed": plain(self.replayed),
            "verdict": self.verdict,
        }

    def __repr__(self) -> str:
        """Return the verdict on one line."""
        return f"<Replay of {self.id}: {self.verdict}, {self.reason}>"

    def __str__(self) -> str:
        """Return verdict, values and differences of the environment."""
        lines = [
            f"replay of {self.id}: {self.verdict}",
            f"  {self.reason}",
            f"  recorded {shown(self.recorded)}, replayed {shown(self.replayed)} (batch of {self.batch_rows:,})",
        ]
        if self.verdict == "not-replayable":
            lines = lines[:2]
        lines += [f"  environment: {name} was {then}, is {now}" for name, (then, now) in self.environment.items()]
        return "\n".join(lines)


def replay_prediction(shop: Workshop, found: Found) -> Replay:
    """Replay one prediction from its recorded features.

    Args:
        shop: The archive.
        found: The prediction.

    Raises:
        VerificationError: The model or something else the record refers to was changed.
    """
    try:
        case = read_case(shop, found, "replay")
        replayed = run_model(model_of(shop, case), case, case.features)
    except VerificationError:
        raise
    except BackstoryError as error:
        return Replay(id=found.id, verdict="not-replayable", reason=str(error), environment={})
    changes = environment_changes(shop.ledger, case.context)
    (row,) = case.rows
    recorded = case.output.slice(row, 1)
    now = replayed.slice(row, 1)
    judgement = judge(recorded, now, case.decision)[0]
    shown_now = as_recorded(now, recorded.type)
    same = "the same bytes, in this environment" if changes else "the same bytes, in the recorded environment"
    return Replay(
        id=found.id,
        verdict=judgement.verdict,
        reason=judgement.reason or same,
        recorded=python_value(recorded[0]),
        replayed=python_value((now if shown_now is None else shown_now)[0]),
        difference=judgement.difference,
        batch_rows=case.table.num_rows,
        environment=changes,
    )


def environment_changes(ledger: Ledger, context: JsonObject) -> dict[str, tuple[str, str]]:
    """Return what differs between a context's environment and this process's, in Python, machine and packages."""
    digest = context.get("environment")
    then = _facts(ledger.document(digest)) if isinstance(digest, str) else {}
    now = _facts(environment())
    names = sorted(name for name in set(then) | set(now) if then.get(name) != now.get(name))
    return {name: (then.get(name, "absent"), now.get(name, "absent")) for name in names} if then else {}


def _facts(document: JsonObject) -> dict[str, str]:
    facts: dict[str, str] = {}
    for group in ("python", "platform"):
        part = document.get(group)
        facts |= {f"{group}.{k}": str(v) for k, v in part.items()} if isinstance(part, dict) else {}
    packages = document.get("packages")
    for name, package in packages.items() if isinstance(packages, dict) else ():
        facts[name] = str(package.get("version")) if isinstance(package, dict) else str(package)
    return facts
