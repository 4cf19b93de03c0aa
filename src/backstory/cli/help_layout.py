"""How the help of one command is laid out: each option is one paragraph, broken where the terminal ends.

The docstrings that the help is taken from are broken where our lines end, which nobody who reads the help should see.
"""

from __future__ import annotations

import io
import re
import textwrap
from typing import TYPE_CHECKING, Any

from cyclopts.help import HelpEntry, HelpPanel, PlainFormatter
from rich.console import Console

if TYPE_CHECKING:
    from rich.console import ConsoleOptions

_INDENT, _HANGING = "  ", "      "
_LABEL = re.compile(r"\S.*? {2,}")
"""What a paragraph begins with that says what one action does."""


class ParagraphFormatter(PlainFormatter):
    """Plain help whose paragraphs have the width of the terminal."""

    def __call__(self, console: Console, options: ConsoleOptions, panel: HelpPanel) -> None:
        """Print one table of the help.

        Args:
            console: Where to.
            options: How wide it is.
            panel: The table.
        """
        if not panel.entries:
            return
        lines = [f"{panel.title}:"] if panel.title else []
        for entry in panel.entries:
            text = f"{', '.join(entry.display_labels_with_metavar)}: {_described(entry)}".removesuffix(": ")
            lines += textwrap.wrap(
                text, options.max_width, initial_indent=_INDENT, subsequent_indent=_HANGING,
                break_long_words=False, break_on_hyphens=False,
            )  # fmt: skip
        console.print("\n".join([*lines, ""]), highlight=False, markup=False, soft_wrap=True)

    def render_description(self, console: Console, options: ConsoleOptions, description: Any) -> None:  # noqa: ANN401
        """Print what the command does; of a paragraph with a gap, what stands before it is a label.

        Args:
            console: Where to.
            options: How wide it is.
            description: What cyclopts made of the docstring.
        """
        for paragraph in re.split(r"\n\s*\n", _plain_text(description).strip()):
            label = _LABEL.match(paragraph)
            text = f"{label[0] if label else ''}{' '.join(paragraph[label.end() if label else 0 :].split())}"
            lines = textwrap.wrap(
                text, options.max_width, subsequent_indent=" " * (label.end() if label else 0),
                break_long_words=False, break_on_hyphens=False,
            )  # fmt: skip
            console.print("\n".join([*lines, ""]), highlight=False, markup=False, soft_wrap=True)


def _plain_text(description: Any) -> str:  # noqa: ANN401  what cyclopts made of a docstring
    wide = Console(file=io.StringIO(), width=1 << 16, no_color=True, highlight=False, markup=False, emoji=False)
    with wide.capture() as capture:
        wide.print(description or "", end="")
    return capture.get()


def _described(entry: HelpEntry) -> str:
    facts = {
        "choices": ", ".join(entry.choices or ()),
        "env var": ", ".join(entry.env_var or ()),
        "default": entry.default,
    }
    told = [f"[{name}: {fact}]" for name, fact in facts.items() if fact]
    return " ".join([*_plain_text(entry.description).split(), *told, *(["[required]"] if entry.required else [])])
