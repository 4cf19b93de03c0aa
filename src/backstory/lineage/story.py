"""The backstory of one prediction, as values."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from backstory.records.canonical import JsonObject


@dataclass(frozen=True, slots=True, kw_only=True)
class RowStory:
    """One row, or one group of rows, a prediction was made from.

    Attributes:
        reference: Name of the reference: the source or group, with the suffix a join gave it.
        kind: `source` or `group`.
        grade: How sure the edge is: exact, declared, probed, coarse, broken.
        state: `row`, `no row` (it matched none), `broken`, or `sealed` (about a person, and not opened).
        position: Position in the source or number of the group, None where there is none to show.
        digest: Dataset version or group document, in hex.
        key: The row's key columns and values; the group's for a group.
        values: The row's values; for a group its keys.
        members: For a group, how many rows of each reference went into it.
        sample: For a group, positions of the first few of them.
        features: Features of the prediction that come from here, by name.
    """

    reference: str
    kind: str
    grade: str
    state: str
    position: int | None = None
    digest: str = ""
    key: dict[str, Any] = field(default_factory=dict)
    values: dict[str, Any] = field(default_factory=dict)
    members: dict[str, int] = field(default_factory=dict)
    sample: dict[str, list[int]] = field(default_factory=dict)
    features: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """What `why` answers.

    Attributes:
        id: Id of the prediction.
        time: When it was recorded, RFC 3339.
        status: `ok` or `error`.
        error: Class of the exception of a failed prediction.
        request_id: The caller's id of the request.
        output: What the model returned; None where sealed or failed.
        decision: What the rule decided.
        features: The features by name.
        rows: What it was made from.
        sealed: Groups of values that are committed to and were not opened.
        model: The model version's document with name, number and digest.
        method: Method or function that was called.
        context: The whole context.
        outcomes: What turned out later.
        proof: How it is proven: tree size, root, entry, segment, `sealed` or `unsealed`, authenticated or not.
    """

    id: str
    time: str
    status: str
    error: str | None
    request_id: str | None
    output: Any
    decision: Any
    features: dict[str, Any]
    rows: tuple[RowStory, ...]
    sealed: tuple[str, ...]
    model: JsonObject | None
    method: str
    context: JsonObject
    outcomes: tuple[dict[str, Any], ...]
    proof: JsonObject
