"""What a text names where a dataset version or a model version may stand."""

from __future__ import annotations

import re
from typing import Literal, TypeAlias

from backstory.errors import AmbiguousError, NotFoundError, QueryError
from backstory.ledger.ledger import Ledger
from backstory.lineage import dataset, registry
from backstory.records import canonical
from backstory.records.names import names_instead

Kind: TypeAlias = Literal["dataset", "model"]

_DIGEST_PREFIX = re.compile(r"[0-9a-f]{6,64}")


def find_either(ledger: Ledger, spec: str) -> tuple[Kind, str]:
    """Return what a text names, and its digest.

    Args:
        ledger: The archive.
        spec: A dataset version as `data.show` takes it, or a model version as `model` takes it.

    Raises:
        NotFoundError: There is none.
        AmbiguousError: Several fit.
        QueryError: It is no text.
    """
    if not isinstance(spec, str):
        raise QueryError(f"version: expected a name or digest as text, got {type(spec).__name__}")
    sources = {canonical.text_of(entry, "name") for entry in ledger.find_entries("source.fixed")}
    models = {version.name for version in registry.all_versions(ledger)}
    name = re.split("[:@]", spec, maxsplit=1)[0]
    if name in sources and name in models:
        raise AmbiguousError(f"version: a source and a model are called {name!r}; give the digest")
    if name in sources:
        return "dataset", dataset.find_version(ledger, spec).digest
    if name in models:
        return "model", registry.find_version(ledger, spec).digest
    if not _DIGEST_PREFIX.fullmatch(spec):
        raise NotFoundError(
            f"version: no source that was used and no model is called {name!r}{names_instead(name, sources | models)}"
        )
    found: list[tuple[Kind, str]] = [
        ("dataset", version.digest) for version in dataset.list_versions(ledger) if version.digest.startswith(spec)
    ]
    found += [("model", version.digest) for version in registry.all_versions(ledger) if version.digest.startswith(spec)]
    distinct = sorted(set(found))
    if len(distinct) != 1:
        kind = AmbiguousError if distinct else NotFoundError
        raise kind(f"version: expected one whose digest begins with {spec!r}, got {len(distinct)}")
    return distinct[0]
