"""`archive.runs`: trainings, evaluations and other runs, and the history of model versions."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from backstory.archive.inside import Inside
from backstory.capture.model_version import ModelVersion
from backstory.errors import ConflictError
from backstory.lineage import registry
from backstory.lineage.history import History, model_history
from backstory.lineage.refs import RowRefs
from backstory.lineage.runs import Notes, RecordedRun, find_run, find_runs, metric_text, parameter_text, record_run
from backstory.lineage.split import split


class Runs:
    """The runs of an archive; made by `Archive.runs`."""

    def __init__(self, inside: Inside) -> None:
        """Record and find runs of an archive."""
        self._inside = inside

    def start(self, name: str, parameters: Mapping[str, Any] | None = None) -> Run:
        """Begin a run; it is recorded when it has ended: `with archive.runs.start("nightly training") as run: …`.

        Args:
            name: Names what is done, such as a nightly training; a name as a model's. No personal data: this and all
                that is said of a run, but for rows about people, stands in clear.
            parameters: What it is told: texts, numbers, truth values.

        Raises:
            ForbiddenError: The archive is open for reading only.
            InputError: The name or a parameter cannot be used.
        """
        self._inside.calls.require_writable()
        registry.require_model_name(name)
        run = Run(self._inside, Notes(name=name, began_ns=self._inside.ledger.world.now_ns()))
        run.tell(parameters or {})
        return run

    def find(self, name: str | None = None) -> list[RecordedRun]:
        """Return the runs, or those of a name, oldest first.

        Raises:
            NotFoundError: There is none of that name.
        """
        return find_runs(self._inside.ledger, name)

    def show(self, run: str) -> RecordedRun:
        """Return a run by a prefix of its digest, or the latest of a name.

        Raises:
            NotFoundError: There is none, or several begin so.
        """
        return find_run(self._inside.ledger, run)

    def history(self, model: str) -> History:
        """Return the versions of a model with parents, runs, evaluations, aliases, approvals and deployments.

        Args:
            model: Its name, or one version as `Archive.model` takes it.

        Raises:
            NotFoundError: There is no such model.
        """
        return model_history(self._inside.ledger, model)


class Run:
    """A run that goes on; a context manager. Nothing of it is in the log before it has ended."""

    def __init__(self, inside: Inside, notes: Notes) -> None:
        """Made by `Runs.start`."""
        self._inside = inside
        self._notes = notes
        self.recorded: RecordedRun | None = None

    def tell(self, parameters: Mapping[str, Any]) -> None:
        """Say what the run was told, by any names; see `parameters`.

        Raises:
            InputError: A value is no text, number, truth value or None.
            ConflictError: The run has ended.
        """
        self._insist_open()
        self._notes.parameters |= {name: parameter_text(name, value) for name, value in parameters.items()}

    def parameters(self, /, **parameters: Any) -> None:  # noqa: ANN401  texts, numbers, truth values
        """Say what the run was told; the same name again replaces.

        Raises:
            InputError: A value is no text, number, truth value or None.
            ConflictError: The run has ended.
        """
        self.tell(parameters)

    def metrics(self, /, **metrics: Any) -> None:  # noqa: ANN401  numbers of any library
        """Say what the run measured; the same name again replaces.

        Raises:
            InputError: A value is no number.
            ConflictError: The run has ended.
        """
        self._insist_open()
        self._notes.metrics |= {name: metric_text(name, value) for name, value in metrics.items()}

    def rows(self, **rows: Any) -> None:  # noqa: ANN401  RowRefs or frames with ids
        """Say on which rows the run worked, by role: `run.rows(train=rows[:800], test=rows[800:])`.

        Args:
            rows: Row references from `split`, or frames with ids.

        Raises:
            TokenError: A frame has no ids, or ids that do not check.
            ConflictError: The run has ended.
        """
        self._insist_open()
        for role, given in rows.items():
            is_split = isinstance(given, RowRefs)
            self._notes.inputs[role] = given if is_split else split(self._inside.calls.known(given), given)[1]

    def makes(self, *models: ModelVersion | str) -> None:
        """Say which model versions the run made.

        Raises:
            NotFoundError: There is no such model.
            ConflictError: The run has ended.
        """
        self._add(self._notes.makes, models)

    def uses(self, *models: ModelVersion | str) -> None:
        """Say which model versions the run used, such as the one it evaluated.

        Raises:
            NotFoundError: There is no such model.
            ConflictError: The run has ended.
        """
        self._add(self._notes.uses, models)

    def end(self, error: str | None = None) -> RecordedRun:
        """Record the run now.

        Args:
            error: Class of the error that ended it; None if it ended well.

        Raises:
            ConflictError: It has ended before.
        """
        self._insist_open()
        self.recorded = record_run(self._inside.ledger, self._inside.store, self._notes, error)
        return self.recorded

    def __enter__(self) -> Self:
        """Return the run."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Record the run, with the class of the exception that ended it."""
        if self.recorded is None:
            self.end(None if kind is None else kind.__name__)

    def _add(self, versions: list[registry.Registered], models: tuple[ModelVersion | str, ...]) -> None:
        self._insist_open()
        for model in models:
            found = registry.find_version(self._inside.ledger, model if isinstance(model, str) else model.digest)
            if found not in versions:
                versions.append(found)

    def _insist_open(self) -> None:
        if self.recorded is not None:
            raise ConflictError(f"run: {self._notes.name} has ended and is recorded")
