"""Running recorded models again: features in, outputs as they are recorded out.

One interface for every environment: this process (`PresentRunner`), with a process of its own for a pickle somebody
answers for, and the recorded environment made again (`recorded_environment`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, Protocol

import pyarrow as pa

from backstory.debug.case import Case, Workshop, run_model
from backstory.debug.isolated import run_in_own_process
from backstory.errors import BackstoryError, InputError, ModelError, VerificationError
from backstory.lineage.registry import find_version, load_model
from backstory.models.artifact import PICKLE
from backstory.models.environment import environment
from backstory.records import canonical
from backstory.records.canonical import JsonObject

RanIn = Literal["present", "recorded"]
_MODELS_KEPT = 4
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Job:
    """Features for the model of a call.

    Attributes:
        case: The call: it says the model, the method, the container.
        features: What the model is given.
        rows: Whose outputs are wanted.
    """

    case: Case
    features: pa.Table
    rows: Sequence[int]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Ran:
    """What came of a job.

    Attributes:
        output: The outputs of the rows wanted, as they are recorded.
        environment: The document of the environment it ran in.
        seconds: How long the model took, loading it included where it was loaded.
        is_partial: Whether only what a replay needs is installed there.
    """

    output: pa.Array
    environment: JsonObject
    seconds: float
    is_partial: bool = False


class Runner(Protocol):
    """Runs recorded models in some environment."""

    @property
    def ran_in(self) -> RanIn:
        """Which environment that is."""

    def run(self, jobs: Sequence[Job]) -> list[Ran | BackstoryError]:
        """Return what came of each job, or why nothing did.

        Raises:
            VerificationError: A model was changed.
        """


class PresentRunner:
    """Runs models in this process. The latest are kept, so that a model of many calls is loaded once."""

    ran_in: RanIn = "present"

    def __init__(self, shop: Workshop, pickles: Sequence[str] = ()) -> None:
        """Load models from their artifacts, never from the session.

        Args:
            shop: The archive.
            pickles: Digests of artifacts that may be opened by running them, in processes of their own.

        Raises:
            InputError: One is no whole digest.
        """
        if any(not _DIGEST.fullmatch(digest) for digest in pickles):
            raise InputError("replay: expected pickles by their whole SHA-256, 64 hex digits in lower case")
        self._shop = shop
        self._pickles = frozenset(pickles)
        self._model: Callable[[str], object] = lru_cache(_MODELS_KEPT)(self._load)

    def run(self, jobs: Sequence[Job]) -> list[Ran | BackstoryError]:
        """Return what came of each job, or why nothing did; see `Runner`."""
        return [self._run(job) for job in jobs]

    def _run(self, job: Job) -> Ran | BackstoryError:
        clock = self._shop.ledger.world.monotonic_ns
        began = clock()
        try:
            output = self._output(job).take(pa.array(job.rows))
        except VerificationError:
            raise
        except BackstoryError as error:
            return error
        return Ran(output=output, environment=environment(), seconds=(clock() - began) / 1e9)

    def _output(self, job: Job) -> pa.Array:
        digest = model_digest(job.case)
        if self._pickles and self._is_pickle(digest):
            return run_in_own_process(self._shop, job.case, job.features, pickles=self._pickles)
        return run_model(self._model(digest), job.case, job.features)

    def _is_pickle(self, digest: str) -> bool:
        model = self._shop.ledger.document(digest).get("model")
        return isinstance(model, dict) and model.get("format") == PICKLE

    def _load(self, digest: str) -> object:
        return load_model(self._shop.ledger, find_version(self._shop.ledger, digest))


def model_digest(case: Case) -> str:
    """Return the digest of the model version a call was made with.

    Raises:
        ModelError: It names none.
    """
    model = case.context.get("model")
    if not isinstance(model, dict):
        raise ModelError("it names no registered model; only its features and output are recorded")
    return canonical.text_of(model, "digest")
