"""Whether the records of an evidence bundle are what its manifest says was asked for, as far as that can be compared.

`where` and `case` are not compared: docs/format.md, section "Bundles".
"""

from __future__ import annotations

import re

from backstory.errors import FormatError, VerificationError
from backstory.records import canonical
from backstory.records.canonical import JsonObject
from backstory.records.identity import parse_time

_NANOSECONDS = re.compile("-?[0-9]{1,19}")


class Asked:
    """The question of a bundle, which its records are compared with one after another."""

    def __init__(self, question: JsonObject) -> None:
        """Take a question apart.

        Raises:
            FormatError: It is malformed.
        """
        self._missing: set[str] | None = None
        if "predictions" in question:
            self._missing = _ids_in(question)
        self._model = canonical.text_of(question, "model") if "model" in question else None
        self._since, self._until = _moment_of(question, "since"), _moment_of(question, "until")

    def check(self, record: JsonObject) -> None:
        """Check that a record was asked for.

        Args:
            record: What its receipt proves, as `Receipt.to_dict` gives it.

        Raises:
            VerificationError: It was not.
        """
        identity, context, values = record["id"], record["context"], record["values"]
        fits = isinstance(values, dict)
        if self._model is not None:
            model = context.get("model") if isinstance(context, dict) else None
            names = (
                (model.get("name"), f"{model.get('name')}:{model.get('version')}") if isinstance(model, dict) else ()
            )
            fits = fits and self._model in names
        if isinstance(values, dict) and (self._since, self._until) != (None, None):
            fits = fits and self._is_of_period(str(values.get("time")))
        if self._missing is not None:
            fits = fits and identity in self._missing
            self._missing.discard(str(identity))
        if not fits:
            raise VerificationError(f"{identity} does not fit the question")

    def check_all_found(self) -> None:
        """Check that every prediction that is asked for by its id was there.

        Raises:
            VerificationError: One was not.
        """
        if self._missing:
            raise VerificationError(f"the question asks for {min(self._missing)[:200]!r}, which is not here")

    def _is_of_period(self, moment: str) -> bool:
        if _NANOSECONDS.fullmatch(moment) is None:
            return False
        return (self._since is None or self._since <= int(moment)) and (
            self._until is None or int(moment) < self._until
        )


def _ids_in(question: JsonObject) -> set[str]:
    ids = question["predictions"]
    if not isinstance(ids, list):
        raise FormatError("its question has no list of predictions")
    found = {item for item in ids if isinstance(item, str)}
    if len(found) != len(ids):
        raise FormatError("its question has a malformed list of predictions")
    return found


def _moment_of(question: JsonObject, name: str) -> int | None:
    return parse_time(canonical.text_of(question, name)) if name in question else None
