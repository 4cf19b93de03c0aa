"""Who may see what, over the library and the command line: no path shows a class to a role that may not see it.

Every value that is about somebody is unlike any other, and is looked for in whatever comes back: answers, their tables,
pages and JSON, files, errors.
"""

import base64
import contextlib
import io
import json
import re
import zipfile
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.accesses import accesses
from tests.support.policies import MODEL, ROLES, govern, opener, people, record_people, score

import backstory
from backstory.cli.main import run
from backstory.errors import BackstoryError, ForbiddenError
from backstory.records.access import About
from backstory.records.access_record import DENIED
from backstory.records.commitment import verify_opening
from backstory.tlog.proof_file import parse_proof_file
from backstory.verify.bundle import verify_bundle

OPENED = ("features", "features.D5", "output", "subject")
GIVEN = {"subject": {"subject-3"}, "request": {"request-3"}}


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    """Return an archive about people under the policy that is shipped, and the ids of its predictions."""
    path = tmp_path_factory.mktemp("acceptance") / "audit"
    ids = record_people(path)
    govern(path)
    given = {"outcome": "no", "adverse": True, "automation": "human-decided", "reliance": "sole", "action": "accepted"}
    with opener(path)("operator", case="request-3") as archive:
        for row in (2, 3, 4):
            whose, said = f"subject-{row}", f"said-{row}"
            decision = archive.decisions.record(ids[row], subject=whose, text=said, **given)
            archive.rights.notice(
                "adverse-action", ground="x", subject=whose, decision=decision.id, content=said.encode()
            )
            archive.rights.request("contest", subject=whose, due="2100-01-01T00:00:00Z", text=said)
    return path, ids


def sentinels() -> dict[str, tuple[str, int, bool]]:
    """Return each value that is about somebody: its class, whose it is, and whether it is the person's id."""
    table, found = people(), {}
    for row in range(len(table)):
        found[table["cust"][row]] = ("D3", row, True)
        found[table["name"][row]] = ("D4", row, False)
        found[str(table["income"][row])] = ("D4", row, False)
        found[str(table["faith"][row])] = ("D5", row, False)
        found[str(float(table["income"][row] / 100))] = ("D3", row, False)
        found[f"request-{row}"] = ("D1", row, False)
        found[f"said-{row}"] = ("D4", row, False)
    return found | {"90210.25": ("D3", 3, False)}


SENTINELS = sentinels()


def rendered(answer: object) -> str:
    """Return all that an answer shows, in every form it has."""
    parts = [str(answer), repr(answer)]
    if isinstance(answer, pd.DataFrame):
        parts += [str(answer.to_dict("records")), str(answer.attrs)]
    elif hasattr(answer, "to_dict"):
        parts.append(str(answer.to_dict()))
    if hasattr(answer, "to_pylist"):
        parts.append(str(answer.to_pylist()))
    if hasattr(answer, "_repr_html_"):
        parts.append(answer._repr_html_())
    if isinstance(getattr(answer, "data", None), bytes):
        text = answer.data.decode("latin1")
        parts.append(text)
        for encoded in re.findall(r"[A-Za-z0-9+/]{24,}={0,2}", text):
            with contextlib.suppress(ValueError):
                parts.append(base64.b64decode(f"{encoded}==").decode("latin1"))
    return "\n".join(parts)


def bundled(archive, ids, opened) -> str:
    """Return what is in a bundle, without the programs."""
    path = archive.path.parent / "made.zip"
    path.unlink(missing_ok=True)
    archive.bundle(path, predictions=ids, opened=opened)
    with zipfile.ZipFile(path) as file:
        names = [name for name in file.namelist() if not name.startswith("verify/")]
        return "\n".join(file.read(name).decode("latin1") for name in names)


def drawn(archive, spec) -> str:
    """Return a graph's picture."""
    path = archive.path.parent / "graph.svg"
    path.unlink(missing_ok=True)
    archive.graph(spec).save(path)
    return path.read_text()


QUESTIONS: dict[str, Callable] = {
    "why": lambda a, ids, row: a.why(ids[row]),
    "why a model": lambda a, _, __: a.why(MODEL),
    "why a source": lambda a, _, __: a.why("loans"),
    "predictions": lambda a, _, __: a.predictions(),
    "predictions of a model": lambda a, _, __: a.predictions(model=MODEL),
    "predictions of somebody": lambda a, _, __: a.predictions(subject="subject-3"),
    "search": lambda a, _, __: a.search("true"),
    "search by a request": lambda a, _, __: a.search("request_id = 'request-3'"),
    "rows": lambda a, _, __: a.hits("version = 1").rows(),
    "impact": lambda a, _, row: a.impact("loans", rows=[row]),
    "impact's table": lambda a, _, row: a.impact("loans", rows=[row]).predictions,
    "impact's people": lambda a, _, row: a.impact("loans", rows=[row]).subjects,
    "impact of a key": lambda a, _, __: a.impact("loans", keys=["subject-3"]),
    "impact by a predicate": lambda a, _, __: a.impact("loans", where="income > 41200").predictions,
    "graph": lambda a, ids, row: json.dumps(a.graph(ids[row]).to_dict()),
    "graph of a source": lambda a, _, __: drawn(a, "loans"),
    "receipt": lambda a, ids, row: a.receipt(ids[row]),
    "receipts": lambda a, ids, __: a.receipts(ids),
    "bundle": lambda a, ids, row: bundled(a, [ids[row]], ()),
    "bundle with all": lambda a, ids, row: bundled(a, [ids[row]], OPENED),
    "bundle with some": lambda a, ids, __: bundled(a, ids, "output"),
    "replay": lambda a, ids, row: a.replay(ids[row]),
    "replay all": lambda a, _, __: a.replay(model=MODEL),
    "what if": lambda a, ids, row: a.whatif(ids[row], features={"income": 1.0}),
    "diff": lambda a, ids, row: a.diff(ids[row], ids[row - 1]),
    "root cause": lambda a, ids, __: a.rootcause(ids[:3]),
    "drift": lambda a, _, __: a.drift.compare(MODEL),
    "performance": lambda a, _, __: a.drift.performance(MODEL),
    "data": lambda a, _, __: a.data.show("loans"),
    "data diff": lambda a, _, __: a.data.diff("loans", "loans"),
    "overlap": lambda a, _, __: a.data.overlap(MODEL, MODEL, by="key"),
    "why not": lambda a, _, row: a.why_not("loans", rows=[row]),
    "reconcile": lambda a, _, __: a.reconcile(requests=["request-3"]),
    "served": lambda a, ids, row: a.deployments.served(ids[row]),
    "access log": lambda a, _, __: a.access.log(),
    "who saw": lambda a, _, __: a.access.who_saw(subject="subject-3"),
    "stages": lambda a, ids, row: a.stages(ids[row]),
    "explain": lambda a, ids, row: a.explain(ids[row]),
    "counterfactual": lambda a, ids, row: a.explanations.counterfactual(ids[row], target="> 1", change=["income"]),
    "decisions": lambda a, _, __: [a.decisions.show(one.id) for one in a.decisions.find()],
    "decisions of a prediction": lambda a, ids, row: a.decisions.of(ids[row]),
    "notices": lambda a, _, __: [a.rights.show_notice(one.id) for one in a.rights.notices()],
    "requests": lambda a, _, __: [a.rights.show(one.id) for one in a.rights.requests()],
}  # fmt: skip
NAMED = {
    "predictions of somebody": "subject", "impact of a key": "subject", "who saw": "subject",
    "search by a request": "request", "reconcile": "request",
}  # fmt: skip
"""Questions that name what they ask for, which whoever asks knows."""


def shown_to(archive, text: str, known: set[str] = frozenset()) -> list[str]:
    """Return the values in a text that whoever asks may not see."""
    found = []
    for value, (class_, row, is_subject) in SENTINELS.items():
        if value in known or not re.search(rf"(?<![0-9a-z]){re.escape(value)}(?![0-9])", text):
            continue
        about = About(request_id=f"request-{row}", model=MODEL, time_ns=1, subject=lambda row=row: f"subject-{row}")
        view = archive._gate.views(about)[class_]
        if view != "clear" and (view != "pseudonymised" or is_subject):
            found.append(f"{class_} of row {row}, seen {view}")
    return found


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    role=st.sampled_from([*ROLES, None]),
    case=st.sampled_from(["request-3", "inspection", "case", None]),
    name=st.sampled_from(list(QUESTIONS)),
    row=st.integers(1, len(people()) - 1),
)
def test_no_path_of_the_library_shows_a_class_to_a_role_that_may_not_see_it(scene, role, case, name, row):
    """Whatever role, case and question; and an answer that holds something sealed is in the stream of accesses."""
    path, ids = scene
    with opener(path)(role, case=case) as archive:
        size = archive._ledger.log.checkpoint().size
        before = len(accesses(archive._ledger, since=size))
        try:
            text = rendered(QUESTIONS[name](archive, ids, row))
        except BackstoryError as error:
            text = f"{error} {error.details}"
        assert shown_to(archive, text, GIVEN.get(NAMED.get(name, ""), set())) == []
        classes = {SENTINELS[value][0] for value in SENTINELS if value in text} - {"D1"}
        noted = [access for access in accesses(archive._ledger, since=size)[before:] if access["outcome"] != DENIED]
        if classes and name not in NAMED:
            assert noted
            assert all(access["role"] == role for access in noted)


ACTS: dict[str, Callable] = {
    "approve": lambda a, _: a.deployments.approve(MODEL, verdict="rejected"),
    "deploy": lambda a, _: a.deployments.set("production", MODEL),
    "notice": lambda a, _: a.rights.notice("explanation", ground="x", subject="subject-1"),
    "operate-keys": lambda a, _: a.keys.rotate_master("staff"),
    "outcome": lambda a, ids: a.outcome(ids[5], 1.0),
    "propose": lambda a, _: a.decisions.justify(MODEL, text="x"),
    "register": lambda a, _: a.register(score, name="another"),
    "request": lambda a, _: a.rights.request("access", subject="subject-1", due="2100-01-01T00:00:00Z"),
}


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(role=st.sampled_from([*ROLES, None]), act=st.sampled_from(list(ACTS)))
def test_no_verb_does_what_the_policy_does_not_permit(scene, role, act):
    """Whatever role and verb: what is refused leaves one access in the stream, no entry and no record of the act."""
    path, ids = scene
    with opener(path)(role) as archive:
        if archive._gate.may(act):
            ACTS[act](archive, ids)
            return
        size = archive._ledger.log.checkpoint().size
        before = len(accesses(archive._ledger, since=size))
        with pytest.raises(ForbiddenError, match=f"{act}: the policy"):
            ACTS[act](archive, ids)
        assert archive._ledger.log.checkpoint().size == size
        (noted,) = accesses(archive._ledger, since=size)[before:]
        assert (noted["question"], noted["outcome"], noted["role"]) == (act, DENIED, role)


COMMANDS = {
    "why": lambda ids: ["why", ids[3]],
    "search": lambda _: ["search", "true"],
    "impact": lambda _: ["impact", "loans", "--row", "3"],
    "graph": lambda ids: ["graph", ids[3]],
    "receipt": lambda ids: ["receipt", ids[3]],
    "diff": lambda ids: ["diff", ids[3], ids[4]],
    "data": lambda _: ["data", "show", "loans"],
    "info": lambda _: ["info"],
    "log": lambda _: ["log"],
    "reviews": lambda _: ["access", "reviews"],
    "accesses": lambda _: ["access", "log"],
}


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    role=st.sampled_from([*ROLES]),
    case=st.sampled_from(["request-3", "inspection", "case"]),
    name=st.sampled_from(list(COMMANDS)),
    as_json=st.booleans(),
)
def test_no_command_shows_a_class_to_a_role_that_may_not_see_it(scene, tmp_path_factory, role, case, name, as_json):
    """What is printed, on either stream, and what is written."""
    path, ids = scene
    folder = tmp_path_factory.mktemp("cli")
    who = ["--actor", role, "--role", role, "--purpose", "review", "--for-case", case]
    words = COMMANDS[name](ids)
    words += ["--to", str(folder / "receipt")] if name == "receipt" else []
    words += ["-a", str(path), *(["--json"] if as_json else [])]
    words += [] if name in {"info", "log"} else who
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        run(words)
    text = out.getvalue() + err.getvalue() + "".join(rendered(Data(file)) for file in folder.iterdir())
    with opener(path)(role, case=case) as archive:
        assert shown_to(archive, text) == []


class Data:
    """A file, to be looked at as an answer is."""

    def __init__(self, path: Path):
        self.data = path.read_bytes()


def test_two_roles_get_one_root_and_each_its_own_redaction(scene, tmp_path):
    """And a full disclosure later opens the commitments that the first was given."""
    path, ids = scene
    as_ = opener(path)
    with as_("data-scientist") as archive:
        first = archive.why(ids[3])
        key = archive.vkey
    with as_("regulator", case="inspection") as archive:
        second = archive.why(ids[3])
        archive.bundle(tmp_path / "all.zip", predictions=[ids[3]], opened=OPENED)
        receipt = archive.receipt(ids[3])
    assert first.redacted != second.redacted == ()
    table = people()
    assert second.features == {"income": table["income"][3], "faith": table["faith"][3]}
    assert first.features == {"income": "40000…50000"}
    assert first.rows[0].values["cust"] not in set(table["cust"])  # noqa: PD011  a story is no frame
    assert first.proof["entry"] == second.proof["entry"]
    assert first.to_dict()["redacted"][0].keys() == {"class", "commitment", "field", "group", "reason", "view"}
    assert set(backstory.verify_receipt(receipt.data, vkey=key).opened) == set(OPENED)
    openings = json.loads(parse_proof_file(receipt.data).extra)["openings"]
    committed = {one.group: one.commitment for one in first.redacted if one.group is not None}
    assert committed.keys() == {"features", "features.D5", "subject"}
    for group, commitment in committed.items():
        salt, row = bytes.fromhex(openings[group]["salt"]), base64.b64decode(openings[group]["row"])
        verify_opening(bytes.fromhex(commitment), group, salt, row)


def test_the_same_bundle_under_two_roles_verifies(scene, tmp_path):
    """One opens what it may see as it is, the other more; each is checked without the archive, and the root is one."""
    path, ids = scene
    as_ = opener(path)
    roots = {}
    for role, case, opened in (("internal-auditor", "case", set()), ("regulator", "inspection", {"output", "subject"})):
        with as_(role, case=case) as archive:
            made = archive.bundle(tmp_path / f"{role}.zip", predictions=[ids[3]], opened=["output", "subject"])
            key = archive.vkey
        report = verify_bundle(made.path, vkey=key)
        with zipfile.ZipFile(made.path) as file:
            (line,) = file.read("records.jsonl").splitlines()
        proven = json.loads(line)
        assert set(proven["opened"]) == opened
        roots[role] = {name: proven["values"][name] for name in proven["values"] if name.startswith("commitment.")}
        assert report.records == 1
    assert roots["internal-auditor"] == roots["regulator"]


def test_pseudonyms_are_one_within_a_purpose_and_unlinked_between(scene):
    """The same person is the same in two sessions for one purpose, and somebody else for another."""
    path, ids = scene
    found = []
    for purpose in ("one", "one", "other"):
        with opener(path)("data-scientist", purpose=purpose) as archive:
            found.append([archive.why(name).rows[0].values["cust"] for name in ids])  # noqa: PD011  no frame
    assert found[0] == found[1]
    assert not set(found[0]) & set(found[2])
    assert len(set(found[0])) == len(ids)
