"""Another model version in place of the one that made a prediction: whether it takes the recorded features at all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from backstory.debug.case import Case, Workshop
from backstory.errors import ColumnError
from backstory.lineage.registry import Registered
from backstory.models.sklearn_lineage import input_names
from backstory.records import canonical
from backstory.records.schema import dataset_columns


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class OtherModel:
    """A model version that is asked instead.

    Attributes:
        name: Name and number of the version.
        estimator: The model, from its artifact.
        columns: The features it takes, in order; empty where nothing says.
    """

    name: str
    estimator: object
    columns: tuple[str, ...]

    def require_features(self, case: Case, columns: Sequence[str]) -> None:
        """Refuse features it does not take; those of an array have no names, so there only their number counts.

        Raises:
            ColumnError: It lacks some, has others, or has them in another order.
        """
        container = case.context.get("container")
        is_array = isinstance(container, dict) and container.get("kind") == "numpy"
        if not self.columns or (is_array and len(columns) == len(self.columns)):
            return
        missing = [name for name in self.columns if name not in columns]
        unknown = [name for name in columns if name not in self.columns]
        said = [f"without {', '.join(map(repr, missing))}"] if missing else []
        said += [f"with {', '.join(map(repr, unknown))}"] if unknown else []
        if not said and list(columns) != list(self.columns):
            said = ["in another order"]
        if said:
            raise ColumnError(
                f"whatif: expected the {len(self.columns)} features of {self.name}, got them {', '.join(said)}"
            )


def other_model(shop: Workshop, version: Registered) -> OtherModel:
    """Load a version to ask instead.

    Raises:
        ModelError: It has no artifact, or that cannot be loaded safely.
        VerificationError: The artifact was changed.
    """
    estimator = shop.load({"digest": version.digest})
    training = shop.ledger.document(version.digest).get("training")
    schema = canonical.text_of(training, "schema") if isinstance(training, dict) else None
    given = None if schema is None else dataset_columns(shop.ledger.document(schema))
    return OtherModel(
        name=f"{version.name}:{version.version}",
        estimator=estimator,
        columns=tuple(input_names(estimator, given)),
    )
