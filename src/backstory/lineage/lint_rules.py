"""What `backstory lint` warns of: each rule with its reason and what to write instead."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One thing to warn of.

    Attributes:
        why: What goes wrong.
        instead: What to write instead.
    """

    why: str
    instead: str


RULES = {
    "all-columns": Rule(
        why="id columns are among all columns: they are null where nothing matched, and make every row distinct",
        instead="name the columns (subset=…, or a dict for fillna); for duplicates use archive.distinct(frame, …)",
    ),
    "fitted-before-split": Rule(
        why="it has seen the rows the model is tried on, so the figures come out better than they are",
        instead="split first, and fit on the training rows alone, or put it into a Pipeline",
    ),
    "global-fill": Rule(
        why="the value comes from all rows, test rows too, and no id says so",
        instead="compute it from training rows alone: SimpleImputer in a Pipeline, or archive.group and a merge",
    ),
    "group-outside": Rule(
        why="the result has no row ids: nothing says any more which rows went into it",
        instead='archive.group(frame, by, name="…", output=("column", "mean"))',
    ),
    "ids-in-array": Rule(
        why="the row ids become features, and the rows lose them",
        instead="features, rows = archive.split(frame, […]), and convert the features",
    ),
    "ids-lost": Rule(
        why="the id columns are not among the columns chosen",
        instead="keep all columns and name the features in archive.split(frame, […]), or drop the others by name",
    ),
    "looks-around": Rule(
        why="each row gets values of other rows, which its ids do not name",
        instead="archive.window(frame, …), or archive.group(frame, …) and a merge; archive.audit tells what is reached",
    ),
    "open-columns": Rule(
        why="which columns come out depends on the values of all rows, so one row scored alone gets others",
        instead="name the columns (columns=…), or use OneHotEncoder in a Pipeline",
    ),
    "rows-left-behind": Rule(
        why="the row references stay in the old order, and are refused or say nothing of the parts",
        instead="split them too: train_test_split(X, y, rows, …) gives rows_train and rows_test",
    ),
    "sorted-alone": Rule(
        why="one column in another order than the rest puts values on the wrong rows, and every id still checks",
        instead="sort the frame: frame.sort_values(…)",
    ),
    "target-in-features": Rule(
        why="the model is given what it is to predict",
        instead="leave the target out of the features",
    ),
}
"""The rules by name."""


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Finding:
    """One warning.

    Attributes:
        line: Line of the script, from 1.
        column: Column, from 1.
        rule: Name of the rule.
        what: What stands there.
    """

    line: int
    column: int
    rule: str
    what: str

    @property
    def why(self) -> str:
        """What goes wrong."""
        return RULES[self.rule].why

    @property
    def instead(self) -> str:
        """What to write instead."""
        return RULES[self.rule].instead

    def to_dict(self) -> dict[str, Any]:
        """Return the warning as values JSON has."""
        found = {name: getattr(self, name) for name in ("column", "line", "rule", "what")}
        return found | {"instead": self.instead, "why": self.why}


def finding_at(node: ast.expr | ast.stmt, rule: str, what: str) -> Finding:
    """Return a warning of the place where a node begins."""
    return Finding(line=node.lineno, column=node.col_offset + 1, rule=rule, what=what)
