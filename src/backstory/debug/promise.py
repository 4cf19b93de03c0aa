"""What a model's determinism class lets a replay promise: the same bytes, perhaps the same, or not to be counted on.

Pure but for reading the class. A tolerance is for differences that arithmetic leaves room for. Where the class promises
the same bytes, a difference is no rounding; where it promises none, the same bytes are luck (docs/adr/0021).
"""

from __future__ import annotations

from dataclasses import dataclass

from backstory.debug.case import Case
from backstory.ledger.ledger import Ledger
from backstory.lineage.plain import count_text
from backstory.lineage.registry import determinism_of, find_version
from backstory.records import canonical


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """What can be said of a replay before it is made.

    Attributes:
        class_name: The class; None where it was not recorded, and then nothing is promised either way.
        words: What is promised, in a sentence.
        is_exact: Whether the same bytes are.
        varies: Why other bytes are to be expected, so that the same ones are luck; empty where that is not so.
    """

    class_name: str | None
    words: str
    is_exact: bool = False
    varies: str = ""


def promise_of(ledger: Ledger, case: Case, *, alone: bool, same_environment: bool) -> Promise:
    """Return what is promised of replaying rows of a call.

    Args:
        ledger: The archive.
        case: The call.
        alone: Whether a row is run by itself.
        same_environment: Whether it runs where it was recorded, numerics included.
    """
    model = case.context.get("model")
    version = find_version(ledger, canonical.text_of(model, "digest")) if isinstance(model, dict) else None
    said = None if version is None else determinism_of(ledger, version)
    method = case.context.get("method")
    return promised(
        None if said is None else said.class_of(str(method)),
        "" if said is None else said.reason or said.unprobed,
        rows=case.table.num_rows,
        erased=case.erased,
        alone=alone,
        tiled="tile" in case.context,
        same_environment=same_environment,
    )


def promised(
    class_name: str | None,
    reason: str,
    *,
    rows: int,
    alone: bool,
    tiled: bool,
    same_environment: bool,
    erased: int = 0,
) -> Promise:
    """Return what a class promises.

    Args:
        class_name: The class, or None.
        reason: Why it is of that class, or none is known, where that is known.
        rows: Rows of the recorded call.
        alone: Whether a row is run by itself.
        tiled: Whether the call was made in tiles.
        same_environment: Whether it runs where it was recorded.
        erased: How many rows of the call were erased, and are run with other values.

    >>> promised("batch-exact", "", rows=1000, alone=True, tiled=False, same_environment=True).varies
    'alone; its call had 1,000 rows'
    """
    apart = f"alone; its call had {count_text(rows, 'row')}" if alone and rows > 1 else ""
    if erased and not apart:
        apart = f"{count_text(erased, 'other row')} of its call {'was' if erased == 1 else 'were'} erased"
    if class_name is None:
        why = f"is not known: {reason}" if reason else "was not recorded"
        return Promise(class_name=None, words=f"nothing: its determinism class {why}", varies="")
    if class_name == "run-varying":
        why = f"run-varying: {reason}" if reason else "run-varying: the same call gives other bytes each time"
        return Promise(class_name=class_name, words="nothing: the same call may give other bytes", varies=why)
    if apart and not (class_name == "row-exact" or (class_name == "tile-exact" and tiled)):
        return Promise(class_name=class_name, words=f"nothing: {class_name}, and {apart}", varies=apart)
    if not same_environment:
        return Promise(class_name=class_name, words=f"the same bytes only in the recorded environment ({class_name})")
    return Promise(class_name=class_name, words=f"the same bytes ({class_name})", is_exact=True)
