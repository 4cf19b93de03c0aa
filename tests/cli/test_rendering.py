"""Stories and impacts as text, HTML and on a terminal."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from io import StringIO

import pytest
from rich.console import Console

import backstory
from backstory.records.redaction import Redaction

HOSTILE = "<script>alert(1)</script>[red]\x1b[2J"
IDS = ("first", "sealed", "broken", "failed", "function", "unsealed")


@pytest.fixture
def archive(made):
    """The archive, open to read."""
    with backstory.open(made.path, mode="r", vkey=made.vkey) as opened:
        yield opened


def on_terminal(thing):
    """Return what a terminal of 100 columns gets."""
    console = Console(file=StringIO(), width=100, force_terminal=True, color_system="standard", _environ={})
    console.print(thing)
    return console.file.getvalue()


def visible(thing):
    """Return a terminal's lines without colours."""
    return re.sub(r"\x1b\[[0-9;]*m", "", on_terminal(thing)).splitlines()


class Tags(HTMLParser):
    """Collects tags and attributes."""

    def __init__(self):
        super().__init__()
        self.tags = set()
        self.attributes = set()
        self.open = []

    def handle_starttag(self, tag, attrs):
        """Note a tag."""
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.open.append(tag)

    def handle_endtag(self, tag):
        """Insist that the innermost tag is closed first."""
        assert self.open.pop() == tag


@pytest.mark.parametrize("which", IDS)
def test_text_fits_a_hundred_columns(archive, made, which):
    """No line of a story is longer than 100 columns, as text or on a terminal."""
    story = archive.why(getattr(made, which))
    assert max(map(len, str(story).splitlines())) <= 100
    assert max(map(len, visible(story))) <= 100


@pytest.mark.parametrize("which", IDS)
def test_dict_is_json(archive, made, which):
    """A story's dict goes through JSON unchanged."""
    document = archive.why(getattr(made, which)).to_dict()
    assert json.loads(json.dumps(document, allow_nan=False)) == document


def test_proof_names_the_pinned_key(archive, made):
    """A story read under a pinned key says so; one without says it is not authenticated."""
    assert "proof       sealed, pinned key" in str(archive.why(made.first))
    with backstory.open(made.path, mode="r") as unpinned:
        assert "sealed, self-consistent, not authenticated" in str(unpinned.why(made.first))
    assert "unsealed: no proof covers it yet" in str(archive.why(made.unsealed))


@pytest.mark.parametrize(("column", "named"), [(None, "yes"), ("no", "no")])
def test_decision_names_the_class_it_looked_at(archive, made, column, named):
    """Where a model returns a probability for each class, the rule is over one of them: the last, unless named."""
    story = archive.why(made.first)
    context = story.context | {"decision": backstory.Threshold(0.6, column).document()}
    of_classes = replace(story, output={"no": 0.3, "yes": 0.7}, decision=True, context=context)
    assert f"decision    True, by the rule output {named} at or above 0.6" in str(of_classes)


def test_failed_prediction_names_the_error(archive, made):
    """A failed call says with what it failed."""
    assert str(archive.why(made.failed)).startswith("delay:1 failed with ValueError")


def test_sealed_class_is_named(archive, made):
    """Where the class of a sealed group is known, it is said."""
    story = replace(archive.why(made.sealed), classes={"features": "D4", "output": "D3", "subject": "D3"})
    assert "!! features: sealed (class D4): give an actor and a purpose\n" in str(story)
    assert "!! output, subject: sealed (class D3): give an actor" in str(story)


def test_what_features_added_is_not_summed_where_some_is_masked(archive, made):
    """Each that is withheld is named with the reason; units that are not shown are not called None."""
    hidden = Redaction(field="attribution.b", class_="D4", view="masked", reason="D4 is for role x masked")
    units = Redaction(field="context", class_="D2", view="none", reason="D2 is for role x masked")
    classes = {"attribution.a": "D3", "attribution.b": "D4", "attribution_base": "D3"}
    story = replace(archive.why(made.first), attributions={"a": 1.0}, attribution_base=2.0, column_classes=classes)
    some = str(replace(story, redacted=(hidden, units)))
    assert "b     not shown: D4 is for role x masked\n" in some
    assert "adds up to" not in some
    whole = str(replace(story, attributions={"a": 1.0, "b": 0.5}, redacted=(units,)))
    assert "adds up to  3.5 in units that are not shown (D2 is for role x masked), from 2\n" in whole
    assert "None" not in whole.partition("What each feature added")[2].partition("\n\n")[0]


def test_code_and_environment(archive, made):
    """Commit, whether files differed from it, and the environment in one line."""
    story = archive.why(made.first)
    code = {"commit": "c0ffee", "dirty": True, "diff": "d1ff"}
    environment = {"python": {"version": "3.11.4"}, "platform": {"os": "Linux", "machine": "x86_64"}}
    story = replace(story, context={**story.context, "code": code}, environment=environment)
    assert "commit c0ffee, DIRTY: the files differed from it, diff d1ff" in str(story)
    assert "environment   Python 3.11.4, Linux x86_64, numpy" in str(story)


def test_value_the_model_was_not_given_is_shown_beside_it(archive, made):
    """Where a row has another value than the feature of its name, both are shown."""
    story = archive.why(made.first)
    story = replace(story, features={**story.features, "wind": 9.0})
    assert "wind 9.0 (the row has 4.0)" in str(story)


def test_values_cannot_act(archive, made):
    """A recorded value is shown as itself: no markup, no HTML, no control character."""
    story = archive.why(made.first)
    story = replace(story, features={**story.features, HOSTILE: HOSTILE}, request_id=HOSTILE)
    assert "[red]" in str(story)
    assert "\x1b" not in str(story)
    assert "\x1b[2J" not in on_terminal(story)
    assert "<script" not in story._repr_html_()


@pytest.mark.parametrize("which", IDS)
def test_html_is_whole_and_alone(archive, made, which):
    """The HTML is balanced, has no script, and loads nothing."""
    html = archive.why(getattr(made, which))._repr_html_()
    parser = Tags()
    parser.feed(html)
    assert parser.open == []
    assert parser.tags <= {"div", "table", "tr", "td", "th"}
    assert not {"src", "href"} & parser.attributes


def test_impact_begins_with_the_counts(archive):
    """An impact says first how much was reached, then what."""
    lines = str(archive.impact("flights", rows=[1])).splitlines()
    assert lines[0] == "1 row of flights reached 20 predictions, 1 model, 2 features"
    sealed = str(archive.impact("loans", rows=[0])).splitlines()
    assert sealed[1].startswith("!! PARTIAL: 1 sealed segment not searched")
    assert "  route_mean  route" in lines


def test_impact_counts_the_training_rows_it_reached(archive):
    """The column is not called as the one of `models`, which counts all training rows."""
    lines = str(archive.impact("flights", rows=[1])).splitlines()
    assert "training rows reached" in lines[lines.index("Models trained on them") + 1]


def test_impact_has_every_prediction_as_json(archive):
    """The dict holds all predictions, the text the first ten."""
    impact = archive.impact("flights", rows=[1])
    document = impact.to_dict()
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    assert len(document["predictions"]) == impact.predictions.num_rows > 10
    assert str(impact).count(" delay:1 ") == 11
    assert "PARTIAL" in archive.impact("loans", rows=[0])._repr_html_()
    assert max(map(len, visible(impact))) <= 100
