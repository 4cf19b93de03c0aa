"""Any other code that predicts: it can be named by its source, but not stored.

Such a model's records say which code answered, and that it cannot be replayed from the archive.
"""

from __future__ import annotations

import platform

from backstory.models import source_text
from backstory.models.artifact import CALLABLE, Artifact
from backstory.models.json_value import parameters_of, seeds_of
from backstory.models.step import class_labels

_BASIS = {
    "source": "",
    "bytecode": "; its source is not available, so its digest is of the compiled code of this Python version",
    "name": "; neither source nor compiled code is available, so its digest is of its name only",
}


def capture(model: object) -> Artifact:
    """Describe a function, or an object with a `predict`, by its code.

    Args:
        model: The callable, or the object.
    """
    code = source_text.describe(model)
    stateful = not callable(model) or hasattr(model, "predict")
    kept = "only the code of its class is identified, not its state" if stateful else "only its code is identified"
    hyperparameters = parameters_of(model, deep=True)
    return Artifact(
        format=CALLABLE,
        data=None,
        content_digest=code.digest,
        framework="python",
        versions={"python": platform.python_version()},
        class_name=code.name,
        hyperparameters=hyperparameters,
        seeds=seeds_of(hyperparameters),
        steps=(),
        classes=class_labels(model),
        trusted=(),
        replayable=False,
        reason=f"a Python callable has no safe stored form: {kept}{_BASIS[code.basis]}",
    )
