"""What predictions stand on: documents of models, training, sources, groups, code, environment; entries; source rows.

Tables are left out: snapshots, positions and models' artifacts are as large as they are, and documents commit to them.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable

from backstory.columns.arrow_type import flatten
from backstory.columns.encode import encode_columns
from backstory.columns.tree import leaf_hashes, split_hashes
from backstory.errors import FormatError
from backstory.ledger.ledger import Ledger
from backstory.lineage.reference import parse_references
from backstory.lineage.store import snapshot_reader
from backstory.lineage.story import Story
from backstory.records import canonical
from backstory.records.canonical import JsonObject, JsonValue
from backstory.records.identity import digests_in
from backstory.records.limits import SUBTREE_ROWS
from backstory.tlog.proof import inclusion_proof

_DOCUMENT_SIZE_MAX = 16 << 20
"""Larger blobs are tables or artifacts and are not read."""

_NAMED_BY = {
    "source.fixed": "dataset",
    "group.recorded": "group",
    "model.registered": "model",
    "model.aliased": "model",
    "features.defined": "features",
}
"""Types of entries, and the member that names a document."""


def find_documents(ledger: Ledger, contexts: Iterable[str]) -> dict[str, bytes]:
    """Return the documents that some contexts lead to, directly or through others, by digest; the contexts too.

    Raises:
        VerificationError: One was changed.
        StorageError: One cannot be read; or that of a context, or of the model it names, is not there.
    """
    found: dict[str, bytes] = {}
    needed = set(contexts)
    needed |= {digest for context in needed for digest in digests_in(_model_of(ledger, context))}
    wanted = set(needed)
    while wanted:
        digest = wanted.pop()
        path = ledger.blobs.path(digest)
        if digest not in needed and (not path.is_file() or path.stat().st_size > _DOCUMENT_SIZE_MAX):
            continue  # a digest of something else, such as of a column
        data = ledger.blobs.get(digest)
        try:
            document = canonical.parse_object(data, "document")
        except FormatError:
            continue  # a table or an artifact
        found[digest] = data
        wanted |= {named for named in digests_in(document) if named not in found}
    return found


def _model_of(ledger: Ledger, context: str) -> JsonValue:
    model = ledger.document(context).get("model")
    return model.get("digest") if isinstance(model, dict) else None


def find_entries(ledger: Ledger, documents: Iterable[str]) -> list[int]:
    """Return the positions of the entries that name some documents, and of the log's first."""
    named = set(documents)
    found = [0]
    for type_, member in _NAMED_BY.items():
        found += [at for at in ledger.catalog.entries(type_) if ledger.log.entry(at).get(member) in named]
    return sorted(found)


def prove_rows(ledger: Ledger, stories: Iterable[Story]) -> list[JsonValue]:
    """Return the source rows that predictions were made from, each with its path under the root of its source.

    Rows about people are left out: of these the source's document has commitments only.

    Raises:
        NotFoundError: A snapshot is gone.
        VerificationError: One was changed.
    """
    found: list[JsonValue] = []
    for story in stories:
        references = parse_references(story.context.get("refs"))
        for row in story.rows:
            reference = references[row.reference]
            if row.state == "row" and row.position is not None and reference.group is None and not reference.personal:
                part = reference.part_of(row.position)
                proven = _prove_row(ledger, part.dataset, row.position - part.first)
                found.append({**proven, "prediction": story.id, "reference": row.reference})
    return found


def _prove_row(ledger: Ledger, dataset: str, index: int) -> JsonObject:
    reader = snapshot_reader(ledger, dataset)
    if reader is None:
        raise FormatError(f"bundle: source {dataset} is not about people, and has no snapshot in clear")
    roots = split_hashes(reader.subtrees())
    run, at = divmod(index, SUBTREE_ROWS)
    count = canonical.count_of(ledger.document(dataset), "rows")
    rows = reader.read_rows(run * SUBTREE_ROWS, min(SUBTREE_ROWS, count - run * SUBTREE_ROWS))
    path = [*inclusion_proof(split_hashes(leaf_hashes(rows)), at), *inclusion_proof(roots, run)]
    (row,) = encode_columns(flatten(rows.slice(at, 1))).rows()
    return {
        "dataset": dataset,
        "index": str(index),
        "path": [sibling.hex() for sibling in path],
        "row": base64.b64encode(row).decode(),
    }
