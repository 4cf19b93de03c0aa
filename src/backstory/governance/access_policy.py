"""Policies in Cedar: reading one, checking it, and asking it. Rules: docs/format.md section 40.

Needs the extra `policy` where an archive has a policy; without one nothing here is asked.
"""

from __future__ import annotations

import functools
import importlib.util
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import resources
from types import ModuleType
from typing import Any

from backstory.errors import ForbiddenError, FormatError, InputError
from backstory.governance.proposal import POLICY_KIND, POLICY_NAME, in_force, proposals
from backstory.ledger.ledger import Ledger
from backstory.records import canonical
from backstory.records.canonical import JsonObject
from backstory.records.identity import time_text
from backstory.records.names import nearest

STARTING = "starting"
"""Name of the policy that is shipped."""

ASSIGN_ROLE, ASSIGN_CASE, GRANT, BREAK_GLASS = "assign-role", "assign-case", "grant", "break-glass"
REVIEW, QUERY_LOG, PROPOSE, APPROVE, EXPORT = "review", "query-access-log", "propose", "approve", "export"
ACTIONS = (
    "approve", "assign-case", "assign-role", "break-glass", "classify", "decide", "deploy", "dispose", "erase",
    "export", "freeze", "grant", "hold", "notice", "operate-keys", "outcome", "propose", "query-access-log",
    "read-holds", "rectify", "register", "release", "report", "request", "review", "set-retention", "share",
)  # fmt: skip
"""What a policy can permit besides views; see `schema.cedarschema`."""

_NAME = re.compile(r"\s*[\w.-]+\s*")
_SECONDS_A_MINUTE = 60
_MINUTE_NS = _SECONDS_A_MINUTE * 10**9
_ARCHIVE = {"id": "archive", "type": "Archive"}
_PERSON = {"id": "asking", "type": "Person"}
_MISSING = (
    "access: a policy is in force and cedarpy is not installed, so nothing is shown: pip install 'backstory[policy]'"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a policy is told of a question.

    Attributes:
        role: Under which role; None for none.
        purpose: What for.
        case: For which case.
        assigned: Whether the record is in that case, and the case is assigned to whoever asks.
        own: Whether the record is what the role is bound to.
        minute: When, in minutes since 1970.
    """

    role: str | None
    purpose: str | None
    case: str | None
    assigned: bool
    own: bool
    minute: int

    def context(self) -> JsonObject:
        """Return it as a policy's context."""
        given = {"case": self.case, "purpose": self.purpose}
        texts: JsonObject = {name: text for name, text in given.items() if text is not None}
        moment = time_text(self.minute * _MINUTE_NS)[:19] + "Z"
        return texts | {
            "assigned": self.assigned,
            "own": self.own,
            "time": {"__extn": {"arg": moment, "fn": "datetime"}},
        }


def minute_of(time_ns: int) -> int:
    """Return the minute of a moment: decisions are remembered for that long."""
    return time_ns // _MINUTE_NS


class Policy:
    """A policy that can be asked."""

    def __init__(self, text: str) -> None:
        """Read a policy.

        Raises:
            ForbiddenError: Cedar is not installed.
            FormatError: It is no policy.
        """
        self._cedar = _cedar()
        try:
            self._set = self._cedar.PolicySet.from_str(text)
        except ValueError:
            raise FormatError("access: the policy in force is not Cedar") from None
        self._entities: dict[str | None, Any] = {}

    def permits(self, action: str, resource: str | None, asked: Asked) -> bool:
        """Say whether something is permitted; an error in any line of the policy denies.

        Args:
            action: A view or another action of the schema.
            resource: The class, for a view; None for the archive.
            asked: Who asks, and what of.
        """
        request = {
            "action": {"id": action, "type": "Action"},
            "context": asked.context(),
            "principal": _PERSON,
            "resource": _ARCHIVE if resource is None else {"id": resource, "type": "Class"},
        }
        result = self._cedar.is_authorized(request, self._set, self._of(asked.role))
        return bool(result.allowed) and not result.diagnostics.errors

    def _of(self, role: str | None) -> Any:  # noqa: ANN401  of a library that comes without types
        if role not in self._entities:
            parents = [] if role is None else [{"id": role, "type": "Role"}]
            entity = {"attrs": {}, "parents": parents, "uid": _PERSON}
            self._entities[role] = self._cedar.Entities.from_json_str(json.dumps([entity]))
        return self._entities[role]


def policy_document(text: str) -> JsonObject:
    """Return the document of a policy, checked against the schema; `starting` is the one that is shipped.

    Raises:
        InputError: It is no policy, does not fit the schema, or names a person.
        ForbiddenError: Cedar is not installed.
    """
    cedar, schema = _cedar(), _shipped("schema.cedarschema")
    if _NAME.fullmatch(text) and text != STARTING:  # the name of one: no Cedar is a single word
        raise InputError(f"policy: expected Cedar, or {STARTING}, the one that is shipped{nearest(text, [STARTING])}")
    text = _shipped("starting.cedar") if text == STARTING else text
    result = cedar.validate_policies(text, schema)
    if not result.validation_passed:
        problems = "; ".join(" ".join(str(error).split()) for error in result.errors[:3])
        raise InputError(f"policy: expected Cedar that fits the schema: {problems}")
    if "Person" in _types_named(json.loads(cedar.policies_to_json_str(text))):
        raise InputError("policy: expected roles, got the name of a person: a policy stands in the archive in clear")
    return {"kind": "policy", "schema": schema, "text": text, "v": 1}


def text_of_policy(document: JsonObject) -> str:
    """Return the text of a policy's document.

    Raises:
        FormatError: It is none.
    """
    canonical.check_version(document, 1, "policy")
    return canonical.text_of(document, "text")


def roles_offered(ledger: Ledger) -> frozenset[str] | None:
    """Return the roles somebody can be given: of the policy in force, and of those that wait to be approved.

    Where none is in force, those of the policy that is shipped count too; then it is not known without Cedar: None.
    """
    found = in_force(ledger, POLICY_KIND, POLICY_NAME)
    if found is None and importlib.util.find_spec("cedarpy") is None:
        return None
    texts = [_shipped("starting.cedar") if found is None else text_of_policy(found.document)]
    waiting = proposals(ledger, POLICY_KIND, POLICY_NAME)
    texts += [text_of_policy(one.document) for one in waiting if one.verdict is None]
    return frozenset().union(*map(roles_named, texts))


def roles_named(text: str) -> frozenset[str]:
    """Return the roles a policy names."""
    named: set[str] = set()
    for entity in _entities_in(json.loads(_cedar().policies_to_json_str(text))):
        if entity["type"] == "Role":
            named.add(str(entity["id"]))
    return frozenset(named)


def _types_named(document: object) -> set[str]:
    return {str(entity["type"]) for entity in _entities_in(document)}


def _entities_in(document: object) -> Iterable[Mapping[str, object]]:
    """Yield what a policy in JSON names, wherever it stands."""
    if isinstance(document, dict):
        if {"id", "type"} <= document.keys():
            yield document
        for value in document.values():
            yield from _entities_in(value)
    elif isinstance(document, list):
        for value in document:
            yield from _entities_in(value)


@functools.cache
def _shipped(name: str) -> str:
    return (resources.files("backstory.governance") / "policies" / name).read_text(encoding="utf-8")


def _cedar() -> ModuleType:
    try:
        import cedarpy
    except ImportError:
        raise ForbiddenError(_MISSING) from None
    return cedarpy
