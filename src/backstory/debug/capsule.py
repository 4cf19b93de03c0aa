"""Replay at level 0: whether all is there that a replay needs, by digests alone. Nothing is run, nothing sealed opened.

From the record, which leads to the log, to its context, environment, model, artifact, datasets, the snapshots of the
rows it was made of, and the edge tables of groups. What is there and is not what its digest says is an error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from backstory.columns.python_value import python_rows
from backstory.debug.case import Workshop
from backstory.debug.features_again import Stage
from backstory.debug.replay import Replay
from backstory.errors import BackstoryError, NotFoundError, StorageError, VerificationError
from backstory.ledger.read import Found
from backstory.lineage.plain import count_text
from backstory.lineage.reference import Part, Reference, parse_references
from backstory.lineage.registry import find_version
from backstory.records import canonical
from backstory.records.canonical import JsonObject, JsonValue

_SEALED = "sealed: there, and not opened"


def check_capsule(shop: Workshop, found: Found) -> Replay:
    """Follow every digest of a prediction.

    Args:
        shop: The archive.
        found: The prediction, which was proven when it was found.

    Returns:
        `exact` where everything is there; `not-replayable` with the names of what is gone.

    Raises:
        VerificationError: Something is there and was changed.
    """
    stages = list(_Capsule(shop, found).stages())
    gone = [stage.name for stage in stages if stage.verdict == "not-replayable"]
    sealed = sum(stage.note == _SEALED for stage in stages)
    right = f"every digest right of {len(stages) - sealed}, {sealed} sealed and not opened"
    whole = f"{count_text(len(stages), 'part')} looked at, all there, {right if sealed else 'every digest right'}"
    return Replay(
        id=found.id,
        verdict="not-replayable" if gone else "exact",
        reason=f"gone: {', '.join(gone)}" if gone else whole,
        level=0,
        stages=tuple(stages),
        environment={},
    )


class _Capsule:
    """What one prediction refers to."""

    def __init__(self, shop: Workshop, found: Found) -> None:
        self._shop = shop
        self._found = found
        self._seen: set[str] = set()

    def stages(self) -> Iterator[Stage]:
        """Yield a stage for each part."""
        place = self._found.place
        proof = f"leads to the root in entry {place.position}" if place else "not in the log yet: no proof covers it"
        yield Stage(name="record", verdict="exact", seconds=0.0, note=proof)
        shard = None if place is None else place.manifest.shard
        if shard is not None:
            yield self._stage("sealed values", lambda: self._in_vault(shard.name))
        digest = python_rows(self._found.table.select(["context"]))[0]["context"].hex()
        yield self._stage("context", lambda: self._document(digest))
        try:
            context = self._shop.ledger.document(digest)
        except StorageError:
            return
        yield self._stage("environment", lambda: self._document(context.get("environment")))
        model = context.get("model")
        if isinstance(model, dict):
            version = canonical.text_of(model, "digest")
            yield self._stage("model", lambda: self._document(version))
            yield self._stage("artifact", lambda: self._artifact(version))
        for name, reference in parse_references(context.get("refs") or {}).items():
            yield from self._reference(name, reference, self._position(name))

    def _stage(self, name: str, look: Callable[[], str]) -> Stage:
        clock = self._shop.ledger.world.monotonic_ns
        began = clock()
        try:
            note = look()
        except VerificationError:
            raise
        except BackstoryError as error:
            return Stage(name=name, verdict="not-replayable", seconds=(clock() - began) / 1e9, note=str(error))
        return Stage(name=name, verdict="exact", seconds=(clock() - began) / 1e9, note=note)

    def _document(self, digest: JsonValue) -> str:
        if not isinstance(digest, str):
            raise NotFoundError("the record names none")
        self._shop.ledger.blobs.checked_path(digest)
        return digest

    def _artifact(self, version: str) -> str:
        registered = find_version(self._shop.ledger, version)
        if registered.artifact is None:
            model = self._shop.ledger.document(version).get("model")
            raise NotFoundError(str(model.get("reason")) if isinstance(model, dict) else "the model has none")
        return self._document(registered.artifact)

    def _position(self, name: str) -> int | None:
        """Return the position a reference has in the record; None where it is sealed, broken or of no row."""
        if "row" not in self._found.table.column_names:
            return None
        row = python_rows(self._found.table.select(["row"]))[0]["row"]
        position = row.get(name)
        return position if isinstance(position, int) and position >= 0 else None

    def _reference(self, name: str, reference: Reference, position: int | None) -> Iterator[Stage]:
        if reference.group is not None:
            yield from self._group(name, reference.group)
        for part in reference.parts:
            if part.dataset not in self._seen:
                self._seen.add(part.dataset)
                yield self._stage(f"dataset {name}", lambda part=part: self._document(part.dataset))  # type: ignore[misc]
            is_there = position is not None and part.first <= position < part.end
            if is_there or (position is None and f"rows {part.dataset}" not in self._seen):
                self._seen.add(f"rows {part.dataset}")
                yield self._stage(f"rows {name}", lambda part=part: self._rows(part, reference, position))  # type: ignore[misc]

    def _group(self, name: str, digest: str) -> Iterator[Stage]:
        if digest in self._seen:
            return
        self._seen.add(digest)
        yield self._stage(f"group {name}", lambda: self._document(digest))
        try:
            document = self._shop.ledger.document(digest)
        except StorageError:
            return
        yield self._stage(f"edges {name}", lambda: self._edges(document))
        for inner, reference in parse_references(document.get("refs")).items():
            yield from self._reference(f"{name}.{inner}", reference, None)

    def _edges(self, document: JsonObject) -> str:
        sealed = document.get("sealed_edges")
        if isinstance(sealed, str):
            return self._in_vault(sealed)
        return self._document(document.get("edges"))

    def _rows(self, part: Part, reference: Reference, position: int | None) -> str:
        if reference.personal:
            return self._in_vault(f"{part.dataset}.shard")
        if position is None:
            self._shop.tracer.rows(part.dataset, 0, 1)
            return "the snapshot is there"
        self._shop.tracer.row(part, position)
        return f"row {position - part.first} of the snapshot"

    def _in_vault(self, name: str) -> str:
        if not self._shop.ledger.vault.path(name).is_file():
            raise NotFoundError(f"{name} is not in the vault: erased, or kept elsewhere")
        return _SEALED
