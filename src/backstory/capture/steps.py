"""What a prediction went through on its way: named steps, calls inside it, references by hand.

They stand on the record as one JSON text. How much of their values is kept is decided once for a prediction, and the
decision is part of the text.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, get_args

from backstory.capture.plain import plain_value
from backstory.errors import InputError

if TYPE_CHECKING:
    from backstory.capture.prediction import Begun

Keep = Literal["full", "digest", "record"]
_RANDOM_SIZE = 7
_RANDOM_END = 1 << (8 * _RANDOM_SIZE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How much of steps is kept.

    Attributes:
        keep: `full`: their values. `digest`: a digest of them. `record`: that they happened.
        rate: For how many of the predictions, 0 to 1; of the others only that the steps happened is kept.
        rule: Told the output, says whether to keep this one whatever the rate. Those that failed always are.
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
        if self.rule is not None and self.rule(output):
            return "full", "rule"
        if self.rate >= 1:
            return self.keep, "always"
        drawn = int.from_bytes(random_bytes(_RANDOM_SIZE), "big") < self.rate * _RANDOM_END
        return (self.keep, "sampled") if drawn else ("record", "not sampled")


@dataclass(slots=True)
class Steps:
    """The steps of one prediction, in order."""

    items: list[tuple[dict[str, Any], Any]] = field(default_factory=list)
    _personal: set[int] = field(default_factory=set)

    def add(self, kind: str, name: str, values: Any, *, personal: bool = False, **said: Any) -> None:  # noqa: ANN401
        """Take down a step as it is now.

        Args:
            kind: `step`, `call` or `use`.
            name: Its name.
            values: What came out of it.
            personal: Whether that is about a person, and must be sealed or left out.
            said: What is kept of it in any case.
        """
        if personal:
            self._personal.add(len(self.items))
        self.items.append(({"kind": kind, "name": name, **said}, plain_value(values)))

    def add_call(self, begun: Begun, output: Any, **said: Any) -> None:  # noqa: ANN401
        """Take down a call made inside, or one that failed."""
        model = {} if begun.call.model is None else {"model": begun.call.model}
        self.add("call", begun.call.method, output, personal=is_personal(begun), **model, **said)

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
        if not self.items:
            return None
        kept = [keep if sealed or at not in self._personal else "record" for at in range(len(self.items))]
        shown = [{**said, **_kept(values, much)} for (said, values), much in zip(self.items, kept, strict=True)]
        return _json({"keep": keep, "steps": shown, "why": why})


def is_personal(begun: Begun) -> bool:
    """Say whether a call is about a person, so that its values must be sealed."""
    return begun.call.subject is not None or bool(begun.call.rows.personal)


def _kept(values: Any, keep: Keep) -> dict[str, Any]:  # noqa: ANN401
    if keep == "full":
        return {"values": values}
    return {"digest": hashlib.sha256(_json(values).encode()).hexdigest()} if keep == "digest" else {}


def _json(value: Any) -> str:  # noqa: ANN401
    return json.dumps(value, default=str, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
