"""Classes of columns and the rights of people: the namespace `archive.privacy`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backstory.archive.inside import Inside
from backstory.errors import InputError
from backstory.lineage.refs import warn_of_lineage

if TYPE_CHECKING:  # what they need is imported when it is asked for
    from backstory.governance.classification_draft import Draft
    from backstory.governance.erasure import Erasure
    from backstory.governance.erasure_certificates import WaitingCertificate
    from backstory.governance.erasure_find import SubjectRecords
    from backstory.governance.proposal import Proposal
    from backstory.governance.rectification import Correction
    from backstory.records.classification import Confirmed


class Privacy:
    """Classes of columns and the rights of people."""

    def __init__(self, inside: Inside) -> None:
        """Work on an open archive."""
        self._inside = inside

    # --- classes of columns -------------------------------------------------------------------------------------------

    def classify(self, what: Any, *, name: str | None = None, subject: str | None = None) -> Draft:  # noqa: ANN401
        """Draft the sensitivity classes of columns, for a person to go over and `confirm`; nothing is recorded.

        Names of columns, patterns in their values and what the source's contract says suggest them. No value is named.

        Args:
            what: A model version; a source by its name, or a dataset version by its spec; or a frame, a path or
                whatever else `source` takes.
            name: Name of the source, for what is none yet.
            subject: Column that says which person a row is about, for what is no source yet.

        Returns:
            A draft: `columns` have a `name`, a `sensitivity` and `reasons`; `where({"age": "D4"})` changes it.

        Raises:
            ForbiddenError: Rows of a source about people are looked at for an actor with a purpose only.
            InputError: It is none of these, or a frame without a name.
            NotFoundError: There is no such source, or nothing is known of the model's features.
        """
        from backstory.archive.contracts import table_of
        from backstory.capture.model_version import ModelVersion
        from backstory.governance.classification_draft import draft_of_model, draft_of_source, draft_of_table
        from backstory.lineage.data_diff import is_file

        inside = self._inside
        if isinstance(what, ModelVersion):
            return draft_of_model(inside.ledger, what.name, what.document)
        if isinstance(what, str) and not is_file(what):
            return draft_of_source(inside.ledger, inside.gate, inside.tracer, what)
        if name is None:
            raise InputError("classify: expected name=, the name of the source it is to be")
        return draft_of_table(table_of(what), name, subject=subject)

    def confirm(
        self,
        draft: Draft | Mapping[str, Any],
        *,
        model: str | None = None,
        source: str | None = None,
        fields: bool | Sequence[str] = False,
        anonymous: bool = False,
        reason: str | None = None,
        four_eyes: bool = False,
    ) -> Confirmed | Proposal:
        """Put classes in force: records made from here on are sealed class by class, each under keys of its own.

        What is recorded already stays as it is. Functions that were traced and recorders that were opened before go on
        as they began; a spool of workers is told by `spool` again.

        Args:
            draft: A draft, or by column its class or `{"class": "D1", "open": True}`: open columns of D0 to D2 stand
                in clear in records about people too. Columns of a model are `feature.<name>`, `output`, `decision`,
                `outcome`, `attribution`, `flags` and `steps`.
            model: Name of the model, for a mapping.
            source: Name of the source, for a mapping.
            fields: Commit to features and outputs of these classes (True: of all) by field, so that receipts can open
                one without the others. Sealing them takes longer: about three hashes a field.
            anonymous: Rows of the source, which has no subject, are about nobody who can be found, though columns
                are D3 or above; needs a reason.
            reason: Why; needed where a column gets a lower class than it had. Kept as a commitment.
            four_eyes: Propose it, for another person to `approve`. A name that was once approved so
                always needs it, and every name where an access policy is in force.

        Returns:
            What is in force, with its `version`; with four_eyes the proposal, whose `index` `approve` takes.

        Raises:
            ForbiddenError: The archive was opened without an actor, or another person has to approve.
            InputError: A class or a column cannot be, or a reason is missing.
        """
        from backstory.governance import classification as classifying
        from backstory.governance.classification_draft import Draft
        from backstory.governance.proposal import refuse

        named = [(kind, name) for kind, name in (("model", model), ("source", source)) if name is not None]
        if isinstance(draft, Draft):
            named, columns = named or [(draft.kind, draft.name)], draft.classes
        else:
            columns = dict(draft)
        if len(named) != 1:
            raise InputError("confirm: expected model= or source=, the name whose columns these are")
        given = classifying.classification(*named[0], columns, fields=fields, anonymous=anonymous)
        self._inside.calls.require_writable()
        self._inside.gate.require("classify")
        if four_eyes:
            return classifying.propose_classification(self._inside.ledger, given, reason)
        if self._inside.gate.policy is not None:  # classes decide who sees what, of what is there already, too
            action = f"confirming classes of {given.kind} {given.name}"
            refuse(self._inside.ledger, action, "one person", "expected four_eyes=True, as a policy is in force")
        found = classifying.confirm(self._inside.ledger, given, reason)
        self._inside.calls.forget_classes()
        clear = classifying.kept_in_clear(self._inside.ledger, given)
        if clear:
            warn_of_lineage(
                f"source {given.name}: {clear} of its versions stand in clear in the archive, fixed without subject=; "
                "what is confirmed holds for what is fixed from now on"
            )
        return found

    def approve(self, proposal: int, *, reason: str | None = None) -> Confirmed:
        """Approve a classification that another person proposed, and put it in force.

        Args:
            proposal: Its index.
            reason: Why; needed where `confirm` needs one. Kept as a commitment.

        Raises:
            ForbiddenError: Who approves is who proposed, which is recorded, or nobody said who it is.
            NotFoundError: There is no such proposal.
            ConflictError: It is no classification, was rejected, or is in force.
        """
        from backstory.governance.classification import approve_classification

        self._inside.calls.require_writable()
        self._inside.gate.require("approve")
        found = approve_classification(self._inside.ledger, proposal, reason)
        self._inside.calls.forget_classes()
        return found

    def classification(self, *, model: str | None = None, source: str | None = None) -> Confirmed | None:
        """Return the classification in force of a model or a source; None if nobody confirmed one.

        Raises:
            InputError: It is not one of the two that is asked for.
        """
        from backstory.governance.classification import find_classification

        if (model is None) == (source is None):
            raise InputError("classification: expected model= or source=")
        kind, name = ("model", model) if source is None else ("source", source)
        return find_classification(self._inside.ledger, kind, str(name))

    # --- the rights of people -----------------------------------------------------------------------------------------

    def find(self, subject: str) -> SubjectRecords:
        """Return where a person is in the archive: how many records of which kind, in which data, behind which models.

        Args:
            subject: The person's id as text.

        Raises:
            ForbiddenError: No actor and purpose were given, or the role may not see whom records are about.
            StorageError: Something cannot be read.
            VerificationError: Something was changed.
        """
        from backstory.governance.erasure_find import find_person

        return find_person(self._inside.ledger, self._inside.gate, self._inside.recorder, subject)

    def erase(
        self,
        subject: str,
        *,
        ground: str,
        request: str | None = None,
        partial: bool = False,
        certificate: str | Path | None = None,
    ) -> Erasure:
        """Erase a person: sealed values, their salts and keys, rows of datasets, and what was derived from them.

        Records, receipts and the log stay, and say "committed, erased". It cannot be undone. Once it has begun it is
        completed, if need be by whoever opens the archive next.

        Args:
            subject: The person's id as text.
            ground: Why: `request`, `consent-withdrawn`, `objection`, `unlawful`, `no-longer-needed`, `legal-duty` or
                `child`.
            request: What was asked, such as a case number; the log holds a commitment to it.
            partial: Where some records must be kept, erase the others. Rows of datasets about the person then stay as
                long as those records, and nobody erases the rest by themselves once nothing binds it: erase again.
            certificate: File for the certificate, by convention ending in `.erasure`. It is written before the archive
                lets go of it; without a file only the answer has it.

        Returns:
            What was done, what was not, and the certificate.

        Raises:
            BusyError: Another process rewrites the vault; the erasure is completed later. See `hand_over`.
            ConflictError: There is something where the certificate is to be; nothing was erased.
            ForbiddenError: No actor was given or the role may not erase; or something must be kept, which is recorded.
            InputError: The ground is none of these.
            NotFoundError: Nobody was found under this id, and no spool or process is waited for; the log has no entry.
            StorageError: Something could not be written; the erasure is completed later.
        """
        from backstory.governance.erasure import erase

        inside = self._inside
        recorder = inside.recorder
        done = erase(
            inside.ledger, inside.gate, recorder, subject, ground, request, partial=partial, certificate=certificate
        )
        self._forget_tables()
        return done

    def finish(self, *, collected: bool = False) -> list[Erasure]:
        """Go on with erasures that waited for other processes or were cut short; return those that did something.

        Their certificates wait; see `certificates`.

        Args:
            collected: That no worker's spool holds anything any more from before the erasures that wait. Until that is
                said the archive keeps, encrypted, whom it has to look for in what it collects.

        Raises:
            BusyError: Another process is erasing.
            StorageError: Something could not be written; it can be called again.
        """
        from backstory.governance.erasure import finish

        self._inside.recorder.sync()
        done = finish(self._inside.ledger, collected=collected)
        self._forget_tables()
        return done

    def certificates(self) -> list[WaitingCertificate]:
        """Return the certificates that wait to be handed over, oldest first.

        They are of erasures that others completed, or that ended before whoever erased had the certificate.

        Raises:
            ForbiddenError: No actor was given, or the role may not erase.
        """
        from backstory.governance.erasure_certificates import waiting_certificates

        return waiting_certificates(self._inside.ledger, self._inside.gate)

    def hand_over(self, entry: int, path: str | Path, *, overwrite: bool = False) -> Path:
        """Write a certificate that waits to a file, and keep it no longer; that it was read is recorded.

        Args:
            entry: Index of the entry of its erasure.
            path: The file, by convention ending in `.erasure`.
            overwrite: Whether a file that is there gives way.

        Raises:
            ConflictError: There is something at `path`, and it must stay.
            ForbiddenError: No actor was given, or the role may not erase.
            NotFoundError: The entry is of no erasure, or its certificate was handed over.
            StorageError: It cannot be written; the archive keeps it.
        """
        from backstory.governance.erasure_certificates import hand_over

        return hand_over(self._inside.ledger, self._inside.gate, entry, path, overwrite=overwrite)

    def rectify(self, prediction: str, values: Mapping[str, Any], *, reason: str) -> Correction:
        """Say what a prediction should have been made with; the original stays for those who may see it.

        Args:
            prediction: Its id, or a unique prefix.
            values: By feature the value it should have had.
            reason: Why.

        Raises:
            ForbiddenError: No actor was given, or the person may not be read.
            ConflictError: The person was erased.
            InputError: A feature is none of the prediction's, a value is of another type, or nothing was said.
            NotFoundError: There is no such prediction.
        """
        from backstory.governance.rectification import rectify
        from backstory.ledger.read import find_record
        from backstory.records.envelope import PREDICTION

        inside = self._inside
        inside.gate.require("rectify")
        found = find_record(inside.ledger, prediction, PREDICTION)
        return rectify(inside.ledger, inside.gate, inside.recorder, found, values, reason)

    def corrections(self, prediction: str) -> list[Correction]:
        """Return what was said to be right about a prediction, oldest first.

        Raises:
            NotFoundError: There is no such prediction.
        """
        from backstory.governance.rectification import corrections_of
        from backstory.ledger.read import find_record
        from backstory.records.envelope import PREDICTION

        inside = self._inside
        return corrections_of(inside.ledger, inside.gate, find_record(inside.ledger, prediction, PREDICTION).id)

    def _forget_tables(self) -> None:
        """Let go of tables that were decrypted and kept in memory."""
        self._inside.tracer.forget()
        self._inside.places.forget()
