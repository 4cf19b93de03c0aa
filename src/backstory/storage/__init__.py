"""Where bytes live: durable writes, blobs, segment files, vault shards and keys, the spool, the lock store.

Knows files and formats; knows nothing of models, lineage or who may read. Layout: docs/format.md section 16.
"""
