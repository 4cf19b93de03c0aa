"""Recording without an archive: into a worker's spool, which somebody else seals."""

from __future__ import annotations

import functools
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, ParamSpec, Self, TypeVar

from backstory.capture.observation import Observation
from backstory.capture.policy import BUFFER_SIZE, Durability, OnFailure, OnFull, Policy
from backstory.capture.prediction import Call, Capture
from backstory.capture.promise import PromiseFile
from backstory.capture.recorder import Recorder, RecorderStatus
from backstory.capture.single import SingleCapture
from backstory.capture.steps import Keep, Sampling
from backstory.capture.subject import Id
from backstory.capture.traced import traced
from backstory.errors import ConflictError, NotFoundError
from backstory.models.code_version import code_version
from backstory.models.environment import environment
from backstory.records import canonical
from backstory.records.canonical import JsonObject
from backstory.records.classification import NO_CLASSES, Classes, parse_confirmed
from backstory.records.identity import id_text_of
from backstory.storage.worker_spool import read_worker_spool, worker_stores
from backstory.storage.world import World

P = ParamSpec("P")
T = TypeVar("T")
_SIGNALLED = 128


class WorkerRecorder:
    """Records predictions into a worker's spool; a context manager. Threads may share it.

    Made by `backstory.recorder`.
    """

    def __init__(self, root: Path, model: str | None, policy: Policy, world: World) -> None:
        """See `backstory.recorder`."""
        info = read_worker_spool(root)
        if model is not None and model not in info.models:
            known = ", ".join(sorted(info.models)) or "none"
            raise NotFoundError(f"recorder: expected one of the models the spool names ({known}), got {model!r}")
        spool, self._blobs = worker_stores(root, info, world)
        self._model = None if model is None else info.models[model]
        classes = None if model is None else info.classes.get(model)
        self._classes = NO_CLASSES if classes is None else Classes(parse_confirmed(classes))
        self._world = world
        self._recorder = Recorder(spool, self._blobs, world, policy)
        self._capture = Capture(self._recorder, self._blobs, _refuse_to_seal, _refuse_to_promise)
        self._single = SingleCapture(
            self._capture, self._recorder, functools.partial(self._site, "record", by_hand=True)
        )
        self._observed = SingleCapture(
            self._capture, self._recorder, functools.partial(self._site, "prediction", by_hand=True)
        )

    def record(
        self,
        features: Mapping[str, Any],
        output: Any = None,  # noqa: ANN401  a plain value or a dict of them
        *,
        error: str | None = None,
        request_id: Id | None = None,
        subject: Id | None = None,
    ) -> str | None:
        """Record one prediction that was made; costs the caller microseconds.

        Args:
            features: Its features by name; a pandas Series has names too.
            output: What the model returned: one value, or values by name.
            error: Class name of the exception where it failed instead.
            request_id: The caller's id of the request.
            subject: Whom it is about; its values are then sealed.

        Returns:
            Its id; None if it could not be recorded and the policy lets predictions go out all the same.

        Raises:
            InputError: A value has no form in which it can be recorded.
            StorageError: It could not be recorded.
            BusyError: Predictions come faster than they can be written, and the policy refuses them.
        """
        number = self._single.record(features, output, error, request_id, subject)  # type: ignore[arg-type]
        return None if number is None else id_text_of(number)

    def prediction(
        self,
        *,
        subject: Id | None = None,
        request_id: Id | None = None,
        keep: Keep = "full",
        rate: float = 1.0,
        keep_if: Callable[[Any], bool] | None = None,
    ) -> Observation:
        """Begin a prediction whose parts come one by one; see `Archive.prediction`."""
        return Observation(
            self._capture,
            self._observed,
            self._world.random_bytes,
            request_id=request_id,
            subject=subject,
            sampling=Sampling(keep=keep, rate=rate, rule=keep_if),
        )

    def traced(self, function: Callable[P, T], /, *, subject: str | None = None) -> Callable[P, T]:
        """Return a function that records each of its calls; see `Archive.traced`."""
        return traced(function, self._capture, self._recorder, self._site, subject)

    def status(self) -> RecorderStatus:
        """Return what was recorded and what waits."""
        return self._recorder.status()

    def sync(self) -> None:
        """Return when everything recorded so far is on disk.

        Raises:
            StorageError: It could not be written.
        """
        self._recorder.sync()

    def close_on_sigterm(self) -> None:
        """Let SIGTERM end the process in order: everything recorded is written before it goes.

        For scripts whose process nobody else manages; call it in the main thread. Servers such as gunicorn and uvicorn
        end in order by themselves.
        """

        def end(number: int, _frame: FrameType | None) -> None:
            sys.exit(_SIGNALLED + number)  # unwinds the main thread; what runs at exit closes every recorder

        signal.signal(signal.SIGTERM, end)

    def close(self) -> None:
        """Make everything durable and give up the streams.

        Raises:
            StorageError: Something could not be written.
        """
        self._recorder.close()

    def __enter__(self) -> Self:
        """Return the recorder."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the recorder."""
        self.close()

    def _site(self, method: str, code: JsonObject | None = None, *, by_hand: bool = False) -> Call:
        return Call(
            model=self._model,
            method=method,
            features=None,
            code={**self._code, **(code or {})},
            environment=lambda: self._environment,
            by_hand=by_hand,
            classes=self._classes,
        )

    @functools.cached_property
    def _code(self) -> JsonObject:
        return code_version()

    @functools.cached_property
    def _environment(self) -> str:
        return self._blobs.put(canonical.encode(environment()))


def recorder(
    spool: str | Path,
    *,
    model: str | None = None,
    durability: Durability = "group",
    on_full: OnFull = "block",
    on_failure: OnFailure = "closed",
    spill: str | None = None,
    buffer_size: int = BUFFER_SIZE,
    world: World | None = None,
) -> WorkerRecorder:
    """Record predictions into a spool that an archive made with `archive.spool(path, models=[…])`.

    The process needs no signing key and cannot read the vault. Somebody else seals: `backstory seal --spool DIR`.

    Args:
        spool: The spool's directory.
        model: The model version, by one of the names the spool knows; None for predictions of no registered model.
        durability: See `backstory.open`.
        on_full: See `backstory.open`.
        on_failure: See `backstory.open`.
        spill: See `backstory.open`.
        buffer_size: Bytes of single records one kind of record may hold in memory until they are written.
        world: Clock, randomness and disk; for tests.

    Raises:
        NotFoundError: There is no spool, or it does not know the model.
        InputError: The policy is none.
    """
    policy = Policy(durability=durability, on_full=on_full, on_failure=on_failure, spill=spill, buffer_size=buffer_size)
    return WorkerRecorder(Path(spool), model, policy, world or World())


def _refuse_to_seal() -> None:
    raise ConflictError("recorder: a worker cannot seal; wait for 'durable', and let `backstory seal --spool` seal")


def _refuse_to_promise(_id: str) -> PromiseFile:
    raise ConflictError("recorder: a worker holds no key of the archive and cannot promise anything in its name")
