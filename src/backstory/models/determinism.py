"""How far a model gives the same bits again: found out by running it on a few rows in several ways.

Sums of floats depend on their order, and libraries choose the order by the number of rows, by threads and by hardware.
Pure: a function and features in, a class out; which models to ask is the caller's business. A probe of a few rows can
miss what happens to one row in a thousand, so what is known of a model (`backstory.models.determinism_known`) stands
above it: a probe lowers a class, never raises it over that. Bytes: docs/format.md section 31.
"""

from __future__ import annotations

import hashlib
import time
import warnings
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

import numpy as np

from backstory.models.determinism_known import Known
from backstory.models.tile import TILES, taken
from backstory.records import canonical
from backstory.records.canonical import JsonObject, JsonValue

if TYPE_CHECKING:
    from numpy.typing import NDArray

Class = Literal["row-exact", "tile-exact", "batch-exact", "run-varying"]

CLASSES: Final[tuple[Class, ...]] = get_args(Class)
"""The classes, the one that promises most first."""

PROBE_SECONDS_MAX = 1.0
"""Seconds after which a probe ends with what it has shown by then."""

_REPEATS = 3
_ALONE = 32
_ALONE_MIN = 12
"""Rows that are run by themselves: of a model that takes its time fewer; with fewer still nothing is said of them."""

_PATIENCE = 0.1
"""Seconds after which the fewer rows do."""

_BATCH = 7
_LARGE = 1_024
"""Rows of a small and of a large batch."""

_SHUFFLE = 2_654_435_761
"""Multiples of this, modulo 2**32, are in an order that looks like chance and is the same each time."""

_OF_ONE_ANSWER: Final = frozenset(
    {
        "__call__",
        "decision_function",
        "forward",
        "inplace_predict",
        "predict",
        "predict_log_proba",
        "predict_proba",
    }
)
"""Methods that work out one answer and give it in several forms; others compute something else: nobody looked at it."""

PROMISES: Final[Mapping[str, str]] = {
    "row-exact": "a row gives the same bits alone and in any batch",
    "tile-exact": "a row gives the same bits only in its batch, or in any call of one fixed size",
    "batch-exact": "a row gives the same bits only in its batch",
    "run-varying": "even the same batch may give other last bits each time",
}
"""What each class lets a replay promise, where environment and threads are the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Determinism:
    """How far a model gives the same bits again.

    Attributes:
        kind: The class, the worst of those of the methods; None where the model was not probed and nothing is known.
        methods: The class of each method that was asked.
        tiles: Sizes of tiles in which a row gave the same bits in any place among any others; of a row-exact model
            any size is one.
        rows: How many rows were run; 0 where the model was not probed.
        source: Where they are from: `training`, or `synthetic`, which are no rows of anything.
        alone: How many of them were also run by themselves.
        one_thread: Whether one thread gave the same bits as many; None where that was not tried.
        reason: Why it is of that class, where that is known whatever a probe shows; else empty.
        kernels: For each numerical library that was loaded, the family of processors its kernels are for.
        unprobed: Why no class was found out; else empty.
    """

    kind: Class | None
    methods: Mapping[str, Class]
    tiles: tuple[int, ...] = ()
    rows: int = 0
    source: str = ""
    alone: int = 0
    one_thread: bool | None = None
    reason: str = ""
    kernels: Mapping[str, str]
    unprobed: str = ""

    def class_of(self, method: str) -> Class | None:
        """Return the class of a method; of one that was not asked, the worst of theirs where it follows from them."""
        return self.methods.get(method, self.kind if method in _OF_ONE_ANSWER or self.kind == "run-varying" else None)

    def holds_in_tiles(self, method: str, tile: int) -> bool:
        """Say whether a row is known to give the same bits from a method in any tile of this size."""
        kind = self.class_of(method)
        return kind == "row-exact" or (kind == "tile-exact" and tile in self.tiles)

    @property
    def promise(self) -> str:
        """What a replay can promise, in words."""
        if self.kind is None:
            return f"not known: {self.unprobed}"
        because = f": {self.reason}" if self.kind == "run-varying" and self.reason else ""
        return PROMISES[self.kind] + because

    @property
    def in_words(self) -> str:
        """The class and what a replay can promise."""
        return self.promise if self.kind is None else f"{self.kind}: {self.promise}"

    def document(self) -> JsonObject:
        """Return it as JSON, without what is not known."""
        methods: JsonObject = dict(self.methods)
        kernels: JsonObject = dict(self.kernels)
        said: JsonObject = {
            "alone": str(self.alone) if self.alone else None,
            "class": self.kind,
            "kernels": kernels or None,
            "methods": methods or None,
            "one_thread": None if self.one_thread is None else "same" if self.one_thread else "other",
            "reason": self.reason or None,
            "source": self.source or None,
            "tiles": [str(tile) for tile in self.tiles] or None,
            "unprobed": self.unprobed or None,
        }
        return {"rows": str(self.rows), **{name: value for name, value in said.items() if value is not None}}


def parse_determinism(said: JsonValue) -> Determinism | None:
    """Return what a document says; None where it says nothing this version understands."""
    if not isinstance(said, dict) or said.get("class") not in {None, *CLASSES}:
        return None
    methods, kernels, tiles, thread = (said.get(name) for name in ("methods", "kernels", "tiles", "one_thread"))
    return Determinism(
        kind=next((one for one in CLASSES if one == said.get("class")), None),
        methods={name: one for name, given in _members(methods).items() for one in CLASSES if one == given},
        tiles=tuple(int(str(tile)) for tile in tiles) if isinstance(tiles, list) else (),
        rows=canonical.count_of(said, "rows"),
        source=str(said.get("source", "")),
        alone=int(str(said.get("alone", "0"))),
        one_thread=None if thread is None else thread == "same",
        reason=str(said.get("reason", "")),
        kernels={name: str(given) for name, given in _members(kernels).items()},
        unprobed=str(said.get("unprobed", "")),
    )


def _members(value: JsonValue) -> JsonObject:
    return value if isinstance(value, dict) else {}


@dataclass(slots=True)
class _Shown:
    """What a probe of one method has shown so far."""

    kind: Class = "run-varying"
    tiles: tuple[int, ...] = ()
    alone: int = 0
    one_thread: bool | None = None
    is_cut: bool = False


class _Late(Exception):  # noqa: N818  it is no error
    """The time for a probe is over."""


def probe(
    calls: Mapping[str, Callable[[Any], Any]],
    features: Any,
    *,
    source: str,
    known: Known,
    one_thread: Callable[[], AbstractContextManager[object]] | None,
    kernels: Mapping[str, str],
) -> Determinism:
    """Run the methods of a model on a few rows: again, shuffled, in other batches, alone, in tiles, on one thread.

    Args:
        calls: The methods by name, at least one; each takes rows.
        features: A few rows, as the model takes them; each call is given memory of its own.
        source: Where they are from: `training` or `synthetic`.
        known: What is known of the model.
        one_thread: Limits numerical libraries to one thread, within a `with` block; None where that cannot be done.
        kernels: What the numerical libraries' kernels are for.

    Returns:
        The class; where time did not suffice or the model raised, no more than was shown by then.
    """
    if known.limit == "run-varying":  # nothing a probe shows could change that
        return Determinism(kind="run-varying", methods=dict.fromkeys(calls, known.limit), reason=known.reason,
                           kernels=kernels)  # fmt: skip
    begun, shown = time.monotonic(), dict[str, _Shown]()
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            for at, (name, call) in enumerate(calls.items(), 1):
                until = begun + PROBE_SECONDS_MAX * at / len(calls)
                shown[name] = _Asked(call, features, until).ask(known, one_thread)
    except _Late:
        unprobed = f"its calls took more than {PROBE_SECONDS_MAX:g} second"
        return Determinism(kind=None, methods={}, reason=known.reason, kernels=kernels, unprobed=unprobed)
    except Exception as error:  # noqa: BLE001  a model may raise what it likes, with values of rows in its words
        unprobed = f"the model raised {type(error).__name__}"
        return Determinism(kind=None, methods={}, reason=known.reason, kernels=kernels, unprobed=unprobed)
    is_cut = any(one.is_cut for one in shown.values())
    threads = [one.one_thread for one in shown.values() if one.one_thread is not None]
    return Determinism(
        kind=max((one.kind for one in shown.values()), key=CLASSES.index),
        methods={name: one.kind for name, one in shown.items()},
        tiles=tuple(tile for tile in TILES if all(tile in one.tiles for one in shown.values())),
        rows=len(features),
        source=source,
        alone=min(one.alone for one in shown.values()),
        one_thread=all(threads) if threads else None,
        reason=known.reason or (f"no more was tried in {PROBE_SECONDS_MAX:g} seconds" if is_cut else ""),
        kernels=kernels,
    )


class _Asked:
    """One method of a model, its rows, and what they give together."""

    def __init__(self, call: Callable[[Any], Any], features: Any, until: float) -> None:
        self._call, self._features, self._until = call, features, until
        self._begun = time.monotonic()
        self._every = np.arange(len(features))
        self._shuffled = np.argsort(self._every * _SHUFFLE % (1 << 32))
        self._whole = self._bits(self._every)

    def ask(
        self,
        known: Known,
        one_thread: Callable[[], AbstractContextManager[object]] | None,
    ) -> _Shown:
        """Return what the method shows until the time is over."""
        shown = _Shown()
        if not self._repeats():
            return shown
        shown.kind = "batch-exact"
        try:
            if one_thread is not None:
                with one_thread():
                    shown.one_thread = self._is_same(self._every)
            if known.limit == "row-exact" and self._is_row_exact(shown):
                shown.kind = "row-exact"
            shown.tiles = TILES if shown.kind == "row-exact" else tuple(filter(self._holds_in_tile, TILES))
        except _Late:
            shown.is_cut = True
        if shown.tiles and shown.kind == "batch-exact":
            shown.kind = "tile-exact"
        return shown

    def _repeats(self) -> bool:
        """Say whether the same call gives the same bits each time: of the rows, and of a large batch."""
        if not all(self._is_same(self._every) for _ in range(_REPEATS)):
            return False
        large = np.resize(self._shuffled, _LARGE)
        return bool(np.array_equal(self._bits(large), self._bits(large)))

    def _is_row_exact(self, shown: _Shown) -> bool:
        """Say whether a row gives the same bits among any others and alone."""
        some = len(self._every) * 5 // 8 or 1
        batches = [self._shuffled, np.resize(self._shuffled, _LARGE), self._every[:some], self._every[some:]]
        batches += [self._shuffled[at : at + _BATCH] for at in range(0, 4 * _BATCH, _BATCH)]
        if not all(self._is_same(places) for places in batches if len(places)):
            return False
        try:
            for place in self._shuffled[:_ALONE]:
                if shown.alone >= _ALONE_MIN and time.monotonic() > self._begun + _PATIENCE:
                    break
                if not self._is_same(np.array([place])):
                    return False
                shown.alone += 1
        except _Late:
            return shown.alone >= _ALONE_MIN
        return True

    def _holds_in_tile(self, tile: int) -> bool:
        """Say whether a row gives the same bits in any place of a tile, among any rows, and among itself."""
        expected: dict[int, bytes] = {}
        full = [np.resize(order, tile) for order in (self._every, self._shuffled, self._shuffled[::-1])]
        own = [np.full(tile, place) for place in self._shuffled[:2]]
        ended = [np.minimum(np.arange(tile), count - 1) % len(self._every) for count in (_BATCH, tile // 2 + 1)]
        for places in [*full, *own, *ended]:
            for place, bits in zip(places.tolist(), map(bytes, self._bits(places)), strict=True):
                if expected.setdefault(place, bits) != bits:
                    return False
        return True

    def _is_same(self, places: NDArray[np.intp]) -> bool:
        return bool(np.array_equal(self._bits(places), self._whole[places]))

    def _bits(self, places: NDArray[np.intp]) -> NDArray[np.uint8]:
        """Return what some rows give, the bytes of each in a row.

        Raises:
            _Late: The time is over.
        """
        if time.monotonic() > self._until:
            raise _Late
        output = _dense(self._call(taken(self._features, places)))
        values = np.ascontiguousarray(output.reshape(len(places), -1))
        return values.view(np.uint8).reshape(len(places), -1)


def _dense(output: Any) -> NDArray[Any]:
    """Return an output as one array with one row a row; several outputs a row side by side."""
    if isinstance(output, list) and output and hasattr(output[0], "shape"):
        return np.hstack([_dense(one).reshape(len(one), -1) for one in output])
    if hasattr(output, "detach"):
        output = output.detach().cpu()
    if hasattr(output, "toarray"):
        output = output.toarray()
    array = np.asarray(output.to_numpy() if hasattr(output, "to_numpy") else output)
    if array.dtype.kind != "O":
        return array
    texts = [repr(value).encode() for value in array.ravel().tolist()]
    return np.array([hashlib.sha256(text).digest() for text in texts], dtype="V32").reshape(array.shape)
