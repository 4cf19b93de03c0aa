"""The front door: an archive with its verbs. A thin facade that only delegates."""

from backstory.archive.facade import Archive
from backstory.archive.opening import init, open_archive

__all__ = ["Archive", "init", "open_archive"]
