"""Reading a contract's YAML safely, and the text that is kept of it.

Only plain values are made, whatever tags a text has. A text that grows without end through its aliases, or says one
thing twice, is refused.
"""

from __future__ import annotations

from typing import Any, Final

from backstory.errors import InputError

TEXT_BYTES_MAX: Final = 1 << 20
NODES_MAX: Final = 200_000
"""Values a text may stand for, each alias counted with all that it stands for."""

_ABOUT_PEOPLE: Final = ("team", "support", "roles")
"""Members of the standard that name people; they are not kept."""


def load_yaml(text: str) -> dict[str, Any]:
    """Return the mapping a YAML text is.

    Raises:
        InputError: It is no YAML, no mapping, too large, or a mapping in it has one name twice.
    """
    yaml = _yaml()
    if len(text.encode()) > TEXT_BYTES_MAX:
        raise InputError(f"contract: expected at most {TEXT_BYTES_MAX} bytes of YAML, got {len(text.encode())}")
    try:
        node = yaml.compose(text, yaml.SafeLoader)
        if node is not None:
            _measure(node, {})
        document = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = "" if mark is None else f" (line {mark.line + 1}, column {mark.column + 1})"
        raise InputError(f"contract: expected YAML, got something else: {error.problem}{where}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InputError(f"contract: expected YAML, got something else ({type(error).__name__})") from None
    if not isinstance(document, dict):
        raise InputError(f"contract: expected a mapping, got {type(document).__name__}")
    return document


def dump_yaml(document: dict[str, Any]) -> str:
    """Return a mapping as YAML.

    Raises:
        InputError: It holds something YAML has no plain form of.
    """
    yaml = _yaml()
    try:
        text: str = yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=1 << 16)
    except (yaml.YAMLError, RecursionError) as error:
        raise InputError(f"contract: expected plain values, got others ({type(error).__name__})") from None
    return text


def kept_text(text: str, document: dict[str, Any]) -> str:
    """Return what is kept of a contract: its text as it is, or, where it names people, the text without them."""
    # Text that could be taken for a document of the archive's own, in JSON, is written as YAML in lines.
    if not text.startswith("{") and not any(name in document for name in _ABOUT_PEOPLE):
        return text
    return dump_yaml({name: value for name, value in document.items() if name not in _ABOUT_PEOPLE})


def _yaml() -> Any:
    try:
        import yaml  # type: ignore[import-untyped]
    except ImportError:
        raise InputError("contracts need a library that is not installed: pip install 'backstory[contracts]'") from None
    return yaml


def _measure(node: Any, known: dict[int, int]) -> int:
    """Return how many values a node stands for, after looking for names that stand twice.

    Raises:
        InputError: They are too many, it holds itself, or a mapping has a name twice.
    """
    size = known.get(id(node))
    if size is not None:
        if not size:
            raise InputError("contract: expected YAML without a value that holds itself")
        return size
    known[id(node)] = 0
    size = 1
    if isinstance(node.value, list):
        names: set[str] = set()
        for item in node.value:
            for inner in item if isinstance(item, tuple) else (item,):
                size += _measure(inner, known)
            if isinstance(item, tuple) and isinstance(item[0].value, str):
                if item[0].value in names:
                    line = item[0].start_mark.line + 1
                    raise InputError(f"contract: {item[0].value!r} stands twice in one mapping (line {line})")
                names.add(item[0].value)
    if size > NODES_MAX:
        raise InputError(f"contract: expected at most {NODES_MAX} values, got more, maybe through aliases")
    known[id(node)] = size
    return size
