"""Differentially private figures: the namespace `archive.sharing`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypedDict, Unpack

from backstory.archive.inside import Inside
from backstory.errors import InputError

if TYPE_CHECKING:
    from backstory.governance.budget import Budget
    from backstory.governance.sharing import Figure
    from backstory.governance.sharing_question import Statistic
    from backstory.records.privacy_budget import Period, Unit

Where: TypeAlias = "Iterable[tuple[str, str, Any]]"
"""Conditions such as `("feature.income", ">", 40_000)`, all of which a prediction fulfils."""
By: TypeAlias = "Mapping[str, Sequence[Any]]"
"""Names with their keys, such as `{"feature.region": ["north", "south"]}`: a cell for each, empty or not."""
Moment: TypeAlias = "datetime | str | None"
Number: TypeAlias = "float | str"
"""A number; as text it is exact: `"0.1"`."""


class Selection(TypedDict, total=False):
    """Which rows a figure is of, and in which cells. What is not given is not asked for.

    Attributes:
        by: What cells are made by: `model` (as `name:version`), `day`, `month`, `output`, `decision`, `outcome`,
            `feature.<name>`, each with its keys; rows with another key do not count.
        where: Conditions over `output`, `decision`, `outcome` and `feature.<name>`.
        model: Only predictions of this model: all versions of a name, or one as `name:version`.
        since: Only predictions recorded from this moment on, by the writer's clock.
        until: Only predictions recorded before this moment.
        per_person: How many predictions about one person count at most, the latest; 1 if not given. Those about several
            people, or about one who is not named, do not count; those that hold nothing about people count one by one.
        again: Make it anew where the audience asked the same before, and charge for it.
    """

    by: By
    where: Where
    model: str
    since: Moment
    until: Moment
    per_person: int
    again: bool


class Sharing:
    """Figures that can be given away: with noise, under a budget for each audience.

    What is protected is a person: any figure is nearly as likely without all predictions about them. The budget of an
    audience bounds what all its figures tell together; audiences that put theirs together learn the sum.
    """

    def __init__(self, inside: Inside) -> None:
        """Work on an open archive."""
        self._inside = inside

    # --- budgets ------------------------------------------------------------------------------------------------------

    def budget(
        self,
        audience: str,
        *,
        epsilon: Number,
        delta: Number = 0,
        unit: Unit = "subject",
        period: Period | None = None,
    ) -> Budget:
        """Propose what an audience may learn; it holds once another person approves it.

        Args:
            audience: Who is given figures: a name of 1 to 64 letters, digits and `-_.`, which stands in the log.
            epsilon: How much all figures of a period may lose together: they change the odds that a person is in the
                data by at most e to this power. Below 1 is strong, above 10 says little.
            delta: How likely they may lose more; only histograms of values nobody listed use any. Well below one in
                the number of people.
            unit: Whose presence is protected: `subject`, a person with all predictions about them; `record`, for
                archives that are about nobody.
            period: After a `month`, `quarter` or `year` (UTC) a new budget begins, and what may be learnt adds up; None
                if never. Where it is another than before, what was used up counts until either period is over.

        Raises:
            InputError: A name or number cannot be used.
            ForbiddenError: The archive was opened without an actor.
        """
        from backstory.governance.access_policy import PROPOSE
        from backstory.governance.budget import propose_budget

        self._inside.calls.require_writable()
        self._inside.gate.require(PROPOSE)
        proposed = propose_budget(self._inside.ledger, audience, epsilon=epsilon, delta=delta, unit=unit, period=period)
        return next(one for one in self.budgets(audience) if one.proposal == proposed.index)

    def decide(self, proposal: int, verdict: Literal["approved", "rejected"], reason: str | None = None) -> Budget:
        """Approve or reject a budget that another person proposed.

        Args:
            proposal: Index of its entry, as `budgets` lists it.
            verdict: `approved` or `rejected`.
            reason: Why; the log holds a commitment to it.

        Raises:
            NotFoundError: There is no such proposal of a budget.
            InputError: Another budget of the audience was approved meanwhile, of another unit.
            ForbiddenError: It is the person who proposed it; the refusal is recorded.
            ConflictError: It was decided before.
        """
        from backstory.governance.access_policy import APPROVE
        from backstory.governance.budget import decide_budget

        self._inside.calls.require_writable()
        self._inside.gate.require(APPROVE)
        decided = decide_budget(self._inside.ledger, proposal, verdict, reason)
        return next(one for one in self.budgets(decided.name) if one.proposal == proposal)

    def budgets(self, audience: str | None = None) -> list[Budget]:
        """Return budgets as they were proposed, with what is spent and left: all, or those of an audience."""
        from backstory.governance.budget import budgets

        return budgets(self._inside.ledger, audience)

    # --- figures ------------------------------------------------------------------------------------------------------

    def count(self, audience: str, *, epsilon: Number, **rows: Unpack[Selection]) -> Figure:
        """Count predictions; people, where one of each counts.

        Args:
            audience: Who is given the figure.
            epsilon: What it may lose of the audience's budget. Noise is about `per_person / epsilon`.
            **rows: Which rows and cells; see `Selection`.

        Returns:
            The figure: `value`, or `cells` with `keys`, `value` and the interval from `low` to `high` that noise leaves
            in 95 of 100 answers; `noise`, `size` of the log; `table()`.

        Raises:
            ForbiddenError: There is no budget, or not so much of it (recorded); or sealed values may not be read.
            InputError: The question is malformed; or the extra `privacy` is not installed.
            NotFoundError: There is no such model.
        """
        return self._ask(audience, "count", None, epsilon, rows)

    def sum(
        self, audience: str, of: str, *, bounds: tuple[float, float], epsilon: Number, **rows: Unpack[Selection]
    ) -> Figure:
        """Add numbers up. For returned values and errors see `count`.

        Args:
            audience: Who is given the figure.
            of: The column: `output`, `decision`, `outcome` or `feature.<name>`. Rows without a number do not count.
            bounds: Least and largest value; what lies outside counts as the nearer one. Take them from what the column
                means, not from the data. Noise is about the larger of them times `per_person / epsilon`.
            epsilon: What it may lose of the audience's budget.
            **rows: Which rows and cells; see `Selection`.
        """
        return self._ask(audience, "sum", of, epsilon, rows, bounds=bounds)

    def mean(
        self, audience: str, of: str, *, bounds: tuple[float, float], epsilon: Number, **rows: Unpack[Selection]
    ) -> Figure:
        """Return the mean of numbers: half of the loss is for their sum, half for their count. Otherwise as `sum`."""
        return self._ask(audience, "mean", of, epsilon, rows, bounds=bounds)

    def rate(
        self,
        audience: str,
        of: str,
        *,
        value: Any = None,  # noqa: ANN401  any value a column may have
        epsilon: Number,
        **rows: Unpack[Selection],
    ) -> Figure:
        """Return the share of rows that have a value. For returned values and errors see `count`.

        Args:
            audience: Who is given the figure.
            of: The column, as for `sum`.
            value: Which value is counted among the rows that have one; if not given it is true, and only rows that are
                true or false count.
            epsilon: What it may lose of the audience's budget.
            **rows: Which rows and cells; see `Selection`.
        """
        return self._ask(audience, "rate", of, epsilon, rows, value=value)

    def histogram(
        self,
        audience: str,
        of: str,
        *,
        categories: Sequence[Any] | None = None,
        edges: Sequence[float] | None = None,
        epsilon: Number,
        delta: Number = 0,
        **rows: Unpack[Selection],
    ) -> Figure:
        """Count rows by value, all cells for the price of one. For returned values and errors see `count`.

        Args:
            audience: Who is given the figure.
            of: The column, as for `sum`.
            categories: The values; all others are counted together. Without them and edges the answer has the values
                that are there, as far as enough people have them; that needs a delta.
            edges: Where bins of numbers begin; the last one is the end of the last bin, which has it.
            epsilon: What it may lose of the audience's budget.
            delta: How likely it may lose more, where values are found: that one shows which one person alone has.
            **rows: Which rows and cells; see `Selection`.
        """
        return self._ask(audience, "histogram", of, epsilon, rows, delta=delta, categories=categories, edges=edges)

    def quantile(
        self,
        audience: str,
        of: str,
        *,
        share: float = 0.5,
        bounds: tuple[float, float],
        epsilon: Number,
        **rows: Unpack[Selection],
    ) -> Figure:
        """Return the number below which a share of the rows lies, chosen among 1,025 between the bounds.

        Its error, in `noise`, is one of ranks: in 95 of 100 answers the number of rows below it differs by at most so
        many from the share, beside the distance of the candidates. Otherwise as `sum`.
        """
        return self._ask(audience, "quantile", of, epsilon, rows, bounds=bounds, share=share)

    def figures(self, audience: str | None = None) -> list[Figure]:
        """Return the figures that were given out, newest first: all, or those of an audience."""
        from backstory.governance.sharing import figures

        return list(figures(self._inside.ledger, audience))

    def _ask(
        self,
        audience: str,
        statistic: Statistic,
        of: str | None,
        epsilon: Number,
        rows: Selection,
        *,
        delta: Number = 0,
        bounds: tuple[float, float] | None = None,
        share: float | None = None,
        value: Any = None,  # noqa: ANN401
        categories: Sequence[Any] | None = None,
        edges: Sequence[float] | None = None,
    ) -> Figure:
        from backstory.governance.budget import require_terms
        from backstory.governance.sharing import share_figure
        from backstory.governance.sharing_question import Question, conditions_of, keys_of, moment_text, plain_value
        from backstory.records.privacy_budget import Loss, decimal_of

        inside = self._inside
        inside.calls.require_writable()
        unknown = set(rows) - Selection.__optional_keys__
        if unknown:
            raise InputError(
                f"sharing: expected {', '.join(sorted(Selection.__optional_keys__))}, got {min(unknown)!r}"
            )
        question = Question(
            statistic=statistic,
            of=of,
            where=conditions_of(rows.get("where", ())),
            by=keys_of(rows.get("by", {})),
            model=rows.get("model"),
            since=moment_text(rows.get("since")),
            until=moment_text(rows.get("until")),
            rows_each=rows.get("per_person", 1),
            loss=Loss(epsilon=decimal_of(epsilon, "sharing: epsilon"), delta=decimal_of(delta, "sharing: delta")),
            unit=require_terms(inside.ledger, audience).unit,
            bounds=None if bounds is None else (float(bounds[0]), float(bounds[1])),
            share=share,
            value=None if value is None else plain_value(value),
            categories=None if categories is None else tuple(map(plain_value, categories)),
            edges=None if edges is None else tuple(map(float, edges)),
        )
        inside.recorder.write()
        return share_figure(
            inside.ledger, inside.gate, inside.tracer, audience, question, again=rows.get("again", False)
        )
