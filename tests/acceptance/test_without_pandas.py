"""Pandas is optional: everything is asked and answered where it is not installed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

PROGRAM = """
import contextlib, io, json, sys
from backstory.columns.own_process import hide_pandas
hide_pandas()
from datetime import datetime
import numpy as np
import polars as pl
from sklearn.linear_model import LinearRegression
import backstory
from backstory.cli.main import run

folder = sys.argv[1]
answers = {}

def ask(*command):
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        code = run([*command, "-a", folder + "/audit", "--json"])
    return code, json.loads(out.getvalue())

with backstory.init(folder + "/audit", origin="example.org/test") as archive:
    moments = np.arange(1, 6).astype("datetime64[ns]")  # finer than a datetime of Python
    readings = pl.DataFrame({"sensor": list("abcde"), "when": moments, "x": np.arange(5.0)})
    features, rows = archive.split(archive.source(readings, "readings", key="sensor"), ["x"])
    fitted = LinearRegression().fit(features, readings["x"])
    model = archive.register(fitted, name="line", rows=rows, target=readings["x"])
    made = archive.predict(model, features, rows=rows)
    delay = archive.traced(lambda when, amount: amount / 2)
    delay(datetime(2026, 1, 2), 3.0)
    archive.flush()
    story = archive.why(made.ids[1])
    receipt = archive.receipt(made.ids[1])
    answers["why"] = story.to_dict()["rows"][0]["values"]["when"], len(str(story)) > 0
    answers["impact"] = archive.impact("readings", keys="b").to_dict()["counts"]["predictions"]
    answers["replay"] = archive.replay(made.ids[1]).verdict
    answers["receipt"] = backstory.verify_receipt(receipt.data, vkey=archive.vkey).id == made.ids[1]
    answers["verify"] = archive.verify(workers=1).failed
code, found = ask("search", "model is null")
traced = found["predictions"][0]
answers["search"] = code, traced["feature.when"]
code, told = ask("why", traced["id"])
answers["traced"] = code, told["features"]
answers["not replayed"] = ask("replay", traced["id"])[0]
answers["loaded"] = "pandas" in sys.modules
print(json.dumps(answers))
"""


def test_questions_need_no_pandas(tmp_path: Path) -> None:
    """Without pandas moments are told to the nanosecond, and why, impact, replay, receipt, verify and search answer."""
    source = Path(__file__).parents[2] / "src"
    command = [sys.executable, "-W", "ignore", "-c", PROGRAM, str(tmp_path)]
    done = subprocess.run(
        command, check=False, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(source)}
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == {
        "why": ["1970-01-01T00:00:00.000000002", True],
        "impact": 1,
        "replay": "exact",
        "receipt": True,
        "verify": False,
        "search": [0, "2026-01-02T00:00:00"],
        "traced": [0, {"when": "2026-01-02T00:00:00", "amount": 3.0}],
        "not replayed": 21,
        "loaded": False,
    }
