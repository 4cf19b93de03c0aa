"""Tables about people that are no records: kept in the vault, under keys and salts of their own.

What a document says of one is its salted root, and a keyed digest that equal tables share. Bytes: docs/format.md
section 11.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from backstory.columns.arrow_type import flat_fields
from backstory.columns.commit import personal_leaves
from backstory.columns.tree import leaf_hashes, root_of_subtrees, subtree_roots
from backstory.ledger.ledger import Ledger
from backstory.records import canonical
from backstory.records.canonical import JsonObject, JsonValue
from backstory.records.keyed import keyed
from backstory.records.schema import dataset_schema

if TYPE_CHECKING:
    import pyarrow as pa

DATASET_KEY = "datasets"
"""The key file with the key of what equal tables about people share."""


def keep_sealed_table(ledger: Ledger, table: pa.Table, earlier: Iterable[JsonValue], member: str) -> JsonObject:
    """Store a table about people in the vault, unless an earlier document has the same.

    Args:
        ledger: The archive.
        table: The table.
        earlier: Documents that may refer to an equal one.
        member: Member of the document that names the shard: `sealed_edges` or `sealed_table`.

    Returns:
        Members of the document that refers to it: the shard's name, the salted `root` of its rows, how many `rows`,
        and the keyed `content` that equal tables share.
    """
    key = ledger.keys.get_or_create(DATASET_KEY, "key")["key"]
    names = canonical.encode(dataset_schema(flat_fields(table.schema)))  # which leaves do not hold
    plain = root_of_subtrees(subtree_roots(leaf_hashes(table))) + names
    content = keyed(key, plain)
    for document in earlier:
        if isinstance(document, dict) and document.get("content") == content:
            return {name: document[name] for name in ("content", "root", "rows", member)}
    keys = {part: ledger.world.random_bytes(32) for part in ("salt_key", "shard_key")}
    root = root_of_subtrees(subtree_roots(personal_leaves(table, keys["salt_key"]))).hex()
    name = f"{root}.shard"
    ledger.keys.put(name, keys)
    ledger.vault.write_table(name, table, keys["shard_key"])
    return {"content": content, "root": root, "rows": str(table.num_rows), member: name}
