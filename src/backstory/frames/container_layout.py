"""How an array of two dimensions lies in memory, as far as it changes the last bits of sums over it.

Part of `backstory.frames.container`, which is the module to use. Libraries hand an array to BLAS where the values of
its rows or of its columns are next to each other; otherwise they sum in loops of their own, with other last bits. An
axis that runs backwards is summed backwards, and `numpy.dot` copies columns that have something between them. How wide
a gap is changes nothing (measured: docs/adr/0019), so what comes back has at most twice the memory of its values.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

DENSE: Final = ["1", "1"]
"""Steps of rows and columns of an array as it is made: forwards, with no gaps."""


def describe_layout(strides: tuple[int, ...], shape: tuple[int, ...], itemsize: int) -> dict[str, Any]:
    """Describe an array's layout.

    Args:
        strides: Bytes from one row to the next, and from one column to the next.
        shape: Its rows and columns.
        itemsize: Bytes of a value.

    Returns:
        `order`: `C` where the values of a row are nearest to each other, `F` where those of a column are. And `steps`
        of rows and of columns, where they are not both 1: negative for an axis that runs backwards, 2 in size for one
        with gaps. An array whose rows share memory has them too; it comes back with memory of its own.
    """
    rows, columns = (abs(stride) for stride in strides)
    order = "F" if rows < columns else "C"
    outer, inner = (1, 0) if order == "F" else (0, 1)
    steps = [-1 if stride < 0 and count > 1 else 1 for stride, count in zip(strides, shape, strict=True)]
    near, far = abs(strides[inner]), abs(strides[outer])
    has_gaps = shape[inner] > 1 and near != itemsize
    is_folded = shape[outer] > 1 and far < near * shape[inner]  # broadcast, or a window that slides
    if has_gaps or is_folded:
        steps[inner] *= 2
    elif order == "F" and shape[outer] > 1 and far > near * shape[inner]:
        steps[outer] *= 2
    texts = [str(step) for step in steps]
    return {"order": order} if texts == DENSE else {"order": order, "steps": texts}


def empty_array(shape: tuple[int, int], dtype: np.dtype[Any], layout: Mapping[str, Any]) -> np.ndarray[Any, Any]:
    """Return an array without values that lies in memory as described."""
    steps = [int(step) for step in layout.get("steps", DENSE)]
    held = np.empty([count * abs(step) for count, step in zip(shape, steps, strict=True)], dtype, order=layout["order"])
    return held[tuple(slice(None, None, step) for step in steps)]
