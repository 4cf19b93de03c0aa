"""All that is known of one dataset version, without its rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from backstory.frames.profile import ColumnProfile, Profile
from backstory.ledger.ledger import Ledger
from backstory.lineage.answer import Answer
from backstory.lineage.data_page import dataset_page
from backstory.lineage.dataset import DatasetVersion, find_version, kept_text
from backstory.lineage.page import Page
from backstory.lineage.plain import plain
from backstory.records.access import Gate
from backstory.records.canonical import JsonObject

_QUARTILES = (0.25, 0.5, 0.75)


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetDetails(Answer):
    """What is known of a dataset version.

    Attributes:
        version: Which one it is, its schema, roots and column digests.
        profile: Counts, bounds and quantiles of its columns; None where it has none, or it is sealed.
    """

    version: DatasetVersion
    profile: Profile | None

    @property
    def about(self) -> JsonObject:
        """What was said of it: owner, purpose, licence, basis, origin, external, parents, step, contract."""
        return {name: value for name, value in self.version.about.items() if name not in ("profile", "v")}

    def to_dict(self) -> dict[str, Any]:
        """Return the answer as JSON has it."""
        version = self.version
        digests = version.column_digests
        return {
            "about": self.about,
            "columns": [
                {"digest": digests.get(name), "name": name, "profile": self._column(name), "type": type_}
                for name, type_ in version.schema.items()
            ],
            "digest": version.digest,
            "first": version.first,
            "kept": kept_text(version),
            "key": list(version.key),
            "name": version.name,
            "number": version.number,
            "part": version.part,
            "personal": version.personal,
            "root": version.document["root"],
            "rows": version.rows,
            "sorted_root": version.document.get("sorted"),
            "subject": version.document.get("subject"),
            "time": version.time,
        }

    def _column(self, name: str) -> dict[str, Any] | None:
        column = None if self.profile is None else self.profile.column(name)
        return None if column is None else _profile_dict(column)

    def _page(self) -> Page:
        return dataset_page(self.version, self.profile)


def show_dataset(ledger: Ledger, gate: Gate, spec: str) -> DatasetDetails:
    """Return all that is known of a dataset version; see `Data.show`."""
    version = find_version(ledger, spec)
    return DatasetDetails(version=version, profile=version.profile(ledger, gate))


def _profile_dict(column: ColumnProfile) -> dict[str, Any]:
    return {
        "distinct": column.distinct,
        "maximum": plain(column.maximum),
        "minimum": plain(column.minimum),
        "nans": column.nans,
        "nulls": column.nulls,
        "quartiles": plain(column.quantiles(_QUARTILES)),
        "values": plain(column.values),
    }
