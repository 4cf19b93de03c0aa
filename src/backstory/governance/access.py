"""The gate in front of what an archive keeps: how somebody may see a class of a record, and what they may do.

Where no policy was ever approved, sealed values are read by whoever names an actor and a purpose. Once one is in force,
it decides, and what it does not permit is denied. Either way no sealed value is given out before the access is on disk.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NoReturn, Self

from backstory.capture.recorder import Recorder
from backstory.errors import ForbiddenError
from backstory.governance.access_policy import ACTIONS, Asked, Policy, minute_of, text_of_policy
from backstory.governance.access_roles import (
    ENTRY_TYPES,
    Role,
    Standing,
    is_running,
    standing_of,
    text_or_none,
)
from backstory.governance.access_stream import Noted, note_access
from backstory.governance.classification import classes_of_source
from backstory.governance.proposal import DECIDED, POLICY_KIND, POLICY_NAME, in_force, refuse
from backstory.ledger.ledger import Ledger
from backstory.records.access import ALL_CLEAR, SHOWN, About, Scope, View, Views
from backstory.records.access_record import ALLOWED, DENIED, REDACTED
from backstory.records.identity import parse_time
from backstory.records.redaction import PSEUDONYMS_KEY, pseudonym_of
from backstory.records.sensitivity import CLASSES, PERSONAL, class_of_group

_ABOUT_PEOPLE = ("D3", "D4", "D5")
_ROWS = "source"
_NOBODY = Standing(roles=(), cases=(), grants=())
_LESS: tuple[View, ...] = ("pseudonymised", "masked", "aggregate")
_DECISIONS_KEPT = 4096
_NONE_PERSONAL: Views = {**ALL_CLEAR, **dict.fromkeys(PERSONAL, "none")}


@dataclass(frozen=True, slots=True, kw_only=True)
class _State:
    """What the log says of access, as of a tree size.

    Attributes:
        size: That tree size.
        last: Indexes of the newest entries that say something of access.
        index: Index of the policy's proposal; None where no policy is in force.
        policy: The policy.
        standing: What whoever asks has.
    """

    size: int
    last: tuple[int, ...]
    index: int | None
    policy: Policy | None
    standing: Standing


@dataclass(frozen=True, slots=True, kw_only=True)
class _Moment:
    """When something is decided: what the log says then, and the role that is held then."""

    state: _State
    now_ns: int
    held: Role | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Decided:
    """A view, and the grant without which it would show less."""

    view: View
    grant: int | None = None


class AccessGate:
    """Decides for one session; see `backstory.records.access.Gate`. Threads may share it."""

    def __init__(
        self,
        ledger: Ledger,
        recorder: Recorder,
        *,
        purpose: str | None = None,
        role: str | None = None,
        case: str | None = None,
    ) -> None:
        """Guard an archive for its actor.

        Args:
            ledger: The archive.
            recorder: Where accesses are recorded.
            purpose: What sealed values are read for.
            role: Under which role.
            case: For which case.

        """
        self._ledger, self._recorder = ledger, recorder
        self._purpose, self._role, self._case = purpose, role, case
        self._about: About | None = None
        self._moment: _Moment | None = None
        self._state: _State | None = None
        self._decided: dict[tuple[object, ...], _Decided] = {}

    def require_role(self) -> None:
        """Insist that whoever opened under a role has it.

        Raises:
            ForbiddenError: A policy is in force, and they have not; the refusal is recorded.
        """
        moment = self._now()
        if self._role is not None and moment.state.policy is not None and moment.held is None:
            message = f"expected a role that was assigned, got {self._role}"
            refuse(self._ledger, "opening under a role", "role not assigned", message)

    @property
    def purpose(self) -> str | None:
        """What sealed values are read for, where somebody said it."""
        return self._purpose

    @property
    def role(self) -> str | None:
        """Under which role, where somebody said it."""
        return self._role

    @property
    def case(self) -> str | None:
        """For which case, where somebody said it."""
        return self._case

    @property
    def policy(self) -> int | None:
        """Index of the proposal of the policy in force; None where none is."""
        return self._now().state.index

    @property
    def bound_subject(self) -> str | None:
        """The person whose records alone this session may see; None where its role is bound to none."""
        held = self._now().held
        return None if held is None or held.subject is None else text_or_none(self._ledger, held.subject, "subject")

    def within(self, about: About) -> Self:
        """Return a gate that decides about one record, for one question: as of now."""
        narrowed = copy.copy(self)
        narrowed._about, narrowed._moment = about, self._now()  # noqa: SLF001  of its own kind
        return narrowed

    def allows(self, groups: Sequence[str] | None = None) -> bool:
        """Say whether sealed values may be read as they are; see `backstory.records.access.Gate`."""
        if not self._ledger.writable or self._ledger.actor is None:
            return False
        if self._now().state.policy is None:
            return self._purpose is not None
        views = self.views()
        return all(views[one] == "clear" for one in (_ABOUT_PEOPLE if groups is None else _classes(groups)))

    def lacking(self, groups: Sequence[str] | None = None) -> str:
        """Say what stands in the way of reading sealed values; see `backstory.records.access.Gate`."""
        if self._now().state.policy is None:
            return self._needed()
        return self._less(_ABOUT_PEOPLE if groups is None else _classes(groups))

    def views(self, about: About | None = None) -> Views:
        """Return how values of each class are seen; see `backstory.records.access.Gate`."""
        moment = self._now()
        if moment.state.policy is None:
            return ALL_CLEAR if self.allows() else _NONE_PERSONAL
        return {class_: one.view for class_, one in self._decide(moment, about or self._about, CLASSES).items()}

    def pass_through(self, question: str, groups: Sequence[str], records: int, scope: Scope | None = None) -> None:
        """Record a read of sealed values as they are; see `backstory.records.access.Gate`."""
        classes = _classes(groups)
        if not self.allows(groups):
            self._deny(question, classes, groups, records, scope)
        self._note(question, ALLOWED, classes, groups, records, scope)

    def show(self, question: str, groups: Sequence[str], records: int, scope: Scope, views: Views) -> None:
        """Record that sealed values are shown as views say; see `backstory.records.access.Gate`."""
        classes = tuple(sorted({class_of_group(group) for group in groups}))
        if not any(views[one] in SHOWN for one in classes):
            if self._now().state.policy is not None:
                self._note_denied(question, classes, groups, records, scope)
            return
        outcome = ALLOWED if all(views[one] == "clear" for one in classes) else REDACTED
        self._note(question, outcome, classes, groups, records, scope)

    def require_open(self, question: str, classes: Sequence[str] = ("D0", "D1", "D2")) -> None:
        """Insist that open classes are seen as they are; see `backstory.records.access.Gate`."""
        if self._now().state.policy is None:
            return
        views = self.views()
        if any(views[one] != "clear" for one in classes):
            self._deny(question, classes, (), 0, None)

    def require(self, action: str) -> None:
        """Insist that the policy permits an action other than viewing; without a policy everybody may.

        Args:
            action: One of `access_policy.ACTIONS`.

        Raises:
            ForbiddenError: It does not; the refusal is recorded.
        """
        if self.may(action):
            return
        self._note_denied(action, (), (), 0, None)
        msg = f"{action}: the policy of entry {self.policy} does not permit it to {self._who()}"
        raise ForbiddenError(msg)

    def may(self, action: str) -> bool:
        """Say whether the policy permits an action other than viewing; without a policy everybody may."""
        if action not in ACTIONS:
            raise AssertionError(f"access: no policy can speak of {action!r}")
        moment = self._now()
        policy = moment.state.policy
        return policy is None or policy.permits(action, None, self._asked(moment, None))

    def note_read(self, question: str, groups: Sequence[str], records: int, scope: Scope | None = None) -> None:
        """Record a read that an action permits which was required before, such as that of the access log itself.

        Raises:
            ForbiddenError: It cannot be recorded, or there is no policy, and no actor and purpose either.
        """
        if self._now().state.policy is None and not self.allows():
            self._deny(question, _classes(groups), groups, records, None)
        self._note(question, ALLOWED, _classes(groups), groups, records, scope)

    def classes_of(self, dataset: str) -> Mapping[str, str]:
        """Return the classes of a dataset version's columns, as far as they are known."""
        return classes_of_source(self._ledger, dataset)

    def pseudonym(self, subject: str) -> str:
        """Return what stands for a person under this session's purpose."""
        key = self._ledger.keys.get_or_create(PSEUDONYMS_KEY, "key")["key"]
        return pseudonym_of(key, self._purpose or "", subject)

    def reason(self, class_: str, view: View) -> str:
        """Say in a few words why a class is seen in a view."""
        if self._now().state.policy is None:
            return self._needed()
        how = {
            "aggregate": "in figures only",
            "just-in-time": "with a grant for the case",
            "none": "not to be seen",
            "own": "where it is its own",
            "pseudonymised": "under pseudonyms",
        }.get(view, view)
        return f"{class_} is for {self._who()} {how}"

    # --- deciding -----------------------------------------------------------------------------------------------------

    def _now(self) -> _Moment:
        """Return the moment that is decided at; a gate within a question stays at the one it began at."""
        if self._moment is not None:
            return self._moment
        state, now_ns = self._read(), self._ledger.world.now_ns()
        held = [one for one in state.standing.roles if one.role == self._role and is_running(one.until, now_ns)]
        return _Moment(state=state, now_ns=now_ns, held=held[-1] if held else None)

    def _read(self) -> _State:
        """Return what the log says of access now; other processes may have appended to it."""
        ledger, state = self._ledger, self._state
        ledger.catch_up()
        size = ledger.catalog.size
        if state is not None and state.size == size:
            return state
        last = tuple(max(ledger.catalog.entries(type_), default=-1) for type_ in (DECIDED, *ENTRY_TYPES))
        if state is not None and state.last == last:
            state = replace(state, size=size)
        else:
            policy = in_force(ledger, POLICY_KIND, POLICY_NAME) if last[0] >= 0 else None
            person = ledger.actor
            state = _State(
                size=size,
                last=last,
                index=None if policy is None else policy.index,
                policy=None if policy is None else Policy(text_of_policy(policy.document)),
                standing=_NOBODY if person is None or policy is None else standing_of(ledger, person),
            )
        self._state = state
        return state

    def _asked(self, moment: _Moment, about: About | None) -> Asked:
        held = moment.held
        return Asked(
            role=None if held is None else held.role,
            purpose=self._purpose,
            case=self._case,
            assigned=about is not None and self._is_assigned(moment, about),
            own=about is not None and held is not None and self._is_own(about, held),
            minute=minute_of(moment.now_ns),
        )

    def _is_assigned(self, moment: _Moment, about: About) -> bool:
        cases = [one for one in moment.state.standing.cases if one.case == self._case]
        return any(is_running(one.until, moment.now_ns) and one.has(about) for one in cases)

    def _is_own(self, about: About, held: Role) -> bool:
        if held.subject is not None:
            bound = text_or_none(self._ledger, held.subject, "subject")
            return bound is not None and about.subject() == bound
        return about.model is not None and about.model in held.models

    def _grant(self, moment: _Moment, class_: str) -> int | None:
        """Return the index of the grant for a class and this session's case that is in force."""
        grants = [one for one in moment.state.standing.grants if one.case == self._case and class_ in one.classes]
        running = [one.index for one in grants if is_running(parse_time(one.until), moment.now_ns)]
        return running[-1] if running else None

    def _decide(self, moment: _Moment, about: About | None, classes: Collection[str]) -> dict[str, _Decided]:
        state, asked = moment.state, self._asked(moment, about)
        found = {}
        for class_ in classes:
            grant = self._grant(moment, class_)
            key = state.index, class_, asked, grant
            decided = self._decided.get(key)
            if decided is None:
                if len(self._decided) >= _DECISIONS_KEPT:
                    self._decided.clear()
                is_shown = self._ledger.writable or class_ not in PERSONAL  # what cannot be recorded is not
                decided = _view(state.policy, class_, asked, grant) if is_shown else _Decided(view="none")
                self._decided[key] = decided
            found[class_] = decided
        return found

    # --- recording ----------------------------------------------------------------------------------------------------

    def _deny(
        self, question: str, classes: Sequence[str], groups: Sequence[str], records: int, scope: Scope | None
    ) -> NoReturn:
        """Record that a question was refused, and refuse it."""
        self._note_denied(question, classes, groups, records, scope)
        if self._now().state.policy is None:
            msg = (
                f"{question}: sealed values ({', '.join(groups)}) need an actor and a purpose and an archive open "
                "for writing, so that the read is recorded"
            )
            raise ForbiddenError(msg)
        raise ForbiddenError(f"{question}: it shows values as they are, and {self._less(classes)}")

    def _note_denied(
        self, question: str, classes: Sequence[str], groups: Sequence[str], records: int, scope: Scope | None
    ) -> None:
        if self._ledger.writable:
            self._note(question, DENIED, classes, groups, records, scope)

    def _note(
        self,
        question: str,
        outcome: str,
        classes: Sequence[str],
        groups: Sequence[str],
        records: int,
        scope: Scope | None,
    ) -> None:
        moment = self._now()
        state = moment.state
        decided = {} if state.policy is None else self._decide(moment, self._about, classes)
        grants = [one.grant for one in decided.values() if one.grant is not None]
        noted = Noted(
            question=question,
            outcome=outcome,
            role=self._role,
            classes=classes,
            groups=groups,
            records=records,
            policy=state.index,
            grant=grants[0] if grants and outcome != DENIED else None,
            purpose=self._purpose,
            case=self._case,
            scope=scope,
        )
        note_access(self._ledger, self._recorder, noted)

    def _needed(self) -> str:
        """Say what reading takes where no policy is in force."""
        is_named = self._ledger.actor is not None and self._purpose is not None
        return (
            "open the archive for writing, so that the read is recorded" if is_named else "give an actor and a purpose"
        )

    def _less(self, classes: Sequence[str]) -> str:
        """Say of each class that is not seen as it is how it is seen instead, and why."""
        if not self._ledger.writable and any(one in PERSONAL for one in classes):
            return "the archive is open for reading only, and no read could be recorded"
        views = self.views()
        return "; ".join(self.reason(one, views[one]) for one in sorted(classes) if views[one] != "clear")

    def _who(self) -> str:
        return "whoever has no role" if self._now().held is None else f"role {self._role}"


def _view(policy: Policy | None, class_: str, asked: Asked, grant: int | None) -> _Decided:
    """Return how a class is seen: the first view that is permitted and shows most."""
    if policy is None or policy.permits("clear", class_, asked):
        return _Decided(view="clear")
    just_in_time = policy.permits("just-in-time", class_, asked)
    if just_in_time and grant is not None:
        return _Decided(view="clear", grant=grant)
    own = policy.permits("own", class_, asked)
    if own and asked.own:
        return _Decided(view="clear")
    for view in _LESS:
        if policy.permits(view, class_, asked):
            return _Decided(view=view)
    return _Decided(view="just-in-time" if just_in_time else "own" if own else "none")


def _classes(groups: Sequence[str]) -> tuple[str, ...]:
    """Return the classes of sealed groups; whole rows of a source may have any that is about people."""
    found = {class_of_group(group) for group in groups if group != _ROWS}
    return tuple(sorted(found | (set(_ABOUT_PEOPLE) if _ROWS in groups else set())))
