"""What the bytes of an ONNX model say of themselves, read without ONNX: whether they are one, and whole.

Only the parts of the format that hold tensors are walked: a tensor may say that its values are in another file, which
would not be kept with the model. Source: `onnx.proto` of ONNX, whose field numbers never change.
"""

from __future__ import annotations

from collections.abc import Iterator

from backstory.errors import ModelError

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_VARINT_SIZE_MAX = 10
_KEY_END = 1 << 32
_DEPTH_MAX = 64
_GRAPH = "graph"
_PARTS: dict[str, dict[int, str]] = {
    "model": {7: _GRAPH, 20: "training", 25: "function"},
    "training": {1: _GRAPH, 2: _GRAPH},
    "function": {7: "node", 11: "attribute"},
    _GRAPH: {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: _GRAPH, 10: "tensor", 11: _GRAPH, 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {},
}
"""Messages inside messages, by field number."""
_EXTERNAL_DATA, _DATA_LOCATION = 13, 14
_IR_VERSION, _GRAPH_FIELD = 1, 7


def check_whole(data: bytes) -> None:
    """Refuse bytes that are no ONNX model, or one whose tensors are in other files.

    Raises:
        ModelError: They are.
    """
    try:
        fields = {number for number, _ in _fields(memoryview(data))}
        is_whole = _is_whole(memoryview(data), "model", 0)
    except (ValueError, IndexError):
        fields, is_whole = set(), False
    if not {_IR_VERSION, _GRAPH_FIELD} <= fields:
        raise ModelError(f"model: expected an ONNX model, got {len(data)} bytes that are not one")
    if not is_whole:
        raise ModelError(
            "model: expected an ONNX model with its tensors inside, got one whose data is in other files; "
            "save it whole: onnx.save_model(…, save_as_external_data=False)"
        )


def _is_whole(message: memoryview, kind: str, depth: int) -> bool:
    if depth > _DEPTH_MAX:
        raise ValueError
    for number, value in _fields(message):
        if kind == "tensor" and (number == _EXTERNAL_DATA or (number == _DATA_LOCATION and value != 0)):
            return False
        inner = _PARTS[kind].get(number)
        if inner is not None:
            if isinstance(value, int):
                raise ValueError
            if not _is_whole(value, inner, depth + 1):
                return False
    return True


def _fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Yield number and value of each field of a protobuf message; a fixed-width value as 0, as none matters here.

    Raises:
        ValueError: It is not one.
    """
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        if key >= _KEY_END:  # readers differ in which of its bits they leave out
            raise ValueError
        number, kind = key >> 3, key & 7
        if kind == _VARINT:
            value, at = _varint(message, at)
            yield number, value
            continue
        if kind == _BYTES:
            size, at = _varint(message, at)
        else:
            size = {_FIXED64: 8, _FIXED32: 4}.get(kind, -1)
        if number == 0 or size < 0 or at + size > len(message):
            raise ValueError
        yield number, message[at : at + size] if kind == _BYTES else 0
        at += size


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for place in range(_VARINT_SIZE_MAX):
        byte = message[at + place]
        value |= (byte & 0x7F) << (7 * place)
        if byte < 0x80:  # noqa: PLR2004  the highest bit says that more follow
            return value, at + place + 1
    raise ValueError
