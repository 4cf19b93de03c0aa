"""Trees of persons: what a person's leaf is made of, and what a document says of its tree.

The leaf of a person is the first half of what a verifiable random function gives for a text that names the person and
the tree. Who knows a leaf learns nothing about whose it is, and there is one for each person only. Bytes:
docs/format.md section 25.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Final

from backstory.errors import FormatError
from backstory.records import canonical
from backstory.records.canonical import JsonObject
from backstory.records.identity import check_digest

TAG_SIZE: Final = 32
"""Bytes of a person's leaf."""

SUBJECTS: Final = "subjects"
SHOWN_TYPE: Final = "membership.shown"

_DOMAIN: Final = b"backstory/subject/v1\x00"
_OUTSIDE: Final = frozenset({"root", SUBJECTS})


@dataclass(frozen=True, slots=True, kw_only=True)
class SubjectTree:
    """What a document says of its tree of persons.

    Attributes:
        count: How many persons.
        key: Public key of the function that gives their leaves, in hex.
        root: Root of the tree, in hex.
    """

    count: int
    key: str
    root: str

    def document(self) -> JsonObject:
        """Return it as JSON."""
        return {"count": str(self.count), "key": self.key, "root": self.root}


def tree_of(document: JsonObject) -> SubjectTree | None:
    """Return what a dataset version or a model's training says of its tree of persons; None if it has none.

    Raises:
        FormatError: It is malformed.
    """
    value = document.get(SUBJECTS)
    if value is None:
        return None
    if not isinstance(value, dict) or set(value) != {"count", "key", "root"}:
        raise FormatError("subjects: expected exactly count, key and root")
    return SubjectTree(
        count=canonical.count_of(value, "count"),
        key=check_digest(value["key"], "key of the subjects"),
        root=check_digest(value["root"], "root of the subjects"),
    )


def tree_context(document: JsonObject) -> bytes:
    """Return what tells the tree of a dataset version or of a model's training from all others, 32 bytes.

    Args:
        document: The object in which the tree's member stands, with it or without.
    """
    content = {name: value for name, value in document.items() if name not in _OUTSIDE}
    return hashlib.sha256(canonical.encode(content)).digest()


def subject_message(context: bytes, subject: str) -> bytes:
    """Return what the function is asked for a person.

    Args:
        context: Of the tree, from `tree_context`.
        subject: The person's id as text.

    Raises:
        FormatError: The id is no Unicode text.
    """
    try:
        return _DOMAIN + context + subject.encode()
    except UnicodeEncodeError as error:
        raise FormatError("subject: expected Unicode text, got a lone surrogate") from error
