"""`backstory erase`: forget a person, for good."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from backstory.cli.answer import print_json, print_text
from backstory.cli.archives import open_acting
from backstory.cli.exit_codes import OK, UNVERIFIED
from backstory.cli.options import ASKING, SEALED_STAY_SEALED, Asking, Opening
from backstory.cli.standard_input import read_line
from backstory.errors import ConflictError, InputError
from backstory.records.canonical import JsonValue


def erase(
    *given: Annotated[str, Parameter(show=False)],
    ground: str | None = None,
    request: str | None = None,
    partial: Annotated[bool, Parameter(negative=())] = False,
    certificate: Path | None = None,
    find: Annotated[bool, Parameter(negative=())] = False,
    finish: Annotated[bool, Parameter(negative=())] = False,
    collected: Annotated[bool, Parameter(negative=())] = False,
    certificates: Annotated[bool, Parameter(negative=())] = False,
    entry: int | None = None,
    verifier: Annotated[bool, Parameter(negative=())] = False,
    asking: Asking = ASKING,
    opening: Opening = SEALED_STAY_SEALED,
) -> int:
    """Erase a person, for good; the log and all proofs stay. The person's id is read from standard input.

    So it stands in no list of commands. Ends with 21 while something of the person is waited for.

    Args:
        given: Nothing is taken here: it would be the person.
        ground: Why: request, consent-withdrawn, objection, unlawful, no-longer-needed, legal-duty or child.
        request: What was asked, such as a case number; the log holds a commitment to it.
        partial: Where some records must be kept, erase the others; rows of datasets stay as long as those.
        certificate: Where to put the certificate: it proves each record, and is kept nowhere else.
        find: Erase nothing; say where the person is.
        finish: Go on with erasures that were cut short or waited for other processes.
        collected: With --finish, say that workers' spools hold nothing any more from before what waits.
        certificates: List the certificates that wait: of erasures that nobody was there to see completed.
        entry: With --certificate, put the one there that waits for the erasure of this entry.
        verifier: With --certificate, put the programs beside it that check it without Backstory.
        asking: Which archive.
        opening: Who asks, and what for.
    """
    if given:
        raise InputError(
            "erase: the person's id is read from standard input, so that no list of commands and no history has it: "
            "leave it out, and type it when the command waits, or pipe it in from a file"
        )
    acts = {"--ground": ground is not None, "--find": find, "--finish": finish, "--certificates": certificates}
    _require_sense({**acts, "--entry": entry is not None}, certificate, collected=collected)
    programs = _programs(certificate) if verifier else {}
    subject = read_line("erase", "the person's id") if ground is not None or find else ""
    with open_acting(asking, opening, "erase") as archive:
        privacy = archive.privacy
        if ground is not None:
            erased = privacy.erase(subject, ground=ground, request=request, partial=partial, certificate=certificate)
            _write(programs)
            _print(erased.to_dict(), str(erased), asking)
            return OK if erased.complete else UNVERIFIED
        if find:
            found = privacy.find(subject)
            _print(found.to_dict(), str(found), asking)
        elif finish:
            done = privacy.finish(collected=collected)
            _print([one.to_dict() for one in done], "\n".join(map(str, done)) or "nothing to go on with", asking)
        elif certificates:
            waiting = privacy.certificates()
            _print([one.to_dict() for one in waiting], "\n".join(map(str, waiting)) or "no certificate waits", asking)
        elif entry is not None and certificate is not None:
            path = str(privacy.hand_over(entry, certificate))
            _write(programs)
            _print({"certificate": path, "entry": entry}, f"certificate of entry {entry}: {path}", asking)
    return OK


def _require_sense(acts: Mapping[str, bool], certificate: Path | None, *, collected: bool) -> None:
    """Insist that one thing is asked for, with what belongs to it."""
    if sum(acts.values()) != 1:
        raise InputError(f"erase: expected one of {', '.join(acts)}; to erase a person, --ground, such as request")
    if certificate is not None and not (acts["--ground"] or acts["--entry"]):
        raise InputError("erase: --certificate is for --ground and --entry")
    if certificate is None and acts["--entry"]:
        raise InputError("erase: expected --certificate, the file for the certificate of that entry")
    if collected and not acts["--finish"]:
        raise InputError("erase: --collected is for --finish")


def _programs(certificate: Path | None) -> dict[Path, bytes]:
    """Return what checks a certificate without Backstory, by where it is to be.

    Raises:
        ConflictError: There is something else; nothing was erased yet.
        InputError: There is no certificate to check.
    """
    from backstory.verify.standalone import erasure_checker, verifier_files

    if certificate is None:
        raise InputError("erase: --verifier puts programs beside the file of --certificate")
    programs = {
        certificate.parent / "check_erasure.py": erasure_checker(),
        certificate.parent / "verify_receipt.py": verifier_files()["verify_receipt.py"],
    }
    for file, content in programs.items():
        if file.exists() and file.read_bytes() != content:
            raise ConflictError(f"erase: expected nothing at {file}; --certificate names a file in another directory")
    return programs


def _write(programs: Mapping[Path, bytes]) -> None:
    for file, content in programs.items():
        file.write_bytes(content)


def _print(document: JsonValue, text: str, asking: Asking) -> None:
    if asking.json:
        print_json(document)
    else:
        print_text(text)
