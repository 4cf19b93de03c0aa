"""Makes a skops file the same bytes for the same model, and gives the digest of what it holds.

A skops file is a zip of `schema.json` (a tree of nodes) and array files. Two dumps of one object differ: nodes and
files are named after memory addresses, zip entries carry the time, padding between array fields is whatever memory
held.

- `rewrite` numbers ids and files in document order, zeroes padding and the counters of searches, and drops times. The
  result is still a skops file.
- `content_digest` hashes the tree from the leaves up. Array files stand as their SHA-256; ids and the skops version do
  not count; an id met again stands for its first node, as it does when skops loads. So sharing between equal values,
  which changes when a model is loaded and dumped again, does not count either.
- `part_digests` gives the same of parts of a model, such as the steps of a pipeline.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Iterable, Iterator
from typing import Any

from backstory.errors import ModelError

SCHEMA = "schema.json"
"""The zip entry that holds the tree of nodes."""

CONTENT_SIZE_MAX = 8 * 1024**3
"""Bytes of all entries unpacked; far above real models, below what a crafted zip could claim."""

_EPOCH = (1980, 1, 1, 0, 0, 0)
_STATELESS = frozenset({"JsonNode", "TypeNode", "FunctionNode"})
_UNORDERED = "SetNode"
_SEARCH_TREES = frozenset({("sklearn.neighbors._kd_tree", "KDTree"), ("sklearn.neighbors._ball_tree", "BallTree")})
_SEARCH_COUNTERS = slice(7, 11)
"""Places of trims, leaves, splits and calls in the state of a search tree, which every prediction increments."""


def read_zip(data: bytes) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Read the schema and the array files.

    Args:
        data: A skops file.

    Raises:
        ModelError: Not a zip with a schema, or over `CONTENT_SIZE_MAX`.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > CONTENT_SIZE_MAX:
                msg = f"model: expected a skops file of at most {CONTENT_SIZE_MAX} bytes unpacked, got a larger one"
                raise ModelError(msg)
            members = {name: archive.read(name) for name in archive.namelist()}
        schema = json.loads(members.pop(SCHEMA))
    except (zipfile.BadZipFile, KeyError, ValueError, RecursionError, NotImplementedError, EOFError) as error:
        msg = f"model: expected a skops file, got {len(data)} bytes that are not one"
        raise ModelError(msg) from error
    if not isinstance(schema, dict):
        msg = f"model: expected a skops schema that is an object, got {type(schema).__name__}"
        raise ModelError(msg)
    return schema, members


def rewrite(data: bytes) -> bytes:
    """Return the same skops file in its reproducible form.

    Args:
        data: A skops file as skops wrote it.

    Raises:
        ModelError: Not a skops file.
    """
    schema, members = read_zip(data)
    ids: dict[object, int] = {}
    files: dict[str, str] = {}
    for node in _nodes(schema):
        _drop_traces_of_use(node)
        if node.get("__loader__") in _STATELESS:
            # Sharing of immutable values depends on the interpreter's caches and changes nothing.
            node.pop("__id__", None)
        elif "__id__" in node:
            # From 1: skops takes id 0 for "no id".
            node["__id__"] = ids.setdefault(node["__id__"], len(ids) + 1)
        if isinstance(node.get("file"), str):
            name = node["file"]
            node["file"] = files.setdefault(name, f"{len(files)}.{name.rpartition('.')[2]}")
    stable = {new: _stable_member(old, members[old]) for old, new in files.items()}
    return _write_zip({SCHEMA: json.dumps(schema, separators=(",", ":")).encode(), **stable})


def named_types(schema: dict[str, Any]) -> frozenset[tuple[str, str]]:
    """Return every (loader, type name) a schema mentions."""
    return frozenset(
        (str(node["__loader__"]), f"{node.get('__module__')}.{node.get('__class__')}")
        for node in _nodes(schema)
        if "__loader__" in node
    )


def content_digest(data: bytes) -> str:
    """Return the SHA-256, in hex, of what a rewritten skops file holds.

    Args:
        data: The outcome of `rewrite`.

    Raises:
        ModelError: Not a skops file.
    """
    schema, members = read_zip(data)
    schema.pop("_skops_version", None)
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in members.items()}
    return _digest(schema, hashes, {})


def part_digests(
    data: bytes, paths: Iterable[tuple[str | int, ...]]
) -> dict[tuple[str | int, ...], tuple[str, frozenset[str]]]:
    """Return what `content_digest` would say of parts of a model on their own, and the types each mentions.

    Args:
        data: The outcome of `rewrite`.
        paths: Where the parts stand: names of attributes, and places in lists and tuples.

    Returns:
        Digest and names of types by path; a part that is not there is left out.

    Raises:
        ModelError: Not a skops file.
    """
    schema, members = read_zip(data)
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in members.items()}
    outer = {"protocol": schema["protocol"]} if "protocol" in schema else {}
    found = {}
    for path in paths:
        node = _node_at(schema, path)
        if node is not None:
            whole = {**node, **outer}
            whole.pop("_skops_version", None)
            found[path] = _digest(whole, hashes, {}), frozenset(name for _, name in named_types(node))
    return found


def _node_at(node: Any, path: tuple[str | int, ...]) -> dict[str, Any] | None:
    for key in path:
        while isinstance(node, dict) and "__loader__" in node:
            node = node.get("content")
        try:
            node = node[key]
        except (KeyError, IndexError, TypeError):
            return None
    return node if isinstance(node, dict) and "__loader__" in node else None


def _digest(node: dict[str, Any], files: dict[str, str], seen: dict[int, str]) -> str:
    number = node.get("__id__")
    if number in seen:
        return seen[number]
    if number is not None:
        seen[number] = "cycle"  # what an object inside itself stands for, until its own digest is known
    plain = {key: _plain(value, files, seen) for key, value in node.items() if key != "__id__"}
    if isinstance(node.get("file"), str):
        plain["file"] = files[node["file"]]
    if node.get("__loader__") == _UNORDERED and isinstance(plain.get("content"), list):
        plain["content"] = sorted(plain["content"], key=json.dumps)
    digest = hashlib.sha256(json.dumps(plain, sort_keys=False, separators=(",", ":")).encode()).hexdigest()
    if number is not None:
        seen[number] = digest
    return digest


def _plain(value: Any, files: dict[str, str], seen: dict[int, str]) -> Any:
    if isinstance(value, dict):
        if "__loader__" in value:
            return {"node": _digest(value, files, seen)}
        return {key: _plain(item, files, seen) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item, files, seen) for item in value]
    return value


def _nodes(value: Any) -> Iterator[dict[str, Any]]:
    # In document order, without recursion: a schema can be nested deeper than Python's stack.
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            yield item
            waiting.extend(reversed(list(item.values())))
        elif isinstance(item, list):
            waiting.extend(reversed(item))


def _drop_traces_of_use(node: dict[str, Any]) -> None:
    # What using or loading a model changes without changing what it answers.
    name = (node.get("__loader__"), node.get("__module__"), node.get("__class__"))
    if name[0] == "ObjectNode" and name[1:] in _SEARCH_TREES:
        for counter in node["content"]["content"][_SEARCH_COUNTERS]:
            counter["content"] = "0"
    elif name[0] == "PartialNode" and node["content"]["namespace"].get("content") == {}:
        node["content"]["namespace"] = {
            "__class__": "str",
            "__module__": "builtins",
            "__loader__": "JsonNode",
            "content": "null",
            "is_json": True,
        }


def _stable_member(name: str, content: bytes) -> bytes:
    if name.endswith(".npy"):
        return _without_padding(content)
    if name.endswith(".npz"):
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return _write_zip({inner: _without_padding(archive.read(inner)) for inner in sorted(archive.namelist())})
    return content


def _without_padding(content: bytes) -> bytes:
    import numpy as np

    array = np.load(io.BytesIO(content), allow_pickle=False)
    if array.dtype.names is None:
        return content
    clean = np.zeros(array.shape, array.dtype)
    for field in array.dtype.names:
        clean[field] = array[field]
    written = io.BytesIO()
    np.save(written, clean, allow_pickle=False)
    return written.getvalue()


def _write_zip(members: dict[str, bytes]) -> bytes:
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", zipfile.ZIP_STORED) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name, _EPOCH), content)
    return written.getvalue()
