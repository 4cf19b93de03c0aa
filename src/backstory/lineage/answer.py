"""What answers share: one page, shown as text, in a terminal and in a notebook."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

from backstory.lineage.page import Page, page_text

if TYPE_CHECKING:
    from rich.panel import Panel


class Answer:
    """An answer that lays itself out as a page."""

    __slots__ = ()

    @abstractmethod
    def _page(self) -> Page:
        """Return it laid out for a reader."""

    def __str__(self) -> str:
        """Return the answer as text."""
        return page_text(self._page())

    def __rich__(self) -> Panel:
        """Return the answer for a terminal."""
        from backstory.lineage.page_rich import page_rich

        return page_rich(self._page())

    def _repr_html_(self) -> str:
        """Return the answer for a notebook."""
        from backstory.lineage.page_html import page_html

        return page_html(self._page())
