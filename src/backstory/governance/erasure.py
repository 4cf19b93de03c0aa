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

import pyarrow.compute as pc

from backstory.errors import ForbiddenError, InputError
from backstory.governance.erasure_left import Recipient, recipients_of, what_remains
from backstory.governance.erasure_plan import Plan, hold_erasing, plans, remove_plan, write_plan
from backstory.governance.erasure_survey import Survey, survey_person
from backstory.governance.keeping import Ground, grounds_to_keep, rows_to_keep
from backstory.governance.proposal import require_actor
from backstory.governance.rule_gate import RuleGate
from backstory.ledger.forget import forget_openings, mark_forgotten, remember_erasure, remember_streams
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
from backstory.records.identity import id_text
from backstory.records.keyed import name_of_key
from backstory.records.manifest import Manifest, parse_manifest
from backstory.records.sensitivity import DOMAINS
from backstory.storage.disk import save_file
from backstory.storage.keys import key_name
from backstory.tlog.hashing import hash_leaf, root_hash
from backstory.tlog.proof import inclusion_proof
from backstory.verify.erasure_certificate import ProvenLeaf, encode_certificate

if TYPE_CHECKING:
    from backstory.capture.recorder import Recorder
    from backstory.governance.access import AccessGate


@dataclass(frozen=True, slots=True)
class Certificate:
    """What proves, record by record, that an erasure was of it; for the person, and kept nowhere else.

    Attributes:
        data: The bytes of the file.
    """

    data: bytes

    def save(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Write the certificate to a file, by convention ending in `.erasure`, and return its path.

        Args:
            path: The file.
            overwrite: Whether a file that is there gives way.

        Raises:
            ConflictError: There is something at `path`, and it must stay.
            StorageError: It cannot be written.
        """
        return save_file(self.data, path, "certificate", overwrite=overwrite)

    def __repr__(self) -> str:
        """Return its size: what is in it is about a person."""
        return f"<Certificate: {len(self.data):,} bytes>"


@dataclass(frozen=True, slots=True, kw_only=True)
class Erasure:
    """What became of an erasure.

    Attributes:
        entry: Index of its entry in the log.
        root: Root of its leaves, in hex.
        records: How many records were erased.
        rows: How many rows of dataset versions were.
        complete: Whether nothing of the person is waited for.
        waits: Streams of other processes whose records of the person will be erased once they let go of them.
        kept: Grounds on which records of the person were not erased.
        models: Model versions trained on rows of the person.
        trees: Dataset versions and training sets of which membership can no longer be proven, of anybody.
        recipients: Who was given something about the person's records earlier, as far as log and accesses know.
        remains: What an erasure cannot reach, in sentences.
        certificate: Proves it of each record; only here, and only now.
    """

    entry: int
    root: str
    records: int
    rows: int
    complete: bool
    waits: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    trees: tuple[str, ...] = ()
    recipients: tuple[Recipient, ...] = ()
    remains: tuple[str, ...] = ()
    certificate: Certificate = field(repr=False)

    def to_dict(self) -> JsonObject:
        """Return it as JSON-safe values, without the certificate."""
        return {
            "complete": self.complete,
            "entry": self.entry,
            "kept": list(self.kept),
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
        state = "complete" if self.complete else "not complete yet"
        lines = [f"erased: {self.records:,} records, {self.rows:,} rows of datasets; {state} (entry {self.entry})"]
        is_empty = not (self.records or self.rows or self.waits or self.kept)
        lists = {
            "note": ["no record and no row was found under this id: was it the right one?"] if is_empty else [],
            "waits for": self.waits,
            "kept": self.kept,
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
) -> Erasure:
    """Erase a person; see `Privacy.erase`."""
    require_actor(ledger, "erasing a person")
    gate.require("erase")
    if ground not in GROUNDS:
        raise InputError(f"erase: expected a ground of {', '.join(GROUNDS)}, got another")
    with hold_erasing(ledger, wait=True):
        return _erase(ledger, gate, recorder, (subject, ground, request), partial=partial)


def _erase(
    ledger: Ledger, gate: AccessGate, recorder: Recorder, asked_for: tuple[str, str, str | None], *, partial: bool
) -> Erasure:
    """Erase a person while nobody else erases."""
    subject, ground, request = asked_for
    began = ledger.world.now_ns()
    waits = _seal(ledger, recorder)
    found = survey_person(ledger, subject)
    asked = None if request is None else ledger.commit_text("request", request)
    kept = _keep(ledger, gate, found, asked, partial=partial)
    plan = _plan(ledger, found, Plan(subject=subject, ground=ground, request=asked, time=began, records={}, tables={}))
    plan = replace(plan, waits=waits)
    recipients = recipients_of(ledger, gate, found)  # before what they are known from is destroyed
    name = write_plan(ledger, plan)
    done = perform(ledger, name, plan)
    return replace(
        done,
        kept=kept,
        models=tuple(found.models),
        trees=tuple(found.trees),
        recipients=recipients,
        remains=what_remains(ledger, found),
    )


def finish(ledger: Ledger) -> list[Erasure]:
    """Go on with every erasure that was cut short, or that waited for others; return those that did something.

    Raises:
        BusyError: Another process is erasing.
        StorageError: Something could not be written; it can be called again.
    """
    with hold_erasing(ledger, wait=False):
        return _finish(ledger)


def _finish(ledger: Ledger) -> list[Erasure]:
    done = []
    for name, plan in plans(ledger):
        if plan.has_begun:
            done.append(perform(ledger, name, plan))
            continue
        held = set(_held(ledger, ()))
        if held.intersection(plan.waits):
            continue
        seal_all(ledger)
        found = _until(ledger, survey_person(ledger, plan.subject), plan.time)
        if bound := _bound(ledger, found):  # by a hold, perhaps, that was placed while this waited
            _refuse(ledger, grounds_to_keep(ledger, RuleGate(), _rows(ledger, bound)), plan.request)
            _leave(found, bound)
        following = _plan(ledger, found, plan)
        write_plan(ledger, following, name)
        done.append(perform(ledger, name, following))
    return done


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
    entry = _entry(ledger, plan, root_hash(leaves).hex())
    index = _append(ledger, entry)
    mark_forgotten(ledger)
    certificate = Certificate(_certificate(ledger, plan, leaves, index))
    if plan.waits:
        write_plan(ledger, _waiting(plan, entry.root), name)
    else:
        remove_plan(ledger, name)
    texts = [text for _, text in plan.leaves]
    return Erasure(
        entry=index,
        root=entry.root,
        records=sum(text.startswith("record ") for text in texts),
        rows=sum(text.startswith("row ") for text in texts),
        complete=not plan.waits,
        waits=plan.waits,
        certificate=certificate,
    )


def _seal(ledger: Ledger, recorder: Recorder) -> tuple[str, ...]:
    """Seal what waits, and return the streams that other processes hold."""
    recorder.sync()
    own = recorder.streams()
    for info, end in own:
        seal_up_to(ledger, info, end)
    seal_all(ledger)
    return _held(ledger, [info.stream for info, _ in own])


def _held(ledger: Ledger, own: Sequence[str]) -> tuple[str, ...]:
    """Return the streams of other living processes, and those that nobody could seal."""
    heads = ledger.lock.heads()
    held = []
    for info in ledger.spool.streams():
        unsealed = any(ledger.spool.frames(info, heads.get(info.stream, 0)))
        if info.stream not in own and (unsealed or ledger.spool.is_open(info.stream)):
            held.append(info.stream)
    return tuple(sorted(held))


def _keep(ledger: Ledger, gate: AccessGate, found: Survey, request: str | None, *, partial: bool) -> tuple[str, ...]:
    """Take what must be kept out of what was found, and return on which grounds it is.

    Raises:
        ForbiddenError: Something must be kept, and nothing was said of erasing the rest; or all of it must.
    """
    grounds = grounds_to_keep(ledger, gate, _rows(ledger, found.ids))
    if not grounds:
        return ()
    bound = _bound(ledger, found)
    if not partial or len(bound) == len(found.ids):
        codes = ", ".join(f"{code}, {law}" for code, law in _refuse(ledger, grounds, request))
        how = "nothing would be left to erase" if partial else "say partial=True to erase the others"
        raise ForbiddenError(f"erase: some records must be kept ({codes}); {how}; the refusal is in the log")
    _leave(found, bound)
    return tuple(map(str, grounds))


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


def _until(ledger: Ledger, found: Survey, time: int) -> Survey:
    """Return what was found of records made before a time; what is no record was erased at once."""
    left = Survey()
    for index, rows in found.records.items():
        manifest = parse_manifest(ledger.log.entry(index))
        reader = ledger.segment(manifest, checked=True)
        times = reader.read_groups(range(reader.group_count), ["time"])["time"].combine_chunks()
        numbers = pc.cast(times, "int64").to_numpy(zero_copy_only=False)
        for row, groups in rows.items():
            if numbers[row] <= time:
                left.records.setdefault(index, {})[row] = groups
                if (index, row) in found.ids:
                    left.ids[index, row] = found.ids[index, row]
    left.sketches = found.sketches
    left.openings = found.openings
    return left


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
        follows=root,
        has_begun=False,
    )


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
