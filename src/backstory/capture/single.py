"""One prediction at a time, in microseconds: what stays the same from call to call is worked out once.

The first call of a shape (names and types of features and output) goes the way of batches up to the record's schema and
context. Every further call of that shape is a row of plain values under them.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from backstory.capture.plain import one_value
from backstory.capture.prediction import PAYLOAD_SIZE_MAX, Begun, Call, Capture
from backstory.capture.recorder import Recorder, RowTarget
from backstory.errors import InputError
from backstory.records.canonical import JsonObject
from backstory.records.envelope import FAILED, OK

_PLAIN = frozenset({bool, int, float, str, bytes, type(None)})
_SIZED = frozenset({str, bytes})
_INT64_MIN, _INT64_END = -(1 << 63), 1 << 63
_NUMPY_KINDS = "biufSU"
"""Kinds of NumPy scalars that are booleans, numbers, bytes and texts; not times, whose form depends on their unit."""
_SHAPES_MAX = 4_096
"""Shapes one site remembers; columns that are null now and then make many."""


@dataclasses.dataclass(frozen=True, slots=True)
class _Shape:
    """What calls of one shape have in common.

    Attributes:
        target: Where their records go.
        context: Digest of their context.
        whole: Positions of whole numbers, which may be too large for a row.
        items: Positions of NumPy scalars, which are recorded as what they hold.
        texts: Positions of texts and bytes, which may be too large for a row.
        threshold: The threshold that decides, where a rule was given and the call did not fail.
    """

    target: RowTarget
    context: bytes
    whole: tuple[int, ...]
    items: tuple[int, ...]
    texts: tuple[int, ...]
    threshold: float | None


class SingleCapture:
    """Records predictions of one site: one model or function, with what runs around it. Threads may share it."""

    def __init__(self, capture: Capture, recorder: Recorder, site: Callable[[], Call]) -> None:
        """Record through a capture; `site` gives a call without features, and is asked at the first call."""
        self._capture = capture
        self._recorder = recorder
        self._ask_site = site
        self._shapes: dict[object, _Shape | None] = {}
        self._last: tuple[object, _Shape | None] = (None, None)

    @functools.cached_property
    def _site(self) -> Call:
        return self._ask_site()

    def record(  # noqa: C901, PLR0912  one straight path, whose every call would cost a share of its microseconds
        self,
        features: Mapping[str, Any],
        output: Any = None,  # noqa: ANN401  a plain value or a dict of them
        error: str | None = None,
        request_id: str | None = None,
        subject: str | None = None,
        steps: str | None = None,
    ) -> int | None:
        """Record one prediction.

        Args:
            features: Its features by name.
            output: What the model returned: one value, or values by name.
            error: Class name of the exception where it failed instead.
            request_id: The caller's id of the request.
            subject: Whom it is about; its values are then sealed.
            steps: What it went through; see `capture.steps`.

        Returns:
            Its id; None if it was refused and the policy allows that.

        Raises:
            InputError: Something has no form in which it can be recorded.
            StorageError: It could not be recorded.
            BusyError: Records come faster than they are written, and the policy refuses them.
        """
        values = list(features.values())
        if error is not None:
            form: object = error
        elif type(output) is dict:
            form = (tuple(output), len(values))
            values.extend(output.values())
        else:
            form = None
            values.append(output)
        key = (tuple(features), tuple(map(type, values)), form, type(request_id), type(subject), type(steps))
        last_key, shape = self._last
        if key != last_key:  # comparing is cheaper than hashing
            try:
                shape = self._shapes[key]
            except KeyError:
                shape = self._learn(key, values, features, output, error, subject, steps)
            if shape is not None:
                self._last = key, shape
        if shape is None:
            return self._record_slowly(features, output, error, request_id, subject, steps)
        for at in shape.texts:
            if len(values[at]) > PAYLOAD_SIZE_MAX:
                return self._record_slowly(features, output, error, request_id, subject, steps)
        for at in shape.items:
            values[at] = values[at].item()
        for at in shape.whole:
            if not _INT64_MIN <= values[at] < _INT64_END:
                return self._record_slowly(features, output, error, request_id, subject, steps)
        if shape.threshold is not None:
            values.append(bool(float(output) >= shape.threshold))
        if steps is not None:
            values.append(steps)
        if subject is not None:
            values.append(subject)
        status = OK if error is None else FAILED
        try:
            return self._recorder.record_row(shape.target, status, error, shape.context, request_id, values)
        except UnicodeEncodeError:  # half a surrogate pair
            return self._record_slowly(features, output, error, request_id, subject, steps)

    def _learn(
        self,
        key: tuple[Any, ...],
        values: list[Any],
        features: Mapping[str, Any],
        output: Any,  # noqa: ANN401
        error: str | None,
        subject: str | None,
        steps: str | None,
    ) -> _Shape | None:
        """Work out schema and context of calls of a new shape; None for one whose calls are recorded one by one."""
        shape = None
        names, types, _, *texts = key
        if not {str, type(None)}.issuperset(texts):
            expected = "recording: expected request id, subject and steps to be text"
            raise InputError(f"{expected}, got {', '.join(type_.__name__ for type_ in texts)}")
        held = [_held_type(type_) for type_ in types]
        is_named = bool(names) and {str}.issuperset(map(type, names))
        if is_named and None not in held and _is_simple(self._site, output):
            whole = tuple(at for at, type_ in enumerate(held) if type_ is int)
            if not all(_INT64_MIN <= int(values[at]) < _INT64_END for at in whole):
                return None  # a number of more than 64 bits is no example of what its shape is recorded as
            begun, result, form = self._begin(features, output, error, None, subject, steps)
            _, schema, context = self._capture.shape(begun, result=result, form=form)
            shape = _Shape(
                RowTarget(schema),
                bytes.fromhex(context),
                whole=whole,
                items=tuple(at for at, type_ in enumerate(types) if type_ not in _PLAIN),
                texts=tuple(at for at, type_ in enumerate(held) if type_ in _SIZED),
                threshold=None if error is not None or (rule := self._site.decision) is None else rule.value,
            )
        if len(self._shapes) >= _SHAPES_MAX:
            self._shapes.clear()
        self._shapes[key] = shape
        return shape

    def _begin(
        self,
        features: Mapping[str, Any],
        output: Any,  # noqa: ANN401
        error: str | None,
        request_id: str | None,
        subject: str | None,
        steps: str | None,
    ) -> tuple[Begun, pa.Table | None, JsonObject | None]:
        """Take a call down the way of batches."""
        given = features or {"none": None}
        if subject is None:  # a payload about a person stays among the sealed values
            given = {name: self._capture.payload(value) for name, value in given.items()}
            output = self._capture.payload(output)
        table = pa.table({str(name): one_value(value) for name, value in given.items()})
        call = dataclasses.replace(self._site, features=table, request_id=request_id, subject=subject, steps=steps)
        begun = self._capture.begin(call)
        return (begun, None, None) if error is not None else (begun, *begun.result(output, output_value(output)))

    def _record_slowly(
        self,
        features: Mapping[str, Any],
        output: Any,  # noqa: ANN401
        error: str | None,
        request_id: str | None,
        subject: str | None,
        steps: str | None,
    ) -> int | None:
        begun, result, form = self._begin(features, output, error, request_id, subject, steps)
        recorded = self._capture.record(begun, result=result, form=form, error=error)
        return None if recorded is None else recorded.ids.first


def output_value(output: Any) -> pa.Array:  # noqa: ANN401
    """Return a single output as an Arrow array of one: a struct for values by name."""
    if type(output) is dict and output:
        return pa.StructArray.from_arrays([one_value(value) for value in output.values()], names=list(map(str, output)))
    return one_value(output)


def is_plain_features(features: Mapping[str, Any]) -> bool:
    """Say whether nobody can change these values, so that they can be recorded later."""
    return bool(features) and _PLAIN.issuperset(map(type, features.values()))


def is_plain_output(output: Any) -> bool:  # noqa: ANN401
    """Say whether an output is one plain value, or plain values by name."""
    if type(output) is dict:
        return bool(output) and _PLAIN.issuperset(map(type, output.values())) and {str}.issuperset(map(type, output))
    return type(output) in _PLAIN


def _held_type(type_: type) -> type | None:
    """Return the plain type of what values of a type hold; None if that is not plain."""
    if type_ in _PLAIN:
        return type_
    if not issubclass(type_, np.generic) or np.dtype(type_).kind not in _NUMPY_KINDS:
        return None
    held = type(type_().item())
    return held if held in _PLAIN else None


def _is_simple(site: Call, output: Any) -> bool:  # noqa: ANN401
    """Say whether output and decision are one plain value, or plain values by name and no decision."""
    if type(output) is dict:
        return site.decision is None and bool(output) and all(type(name) is str for name in output)
    return site.decision is None or (site.decision.column is None and isinstance(output, int | float))
