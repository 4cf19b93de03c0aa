"""What predictions of a model version are compared with: the profile of its training features, and its contract.

The profile goes with what is said of the version; that of a model trained on people is in the vault, and reading it to
compare discloses nothing but flags, which are sealed themselves. Bytes: docs/format.md section 26.
"""

from __future__ import annotations

import logging

import pyarrow as pa

from backstory.errors import BackstoryError
from backstory.frames.contract import Contract
from backstory.frames.profile import Profile
from backstory.frames.table import to_arrow
from backstory.frames.watch import Watch
from backstory.ledger.ledger import Ledger
from backstory.lineage.contracts import stored_contract
from backstory.lineage.refs import RowRefs
from backstory.lineage.store import LineageStore, read_profile
from backstory.records import canonical
from backstory.records.canonical import JsonObject, JsonValue

_log = logging.getLogger("backstory")


def keep_training_profile(store: LineageStore, rows: RowRefs, *, personal: bool) -> JsonValue:
    """Keep the profile of the features a model is trained on; return the member `profile` of what is said of it."""
    features = to_arrow(rows.features)
    if rows.selector is not None:
        features = features.take(pa.array(rows.selector))
    return store.keep_profile(features, sealed=personal)


def watch_of(ledger: Ledger, name: str, digest: str) -> tuple[Watch, JsonObject] | None:
    """Return what predictions of a version are compared with, and what their context says of that.

    None where there is nothing to compare with, or it was erased or cannot be read: that must not keep a model from
    predicting, and is logged.

    Args:
        ledger: The archive.
        name: The model's name.
        digest: Digest of the version.
    """
    document: JsonObject = {}
    profile: Profile | None = None
    checked: Contract | None = None
    try:
        entries = (entry for entry in ledger.find_entries("model.registered", name) if entry.get("model") == digest)
        about = next(entries, {}).get("about")
        said = ledger.document(about).get("profile") if isinstance(about, str) else None
        profile = read_profile(ledger, said)
        if isinstance(said, dict):
            document["sealed_profile"] = canonical.text_of(said, "root")
        elif profile is not None:
            document["profile"] = said
    except BackstoryError as error:
        _log.warning("predictions of %s are not compared with its training features: %s", name, error)
    contract = ledger.document(digest).get("contract")
    try:
        if isinstance(contract, str):
            checked = stored_contract(ledger, contract, name)
            document["contract"] = contract
    except BackstoryError as error:
        _log.error("predictions of %s are not checked against its contract: %s", name, error)
    return (Watch(profile, checked), document) if document else None
