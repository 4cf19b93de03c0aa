"""`archive.data`: dataset versions, what changed between them, and proofs of what is in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from backstory.archive.inside import Inside
from backstory.capture.model_version import ModelVersion
from backstory.capture.subject import Id, text_of_id
from backstory.errors import InputError
from backstory.frames.fingerprint import Fingerprint, fingerprint
from backstory.frames.reading import reading_of
from backstory.lineage.data_diff import ROWS_SHOWN, DataDiff, diff_data
from backstory.lineage.dataset import list_versions, versions_table
from backstory.lineage.dataset_details import DatasetDetails, show_dataset
from backstory.lineage.overlap import By, Overlap, find_overlap
from backstory.lineage.referenced import PlaceCheck
from backstory.lineage.refs import RowRefs
from backstory.lineage.version_spec import find_either
from backstory.report.membership import MembershipFile, prove_row, prove_subject

if TYPE_CHECKING:
    import pyarrow as pa


class Data:
    """The dataset versions of an archive; made by `Archive.data`."""

    def __init__(self, inside: Inside) -> None:
        """Look into the dataset versions of an archive."""
        self._inside = inside

    def versions(self, name: str | None = None) -> pa.Table:
        """Return the dataset versions of a source, or of all, one a row.

        Args:
            name: The source's name.

        Raises:
            NotFoundError: There is no such source.
        """
        return versions_table(list_versions(self._inside.ledger, name))

    def show(self, version: str) -> DatasetDetails:
        """Return all that is known of a dataset version, without its rows.

        Args:
            version: By the source's name for its latest, by `name:2`, `name@part` or `name:2@part`, or by at least 6
                digits of its digest.

        Returns:
            Its `version` (name, number, part, digest, rows, schema, column digests), `about` (owner, purpose, licence,
            basis, origin, parents, step, contract) and `profile`, which is None where it is sealed and no purpose was
            given. `str()` and notebooks show it, `to_dict()` gives all of it.

        Raises:
            NotFoundError: There is no such version.
            AmbiguousError: Several fit, or it has parts, each of which is a dataset version.
        """
        self._inside.gate.require_open("data show")
        return show_dataset(self._inside.ledger, self._inside.gate, version)

    def diff(
        self,
        before: Any,  # noqa: ANN401  anything with rows
        after: Any,  # noqa: ANN401  anything with rows
        *,
        key: str | Sequence[str] | None = None,
        limit: int = ROWS_SHOWN,
        read: Mapping[str, Any] | None = None,
    ) -> DataDiff:
        """Return which columns and rows changed between two dataset versions, files or frames.

        Columns are compared by their digests. Rows are found by the key that the source has or that is given, and by
        their whole content without one.

        Args:
            before: A dataset version as `show` takes it (all parts of one that has some), the path of a file or
                directory, or a frame.
            after: The same of the other side.
            key: Column or columns that identify a row, instead of the source's own.
            limit: How many rows of each kind to fetch, the first ones; counts are of all.
            read: Options of reading files, as `source` takes them.

        Returns:
            A difference: `columns` and `rows`, each with what was `added`, `removed` and `changed`; `rows.changes` has
            of the first changed rows the cells before and after. `identical` and `reordered` say it in a word.

        Raises:
            ColumnError: A column of the key is missing, or no column has the same name and type in both.
            ForbiddenError: Rows are about people; give an actor and a purpose.
            KeyNotUniqueError: Two rows of a table have the same key.
            NotFoundError: There is no such version or file, or its rows are not here.
            InputError: It is a stream, which cannot be read twice, or the limit is negative.
        """
        self._inside.gate.require_open("data diff")
        inside = self._inside
        return diff_data(inside.ledger, inside.gate, inside.places, before, after, key=key, limit=limit, read=read)

    def fingerprint(self, data: Any, *, read: Mapping[str, Any] | None = None) -> Fingerprint:  # noqa: ANN401
        """Return what identifies the content of anything with rows, reading it once and in constant memory.

        It is the same whatever library, file format, compression, chunking or encoding the rows come in.

        Args:
            data: A frame, a path of a file or directory, a stream of Arrow batches, or a relation of DuckDB.
            read: Options of reading files, as `source` takes them.

        Returns:
            A fingerprint: `digest` for all of it, `rows`, `root` over the rows in their order, `sorted_root` over them
            in any order, and of `columns` the digests.

        Raises:
            ColumnError: No column, a doubled name, or a value without encoding.
            InputError: It has no rows that can be read.
            NotFoundError: There is no such file.
        """
        return fingerprint(data, read=read)

    def prove(
        self, version: str | ModelVersion, *, row: Mapping[str, Any] | None = None, subject: Id | None = None
    ) -> MembershipFile:
        """Return a file that proves to a stranger that a row or a person is in a version, or that it is not.

        It is about a dataset version that was fixed with `provable="rows"` or `provable="subjects"`, or about the
        training set of a model that was registered with `provable="subjects"`. What is asked about stands in it in
        clear. That a person was asked about is in the log, not who.

        Args:
            version: A dataset version, by the source's name for its newest, by `name:2` or `name@part`, or by at least
                6 digits of its digest; or a model version, itself or as `model` takes it.
            row: A value for every column, `None` for a missing one. Rows about people cannot be asked for.
            subject: The person's id, as it is in the data. An archive opened with an actor and a purpose answers this.

        Returns:
            The file: `present` says which way, `save(path)` writes it, `data` are the bytes.
            `backstory.verify_membership` checks it.

        Raises:
            InputError: Not one of row and subject, or the version was not made provable, or its rows are about people.
            ColumnError: The row has other columns, or a value is not of its column's type.
            NotFoundError: There is no such version, or its rows or leaves are not here.
            AmbiguousError: Several versions fit, or it has parts, each of which is a dataset version.
            ForbiddenError: No actor or purpose was given, or the archive is open for reading only.
            VerificationError: The archive's bytes are not those the log committed to.
        """
        self._inside.gate.require_open("data prove")
        if (row is None) is (subject is None):
            raise InputError("prove: expected one of row= and subject=")
        given = version.digest if isinstance(version, ModelVersion) else version
        kind, digest = find_either(self._inside.ledger, given)
        if row is not None:
            if kind != "dataset":
                raise InputError("prove: rows are proven of a dataset version; of a model ask for a person")
            return prove_row(self._inside.ledger, self._inside.tracer, digest, row)
        text = text_of_id(subject, "prove: subject") or ""
        return prove_subject(self._inside.ledger, self._inside.gate, kind, digest, text)

    def overlap(self, a: str | ModelVersion | RowRefs, b: str | ModelVersion | RowRefs, *, by: By = "row") -> Overlap:
        """Return what two sets of rows share, such as the training rows of a model and those it is tried on.

        Args:
            a: A model version, itself or as `model` takes it, for its training rows; `run/role` for rows of a run, such
                as `nightly/test`; or row references, as `split` gives them.
            b: The same.
            by: What makes two rows one: `row`, the same position of the same dataset version; `key`, the same key in
                whatever version of the source; `content`, equal values in all columns.

        Returns:
            What they share: of each of the `sources` how many rows, directly and through groups, and persons, where an
            actor and a purpose were given; the `rows` as an Arrow table; `is_empty`.

        Raises:
            InputError: A model was registered without rows, a run has no such role, a source has no key, or values are
                of types that have nothing in common.
            QueryError: A set is named in no way that is known, or `by` is unknown.
            NotFoundError: There is no such model or run, or rows to compare are not here.
            ForbiddenError: The rows lead to people, and no actor and purpose were given.
        """
        self._inside.gate.require_open("data overlap")
        inside = self._inside
        first, second = (one.digest if isinstance(one, ModelVersion) else one for one in (a, b))
        return find_overlap(inside.ledger, inside.tracer, inside.gate, first, second, by)

    def check(self, spec: str | None = None) -> list[PlaceCheck]:
        """Read rows that are kept by reference again, and say whether they are the ones that were fixed.

        Args:
            spec: A source, or at least 6 digits of a dataset version's digest; None for all.

        Returns:
            For each dataset version its `name`, `dataset`, `rows`, `place` and `state`: `same`, `changed`, `gone`, or
            `unread` where the place could not be asked; `what` says what is wrong.

        Raises:
            NotFoundError: Nothing of that name is kept by reference.
        """
        return self._inside.places.check(spec)

    def locate(self, name: str, data: Any, *, read: Mapping[str, Any] | None = None) -> tuple[str, ...]:  # noqa: ANN401
        """Say where the rows of a source that are kept by reference can be read, in this session.

        Needed for what is not read again by itself: queries, whose connection and parameters are not recorded, tables
        that are not on this machine, and files that were moved.

        Args:
            name: The source.
            data: Where its rows are: whatever `source` reads.
            read: Options of reading, as `source` takes them.

        Returns:
            Digests of the dataset versions whose rows are there.

        Raises:
            InputError: It is a frame, or cannot be read so.
            NotFoundError: There is nothing, or nothing of that name is kept by reference.
            VerificationError: The rows there are of no version that is kept by reference.
        """
        reading = reading_of(data, read)
        if reading is None:
            raise InputError("locate: expected a path, a query or a table that can be read again, got a frame")
        return self._inside.places.locate(name, reading)
