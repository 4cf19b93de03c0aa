"""As-of rows of a Feast feature store, by its point-in-time join."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from backstory.frames.table import frame_of_records
from backstory.lineage.online import key_by_column


class FeastAsOf:
    """Fetches features of an entity as of a moment: `backstory.FeastAsOf(store, ["stats:spend"], entity="cust")`.

    Feast keeps no versions of rows, so the moment decides, and what was written late into its offline store is seen as
    if it had been there: a `changed` may be that.
    """

    def __init__(self, store: Any, features: Sequence[str], *, entity: str | Sequence[str]) -> None:  # noqa: ANN401
        """Read a store.

        Args:
            store: A `feast.FeatureStore`.
            features: The features, as `view:feature`.
            entity: Join key or keys of the entity.
        """
        self._store, self._features = store, list(features)
        self._entity = (entity,) if isinstance(entity, str) else tuple(entity)

    def fetch(self, key: Any, *, version: str | None, at: datetime) -> Mapping[str, Any] | None:  # noqa: ANN401, ARG002
        """Return the features as they were; None if all are missing; see `backstory.lineage.online.AsOf`."""
        values = key_by_column(self._entity, key)
        entities = frame_of_records(values | {"event_timestamp": at})
        found = self._store.get_historical_features(entity_df=entities, features=self._features).to_df()
        rows = found.drop(columns=[*self._entity, "event_timestamp"]).dropna(how="all")
        if rows.empty:  # an entity that has no features is left out, or has missing ones: it is up to the offline store
            return None
        return rows.iloc[0].dropna().to_dict()  # type: ignore[no-any-return]
