"""What is said about a dataset version beside its rows: where it came from, whose it is, what it may be used for.

A dataset version is named by its content alone, so equal rows are one version wherever they came from. What is said of
it is a document of its own, which the `source.fixed` entry names. Bytes: docs/format.md section 23.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from backstory.records.canonical import JsonObject


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What is said about a dataset version.

    Attributes:
        owner: Who answers for the data: a team or role, no person's name.
        purpose: What it may be used for.
        licence: Under which licence it is used.
        basis: The legal basis of its use.
        origin: Where it came from, in detail: `system`, and what that system needs to find it again.
        external: Ids that other systems give to the same snapshot, by system: `iceberg`, `delta`, `lakefs`, `dvc`.
        parents: Digests of the dataset versions it was made from.
        step: The step that made it: digest of its document.
        contract: The verdict of the contract it was checked against.
        contract_text: That contract, to be stored with it; no part of the document.
    """

    owner: str | None = None
    purpose: str | None = None
    licence: str | None = None
    basis: str | None = None
    origin: JsonObject | None = None
    external: Mapping[str, str] = field(default_factory=dict)
    parents: tuple[str, ...] = ()
    step: str | None = None
    contract: JsonObject | None = None
    contract_text: str | None = None

    def document(self) -> JsonObject:
        """Return what is said as JSON, without what nobody said."""
        said: JsonObject = {
            "basis": self.basis,
            "contract": self.contract,
            "external": dict(self.external) or None,
            "licence": self.licence,
            "origin": self.origin,
            "owner": self.owner,
            "parents": list(self.parents) or None,
            "purpose": self.purpose,
            "step": self.step,
        }
        return {"v": 1, **{name: value for name, value in said.items() if value is not None}}
