"""What runs in a recorded environment: models are opened and called, and their outputs returned. See `isolated`."""

from __future__ import annotations

import json
import time
from typing import Any

import pyarrow as pa

from backstory.columns.table_bytes import read_table, table_bytes
from backstory.debug.case import call_model
from backstory.errors import BackstoryError
from backstory.models import load_artifact
from backstory.models.environment import environment


def answer(body: bytes) -> bytes:
    """Run jobs: their descriptions on a line, then the bytes of the models, then the features of each.

    Returns:
        On a line the environment and of each job how long it took, or why it failed; then the outputs of each.
    """
    head, _, rest = body.partition(b"\n")
    task = json.loads(head)
    models = []
    for one in task["models"]:
        models.append((one, rest[: one["size"]]))
        rest = rest[one["size"] :]
    loaded: dict[int, Any] = {}
    said: list[dict[str, Any]] = []
    outputs: list[bytes] = []
    for job in task["jobs"]:
        features, rest = read_table(rest[: job["size"]]), rest[job["size"] :]
        began = time.perf_counter()
        try:
            if job["model"] not in loaded:
                one, data = models[job["model"]]
                loaded[job["model"]] = load_artifact(one["format"], data, trusted=one["trusted"] or ())
            output = call_model(loaded[job["model"]], job["context"], features, sealed=job["sealed"])
        except BackstoryError as error:
            said.append({"error": str(error)})
            continue
        outputs.append(table_bytes(pa.table({"output": output.take(pa.array(job["rows"], pa.int64()))})))
        said.append({"seconds": time.perf_counter() - began, "size": len(outputs[-1])})
    return json.dumps({"answers": said, "environment": environment()}).encode() + b"\n" + b"".join(outputs)
