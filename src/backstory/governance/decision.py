"""Recording decisions: what is said of one, the rules it has to keep, and the record.

The rules are pure and say no with a ground; a refusal is an entry, and nothing else is written. What a domain demands
is checked before anything is recorded, so a decision that lacks it never exists. Bytes: docs/format.md section 39.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from backstory.capture.fact import record_facts
from backstory.capture.recorder import Recorder
from backstory.errors import FormatError, InputError
from backstory.governance.decision_domain import Demands, Domain, domains_in_force, require_domain
from backstory.governance.decision_read import Decision
from backstory.governance.proposal import is_same_person, refuse, require_actor
from backstory.ledger.ledger import Ledger
from backstory.lineage.reason_map import ReasonMap, find_reasons
from backstory.records.decision import AGAINST, DECISION, DRAFT, FINAL, Action, Automation, Reliance
from backstory.records.identity import check_digest
from backstory.records.limits import DECISION_PREDICTIONS_MAX, KEPT_CONTENT_SIZE_MAX, PAYLOAD_SIZE_MAX

RECORDING = "recording a decision"
_CODE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_WORDS_MAX = 256
_LISTED_MAX = 64

Applying = Callable[[bytes, ReasonMap, Demands], Collection[str]]
"""Returns the codes of a map that apply to what was scored in a prediction."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Acting:
    """How something was decided, by whom and where: what is the same for all decisions of one call.

    Attributes:
        automation: Who decided: a program alone, a program and a person, or a person.
        reliance: What the predictions counted for.
        action: What was done with what the model said.
        ground: Code for why it was not accepted.
        domain: Name of the domain; None for none.
        map: Reason map the codes are of, where the domain names none.
        opened_ns: When the case was opened, in nanoseconds since the epoch.
        decided_ns: When it was decided.
        role: As what whoever decided did.
        authority: By which authority.
        competence: With which proof of competence.
        signature: What the signature means, such as "I take the responsibility for this decision".
    """

    automation: Automation
    reliance: Reliance
    action: Action
    ground: str | None = None
    domain: str | None = None
    map: str | None = None
    opened_ns: int | None = None
    decided_ns: int
    role: str | None = None
    authority: str | None = None
    competence: str | None = None
    signature: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """One decision.

    Attributes:
        predictions: Ids of the predictions, 16 bytes each.
        models: Models that made them, as `name:version`.
        personal: Whether one of them is about a person.
        outcome: What was decided.
        adverse: Whether it is adverse to the person.
        reasons: Codes of its reasons.
        subject: Whom it is about.
        case: The case.
        text: Why, in words.
        factors: What else counted.
        shown: What whoever decided was shown: its bytes, or its SHA-256 in hex.
        reverses: The decision it reverses, with what leads to and from it.
        people: Whom the predictions are about, as far as they say.
    """

    predictions: tuple[bytes, ...]
    models: tuple[str, ...]
    personal: bool
    outcome: str
    adverse: bool
    reasons: tuple[str, ...] = ()
    subject: str | None = None
    case: str | None = None
    text: str | None = None
    factors: tuple[str, ...] = ()
    shown: bytes | str | None = None
    reverses: Decision | None = None
    people: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Objection:
    """Why something is refused: a ground in fixed words, and what was expected."""

    ground: str
    expected: str


def record_decisions(
    ledger: Ledger, recorder: Recorder, acting: Acting, made: Sequence[Made], applying: Applying
) -> list[str]:
    """Record decisions: all of them, or none.

    Args:
        ledger: The archive.
        recorder: Where records go.
        acting: How they were made.
        made: The decisions.
        applying: Says which codes apply to a prediction.

    Returns:
        Ids of their records.

    Raises:
        InputError: Something said of them cannot be used.
        NotFoundError: There is no such domain or reason map.
        ForbiddenError: Nobody decided, or the domain's demands are not met; the latter is recorded.
        StorageError: They could not be written.
    """
    actor = ledger.actor if acting.automation == "solely-automated" else require_actor(ledger, RECORDING)
    domains = domains_in_force(ledger)
    domain = None if acting.domain is None else require_domain(domains, acting.domain)
    demands = Demands() if domain is None else domain.demands
    named = demands.reasons or acting.map
    known = None if named is None else find_reasons(ledger, named)
    _check_acting(acting)
    for one in made:
        _check_made(one, acting)
    for one in made:
        objection = objection_to(one, acting, domain, domains, known, actor)
        if objection is None and domain is not None and demands.scored and known is not None and one.adverse:
            objection = _not_scored(one, known, demands, applying)
        if objection is not None:
            refuse(ledger, RECORDING, objection.ground, objection.expected)
    shared = _shared_columns(acting, domain, known, actor)
    return record_facts(recorder, ledger.blobs, DECISION, [shared | _own_columns(one) for one in made])


def objection_to(
    one: Made,
    acting: Acting,
    domain: Domain | None,
    domains: Mapping[str, Domain],
    known: ReasonMap | None,
    actor: str | None,
) -> Objection | None:
    """Say why a decision may not be recorded, if it may not. Pure.

    Args:
        one: The decision.
        acting: How it was made.
        domain: Its domain.
        domains: All domains in force, by name.
        known: The reason map its codes are of.
        actor: Who decided.
    """
    names = {model.partition(":")[0] for model in one.models}
    other = next((name for name, given in domains.items() if given != domain and names & {*given.demands.models}), None)
    if other is not None:
        return Objection("outside its domain", f"expected the domain {other}, as for every decision on its models")
    if one.people and one.subject not in one.people:
        return Objection("another person", "expected it to be about somebody whom its predictions are about")
    if one.reverses is not None and (objection := _objection_to_reversing(one, one.reverses, acting)) is not None:
        return objection
    is_own = actor is not None and one.subject is not None and is_same_person(actor, one.subject)
    if is_own and acting.automation != "solely-automated":
        return Objection("own case", "expected somebody to decide whom it is not about")
    if known is not None and not {code.code for code in known.reasons}.issuperset(one.reasons):
        return Objection("unknown reason", f"expected codes of the reason map {known.name}:{known.version}")
    if domain is None or domain.demands.reasons is None or not one.adverse:
        return None
    demands = domain.demands
    if len(one.reasons) < demands.least:
        return Objection("no reasons", f"expected at least {demands.least} of the domain's reasons, as it is adverse")
    if len(one.reasons) > demands.most:
        return Objection("too many reasons", f"expected at most {demands.most} reasons, got {len(one.reasons)}")
    return None


def _objection_to_reversing(one: Made, before: Decision, acting: Acting) -> Objection | None:
    """Say why a decision may not be reversed so: a reversal meets what the domain demands, as what it reverses did."""
    if not before.is_final:
        return Objection("not final", "expected a decision to be reversed; a draft is disputed, or left")
    if before.domain is not None and before.domain != acting.domain:
        return Objection("outside its domain", f"expected the domain {before.domain}, as of the decision it reverses")
    if before.subject is not None and before.subject != one.subject:
        return Objection("another person", "expected it to be about whom the decision it reverses is about")
    return None


def _not_scored(one: Made, known: ReasonMap, demands: Demands, applying: Applying) -> Objection | None:
    left = set(one.reasons)
    for prediction in one.predictions:
        if left:
            left -= set(applying(prediction, known, demands))
    if not left:
        return None
    return Objection("reason not scored", "expected reasons among the factors that were scored")


# --- the form of what is said -----------------------------------------------------------------------------------------


def _check_acting(acting: Acting) -> None:
    for what, value, words in (
        ("automation", acting.automation, get_args(Automation)),
        ("reliance", acting.reliance, get_args(Reliance)),
        ("action", acting.action, get_args(Action)),
    ):
        if value not in words:
            raise InputError(f"decision: expected {what} of {', '.join(words)}, got {value!r}")
    if (acting.ground is None) is (acting.action in AGAINST):
        rule = "a ground, a code for why" if acting.ground is None else "no ground"
        raise InputError(f"decision: expected {rule}, with the action {acting.action}")
    require_code(acting.ground, "ground")
    for what, words_given in (
        ("role", acting.role),
        ("authority", acting.authority),
        ("competence", acting.competence),
        ("signature", acting.signature),
    ):
        require_words(words_given, what)
    if acting.opened_ns is not None and acting.opened_ns > acting.decided_ns:
        raise InputError("decision: expected the case to be opened before it is decided")


def _check_made(one: Made, acting: Acting) -> None:
    if not 0 < len(one.predictions) <= DECISION_PREDICTIONS_MAX or len(set(one.predictions)) < len(one.predictions):
        raise InputError(f"decision: expected 1 to {DECISION_PREDICTIONS_MAX} predictions, each once")
    if one.personal and one.subject is None:
        raise InputError("decision: expected a subject, as a prediction is about a person; erasing them finds it by it")
    if (one.reverses is None) is (acting.action == "reversed"):
        raise InputError("decision: expected reverses= with the action reversed, and with no other")
    if not isinstance(one.adverse, bool):
        raise InputError(f"decision: expected adverse True or False, got {type(one.adverse).__name__}")
    if one.outcome is None:
        raise InputError("decision: expected an outcome")
    require_words(one.outcome, "outcome")
    require_words(one.case, "case")
    if one.text is not None and not (isinstance(one.text, str) and 0 < len(one.text) <= PAYLOAD_SIZE_MAX):
        raise InputError(f"decision: expected a text of 1 to {PAYLOAD_SIZE_MAX} characters")
    _check_lists(one)


def _check_lists(one: Made) -> None:
    if len(one.reasons) > _LISTED_MAX or len(set(one.reasons)) < len(one.reasons):
        raise InputError(f"decision: expected at most {_LISTED_MAX} reasons, each once")
    for code in one.reasons:
        require_code(code, "reason")
    if len(one.factors) > _LISTED_MAX:
        raise InputError(f"decision: expected at most {_LISTED_MAX} factors, got {len(one.factors)}")
    for factor in one.factors:
        require_words(factor, "factor")


def require_code(value: str | None, what: str) -> None:
    """Refuse what is no code: such a text stands in clear, or is looked up.

    Raises:
        InputError: It is none.
    """
    if value is not None and not (isinstance(value, str) and _CODE.fullmatch(value)):
        raise InputError(f"{what}: expected a code of at most 64 letters, digits, '_', '.', '-'")


def require_words(value: str | None, what: str) -> None:
    """Refuse what is no short text.

    Raises:
        InputError: It is none.
    """
    if value is not None and not (isinstance(value, str) and 0 < len(value) <= _WORDS_MAX):
        raise InputError(f"{what}: expected a text of 1 to {_WORDS_MAX} characters")


def kept_content(given: bytes | str | None, what: str) -> tuple[bytes | None, bytes | None]:
    """Return digest and bytes of what was shown or sent: of bytes both, of a digest in hex that alone.

    Raises:
        InputError: It is neither, or longer than is kept.
    """
    if given is None:
        return None, None
    if isinstance(given, bytes):
        if len(given) > KEPT_CONTENT_SIZE_MAX:
            raise InputError(f"{what}: expected at most {KEPT_CONTENT_SIZE_MAX} bytes, got {len(given)}; give a digest")
        return hashlib.sha256(given).digest(), given
    try:
        return bytes.fromhex(check_digest(given, what)), None
    except FormatError:
        raise InputError(f"{what}: expected bytes, or a SHA-256 digest in hex") from None


# --- the record -------------------------------------------------------------------------------------------------------


def _shared_columns(
    acting: Acting, domain: Domain | None, known: ReasonMap | None, actor: str | None
) -> dict[str, Any]:
    said = {
        "action": acting.action,
        "authority": acting.authority,
        "automation": acting.automation,
        "competence": acting.competence,
        "decided": acting.decided_ns // 1000 * 1000,
        "domain": acting.domain,
        "domain_entry": None if domain is None else domain.entry,
        "ground": acting.ground,
        "map": None if known is None else f"{known.name}:{known.version}",
        "opened": None if acting.opened_ns is None else acting.opened_ns // 1000 * 1000,
        "reliance": acting.reliance,
        "role": acting.role,
        "signature": acting.signature,
        "state": DRAFT if domain is not None and domain.demands.verifiers else FINAL,
        "who": actor,
    }
    return {name: value for name, value in said.items() if value is not None}


def _own_columns(one: Made) -> dict[str, Any]:
    found = {
        "adverse": one.adverse,
        "models": sorted(set(one.models)),
        "outcome": one.outcome,
        "predictions": one.predictions,
        "reason_count": len(one.reasons),
        "reasons": one.reasons,
    }
    if one.subject is not None:
        found["subject"] = one.subject
    if one.case is not None:
        found["case"] = one.case
    if one.reverses is not None:
        found["reverses"] = bytes.fromhex(one.reverses.id.replace("-", ""))
    if one.text is not None or one.factors or one.shown is not None:
        found["shown"], found["page"] = kept_content(one.shown, "shown")
        found["text"], found["factors"] = one.text, one.factors
    return found
