"""Locks in a forked child: what a thread of the parent held there stays locked for ever, so the child gets new ones."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable
from typing import Any

_OWNERS: weakref.WeakKeyDictionary[Any, tuple[str, Callable[[], Any]]] = weakref.WeakKeyDictionary()


def renew_in_child(owner: object, attribute: str, make: Callable[[], Any]) -> None:
    """See to it that an object has a new lock in every child forked from now on.

    For locks that may be held while a disk or another process is waited for. What they guard must be of use after any
    interruption.

    Args:
        owner: The object, which can be weakly referred to.
        attribute: The name of its lock.
        make: Makes a lock.
    """
    _OWNERS[owner] = attribute, make


def _renew() -> None:
    for owner, (attribute, make) in list(_OWNERS.items()):
        setattr(owner, attribute, make())


os.register_at_fork(after_in_child=_renew)
