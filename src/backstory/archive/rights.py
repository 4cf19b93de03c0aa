"""Notices that were given and requests that people made, with their clocks: the namespace `archive.rights`."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import date
from uuid import UUID

from backstory.archive.approvals import Moment, moment_of
from backstory.archive.inside import Inside
from backstory.capture.subject import Id, text_of_id
from backstory.errors import InputError
from backstory.governance import notice as notices
from backstory.governance import request as requests
from backstory.governance.clocks import Clock, clock_named, due_ns
from backstory.governance.facts import gate_of_facts
from backstory.governance.notice import Delivery, MissingNotice, Notice, Told
from backstory.governance.request import Answering, Asked, Reply, Request
from backstory.ledger.ledger import Ledger


class Rights:
    """The notices and requests of an archive; made by `Archive.rights`."""

    def __init__(self, inside: Inside) -> None:
        """Work on an open archive."""
        self._inside = inside

    # --- notices ------------------------------------------------------------------------------------------------------

    def notice(
        self,
        type: str,  # noqa: A002  the word users know
        *,
        ground: str,
        decision: str | None = None,
        subject: Id | None = None,
        request: str | None = None,
        case: Id | None = None,
        content: bytes | str | None = None,
        template: str | None = None,
        language: str | None = None,
        channel: str | None = None,
        rule: str | None = None,
        began: Moment = None,
        due: Moment = None,
        zone: str = "UTC",
        holidays: Collection[date] = (),
        at: Moment = None,
    ) -> Notice:
        """Record that a notice was issued; `delivery` says that it was sent, and what became of it.

        Args:
            type: What it is, such as `adverse-action`, `pre-adverse`, `explanation`, `transparency`: a code.
            ground: The legal ground. No personal data: all but subject, case, content and links stands in clear.
            decision: Id of the decision it is about, or a unique prefix.
            subject: Who is told; of a notice about a decision whom that is about.
            request: Whole id of the request it answers.
            case: The case.
            content: Its bytes, which are kept sealed; or their SHA-256 alone, in hex.
            template: Version of the template.
            language: Its language.
            channel: How it goes, such as `letter`.
            rule: Name of the clock, one of `governance.clocks.CLOCKS`: the notice is due when its term ends.
            began: When the term began, such as when an application was complete; demanded with a rule.
            due: When it is due, where no rule says so.
            zone: Time zone whose days count.
            holidays: Days that are no business days.
            at: When it was issued.

        Raises:
            NotFoundError: There is no such decision.
            InputError: Something said of it cannot be used.
            ForbiddenError: The archive was opened without an actor.
        """
        clock = None if rule is None else clock_named(rule)
        if (clock is None) is not (began is None):
            raise InputError("notice: expected began= with rule=: a term runs from a moment")
        began_ns = moment_of(began, "began")
        said = Told(
            type=type,
            ground=ground,
            subject=text_of_id(subject, "subject"),
            decision=decision,
            request=request,
            case=text_of_id(case, "case"),
            content=content,
            template=template,
            language=language,
            channel=channel,
            rule=rule,
            began_ns=began_ns,
            due_ns=_due(clock, began_ns, due, zone, holidays),
            at_ns=self._now_or(at),
        )
        return self._given(said, exempt=False)

    def exempt(self, decision: str, type: str, *, ground: str, at: Moment = None) -> Notice:  # noqa: A002
        """Record that there is a ground to give no notice of a kind about a decision.

        Args:
            decision: Id of the decision, or a unique prefix.
            type: What would be given.
            ground: The ground. No personal data: it stands in clear.
            at: When that was found.

        Raises:
            NotFoundError: There is no such decision.
            ForbiddenError: The archive was opened without an actor.
        """
        said = Told(
            type=type,
            ground=ground,
            subject=None,
            decision=decision,
            request=None,
            case=None,
            content=None,
            template=None,
            language=None,
            channel=None,
            rule=None,
            began_ns=None,
            due_ns=None,
            at_ns=self._now_or(at),
        )
        return self._given(said, exempt=True)

    def delivery(self, notice: str, state: Delivery, *, at: Moment = None) -> Notice:
        """Record that a notice was `sent`, `delivered`, or `failed` to reach anybody.

        Args:
            notice: Its id, or a unique prefix.
            state: What became of it.
            at: When.

        Raises:
            NotFoundError: There is no such notice.
            ConflictError: It is an exemption.
            ForbiddenError: The archive was opened without an actor.
        """
        ledger = self._writing("notice")
        found = notices.note_delivery(ledger, self._inside.recorder, notice, state, self._now_or(at))
        return notices.find_notice(ledger, self._inside.gate, found, groups=())

    def notices(self, *, decision: str | None = None) -> list[Notice]:
        """Return notices and exemptions, oldest first; those about one decision are found by sealed links.

        Args:
            decision: Whole id of a decision.

        Raises:
            ForbiddenError: With a decision, where sealed values may not be opened.
        """
        self._inside.recorder.write()
        ledger, gate = self._inside.ledger, self._inside.gate
        if decision is None:
            return notices.find_notices(ledger, gate, groups=())
        asked = gate_of_facts(gate)
        if not asked.allows(["subject"]):
            asked.pass_through("notices", ["subject"], 1)  # says why not
        return notices.find_notices(ledger, gate, decisions=[decision])

    def show_notice(self, notice: str) -> Notice:
        """Return a notice by its id, or a unique prefix, with what is sealed where it may be opened.

        Raises:
            NotFoundError: There is none.
        """
        self._inside.recorder.write()
        return notices.find_notice(self._inside.ledger, self._inside.gate, notice)

    def missing_notices(self, now: Moment = None) -> list[MissingNotice]:
        """Return the adverse decisions that nobody was told of as they had to be, oldest first.

        Each with what is missing: `none` (no notice and no exemption), `not sent`, `failed`, `late`, `no reason`.

        Args:
            now: The moment that is asked about.

        Raises:
            ForbiddenError: Not even that there are any is for whoever asks.
        """
        self._inside.recorder.write()
        self._inside.gate.require_open(notices.QUESTION, ("D0",))
        return notices.missing_notices(self._inside.ledger, self._now_or(now))

    # --- requests -----------------------------------------------------------------------------------------------------

    def request(
        self,
        type: str,  # noqa: A002  the word users know
        *,
        subject: Id,
        received: Moment = None,
        rule: str | None = None,
        due: Moment = None,
        zone: str = "UTC",
        holidays: Collection[date] = (),
        ground: str | None = None,
        about: Sequence[str | UUID] = (),
        case: Id | None = None,
        text: str | None = None,
    ) -> Request:
        """Record what a person asks for; the clock runs from when it was received.

        Args:
            type: `access`, `contest`, `erasure`, `explanation`, `human-review`, `objection`, `portability`,
                `rectification`, `restriction`.
            subject: Who asks.
            received: When it was received.
            rule: Name of the clock, one of `governance.clocks.CLOCKS`.
            due: When it is to be answered, where no rule says so.
            zone: Time zone whose days count.
            holidays: Days that are no business days.
            ground: The legal ground. No personal data: it stands in clear.
            about: Whole ids of the records it is about.
            case: The case.
            text: What the person wrote.

        Raises:
            InputError: Something said of it cannot be used, or nothing says when it is due.
            ForbiddenError: The archive was opened without an actor.
        """
        ledger = self._writing("request")
        received_ns = self._now_or(received)
        due_at = _due(None if rule is None else clock_named(rule), received_ns, due, zone, holidays)
        if due_at is None:
            raise InputError("request: expected rule= or due=: somebody has to know when it is to be answered")
        whom = text_of_id(subject, "subject")
        if whom is None:
            raise InputError("request: expected a subject")
        said = Asked(
            type=type,
            subject=whom,
            received_ns=received_ns,
            due_ns=due_at,
            rule=rule,
            ground=ground,
            about=tuple(map(str, about)),
            case=text_of_id(case, "case"),
            text=text,
        )
        found = requests.record_request(ledger, self._inside.recorder, said)
        return requests.find_request(ledger, self._inside.gate, found, groups=())

    def answer(
        self,
        request: str,
        state: Answering,
        *,
        at: Moment = None,
        due: Moment = None,
        zone: str = "UTC",
        holidays: Collection[date] = (),
        ground: str | None = None,
        text: str | None = None,
        recipient: str | None = None,
    ) -> Request:
        """Record what happens to a request.

        Args:
            request: Its id, or a unique prefix.
            state: `identified` (it is who they say), `extended`, `fulfilled`, `refused`, or `notified`: a recipient of
                the data was told.
            at: When.
            due: Of an extension, until when; without, what the clock allows.
            zone: Time zone whose days count for it.
            holidays: Days that are no business days for it.
            ground: On which ground, which stands in clear; a refusal needs one.
            text: What the person was told.
            recipient: Of a notification, who was told.

        Raises:
            NotFoundError: There is no such request.
            ConflictError: It was answered before, extended before, or was due when it is extended; or a text is given
                to somebody who was erased.
            InputError: Something said of it cannot be used.
            ForbiddenError: The archive was opened without an actor.
        """
        ledger = self._writing("request")
        reply = Reply(
            state=state,
            at_ns=self._now_or(at),
            due_ns=moment_of(due, "due"),
            zone=zone,
            holidays=holidays,
            ground=ground,
            text=text,
            recipient=recipient,
        )
        found = requests.answer_request(ledger, self._inside.recorder, request, reply)
        return requests.find_request(ledger, self._inside.gate, found, groups=())

    def requests(self) -> list[Request]:
        """Return requests, oldest first; nothing sealed is opened for it."""
        self._inside.recorder.write()
        return requests.find_requests(self._inside.ledger, self._inside.gate, groups=())

    def show(self, request: str) -> Request:
        """Return a request by its id, or a unique prefix, with what is sealed where it may be opened.

        Raises:
            NotFoundError: There is none.
        """
        self._inside.recorder.write()
        return requests.find_request(self._inside.ledger, self._inside.gate, request)

    def overdue(self, now: Moment = None) -> list[Request]:
        """Return the requests that are due and not answered, the one due first first.

        Args:
            now: The moment that is asked about.

        Raises:
            ForbiddenError: Not even that there are any is for whoever asks.
        """
        self._inside.recorder.write()
        self._inside.gate.require_open(requests.QUESTION, ("D0",))
        return requests.overdue_requests(self._inside.ledger, self._now_or(now))

    # --- within -------------------------------------------------------------------------------------------------------

    def _given(self, said: Told, *, exempt: bool) -> Notice:
        ledger = self._writing("notice")
        found = notices.give_notice(ledger, self._inside.recorder, said, exempt=exempt)
        return notices.find_notice(ledger, self._inside.gate, found, groups=())

    def _writing(self, action: str) -> Ledger:
        self._inside.calls.require_writable()
        self._inside.gate.require(action)
        self._inside.recorder.write()
        return self._inside.ledger

    def _now_or(self, given: Moment) -> int:
        moment = moment_of(given, "moment")
        return self._inside.ledger.world.now_ns() if moment is None else moment


def _due(clock: Clock | None, began_ns: int | None, due: Moment, zone: str, holidays: Collection[date]) -> int | None:
    """Return when something is due: as is said, or as a clock says."""
    if clock is None or began_ns is None:
        return moment_of(due, "due")
    if due is not None:
        raise InputError(f"due: expected rule= or due=, and not both; {clock.name} says when it is due")
    return due_ns(began_ns, clock.term, zone=zone, holidays=holidays)
