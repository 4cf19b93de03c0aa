"""One file for a booster and what its Python class needs around it.

```
container = "BSMC" 01 00 00 00   u32 length of header   header   body
header    = canonical JSON: {"class":…,"params":{…},"state":{…},"v":1}
body      = the booster in its library's own format: UBJSON (XGBoost) or text (LightGBM)
```

The integer is little-endian. `params` are the constructor's arguments, `state` the fitted attributes. Their values are
JSON with tags for what JSON cannot say exactly: `{"float":"0x1.8p+1"}` (hexadecimal, so exact), `{"int":"…"}`,
`{"tuple":[…]}`, `{"dict":[[key,value],…]}`, `{"array":"<U1","values":[…]}`. Equal models give equal bytes, so the
content digest is the digest of the file.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

from backstory.errors import FormatError, ModelError
from backstory.records import canonical
from backstory.records.canonical import JsonObject, JsonValue
from backstory.records.limits import INTEGER_MAX

MAGIC = b"BSMC\x01\x00\x00\x00"
"""File type and version 1."""

HEADER_SIZE_MAX = 16 * 1024**2
"""Bytes of a header; parameters and class labels never come near it."""

_PREFIX = struct.Struct("<8sI")


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """A booster, the name of its class, and the values to rebuild it with.

    Attributes:
        class_name: Name of the class inside its library.
        params: Arguments of its constructor.
        state: Fitted attributes.
        body: The booster's own bytes.
    """

    class_name: str
    params: dict[str, Any]
    state: dict[str, Any]
    body: bytes


def encode(container: Container) -> bytes:
    """Write a container.

    Raises:
        ModelError: A parameter or attribute is of a type the header cannot hold.
    """
    header: JsonObject = {
        "class": container.class_name,
        "params": {name: to_json(value, name) for name, value in container.params.items()},
        "state": {name: to_json(value, name) for name, value in container.state.items()},
        "v": 1,
    }
    written = canonical.encode(header)
    return _PREFIX.pack(MAGIC, len(written)) + written + container.body


def parse(data: bytes) -> Container:
    """Read a container.

    Raises:
        ModelError: Not a container, cut short, or with a header that is not canonical.
    """
    if len(data) < _PREFIX.size or not data.startswith(MAGIC):
        msg = f"model: expected a booster container, got {len(data)} bytes that are not one"
        raise ModelError(msg)
    _, size = _PREFIX.unpack_from(data)
    end = _PREFIX.size + size
    if size > HEADER_SIZE_MAX or end > len(data):
        msg = f"model: expected a container header inside {len(data)} bytes, got one of {size}"
        raise ModelError(msg)
    try:
        header = canonical.parse_object(data[_PREFIX.size : end], "container header")
        params, state = header["params"], header["state"]
        if not isinstance(params, dict) or not isinstance(state, dict) or header.get("v") != 1:
            msg = "model: expected a container header of version 1"
            raise ModelError(msg)
        return Container(
            class_name=canonical.text_of(header, "class"),
            params={name: from_json(value) for name, value in params.items()},
            state={name: from_json(value) for name, value in state.items()},
            body=data[end:],
        )
    except (FormatError, KeyError, ValueError, TypeError) as error:
        msg = "model: the container's header cannot be read"
        raise ModelError(msg) from error


def to_json(value: Any, name: str) -> JsonValue:
    """Write a value exactly.

    Args:
        value: None, bool, int, float, text, list, tuple, dict, NumPy scalar or one-dimensional NumPy array.
        name: Whose value it is, for the error.

    Raises:
        ModelError: Another type.
    """
    if type(value).__module__ == "numpy" and getattr(value, "ndim", None) in {0, 1}:
        values: JsonValue = to_json(value.tolist(), name)
        return values if value.ndim == 0 else {"array": value.dtype.str, "values": values}
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int):
        return value if abs(value) <= INTEGER_MAX else {"int": str(value)}
    if isinstance(value, float):
        return {"float": value.hex()}
    if isinstance(value, tuple):
        return {"tuple": [to_json(item, name) for item in value]}
    if isinstance(value, list):
        return [to_json(item, name) for item in value]
    if isinstance(value, dict):
        return {"dict": [[to_json(key, name), to_json(item, name)] for key, item in value.items()]}
    msg = f"model: {name} cannot be stored: expected a plain value, got {type(value).__module__}.{type(value).__name__}"
    raise ModelError(msg)


def from_json(value: Any) -> Any:
    """Read a value `to_json` wrote.

    Raises:
        ValueError: An unknown tag.
    """
    if isinstance(value, list):
        return [from_json(item) for item in value]
    if not isinstance(value, dict):
        return value
    match value:
        case {"float": str(text)}:
            return float.fromhex(text)
        case {"int": str(text)}:
            return int(text)
        case {"tuple": list(items)}:
            return tuple(from_json(item) for item in items)
        case {"dict": list(pairs)}:
            return {from_json(key): from_json(item) for key, item in pairs}
        case {"array": str(dtype), "values": list(items)}:
            import numpy as np

            return np.array(from_json(items), dtype=np.dtype(dtype))
    msg = "container: unknown tag in a header"
    raise ValueError(msg)
