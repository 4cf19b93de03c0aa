"""What a forked child needs anew: above all locks, as what a thread of the parent held stays locked there for ever."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable
from typing import Any

_OWNERS: weakref.WeakKeyDictionary[Any, dict[str, Callable[[], Any]]] = weakref.WeakKeyDictionary()


def renew_in_child(owner: object, attribute: str, make: Callable[[], Any]) -> None:
    """See to it that an object has a new lock, or whatever else, in every child forked from now on.

    For locks that may be held while a disk or another process is waited for. What they guard must be of use after any
    interruption.

    Args:
        owner: The object, which can be weakly referred to, or the class of it.
        attribute: The name of its lock; it may have several.
        make: Makes a new one.
    """
    _OWNERS.setdefault(owner, {})[attribute] = make


def _renew() -> None:
    for owner, locks in list(_OWNERS.items()):
        for attribute, make in locks.items():
            setattr(owner, attribute, make())


os.register_at_fork(after_in_child=_renew)
