"""Why a model version or a feature set was chosen, and which others were looked at: an entry with a document.

Bytes: docs/format.md section 39.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from backstory.errors import ForbiddenError, InputError
from backstory.ledger.ledger import Ledger
from backstory.records import canonical
from backstory.records.canonical import JsonObject

JUSTIFIED = "choice.justified"
"""Type of the entry."""

Chosen = Literal["features", "model"]
"""What a choice was of."""

_TEXT_MAX = 65_536
_ALTERNATIVES_MAX = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Justification:
    """Why something was chosen.

    Attributes:
        text: Why.
        alternatives: What else was looked at, and why it was not taken.
        time: When that was said, RFC 3339.
        entry: Index of the entry.
        by: Commitment to who said it; the vault may open it.
    """

    text: str
    alternatives: tuple[str, ...]
    time: str
    entry: int
    by: str


def justify(
    ledger: Ledger, kind: Chosen, name: str, version: int, digest: str, *, text: str, alternatives: Sequence[str]
) -> Justification:
    """Record why a version was chosen; whatever is said of it later stands beside it.

    Args:
        ledger: The archive.
        kind: Whether the version is a model's or a feature set's.
        name: Its name.
        version: Its number.
        digest: Its digest.
        text: Why. No personal data: it stands in clear.
        alternatives: What else was looked at, and why it was not taken.

    Raises:
        ForbiddenError: The archive was opened without an actor.
        InputError: A text is empty or too long.
    """
    if ledger.actor is None:
        raise ForbiddenError("justifying a choice: expected an archive opened with an actor: the log says who did")
    if not isinstance(text, str) or not 0 < len(text) <= _TEXT_MAX:
        raise InputError(f"justify: expected a text of 1 to {_TEXT_MAX} characters")
    given = [alternatives] if isinstance(alternatives, str) else list(alternatives)
    if len(given) > _ALTERNATIVES_MAX or not all(isinstance(one, str) and 0 < len(one) <= _TEXT_MAX for one in given):
        raise InputError(f"justify: expected at most {_ALTERNATIVES_MAX} alternatives, each a text")
    document: JsonObject = {"alternatives": [*given], "text": text, "v": 1}
    entry: JsonObject = {
        "document": ledger.put_document(document),
        "kind": kind,
        "name": name,
        "of": digest,
        "type": JUSTIFIED,
        "version": str(version),
    }
    ledger.append([entry])
    return find_justifications(ledger, name, digest)[-1]


def find_justifications(ledger: Ledger, name: str, digest: str) -> list[Justification]:
    """Return why a version was chosen, in the order in which it was said."""
    found = []
    for index, entry in ledger.numbered_entries(JUSTIFIED, name):
        if entry.get("of") != digest:
            continue
        document = ledger.document(canonical.text_of(entry, "document"))
        alternatives = document.get("alternatives")
        found.append(
            Justification(
                text=canonical.text_of(document, "text"),
                alternatives=tuple(map(str, alternatives)) if isinstance(alternatives, list) else (),
                time=canonical.text_of(entry, "time"),
                entry=index,
                by=canonical.text_of(entry, "actor"),
            )
        )
    return found
