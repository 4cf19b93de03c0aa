"""What a prediction went through on its way: named steps, calls inside it, references by hand.

They stand on the record as one JSON text. How much of their values is kept is decided once for a prediction, and the
decision is part of the text. So is how many steps there were beyond those that one record keeps.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, get_args

from backstory.capture.plain import json_text, plain_text, plain_value
from backstory.errors import InputError
from backstory.records.envelope import seals
from backstory.records.limits import STEPS_MAX, STEPS_SIZE_MAX

if TYPE_CHECKING:
    from backstory.capture.prediction import Call

Keep = Literal["full", "digest", "record"]
_RANDOM_SIZE = 7
_RANDOM_END = 1 << (8 * _RANDOM_SIZE)
_SCALAR_SIZE = 8
_log = logging.getLogger("backstory")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How much of steps is kept.

    Attributes:
        keep: `full`: their values. `digest`: a digest of them. `record`: that they happened.
        rate: For how many of the predictions, 0 to 1; of the others only that the steps happened is kept.
        rule: Told the output, says whether to keep this one whatever the rate; also where it raises. Those that failed
            always are.
    """

    keep: Keep = "full"
    rate: float = 1.0
    rule: Callable[[Any], bool] | None = None

    def __post_init__(self) -> None:
        """Refuse what is none.

        Raises:
            InputError: An unknown word, or a rate that is no share.
        """
        if self.keep not in get_args(Keep):
            raise InputError(f"steps: expected keep to be one of {', '.join(get_args(Keep))}, got {self.keep!r}")
        if not 0 <= self.rate <= 1:
            raise InputError(f"steps: expected a rate from 0 to 1, got {self.rate}")

    def decide(self, output: Any, error: str | None, random_bytes: Callable[[int], bytes]) -> tuple[Keep, str]:  # noqa: ANN401
        """Return how much to keep of one prediction, and why."""
        if error is not None:
            return "full", "failed"
        if self.rule is not None and self._rule_keeps(output):
            return "full", "rule"
        if self.rate >= 1:
            return self.keep, "always"
        drawn = int.from_bytes(random_bytes(_RANDOM_SIZE), "big") < self.rate * _RANDOM_END
        return (self.keep, "sampled") if drawn else ("record", "not sampled")

    def _rule_keeps(self, output: Any) -> bool:  # noqa: ANN401
        try:
            return self.rule is not None and bool(self.rule(output))
        except Exception as error:  # noqa: BLE001  the prediction is made, and is worth more than its rule
            _log.warning("recording: the rule of what to keep raised %s; all is kept", type(error).__qualname__)
            return True


@dataclass(slots=True)
class Steps:
    """The steps of one prediction, in order.

    Attributes:
        items: Those that are kept: what is said of each, and its values.
        left_out: How many more there were.
    """

    items: list[tuple[dict[str, Any], Any]] = field(default_factory=list)
    left_out: int = 0
    _size: int = 0
    _personal: set[int] = field(default_factory=set)

    def add(self, kind: str, name: str, values: Any, *, personal: bool = False, **said: Any) -> None:  # noqa: ANN401
        """Take down a step as it is now.

        Args:
            kind: `step`, `call` or `use`.
            name: Its name.
            values: What came out of it, as `plain_value` gives it.
            personal: Whether that is about a person, and must be sealed or left out.
            said: What is kept of it in any case.
        """
        if self.is_full:
            self.left_out += 1
            return
        size = size_of(values)
        if self._size + size > STEPS_SIZE_MAX:
            values = f"<about {size:,} bytes, left out>"
        else:
            self._size += size
        if personal:
            self._personal.add(len(self.items))
        self.items.append(({"kind": kind, "name": _name(name), **said}, values))

    def add_call(
        self,
        call: Call,
        output: Any,  # noqa: ANN401
        error: str | None,
        *,
        personal: bool,
        flags: str | None = None,
    ) -> None:
        """Take down a call made inside, or one that failed; with its flags, but for those of a person."""
        model = {} if call.model is None else {"model": call.model}
        failed = {} if error is None else {"error": error}
        flagged = {} if flags is None or personal else {"flags": flags}
        self.add("call", call.method, output, personal=personal, **model, **failed, **flagged)

    @property
    def is_full(self) -> bool:
        """Whether further steps are only counted."""
        return len(self.items) >= STEPS_MAX

    @property
    def are_personal(self) -> bool:
        """Whether values of any of them are about a person."""
        return bool(self._personal)

    def text(self, keep: Keep, why: str, *, sealed: bool) -> str | None:
        """Return the steps as they are recorded; None where there are none.

        Args:
            keep: How much of their values to keep.
            why: Why so much.
            sealed: Whether the record's steps are sealed; where they are not, values about people are left out.
        """
        if not self.items and not self.left_out:
            return None
        kept = [keep if sealed or at not in self._personal else "record" for at in range(len(self.items))]
        shown = [{**said, **_kept(values, much)} for (said, values), much in zip(self.items, kept, strict=True)]
        more = {"left_out": self.left_out} if self.left_out else {}
        return json_text({"keep": keep, "steps": shown, "why": why, **more}, compact=True)


def is_personal(call: Call) -> bool:
    """Say whether values of a call may be about a person, so that they must be sealed or left out."""
    return call.subject is not None or bool(call.rows.personal) or call.classes.is_personal


def seals_steps(call: Call) -> bool:
    """Say whether the steps of a call's records are sealed."""
    return seals(call.classes, "steps", about_person=call.subject is not None or bool(call.rows.personal))


def size_of(plain: Any) -> int:  # noqa: ANN401
    """Return about how many bytes a value takes that `plain_value` gave."""
    if isinstance(plain, str | bytes):
        return len(plain)
    if isinstance(plain, dict):
        return sum(len(name) + size_of(value) for name, value in plain.items())
    return sum(map(size_of, plain)) if isinstance(plain, list) else _SCALAR_SIZE


def _name(name: Any) -> Any:  # noqa: ANN401
    return plain_text(name) if isinstance(name, str) else plain_value(name)


def _kept(values: Any, keep: Keep) -> dict[str, Any]:  # noqa: ANN401
    if keep == "full":
        return {"values": values}
    return {"digest": hashlib.sha256(json_text(values, compact=True).encode()).hexdigest()} if keep == "digest" else {}
