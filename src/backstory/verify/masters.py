"""Checking master keys: whether those that are here open the key files they are said to wrap."""

from __future__ import annotations

from itertools import islice

from backstory.errors import BackstoryError, ForbiddenError, NotFoundError, VerificationError
from backstory.storage.keys import domain_of_key
from backstory.verify.audit import Audit

_TRIED = 3
"""So many key files of a domain none of which opens are no accident of these files."""
_MEANS_GONE = "kept elsewhere, or destroyed: no sealed value of this domain can be read from here"
_MEANS_CHANGED = "no sealed value of this domain can be read until the master key is put back from a copy"


def closed_domains(audit: Audit) -> set[str]:
    """Return the key domains whose master key opens nothing here; of each it is said why."""
    wrapped: dict[str, list[str]] = {}
    for name in audit.keys.names():
        if audit.keys.is_wrapped(name):
            wrapped.setdefault(domain_of_key(name), []).append(name)
    return {domain for domain, names in wrapped.items() if not _opens(audit, domain, names)}


def _opens(audit: Audit, domain: str, names: list[str]) -> bool:
    """Say whether a master key is here and opens one of a few key files; if not, tell why."""
    place, count = f"master/master-{domain}.json", f"{len(names)} key files of domain {domain} cannot be opened"
    try:
        if audit.keys.masters is not None:
            audit.keys.masters.insist_here(domain)
    except (ForbiddenError, NotFoundError) as error:
        audit.add("unknown", place, f"{error}: {count}", meaning=_MEANS_GONE)
        return False
    except BackstoryError as error:
        audit.add("failed", place, f"{error}: {count}", meaning=_MEANS_CHANGED)
        return False
    problems: list[BackstoryError] = []
    for name in islice(names, _TRIED):
        try:
            audit.keys.get(name)
        except BackstoryError as error:
            problems.append(error)
        else:
            return True
    if len(problems) == 1:
        return True  # of one file it is not known which of the two was changed: it is said of the file
    if all(isinstance(error, VerificationError) for error in problems):
        audit.add("failed", place, f"{count}: {problems[0]}, or the master key was changed", meaning=_MEANS_CHANGED)
        return False
    if all(isinstance(error, NotFoundError) for error in problems):
        audit.add("unknown", place, f"{count}: {problems[0]}", meaning=_MEANS_GONE)
        return False
    return True
