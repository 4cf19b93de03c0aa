"""Verifying a whole archive from its bytes.

Reads checkpoint, log, manifests, segments, blobs, vault, keys, snapshots, spool, lock store and catalog, and names
every bad place. The key that signed the checkpoint proves who speaks only if the caller pinned it from outside; that
the past was not rewritten with the real key is shown only by what was kept outside: a checkpoint, an audit's state,
witnesses.
"""

from __future__ import annotations

import contextlib
import fcntl
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from backstory.errors import BackstoryError, FormatError, InputError, StorageError, VerificationError
from backstory.records.canonical import JsonObject
from backstory.records.manifest import Manifest
from backstory.storage.anchors import newest_cosigned
from backstory.storage.disk import read_file
from backstory.storage.layout import Layout, read_layout
from backstory.storage.lock import LockStore
from backstory.storage.master import Wrappers
from backstory.storage.world import World
from backstory.tlog.checkpoint import Checkpoint, open_checkpoint
from backstory.tlog.key import require_keys
from backstory.tlog.policy import Policy, parse_policy
from backstory.verify.against import KeptCheckpoint, check_against, contains, read_kept
from backstory.verify.anchors import AnchorRules, check_anchors
from backstory.verify.audit import Audit, Progress
from backstory.verify.blobs import check_blobs, find_blobs, sizes_of
from backstory.verify.budgets import check_budgets
from backstory.verify.catalog import CUT_SHORT, check_catalog
from backstory.verify.erasure import check_erasures
from backstory.verify.finding import Finding, VerificationReport
from backstory.verify.held import Holdings, read_holdings
from backstory.verify.jobs import check_jobs
from backstory.verify.log import LogCheck, check_log, later_entries
from backstory.verify.people import check_people
from backstory.verify.pool import WorkerPool
from backstory.verify.promised import check_promises, promise_keys
from backstory.verify.segments import check_segments
from backstory.verify.sketches import check_sketches
from backstory.verify.spool import check_spool
from backstory.verify.state import StateKeeper
from backstory.verify.statements import check_statements
from backstory.verify.streams import check_streams
from backstory.verify.subjects import check_subjects
from backstory.verify.succession import Accepted, Succession, accepted_keys, check_succession
from backstory.verify.tables import check_tables
from backstory.verify.time_stamp import read_roots
from backstory.verify.two_people import check_two_people
from backstory.verify.unnamed import check_unnamed
from backstory.verify.vault import check_keys, check_vault

_MEANS_SIGNATURE = "nothing here is shown to be what the holder of the key committed to"
_MEANS_ROLLBACK = "entries may have been committed that are not shown here, or shown that were not committed"
_IF_AWAY = (
    "so it is with a copy of the archive; where the archive is written to, put it back as it was last, or have"
    " `backstory restore` begin a new log"
)
_MEANS_AWAY = (
    "whether the archive was put back to an older state cannot be told from this copy; a kept checkpoint (`--against`),"
    " witnesses (`--policy`) or a monitor can tell"
)
_MEANS_UNSEEN = "records of this stream were sealed, or are said to be, that the log does not show"


def _no_progress(_what: str, _done: int, _total: int) -> None:
    """Tell nobody."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """What an audit is to go by besides the archive.

    Attributes:
        vkey: Keys pinned from outside.
        kept: Checkpoints kept outside.
        policy: Whose cosignatures are demanded.
        max_age_seconds: How old the newest may be.
        authorities: Files of certificates of the time-stamping authorities to believe.
        spools: Spools of workers.
        now_ns: The time it began, nanoseconds since the epoch.
    """

    vkey: str | Sequence[str] | None
    kept: Sequence[KeptCheckpoint]
    policy: Policy | None
    max_age_seconds: int | None
    authorities: Sequence[Path]
    spools: Sequence[Path]
    now_ns: int


def verify_archive(
    root: Path,
    *,
    vkey: str | Sequence[str] | None = None,
    workers: int | None = None,
    spools: Sequence[Path] = (),
    state: Path | None = None,
    full: bool = False,
    against: Sequence[str | Path] = (),
    policy: str | Path | None = None,
    max_age_seconds: int | None = None,
    tsa_roots: Sequence[Path] = (),
    progress: Progress | None = None,
    wrappers: Wrappers | None = None,
    world: World | None = None,
) -> VerificationReport:
    """Check a whole archive.

    Args:
        root: The archive.
        vkey: Public keys pinned from outside, as `init` printed them, each with the sizes it speaks for if that is
            known; one without an end is followed to its successors. None to trust the archive's own, which shows that
            the archive is consistent in itself and not whose it is.
        workers: Processes that hash; None for one a core.
        spools: Spools of workers: a stream that is in none, and did not end by the log, is unknown from there on.
        state: File in which this auditor remembers what was checked, outside the archive; it is made where it is not
            there. What an earlier audit read whole is then only looked at: that it is there, and of its size.
        full: Read everything again, whatever the state says.
        against: Checkpoints kept elsewhere: files with a signed note, a receipt or `size root`, directories of such
            files, or the text `size root`. The log must contain each.
        policy: A C2SP tlog-policy file, or its text: which witnesses must have cosigned.
        max_age_seconds: How old the newest cosignatures that meet the policy may be.
        tsa_roots: Files of certificates of time-stamping authorities to believe.
        progress: Is told how far it is; None to tell nobody.
        wrappers: Master keys that are held elsewhere than in files, by domain; what only they open is unknown without.
        world: Clock and disk; for tests.

    Returns:
        What was checked and every bad place. What this shows: what was recorded is still what is there, whole and in
        order, under the checkpoint. What it does not show: that what was recorded was true, that everything was
        recorded, or that nobody was shown another log (that takes a witness).

    Raises:
        NotFoundError: There is no archive, or no spool of a worker where one was named.
        UnsupportedVersionError: The archive or the state has a newer format.
        InputError: A pinned key or kept checkpoint is malformed, the state is to be in the archive, or there are to be
            no workers.
        FormatError: The state or the policy is malformed.
        StorageError: The state, the policy or a kept checkpoint cannot be read, or the state not be written.
    """
    if workers is not None and workers < 1:
        raise InputError(f"verify: expected at least 1 process to hash with, got {workers}")
    if max_age_seconds is not None and policy is None:
        raise InputError("verify: a greatest age is of cosignatures, so it needs a policy that says whose")
    began = time.perf_counter()
    world = world or World()
    if vkey is not None:
        require_keys(vkey)
    asked = _Asked(
        vkey=vkey,
        kept=read_kept(against),
        policy=None if policy is None else parse_policy(read_file(Path(policy)) if _is_file(policy) else str(policy)),
        max_age_seconds=max_age_seconds,
        authorities=tsa_roots,
        spools=spools,
        now_ns=world.now_ns(),
    )
    if state is not None and state.resolve().is_relative_to(root.resolve()):
        raise InputError("verify: the state is believed, so it must be kept outside the archive it is about")
    keeper = StateKeeper(state, world, full=full)
    opened = _open(root, asked)
    if isinstance(opened, Finding):
        return VerificationReport(
            origin="?", tree_size=0, root="", authenticated=False, counts={}, findings=(opened,),
            seconds=time.perf_counter() - began,
        )  # fmt: skip
    layout, accepted = opened
    with WorkerPool(workers) as pool:
        audit = Audit(
            layout=layout, pool=pool, progress=progress or _no_progress, keeper=keeper, wrappers=wrappers or {}
        )
        checkpoint, witnesses = _check(audit, accepted, asked)
    return VerificationReport(
        origin=layout.config.origin,
        tree_size=checkpoint.size if checkpoint else 0,
        root=checkpoint.root.hex() if checkpoint else "",
        authenticated=accepted.is_pinned,
        since=keeper.read_before or keeper.others_before or None,
        witnesses=witnesses,
        counts=audit.counts,
        totals=audit.totals,
        findings=audit.all_findings(),
        seconds=time.perf_counter() - began,
    )


def _is_file(policy: str | Path) -> bool:
    return isinstance(policy, Path) or "\n" not in policy


def _open(root: Path, asked: _Asked) -> tuple[Layout, Accepted] | Finding:
    try:
        layout = read_layout(root)
        return layout, accepted_keys(layout, asked.vkey)
    except (FormatError, VerificationError) as error:
        return Finding(severity="failed", place="backstory.toml", what=str(error), meaning=_MEANS_SIGNATURE)


def _check(audit: Audit, accepted: Accepted, asked: _Asked) -> tuple[Checkpoint | None, tuple[str, ...] | None]:
    """Check an archive; return the checkpoint and who cosigned it, as far as these can be known."""
    layout = audit.layout
    found = _check_checkpoint(audit, accepted)
    if found is None:
        return None, None
    note, checkpoint = found

    def size_now() -> int:
        return _size_now(layout, checkpoint.size, accepted)

    def later() -> list[JsonObject | None]:
        return later_entries(layout.log, checkpoint.size, size_now())

    try:
        log = check_log(layout.log, checkpoint, size_now, lambda done: audit.progress("entries", done, checkpoint.size))
        audit.keep(*log.findings)
        audit.counts["entries"] = checkpoint.size
        line = check_succession(audit, log)
        if accepted.rotations and accepted.is_pinned:
            what = f"the pinned key was rotated: {accepted.rotations} changes of key lead to the present one"
            audit.add("note", "backstory.toml", what)
        before = audit.problems
        check_against(audit, log, asked.kept, line, accepted.keys)
        is_contradicted = audit.problems > before
        _compare_state(audit, log, line)
        if is_contradicted:  # the state must not take the side of a log that somebody's checkpoint speaks against
            audit.keeper.disbelieve()
        if log.holds:
            audit.keeper.begin(layout.config.origin, layout.config.vkey, note, checkpoint, asked.now_ns)
        holdings = _check_manifests(audit, log)
        check_jobs(audit, log.entries, holdings)
        check_statements(audit, log.entries)
        check_two_people(audit, log.entries)
        check_budgets(audit, log.entries)
        check_segments(audit, log.entries, holdings, size_now)
        check_spool(audit, log.entries)
        check_unnamed(audit, log.entries, holdings, asked.spools, later)
        check_streams(audit, log.entries, holdings, asked.spools, later)
        _check_rest(audit, log, holdings, asked, size_now)
        witnesses = _check_witnesses(audit, log, accepted, asked, size_now)
    except VerificationError as error:  # a file changed between two looks at it
        audit.add("failed", "log", error, meaning="somebody changed the log while it was verified: verify again")
        return checkpoint, None
    return checkpoint, witnesses


def _check_rest(audit: Audit, log: LogCheck, holdings: Holdings, asked: _Asked, size_now: Callable[[], int]) -> None:
    """Check what is not records: tables, blobs, vault, keys, catalog, promises."""
    before = audit.problems
    blobs = find_blobs(audit, log.entries)
    check_tables(audit, log.entries, blobs)
    check_subjects(audit, blobs)
    check_sketches(audit, log.entries, holdings)
    check_blobs(audit, blobs)
    check_erasures(audit, log.entries)
    check_vault(audit, log.entries, holdings, blobs)
    check_people(audit, log.entries)
    check_keys(audit, log.entries, holdings, blobs, asked.spools)
    good = audit.problems == before
    check_catalog(audit, log.entries, holdings, size_now)
    promised = promise_keys(audit, log.entries)
    audit.keep(*check_promises(audit.layout, promised, holdings.ends, asked.now_ns))
    named, unnamed, count = sizes_of(audit, blobs)
    _say_not_read(audit, holdings)
    audit.keeper.finish(others_good=good, named=named, unnamed=unnamed, payloads=count)


def _say_not_read(audit: Audit, holdings: Holdings) -> None:
    """Say what was not read again because an earlier audit did."""
    keeper = audit.keeper
    if not keeper.read_before and not keeper.others_before:
        return
    state = keeper.given
    records = audit.totals.get("records", holdings.records) - audit.counts.get("records", 0)
    when = "" if state is None else f" of {state.time}"
    whole = "never" if state is None or state.whole is None else f"last at {state.whole}"
    what = (
        f"an earlier audit{when} read {records:,} records of entries before {keeper.read_before}, and the blobs and"
        f" tables of entries before {keeper.others_before}: now only that they are there and of their sizes was looked"
        f" at; everything was read {whole}, `--full` does it again"
    )
    audit.add("note", keeper.name, what)


def _check_checkpoint(audit: Audit, accepted: Accepted) -> tuple[bytes, Checkpoint] | None:
    """Check the published checkpoint and that the lock store holds the same."""
    layout = audit.layout
    place = f"log/{layout.config.incarnation}/checkpoint"
    lock_place = layout.config.lock
    with _no_commit(layout):
        try:
            note = read_file(layout.log / "checkpoint")
            checkpoint = open_checkpoint(note, layout.config.origin, accepted.keys)
        except (VerificationError, FormatError) as error:
            what = f"{error}; or backstory.toml names another origin, key or incarnation than the log's"
            audit.add("failed", place, what, meaning=_MEANS_SIGNATURE)
            return None
        except StorageError as error:
            is_there = (layout.log / "checkpoint").exists()
            what = f"{error}; or backstory.toml names another incarnation than the log's"
            audit.add("unknown" if is_there else "failed", place, what, meaning=_MEANS_SIGNATURE)
            return None
        if layout.is_lock_away:
            what = "the lock store is expected there, outside the archive, and is not to be seen from here"
            audit.add("unknown", lock_place, f"{what}: {_IF_AWAY}", meaning=_MEANS_AWAY)
            return note, checkpoint
        try:
            lock = LockStore(layout.lock, writable=False)
            lock.check()
            committed, audit.heads = lock.checkpoint(), lock.heads()
        except BackstoryError as error:
            if CUT_SHORT in str(error):
                what = "a commit was cut short: open the archive for writing to complete it"
                audit.add("unknown", lock_place, what, meaning="whether it agrees with the log is not known until then")
            else:
                audit.add("failed", lock_place, error, meaning=_MEANS_ROLLBACK)
            return note, checkpoint
    if committed != (checkpoint.size, note):
        what = (
            "holds another checkpoint than the one published: a commit was cut short, or one was put back from a copy"
        )
        what = f"{what}; open the archive for writing to complete it"
        audit.add("failed", lock_place, what, index=min(committed[0], checkpoint.size), meaning=_MEANS_ROLLBACK)
    return note, checkpoint


def _size_now(layout: Layout, size: int, accepted: Accepted) -> int:
    """Return the size of the log now, which may have grown since its checkpoint was read."""
    try:
        with _no_commit(layout):
            note = read_file(layout.log / "checkpoint")
        return max(size, open_checkpoint(note, layout.config.origin, accepted.keys).size)
    except BackstoryError:
        return size


@contextlib.contextmanager
def _no_commit(layout: Layout) -> Iterator[None]:
    """Wait for a commit that is under way, so that its halves are not taken for damage."""
    try:
        file = (layout.log / "writer").open("rb")
    except OSError:
        yield  # no writer was ever here, or none this process can see
        return
    with file:
        fcntl.flock(file, fcntl.LOCK_SH)
        yield


def _compare_state(audit: Audit, log: LogCheck, line: Succession) -> None:
    """Check that the log goes on from what this auditor saw of it; if it does not, nothing of the state is believed."""
    keeper, given, config = audit.keeper, audit.keeper.given, audit.layout.config
    if given is None:
        return
    before = audit.problems
    past = line.past.get(given.origin, -1)
    if given.origin != config.origin and past < 0:
        what = f"is of the log {given.origin}, and this is {config.origin}"
        meaning = "another archive is shown than the one that was audited, or the wrong state was given"
        audit.add("failed", keeper.name, what, meaning=meaning)
    elif given.origin != config.origin and given.size > past:
        what = f"{given.size} entries were audited and the archive was restored with {past} of them"
        meaning = f"entries {past} to {given.size - 1} were in the log, and are lost"
        audit.add("failed", keeper.name, what, index=past, meaning=meaning)
    elif line.vkeys and given.vkey not in line.vkeys:
        what = "the log was audited under another key, and no change of key leads from one to the other"
        audit.add("failed", keeper.name, what, meaning=_MEANS_SIGNATURE)
    else:
        contains(audit, log, given.size, given.root, keeper.name)
    if audit.problems > before:
        keeper.disbelieve()


def _check_manifests(audit: Audit, log: LogCheck) -> Holdings:
    """Check that manifests cover each stream from 0 without gaps or overlaps, up to its head in the lock store."""

    def say(index: int, problem: str) -> None:
        meaning = "which records this entry speaks of, and where they are, cannot be told from it"
        audit.add("failed", f"entry {index}", problem, index=index, meaning=meaning)

    def gap(index: int, manifest: Manifest, expected: int) -> None:
        first, end = sorted((expected, manifest.first_seq))
        audit.add(
            "failed",
            f"stream {manifest.stream}",
            f"records {expected} to {manifest.first_seq} are missing or doubled (entry {index})",
            stream=manifest.stream,
            seq=first,
            end_seq=end,
            index=index,
            meaning=f"records {first} to {end - 1} were recorded and are in no manifest, or in two",
        )

    holdings = read_holdings(log.entries, say, gap)
    if audit.heads is None:
        audit.heads = holdings.ends  # said already
    if not log.entries.is_whole:
        return holdings  # said already
    heads, ends = audit.heads, holdings.ends
    for stream in sorted(set(heads) | set(ends)):
        head, end = heads.get(stream, 0), ends.get(stream, 0)
        if head != end:
            what = f"says that {head} records of stream {stream} are sealed, the log {end}"
            first, last = sorted((head, end))
            audit.add(
                "failed",
                audit.layout.config.lock,
                what,
                stream=stream,
                seq=first,
                end_seq=last,
                meaning=_MEANS_UNSEEN,
            )
    return holdings


def _check_witnesses(
    audit: Audit, log: LogCheck, accepted: Accepted, asked: _Asked, size_now: Callable[[], int]
) -> tuple[str, ...] | None:
    """Check cosignatures and time stamps that are kept beside the log; return who cosigned by the policy."""
    now = asked.now_ns // 10**9
    rules = AnchorRules(
        keys=accepted.keys,
        root_at=log.root_at,
        size_now=size_now,
        roots=tuple(read_roots(asked.authorities)),
        policy=asked.policy,
        now=now,
    )
    anchors = check_anchors(audit, rules)
    if asked.policy is None:
        return None
    cosigned = [anchor for anchor in anchors if anchor.witnesses]
    place = f"log/{audit.layout.config.incarnation}/anchors"
    if cosigned and cosigned[-1].size < len(log.entries):
        what = f"cosigned by the policy up to size {cosigned[-1].size}: no witness stands for the entries after it"
        audit.add("note", place, what, index=cosigned[-1].size)
    if asked.max_age_seconds is not None and cosigned:
        try:
            note = newest_cosigned(audit.layout) or b""
            asked.policy.check(note, keys=accepted.keys, now=now, max_age_seconds=asked.max_age_seconds)
        except BackstoryError as error:
            meaning = "this may be an old copy that is shown on: ask the witnesses for their newest checkpoint"
            audit.add("failed", place, error, meaning=meaning)
    return cosigned[-1].witnesses if cosigned else ()
