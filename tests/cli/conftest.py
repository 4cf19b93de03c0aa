"""A small archive to ask questions about, and a way to ask them."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression

import backstory
from backstory.cli.main import run

ORIGIN = "example.org/delays"


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """The archive and what is in it."""

    path: Path
    vkey: str
    first: str
    sealed: str
    broken: str
    failed: str
    function: str
    unsealed: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a command said."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        """Read its one JSON document."""
        return json.loads(self.out)


def tables():
    """Return forty flights and eight hours of weather."""
    number = np.arange(40)
    flights = pd.DataFrame(
        {
            "flight": number,
            "origin": np.where(number % 2, "JFK", "EWR"),
            "hour": number % 5,
            "delay": np.sin(number) * 20,
        }
    )
    weather = pd.DataFrame({"origin": np.repeat(["JFK", "EWR"], 4), "hour": [0, 1, 2, 3] * 2, "wind": np.arange(8.0)})
    return flights, weather


def broken_rows(archive, model):
    """Record one prediction whose weather row lost its token on the way."""
    flights, weather = tables()
    frame = archive.source(flights, "flights", key="flight").merge(
        archive.source(weather, "weather", key=["origin", "hour"]), on=["origin", "hour"]
    )
    frame = frame.assign(wind2=frame.wind**2, route_mean=0.5).head(1)
    frame["_row_weather"] = frame["_row_weather"] ^ 1
    with pytest.warns(match="weather"):
        features, rows = archive.split(frame, ["hour", "wind", "wind2", "route_mean"], on_broken="grade")
    return archive.predict(model, features, rows=rows).ids[0]


def fill(archive, path):
    """Record a little of everything and return ids; a copy at `path` has one prediction that is not sealed."""
    flights, weather = (archive.source(t, n, key=k) for t, n, k in zip(tables(), *NAMES, strict=True))
    routes = archive.group(flights, ["origin"], name="route", route_mean=("delay", "mean"))
    frame = flights.merge(weather, on=["origin", "hour"], how="left").merge(routes, on="origin")
    frame["wind"] = frame["wind"].fillna(0.0)
    frame["wind2"] = frame["wind"] ** 2
    features, rows = archive.split(frame, ["hour", "wind", "wind2", "route_mean"])
    fitted = LinearRegression().fit(features, frame.delay)
    model = archive.register(fitted, name="delay", rows=rows, target=frame.delay, alias="production")
    made = archive.predict(model, features, rows=rows, decision=backstory.Threshold(0.1), request_id="r-1")
    people = archive.source(
        pd.DataFrame({"cust": ["Ada", "Bob"], "income": [1.0, 2.0]}), "loans", key="cust", subject="cust"
    )
    income, persons = archive.split(people, ["income"])
    loan = archive.register(LinearRegression().fit(income, [1.0, 2.0]), name="loan", rows=persons)
    sealed = archive.predict(loan, income, rows=persons)
    with pytest.raises(ValueError):
        archive.predict(model, features[["hour"]])
    score = archive.traced(lambda income: income / 2)
    score(3.0)
    broken = broken_rows(archive, model)
    archive.outcome(made.ids[0], 42.5)
    archive.flush()
    found = archive.search("status = 'error' or model is null")
    unsealed = archive.predict(model, features.head(1))
    unsealed.wait("durable")
    shutil.copytree(archive.path, path)
    return {
        "first": made.ids[0],
        "sealed": sealed.ids[0],
        "broken": broken,
        "failed": found[found.status == "error"].id.iloc[0],
        "function": found[found.status == "ok"].id.iloc[0],
        "unsealed": unsealed.ids[0],
    }


NAMES = (("flights", "weather"), ("flight", ["origin", "hour"]))


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """An archive nobody writes to any more, with one prediction that is not sealed yet."""
    folder = tmp_path_factory.mktemp("cli")
    with backstory.init(folder / "written", origin=ORIGIN) as archive:
        ids = fill(archive, folder / "audit")
        return Made(path=folder / "audit", vkey=archive.vkey, **ids)


@pytest.fixture
def copy(made, tmp_path):
    """A copy of the archive that may be changed."""
    return shutil.copytree(made.path, tmp_path / "copy")


@pytest.fixture
def ask(made, capsys, monkeypatch):
    """Run a command on the archive in this process."""

    def asking(*arguments, archive=made.path):
        monkeypatch.setenv("BACKSTORY_ARCHIVE", str(archive))
        capsys.readouterr()
        code = run([str(argument) for argument in arguments])
        return Answer(code=code, **capsys.readouterr()._asdict())

    return asking
