"""What the pictures share: numbers and words as SVG has them."""

from __future__ import annotations

from xml.sax.saxutils import escape

from backstory.lineage.plain import printable


def svg_number(value: float) -> str:
    """Return a length with one digit after the point, or none.

    >>> svg_number(2.0), svg_number(2.25)
    ('2', '2.2')
    """
    return f"{value:.1f}".removesuffix(".0")


def svg_text(text: str) -> str:
    """Return text as it stands between tags."""
    return escape(printable(text))


def cut_text(text: str, characters: int) -> str:
    """Return text that is not longer than there is room for."""
    return text if len(text) <= characters else text[: characters - 1] + "…"
