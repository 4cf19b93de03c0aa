"""`backstory classify`: which sensitivity class columns have: a draft, and what a person confirms."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from backstory.cli.answer import print_json, print_page, print_text
from backstory.cli.archives import open_archive, require_named
from backstory.cli.exit_codes import OK
from backstory.cli.options import ASKING, SEALED_STAY_SEALED, Asking, Opening
from backstory.errors import InputError

if TYPE_CHECKING:
    from backstory.archive import Archive
    from backstory.governance.classification_draft import Draft
    from backstory.governance.proposal import Proposal
    from backstory.records.classification import Confirmed

_OPEN = ",open"


def classify(
    what: str | None = None,
    /,
    *,
    model: Annotated[str | None, Parameter(help="A model instead: name, name@alias, name:version or digest.")] = None,
    name: str | None = None,
    subject: str | None = None,
    set_: Annotated[list[str] | None, Parameter(name="--set", negative=())] = None,
    confirm: Annotated[bool, Parameter(negative=())] = False,
    fields: Annotated[bool, Parameter(negative=())] = False,
    anonymous: Annotated[bool, Parameter(negative=())] = False,
    four_eyes: Annotated[bool, Parameter(negative=())] = False,
    approve: int | None = None,
    reason: str | None = None,
    asking: Asking = ASKING,
    opening: Opening = SEALED_STAY_SEALED,
) -> int:
    """Draft the sensitivity classes of columns, D0 to D6, and confirm them. No value of any row is printed.

    A draft suggests, from names, values and the contract, and has no effect. Confirmed, it decides from then on under
    which commitment and keys each column of records is sealed.

    Args:
        what: A source, a dataset version such as `loans:2`, or a file (or directory) of data.
        model: A model instead: name, name@alias, name:version or digest.
        name: Name of the source that a file is to be. [default: as the file]
        subject: Column of a file that says which person a row is about.
        set_: What a person knows better: `COLUMN=CLASS`, or `COLUMN=CLASS,open` for a column of D0 to D2 that may stand
            in clear in records about people; may be repeated.
        confirm: Put it in force; needs --actor and --purpose.
        fields: Commit by field, so that receipts can open one column without the others.
        anonymous: Rows of a source without a subject are about nobody who can be found; needs --reason.
        four_eyes: Propose it, for another person to approve.
        approve: Index of a proposal: approve it, as another person than the one who proposed it.
        reason: Why; needed where a column gets a lower class than it had. Kept as a commitment.
        asking: Which archive.
        opening: Who asks.
    """
    if approve is not None:
        with open_archive(asking, opening, writes=True) as archive:
            _tell(archive.privacy.approve(approve, reason=reason), as_json=asking.json)
        return OK
    if (what is None) == (model is None):
        raise InputError("classify: expected a source, a file of data, or --model")
    if not confirm and what is not None and _is_file(what):
        _show(_draft_of_file(what, name, subject).where(_classes(set_)), as_json=asking.json)
        return OK
    require_named(asking)
    with open_archive(asking, opening, writes=confirm) as archive:
        draft = _draft(archive, what, model, name, subject).where(_classes(set_))
        if confirm:
            found = archive.privacy.confirm(
                draft, fields=fields, anonymous=anonymous, four_eyes=four_eyes, reason=reason
            )
            _tell(found, as_json=asking.json)
        else:
            _show(draft, as_json=asking.json)
    return OK


def _draft(archive: Archive, what: str | None, model: str | None, name: str | None, subject: str | None) -> Draft:
    if what is None:
        return archive.privacy.classify(archive.model(str(model)))
    return _draft_of_file(what, name, subject) if _is_file(what) else archive.privacy.classify(what)


def _draft_of_file(what: str, name: str | None, subject: str | None) -> Draft:
    from pathlib import Path

    from backstory.archive.contracts import table_of
    from backstory.frames.table import require_columns
    from backstory.governance.classification_draft import draft_of_table

    table = table_of(what)
    require_columns(table.column_names, [] if subject is None else [subject], what)
    return draft_of_table(table, name or Path(what).name.partition(".")[0], subject=subject)


def _is_file(what: str) -> bool:
    from backstory.lineage.data_diff import is_file

    return is_file(what)


def _classes(given: list[str] | None) -> dict[str, Any]:
    """Return what --set says, by column."""
    classes: dict[str, Any] = {}
    for text in given or ():
        column, separator, said = text.rpartition("=")
        if not separator or not column:
            raise InputError("classify: expected --set COLUMN=CLASS or COLUMN=CLASS,open")
        classes[column] = {"class": said.removesuffix(_OPEN), "open": said.endswith(_OPEN)}
    return classes


def _show(draft: Draft, *, as_json: bool) -> None:
    if as_json:
        print_json(draft.to_dict())
    else:
        print_page(draft._page())  # noqa: SLF001  an answer's page is printed by commands


def _tell(found: Confirmed | Proposal, *, as_json: bool) -> None:
    from backstory.governance.proposal import Proposal

    if isinstance(found, Proposal):
        said: dict[str, Any] = {"document": found.digest, "name": found.name, "proposal": str(found.index)}
        text = f"proposed as entry {found.index}: another person approves it with --approve {found.index}"
    else:
        said = found.named()
        text = f"in force for {said['kind']} {said['name']}: version {said['version']}, digest {said['document']}"
    if as_json:
        print_json(said)
    else:
        print_text(text)
