"""The backstory of one prediction, as values; how it is laid out for a reader is `story_page`'s business."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from typing import Any

from backstory.lineage.answer import Answer
from backstory.lineage.deployments import Served
from backstory.lineage.feature_story import FeatureLineage
from backstory.lineage.online import OnlineRow
from backstory.lineage.page import Page
from backstory.lineage.plain import plain
from backstory.models.determinism import Determinism
from backstory.records.canonical import JsonObject
from backstory.records.redaction import Redaction

_ANSWERS = frozenset({"determinism", "followed", "lineage", "online", "redacted", "rows", "served"})
"""Parts of a story that are answers themselves."""

NO_LINEAGE = FeatureLineage()
"""Nothing is known of how features are defined and what a model makes of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RowStory:
    """One row, or one group of rows, a prediction was made from.

    Attributes:
        reference: Name of the reference: the source or group, with the suffix a join gave it.
        kind: `source` or `group`.
        grade: How sure the edge is: exact, declared, probed, coarse, broken.
        state: `row`, `no row` (it matched none), `broken`, `sealed` (about a person, and not opened), or `erased` (the
            reference, or the row itself: committed, erased).
        position: Position in the source or number of the group, None where there is none to show.
        digest: Dataset version or group document, in hex.
        key: The row's key columns and values; the group's for a group.
        values: The row's values; for a group its keys.
        members: For a group, how many rows of each reference went into it.
        sample: For a group, positions of the first few of them.
        features: Features of the prediction that come from here, by name.
        contracts: Verdicts on the dataset versions it is from, where they were checked against a contract: `source`,
            `dataset`, `id`, `version`, `verdict`, and the broken `rules` (docs/format.md section 26).
        redacted: Values that are not shown as they are; the dataset version commits to them.
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
    contracts: tuple[JsonObject, ...] = ()
    redacted: tuple[Redaction, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return it as values JSON has."""
        own = {item.name: plain(getattr(self, item.name)) for item in fields(self) if item.name != "redacted"}
        return own | {"redacted": [one.to_dict() for one in self.redacted]}


@dataclass(frozen=True, slots=True, kw_only=True)
class Followed:
    """What followed from a prediction: a decision, or a notice of one.

    Attributes:
        kind: `decision`, `notice` or `correction`.
        id: Id of its record.
        time: When it was recorded, RFC 3339.
        text: What it is, in a line.
        loud: Whether it must not be overlooked.
    """

    kind: str
    id: str
    time: str
    text: str
    loud: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Story(Answer):
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
        outcomes: What turned out later; `stands` is False of one that another corrects.
        followed: Decisions made with it, and notices of these, where what leads to them may be opened; None where it
            may not, and there may be some.
        proof: How it is proven: tree size, root, entry, segment, `sealed` or `unsealed`, authenticated or not.
        redacted: Fields that are not shown as they are, each with class, view, reason and the record's commitment.
        erased: Groups of values that are committed to and were erased, or whose keys are not here.
        classes: Sensitivity class of each sealed group, where it is known.
        column_classes: Sensitivity class of each column besides those that every record has.
        environment: What the prediction ran on, where it is known.
        steps: What it went through: `keep` and `why` say what of it is kept, `steps` is a list; empty without any.
        flags: How its features differ from those of training, and which rules of the contract they break, such as
            `range:amount`; none where nothing was found, or nobody looked: `context["watch"]` says whether.
        attributions: What each feature added to the output, where that was asked at decision time; how it was computed
            `context["explanation"]` says.
        attribution_base: What was there before they added anything.
        online: Rows it used by reference, fetched again where there is a resolver; see `OnlineRow`.
        training_contracts: Verdicts on the dataset versions the model was trained on, as those of a row.
        served: Where its model version was deployed then and whether it was approved then; None where nothing is known
            of deployments and approvals.
        determinism: How far its model gives the same bits again; None where nobody looked.
        lineage: How its features are defined, whose they are, why they may be used, and what the model makes of them.
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
    redacted: tuple[Redaction, ...] = ()
    erased: tuple[str, ...] = ()
    followed: tuple[Followed, ...] | None = ()
    classes: dict[str, str] = field(default_factory=dict)
    column_classes: dict[str, str] = field(default_factory=dict)
    environment: JsonObject = field(default_factory=dict)
    steps: dict[str, Any] = field(default_factory=dict)
    flags: tuple[str, ...] = ()
    attributions: dict[str, float] = field(default_factory=dict)
    attribution_base: float | None = None
    online: tuple[OnlineRow, ...] = ()
    training_contracts: tuple[JsonObject, ...] = ()
    served: Served | None = None
    determinism: Determinism | None = None
    lineage: FeatureLineage = NO_LINEAGE

    @property
    def broken(self) -> tuple[str, ...]:
        """Names of the references whose row is not known."""
        return tuple(row.reference for row in self.rows if row.state == "broken")

    def to_dict(self) -> dict[str, Any]:
        """Return the story as values JSON has: bytes in hex, moments in ISO 8601, floats as floats."""
        own = {item.name: plain(getattr(self, item.name)) for item in fields(self) if item.name not in _ANSWERS}
        answers = {
            "determinism": None if self.determinism is None else self.determinism.document(),
            "followed": None if self.followed is None else [asdict(one) for one in self.followed],
            "lineage": self.lineage.to_dict(),
            "online": [row.to_dict() for row in self.online],
            "redacted": [one.to_dict() for one in self.redacted],
            "rows": [row.to_dict() for row in self.rows],
            "served": None if self.served is None else self.served.to_dict(),
        }
        return own | answers

    def __repr__(self) -> str:
        """Return the answer on one line."""
        from backstory.lineage.story_page import story_page

        return f"<Story of {self.id}: {story_page(self).headline}>"

    def _page(self) -> Page:
        from backstory.lineage.story_page import story_page

        return story_page(self)
