"""What an archive is asked: the half of the front door that changes nothing."""

from __future__ import annotations

import dataclasses
import importlib.util
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from backstory.archive.following import with_followed
from backstory.archive.inside import Inside
from backstory.archive.online import fetch_online
from backstory.archive.promising import promise_of
from backstory.capture.model_version import ModelVersion
from backstory.capture.promise import PromiseFile
from backstory.errors import InputError, QueryError, VerificationError
from backstory.governance.access_policy import EXPORT
from backstory.ledger.ledger import Ledger
from backstory.ledger.opening import groups_of_fields, require_fields
from backstory.ledger.past import PastLedger, look_up, tree_size_at
from backstory.ledger.read import Found, find_contexts, find_places, find_record
from backstory.ledger.receipt import ReceiptFile, ReceiptsFile, make_receipt, make_receipts
from backstory.lineage import registry
from backstory.lineage.graph import Graph
from backstory.lineage.graph_walk import GraphWalk
from backstory.lineage.hits import Hits
from backstory.lineage.impact import Impact, impact_of_feature, impact_of_model, impact_of_rows
from backstory.lineage.loading import Load
from backstory.lineage.online import AsOf
from backstory.lineage.predictions import Wanted, find_predictions
from backstory.lineage.reconcile import Reconciliation, moment_ns, reconcile_predictions
from backstory.lineage.refs import warn_of_lineage
from backstory.lineage.rows import fixed_entries, select_rows
from backstory.lineage.search_shown import search_shown
from backstory.lineage.showing import about_record, note_places, open_classes
from backstory.lineage.story import Story
from backstory.lineage.subject import find_subject
from backstory.lineage.trace import Tracer
from backstory.lineage.version_story import VersionStory, tell_version
from backstory.lineage.why import tell_story
from backstory.lineage.why_not import WhyNot, explain_absence
from backstory.records.access import Scope
from backstory.records.envelope import PREDICTION
from backstory.records.identity import ID_CHARACTERS
from backstory.records.schema import Schema
from backstory.report.bundle import Asking, BundleFile, make_bundle
from backstory.report.selection import Question
from backstory.report.waiting import seal_what_waits
from backstory.verify.archive import verify_archive
from backstory.verify.audit import Progress
from backstory.verify.finding import VerificationReport


class Questions:
    """The questions of an open archive; see `Archive`."""

    def __init__(self, inside: Inside, vkey: str | None) -> None:
        """Ask a ledger, through a gate where values are sealed; what the recorder still holds is seen too."""
        self._inside = inside
        self._ledger = inside.ledger
        self._gate = inside.gate
        self._recorder = inside.recorder
        self._tracer = inside.tracer
        self._vkey = vkey
        self._resolvers: dict[str, AsOf] = {}

    @property
    def resolvers(self) -> dict[str, AsOf]:
        """By source, what fetches rows again that predictions used online: `archive.resolvers["stats"] = …`."""
        return self._resolvers

    def why(self, prediction: str, *, as_of: int | None = None) -> Story | VersionStory:
        """Return the backstory of a prediction: rows with their values, features, model, code, proof.

        Or that of a model version, such as `delay:3`, or of a dataset version: what it was made from.

        Args:
            prediction: Its id, or a unique prefix; or a version as `model` and `data.show` take it.
            as_of: Answer from the log as it was at this tree size; the proof is then of that size and its root.

        Returns:
            A story. `str()` and notebooks tell it; its `rows`, `features`, `output`, `decision`, `model`, `context`,
            `outcomes` and `proof` are values, and `to_dict()` gives all of it. Of a version `document`, `graph` and
            `proof`.

        Raises:
            NotFoundError: There is none, or there was none at that tree size.
            AmbiguousError: Several ids begin so.
            VerificationError: The record, or something it refers to, was changed.
        """
        self._recorder.write()
        ledger, found = look_up(self._ledger, as_of, lambda ledger: find_subject(ledger, prediction))
        tracer = self._tracer_of(ledger)
        if isinstance(found, Found):
            story = tell_story(ledger, tracer, self._gate, found)
            online = fetch_online(story, self._resolvers)
            story = with_followed(story, ledger, self._gate.within(about_record(ledger, found)))
            return dataclasses.replace(story, online=online)
        return tell_version(ledger, GraphWalk(ledger, tracer, self._gate), found)

    def impact(
        self,
        source: str | None = None,
        *,
        rows: int | Sequence[int] | Sequence[bool] | None = None,
        keys: Any = None,  # noqa: ANN401  one key or several, each a value, tuple or dict
        where: str | None = None,
        version: str | None = None,
        loaded: tuple[str | datetime | None, str | datetime | None] | None = None,
        part: str | None = None,
        origin: str | None = None,
        model: str | None = None,
        feature: str | None = None,
        as_of: int | None = None,
    ) -> Impact:
        """Return which predictions, models and features some rows of a source reached, directly and through groups.

        Or else what a model version or a feature reached.

        Args:
            source: The source's name.
            rows: Positions, one or several, or a mask with True or False for each row; with `version` where the source
                has several, as a position is of another row in each.
            keys: Key values: one value or tuple in the order of the source's key, a dict, or a list, array or series
                of these.
            where: SQL predicate over the source's columns; for NaN see `search`.
            version: A version of the source as `data.show` takes it, or a prefix of its digest; without it keys and
                predicates look at all versions.
            loaded: Only rows of versions and parts that were loaded at or after the first moment and before the second,
                of which one may be None: when they were read, where `source` read them, else when first used.
            part: Only rows of this part.
            origin: Only rows that came from there: the text given as `origin`, the path that was read, or the name of
                a file. Of a directory that is one version, all rows.
            model: All predictions of a model version, as `model` takes it, instead of rows.
            feature: All predictions with a feature of this name, instead of rows.
            as_of: Answer from the log as it was at this tree size.

        Returns:
            An impact: `counts` of predictions, models and features, `by_model`; the `models` trained on some of the
            rows, `features`, what stayed `sealed`, and by digest the versions `left_out`, which lack a column or were
            erased. Read when asked for: `predictions` as an Arrow table with a row for each way a prediction was
            reached, `batches()` and `export(path)` of the same, `cases`, `subjects`, `decisions`.

        Raises:
            NotFoundError: There is no such source, version, model or feature, no row fits or was loaded so, or a
                position or key is of no row.
            QueryError: Not exactly one of rows, keys and where, and no load; a malformed predicate; positions of
                several versions; not exactly one of source, model and feature.
        """
        self._gate.require_open("impact", ("D0", "D1") if where is None and keys is None else ("D0", "D1", "D2"))
        self._recorder.write()
        if sum(choice is not None for choice in (source, model, feature)) != 1:
            raise QueryError("impact: expected exactly one of a source, model= and feature=")
        if source is not None:
            load = Load.asked(loaded, part, origin)
            ledger, _ = look_up(self._ledger, as_of, lambda ledger: fixed_entries(ledger, source, version))
            tracer = self._tracer_of(ledger)
            chosen = select_rows(
                ledger, tracer, self._gate, source, rows=rows, keys=keys, where=where, version=version, load=load
            )
            return impact_of_rows(ledger, tracer, self._gate, source, chosen)
        if any(choice is not None for choice in (rows, keys, where, version, loaded, part, origin)):
            raise QueryError("impact: rows are chosen of a source, not of a model or a feature")
        if model is not None:
            ledger, asked = look_up(self._ledger, as_of, lambda ledger: registry.find_version(ledger, model))
            return impact_of_model(ledger, self._gate, asked)
        return look_up(self._ledger, as_of, lambda ledger: impact_of_feature(ledger, self._gate, str(feature)))[1]

    def why_not(
        self,
        source: str,
        *,
        rows: int | Sequence[int] | Sequence[bool] | None = None,
        keys: Any = None,  # noqa: ANN401  one key or several, each a value, tuple or dict
        where: str | None = None,
        version: str | None = None,
        model: str | ModelVersion | None = None,
    ) -> WhyNot:
        """Return why some rows of a source are not in a model's training set: dropped by which step, or left out.

        Args:
            source: The source's name.
            rows: Positions, one or several, or a mask; as `impact` takes them.
            keys: Key values, as `impact` takes them. A key that no fixed version has is an answer too.
            where: SQL predicate over the source's columns.
            version: A version of the source, as `impact` takes it.
            model: A model version, or what `model` takes; without it every one trained on rows of the source.

        Returns:
            An answer: `verdicts` as an Arrow table, `used`, `through-groups`, `dropped`, `left-out` or `other-version`
            for each row and model; the same counted for each of `models`; the `steps` that dropped rows, with their
            code; the keys that are `missing` everywhere.

        Raises:
            NotFoundError: There is no such source, version or model, no row fits, or a position is of no row.
            QueryError: Not exactly one of rows, keys and where; a malformed predicate; positions of several versions.
            ForbiddenError: The source or the model is about people, and no actor and purpose were given.
            InputError: The model was registered without rows.
        """
        self._gate.require_open("why-not")
        spec = model.digest if isinstance(model, ModelVersion) else model
        return explain_absence(
            self._ledger, self._tracer, self._gate, source,
            rows=rows, keys=keys, where=where, version=version,
            model=None if spec is None else registry.find_version(self._ledger, spec),
        )  # fmt: skip

    def graph(self, spec: str, *, as_of: int | None = None) -> Graph:
        """Return the lineage of a prediction, a model version or a dataset version as a graph.

        Args:
            spec: Id of a prediction or its beginning; a model version as `model` takes it; a dataset version as
                `data.show` takes it.
            as_of: Answer from the log as it was at this tree size.

        Returns:
            A graph: `nodes` and `edges` with grades as data, a node for each set of rows; `save(path)` writes it as a
            picture (`.svg`), data (`.json`) or for Graphviz (`.dot`). Notebooks show the picture.

        Raises:
            NotFoundError: There is none.
            AmbiguousError: Several fit.
        """
        self._gate.require_open("graph", ("D0", "D1"))
        self._recorder.write()
        ledger, found = look_up(self._ledger, as_of, lambda ledger: find_subject(ledger, spec))
        walk = GraphWalk(ledger, self._tracer_of(ledger), self._gate)
        if isinstance(found, Found):
            return walk.of_prediction(found)
        return walk.of_model(found) if isinstance(found, registry.Registered) else walk.of_dataset(found)

    def search(
        self, predicate: str, values: Sequence[Any] = (), *, limit: int | None = None, as_of: int | None = None
    ) -> Any:  # noqa: ANN401
        """Return the predictions for which an SQL predicate holds, oldest first.

        For DuckDB NaN is the greatest number, so a NaN fulfils `output > 60`: add `and not isnan(output)` where it is
        not wanted. A value that cannot be converted as the predicate asks does not fulfil it.

        Args:
            predicate: Over `model`, `version`, `time`, `status`, `output`, `decision`, `feature.<name>`, `row.<name>` …
            values: Values for question marks in the predicate.
            limit: How many rows at most.
            as_of: Answer from the log as it was at this tree size.

        Returns:
            A pandas frame; a pyarrow table where pandas is not installed. If the predicate asks for values that are
            sealed in some predictions, a `LineageWarning` says how many were not compared, and so does the frame's
            `attrs["not_compared"]`.

        Raises:
            QueryError: The predicate is malformed.
        """
        if isinstance(values, str | bytes) or not isinstance(values, Iterable):
            raise QueryError(f"search: expected a list with a value for each ?, got {type(values).__name__}")
        hits = self.hits(predicate, values, limit=limit, as_of=as_of)
        if hits.not_compared:
            warn_of_lineage(f"search: {hits.left_out}")
        return _frame(hits)

    def hits(
        self, predicate: str, values: Sequence[Any] = (), *, limit: int | None = None, as_of: int | None = None
    ) -> Hits:
        """Return what `search` does, with its counts: `rows()` are values, `total` says how many there are in all."""
        self._recorder.write()
        ledger = self._ledger if as_of is None else PastLedger(self._ledger, as_of)
        return search_shown(ledger, self._gate, predicate, values, limit)

    def predictions(
        self,
        *,
        subject: Any = None,  # noqa: ANN401  a text or a whole number
        model: str | None = None,
        between: tuple[str | datetime | None, str | datetime | None] = (None, None),
        limit: int | None = None,
    ) -> Any:  # noqa: ANN401
        """Return predictions by person, by model, by time, with their sealed values as far as you may see them.

        Args:
            subject: Only those recorded with this person.
            model: Only of this model: all versions of a name, or one as `model` takes it.
            between: Only those recorded at or after the first moment and before the second, of which each may be None.
            limit: How many at most, the oldest.

        Returns:
            A frame as `search` returns it, with the sealed columns that may be seen. `attrs["redacted"]` names those
            that are not shown as they are, and why; what each record commits to is in columns `commitment.<group>`.

        Raises:
            ForbiddenError: A person is named and no actor and purpose; or under the policy in force none may be seen.
            NotFoundError: There is no such model.
            QueryError: A moment is none.
        """
        self._recorder.write()
        asked = self._gate.bound_subject if subject is None else str(subject)
        version = None if model is None else registry.find_version(self._ledger, model)
        since, until = (moment_ns(one, "predictions: expected between to be of moments") for one in between)
        wanted = Wanted(
            subject=asked,
            model=version,
            any_version=version is not None and model == version.name,
            since=since,
            until=until,
        )
        return _frame(find_predictions(self._ledger, self._gate, wanted, limit))

    def verify(
        self,
        *,
        check: bool = True,
        workers: int | None = None,
        spools: str | Path | Sequence[str | Path] = (),
        state: str | Path | None = None,
        full: bool = False,
        against: str | Path | Sequence[str | Path] = (),
        policy: str | Path | None = None,
        max_age_seconds: int | None = None,
        tsa_roots: Sequence[str | Path] = (),
        progress: Progress | None = None,
    ) -> VerificationReport:
        """Check the whole archive from its bytes, over all cores.

        Args:
            check: Raise if anything does not verify; False returns the report instead.
            workers: Processes that hash; None for one a core.
            spools: Spool or spools of workers; a stream that is in none and did not end is unknown from there on.
            state: File outside the archive in which you remember what was checked: the next audit then reads what is
                new, and looks whether the rest is there.
            full: Read everything again, whatever the state says.
            against: Checkpoints you kept: signed notes or receipts in files or directories, or the text `size root`.
                The log must contain each.
            policy: A tlog-policy file: which witnesses must have cosigned.
            max_age_seconds: How old the newest cosignatures that meet the policy may be.
            tsa_roots: Files of certificates of time-stamping authorities to believe.
            progress: Is told what is being checked, how much is done, and how much there is.

        Returns:
            A report: `verdict` in a sentence, `findings` with severity, place, what, the stream, seq and entry
            concerned and what it means for whom, `counts` of what was checked, `failed`, `incomplete`, `authenticated`:
            whether a public key was pinned, and `since`: before which entry an earlier audit was believed.

        Raises:
            VerificationError: Something does not verify; `.findings` names every place.
        """
        report = verify_archive(
            self._ledger.layout.root,
            vkey=self._vkey,
            workers=workers,
            spools=[Path(root) for root in ([spools] if isinstance(spools, str | Path) else spools)],
            state=None if state is None else Path(state),
            full=full,
            against=[against] if isinstance(against, str | Path) else against,
            policy=policy,
            max_age_seconds=max_age_seconds,
            tsa_roots=[Path(root) for root in tsa_roots],
            progress=progress,
            wrappers=self._ledger.wrappers,
            world=self._ledger.world,
        )
        if check and report.failed:
            raise VerificationError(report.verdict, report.findings)
        return report

    def reconcile(
        self,
        *,
        count: int | None = None,
        requests: Iterable[str] | None = None,
        model: str | None = None,
        since: str | datetime | None = None,
        until: str | datetime | None = None,
    ) -> Reconciliation:
        """Compare what is recorded with what somebody else counted, such as a gateway.

        Args:
            count: How many predictions were counted outside; a call with a frame of n rows makes n.
            requests: The ids of the requests that were counted outside, instead; the same id again counts once, as does
                that of a call of many rows that was not given one a row.
            model: Only predictions of this model: all versions of a name, or one as `model` takes it.
            since: Only predictions recorded at or after this moment, by the writer's clock; RFC 3339 or with a time
                zone.
            until: Only predictions recorded before this moment.

        Returns:
            A reconciliation: `outside`, `recorded` and their `difference`, 0 if they agree; `missing` and `extra`
            request ids; how many were `refused`; `unknown_streams`, whose writers did not say how they ended.

        Raises:
            QueryError: Not one of count and requests, or a moment that is none.
            NotFoundError: There is no such model.
            StorageError: A segment cannot be read.
            VerificationError: A segment was changed.
        """
        self._gate.require_open("reconcile", ("D0", "D1"))
        self._recorder.sync()
        return reconcile_predictions(
            self._ledger, count=count, requests=requests, model=model, since=since, until=until
        )

    def receipt(self, prediction: str, *, fields: str | Sequence[str] | None = None) -> ReceiptFile:
        """Return the file that proves one prediction to a stranger with the public key.

        Sealed groups are opened in it if the archive was opened with an actor and a purpose.

        Args:
            prediction: Its id, or a unique prefix.
            fields: Open these sealed columns and no others, such as `feature.age`; of a model or source whose
                classification was confirmed with `fields=True`.

        Returns:
            The file: `save(path)` writes it; `id` is the prediction's, `data` are the bytes. `backstory.verify_receipt`
            checks it.

        Raises:
            ConflictError: It is not sealed yet; call `flush()`.
            NotFoundError: There is no such prediction.
            InputError: A field is none of the prediction's, or cannot be opened alone.
            ForbiddenError: Fields are to be opened for nobody.
        """
        found = self._found(prediction)
        gate, scope = self._gate.within(about_record(self._ledger, found)), Scope(ids=(found.table["id"][0].as_py(),))
        contexts = [found.table["context"][0].as_py().hex()]
        gate.require_open("receipt", open_classes([found.schema], map(self._ledger.document, contexts)))
        if fields is not None:
            chosen = require_fields([found.schema], fields)
            gate.pass_through("receipt", groups_of_fields([found.schema], chosen), 1, scope)
            return make_receipt(self._ledger, found, (), chosen)
        groups = tuple(group for group in found.schema.groups if gate.allows([group]))
        if groups:
            gate.pass_through("receipt", groups, 1, scope)
        return make_receipt(self._ledger, found, groups)

    def receipts(self, predictions: Iterable[str | UUID], *, fields: str | Sequence[str] | None = None) -> ReceiptsFile:
        """Return one file that proves many predictions to a stranger; what they share is in it once.

        Sealed groups are opened in it if the archive was opened with an actor and a purpose.

        Args:
            predictions: Their ids; each whole, or a unique prefix.
            fields: Open these sealed columns and no others; see `receipt`.

        Returns:
            The file: `save(path)` writes it; `ids` are the predictions' in its order, `data` are the bytes.
            `backstory.verify_receipts` checks it.

        Raises:
            NotFoundError: There is no such prediction, or it is not sealed yet; call `flush()`.
            InputError: No prediction is asked for.
            LimitError: They are too many for one file.
        """
        if isinstance(predictions, str | UUID):
            raise InputError("receipts: expected several ids; `receipt` takes one")
        names = [name if len(name) == ID_CHARACTERS else self._found(name).id for name in map(str, predictions)]
        places = find_places(self._ledger, names, PREDICTION)
        schemas = [self._ledger.schema(digest) for digest in {place.manifest.schema for place in places}]
        contexts = {context for place in places for context in place.manifest.contexts}
        self._gate.require_open("receipt", open_classes(schemas, map(self._ledger.document, sorted(contexts))))
        if fields is not None and schemas:
            chosen = require_fields(schemas, fields)
            note_places(self._gate, "receipt", groups_of_fields(schemas, chosen), places)
            return make_receipts(self._ledger, places, opened=(), fields=chosen)
        groups = sorted({group for schema in schemas for group in schema.groups if self._gate.allows([group])})
        if groups:
            note_places(self._gate, "receipt", groups, places)
        return make_receipts(self._ledger, places, opened=groups)

    def bundle(
        self,
        path: str | Path,
        predictions: Iterable[str | UUID] = (),
        *,
        model: str | None = None,
        since: str | datetime | None = None,
        until: str | datetime | None = None,
        where: str | None = None,
        case: str | None = None,
        opened: str | Sequence[str] = (),
        fields: str | Sequence[str] = (),
    ) -> BundleFile:
        """Write an evidence bundle: predictions in the log with all they stand on, proofs, and programs that check it.

        What waits is sealed first. The log records that it was given out. An archive opened with an actor and a
        purpose may open sealed groups.

        Args:
            path: The file, by convention ending in `.zip`.
            predictions: Their ids, each whole or a unique prefix; or else what they have in common:
            model: Only predictions of this model: all versions of a name, or one as `model` takes it.
            since: Only predictions recorded at or after this moment, by the writer's clock; RFC 3339 or with a time
                zone.
            until: Only predictions recorded before this moment.
            where: Only predictions for which this SQL predicate holds, as `search` takes it.
            case: Only predictions with this id of a request.
            opened: Name or names of sealed groups to open.
            fields: Sealed columns to open besides, in the receipts; see `receipt`.

        Returns:
            The file: its `path`, how many `records` are in it, how many others were left out as they are `not_sealed`
            or `not_compared`, `index` of the log's entry about it. `backstory verify-bundle` checks it, and so does a
            program in it.

        Raises:
            ConflictError: There is something at `path`.
            ForbiddenError: The archive is open for reading only, or groups are to be opened for nobody.
            InputError: Nothing is asked for, no prediction has such a group, or `path` is inside the archive.
            NotFoundError: There is no such prediction or model, or it is not sealed yet, as another process holds it.
            LimitError: They are too many for one file.
        """
        self._gate.require(EXPORT)
        if isinstance(predictions, str | UUID):
            predictions = [predictions]
        question = Question(
            predictions=tuple(map(str, predictions)), model=model, since=since, until=until, where=where, case=case
        )
        asking = Asking(
            gate=self._gate,
            groups=(opened,) if isinstance(opened, str) else tuple(opened),
            fields=(fields,) if isinstance(fields, str) else tuple(fields),
            actor=self._ledger.actor,
            purpose=self._gate.purpose,
        )
        self._recorder.sync()
        if self._ledger.writable:
            seal_what_waits(self._ledger, self._recorder.streams())
        return make_bundle(self._ledger, self._tracer, question, asking, Path(path))

    def promise(self, prediction: str) -> PromiseFile:
        """Return the operator's signed promise that a record is on disk and will be in the log within the delay.

        Whoever holds it and the public key of promises can show later that the record was dropped. It can be had as
        soon as the prediction was given out, and for a day or the delay after the stream was last written to.

        Args:
            prediction: Its id, or a unique prefix.

        Returns:
            The file: `save(path)` writes it; `id` is the prediction's, `data` are the bytes. `backstory.verify_promise`
            checks it.

        Raises:
            NotFoundError: There is no such prediction, or no promise was given about it, as where promises are not
                switched on.
        """
        return promise_of(self._ledger, self._recorder, self._found(prediction))

    def tree_size_at(self, time: str | datetime) -> int:
        """Return how many entries the log had at a moment, for `as_of`, by the times the entries say.

        Args:
            time: RFC 3339 or with a time zone.

        Raises:
            QueryError: It is no moment.
        """
        return tree_size_at(self._ledger, moment_ns(time, "tree_size_at: expected a time") or 0)

    def _tracer_of(self, ledger: Ledger) -> Tracer:
        return self._tracer if ledger is self._ledger else Tracer(ledger)

    def _found(self, prediction: str | UUID) -> Found:
        if not isinstance(prediction, str | UUID):
            raise QueryError(f"prediction: expected the text of an id, got {type(prediction).__name__}")
        self._recorder.write()
        return find_record(self._ledger, str(prediction), PREDICTION)

    def _found_all(self, predictions: Sequence[str]) -> list[tuple[bytes, Schema, bytes]]:
        self._recorder.write()
        return find_contexts(self._ledger, predictions, PREDICTION)


def _frame(hits: Hits) -> Any:  # noqa: ANN401  a frame of pandas or, where that is not there, a table
    """Return what was found as a frame that says what was left out of it, and what is not shown as it is."""
    if not importlib.util.find_spec("pandas"):
        return hits.table()
    frame = hits.table().to_pandas()
    frame.attrs["not_compared"] = hits.not_compared
    frame.attrs["redacted"] = [one.to_dict() for one in hits.redacted]
    return frame
