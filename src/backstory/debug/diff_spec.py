"""What two texts name that are to be compared: predictions, models, dataset versions or contexts; without guessing."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Literal, TypeAlias, get_args

from backstory.errors import AmbiguousError, BackstoryError, InputError, NotFoundError, QueryError
from backstory.ledger.ledger import Ledger
from backstory.ledger.read import find_record
from backstory.lineage import registry
from backstory.lineage.dataset import find_versions
from backstory.lineage.impact import contexts_now
from backstory.records.envelope import PREDICTION

Kind: TypeAlias = Literal["prediction", "model", "data", "context"]

_WORDS: dict[Kind, str] = {
    "prediction": "prediction",
    "model": "model version",
    "data": "dataset version",
    "context": "context",
}
KINDS: tuple[Kind, ...] = get_args(Kind)
_EXACT = ", ".join(f"`{kind}:…`" for kind in KINDS)
_DIGEST = re.compile(r"[0-9a-f]{6,64}")


def find_pair(ledger: Ledger, before: str, after: str) -> tuple[Kind, str, str]:
    """Return what two texts name: of which kind both are, and for each what finds it.

    Args:
        ledger: The archive.
        before: A prediction's id or its beginning, a model version, a dataset version, or a context's digest; with
            `prediction:`, `model:`, `data:` or `context:` before it, that and nothing else. `context:` takes the id of
            a prediction too, for its context.
        after: The same of the other.

    Returns:
        The kind; and the id, digest or spec of each.

    Raises:
        AmbiguousError: Both can be of several kinds, or one fits several things.
        NotFoundError: There is nothing of a name.
        QueryError: They are of different kinds.
    """
    one, two = _readings(ledger, before), _readings(ledger, after)
    shared = [kind for kind in KINDS if kind in one and kind in two]
    if len(shared) > 1:
        words = " or ".join(_WORDS[kind] for kind in shared)
        raise AmbiguousError(f"diff: {before!r} and {after!r} can each name a {words}: say which, by {_EXACT}")
    if not shared:
        told = " and ".join(
            f"{spec!r} names a {' or '.join(_WORDS[kind] for kind in found)}"
            for spec, found in ((before, one), (after, two))
        )
        raise QueryError(f"diff: expected two of a kind, but {told}")
    (kind,) = shared
    found = [reading[kind] for reading in (one, two)]
    for reading in found:
        if isinstance(reading, BackstoryError):
            raise reading
    return kind, str(found[0]), str(found[1])


def _readings(ledger: Ledger, spec: str) -> dict[Kind, str | AmbiguousError]:
    """Return what a text can name, by kind."""
    if not isinstance(spec, str):
        raise QueryError(f"diff: expected a text that names something, got {type(spec).__name__}")
    for kind in KINDS:
        if spec.startswith(f"{kind}:"):
            return {kind: _FINDERS[kind](ledger, spec.removeprefix(f"{kind}:"))}
    read = {kind: _reading(ledger, kind, spec) for kind in KINDS}
    found = {kind: reading for kind, reading in read.items() if reading is not None}
    if not found:
        raise NotFoundError(
            f"diff: no prediction, model version, dataset version or context is named {spec!r}; say which, by {_EXACT}"
        )
    return found


def _reading(ledger: Ledger, kind: Kind, spec: str) -> str | AmbiguousError | None:
    """Return what a text names as one of a kind; an error where it names several, None where it names none."""
    find = _context_by_digest if kind == "context" else _FINDERS[kind]
    try:
        return find(ledger, spec)
    except AmbiguousError as error:
        return error
    except (NotFoundError, InputError):  # a text that can be no id or spec of this kind
        return None


def _prediction(ledger: Ledger, spec: str) -> str:
    return find_record(ledger, spec, PREDICTION).id


def _model(ledger: Ledger, spec: str) -> str:
    return registry.find_version(ledger, spec).digest


def _data(ledger: Ledger, spec: str) -> str:
    find_versions(ledger, spec)
    return spec


def _context(ledger: Ledger, spec: str) -> str:
    """Return the digest of a context that is named by it, or by a prediction made in it."""
    found: dict[str, None] = {}
    for find in (_context_by_digest, _context_of):
        try:
            found[find(ledger, spec)] = None
        except (NotFoundError, QueryError):
            continue
    if len(found) > 1:
        raise AmbiguousError(f"context: {spec!r} begins the digest of one and the id of a prediction of another")
    if not found:
        raise NotFoundError(f"context: expected 6 digits of a digest or the id of a prediction, got {spec!r}")
    return next(iter(found))


def _context_by_digest(ledger: Ledger, spec: str) -> str:
    fitting = [one for one in contexts_now(ledger) if one.startswith(spec)] if _DIGEST.fullmatch(spec) else []
    if len(fitting) > 1:
        raise AmbiguousError(f"context: {len(fitting)} digests begin with {spec!r}")
    if not fitting:
        raise NotFoundError(f"context: no digest begins with {spec!r}")
    return fitting[0]


def _context_of(ledger: Ledger, spec: str) -> str:
    record = find_record(ledger, spec, PREDICTION).table
    return str(record["context"][0].as_py().hex())


_FINDERS: dict[Kind, Callable[[Ledger, str], str]] = {
    "prediction": _prediction,
    "model": _model,
    "data": _data,
    "context": _context,
}
