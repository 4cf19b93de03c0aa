"""A PyTorch module as a tree of plain values beside its tensors, and back.

```
node   = {"attributes": {name: value, …}, "buffers": [[name, tensor or null, persistent], …], "class": name,
          "modules": [[name, node or null or {"same": path}], …], "parameters": [[name, tensor or null, trains], …]}
```

Values are those of `backstory.models.container`. `tensor` names one in safetensors: the path of where it was met first,
so that what is tied stays tied; `path` is that of a module met before. The root's path is "".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from backstory.errors import FormatError, ModelError
from backstory.models import container
from backstory.models.json_value import json_safe, qualified_name
from backstory.records.canonical import JsonObject, JsonValue

_PLAIN = (bool, int, float, str, type(None))
_DEPTH_MAX = 100
_NODE = frozenset({"attributes", "buffers", "class", "modules", "parameters"})


class _Writer:
    """Writes one module; knows which tensors and modules it has met."""

    def __init__(self) -> None:
        import torch

        self.torch = torch
        self.internal = vars(torch.nn.Module())
        self.tensors: dict[str, Any] = {}
        self.names: dict[int, str] = {}
        self.storages: dict[int, str] = {}
        self.modules: dict[int, str] = {}

    def node(self, module: Any, path: str) -> JsonObject:
        """Describe a module and what is in it."""
        if id(module) in self.modules:
            return {"same": self.modules[id(module)]}
        self.modules[id(module)] = path
        name, where = qualified_name(type(module)), f"{path or 'the module'} ({type(module).__name__})"
        if path.count(".") > _DEPTH_MAX:
            raise ModelError(f"model: expected modules at most {_DEPTH_MAX} deep, got more")
        if module.training:
            raise ModelError(f"model: expected a module in evaluation mode, got {where} in training mode; call .eval()")
        if hasattr(type(module), "parametrizations") or "parametrizations" in module._modules:  # noqa: SLF001
            raise ModelError(f"model: {where} is parametrized: torch.nn.utils.parametrize.remove_parametrizations")
        attributes: JsonObject = {}
        for attribute, value in vars(module).items():
            if attribute not in self.internal:
                attributes[attribute] = _plain(value, f"attribute {attribute!r} of {where}")
            elif attribute not in _STATE and value != self.internal[attribute]:
                raise ModelError(f"model: {where} has {attribute.strip('_').replace('_', ' ')}, which cannot be stored")
        temporary = module._non_persistent_buffers_set  # noqa: SLF001
        return {
            "attributes": attributes,
            "buffers": [
                [inner, self._tensor(buffer, _joined(path, inner)), inner not in temporary]
                for inner, buffer in module._buffers.items()  # noqa: SLF001
            ],
            "class": name,
            "modules": [
                [inner, None if part is None else self.node(part, _joined(path, inner))]
                for inner, part in module._modules.items()  # noqa: SLF001
            ],
            "parameters": [
                [inner, self._tensor(tensor, _joined(path, inner)), tensor is not None and bool(tensor.requires_grad)]
                for inner, tensor in module._parameters.items()  # noqa: SLF001
            ],
        }

    def _tensor(self, tensor: Any, path: str) -> str | None:
        if tensor is None:
            return None
        if id(tensor) in self.names:
            return self.names[id(tensor)]
        torch = self.torch
        if type(tensor) not in {torch.Tensor, torch.nn.Parameter}:
            raise ModelError(f"model: {path} is a {qualified_name(tensor)}, which cannot be stored")
        if tensor.device.type != "cpu":
            raise ModelError(f"model: expected tensors of the processor, got {path} on {tensor.device.type}")
        if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_complex() or not tensor.is_contiguous():
            raise ModelError(f"model: expected contiguous tensors of real numbers, got another in {path}")
        storage = tensor.untyped_storage().data_ptr()
        if tensor.numel() and self.storages.setdefault(storage, path) != path:
            raise ModelError(f"model: {path} and {self.storages[storage]} share memory without being one tensor")
        self.names[id(tensor)] = path
        self.tensors[path] = tensor.detach()
        return path


_STATE = frozenset({"_buffers", "_modules", "_non_persistent_buffers_set", "_parameters", "training"})
"""What `torch.nn.Module` keeps in every module and a tree says; all else of it must be empty, such as hooks."""


def write(module: Any) -> tuple[JsonObject, dict[str, Any]]:
    """Return a module as a tree and its tensors by name.

    Raises:
        ModelError: It is in training mode or holds something that has no stored form.
    """
    writer = _Writer()
    return writer.node(module, ""), writer.tensors


def read(tree: JsonObject, tensors: Mapping[str, Any], classes: Mapping[str, Any]) -> Any:
    """Make a module of a tree and its tensors.

    Args:
        tree: The tree.
        tensors: Its tensors by name.
        classes: The classes it may be of, by qualified name.

    Raises:
        ModelError: It is not such a tree.
    """
    try:
        return _module(tree, "", tensors, classes, {}, {})
    except (FormatError, KeyError, TypeError, ValueError, AttributeError, RuntimeError, RecursionError) as error:
        raise ModelError(f"model: the structure of the module cannot be read ({type(error).__name__})") from error


def class_names(tree: JsonObject) -> set[str]:
    """Return the qualified name of every class in a tree.

    Raises:
        FormatError: It is not a tree.
    """
    return {node["class"] for _, node in _nodes(tree, "")}


def steps(tree: JsonObject) -> tuple[JsonObject, ...]:
    """Return the modules of a tree as steps of a model, outer before inner; see `Artifact.steps`."""
    return tuple(
        {
            "class": node["class"],
            "name": path or node["class"].rpartition(".")[2].lower(),
            "params": {name: json_safe(container.from_json(value)) for name, value in node["attributes"].items()},
        }
        for path, node in _nodes(tree, "")
    )


def _nodes(node: Any, path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    if not isinstance(node, dict) or set(node) != _NODE or not isinstance(node["class"], str):
        raise FormatError("module: expected a node of a tree, got something else")
    yield path, node
    for name, part in _entries(node, "modules", 2):
        if part is not None and not (isinstance(part, dict) and set(part) == {"same"}):
            yield from _nodes(part, _joined(path, name))


def _entries(node: Mapping[str, Any], kind: str, size: int) -> list[list[Any]]:
    found = node[kind]
    if not isinstance(found, list) or not all(isinstance(one, list) and len(one) == size for one in found):
        raise FormatError(f"module: expected {kind} in a list")
    names = [one[0] for one in found]
    if not all(isinstance(name, str) for name in names) or len(set(names)) < len(names):
        raise FormatError(f"module: expected names of {kind}")
    return found


def _module(
    node: Any,
    path: str,
    tensors: Mapping[str, Any],
    classes: Mapping[str, Any],
    made: dict[str, Any],
    parameters: dict[str, Any],
) -> Any:
    import torch

    if set(node) == {"same"}:
        return made[node["same"]]
    owner = classes[node["class"]]
    module = made[path] = owner.__new__(owner)
    torch.nn.Module.__init__(module)
    own = vars(module)
    for name, value in node["attributes"].items():
        own[_checked(name, owner, own)] = container.from_json(value)
    own["training"] = False
    for name, tensor, persists in _entries(node, "buffers", 3):
        module._buffers[_checked(name, owner, own)] = None if tensor is None else tensors[tensor]  # noqa: SLF001
        if persists is not True:
            module._non_persistent_buffers_set.add(name)  # noqa: SLF001
    for name, tensor, trains in _entries(node, "parameters", 3):
        if tensor is not None and tensor not in parameters:
            parameters[tensor] = torch.nn.Parameter(tensors[tensor], requires_grad=trains is True)
        module._parameters[_checked(name, owner, own)] = None if tensor is None else parameters[tensor]  # noqa: SLF001
    for name, part in _entries(node, "modules", 2):
        inner = None if part is None else _module(part, _joined(path, name), tensors, classes, made, parameters)
        module._modules[_checked(name, owner, own)] = inner  # noqa: SLF001
    return module


def _checked(name: str, owner: Any, own: Mapping[str, Any]) -> str:
    """Refuse a name that stands for something a class or every module has, such as `forward`."""
    import torch

    is_code = hasattr(owner, name) and not isinstance(getattr(owner, name), (*_PLAIN, list, tuple, dict))
    is_taken = is_code or hasattr(torch.nn.Module, name) or name in own
    if is_taken or name.startswith("__") or "." in name or not name:
        raise FormatError("module: a name in it stands for something else")
    return name


def _plain(value: Any, what: str) -> JsonValue:
    """Write a value exactly, if it is of a type that comes back as it was."""
    if not _is_plain(value, 0):
        raise ModelError(
            f"model: {what} is a {qualified_name(type(value))}, which cannot be stored; tensors are kept as buffers "
            f"or parameters, functions are not"
        )
    return container.to_json(value, what)


def _is_plain(value: Any, depth: int) -> bool:
    if type(value) in {list, tuple} and depth < _DEPTH_MAX:
        return all(_is_plain(item, depth + 1) for item in value)
    if type(value) is dict and depth < _DEPTH_MAX:
        return all(_is_plain(item, depth + 1) for pair in value.items() for item in pair)
    return type(value) in _PLAIN


def _joined(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
