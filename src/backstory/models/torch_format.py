"""PyTorch modules on the processor: tensors in safetensors, structure as JSON. No pickle, no TorchScript.

The structure is the tree of modules: the name of each class and its plain attributes, beside names of tensors. Loading
makes objects of the reviewed classes of `torch.nn` (`torch_trust`) and of classes the caller trusts, without calling
their constructors, and puts attributes and tensors back. Code is not stored: a class of the caller's own must be
importable then, and its source the same as it was.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import sys
from collections.abc import Callable, Sequence
from typing import Any

from backstory.errors import FormatError, ModelError
from backstory.models import container, source_text, torch_tree
from backstory.models.artifact import TORCH, Artifact
from backstory.models.container import Container
from backstory.models.json_value import qualified_name
from backstory.models.torch_trust import reviewed_classes
from backstory.records import canonical
from backstory.records.canonical import JsonObject


def is_module(model: object) -> bool:
    """Tell whether a model is a PyTorch module, if PyTorch is loaded at all."""
    module = getattr(sys.modules.get("torch.nn"), "Module", None)
    return module is not None and isinstance(model, module)


def function_of(model: Any, method: str) -> Callable[..., Any] | None:
    """Return a method of a module, or the module itself, as a function of an array or a frame without gradients."""
    import numpy as np

    import torch

    function = model if method == "__call__" else getattr(model, method, None)
    if not callable(function):
        return None

    @functools.wraps(model.forward if method == "__call__" else function)
    def call(features: Any, *rest: Any, **options: Any) -> Any:
        given = features.to_pandas() if hasattr(features, "column_names") else features
        array = given.to_numpy() if hasattr(given, "to_numpy") else np.asarray(given)
        if not array.flags.writeable:
            array = array.copy("K")  # PyTorch warns of what it could write to
        with torch.no_grad():
            return function(torch.from_numpy(array), *rest, **options)

    return call


def capture(model: Any, trusted: Sequence[str]) -> Artifact:
    """Capture a module in evaluation mode.

    Args:
        model: The module; it is not changed.
        trusted: Qualified names of the caller's own classes.

    Raises:
        ModelError: It is in training mode, not on the processor, of classes that are neither reviewed nor trusted, or
            holds something that has no stored form.
    """
    import torch

    save = _safetensors().save
    classes = reviewed_classes()
    tree, tensors = torch_tree.write(model)
    named = torch_tree.class_names(tree)
    needed = sorted(named - set(classes))
    unknown = sorted(set(needed) - set(trusted))
    if unknown:
        raise ModelError(
            f"model: expected reviewed modules of torch.nn, got {', '.join(unknown)}; review their code and name them: "
            f"trusted={unknown!r}",
            types=unknown,
        )
    for part in model.modules():
        name = qualified_name(type(part))
        if type(part) is not (classes[name] if name in classes else _own_class(name)):
            raise ModelError(f"model: expected {name} to be the class that can be imported by that name, got another")
    sources = {name: source_text.describe(_own_class(name)) for name in needed}
    state: dict[str, Any] = {
        "sources": {name: code.digest for name, code in sources.items() if code.basis == "source"},
        "tree": canonical.encode(tree).decode(),
    }
    parts = Container(class_name=qualified_name(type(model)), params={}, state=state, body=save(tensors))
    data = container.encode(parts)
    load(data, trusted)
    return Artifact(
        format=TORCH,
        data=data,
        content_digest=_content_digest(data, {name: code.digest for name, code in sources.items()}),
        framework="torch",
        versions={"torch": str(torch.__version__)},
        class_name=parts.class_name,
        hyperparameters={"parameters": sum(tensor.numel() for tensor in model.parameters())},
        seeds={},
        steps=torch_tree.steps(tree),
        classes=None,
        trusted=tuple(needed),
        replayable=True,
        reason=None,
    )


def load(data: bytes, trusted: Sequence[str]) -> object:
    """Rebuild a module.

    Args:
        data: A container.
        trusted: Qualified names of the caller's own classes, whose modules are imported.

    Raises:
        ModelError: Not a container of a module, of classes that are neither reviewed nor trusted, or of a trusted class
            whose source is another than it was.
    """
    read = _safetensors().load
    parts = container.parse(data)
    try:
        tree = canonical.parse_object(str(parts.state["tree"]).encode(), "structure of a module")
        sources = dict(parts.state["sources"])
        # Memory of PyTorch's own: what libraries compute to the last bit may depend on where it begins.
        tensors = {name: tensor.clone() for name, tensor in read(parts.body).items()}
    except Exception as error:  # safetensors has error classes of its own
        raise ModelError(f"model: the bytes are not a PyTorch module ({type(error).__name__})") from error
    classes: dict[str, Any] = dict(reviewed_classes())
    try:
        needed = torch_tree.class_names(tree) - set(classes)
    except (FormatError, RecursionError) as error:
        raise ModelError("model: the structure of the module cannot be read") from error
    unknown = sorted(needed - set(trusted))
    if unknown:
        raise ModelError(f"model: expected reviewed modules of torch.nn, got {', '.join(unknown)}", types=unknown)
    for name in sorted(needed):
        classes[name] = _own_class(name)
        code = source_text.describe(classes[name])
        if name in sources and code.basis == "source" and code.digest != sources[name]:
            raise ModelError(f"model: expected the code of {name} as it was registered, got another")
    return torch_tree.read(tree, tensors, classes)


def _own_class(name: str) -> Any:
    """Return a class the caller trusts; its module is imported.

    Raises:
        ModelError: It cannot be imported, or is no class of modules.
    """
    import torch

    module, _, rest = name.rpartition(".")
    try:
        found: Any = getattr(importlib.import_module(module), rest)
    except (ImportError, AttributeError, ValueError) as error:
        raise ModelError(f"model: expected {name} to be a class that can be imported, got none") from error
    if not (isinstance(found, type) and issubclass(found, torch.nn.Module)) or qualified_name(found) != name:
        raise ModelError(f"model: expected {name} to be a class of PyTorch modules")
    return found


def _content_digest(data: bytes, sources: dict[str, str]) -> str:
    content = hashlib.sha256(data).hexdigest()
    if not sources:
        return content
    named: JsonObject = {"content": content, "sources": dict(sources)}
    return canonical.digest_of(named)


def _safetensors() -> Any:
    try:
        return importlib.import_module("safetensors.torch")
    except ImportError as error:
        msg = "model: a PyTorch module needs the packages torch and safetensors, expected `backstory[torch]`"
        raise ModelError(msg) from error
