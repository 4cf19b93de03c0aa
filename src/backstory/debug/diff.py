"""What is different about these two? Predictions, model versions, dataset versions or contexts, stage by stage.

One looks only where digests differ: what is equal is one line and is not read.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from backstory.debug.case import Workshop
from backstory.debug.diff_context import diff_contexts
from backstory.debug.diff_model import diff_models
from backstory.debug.diff_page import diff_page
from backstory.debug.diff_parts import Documents, StageDiff
from backstory.debug.diff_prediction import Side, diff_predictions, read_side
from backstory.debug.diff_spec import Kind, find_pair
from backstory.debug.diff_swap import Swap, swap_predictions
from backstory.ledger.read import find_record
from backstory.lineage import registry
from backstory.lineage.answer import Answer
from backstory.lineage.data_diff import DataDiff
from backstory.lineage.page import Page
from backstory.records.envelope import PREDICTION


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Diff(Answer):
    """What differs between two things of a kind.

    Attributes:
        kind: `prediction`, `model`, `data` or `context`.
        before: What the first is called.
        after: What the second is called.
        stages: The stages in the order in which one leads to the next, each with what differs; none of datasets.
        swap: Of two predictions whose features and models both differ, what each model says of each one's features.
        data: Of two dataset versions, which columns and rows changed.
        opened: Digests of the documents that were read to find out.
    """

    kind: Kind
    before: str
    after: str
    stages: tuple[StageDiff, ...] = ()
    swap: Swap | None = None
    data: DataDiff | None = None
    opened: tuple[str, ...] = ()

    @property
    def first(self) -> StageDiff | None:
        """The first stage that differs."""
        return next((stage for stage in self.stages if stage.same is False), None)

    @property
    def same(self) -> bool | None:
        """Whether nothing differs; None where nothing was seen to, and not all could be compared."""
        if self.data is not None:
            return self.data.identical
        if self.first is None and any(stage.same is None for stage in self.stages):
            return None
        return self.first is None

    def to_dict(self) -> dict[str, Any]:
        """Return the answer as values JSON has."""
        return {
            "after": self.after,
            "before": self.before,
            "data": None if self.data is None else self.data.to_dict(),
            "first": None if self.first is None else self.first.name,
            "kind": self.kind,
            "opened": list(self.opened),
            "same": self.same,
            "stages": [stage.to_dict() for stage in self.stages],
            "swap": None if self.swap is None else self.swap.to_dict(),
        }

    def __repr__(self) -> str:
        """Return the answer on one line."""
        return f"<Diff of {self.before} and {self.after}: {diff_page(self).headline}>"

    def _page(self) -> Page:
        return diff_page(self)


def compare(shop: Workshop, before: str, after: str, diff_data: Callable[[str, str], DataDiff]) -> Diff:
    """Compare two things of a kind.

    Args:
        shop: The archive.
        before: What names the first; see `find_pair`.
        after: What names the second.
        diff_data: Compares two dataset versions.

    Raises:
        AmbiguousError: A text names several things.
        NotFoundError: One names nothing.
        QueryError: They are of different kinds.
        VerificationError: Something was changed.
    """
    kind, one, two = find_pair(shop.ledger, before, after)
    documents = Documents(shop.ledger)
    if kind == "data":
        return Diff(kind=kind, before=one, after=two, data=diff_data(one, two))
    if kind == "prediction":
        return _predictions(shop, documents, one, two)
    stages = (diff_models if kind == "model" else diff_contexts)(shop, documents, one, two)
    if kind == "model":
        one, two = (_model_name(shop, digest) for digest in (one, two))
    return Diff(kind=kind, before=one, after=two, stages=stages, opened=tuple(documents.opened))


def _predictions(shop: Workshop, documents: Documents, before: str, after: str) -> Diff:
    one, two = (read_side(shop, documents, find_record(shop.ledger, name, PREDICTION)) for name in (before, after))
    stages = diff_predictions(shop, documents, one, two)
    swap = swap_predictions(shop, one, two) if _needs_swap(stages, one, two) else None
    return Diff(
        kind="prediction", before=one.found.id, after=two.found.id, stages=stages, swap=swap,
        opened=tuple(documents.opened),
    )  # fmt: skip


def _needs_swap(stages: tuple[StageDiff, ...], one: Side, two: Side) -> bool:
    """Say whether features and models both differ: otherwise it is clear what the output differs by."""
    differs = {stage.name for stage in stages if stage.same is False}
    return {"features", "model", "output"} <= differs and not (one.sealed or two.sealed)


def _model_name(shop: Workshop, digest: str) -> str:
    version = registry.find_version(shop.ledger, digest)
    return f"{version.name}:{version.version}"
