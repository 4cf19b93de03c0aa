"""Fetching again what predictions used online, and comparing it with what their records keep."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from backstory.capture.plain import json_text, plain_value
from backstory.lineage.online import AsOf, OnlineRow, OnlineState
from backstory.lineage.story import Story

_NOTHING = object()
"""Stands for a value that is not there, which is not null."""


def fetch_online(story: Story, resolvers: Mapping[str, AsOf]) -> tuple[OnlineRow, ...]:
    """Return the rows a prediction used online, fetched again where there is a resolver."""
    recorded = datetime.fromisoformat(story.time)
    return tuple(_fetched(step, resolvers.get(step["name"]), recorded) for step in _uses(story))


def _uses(story: Story) -> Iterator[dict[str, Any]]:
    for step in story.steps.get("steps", ()):
        if step.get("kind") == "use":
            yield step


def _fetched(step: dict[str, Any], resolver: AsOf | None, recorded: datetime) -> OnlineRow:
    reference = step["ref"]
    version, at = reference.get("version"), reference.get("at")
    said = {
        "source": step["name"],
        "key": reference.get("key"),
        "version": None if version is None else str(version),
        "at": None if at is None else str(at),
    }
    if resolver is None:
        return OnlineRow(**said, state="not fetched", reason="no resolver for this source")
    moment = recorded if at is None else _moment(str(at))
    if moment is None:
        return OnlineRow(**said, state="cannot", reason="the moment on the record is none")
    try:
        row = resolver.fetch(said["key"], version=said["version"], at=moment)
        values = None if row is None else dict(row)
    except Exception as error:  # noqa: BLE001  whatever a store raises; its message may hold values
        return OnlineRow(**said, state="cannot", reason=type(error).__name__)
    if values is None:
        return OnlineRow(**said, state="no row")
    state, changed = _compared(step, values)
    return OnlineRow(**said, state=state, values=values, changed=changed)


def _compared(step: dict[str, Any], values: dict[str, Any]) -> tuple[OnlineState, tuple[str, ...]]:
    """Compare a row with what the record keeps of it, in the form the record keeps it in.

    A row has columns that nobody used, such as from when it was valid: of values only those on record count.
    """
    text = json_text(plain_value(values), compact=True)
    if "digest" in step:
        return ("same" if hashlib.sha256(text.encode()).hexdigest() == step["digest"] else "changed"), ()
    kept = step.get("values")
    if not isinstance(kept, dict):
        return "fetched", ()
    now = json.loads(text)
    changed = tuple(sorted(name for name in kept if kept[name] != now.get(name, _NOTHING)))
    return ("changed" if changed else "same"), changed


def _moment(text: str) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
