"""Every error Backstory raises.

    BackstoryError                 root; `.code` is stable, `.details` is JSON-safe
    ├─ InputError                  the caller must change the call
    │  ├─ ColumnError              a column is missing, doubled, reserved, or of a type that has no encoding
    │  ├─ TokenError               row tokens are missing, corrupted, or of another source or archive
    │  ├─ AlignmentError           features and row references are not of the same rows
    │  ├─ PreparationError         a preparation gives other results with row ids than without
    │  ├─ KeyNotUniqueError        a source's key does not identify its rows
    │  ├─ ModelError               a model cannot be registered or used as asked
    │  ├─ InputMutatedError        a model changed its input while predicting
    │  ├─ OutputLengthError        a model returned another number of rows than it was given
    │  ├─ QueryError               a question is malformed
    │  ├─ LimitError               over a stated maximum
    │  └─ UnsupportedVersionError  a format newer than this code
    ├─ NotFoundError               no such archive, record, model, source
    ├─ AmbiguousError              an id prefix fits more than one
    ├─ ConflictError               state moved: archive exists, another writer was first
    ├─ BusyError                   another process holds what is needed
    ├─ ForbiddenError              not allowed: read-only archive, sealed values without a purpose
    ├─ StorageError                bytes could not be read or written: "could not verify"
    ├─ FormatError                 bytes are not of the form docs/format.md gives them
    └─ VerificationError           evidence does not verify; carries `.findings`

Messages say what failed, what was expected, what came, and where. They never hold a value of a record or source.
This module imports nothing.
"""

from __future__ import annotations


class BackstoryError(Exception):
    """Root of all errors of this package.

    Attributes:
        code: Stable, machine-readable name; public API.
        details: JSON-safe facts about this occurrence.
    """

    code = "error"

    def __init__(self, message: str, **details: object) -> None:
        """Keep the message and the facts.

        Args:
            message: What failed: expected, got, where. No personal data.
            details: JSON-safe facts for programs.
        """
        super().__init__(message)
        self.details = details


class InputError(BackstoryError):
    """The caller must change the call."""

    code = "input"


class ColumnError(InputError):
    """A column is missing, doubled, reserved, or of a type that has no encoding."""

    code = "column"


class TokenError(InputError):
    """Row tokens are missing, corrupted, or of another source or archive."""

    code = "token"


class AlignmentError(InputError):
    """Features and row references are not of the same rows in the same order."""

    code = "alignment"


class PreparationError(InputError):
    """A preparation gives other results with row ids than without them."""

    code = "preparation"


class KeyNotUniqueError(InputError):
    """A source's key does not identify its rows."""

    code = "key-not-unique"


class ModelError(InputError):
    """A model cannot be registered or used as asked."""

    code = "model"


class InputMutatedError(InputError):
    """A model changed its input while predicting; the record holds the input as it was before."""

    code = "input-mutated"


class OutputLengthError(InputError):
    """A model returned another number of rows than it was given."""

    code = "output-length"


class QueryError(InputError):
    """A question is malformed."""

    code = "query"


class LimitError(InputError):
    """Something is over a stated maximum."""

    code = "limit"


class UnsupportedVersionError(InputError):
    """A format is newer than this code."""

    code = "unsupported-version"


class NotFoundError(BackstoryError):
    """There is no such archive, record, model or source."""

    code = "not-found"


class AmbiguousError(BackstoryError):
    """An id prefix fits more than one."""

    code = "ambiguous"


class ConflictError(BackstoryError):
    """State moved: the archive exists already, or another writer was first."""

    code = "conflict"


class BusyError(BackstoryError):
    """Another process holds what is needed; trying again may help."""

    code = "busy"


class ForbiddenError(BackstoryError):
    """Not allowed: a read-only archive, or sealed values without a recorded purpose."""

    code = "forbidden"


class StorageError(BackstoryError):
    """Bytes could not be read or written. Nothing is said about whether they would verify."""

    code = "storage"


class FormatError(BackstoryError):
    """Bytes are not of the form docs/format.md gives them."""

    code = "format"


class VerificationError(BackstoryError):
    """Evidence does not verify.

    Attributes:
        findings: Every place that was found, each with `severity`, `place` and `what`; empty where only one thing was
            checked.
    """

    code = "verification"

    def __init__(self, message: str, findings: tuple[object, ...] = (), **details: object) -> None:
        """Keep the findings beside the message.

        Args:
            message: What failed and where.
            findings: Every bad place, as `backstory.verify.Finding`.
            details: JSON-safe facts.
        """
        super().__init__(message, **details)
        self.findings = findings
