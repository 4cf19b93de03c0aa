"""Canonical queries: what each answers, and that an empty answer is only said to hold where something was looked at."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import contextmanager

import pandas as pd
import pyarrow as pa
import pytest
from tests.support.archives import ORIGIN
from tests.support.query_page import PAGE, text_of_page

import backstory
from backstory.errors import InputError, QueryError
from backstory.report.queries import QUERIES, query_of

NOW = "2126-01-01T00:00:00Z"
PEOPLE = 40


class Score:
    """A model of one feature."""

    def predict(self, table):
        """Return a tenth of the income."""
        return table["income"].to_numpy() / 10


@contextmanager
def opened(path, actor="auditor", **options):
    """Open an archive for somebody with a purpose."""
    with backstory.open(path, actor=actor, purpose="audit", **options) as archive:
        yield archive


@pytest.fixture(scope="module")
def empty(tmp_path_factory):
    """Make an archive in which nothing was recorded; return it with its public key."""
    path = tmp_path_factory.mktemp("queries") / "empty"
    with backstory.init(path, origin=ORIGIN) as archive:
        return path, archive.vkey


@pytest.fixture(scope="module")
def life(tmp_path_factory):
    """Make an archive with people, an approval, decisions with notices and without, a request and accesses."""
    path = tmp_path_factory.mktemp("queries") / "life"
    table = pd.DataFrame(
        {"who": [f"p{n}" for n in range(PEOPLE)], "income": [float(n) for n in range(PEOPLE)], "sex": ["f", "m"] * 20}
    )
    backstory.init(path, origin=ORIGIN).close()
    with opened(path, "author") as archive:
        archive.register(Score(), name="score")
    with opened(path, "approver") as archive:
        archive.deployments.approve("score:1")
        archive.deployments.set("front", "score:1")
    with opened(path, "service") as archive:
        model = archive.register(Score(), name="score")
        asked = {"subject": table["who"], "decision": backstory.Threshold(2)}
        made = archive.predict(model, table[["income", "sex"]], **asked)
        archive.outcome(list(made.ids), [n > 20 for n in range(PEOPLE)])
        recorded = {"outcome": "refused", "adverse": True, "automation": "human-decided", "reliance": "principal"}
        late = archive.decisions.record(
            made.ids[0], **recorded, action="overrode", ground="G1", subject="p0", reasons=["R1"]
        )
        archive.rights.request("access", subject="p1", due=NOW)
        ids = list(made.ids)
    return path, ids, late.id


# --- the registry -----------------------------------------------------------------------------------------------------


def test_all_queries_are_there():
    """There are the 26 of the catalogue, and each says what an answer shows and what it does not."""
    assert list(QUERIES) == [f"Q-{number:02}" for number in range(1, 27)]
    for one in QUERIES.values():
        assert one.shows
        assert one.shows_not
        assert one.columns
        assert one.supports


def test_the_page_says_what_the_code_says():
    """The page of the queries is the one the registry makes."""
    assert PAGE.read_text("utf-8") == text_of_page()


def test_ids_are_read_leniently():
    """A query is found as people write it; another one is named as an error."""
    assert query_of("q7").id == query_of("7").id == query_of("Q-07").id == "Q-07"
    with pytest.raises(InputError, match="Q-01 to Q-26"):
        query_of("Q-99")


# --- every query on every archive ------------------------------------------------------------------------------------


def asked_of(name, ids=("0",)):
    """Return what a query is asked with where it takes something."""
    return {
        "Q-02": {"prediction": ids[0] if ids else "0"},
        "Q-03": {"subject": "p1"},
        "Q-05": {"model": "score:1"},
        "Q-11": {"subject": "p1"},
        "Q-16": {"count": len(ids)},
        "Q-20": {"model": "score", "by": "sex"},
        "Q-22": {"model": "score"},
    }.get(name, {})


@pytest.mark.parametrize("name", [one for one in QUERIES if one not in {"Q-02", "Q-05", "Q-20", "Q-22", "Q-23"}])
def test_nothing_recorded_is_never_all_fine(empty, name):
    """Where nothing was recorded, no query that must be empty says that it holds, but for the log's own."""
    path, vkey = empty
    with opened(path, vkey=vkey) as archive:
        answer = archive.query(name, **asked_of(name, []))
    if QUERIES[name].empty and name not in {"Q-15", "Q-16"}:
        assert answer.status in {"incomplete", "not-applicable"}
    assert answer.size > 0
    assert answer.status != "violated"


@pytest.mark.parametrize("name", [one for one in QUERIES if one != "Q-23"])
def test_answers_have_form_and_origin(life, name):
    """Every answer is a table with the columns that were promised, with checkpoint and counts, in every form."""
    path, ids, _ = life
    with opened(path) as archive:
        answer = archive.query(name, **asked_of(name, ids))
        said = json.loads(json.dumps(answer.to_dict()))
        assert answer.table.column_names == list(QUERIES[name].columns) == said["columns"]
        assert json.loads(answer.table.schema.metadata[b"backstory"])["query"] == name
        assert len(answer.frame()) == said["row_count"] == len(answer.csv().splitlines()) - 1
        assert len(said["checkpoint"]["root"]) == 64
        assert answer.question in " ".join(str(answer).split())


# --- single queries ---------------------------------------------------------------------------------------------------


def test_q01_lists_the_log(life):
    """Events come in the order of the log; of a model only its own."""
    path, _, _ = life
    with opened(path) as archive:
        whole, own = archive.query("Q-01"), archive.query("Q-01", model="score:1")
        assert [row["entry"] for row in whole.rows] == list(range(whole.size))
        assert whole.examined["numbers missing"] == 0
        types = {row["type"] for row in own.rows}
        assert {"model.registered", "model.approved", "segment.sealed"} <= types
        assert "role.assigned" not in types
        assert archive.query("Q-01", since=NOW).rows == ()


def test_q02_traces_a_prediction(life):
    """The trace has features, model, decision and what was decided with it; without a purpose it is incomplete."""
    path, ids, decision = life
    with opened(path) as archive:
        answer = archive.query("Q-02", prediction=ids[0])
    values = {(row["part"], row["name"]): row["value"] for row in answer.rows}
    assert values["features", "income"] == "0.0"
    assert values["human decision", f"{decision}.action"] == "overrode"
    with backstory.open(path, mode="r") as archive:
        closed = archive.query("Q-02", prediction=ids[0])
    assert closed.status == "incomplete"
    assert any("not opened" in note for note in closed.notes)


def test_q03_and_q11_are_about_a_person(life):
    """A person's records are found by the index, and whoever read them is listed with what for."""
    path, ids, _ = life
    with opened(path) as archive:
        assert ids[1] in {row["id"] for row in archive.query("Q-03", subject="p1").rows}
        archive.why(ids[1])
        seen = archive.query("Q-11", prediction=ids[1])
    assert {"auditor"} == {row["who"] for row in seen.rows}
    assert "why" in {row["question"] for row in seen.rows}


def test_q04_counts_what_each_version_served(life):
    """An interval says which verdict was before it, and how many predictions were made in it."""
    path, _, _ = life
    with opened(path) as archive:
        (row,) = archive.query("Q-04").rows
        assert (row["deployment"], row["verdict_before"], row["predictions"]) == ("front", "approved", PEOPLE)
        assert archive.query("Q-04", at="2000-01-01T00:00:00Z").rows == ()


def test_q06_counts_overrides(life):
    """Actions are counted by model version; reviewers of few decisions are not shown."""
    path, _, _ = life
    with opened(path) as archive:
        (row,) = archive.query("Q-06").rows
        assert (row["group"], row["overrode"], row["share_against"]) == ("score:1", 1, 1.0)
        assert archive.query("Q-06", by="reviewer").rows == ()


def test_q08_finds_predictions_without_approval(life, tmp_path):
    """It holds where a verdict was before all predictions, and names the version where none was."""
    path, _, _ = life
    with opened(path) as archive:
        assert archive.query("Q-08").status == "holds"
    with backstory.init(tmp_path / "a", origin=ORIGIN) as archive:
        model = archive.register(Score(), name="wild")
        archive.predict(model, pd.DataFrame({"income": [1.0]})).wait("sealed")
    with opened(tmp_path / "a") as archive:
        archive.deployments.approve("wild:1", verdict="rejected")
        answer = archive.query("Q-08")
    assert answer.status == "violated"
    assert [(row["model"], row["predictions"]) for row in answer.rows] == [("wild:1", 1)]


def test_q08_does_not_hold_where_no_deployment_was_recorded(tmp_path):
    """Approved before is half of the question: the other half is not known, and a note says so."""
    with backstory.init(tmp_path / "a", origin=ORIGIN):
        pass
    with opened(tmp_path / "a", "author") as archive:
        archive.register(Score(), name="wild")
    with opened(tmp_path / "a", "approver") as archive:
        archive.deployments.approve("wild:1")
        archive.predict(archive.register(Score(), name="wild"), pd.DataFrame({"income": [1.0]})).wait("sealed")
        answer = archive.query("Q-08")
    assert answer.status == "incomplete"
    assert any("1 prediction by approved versions of which no deployment" in note for note in answer.notes)


def test_q09_finds_decisions_nobody_was_told_of(life):
    """An adverse decision without a notice is listed with what is missing."""
    path, _, decision = life
    with opened(path) as archive:
        answer = archive.query("Q-09")
    assert answer.status == "violated"
    assert [(row["decision"], row["problem"]) for row in answer.rows] == [(decision, "none")]


def test_q15_needs_a_pinned_key(life):
    """The archive verifies; whose it is, only a pinned key says."""
    path, _, _ = life
    with opened(path) as archive:
        vkey = archive.vkey
        assert archive.query("Q-15").status == "incomplete"
    with opened(path, vkey=vkey) as archive:
        assert archive.query("Q-15").status in {"holds", "incomplete"}


def test_q16_compares_with_an_outside_count(life):
    """A count that differs is a violation, with the difference."""
    path, _, _ = life
    with opened(path) as archive:
        assert archive.query("Q-16", count=PEOPLE).status == "holds"
        answer = archive.query("Q-16", count=PEOPLE + 2)
        with pytest.raises(QueryError):
            archive.query("Q-16")
    assert answer.status == "violated"
    assert {row["figure"]: row["value"] for row in answer.rows}["difference"] == 2


def test_q19_finds_whoever_approved_their_own(life, tmp_path):
    """It holds where two people acted, and is violated where one did, by the names behind the commitments."""
    path, _, _ = life
    with opened(path) as archive:
        assert archive.query("Q-19").status == "holds"
        rows = archive.query("Q-19").rows
    approved = [row for row in rows if row["kind"] == "model"]
    assert [(row["author"], row["approver"], row["same_person"]) for row in approved] == [("author", "approver", False)]


def test_q20_hides_small_groups(life):
    """Rates are by group; groups of few, and what would give them away, have none."""
    path, _, _ = life
    with opened(path) as archive:
        rates = {row["group"]: row for row in archive.query("Q-20", model="score", by="sex").rows}
        assert rates["f"]["predictions"] == rates["m"]["predictions"] == PEOPLE // 2
        small = archive.query("Q-20", model="score", by="income")
    assert all(row["predictions"] is None for row in small.rows)


def test_q21_and_q25_do_not_apply():
    """What is not recorded is said to be that, not answered with an empty table."""
    for name in ("Q-21", "Q-25"):
        assert "not recorded" in QUERIES[name].reads


def test_q24_counts_requests(life):
    """Requests are counted by type, with those that are open."""
    path, _, _ = life
    with opened(path) as archive:
        (row,) = archive.query("Q-24").rows
    assert (row["type"], row["received"], row["open"], row["overdue"]) == ("access", 1, 1, 0)


def test_wrong_parameters_are_named(life):
    """A parameter that there is not, is missing or is malformed is an error that says which."""
    path, _, _ = life
    with opened(path) as archive:
        with pytest.raises(QueryError, match="did you mean 'since'"):
            archive.query("Q-01", sinc="x")
        with pytest.raises(QueryError, match="prediction"):
            archive.query("Q-02")
        with pytest.raises(QueryError, match="whole number"):
            archive.query("Q-23", sample="many")
        with pytest.raises(QueryError, match="RFC 3339"):
            archive.query("Q-01", since="yesterday")


def test_table_of_mixed_values_is_text(life):
    """A column with numbers and texts becomes text, so that every answer is a table."""
    path, _, _ = life
    with opened(path) as archive:
        table = archive.query("Q-16", requests="r-1").table
    assert table.schema.field("value").type == pa.string()


def test_command_line(life):
    """The command prints JSON or CSV, reads a person's id from standard input, and ends with what the status says."""
    path, ids, _ = life
    run = [sys.executable, "-m", "backstory", "query"]
    opening = ["-a", str(path), "--actor", "auditor", "--purpose", "audit"]
    violated = subprocess.run([*run, "Q-09", "--json", *opening], capture_output=True, text=True, check=False)
    assert violated.returncode == 20
    assert json.loads(violated.stdout)["status"] == "violated"
    asked = [*run, "Q-03", "subject=-", "--csv", *opening]
    found = subprocess.run(asked, input="p1\n", capture_output=True, text=True, check=True)
    assert found.stdout.splitlines()[0] == "what,id,said"
    assert ids[1] in found.stdout
