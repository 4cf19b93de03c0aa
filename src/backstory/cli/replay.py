"""`backstory replay`: does the model still say that?"""

from __future__ import annotations

from backstory.cli.answer import print_json, print_text
from backstory.cli.archives import open_archive
from backstory.cli.exit_codes import FAILED, OK, UNVERIFIED
from backstory.cli.options import ASKING, SEALED_STAY_SEALED, Asking, Opening
from backstory.cli.progress import progress

_CODES = {"diverged": FAILED, "not-replayable": UNVERIFIED}
"""Exit codes of verdicts that do not confirm the recorded output."""


def replay(prediction: str, /, *, asking: Asking = ASKING, opening: Opening = SEALED_STAY_SEALED) -> int:
    """Run the recorded features through the recorded model again and compare.

    Args:
        prediction: Id of the prediction, or a unique prefix.
        asking: Which archive.
        opening: Who asks.
    """
    with progress("replaying"), open_archive(asking, opening) as archive:
        answer = archive.replay(prediction)
    if asking.json:
        print_json(answer.to_dict())
    else:
        print_text(str(answer))
    return _CODES.get(answer.verdict, OK)
