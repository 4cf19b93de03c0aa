"""What a model is: one adapter per framework, from a fitted object to bytes and back.

`capture_artifact` turns a model into an `Artifact` (bytes, a digest of its content, its steps, its parameters);
`load_artifact` turns the bytes back into a model that gives the same bits. Nothing is ever pickled or unpickled, and no
framework is imported that the caller has not imported already.

`backstory.models.environment` and `backstory.models.code_version` describe the process and the code around a model.
"""

from __future__ import annotations

from backstory.models.adapter import capture_artifact, load_artifact, output_names
from backstory.models.artifact import Artifact

__all__ = ["Artifact", "capture_artifact", "load_artifact", "output_names"]
