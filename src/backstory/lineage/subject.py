"""What a question is about: a prediction, a model version or a dataset version, named by one text."""

from __future__ import annotations

import re
from uuid import UUID

from backstory.errors import BackstoryError, NotFoundError, QueryError
from backstory.ledger.ledger import Ledger
from backstory.ledger.read import Found, find_record
from backstory.lineage import dataset, registry
from backstory.lineage.dataset import DatasetVersion
from backstory.lineage.registry import Registered
from backstory.lineage.version_spec import find_either
from backstory.records.envelope import PREDICTION

_ID = re.compile(r"[0-9A-Fa-f-]{1,36}")


def find_subject(ledger: Ledger, spec: str | UUID) -> Found | Registered | DatasetVersion:
    """Return what a text names.

    Args:
        ledger: The archive.
        spec: Id of a prediction, or its beginning; else a model version or a dataset version by name or digest.

    Raises:
        NotFoundError: There is none.
        AmbiguousError: Several fit.
        QueryError: It is no text, or no id and no name there is.
    """
    if not isinstance(spec, str | UUID):
        raise QueryError(f"prediction: expected the text of an id, got {type(spec).__name__}")
    spec = str(spec)
    if _ID.fullmatch(spec):
        try:
            return find_record(ledger, spec, PREDICTION)
        except NotFoundError as error:
            missing = error
        try:
            kind, digest = find_either(ledger, spec)
        except NotFoundError:
            raise missing from None
    else:
        try:
            kind, digest = find_either(ledger, spec)
        except NotFoundError as error:
            raise _no_id(ledger, spec, error) from None
    return dataset.find_version(ledger, digest) if kind == "dataset" else registry.find_version(ledger, digest)


def _no_id(ledger: Ledger, spec: str, missing: NotFoundError) -> BackstoryError:
    """Return what is wrong with a text that is no id: also that, unless it can only be meant as a version."""
    if ":" in spec or "@" in spec:
        return missing
    try:
        find_record(ledger, spec, PREDICTION)
    except QueryError as error:
        return QueryError(f"{error}; and {missing}; by the id of a request `search` finds it: request_id = '…'")
    return missing
