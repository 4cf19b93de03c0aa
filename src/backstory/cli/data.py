"""`backstory data`: dataset versions, what is known of one, what changed between two, fingerprints, proofs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from backstory.cli.answer import print_json, print_page, print_text
from backstory.cli.archives import open_archive, open_ledger
from backstory.cli.data_check import check
from backstory.cli.data_overlap import overlap
from backstory.cli.data_prove import prove
from backstory.cli.exit_codes import OK
from backstory.cli.options import ASKING, SEALED_STAY_SEALED, Asking, Opening
from backstory.cli.progress import progress
from backstory.errors import InputError

Action = Literal["list", "show", "diff", "fingerprint", "check", "overlap", "prove"]

_NAMES: dict[Action, tuple[int, int]] = {
    "list": (0, 1),
    "show": (1, 1),
    "diff": (2, 2),
    "fingerprint": (1, 1),
    "check": (0, 1),
    "overlap": (2, 2),
    "prove": (1, 1),
}
"""How many names each action takes."""


def data(
    action: Action,
    /,
    *what: str,
    key: Annotated[list[str] | None, Parameter(negative=())] = None,
    limit: int = 10,
    by: Literal["row", "key", "content"] = "row",
    disjoint: Annotated[bool, Parameter(negative=())] = False,
    subject: str | None = None,
    row: str | None = None,
    output: Annotated[Path | None, Parameter(name=("--output", "-o"))] = None,
    verifier: Annotated[bool, Parameter(negative=())] = False,
    asking: Asking = ASKING,
    opening: Opening = SEALED_STAY_SEALED,
) -> int:
    """List dataset versions, show one, compare two, fingerprint a file, or prove what is in one.

    list [SOURCE]      print the dataset versions, all or of a source

    show VERSION       print what is known of one: schema, roots, profile, owner, origin, contract

    diff BEFORE AFTER  print which columns and rows changed between two versions or files

    fingerprint FILE   print what identifies a file's content, in any format; needs no archive

    check [SOURCE]     read rows that are kept by reference again, and print whether they are the same

    overlap A B        print which rows and persons two sets share: a model stands for its training rows, RUN/ROLE for
                       rows of a run, such as nightly/test

    prove VERSION      write the file that proves that --subject or --row is in a version, or is not; of a person
                       VERSION may be a model, for its training set

    A version is named `flights`, `flights:2`, `flights@june`, `flights:2@june`, or by 6 digits of its digest.

    Args:
        action: What to do.
        what: Which source, version or file; for overlap which models or rows of runs.
        key: For diff: column that identifies a row, instead of the source's own; may be repeated.
        limit: For diff: how many rows of each kind to list.
        by: For overlap: what makes two rows one: the same row, its key, or equal values in whatever version.
        disjoint: For overlap: fail if they share anything.
        subject: For prove: id of the person to ask about; needs --actor and --purpose.
        row: For prove: the row to ask about, a JSON object with a value for every column.
        output: For prove: file to write. [default: the version's name with .membership, in the current directory]
        verifier: For prove: write beside it, too, the programs that check it without Backstory.
        asking: Which archive.
        opening: Who asks.
    """
    least, most = _NAMES[action]
    if not least <= len(what) <= most:
        raise InputError(f"data {action}: expected {_counts(least, most)}, got {len(what)}; see `data --help`")
    if action == "list":
        return _list(what[0] if what else None, asking)
    if action == "show":
        return _show(what[0], asking, opening)
    if action == "diff":
        return _diff(what[0], what[1], key, limit, asking, opening)
    if action == "check":
        return check(what[0] if what else None, asking, opening)
    if action == "overlap":
        return overlap(what[0], what[1], by, asking, opening, disjoint=disjoint)
    if action == "prove":
        return prove(what[0], subject, row, output, asking, opening, verifier=verifier)
    return _fingerprint(Path(what[0]), asking)


def _counts(least: int, most: int) -> str:
    number = f"{most}" if least == most else f"{least} or {most}"
    return f"{number} name{'' if most == 1 else 's'}"


def _list(name: str | None, asking: Asking) -> int:
    from backstory.lineage.data_page import versions_page
    from backstory.lineage.dataset import list_versions, versions_table

    with open_ledger(asking) as ledger:
        found = list_versions(ledger, name)
    if asking.json:
        print_json({"versions": versions_table(found).to_pylist()})
    else:
        print_page(versions_page(found))
    return OK


def _show(spec: str, asking: Asking, opening: Opening) -> int:
    with open_archive(asking, opening) as archive:
        details = archive.data.show(spec)
    if asking.json:
        print_json(details.to_dict())
    else:
        from backstory.lineage.data_page import dataset_page

        print_page(dataset_page(details.version, details.profile))
    return OK


def _diff(before: str, after: str, key: list[str] | None, limit: int, asking: Asking, opening: Opening) -> int:
    with progress("comparing"), open_archive(asking, opening) as archive:
        answer = archive.data.diff(before, after, key=key, limit=limit)
    if asking.json:
        print_json(answer.to_dict())
    else:
        from backstory.lineage.data_page import diff_page

        print_page(diff_page(answer, limit))
    return OK


def _fingerprint(path: Path, asking: Asking) -> int:
    from backstory.frames.fingerprint import fingerprint

    with progress("hashing"):
        found = fingerprint(path)
    if asking.json:
        print_json(
            {
                "digest": found.digest,
                "rows": found.rows,
                "root": found.root,
                "sorted_root": found.sorted_root,
                "columns": found.columns,
            }
        )
    else:
        print_text(
            f"{found.digest}\nrows         {found.rows:,}\ncolumns      {len(found.columns):,}\n"
            f"root         {found.root}\nsorted root  {found.sorted_root}"
        )
    return OK
