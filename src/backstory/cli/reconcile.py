"""`backstory reconcile`: is everything recorded that somebody else counted?"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

from backstory.cli.answer import print_json, print_text
from backstory.cli.archives import open_archive
from backstory.cli.exit_codes import FAILED, OK
from backstory.cli.options import ASKING, SEALED_STAY_SEALED, Asking, Opening
from backstory.cli.progress import progress
from backstory.errors import NotFoundError, QueryError, StorageError

COLUMN = "request_id"


def reconcile(
    *,
    count: int | None = None,
    csv: Path | None = None,
    column: str = COLUMN,
    model: str | None = None,
    since: str | None = None,
    until: str | None = None,
    asking: Asking = ASKING,
    opening: Opening = SEALED_STAY_SEALED,
) -> int:
    """Compare the recorded predictions with an outside count, such as a gateway's.

    Args:
        count: How many predictions were counted outside.
        csv: File with the ids of the requests that were counted outside, instead.
        column: Its column with the ids.
        model: Only predictions of a model, by name, name:version or name@alias.
        since: Only those recorded at or after a moment, as RFC 3339.
        until: Only those recorded before a moment.
        asking: Which archive.
        opening: Who asks, where an access policy is in force.
    """
    with progress("reconciling"), open_archive(asking, opening) as archive:
        found = archive.reconcile(
            count=count,
            requests=None if csv is None else _requests(csv, column),
            model=model,
            since=since,
            until=until,
        )
    if asking.json:
        print_json(found.to_dict())
    else:
        print_text(str(found))
    return OK if found.difference == 0 else FAILED


def _requests(path: Path, column: str) -> Iterator[str]:
    """Yield the request ids of a CSV file; empty cells are none."""
    if not path.is_file():
        raise NotFoundError(f"reconcile: no file {path}")
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file)
            if column not in (rows.fieldnames or ()):
                raise QueryError(f"reconcile: expected a column {column!r} in {path.name}; --column names another")
            yield from (row[column] for row in rows if row[column])
    except (UnicodeDecodeError, csv.Error) as error:
        raise QueryError(f"reconcile: {path.name} is not CSV in UTF-8") from error
    except OSError as error:
        raise StorageError(f"reconcile: {path.name} cannot be read: {error.strerror}") from error
