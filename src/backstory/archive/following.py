"""What followed from a prediction, for its story: decisions made with it, the notices of these, and corrections.

The story is told below governance, which knows what decisions are; so the front door hands it what followed.
"""

from __future__ import annotations

from dataclasses import replace

from backstory.ledger.ledger import Ledger
from backstory.ledger.read import records_now
from backstory.lineage.story import Followed, Story
from backstory.records.access import Gate, Viewer
from backstory.records.correction import CORRECTION
from backstory.records.decision import DECISION
from backstory.records.redaction import Redaction
from backstory.records.sensitivity import class_of_group

_QUESTION = "why"
_LINKS = "subject"
"""The sealed group of what links facts to predictions."""


def with_followed(story: Story, ledger: Ledger, gate: Viewer) -> Story:
    """Return a story with what followed; where what leads there may not be opened, it is redacted, with the reason.

    Args:
        story: The story of a prediction.
        ledger: The archive.
        gate: Decides about that prediction.
    """
    followed = followed_by(ledger, gate, story.id)
    if followed is not None:
        return replace(story, followed=followed)
    class_ = class_of_group(_LINKS)
    hidden = Redaction(field="followed", class_=class_, view=gate.views()[class_], reason=gate.lacking([_LINKS]))
    return replace(story, followed=None, redacted=(*story.redacted, hidden))


def followed_by(ledger: Ledger, gate: Gate, prediction: str) -> tuple[Followed, ...] | None:
    """Return what followed from a prediction, oldest first; None where what leads there may not be opened.

    Args:
        ledger: The archive.
        gate: Opens what is sealed, or does not.
        prediction: Its whole id.
    """
    corrected, decided = _corrections(ledger, gate, prediction), _decisions(ledger, gate, prediction)
    if decided is None and not corrected:
        return None
    return tuple(sorted([*corrected, *(decided or ())], key=lambda one: one.id))


def _corrections(ledger: Ledger, gate: Gate, prediction: str) -> list[Followed]:
    if not any(records_now(ledger, CORRECTION.kind)) or not gate.allows([_LINKS]):
        return []
    from backstory.governance.rectification import corrections_of

    return [
        Followed(kind="correction", id=one.id, time=one.time, text=one.text, loud=True)
        for one in corrections_of(ledger, gate, prediction, _QUESTION)
    ]


def _decisions(ledger: Ledger, gate: Gate, prediction: str) -> list[Followed] | None:
    sealed, waiting = records_now(ledger, DECISION.kind)
    if not sealed and not waiting:  # most archives: nothing is imported, nothing read
        return []
    if not gate.allows([_LINKS]):
        return None
    from backstory.governance.decision_read import decision_text, find_decisions
    from backstory.governance.notice import find_notices

    decisions = find_decisions(ledger, gate, _QUESTION, predictions=[prediction])
    notices = find_notices(ledger, gate, _QUESTION, decisions=[one.id for one in decisions]) if decisions else []
    found = [
        Followed(
            kind="decision",
            id=one.id,
            time=one.recorded,
            text=f"{decision_text(one)}{'; REVERSED' if one.reversed_by else ''}",
            loud=bool(one.reversed_by) or not one.is_final,
        )
        for one in decisions
    ]
    found += [
        Followed(
            kind="notice", id=one.id, time=one.recorded, text=f"{one.type}: {one.state}", loud=one.state == "failed"
        )
        for one in notices
    ]
    return found
