"""`backstory rectify`: say what a prediction should have been made with."""

from __future__ import annotations

from backstory.cli.answer import print_json, print_text
from backstory.cli.archives import open_acting
from backstory.cli.options import ASKING, SEALED_STAY_SEALED, Asking, Opening
from backstory.errors import InputError


def rectify(
    prediction: str,
    /,
    *values: str,
    reason: str,
    asking: Asking = ASKING,
    opening: Opening = SEALED_STAY_SEALED,
) -> None:
    """Say what a prediction should have been made with; the original stays for those who may see it.

    Args:
        prediction: Its id, or a unique prefix.
        values: Features with their right values, each as name=value.
        reason: Why.
        asking: Which archive.
        opening: Who asks, and what for.
    """
    pairs = [value.partition("=") for value in values]
    if not pairs or not all(equals for _, equals, _ in pairs):
        raise InputError("rectify: expected features with their right values, each as name=value")
    with open_acting(asking, opening, "rectify") as archive:
        said = archive.privacy.rectify(prediction, {name: value for name, _, value in pairs}, reason=reason)
    if asking.json:
        print_json(said.to_dict())
    else:
        print_text(f"correction {said.id} of prediction {said.prediction}")
