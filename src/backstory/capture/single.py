"""One prediction at a time, in microseconds: what stays the same from call to call is worked out once.

The first call of a shape (names and types of features and output) goes the way of batches up to the record's schema and
context. Every further call of that shape is a row of plain values under them.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
from narwhals.stable.v2 import dependencies

from backstory.capture.output import may_name_columns
from backstory.capture.plain import array_of_one, distinct_names, one_value, plain_value
from backstory.capture.prediction import Begun, Call, Capture
from backstory.capture.recorded_types import is_within
from backstory.capture.recorder import Recorder, RowTarget
from backstory.capture.request_id import checked_request_id
from backstory.capture.subject import text_of_id
from backstory.errors import ColumnError, InputError, StorageError
from backstory.frames.container import describe_container
from backstory.frames.watch import Watch
from backstory.records.canonical import JsonObject, JsonValue
from backstory.records.classification import FEATURE
from backstory.records.envelope import ENVELOPE, FAILED, OK, seals
from backstory.records.limits import REQUEST_ID_MAX
from backstory.records.schema import escape_name

_Key: TypeAlias = tuple[tuple[str, ...], tuple[type, ...], tuple[str, ...] | None, type, type]
"""What tells shapes apart: names of features, types of a row's values, names of outputs, types of subject and steps."""
_ENVELOPE_SIZE = 6
"""Values of a row before the features: id, time, status, error, context, request id."""
_PLAIN = frozenset({bool, int, float, str, bytes, type(None)})
_TEXTS = frozenset({str, type(None)})
_INT64_MAX = (1 << 63) - 1
_FLOAT64_WHOLE = 1 << 53
"""Whole numbers up to this are what float64 holds."""
_NUMPY_KINDS = "biufSU"
"""Kinds of NumPy scalars that are booleans, numbers, bytes and texts; not times, whose form depends on their unit."""
_LOGICAL = {bool: "bool", int: "int64", float: "float64", str: "string", bytes: "bytes", type(None): "null"}
_KINDS_MAX = 64
_SHAPES_MAX = 4_096
"""Shapes one site remembers; columns that are null now and then make many."""


@dataclasses.dataclass(frozen=True, slots=True)
class _Kind:
    """What shapes have in common that differ in whole numbers, floats and nulls only.

    Attributes:
        target: Where their records go.
        context: Digest of their context.
        types: Logical types of the columns.
    """

    target: RowTarget
    context: bytes
    types: tuple[JsonValue, ...]

    def shape(self, types: Sequence[type], held: Sequence[type]) -> _Shape | None:
        """Return how values are recorded as this kind; None if they cannot be.

        Args:
            types: Their types.
            held: The plain types of what they hold.
        """
        fitted = list(zip(held, self.types, strict=False))  # columns of steps and subject follow
        if not all(is_within(_LOGICAL[one], column) for one, column in fitted):
            return None
        whole = {at: column for at, (one, column) in enumerate(fitted, _ENVELOPE_SIZE) if one is int}
        return _Shape(
            self.target,
            self.context,
            whole=tuple(at for at, column in whole.items() if column == "int64"),
            floats=tuple(at for at, column in whole.items() if column != "int64"),
            items=tuple(at for at, type_ in enumerate(types, _ENVELOPE_SIZE) if type_ not in _PLAIN),
        )


@dataclasses.dataclass(frozen=True, slots=True)
class _Shape:
    """What calls of one shape have in common.

    Attributes:
        target: Where their records go.
        context: Digest of their context.
        whole: Positions, in a row, of whole numbers, which may be too large for one.
        floats: Positions of whole numbers that are recorded as float64, as others under their names are.
        items: Positions of NumPy scalars, which are recorded as what they hold.
    """

    target: RowTarget
    context: bytes
    whole: tuple[int, ...]
    floats: tuple[int, ...]
    items: tuple[int, ...]


class SingleCapture:
    """Records predictions of one site: one model or function, with what runs around it. Threads may share it."""

    def __init__(self, capture: Capture, recorder: Recorder, site: Callable[[], Call]) -> None:
        """Record through a capture; `site` gives a call without features, and is asked at the first call."""
        self._capture = capture
        self._recorder = recorder
        self._ask_site = site
        self._shapes: dict[object, _Shape | None] = {}
        self._kinds: dict[object, tuple[_Kind, ...]] = {}
        self._last: tuple[object, _Shape | None] = (None, None)
        self._widened = 0

    @functools.cached_property
    def _site(self) -> Call:
        return self._ask_site()

    @functools.cached_property
    def _watch(self) -> Watch | None:
        return None if self._site.watch is None else self._site.watch[0]

    @functools.cached_property
    def unwatched(self) -> SingleCapture:
        """The same for predictions of which nobody says what they were given: there is nothing to compare."""
        return SingleCapture(self._capture, self._recorder, lambda: dataclasses.replace(self._site, watch=None))

    @property
    def is_personal(self) -> bool:
        """Whether values of its records may be about a person though nobody says whom they are about."""
        return self._site.classes.is_personal

    def seals(self, column: str, subject: object) -> bool:
        """Say whether a column of records about a subject, or None, is sealed; see `records.envelope.seals`."""
        return seals(self._site.classes, column, about_person=subject is not None)

    def require(self, features: Mapping[str, Any]) -> None:
        """Refuse features that break a rule of the model's contract which refuses.

        Raises:
            InputError: They do.
        """
        if self._watch is not None:
            self._watch.require(features)

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
            features: Its features by name; a pandas Series has names too.
            output: What the model returned: one value, or values by name.
            error: Class name of the exception where it failed instead.
            request_id: The caller's id of the request; here and below what `text_of_id` takes is made text.
            subject: Whom it is about; its values are then sealed.
            steps: What it went through; see `capture.steps`.

        Returns:
            Its id; None if it was refused and the policy allows that.

        Raises:
            InputError: Something has no form in which it can be recorded.
            StorageError: It could not be recorded.
            BusyError: Records come faster than they are written, and the policy refuses them.
        """
        if type(request_id) is str and len(request_id) > REQUEST_ID_MAX:
            checked_request_id(request_id)
        try:
            row = [b"", 0, OK, error, b"", request_id, *features.values()]
        except (AttributeError, TypeError):
            return self.record(_by_name(features), output, error, request_id, subject, steps)
        outputs = None
        if error is not None:
            row[2] = FAILED
        elif type(output) is dict:
            outputs = tuple(output)
            row.extend(output.values())
        else:
            row.append(output)
        key: _Key = (tuple(features), tuple(map(type, row)), outputs, type(subject), type(steps))
        last_key, shape = self._last
        if key != last_key:  # comparing is cheaper than hashing
            try:
                shape = self._shapes[key]
            except KeyError:
                if not _TEXTS.issuperset((type(error), type(request_id), type(subject))):
                    about = text_of_id(request_id, "request id"), text_of_id(subject, "subject")
                    return self.record(features, output, _error_class(error), *about, steps)
                try:
                    shape = self._learn(key, is_failed=error is not None)
                except StorageError as problem:
                    self._recorder.refuse_early(1, problem)
                    return None
            if shape is not None:
                self._last = key, shape
        if shape is None:
            return self._record_slowly(features, output, error, request_id, subject, steps)
        for at in shape.items:
            row[at] = row[at].item()
        for at in shape.whole:
            if row[at] > _INT64_MAX:  # what is too small, or far too large, no row takes
                return self._record_slowly(features, output, error, request_id, subject, steps)
        for at in shape.floats:
            if not -_FLOAT64_WHOLE <= row[at] <= _FLOAT64_WHOLE:
                return self._record_slowly(features, output, error, request_id, subject, steps)
            row[at] = float(row[at])
        row[4] = shape.context
        if self._watch is not None:
            row.append(self._watch.record(features))
        if steps is not None:
            row.append(steps)
        if subject is not None:
            row.append(subject)
        try:
            return self._recorder.record_row(shape.target, row)
        except (UnicodeEncodeError, OverflowError):  # half a surrogate pair, or a value that is too large
            return self._record_slowly(features, output, error, request_id, subject, steps)

    def _learn(self, key: _Key, *, is_failed: bool) -> _Shape | None:
        """Work out how calls of a new shape are recorded; None for one whose calls are recorded one by one."""
        names, row_types, outputs, subject, steps = key
        types = row_types[_ENVELOPE_SIZE:]
        returned = ("",) if outputs is None else outputs
        held = [one for one in map(_held_type, types) if one is not None]
        shape = None
        is_open = subject is type(None) and not self.seals("output", None)
        is_named = outputs is None or is_open or may_name_columns(outputs)
        is_plain = len(held) == len(types) and {str}.issuperset(map(type, (*names, *returned)))
        if names and returned and is_plain and is_named:
            # Of a single output the context has the type.
            several = types[len(names) :] if outputs is None else outputs
            alike = (names, several, is_failed, subject, steps)
            shapes = (kind.shape(types, held) for kind in self._kinds.get(alike, ()))
            shape = next((one for one in shapes if one is not None), None)
            if shape is None:
                kind = self._new_kind(key, is_failed=is_failed)
                if len(self._kinds) >= _SHAPES_MAX:
                    self._kinds.clear()
                self._kinds[alike] = (kind, *self._kinds.get(alike, ()))[:_KINDS_MAX]
                shape = kind.shape(types, held)
        if len(self._shapes) >= _SHAPES_MAX:
            self._shapes.clear()
        self._shapes[key] = shape
        return shape

    def _new_kind(self, key: _Key, *, is_failed: bool) -> _Kind:
        """Work out schema and context from an example of empty values: one that was given may be too large."""
        names, row_types, outputs, subject, steps = key
        types = row_types[_ENVELOPE_SIZE:]
        features = {name: type_() for name, type_ in zip(names, types, strict=False)}
        output: Any = [type_() for type_ in types[len(names) :]]
        output = (output or [None])[0] if outputs is None else dict(zip(outputs, output, strict=True))
        begun, result, said = self._begin(features, output, "" if is_failed else None, None, subject(), steps())
        _, schema, context = self._capture.shape(begun, result=result, form=said)
        types_ = tuple(column.type for column in schema.columns[len(ENVELOPE) :])
        return _Kind(RowTarget(schema), bytes.fromhex(context), types_)

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
        is_sealed = self.seals("output", subject)
        if subject is None:  # a payload about a person stays among the sealed values
            given = {name: self._payload(name, value) for name, value in given.items()}
            output = output if is_sealed else self._capture.payload(output)
        table = pa.table(dict(zip(distinct_names(given), map(one_value, given.values()), strict=True)))
        call = dataclasses.replace(self._site, features=table, request_id=request_id, subject=subject, steps=steps)
        begun = self._capture.begin(call)
        if not call.by_hand:  # nobody was given a table: it is what is recorded
            recorded = pa.Table.from_struct_array(begun.table["feature"])
            begun = dataclasses.replace(begun, container=describe_container(recorded))
        if self._watch is not None:  # as they were given: a large text is recorded as something else
            flags = pa.array([self._watch.record(features)], pa.large_string())
            begun = dataclasses.replace(begun, flags=flags)
        value = None if error is not None else output_value(output, sealed=is_sealed or subject is not None)
        given_back = (None, None) if value is None else begun.result(output, value)
        if self._widened != self._capture.types.widened:  # what was worked out before may be of a type that is past
            self._widened = self._capture.types.widened
            self._shapes.clear()
            self._kinds.clear()
            self._last = (None, None)
        return begun, *given_back

    def _payload(self, name: Any, value: Any) -> Any:  # noqa: ANN401
        column = FEATURE + escape_name(distinct_names([name])[0])
        return value if self.seals(column, None) else self._capture.payload(value)

    def _record_slowly(
        self,
        features: Mapping[str, Any],
        output: Any,  # noqa: ANN401
        error: str | None,
        request_id: str | None,
        subject: str | None,
        steps: str | None,
    ) -> int | None:
        request_id = checked_request_id(request_id)
        try:
            begun, result, form = self._begin(features, output, error, request_id, subject, steps)
        except StorageError as problem:  # of a payload
            self._recorder.refuse_early(1, problem)
            return None
        recorded = self._capture.record(begun, result=result, form=form, error=error)
        return None if recorded is None else recorded.ids.first


def _by_name(features: object) -> dict[str, Any]:
    """Return the values of a pandas Series by name.

    Raises:
        InputError: It is none.
        ColumnError: A name stands twice.
    """
    if not dependencies.is_pandas_series(features):
        raise InputError(f"recording: expected features by name, got {type(features).__name__}")
    if not features.index.is_unique:
        raise ColumnError("recording: expected each name of a feature once, got one twice")
    return dict(features.items())


def _error_class(name: object) -> str | None:
    """Return the name of an exception's class as plain text.

    Raises:
        InputError: It is no text.
    """
    if name is not None and not isinstance(name, str):
        raise InputError(f"recording: expected the name of the error's class, got {type(name).__name__}")
    return None if name is None else str.__str__(name)


def output_value(output: Any, *, sealed: bool = False) -> pa.Array:  # noqa: ANN401
    """Return a single output as an Arrow array of one: a struct for values by name.

    Of an output about a person, which is sealed, values by names that may be data are one value; see `output_column`.
    """
    plain = plain_value(output)
    if isinstance(plain, dict) and plain and not (sealed and not may_name_columns(plain)):
        return pa.StructArray.from_arrays([array_of_one(value) for value in plain.values()], names=list(plain))
    return array_of_one(plain)


def is_plain_features(features: Mapping[str, Any]) -> bool:
    """Say whether nobody can change these values, so that they can be recorded later."""
    return bool(features) and _PLAIN.issuperset(map(type, features.values()))


def is_plain_output(output: Any) -> bool:  # noqa: ANN401
    """Say whether an output is one plain value, or plain values by name."""
    if type(output) is dict:
        return bool(output) and _PLAIN.issuperset(map(type, output.values())) and {str}.issuperset(map(type, output))
    return type(output) in _PLAIN


@functools.lru_cache
def _held_type(type_: type) -> type | None:
    """Return the plain type of what values of a type hold; None if that is not plain."""
    if type_ in _PLAIN:
        return type_
    if not issubclass(type_, np.generic) or np.dtype(type_).kind not in _NUMPY_KINDS:
        return None
    held = type(type_().item())
    return held if held in _PLAIN else None
