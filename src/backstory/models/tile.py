"""Tiles: calls of one fixed size, so that a row is computed the same way whatever other rows are asked for.

Many libraries choose the order of sums by the number of rows. Where every call has as many, some of them give the same
bits for a row in any place among any others; which do is measured, never assumed (`backstory.models.determinism`,
docs/adr/0019).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from backstory.errors import InputError, ModelError

if TYPE_CHECKING:
    from numpy.typing import NDArray

TILES = (64, 256)
"""Sizes of tiles that are tried when a model is registered."""

TILE_ROWS_MAX = 65_536
"""Rows of the largest tile."""


def taken(features: Any, places: NDArray[np.intp]) -> Any:
    """Return some rows of a table in memory of their own, laid out the same way whatever the table is a part of.

    Args:
        features: A pandas or polars frame, a pyarrow table or batch, or an array.
        places: Which rows.

    Raises:
        InputError: It is something else.
    """
    if isinstance(features, np.ndarray):
        return np.ascontiguousarray(features[places])
    if hasattr(features, "iloc"):
        return features.take(places).copy()  # a taken frame may be laid out by row or by column, a copy is by column
    library = type(features).__module__.partition(".")[0]
    if library == "polars":
        return features[places].rechunk()
    if library == "pyarrow":
        return features.take(places)
    raise InputError(f"tile: expected a frame, a table or an array, got {type(features).__name__}")


def run_in_tiles(run: Callable[[Any], Any], features: Any, tile: int) -> NDArray[Any]:
    """Run a model on calls of exactly `tile` rows and return the outputs of the rows there are.

    The last tile is filled up by repeating its last row. Tensors come back as one array.

    Args:
        run: The model's method.
        features: The rows, at least one.
        tile: Rows of each call.

    Raises:
        InputError: The rows cannot be cut.
        ModelError: The model returns something else than one array with one output a row.
    """
    count = len(features)
    outputs = []
    for first in range(0, count, tile):
        output = run(taken(features, np.minimum(np.arange(first, first + tile), count - 1)))
        if hasattr(output, "detach"):  # a tensor of PyTorch
            output = output.detach().cpu().numpy()
        if not isinstance(output, np.ndarray) or output.shape[:1] != (tile,):
            raise ModelError(
                f"tile: expected one array with {tile} outputs from a tile of {tile} rows, got {_shown(output)}"
            )
        outputs.append(output[: count - first])
    return np.concatenate(outputs)


def _shown(output: Any) -> str:
    return f"an array of shape {output.shape}" if isinstance(output, np.ndarray) else type(output).__name__
