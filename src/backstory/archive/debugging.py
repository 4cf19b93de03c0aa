"""What an archive is asked about behaviour: the part of the front door that runs models again."""

from __future__ import annotations

from functools import cached_property

from backstory.archive.questions import Questions
from backstory.debug.case import Workshop
from backstory.debug.replay import Replay, replay_prediction
from backstory.debug.stages import Stages, run_prediction
from backstory.lineage import registry
from backstory.records import canonical
from backstory.records.canonical import JsonObject


class Debugging(Questions):
    """The questions about behaviour of an open archive; see `Archive`."""

    def replay(self, prediction: str) -> Replay:
        """Run the recorded features through the recorded model again and compare with the recorded output.

        Args:
            prediction: Its id, or a unique prefix.

        Returns:
            A replay: its `verdict` is `exact`, `equivalent`, `same-decision`, `diverged` or `not-replayable`; `reason`
            says why, `recorded` and `replayed` are the outputs, `environment` is what differs about this process.

        Raises:
            NotFoundError: There is no such prediction.
            VerificationError: The record or the model was changed.
        """
        found = self._found(prediction)
        return replay_prediction(self._workshop, found)

    def stages(self, prediction: str) -> Stages:
        """Return what a prediction's features became at each fitted step of its model, up to the output.

        The stored model is loaded and the one row run through it; nothing of this is kept.

        Args:
            prediction: Its id, or a unique prefix.

        Returns:
            The `stages`, each with the `values` of its columns by name, and whether the last is the recorded output:
            `verdict` is `exact`, `equivalent` or `different`.

        Raises:
            NotFoundError: There is no such prediction.
            ForbiddenError: Its values are sealed.
            ModelError: The model has no artifact, the call failed, or the steps cannot be run any more.
            InputError: The features cannot be made again as the model was given them.
            VerificationError: The record or the model was changed.
        """
        return run_prediction(self._ledger, self._gate, self._found(prediction), self._stored_model)

    @cached_property
    def _workshop(self) -> Workshop:
        return Workshop(
            ledger=self._ledger,
            gate=self._gate,
            tracer=self._tracer,
            store=self._inside.store,
            sources=self._inside.sources,
            load=self._stored_model,
        )

    def _stored_model(self, named: JsonObject) -> object:
        """Load a model a context names from its artifact, never from the session."""
        return registry.load_model(
            self._ledger, registry.find_version(self._ledger, canonical.text_of(named, "digest"))
        )
