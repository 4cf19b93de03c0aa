"""polars frames as containers: dtypes and Enum categories.

Part of `backstory.frames.container`, which is the module to use. polars is handed in by the caller of `rebuild`.
"""

from __future__ import annotations

import re
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import pyarrow as pa

    from backstory.frames.table import Frame

_CATEGORIES_MAX: Final = 4096
_PLAIN: Final = frozenset(
    {"Boolean", "String", "Binary", "Date", "Time", "Null", "Float32", "Float64"}
    | {f"{sign}{width}" for sign in ("Int", "UInt") for width in (8, 16, 32, 64)}
)
_TEMPORAL: Final = re.compile(r"(?P<kind>Datetime|Duration)\(time_unit='(?P<unit>\w+)'(?:, time_zone=(?P<zone>.+))?\)")


def describe(frame: Frame, *, lazy: bool) -> tuple[dict[str, Any], str | None]:
    """Describe a polars frame; the second value says why it cannot be rebuilt, if so."""
    polars = sys.modules["polars"]
    details: dict[str, Any] = {"kind": "polars", "lazy": lazy, "dtypes": [], "categories": {}}
    problem: str | None = None
    for name, dtype in frame.collect_schema().items():
        reason: str | None = None
        text = str(dtype)
        if isinstance(dtype, polars.Enum):
            text, categories = "Enum", dtype.categories.to_list()
            if len(categories) > _CATEGORIES_MAX:
                reason = f"has more than {_CATEGORIES_MAX} categories"
            else:
                details["categories"][name] = categories
        elif isinstance(dtype, polars.Categorical):
            # The codes behind a Categorical depend on what else the process has seen.
            text, reason = "Categorical", "is a Categorical, whose codes belong to one process; an Enum is kept"
        elif text not in _PLAIN and not _TEMPORAL.fullmatch(text):
            reason = f"is {text}"
        details["dtypes"].append(text)
        if reason is not None and problem is None:
            problem = f"column {name!r} {reason}"
    return details, problem


def rebuild(polars: ModuleType, container: dict[str, Any], table: pa.Table) -> Frame:
    """Make the polars frame of a description from its values."""
    types = {
        name: _dtype(polars, text, container["categories"].get(name))
        for name, text in zip(container["columns"], container["dtypes"], strict=True)
    }
    frame = polars.from_arrow(table.select(list(types))).cast(types)
    return frame.lazy() if container["lazy"] else frame


def _dtype(polars: ModuleType, text: str, categories: list[str] | None) -> Any:
    if text == "Enum":
        return polars.Enum(categories)
    temporal = _TEMPORAL.fullmatch(text)
    if temporal is None:
        return getattr(polars, text)
    if temporal["kind"] == "Duration":
        return polars.Duration(temporal["unit"])
    zone = temporal["zone"]
    return polars.Datetime(temporal["unit"], None if zone in (None, "None") else zone.strip("'"))
