r"""One meaning for a regular expression in two engines: RE2 over columns, Python's over single values.

Both search anywhere in the text, `\d`, `\w` and `\b` are about ASCII, `\s` is blank, tab, line feed, form feed and
carriage return, and `$` is the very end. What RE2 does not have (looking around, references) Python's engine does for
columns too. An expression or text with which Python's engine could take very long goes to RE2; whoever is served could
send such a text. An expression that only Python's engine has is refused if it repeats what repeats.
"""

from __future__ import annotations

import functools
import re
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from backstory.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    import pyarrow as pa

TEXT_CHARACTERS_MAX: Final = 1024
"""Longer text goes to RE2, whose time does not grow with its square."""
_STEPS_MAX: Final = 1 << 14
"""Ways to divide a text among the repetitions of an expression, beyond which it goes to RE2."""

_TOKEN: Final = re.compile(
    r"\\(?P<escaped>.)|(?P<class>\[\^?\]?(?:\\.|[^\]\\])*\])|(?P<group>\(\?:|\((?!\?))|(?P<other>\(\?)"
    r"|(?P<repeat>\{[0-9]+(?:,[0-9]*)?\}|[*+?])|(?P<one>.)",
    re.DOTALL,
)
_BLANK: Final = r"\t\n\f\r "
_SAME_ESCAPES: Final = frozenset("dDwWbBtnrf")
_RE2_REPEATS_MAX: Final = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Pattern:
    """A regular expression that was looked at.

    Attributes:
        python: It, for Python's engine.
        re2: It, as it was given, for RE2; None where RE2 does not have what it uses.
        characters_max: How long a text may be so that Python's engine does not take long; 0 if it repeats what repeats.
    """

    python: re.Pattern[str]
    re2: str | None
    characters_max: int


@functools.lru_cache(256)
def read_pattern(text: str) -> Pattern:
    """Return a regular expression for both engines.

    Raises:
        InputError: Python's engine does not take it, or alone has what it uses and could take very long.
    """
    parts, is_common, characters_max = _translated(text)
    translated = "".join(parts)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # about what a later version of Python reads otherwise
            compiled = re.compile(translated, re.ASCII)
    except (re.error, FutureWarning, DeprecationWarning, OverflowError, RecursionError) as error:
        raise InputError(f"pattern cannot be used: expected a regular expression, got {text!r} ({error})") from None
    if not is_common and not characters_max:
        raise InputError(f"pattern cannot be used: it repeats what repeats, which could take very long: {text!r}")
    return Pattern(python=compiled, re2=text if is_common else None, characters_max=characters_max)


def _translated(text: str) -> tuple[list[str], bool, int]:
    """Return the parts of an expression as Python's engine has them, if RE2 has them too, and its `characters_max`."""
    parts: list[str] = []
    is_common, is_slow, repeats = True, False, 0
    repeats_inside = [
        False
    ]  # for each open group, whether something in it repeats more or less often or it has choices
    after_group = False
    for token in _TOKEN.finditer(text):
        kind, part = str(token.lastgroup), token[0]
        was_group, after_group = after_group, False
        if kind == "escaped":
            part, same = _escaped(token["escaped"])
            is_common &= same
        elif kind == "class":
            part, same = _class(part)
            is_common &= same
        elif kind in {"group", "other"}:
            is_common &= kind == "group"
            repeats_inside.append(False)
        elif kind == "repeat":
            counts = [int(count) for count in re.findall("[0-9]+", part)]
            is_loose = not counts or "," in part
            is_common &= max(counts, default=0) <= _RE2_REPEATS_MAX
            is_slow |= bool(was_group) and part != "?"
            repeats_inside[-1] |= is_loose
            repeats += is_loose
        elif part == ")":
            after_group = len(repeats_inside) > 1 and repeats_inside.pop()
            repeats_inside[-1] |= after_group
        elif part == "|":
            repeats_inside[-1] = True
        elif part == "$":
            part = r"\Z"
        elif part in "{}[":  # no repetition and no class: engines differ
            is_common = False
        parts.append(part)
    characters = TEXT_CHARACTERS_MAX if repeats < 2 else int(_STEPS_MAX ** (1 / repeats))  # noqa: PLR2004
    return parts, is_common, 0 if is_slow else characters


def _escaped(character: str) -> tuple[str, bool]:
    """Return an escape for Python's engine, and whether RE2 has the same."""
    if character == "s":
        return f"[{_BLANK}]", True
    if character == "S":
        return f"[^{_BLANK}]", True
    if character == "B":  # which Python, before 3.14, does not find in an empty text
        return r"(?!\b)", True
    is_same = character in _SAME_ESCAPES or not (character.isalnum() or character == "_")
    return f"\\{character}", is_same and character.isascii()


def _class(text: str) -> tuple[str, bool]:
    """Return a class of characters for Python's engine, and whether RE2 has the same."""
    is_common = "[" not in text[1:] and not re.search(r"&&|--|~~|\|\|", text)
    for escaped in re.findall(r"\\(.)", text, re.DOTALL):
        is_common &= escaped == "s" or (escaped in _SAME_ESCAPES - {"b", "B"}) or not escaped.isalnum()
    return re.sub(r"\\(.)", lambda match: _BLANK if match[1] == "s" else match[0], text, flags=re.DOTALL), is_common


def matcher(text: str) -> Callable[[str], bool]:
    """Return a function that says whether an expression is found in a text."""
    pattern = read_pattern(text)
    search = pattern.python.search
    if pattern.re2 is None:
        return lambda value: search(value) is not None
    limit = pattern.characters_max

    def found(value: str) -> bool:
        if len(value) <= limit:
            return search(value) is not None
        import pyarrow as pa

        return bool(match_column(text, pa.chunked_array([pa.array([value], pa.large_string())]))[0].as_py())

    return found


def match_column(text: str, values: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return for each text of a column whether an expression is found in it; null for null."""
    import pyarrow as pa
    import pyarrow.compute as pc

    pattern = read_pattern(text)
    if pattern.re2 is not None:
        try:
            return pc.match_substring_regex(values, pattern.re2)
        except pa.ArrowInvalid:  # too large for RE2
            pass
    search = pattern.python.search
    encoded = pc.dictionary_encode(values.combine_chunks())
    found = pa.array([search(value) is not None for value in encoded.dictionary.to_pylist()], pa.bool_())
    return pa.chunked_array([found.take(encoded.indices)])
