"""Checks the indices inside loaded trees before anything follows them.

scikit-learn's compiled code trusts the child and feature numbers of its trees; a crafted file could send it outside its
arrays. Children must stand after their parent and inside the tree, so a walk always ends; features must exist. This
makes a bad tree an error. It does not vouch for every compiled structure (support vectors, boosters).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from backstory.errors import ModelError

_TREES = {
    ("sklearn.tree._tree", "Tree"): "tree",
    ("sklearn.ensemble._hist_gradient_boosting.predictor", "TreePredictor"): "predictor",
    ("sklearn.neighbors._kd_tree", "KDTree"): "neighbours",
    ("sklearn.neighbors._kd_tree", "KDTree32"): "neighbours",
    ("sklearn.neighbors._kd_tree", "KDTree64"): "neighbours",
    ("sklearn.neighbors._ball_tree", "BallTree"): "neighbours",
    ("sklearn.neighbors._ball_tree", "BallTree32"): "neighbours",
    ("sklearn.neighbors._ball_tree", "BallTree64"): "neighbours",
}

BITSET_WORDS = 8
"""32-bit words of one set of categories in a histogram tree: 256 bits."""


def check_trees(model: object) -> None:
    """Walk everything a loaded model holds and check each tree.

    Args:
        model: The model as it came out of its file, not yet used.

    Raises:
        ModelError: A node points outside its tree, back to an earlier node, or to a feature the model does not have.
    """
    seen: set[int] = set()
    # (object, number of features of the nearest estimator around it)
    waiting: list[tuple[Any, int | None]] = [(model, None)]
    while waiting:
        thing, features = waiting.pop()
        if thing is None or isinstance(thing, bool | int | float | str | bytes | type) or id(thing) in seen:
            continue
        seen.add(id(thing))
        kind = _TREES.get((type(thing).__module__, type(thing).__name__))
        if kind is not None:
            _check(kind, thing, features)
        waiting.extend((item, _feature_count(thing, features)) for item in _inside(thing))


def _inside(thing: Any) -> Iterable[Any]:
    if isinstance(thing, dict):
        return thing.values()
    if isinstance(thing, list | tuple | set | frozenset):
        return thing
    if type(thing).__module__ == "numpy":
        return thing.ravel().tolist() if getattr(getattr(thing, "dtype", None), "hasobject", False) else ()
    return list(getattr(thing, "__dict__", {}).values())


def _feature_count(thing: Any, around: int | None) -> int | None:
    own = getattr(thing, "__dict__", {}).get("n_features_in_")
    return own if isinstance(own, int) else around


def _check(kind: str, tree: Any, features: int | None) -> None:
    if kind == "neighbours":
        sound = _neighbours_are_sound(tree)
    elif kind == "predictor":
        sound = _predictor_is_sound(tree, features)
    else:
        sound = _tree_is_sound(tree, features)
    if not sound:
        msg = f"model: expected a tree whose nodes stay inside it, got a damaged {type(tree).__name__}"
        raise ModelError(msg)


def _tree_is_sound(tree: Any, features: int | None) -> bool:
    # The arrays below are views of `node_count` nodes, so the count is checked against what was allocated first.
    if not 0 < tree.node_count <= tree.capacity:
        return False
    inner = tree.children_left != -1
    limit = tree.n_features if features is None else min(tree.n_features, features)
    return _nodes_are_sound(inner, tree.children_left, tree.children_right, tree.feature, limit)


def _predictor_is_sound(tree: Any, features: int | None) -> bool:
    from sklearn.ensemble._hist_gradient_boosting.common import PREDICTOR_RECORD_DTYPE

    nodes, bitsets = tree.nodes, tree.raw_left_cat_bitsets
    if nodes.dtype != PREDICTOR_RECORD_DTYPE or nodes.ndim != 1 or bitsets.ndim != 2 or features is None:  # noqa: PLR2004
        return False
    inner = nodes["is_leaf"] == 0
    categorical = inner & (nodes["is_categorical"] != 0)
    if categorical.any() and (
        bitsets.shape[1] != BITSET_WORDS or (nodes["bitset_idx"][categorical] >= len(bitsets)).any()
    ):
        return False
    left, right = nodes["left"].astype("int64"), nodes["right"].astype("int64")
    return _nodes_are_sound(inner, left, right, nodes["feature_idx"].astype("int64"), features)


def _nodes_are_sound(inner: Any, left: Any, right: Any, feature: Any, features: int) -> bool:
    count = len(inner)
    parents = inner.nonzero()[0]
    if count == 0 or len(parents) == 0:
        return count > 0
    left, right, feature = left[parents], right[parents], feature[parents]
    return bool(
        ((left > parents) & (left < count) & (right > parents) & (right < count)).all()
        and ((feature >= 0) & (feature < features)).all()
    )


def _neighbours_are_sound(tree: Any) -> bool:
    data, order, nodes, bounds = tree.get_arrays()
    count = len(data)
    return bool(
        len(order) == count
        and bounds.shape[1] == len(nodes)
        and ((order >= 0) & (order < count)).all()
        and ((nodes["idx_start"] >= 0) & (nodes["idx_start"] <= nodes["idx_end"]) & (nodes["idx_end"] <= count)).all()
    )
