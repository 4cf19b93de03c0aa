"""What a model is: one adapter per framework, from a fitted object to bytes and back.

`capture_artifact` turns a model into an `Artifact` (bytes, a digest of its content, its steps, its parameters);
`load_artifact` turns the bytes back into a model that gives the same bits. Nothing is ever pickled, and no framework is
imported that the caller has not imported already. A file that is a pickle is kept and hashed; it is opened in a process
of its own (`isolated`), for whoever names its digest, and nowhere else.

`backstory.models.environment` and `backstory.models.code_version` describe the process and the code around a model.
"""

from __future__ import annotations

from backstory.models.adapter import capture_artifact, function_of, load_artifact, output_names
from backstory.models.artifact import Artifact

__all__ = ["Artifact", "capture_artifact", "function_of", "load_artifact", "output_names"]
