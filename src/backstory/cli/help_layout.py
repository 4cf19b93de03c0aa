"""How the help of one command is laid out: each option is one paragraph, broken where the terminal ends.

The docstrings that the help is taken from are broken where our lines end, which nobody who reads the help should see.
"""

from __future__ import annotations

import io
import textwrap
from typing import TYPE_CHECKING

from cyclopts.help import HelpEntry, HelpPanel, PlainFormatter
from rich.console import Console

if TYPE_CHECKING:
    from rich.console import ConsoleOptions

_INDENT, _HANGING = "  ", "      "


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


def _described(entry: HelpEntry) -> str:
    wide = Console(file=io.StringIO(), width=1 << 16, no_color=True, highlight=False, markup=False, emoji=False)
    with wide.capture() as capture:
        wide.print(entry.description or "", end="")
    facts = {
        "choices": ", ".join(entry.choices or ()),
        "env var": ", ".join(entry.env_var or ()),
        "default": entry.default,
    }
    told = [f"[{name}: {fact}]" for name, fact in facts.items() if fact]
    return " ".join([*capture.get().split(), *told, *(["[required]"] if entry.required else [])])
