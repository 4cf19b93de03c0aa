"""Code that cannot be stored is named by its text."""

from __future__ import annotations

import functools
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from backstory.errors import ModelError
from backstory.models import capture_artifact

SOURCE = """
def make(rate, bonus):
    def score(row, limit=3):
        return rate * row + bonus
    return score

def other(row):
    return row

class Rule:
    def __init__(self, weight):
        self.weight = weight

    def predict(self, X):
        return [self.weight for _ in X]

class Stricter(Rule):
    pass
"""


@pytest.fixture
def build(tmp_path):
    """Give a function that imports a source text as a module named `rules`."""

    def load(text):
        path = tmp_path / f"rules_{len(list(tmp_path.iterdir()))}.py"
        path.write_text(text)
        spec = importlib.util.spec_from_file_location("rules", path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load


def digest(thing):
    """Return the content digest of a callable."""
    return capture_artifact(thing).content_digest


def test_a_callable_says_why_it_cannot_be_replayed(build):
    """A function has no bytes, is not replayable, and says so."""
    artifact = capture_artifact(build(SOURCE).other)
    assert (artifact.format, artifact.data, artifact.replayable) == ("callable", None, False)
    assert artifact.class_name == "rules.other"
    assert artifact.reason


def test_digest_changes_with_the_source(build):
    """Another body is another model."""
    assert digest(build(SOURCE).other) != digest(build(SOURCE.replace("return row\n", "return -row\n")).other)


@pytest.mark.parametrize(
    "change", [lambda s: s.replace("\n", "  \n"), lambda s: s.replace("\n", "\r\n"), lambda s: "x = 1\n" + s]
)
def test_digest_ignores_blanks_and_place(build, change):
    """Trailing blanks, line ends and the place in the file do not count."""
    assert digest(build(SOURCE).other) == digest(build(change(SOURCE)).other)


def test_values_are_not_part_of_the_digest(build):
    """Captured values do not count; the names of captures and defaults are in the text that does."""
    module = build(SOURCE)
    assert digest(module.make(1, 2)) == digest(module.make(3, 4))
    assert digest(module.make(1, 2)) != digest(build(SOURCE.replace("limit=3", "bound=3")).make(1, 2))


def test_an_object_is_its_class_and_bases(build):
    """An object with `predict` is named by its class; a change in a base class changes it."""
    before, after = build(SOURCE), build(SOURCE.replace("[self.weight", "[-self.weight"))
    assert digest(before.Stricter(1)) == digest(before.Stricter(2))
    assert digest(before.Stricter(1)) != digest(after.Stricter(1))
    assert "not its state" in capture_artifact(before.Rule(1)).reason


def test_methods_partials_and_wrappers_differ_from_what_they_hold(build):
    """A bound method, a partial and a decorated function each have a digest of their own."""
    module = build(SOURCE)
    things = [module.other, functools.partial(module.other, row=1), functools.lru_cache(module.other),
              module.Rule(1), module.Rule(1).predict]  # fmt: skip
    assert len({digest(thing) for thing in things}) == len(things)


def test_code_without_source_is_named_by_its_compilation():
    """Without source the compiled code counts, and the reason says so."""
    first, second = ({}, {})
    exec("def f(x): return x + 1", first)
    exec("def f(x): return x + 2", second)
    assert digest(first["f"]) != digest(second["f"])
    assert "compiled code" in capture_artifact(first["f"]).reason


def test_classes_without_source_are_named_by_their_methods():
    """A class typed into a session is named by the code of its methods."""
    first, second = ({}, {})
    exec("class M:\n def predict(self, X): return X", first)
    exec("class M:\n def predict(self, X): return -X", second)
    assert digest(first["M"]()) != digest(second["M"]())


def test_builtins_are_named_by_name():
    """A builtin has only its name, and the reason says so."""
    assert digest(len) != digest(abs)
    assert "name only" in capture_artifact(len).reason


def test_no_framework_is_imported_for_a_function():
    """Capturing a function imports no framework the caller did not import."""
    program = "import sys; sys.path[:0] = sys.argv[1:]\nfrom backstory.models import capture_artifact\n"
    program += (
        "capture_artifact(len); print(*sorted({'numpy', 'sklearn', 'skops', 'xgboost', 'lightgbm'} & {*sys.modules}))"
    )
    source = str(Path(sys.modules["backstory.models"].__file__).parents[2])
    done = subprocess.run([sys.executable, "-c", program, source], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_what_does_not_predict_is_refused():
    """A plain value is no model."""
    with pytest.raises(ModelError, match="int"):
        capture_artifact(3)
