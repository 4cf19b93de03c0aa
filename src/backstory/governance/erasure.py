"""Erasing a person: everywhere, for good, and so that the log says it without saying who.

What is about to be destroyed is written down first, durably. From then on the erasure is completed, by this process or
by whoever opens the archive next; before it nothing was destroyed. Every step may be done twice. Bytes: docs/format.md
section 38; what an erasure leaves: docs/adr/0025.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

from backstory.errors import BusyError, ConflictError, ForbiddenError, InputError, NotFoundError
from backstory.governance.erasure_certificates import Certificate, keep_certificate, let_go
from backstory.governance.erasure_left import Recipient, recipients_of, what_remains
from backstory.governance.erasure_plan import Plan, hold_erasing, plans, remove_plan, write_plan
from backstory.governance.erasure_survey import Survey, survey_person
from backstory.governance.keeping import Ground, grounds_to_keep, rows_to_keep
from backstory.governance.proposal import require_actor
from backstory.governance.rule_gate import RuleGate
from backstory.ledger.collect import WRAP_KEY
from backstory.ledger.forget import forget_openings, mark_forgotten, remember_erasure, remember_streams
from backstory.ledger.half_written import remove_half_written
from backstory.ledger.ledger import Ledger
from backstory.ledger.people_index import index_name
from backstory.ledger.receipt import prove_entry
from backstory.ledger.rewrite import rewrite_shard, rewrite_table
from backstory.ledger.seal import seal_all, seal_up_to
from backstory.ledger.sealed_table import DATASET_KEY
from backstory.records import canonical
from backstory.records.canonical import JsonObject, JsonValue
from backstory.records.erasure import (
    ERASED_TYPE,
    GROUNDS,
    REFUSED_TYPE,
    SALT_SIZE,
    Erased,
    leaf_data,
    padded,
    parse_erased,
    record_text,
    row_text,
    tree_leaves,
)
from backstory.records.identity import id_text, parse_time
from backstory.records.keyed import name_of_key
from backstory.records.manifest import MANIFEST_TYPE, Manifest, parse_manifest
from backstory.records.sensitivity import DOMAINS
from backstory.storage.keys import key_name
from backstory.tlog.hashing import hash_leaf, root_hash
from backstory.tlog.proof import inclusion_proof
from backstory.verify.erasure_certificate import ProvenLeaf, encode_certificate

if TYPE_CHECKING:
    from backstory.capture.recorder import Recorder
    from backstory.governance.access import AccessGate


WORKERS = "workers' spools"
"""What an erasure waits for, besides streams: spools that may have records from before, and that may be anywhere."""
_COLLECT = (
    f"{WORKERS}: what comes in from before this is erased then; once nothing can come, say so: "
    "privacy.finish(collected=True), `backstory erase --finish --collected`"
)
_NOBODY = "nobody was found: no record and no row under this id, as it is written here; was it the right one?"
_WHOLE = "nothing of the person that can be erased is left"
_IN_PART = "in part: what must be kept is still there"
_WAITS = "not complete yet"
_STAY = (
    "rows of datasets about the person, and what was made of them, as long as these records",
    "tell the person why, and erase again when nothing binds them any more: nobody does it by themselves",
)
"""What an erasure in part leaves, and leaves to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Erasure:
    """What became of an erasure.

    Attributes:
        entry: Index of its entry in the log.
        root: Root of its leaves, in hex.
        records: How many records were erased.
        rows: How many rows of dataset versions were.
        complete: Whether nothing of the person is waited for.
        waits: Streams of other processes whose records of the person will be erased once they let go of them; and
            `workers' spools` where an archive has made some: what comes in from them is erased when it does.
        kept: Grounds on which records of the person were not erased; then rows of datasets stay too.
        left: How many records of the person were not erased.
        models: Model versions trained on rows of the person.
        trees: Dataset versions and training sets of which membership can no longer be proven, of anybody.
        recipients: Who was given something about the person's records earlier, as far as log and accesses know.
        remains: What an erasure cannot reach, in sentences.
        follows: Root of the erasure that this one completes, in hex.
        certificate: Proves it of each record; see `Privacy.erase` and `Privacy.hand_over`.
    """

    entry: int
    root: str
    records: int
    rows: int
    complete: bool
    waits: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    left: int = 0
    models: tuple[str, ...] = ()
    trees: tuple[str, ...] = ()
    recipients: tuple[Recipient, ...] = ()
    remains: tuple[str, ...] = ()
    follows: str | None = None
    certificate: Certificate = field(repr=False)

    def to_dict(self) -> JsonObject:
        """Return it as JSON-safe values, without the certificate."""
        return {
            "complete": self.complete,
            "entry": self.entry,
            "follows": self.follows,
            "kept": list(self.kept),
            "left": self.left,
            "models": list(self.models),
            "recipients": [recipient.to_dict() for recipient in self.recipients],
            "records": self.records,
            "remains": list(self.remains),
            "root": self.root,
            "rows": self.rows,
            "trees": list(self.trees),
            "waits": list(self.waits),
        }

    def __str__(self) -> str:
        """Return it for a reader."""
        state = _WAITS if self.waits else _IN_PART if self.kept else _WHOLE
        lines = [f"erased: {self.records:,} records, {self.rows:,} rows of datasets (entry {self.entry}); {state}"]
        is_empty = not (self.records or self.rows or self.kept or self.follows)
        lists = {
            "note": [_NOBODY] if is_empty else [],
            "waits for": [_COLLECT if one == WORKERS else one for one in self.waits],
            "kept": [f"{self.left:,} records of the person", *_STAY] if self.kept else [],
            "because of": self.kept,
            "trained on": self.models,
            "closed": self.trees,
            "given to": [str(recipient) for recipient in self.recipients],
            "remains": self.remains,
        }
        lines += [f"  {name:<10} {text}" for name, texts in lists.items() for text in texts]
        return "\n".join(lines)


def erase(
    ledger: Ledger,
    gate: AccessGate,
    recorder: Recorder,
    subject: str,
    ground: str,
    request: str | None = None,
    *,
    partial: bool = False,
    certificate: str | Path | None = None,
) -> Erasure:
    """Erase a person; see `Privacy.erase`."""
    require_actor(ledger, "erasing a person")
    gate.require("erase")
    if ground not in GROUNDS:
        raise InputError(f"erase: expected a ground of {', '.join(GROUNDS)}, got another")
    if certificate is not None and Path(certificate).exists():
        raise ConflictError(f"erase: expected nothing at {certificate}, where the certificate is to be")
    with hold_erasing(ledger, wait=True):
        done = _erase(ledger, gate, recorder, (subject, ground, request), partial=partial)
        if certificate is not None:
            done.certificate.save(certificate)
        # A crash before the next line leaves the certificate to `hand_over`; after it, whoever called has it.
        let_go(ledger, done.root)
    return done


def _erase(
    ledger: Ledger, gate: AccessGate, recorder: Recorder, asked_for: tuple[str, str, str | None], *, partial: bool
) -> Erasure:
    """Erase a person while nobody else erases."""
    subject, ground, request = asked_for
    began = ledger.world.now_ns()
    waits = _seal(ledger, recorder)
    ledger.catch_up()
    size = ledger.catalog.size
    found = survey_person(ledger, subject)
    if not (found.has_any or found.unreadable or waits):
        raise NotFoundError(
            "erase: nobody was found: no record, row or role under this id, as it is written; nothing was erased, and "
            "the log has no entry of it"
        )
    asked = None if request is None else ledger.commit_text("request", request)
    kept, left = _keep(ledger, gate, found, asked, partial=partial)
    plan = _plan(ledger, found, Plan(subject=subject, ground=ground, request=asked, time=began, records={}, tables={}))
    plan = replace(plan, waits=waits, partial=bool(kept), size=size)
    recipients = recipients_of(ledger, gate, found)  # before what they are known from is destroyed
    remains = what_remains(ledger, found)
    name = write_plan(ledger, plan)
    try:
        done = perform(ledger, name, plan)
    except BusyError as error:
        raise BusyError(
            "erase: it has begun, and another process is rewriting the vault; finish() goes on, and so does whoever "
            "opens the archive next; the certificate then waits to be handed over"
        ) from error
    return replace(
        done,
        kept=kept,
        left=left,
        models=tuple(found.models),
        trees=tuple(found.trees),
        recipients=recipients,
        remains=remains,
    )


def finish(ledger: Ledger, *, collected: bool = False) -> list[Erasure]:
    """Go on with every erasure that was cut short, or that waited for others; return those that did something.

    Args:
        ledger: The archive.
        collected: Whether workers' spools have nothing any more from before the erasures that wait.

    Raises:
        BusyError: Another process is erasing.
        StorageError: Something could not be written; it can be called again.
    """
    with hold_erasing(ledger, wait=False):
        found = [_go_on(ledger, name, plan, collected=collected) for name, plan in plans(ledger)]
    return [one for one in found if one is not None]


def _go_on(ledger: Ledger, name: str, plan: Plan, *, collected: bool) -> Erasure | None:
    """Go on with an erasure; None where there is nothing to do yet.

    What is waited for may be there in part: what came in is erased then, and the rest is waited for.
    """
    if plan.has_begun:
        return perform(ledger, name, plan)
    held = {*_held(ledger, ()), *(() if collected else (WORKERS,))}
    waits = tuple(one for one in plan.waits if one in held)
    if waits == plan.waits and not _has_come(ledger, plan):
        return None
    seal_all(ledger)
    ledger.catch_up()
    plan = replace(plan, size=ledger.catalog.size)
    found = survey_person(ledger, plan.subject, plan.time, (UUID(one).bytes for one in plan.erased))
    bound = _bound(ledger, found)  # by a hold, perhaps, that was placed while this waited
    grounds = grounds_to_keep(ledger, RuleGate(), _rows(ledger, bound)) if bound else []
    if bound:
        _leave(found, bound)
    if waits == plan.waits and not any(found.records.values()):
        write_plan(ledger, plan, name)
        return None
    if bound:
        _refuse(ledger, grounds, plan.request)
    following = replace(_plan(ledger, found, plan), waits=waits, partial=plan.partial or bool(bound))
    write_plan(ledger, following, name)
    return perform(ledger, name, following)


def _has_come(ledger: Ledger, plan: Plan) -> bool:
    """Say whether records from before an erasure were sealed since it was last looked for the person."""
    ledger.catch_up()
    new = (at for at in ledger.catalog.entries(MANIFEST_TYPE) if at >= plan.size)
    return any(parse_time(parse_manifest(ledger.log.entry(at)).first_time) <= plan.time for at in new)


def perform(ledger: Ledger, name: str, plan: Plan) -> Erasure:
    """Do what a plan says, or the rest of it where it was cut short, and remove it.

    Args:
        ledger: The archive.
        name: Name of the plan, which is kept.
        plan: The plan.

    Raises:
        StorageError: Something could not be written; whoever opens the archive next goes on.
    """
    remember_streams(ledger, _ends(ledger, plan))
    for index, groups in plan.records.items():
        rewrite_shard(ledger, parse_manifest(ledger.log.entry(index)), groups)
    for shard, rows in plan.tables.items():
        rewrite_table(ledger, shard, rows)
    for shard in plan.lost:
        _destroy(ledger, shard)
    forget_openings(ledger, plan.openings)
    if plan.rekey is not None and ledger.keys.has(DATASET_KEY):
        if name_of_key(ledger.keys.key(DATASET_KEY, "key")) == plan.rekey:
            ledger.keys.destroy(DATASET_KEY)
        ledger.keys.get_or_create(DATASET_KEY, "key")
    leaves = sorted([*(hash_leaf(leaf_data(salt, text)) for salt, text in plan.leaves), *plan.others])
    remove_half_written(ledger)
    entry = _entry(ledger, plan, root_hash(leaves).hex())
    index = _append(ledger, entry)
    mark_forgotten(ledger)
    certificate = Certificate(_certificate(ledger, plan, leaves, index))
    # A crash before the next line leaves the plan, of which the same certificate is made; after it, that is kept.
    keep_certificate(ledger, entry.root, certificate)
    if plan.waits:
        write_plan(ledger, _waiting(plan, entry.root), name)
    else:
        remove_plan(ledger, name)
    records = len(_records_of(plan))
    return Erasure(
        entry=index,
        root=entry.root,
        records=records,
        rows=len(plan.leaves) - records,
        complete=not plan.waits,
        waits=plan.waits,
        follows=plan.follows,
        certificate=certificate,
    )


def _seal(ledger: Ledger, recorder: Recorder) -> tuple[str, ...]:
    """Seal what waits, and return the streams that other processes hold, and workers if there may be any."""
    recorder.sync()
    own = recorder.streams()
    for info, end in own:
        seal_up_to(ledger, info, end)
    seal_all(ledger)
    held = _held(ledger, [info.stream for info, _ in own])
    return (*held, WORKERS) if ledger.keys.has(WRAP_KEY) else held


def _held(ledger: Ledger, own: Sequence[str]) -> tuple[str, ...]:
    """Return the streams of other living processes, and those that nobody could seal."""
    heads = ledger.lock.heads()
    held = []
    for info in ledger.spool.streams():
        unsealed = any(ledger.spool.frames(info, heads.get(info.stream, 0)))
        if info.stream not in own and (unsealed or ledger.spool.is_open(info.stream)):
            held.append(info.stream)
    return tuple(sorted(held))


def _keep(
    ledger: Ledger, gate: AccessGate, found: Survey, request: str | None, *, partial: bool
) -> tuple[tuple[str, ...], int]:
    """Take what must be kept out of what was found, and return on which grounds it is, and how many records.

    Raises:
        ForbiddenError: Something must be kept, and nothing was said of erasing the rest; or all of it must.
    """
    grounds = grounds_to_keep(ledger, gate, _rows(ledger, found.ids))
    if not grounds:
        return (), 0
    bound = _bound(ledger, found)
    if not partial or len(bound) == len(found.ids):
        said = _refuse(ledger, grounds, request)
        raise ForbiddenError(_refusal(said, len(bound), len(found.ids)))
    _leave(found, bound)
    return tuple(map(str, grounds)), len(bound)


def _refusal(grounds: Iterable[tuple[str, str]], bound: int, found: int) -> str:
    """Say what was refused, why, and what can be done now."""
    codes = ", ".join(f"{code}, {law}" for code, law in grounds)
    what = f"erase: nothing was erased: {bound:,} of {found:,} records of the person must be kept ({codes})"
    if bound == found:
        return f"{what}; all of them, so that nothing is left to erase now; the log has the refusal"
    how = "partial=True (--partial) erases the other records, and keeps rows of datasets as long as these"
    return f"{what}; {how}; the log has the refusal"


def _bound(ledger: Ledger, found: Survey) -> list[tuple[int, int]]:
    """Return which records of a person must be kept."""
    indexes = list(dict.fromkeys(index for index, _ in found.ids))
    kept = rows_to_keep(ledger, _rows(ledger, found.ids))
    return [(index, row) for index, rows in zip(indexes, kept, strict=True) for row in rows.tolist()]


def _refuse(ledger: Ledger, grounds: Iterable[Ground], request: str | None) -> list[tuple[str, str]]:
    """Put on the record that an erasure was refused, and return on which grounds."""
    said = sorted({(ground.code, ground.law) for ground in grounds})
    listed: list[JsonValue] = [{"code": code, "law": law} for code, law in said]
    ledger.append([{"grounds": listed, "request": request, "type": REFUSED_TYPE}])
    return said


def _leave(found: Survey, bound: Iterable[tuple[int, int]]) -> None:
    """Take records that must be kept out of what was found."""
    for index, row in bound:
        del found.records[index][row], found.ids[index, row]
    for stood_on in (found.rows, found.mixed, found.lost, found.openings):
        stood_on.clear()  # what a record was made of is kept as long as the record


def _rows(ledger: Ledger, places: Iterable[tuple[int, int]]) -> list[tuple[Manifest, list[int]]]:
    """Return records as rows of their segments."""
    by_manifest: dict[int, list[int]] = {}
    for index, row in places:
        by_manifest.setdefault(index, []).append(row)
    return [(parse_manifest(ledger.log.entry(index)), sorted(rows)) for index, rows in by_manifest.items()]


def _plan(ledger: Ledger, found: Survey, asked: Plan) -> Plan:
    """Return the plan to erase what was found."""
    draw = ledger.world.random_bytes
    texts = [record_text(id_text(name)) for name in found.ids.values()]
    texts += [row_text(dataset, row) for dataset, rows in found.rows.items() for row in rows.tolist()]
    leaves = tuple((draw(SALT_SIZE), text) for text in texts)
    hashes = {hash_leaf(leaf_data(salt, text)) for salt, text in leaves}
    touched = bool(found.rows or found.mixed or found.lost or found.sketches)
    rekey = None
    if touched and ledger.keys.has(DATASET_KEY):
        rekey = name_of_key(ledger.keys.key(DATASET_KEY, "key"))
    return replace(
        asked,
        leaves=leaves,
        others=tuple(one for one in tree_leaves(sorted(hashes), draw) if one not in hashes),
        records={index: _by_group(rows) for index, rows in found.records.items()},
        tables={
            **{f"{dataset}.shard": tuple(rows.tolist()) for dataset, rows in found.rows.items()},
            **{name: tuple(rows.tolist()) for name, rows in found.mixed.items()},
        },
        lost=(*found.lost, *found.sketches, *found.leftovers),
        openings=tuple(found.openings),
        rekey=rekey,
        values=found.values,
        tables_lost=len(found.lost),
        waits=(),
        has_begun=True,
    )


def _ends(ledger: Ledger, plan: Plan) -> dict[str, int]:
    """Return up to where the streams of records that are erased are sealed."""
    heads = ledger.lock.heads()
    found = [parse_manifest(ledger.log.entry(index)) for index in plan.records]
    return {one.stream: max(one.end_seq, heads.get(one.stream, 0)) for one in found}


def _waiting(plan: Plan, root: str) -> Plan:
    """Return what is left of a plan that was performed: for whom to look in the streams that are waited for."""
    return Plan(
        subject=plan.subject,
        ground=plan.ground,
        request=plan.request,
        time=plan.time,
        records={},
        tables={},
        waits=plan.waits,
        partial=plan.partial,
        size=plan.size,
        follows=root,
        erased=(*plan.erased, *_records_of(plan)),
        has_begun=False,
    )


def _records_of(plan: Plan) -> list[str]:
    """Return the ids of the records that a plan erases."""
    kinds = (text.partition(" ") for _, text in plan.leaves)
    return [name for kind, _, name in kinds if kind == "record"]


def _by_group(rows: Mapping[int, Sequence[str]]) -> dict[str, tuple[int, ...]]:
    groups: dict[str, list[int]] = {}
    for row, names in sorted(rows.items()):
        for name in names:
            groups.setdefault(name, []).append(row)
    return {name: tuple(numbers) for name, numbers in groups.items()}


def _destroy(ledger: Ledger, shard: str) -> None:
    """Destroy a table of the vault: its keys of every domain for good, then the file, and its index of persons."""
    for domain in DOMAINS:
        ledger.keys.destroy(key_name(shard, domain))
    ledger.vault.remove(shard)
    ledger.keys.destroy(index_name(shard))
    ledger.vault.remove(index_name(shard))


def _entry(ledger: Ledger, plan: Plan, root: str) -> Erased:
    """Return what the log is to say, or says already, of a plan."""
    for entry in ledger.find_entries(ERASED_TYPE):
        if entry.get("root") == root:
            return parse_erased(entry)
    counts: JsonObject = {"leaves": str(len(plan.leaves)), "tables": str(plan.tables_lost), "values": str(plan.values)}
    return Erased(
        ground=plan.ground,
        request=plan.request,
        leaves=len(plan.leaves) + len(plan.others),
        root=root,
        counts=ledger.commit_text("counts", canonical.encode(counts).decode()),
        values=padded(plan.values),
        tables=padded(plan.tables_lost),
        rekeyed=plan.rekey is not None,
        complete=not plan.waits,
        partial=plan.partial,
        follows=plan.follows,
    )


def _append(ledger: Ledger, entry: Erased) -> int:
    """Append the entry of an erasure, unless the log has it, and return its index; it is kept for who restores."""
    remember_erasure(ledger, entry.root, entry.document())

    def missing() -> list[JsonObject]:
        known = any(one.get("root") == entry.root for one in ledger.find_entries(ERASED_TYPE))
        return [] if known else [entry.document()]

    ledger.append(missing)
    return next(at for at, one in ledger.numbered_entries(ERASED_TYPE) if one.get("root") == entry.root)


def _certificate(ledger: Ledger, plan: Plan, leaves: Sequence[bytes], index: int) -> bytes:
    """Return the certificate of a plan that was performed."""
    places = {one: number for number, one in enumerate(leaves)}
    proven = []
    for salt, text in plan.leaves:
        place = places[hash_leaf(leaf_data(salt, text))]
        proven.append(ProvenLeaf(index=place, salt=salt, text=text, path=tuple(inclusion_proof(leaves, place))))
    return encode_certificate(proven, prove_entry(ledger, index))
