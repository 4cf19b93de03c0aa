"""Reading scripts before they run: each rule finds its line, and good code is left in peace."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from backstory.errors import InputError
from backstory.lineage.lint import lint_script
from backstory.lineage.lint_rules import RULES

ROOT = Path(__file__).parents[2]
HEAD = """import backstory, pandas as pd, numpy as np, polars as pl
archive = backstory.init("audit", origin="example.org/lint")
frame = archive.source(table, "parcels")
FEATURES = ["km", "minutes"]
"""


def rules(text):
    """Return the rules a script's lines after the head break."""
    return [finding.rule for finding in lint_script(HEAD + text)]


WRONG = {
    "all-columns": [
        "frame = frame.dropna()",
        "frame = frame[frame.km > 3].drop_duplicates()",
        "frame.fillna(0)",
        "frame.nunique()",
        "frame.merge(other, on='day', how='left').dropna()",
        "frame.drop_nulls()",
    ],
    "fitted-before-split": [
        "X2 = StandardScaler().fit_transform(X)\na, b = train_test_split(X2, y)",
        "scaler = preprocessing.MinMaxScaler()\nscaler.fit(X)\na, b = train_test_split(X, y)",
    ],
    "global-fill": [
        "frame['km'] = frame['km'].fillna(frame['km'].mean())",
        "frame = frame.fillna(frame.median())",
        "frame.with_columns(pl.col('km').fill_null(pl.col('km').mean()))",
        "frame.with_columns(pl.col('km').fill_null(strategy='mean'))",
    ],
    "group-outside": [
        "days = frame.groupby('day').agg(km=('km', 'mean'))",
        "days = frame.groupby('day')['km'].mean()",
        "days = frame.group_by('day').agg(pl.col('km').mean())",
    ],
    "ids-in-array": ["a = frame.to_numpy()", "a = frame.values", "a = np.asarray(frame)"],
    "ids-lost": [
        "frame = frame[['km', 'day']]",
        "X, rows = archive.split(frame[FEATURES])",
        "small = frame[['km', 'day']]\njoined = archive.group(small, 'day', name='d', km=('km', 'mean'))",
        "@archive.step\ndef near(given):\n    return given[given.km < 9][['km']]",
        "frame = frame.select(['km', 'day'])",
    ],
    "looks-around": [
        "frame['r'] = frame.km.rolling(3).mean()",
        "frame['m'] = frame.groupby('day').km.transform('mean')",
        "frame['last'] = frame['km'].shift(1)",
        "frame = frame.with_columns(pl.col('km').shift(1))",
        "def fill(given):\n    return given.assign(km=given.km.ffill())\nframe = archive.prepare(fill, frame)",
    ],
    "open-columns": ["wide = pd.get_dummies(frame)", "wide = frame.to_dummies()"],
    "rows-left-behind": ["X, rows = archive.split(frame, ['km'])\na, b = train_test_split(X, y)"],
    "sorted-alone": [
        "frame['km'] = frame['km'].sort_values().to_numpy()",
        "frame['km'] = np.sort(frame['km'])",
        "frame['km'] = sorted(frame.km)",
    ],
    "target-in-features": [
        "X, rows = archive.split(frame, FEATURES)\narchive.register(m, name='m', rows=rows, target=frame.minutes)",
        "X, rows = archive.split(frame)\nm.fit(X, frame['minutes'])",
        "plain = load()\nm.fit(plain[FEATURES], plain['minutes'])",
        "y = frame['minutes']\nX, rows = archive.split(frame, features=FEATURES)\nm.fit(X, y)",
    ],
}


@pytest.mark.parametrize(("rule", "text"), [(rule, text) for rule, texts in WRONG.items() for text in texts])
def test_rule_finds_its_line(rule, text):
    """A line that breaks a rule is found, and no other rule is named."""
    assert rules(text) == [rule]


def test_every_rule_has_an_example():
    """No rule is without a test."""
    assert set(WRONG) == set(RULES)


@pytest.mark.parametrize(
    "text",
    [
        "frame = frame.dropna(subset=['km'])",
        "frame = archive.distinct(frame, 'km')",
        "frame = frame.fillna({'km': 0})",
        "table = table.dropna().drop_duplicates()",
        "table['km'] = table['km'].fillna(table['km'].mean())",
        "days = archive.group(frame, 'day', name='d', km=('km', 'mean'))",
        "X, rows = archive.split(frame, ['km'])\na, b, r, s = train_test_split(X, rows)",
        "X, rows = archive.split(frame, ['km'])\nm.fit(X, frame.minutes)",
        "frame = frame.sort_values('km')",
        "print(frame[['km']].head())",
        "small = frame[['km', '_row_parcels']]\nX, rows = archive.split(small, ['km'])",
        "frame = load()\nframe = frame.dropna()",
        "a, b = train_test_split(X, y)\nscaler = StandardScaler().fit(a)",
        "m.predict(frame[FEATURES])",
        "wide = pd.get_dummies(frame, columns=['day'])",
        "def other(frame):\n    return frame.dropna()",
        "frame['log'] = frame['km'].transform(np.log)",
        "steps = frame[['km', 'minutes']].diff(axis=1)",
    ],
)
def test_good_code_is_left_in_peace(text):
    """What is right, or done to a frame without ids, is not warned of."""
    assert rules(text) == []


def pages():
    """Return the project's own demo and pages."""
    code = [*(ROOT / "src" / "backstory" / "cli").glob("demo*.py"), ROOT / "tests" / "support" / "pipeline.py"]
    return [*code, ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]


@pytest.mark.parametrize("path", pages(), ids=lambda path: path.name)
def test_our_own_code_is_left_in_peace(path):
    """The demo, the tutorial and every page pass."""
    text = path.read_text("utf-8")
    if path.suffix == ".md":
        text = "\n".join(re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE))
    assert lint_script(text, path.name) == []


@pytest.mark.parametrize(
    "text",
    [
        "import backstory as b\nwith b.open('audit') as a:\n    a.source(table, 'parcels').dropna()",
        "match kind:\n    case 1:\n        a = backstory.open('audit')\n        a.source(table, 'parcels').dropna()",
    ],
)
def test_an_archive_is_known_however_it_is_reached(text):
    """The package under another name is the package, and the cases of a match are read."""
    assert [finding.rule for finding in lint_script(text)] == ["all-columns"]


def test_findings_say_where_why_and_what_instead():
    """A finding has line, column, rule, reason and what to write instead."""
    (finding,) = lint_script(HEAD + "frame = frame.dropna()")
    assert finding.to_dict() == {
        "line": 5,
        "column": 9,
        "rule": "all-columns",
        "what": "dropna() over all columns of a frame with row ids",
        "why": RULES["all-columns"].why,
        "instead": RULES["all-columns"].instead,
    }


def test_what_is_no_python_is_refused():
    """A script that does not parse is an error that names the line."""
    with pytest.raises(InputError, match="line 2"):
        lint_script("a = 1\nb = = 2\n", "bad.py")
