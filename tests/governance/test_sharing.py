"""Figures that leave an archive: budgets, whose rows count, and what is refused."""

from __future__ import annotations

import subprocess
import sys
from contextlib import contextmanager
from dataclasses import replace
from decimal import Decimal

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.archives import ORIGIN

import backstory
from backstory.errors import ConflictError, ForbiddenError, InputError, NotFoundError
from backstory.governance import sharing as sharing_module
from backstory.governance.budget import budgets, decide_budget, propose_budget, reserve
from backstory.governance.proposal import decide
from backstory.ledger.ledger import Ledger
from backstory.records.privacy_budget import (
    NO_LOSS,
    SPENT,
    BudgetTerms,
    Loss,
    decimal_of,
    decimal_text,
    parse_terms,
    period_of,
    spent_in,
)
from backstory.storage.world import World
from backstory.verify.archive import verify_archive

PEOPLE = 30
SURE_SPEND = 60
"""With this epsilon noise is 0 but once in e to the 60 answers, so what is counted can be seen."""
DAY_NS = 86_400 * 10**9


class Score:
    """A model of one feature."""

    def predict(self, table):
        """Return a tenth of the income."""
        return table["income"].to_numpy() / 10


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Make an archive of 30 people, person `n` with `n % 3 + 1` predictions about them, incomes of 0 to 29."""
    path = tmp_path_factory.mktemp("sharing") / "a"
    rows = [(f"p{n}", float(n), "north" if n % 2 else "south") for n in range(PEOPLE) for _ in range(n % 3 + 1)]
    table = pd.DataFrame(rows, columns=["who", "income", "region"])
    with backstory.init(path, origin=ORIGIN) as archive:
        model = archive.register(Score(), name="score")
        made = archive.predict(
            model, table[["income", "region"]], subject=table["who"], decision=backstory.Threshold(1)
        )
        archive.outcome(list(made.ids), [n % 4 == 0 for n in range(len(rows))])
        archive.outcome(made.ids[0], value=False)
    return path


@contextmanager
def opened(path, actor="curator", **options):
    """Open an archive for somebody with a purpose."""
    with backstory.open(path, actor=actor, purpose="figures", **options) as archive:
        yield archive


def grant(path, audience, epsilon, **options):
    """Let one person propose a budget and another approve it."""
    with opened(path, "ann") as archive:
        proposed = archive.sharing.budget(audience, epsilon=epsilon, **options)
    with opened(path, "bob") as archive:
        return archive.sharing.decide(proposed.proposal, "approved")


@pytest.fixture(scope="module")
def exact(root):
    """Open an archive whose audience `inside` may have figures with next to no noise."""
    for number in range(14):
        grant(root, f"inside{number}", 100)
    with opened(root) as archive:
        audiences = iter(range(14))
        yield lambda statistic, *args, **options: getattr(archive.sharing, statistic)(
            f"inside{next(audiences)}", *args, epsilon=SURE_SPEND, **options
        )


# --- whose rows count -------------------------------------------------------------------------------------------------


def test_a_count_is_of_people(exact):
    """Where one row of each person counts, a count is of people; where more count, of rows."""
    assert exact("count").value == PEOPLE
    assert exact("count", per_person=2).value == PEOPLE + PEOPLE * 2 // 3


def test_cells_and_conditions(exact):
    """Cells are those that were listed, empty or not; conditions are of one row."""
    found = exact("count", by={"feature.region": ["north", "west"]}, where=[("feature.income", ">=", 20)])
    assert [(cell.keys["feature.region"], cell.value) for cell in found.cells] == [("north", 5), ("west", 0)]
    assert found.table().column_names == ["feature.region", "value", "low", "high"]


def test_public_cells(exact):
    """Versions and days are cells too."""
    found = exact("count", by={"model": ["score:1", "score:2"], "month": ["2000-01"]})
    assert [cell.value for cell in found.cells] == [0, 0]


def test_sum_mean_and_quantile(exact):
    """Values outside the bounds count as the nearer bound."""
    assert exact("sum", "feature.income", bounds=(0, 20)).value == pytest.approx(sum(range(21)) + 9 * 20, abs=8)
    mean = exact("mean", "feature.income", bounds=(0, 100))
    assert mean.value == pytest.approx(14.5, abs=1)
    assert mean.cells[0].low <= mean.value <= mean.cells[0].high
    assert exact("quantile", "feature.income", share=0.5, bounds=(0, 64)).value == pytest.approx(14.5, abs=1.5)


def test_rate_and_histogram(exact):
    """A rate is of rows that are true or false; a histogram counts what nobody listed as others."""
    assert exact("rate", "decision").value == pytest.approx(20 / 30)
    found = exact("histogram", "feature.region", categories=["north"])
    assert [cell.value for cell in found.cells] == [15, 15]
    bins = exact("histogram", "output", edges=[0, 1, 2.9])
    assert [(cell.keys["output"], cell.value) for cell in bins.cells] == [
        ("0.0 to 1.0", 10),
        ("1.0 to 2.9", 20),
        ("(others)", 0),
    ]


def test_the_latest_outcome_counts(exact):
    """Of several outcomes of a prediction the last one counts; of several predictions of a person the last one."""
    assert exact("count", where=[("outcome", "=", True), ("feature.income", "=", 0)]).value == 0


def test_nothing_fits(exact):
    """Conditions that nothing fulfils, or of another type than the column, give noise around 0, not an error."""
    assert exact("count", where=[("feature.region", ">", 5)]).value == 0
    assert exact("mean", "feature.income", bounds=(0, 10), where=[("output", "<", -1)]).value == pytest.approx(5, abs=5)


def test_rows_say_whom_a_prediction_is_about(tmp_path):
    """Without a subject of its own a prediction is about whom its rows are; one about two people counts for none."""
    path = tmp_path / "a"
    buyers = pd.DataFrame({"id": [0, 1, 2, 3], "who": ["a", "a", "b", "c"], "income": [1.0, 2.0, 3.0, 4.0]})
    backers = pd.DataFrame({"id": [0, 1, 2, 3], "backer": ["a", "a", "b", "d"], "wealth": [5.0, 6.0, 7.0, 8.0]})
    backstory.init(path, origin=ORIGIN).close()
    with opened(path) as archive:
        frame = archive.source(buyers, "buyers", key="id", subject="who")
        frame = frame.merge(archive.source(backers, "backers", key="id", subject="backer"), on="id")
        features, rows = archive.split(frame, ["income", "wealth"])
        archive.predict(archive.register(Score(), name="score", rows=rows), features, rows=rows)
    grant(path, "inside", 100, period="month")
    with opened(path) as archive:
        assert archive.sharing.count("inside", epsilon=SURE_SPEND / 2).value == 2
        assert archive.sharing.count("inside", epsilon=SURE_SPEND / 2, per_person=2).value == 3


def test_who_was_erased_counts_no_more(tmp_path):
    """Of a person who was erased nothing counts, not even that there were records."""
    path = tmp_path / "a"
    with backstory.init(path, origin=ORIGIN) as archive:
        for who in ("p", "q", "r"):
            with archive.prediction(subject=who) as one:
                one.output(1.0)
    with opened(path) as archive:
        archive.privacy.erase("q", ground="request")
    grant(path, "inside", 100)
    with opened(path) as archive:
        assert archive.sharing.count("inside", epsilon=SURE_SPEND).value == 2


# --- budgets ----------------------------------------------------------------------------------------------------------


def test_budget_needs_two_people(root):
    """Whoever proposed a budget cannot approve it; until another one does it allows nothing. Both are recorded."""
    with opened(root, "ann") as archive:
        proposed = archive.sharing.budget("two", epsilon=1)
        with pytest.raises(ForbiddenError, match="another person"):
            archive.sharing.decide(proposed.proposal, "approved")
        with pytest.raises(ForbiddenError, match="another person approved"):
            archive.sharing.count("two", epsilon=1)
        grounds = [entry["ground"] for entry in archive._ledger.find_entries("action.refused")]
    assert grounds[-2:] == ["same person", "no budget"]
    with opened(root, "bob") as archive:
        archive.sharing.decide(proposed.proposal, "rejected", "too much")
        with pytest.raises(ConflictError):
            archive.sharing.decide(proposed.proposal, "approved")
        with pytest.raises(NotFoundError):
            archive.sharing.decide(3, "approved")


def test_exhausted_budget_refuses(root):
    """What is left is used to the last; then every figure is refused, and the refusal is in the log."""
    grant(root, "drained", "0.3")
    with opened(root) as archive:
        for place in range(3):
            archive.sharing.count("drained", epsilon=0.1, where=[("feature.income", ">", place)])
        with pytest.raises(ForbiddenError, match="the refusal is in the log"):
            archive.sharing.count("drained", epsilon="0.000001")
        (budget,) = archive.sharing.budgets("drained")
        assert (budget.spent_epsilon, budget.left_epsilon) == ("0.3", "0")
        assert archive._ledger.find_entries("action.refused")[-1]["ground"] == "budget exhausted"


def test_same_question_same_answer(root):
    """The same question is answered as before and charges nothing, also much later; asked again on purpose it does."""
    grant(root, "repeats", 1)
    with opened(root) as archive:
        first = archive.sharing.count("repeats", epsilon=0.2, where=[("feature.income", ">", 3)])
    with opened(root) as archive:
        second = archive.sharing.count("repeats", epsilon="0.20", where=[["feature.income", ">", 3]])
        assert second.repeated
        assert second.cells == first.cells
        assert archive.sharing.budgets("repeats")[0].spent_epsilon == "0.2"
        third = archive.sharing.count("repeats", epsilon=0.2, where=[("feature.income", ">", 3)], again=True)
        assert third.spent > first.spent
        assert [one.spent for one in archive.sharing.figures("repeats")] == [third.spent, first.spent]


def test_crash_before_the_answer_stays_charged(root, monkeypatch):
    """A process that ends between charge and answer leaves the charge in the log, and no answer."""
    grant(root, "crashed", 1)
    with opened(root) as archive:
        monkeypatch.setattr(sharing_module, "bounded", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            archive.sharing.count("crashed", epsilon=0.4)
        monkeypatch.undo()
        assert archive.sharing.budgets("crashed")[0].left_epsilon == "0.6"
        assert archive.sharing.figures("crashed") == []


def test_periods_begin_anew(tmp_path):
    """A budget of a month is whole again in the next; one without a period never is."""
    now = [1_767_225_600 * 10**9]
    world = World(now_ns=lambda: now[0])
    with backstory.init(tmp_path / "a", origin=ORIGIN, world=world) as archive, archive.prediction(subject="p") as one:
        one.output(1.0)
    for period in ("month", None):
        with opened(tmp_path / "a", "ann", world=world) as archive:
            proposed = archive.sharing.budget(f"{period}", epsilon=1, period=period)
        with opened(tmp_path / "a", "bob", world=world) as archive:
            archive.sharing.decide(proposed.proposal, "approved")
            archive.sharing.count(f"{period}", epsilon=1)
    now[0] += 40 * DAY_NS
    with opened(tmp_path / "a", world=world) as archive:
        left = {one.audience: one.left_epsilon for one in archive.sharing.budgets()}
        assert left == {"month": "1", "None": "0"}
        archive.sharing.count("month", epsilon=1, again=True)


@pytest.mark.parametrize(
    ("before", "after", "left"),
    [
        ("year", "month", ["0.4", "0.4", "1"]),
        ("month", "year", ["0.4", "0", "1"]),
        (None, "month", ["0.4", "0.4", "0.4"]),
        ("month", None, ["0.4", "0", "0"]),
    ],
)
def test_another_period_forgets_nothing(tmp_path, before, after, left):
    """What was used up counts under a budget with another period until it would under neither; `verify` counts so."""
    now = [1_767_225_600 * 10**9]  # 2026-01-01
    world, path = World(now_ns=lambda: now[0]), tmp_path / "a"
    backstory.init(path, origin=ORIGIN, world=world).close()
    ledger = Ledger(path, world, writable=True, vkey=None, actor="ann")

    def charge(epsilon):
        reserve(ledger, "press", Loss(epsilon=Decimal(epsilon), delta=Decimal()), dict)

    for period in (before, after):
        proposed = propose_budget(ledger, "press", epsilon=1, delta=0, unit="subject", period=period)
        ledger.actor = "bob"
        decide_budget(ledger, proposed.index, "approved", None)
        ledger.actor = "ann"
        if period == before:
            charge("0.6")
            now[0] += 20 * DAY_NS
    found = []
    for days in (31, 320, 0):
        found.append(budgets(ledger, "press")[-1].left_epsilon)
        if found[-1] != "0":
            charge(found[-1])
        now[0] += days * DAY_NS
    ledger.close()
    assert found == left
    assert not verify_archive(path, workers=1).failed


def test_units_are_not_mixed(tmp_path):
    """Of two budgets that wait at once, of two units, one can be approved; both approved, past the rules, is found."""
    path = tmp_path / "a"
    backstory.init(path, origin=ORIGIN).close()
    ledger = Ledger(path, World(), writable=True, vkey=None, actor="ann")
    first, second = (
        propose_budget(ledger, "press", epsilon=1, delta=0, unit=unit, period=None) for unit in ("subject", "record")
    )
    ledger.actor = "bob"
    decide_budget(ledger, first.index, "approved", None)
    with pytest.raises(InputError, match="unit"):
        decide_budget(ledger, second.index, "approved", None)
    decide(ledger, second.index, "approved")
    ledger.close()
    assert [one.what for one in verify_archive(path, workers=1).findings if one.severity == "failed"] == [
        "budget: its unit is record, that of the audience's budget before it subject"
    ]


def test_units_are_not_mixed_by_two_who_decide_at_once(tmp_path):
    """A budget that is approved while another person approves one of another unit is refused."""
    path = tmp_path / "a"
    backstory.init(path, origin=ORIGIN).close()
    world = World()
    ledger = Ledger(path, world, writable=True, vkey=None, actor="ann")
    first, second = (
        propose_budget(ledger, "press", epsilon=1, delta=0, unit=unit, period=None) for unit in ("subject", "record")
    )
    ledger.actor = "bob"

    def chance(size):  # is asked for the salt of the reason: after the first look, before the entry
        ledger.world = world
        decide_budget(ledger, first.index, "approved", None)
        return world.random_bytes(size)

    ledger.world = replace(world, random_bytes=chance)
    with pytest.raises(InputError, match="unit"):
        decide_budget(ledger, second.index, "approved", "a reason")
    ledger.close()
    assert not verify_archive(path, workers=1).failed


def test_a_clock_that_is_set_back_gives_nothing_again(tmp_path):
    """In a period that had ended what was used up later counts too; nothing is lost once the clock goes right."""
    now = [1_767_225_600 * 10**9]  # 2026-01-01
    world, path = World(now_ns=lambda: now[0]), tmp_path / "a"
    backstory.init(path, origin=ORIGIN, world=world).close()
    ledger = Ledger(path, world, writable=True, vkey=None, actor="ann")
    proposed = propose_budget(ledger, "press", epsilon=1, delta=0, unit="subject", period="month")
    ledger.actor = "bob"
    decide_budget(ledger, proposed.index, "approved", None)
    left = []
    for days, epsilon in ((0, "0.2"), (40, "0.7"), (-40, "0.1"), (40, None), (40, None)):
        now[0] += days * DAY_NS
        left.append(budgets(ledger, "press")[-1].left_epsilon)
        if epsilon is not None:
            reserve(ledger, "press", Loss(epsilon=Decimal(epsilon), delta=Decimal()), dict)
    ledger.close()
    assert left == ["1", "1", "0.1", "0.3", "1"]
    assert not verify_archive(path, workers=1).failed


def test_two_processes_cannot_overspend(root):
    """Of eight charges from two processes at once, exactly so many succeed as the budget has, whose period changes."""
    grant(root, "contended", "0.5")
    program = f"""
from decimal import Decimal
from pathlib import Path
from backstory.errors import ForbiddenError
from backstory.governance.budget import reserve
from backstory.ledger.ledger import Ledger
from backstory.records.privacy_budget import Loss
from backstory.storage.world import World
done = 0
ledger = Ledger(Path({str(root)!r}), World(), writable=True, vkey=None, actor=None)
for _ in range(4):
    try:
        reserve(ledger, "contended", Loss(epsilon=Decimal("0.1"), delta=Decimal()), dict)
        done += 1
    except ForbiddenError:
        pass
print(done)
"""
    command = [sys.executable, "-c", program]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    grant(root, "contended", "0.5", period="year")
    done = [int(process.communicate(timeout=120)[0]) for process in running]
    assert sum(done) == 5
    with opened(root) as archive:
        assert archive.sharing.budgets("contended")[-1].left_epsilon == "0"


def test_no_subset_of_questions_overspends(root):
    """An attacker who asks for every slice gets answers that lost, together, no more than the budget."""
    grant(root, "slices", 1)
    with opened(root) as archive:
        refused = 0
        for income in range(8):
            try:
                archive.sharing.count("slices", epsilon="0.3", where=[("feature.income", "!=", income)])
            except ForbiddenError:
                refused += 1
        lost = sum((Decimal(one.epsilon) for one in archive.sharing.figures("slices")), Decimal())
    assert (lost, refused) == (Decimal("0.9"), 5)


def test_a_closed_archive_gives_nothing(root):
    """Without actor and purpose nothing is read, and nothing is charged for it."""
    grant(root, "closed", 1)
    with backstory.open(root, actor="x") as archive:
        with pytest.raises(ForbiddenError, match="purpose"):
            archive.sharing.count("closed", epsilon=0.1)
        assert archive.sharing.budgets("closed")[0].left_epsilon == "1"


def test_record_unit_is_not_for_people(root):
    """A budget that protects single records is refused where records are about people."""
    grant(root, "records", 1, unit="record")
    with opened(root) as archive, pytest.raises(ForbiddenError, match="unit subject"):
        archive.sharing.count("records", epsilon=0.1)
    with opened(root, "ann") as archive, pytest.raises(InputError, match="unit"):
        archive.sharing.budget("records", epsilon=1)


def test_the_log_says_nothing_of_people(root):
    """Entries about figures hold no condition, key or number: only what they cost, and commitments."""
    grant(root, "quiet", 1)
    with opened(root) as archive:
        figure = archive.sharing.count("quiet", epsilon=0.1, where=[("feature.region", "=", "north")])
        (spent,) = archive._ledger.find_entries(SPENT, "quiet")
        (released,) = archive._ledger.find_entries("sharing.released", "quiet")
    assert set(spent) == {
        "actor", "budget", "delta", "epsilon", "name", "noise", "question", "statistic", "time", "type", "v"
    }  # fmt: skip
    assert [(one["mechanism"], round(float(one["scale"]), 6)) for one in spent["noise"]] == [("laplace", 10.0)]
    assert "north" not in str(spent) + str(released)
    assert len(released["answer"]) == 64
    assert "95 of 100" in str(figure)


@pytest.mark.parametrize(
    ("statistic", "arguments"),
    [
        ("count", {"epsilon": 0}),
        ("count", {"epsilon": "1e-30"}),
        ("count", {"epsilon": "0.1", "per_person": 0}),
        ("count", {"epsilon": "0.1", "by": {"feature.region": []}}),
        ("count", {"epsilon": "0.1", "by": {"day": ["today"]}}),
        ("count", {"epsilon": "0.1", "by": ["feature.region"]}),
        ("count", {"epsilon": "0.1", "by": {"feature.region": list(map(str, range(10_001)))}}),
        ("count", {"epsilon": "0.1", "where": [("feature.income", "like", 1)]}),
        ("count", {"epsilon": "0.1", "where": [("feature.income", "=", 10**400)]}),
        ("count", {"epsilon": "0.1", "per_person": 2.5}),
        ("count", {"epsilon": "0.1", "by": {"feature.income": [1, 1.0]}}),
        ("histogram", {"of": "feature.region", "categories": ["a", "a"], "epsilon": "0.1"}),
        ("sum", {"of": "output", "bounds": (0, 5e-324), "epsilon": "0.1"}),
        ("count", {"epsilon": "0.1", "where": [("feature.income", "=", float("nan"))]}),
        ("count", {"epsilon": "0.1", "where": [("feature.none", "=", 1)]}),
        ("count", {"epsilon": "0.1", "where": [("subject", "=", "p1")]}),
        ("count", {"epsilon": "0.1", "colour": "red"}),
        ("sum", {"of": "output", "bounds": (1, 1), "epsilon": "0.1"}),
        ("mean", {"of": "output", "bounds": (0, 1e16), "epsilon": "0.1"}),
        ("quantile", {"of": "output", "bounds": (0, 1), "share": 1.5, "epsilon": "0.1"}),
        ("histogram", {"of": "feature.region", "epsilon": "0.1"}),
        ("histogram", {"of": "feature.region", "categories": ["a"], "delta": 1e-6, "epsilon": "0.1"}),
        ("histogram", {"of": "output", "edges": [3, 1], "epsilon": "0.1"}),
    ],
)
def test_malformed_questions_charge_nothing(root, statistic, arguments):
    """What cannot be asked is refused before anything is charged."""
    if not any(one for one in _budgets(root) if one.audience == "malformed"):
        grant(root, "malformed", 50, delta="0.001")
    with opened(root) as archive:
        with pytest.raises(InputError):
            getattr(archive.sharing, statistic)("malformed", **arguments)
        assert archive.sharing.budgets("malformed")[0].left_epsilon == "50"


def _budgets(root):
    with opened(root) as archive:
        return archive.sharing.budgets()


# --- arithmetic -------------------------------------------------------------------------------------------------------

LOSSES = st.builds(
    Loss,
    epsilon=st.decimals("0.000001", "3", places=6),
    delta=st.decimals("0", "0.1", places=9),
)
MOMENTS = st.tuples(st.integers(2026, 2028), st.integers(1, 12)).map(lambda one: f"{one[0]}-{one[1]:02}-07T00:00:00Z")


@given(st.lists(st.tuples(LOSSES, MOMENTS), max_size=20), LOSSES, st.sampled_from([None, "month", "quarter", "year"]))
def test_no_period_is_overspent(asked, limit, period):
    """Whatever is asked in whatever order: what was let through in a period is within the budget, exactly."""
    terms = BudgetTerms(limit=limit, unit="subject", period=period)
    entries, totals = [], {}
    for loss, time in asked:
        if (spent_in(entries, "x", terms, time, {"0": period}) + loss).fits(limit):
            said = {"budget": "0", "epsilon": decimal_text(loss.epsilon), "delta": decimal_text(loss.delta)}
            entries.append({"name": "x", "time": time, **said})
            when = period_of(time, period)
            totals[when] = totals.get(when, NO_LOSS) + loss
    assert all(total.fits(limit) for total in totals.values())


@given(LOSSES, st.sampled_from([None, "month", "quarter", "year"]))
def test_terms_are_read_back(limit, period):
    """A budget's document says exactly what the budget is."""
    terms = BudgetTerms(limit=limit, unit="subject", period=period)
    assert parse_terms(terms.document()) == terms


@pytest.mark.parametrize("given", [-1, float("nan"), float("inf"), "x", True, None, "1e-30", 10**7])
def test_numbers_that_are_no_loss(given):
    """What is no plain number is refused, with no word of what it was."""
    with pytest.raises(InputError):
        decimal_of(given, "epsilon")


# --- the audit --------------------------------------------------------------------------------------------------------


def test_the_audit_counts_budgets_again(tmp_path):
    """An archive whose figures are within budget verifies; a charge beyond it, written past the rules, is found."""
    path = tmp_path / "a"
    with backstory.init(path, origin=ORIGIN) as archive, archive.prediction(subject="p") as one:
        one.output(1.0)
    grant(path, "press", 1)
    with opened(path) as archive:
        archive.sharing.count("press", epsilon=0.5)
        archive.flush()
        assert not archive.verify(check=False).failed
        (honest,) = archive._ledger.find_entries(SPENT, "press")
        forged = {key: honest[key] for key in ("name", "type", "delta", "noise", "question", "statistic", "budget")}
        archive._ledger.append([{**forged, "epsilon": "0.6"}])
        found = archive.verify(check=False)
    assert [one.what for one in found.findings if one.severity == "failed"] == [
        "figure: with it 1.1 of epsilon are used up, the budget has 1"
    ]


@pytest.mark.parametrize(
    "entry",
    [
        {"type": "sharing.spent", "name": "nobody", "epsilon": "0.1", "delta": "0", "budget": "1"},
        {"type": "sharing.spent", "name": "press", "epsilon": "0.1", "delta": "0", "budget": "2"},
        {"type": "sharing.spent", "name": "press", "epsilon": "1e-1", "delta": "0", "budget": "1"},
        {"type": "sharing.released", "name": "press", "spent": "1", "answer": "0" * 64},
    ],
)
def test_the_audit_finds_charges_without_a_budget(tmp_path, entry):
    """A charge to no budget, to another than the one in force, or an answer without a charge, does not verify."""
    path = tmp_path / "a"
    backstory.init(path, origin=ORIGIN).close()
    grant(path, "press", 1)
    with opened(path) as archive:
        archive._ledger.append([entry])
        assert archive.verify(check=False).failed


def test_records_that_do_not_say_whose_they_are_do_not_count(tmp_path):
    """One person may have all of them, so no bound on a person's rows would hold; those about nobody count."""
    path = tmp_path / "a"
    with backstory.init(path, origin=ORIGIN) as archive:
        model = archive.register(Score(), name="score")
        table = pd.DataFrame({"income": [1.0] * 4})
        archive.predict(model, table, subject=["a", None, None, None])
        archive.predict(model, table.assign(region="north"))
    grant(path, "inside", 100)
    with opened(path) as archive:
        assert archive.sharing.count("inside", epsilon=SURE_SPEND / 2).value == 5
        north = archive.sharing.count("inside", epsilon=SURE_SPEND / 2, where=[("feature.region", "=", "north")])
        assert north.value == 4
