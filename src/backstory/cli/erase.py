"""`backstory erase`: forget a person, for good."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from backstory.cli.answer import print_json, print_text
from backstory.cli.archives import open_acting
from backstory.cli.exit_codes import OK, UNVERIFIED
from backstory.cli.options import ASKING, SEALED_STAY_SEALED, Asking, Opening
from backstory.errors import InputError


def erase(
    *,
    ground: str | None = None,
    request: str | None = None,
    partial: Annotated[bool, Parameter(negative=())] = False,
    certificate: Path | None = None,
    find: Annotated[bool, Parameter(negative=())] = False,
    finish: Annotated[bool, Parameter(negative=())] = False,
    asking: Asking = ASKING,
    opening: Opening = SEALED_STAY_SEALED,
) -> int:
    """Erase a person, for good; the log and all proofs stay. The person's id is read from standard input.

    So it stands in no list of commands. Ends with 21 while something of the person is waited for.

    Args:
        ground: Why: request, consent-withdrawn, objection, unlawful, no-longer-needed, legal-duty or child.
        request: What was asked, such as a case number; the log holds a commitment to it.
        partial: Erase what may be erased where some records must be kept.
        certificate: Where to put the certificate: it proves each record, and is kept nowhere else.
        find: Erase nothing; say where the person is.
        finish: Go on with erasures that were cut short or waited for other processes.
        asking: Which archive.
        opening: Who asks, and what for.
    """
    if finish:
        if find or ground is not None or certificate is not None:
            raise InputError("erase: --finish takes no ground, no certificate and not --find")
        with open_acting(asking, opening, "erase") as archive:
            done = archive.privacy.finish()
        if asking.json:
            print_json([one.to_dict() for one in done])
        else:
            print_text("\n".join(map(str, done)) or "nothing to go on with")
        return OK
    subject = sys.stdin.readline().rstrip("\n")
    if not subject:
        raise InputError("erase: expected the person's id on standard input")
    with open_acting(asking, opening, "erase") as archive:
        if find:
            found = archive.privacy.find(subject)
            if asking.json:
                print_json(found.to_dict())
            else:
                print_text(str(found))
            return OK
        if ground is None:
            raise InputError("erase: expected --ground, such as request")
        erased = archive.privacy.erase(subject, ground=ground, request=request, partial=partial)
    if certificate is not None:
        erased.certificate.save(certificate)
    if asking.json:
        print_json(erased.to_dict())
    else:
        print_text(str(erased))
    return OK if erased.complete else UNVERIFIED
