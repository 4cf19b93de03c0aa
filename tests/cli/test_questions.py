"""The commands that answer questions, on a small archive: what they print and which exit code they give."""

from __future__ import annotations

import re

import pytest
from tests.support.receipts import POLICY, SIGNER

import backstory
from backstory.cli.exit_codes import CONFLICT, FAILED, FORBIDDEN, INPUT, NOT_FOUND, OK, PARTIAL, UNVERIFIED
from backstory.cli.search import value_text as output_text
from backstory.errors import FormatError, StorageError
from backstory.tlog.signer import Ed25519Signer
from backstory.verify.standalone import verifier_files

AT_THE_END = ("--as-of", "9000-01-01T00:00:00Z")
AS_ANALYST = ("--actor", "ana", "--purpose", "case 77")


def test_why_answers_first(made, ask):
    """The first line of a story is what was predicted, by which model."""
    answer = ask("why", made.first)
    assert answer.code == OK
    assert answer.out.startswith("delay:1 predicted -4.2047519230452")


def test_a_pipe_gets_plain_text(made, ask):
    """Where stdout is no terminal there is no frame and no colour."""
    out = ask("why", made.first).out
    assert "╭" not in out
    assert "\x1b" not in out


def test_an_option_comes_before_the_environment(made, ask, tmp_path):
    """The archive can be named by the environment, and an option outdoes it."""
    assert ask("info", "--json").json()["vkey"] == made.vkey
    assert ask("info", "-a", tmp_path).code == NOT_FOUND


def test_why_takes_a_unique_prefix(made, ask):
    """An id may be shortened as long as it is unique."""
    assert ask("why", made.unsealed[:-1].replace("-", ""), "--json").json()["id"] == made.unsealed
    assert ask("why", made.first[:4], "--json").code == CONFLICT


def test_why_names_rows_and_what_became_features(made, ask):
    """A story names each row with its key and the values the model was given."""
    out = ask("why", made.first).out
    assert "flights  row 0" in out
    assert "hour 0, wind 4.0" in out
    assert "mixed from 20 rows of flights" in out


def test_why_as_json_holds_the_same(made, ask):
    """The JSON of a story holds rows, floats as floats, and the proof."""
    story = ask("why", made.first, "--json").json()
    assert {row["reference"]: row["position"] for row in story["rows"]} == {"flights": 0, "route": 0, "weather": 4}
    assert story["features"]["wind2"] == 16.0
    assert story["outcomes"][0]["value"] == 42.5
    assert story["proof"]["state"] == "sealed"


def test_sealed_values_stay_sealed(made, ask):
    """Without actor and purpose a story about a person shows nothing of it, says so, and is partial."""
    answer = ask("why", made.sealed)
    assert answer.code == PARTIAL
    assert ": give an actor and a purpose\n" in answer.out
    assert "Ada" not in answer.out
    assert "income" not in answer.out


def test_actor_and_purpose_open_sealed_values(made, ask, copy):
    """With both, sealed values are shown, and the log of accesses says who read them."""
    answer = ask("why", made.sealed, *AS_ANALYST, archive=copy)
    assert answer.code == OK
    assert "cust 'Ada'" in answer.out
    seen = ask("access", "who-saw", "--prediction", made.sealed, "--json", *AS_ANALYST, archive=copy).json()["seen"]
    assert {(one["access"]["actor"], one["access"]["question"]) for one in seen} == {("ana", "why")}


def test_actor_needs_a_purpose(made, ask):
    """An actor without a purpose is refused before anything is opened."""
    assert ask("why", made.sealed, "--actor", "ana").code == INPUT


def test_broken_edges_are_loud(made, ask):
    """A story with a row that is not known says BROKEN at its top, and is partial."""
    answer = ask("why", made.broken)
    assert answer.code == PARTIAL
    assert answer.out.splitlines()[1].startswith("!! BROKEN: the row of weather")


@pytest.mark.parametrize(
    ("choice", "code"),
    [
        (("--row", "4"), OK),
        (("--key", '["EWR", 0]'), OK),
        (("--key", '{"origin": "EWR", "hour": 0}'), OK),
        (("--where", "wind = 4"), OK),
        (("--key", "[broken"), INPUT),
        (("--where", "wind ="), INPUT),
        (("--row", "4", "--where", "wind = 4"), INPUT),
        ((), INPUT),
        (("--row", "8"), NOT_FOUND),
    ],
)
def test_impact_chooses_rows(ask, choice, code):
    """Rows are chosen by position, key or predicate, by exactly one of them."""
    answer = ask("impact", "weather", *choice)
    assert answer.code == code
    assert ("reached 4 predictions, 1 model" in answer.out) == (code == OK)


def test_impact_shows_how_a_key_of_several_columns_is_given(ask):
    """One value for a key of two columns is answered with the form on a command line."""
    assert """on a command line: --key '["JFK", 5]'""" in ask("impact", "weather", "--key", "EWR").err


def test_a_group_is_no_source(ask):
    """Who asks for rows of a group is told what it is."""
    answer = ask("impact", "route", "--row", "0")
    assert (answer.code, "'route' is a group" in answer.err) == (NOT_FOUND, True)


def test_impact_opens_sealed_segments(ask, copy):
    """With actor and purpose nothing is left out."""
    answer = ask("impact", "loans", "--row", "0", "--json", *AS_ANALYST, archive=copy)
    assert answer.code == OK
    assert answer.json()["counts"] == {"predictions": 1, "models": 1, "features": 1}
    assert answer.json()["sealed"] == 0


def test_replay_confirms(made, ask):
    """A model that still says that gives success."""
    answer = ask("replay", made.first, "--json")
    assert (answer.code, answer.json()["verdict"]) == (OK, "exact")


@pytest.mark.parametrize("which", ["sealed", "failed", "function"])
def test_what_cannot_be_replayed_is_not_confirmed(made, ask, which):
    """Sealed, failed and function predictions give the exit code of what could not be checked."""
    assert ask("replay", getattr(made, which)).code == UNVERIFIED


def test_search_takes_values_for_question_marks(made, ask):
    """Values given as text are compared as numbers, times and text, as the column is."""
    predicate = "model = ? and output < ? and time > ? and feature.hour = ?"
    found = ask("search", predicate, "delay", "0.5", "2020-01-01", "0", "--json").json()
    assert made.first in {row["id"] for row in found["predictions"]}


def test_search_says_there_is_more(ask):
    """A list that was cut says so, and of how many."""
    found = ask("search", "status = 'ok'", "--limit", "2", "--json").json()
    assert (found["more"], len(found["predictions"])) == (True, 2)
    told = f"{found['total']} predictions, the oldest 2 of them here; --limit shows more"
    assert told in ask("search", "status = 'ok'", "--limit", "2").out


def test_search_says_what_is_sealed(ask):
    """Sealed values are named as such, and who asks for them is told that they were not compared."""
    found = ask("search", "model = 'loan'").out
    assert (found.count("  sealed"), "null" in found) == (2, False)
    answer = ask("search", "output > 0")
    assert (answer.code, "2 predictions not compared" in answer.out) == (PARTIAL, True)
    assert ask("search", "output > 0", "--json").json()["not_compared"] == 2


def test_tables_are_short(made, ask):
    """Tables have times to the second and floats to six digits; JSON has all of them."""
    found = ask("search", "model = 'delay'", "--limit", "1").out
    assert "-4.20475 " in found
    assert ask("search", "model = 'delay'", "--limit", "1", "--json").json()["predictions"][0]["output"] < -4.20475
    for text in (found, ask("log").out, ask("impact", "flights", "--row", "0").out):
        assert re.search(r"\d\d:\d\d:\d\dZ", text)
        assert not re.search(r"\d\d:\d\d:\d\d\.", text)


def test_impact_lists_as_many_as_asked(ask):
    """Without --limit ten lines are listed of more; with it, all of them."""
    every = len(ask("impact", "flights", "--where", "true", "--json").json()["predictions"])
    assert "the first 10 of" in ask("impact", "flights", "--where", "true").out
    whole = ask("impact", "flights", "--where", "true", "--limit", every).out
    assert "the first" not in whole
    assert ask("impact", "flights", "--where", "true", "--limit", "0").code == INPUT


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"output": 0.56, "output.False": None, "output.True": None}, "0.56"),
        ({"output": None, "output.False": 0.25, "output.True": 0.75}, "False 0.25, True 0.75"),
        ({"output": None, "output.0": None}, "null"),
    ],
)
def test_an_output_is_shown_in_its_own_columns(values, told):
    """Beside outputs of other shapes a record has nulls, which are not shown."""
    assert output_text(values | {"sealed": []}, "output") == told


def test_search_finds_nothing(ask):
    """An empty answer is an answer."""
    assert ask("search", "output > 1e9").out.splitlines()[0] == "0 predictions"


def test_info_counts(made, ask):
    """`info` names origin, key, models with aliases, sources, and what is not sealed."""
    info = ask("info", "--json").json()
    assert info["vkey"] == made.vkey
    assert info["authenticated"] is False
    assert info["unsealed"]["predictions"] == 1
    assert info["sealed"]["outcomes"] == 1
    assert [(m["name"], m["version"], m["aliases"]) for m in info["models"]] == [
        ("delay", 1, ["production"]),
        ("loan", 1, []),
    ]
    assert {s["name"]: s["rows"] for s in info["sources"]} == {"flights": 40, "weather": 8, "loans": 2}


def test_models_lists_versions(ask):
    """`models` says on how many rows a version was trained."""
    assert ask("models", "--json").json()["models"][0]["training_rows"] == 40
    assert "delay:1  production" in ask("models").out


def test_log_lists_entries(ask):
    """`log` lists the newest entries, or those from an index on."""
    assert (
        ask("log", "--first", "0", "--limit", "1", "--json").json()["entries"][0]["entry"]["type"] == "archive.created"
    )
    assert ask("log", "--limit", "1").out.splitlines()[0].startswith("1 entry of tree size")
    assert ask("log", "--limit", "0").code == INPUT


def test_verify_passes_under_the_pinned_key(made, ask):
    """An untouched archive verifies, and the verdict says whether the key was pinned."""
    assert ask("verify", "--workers", "1", "--vkey", made.vkey, "--json").json()["authenticated"] is True
    answer = ask("verify", "--workers", "1")
    assert answer.code == OK
    assert answer.out.startswith("self-consistent, not authenticated")


def test_verify_fails_on_a_changed_segment(ask, copy):
    """A changed byte is a failed verification, and the file is named."""
    segment = max((copy / "segments").iterdir(), key=lambda path: path.stat().st_size)
    data = bytearray(segment.read_bytes())
    data[len(data) // 2] ^= 1
    segment.write_bytes(data)
    answer = ask("verify", "--workers", "1", archive=copy)
    assert answer.code == FAILED
    assert segment.name in answer.out


@pytest.mark.parametrize("damage", [b"\xff" * 400, None])
def test_a_damaged_segment_is_told_alike(made, ask, copy, damage):
    """Whatever is asked, changed bytes fail and a missing file cannot be read, and the message says what to do."""
    for path in (copy / "segments").iterdir():
        data = path.read_bytes()
        path.unlink()
        if damage:
            path.write_bytes(data[:4] + damage + data[4 + len(damage) :])
    for question in (
        ("why", made.first),
        ("replay", made.first),
        ("search", "true"),
        ("impact", "weather", "--row", "4"),
    ):
        answer = ask(*question, archive=copy)
        assert (answer.code, answer.out) == (FAILED if damage else UNVERIFIED, "")
        assert "run `backstory verify`" in answer.err


def test_verify_reports_a_log_too_damaged_to_open(ask, copy):
    """Even an archive that cannot be opened gets a report."""
    (checkpoint,) = (copy / "log").glob("*/checkpoint")
    checkpoint.write_bytes(checkpoint.read_bytes().replace(b"example.org", b"example.net"))
    answer = ask("verify", "--workers", "1", "--json", archive=copy)
    assert answer.code == FAILED
    assert "checkpoint" in answer.json()["findings"][0]["place"]


def test_verify_is_incomplete_without_the_vault(ask, copy):
    """Where something could not be checked and nothing failed, the code is another than for failure."""
    for shard in (copy / "vault").glob("*-*.shard"):
        shard.unlink()
    assert ask("verify", "--workers", "1", archive=copy).code == UNVERIFIED


def test_another_pinned_key_fails(made, ask, copy):
    """An archive of another key is a failed verification, whatever is asked of it."""
    other = Ed25519Signer.from_seed(made.vkey.partition("+")[0], bytes(32)).vkey
    assert ask("verify", "--vkey", other).code == FAILED
    assert ask("why", made.first, "--vkey", other).code == FAILED


def test_malformed_pinned_key_is_a_mistake_not_an_alarm(made, ask):
    """A key that was cut short is wrong input; nothing is said of tampering."""
    for words in (("verify",), ("why", made.first)):
        assert ask(*words, "--vkey", made.vkey[:-9]).code == INPUT
        assert "if this names a file, give what is in it" in ask(*words, "--vkey", "key.txt").err


def test_receipt_is_checked_without_the_archive(made, ask, tmp_path):
    """A receipt verifies under the right key alone."""
    path = tmp_path / "one.tlog-proof"
    assert ask("receipt", made.first, "-o", path).code == OK
    nowhere = tmp_path / "nothing"
    checked = ask("verify-receipt", path, "--vkey", made.vkey, "--json", archive=nowhere)
    assert (checked.code, checked.json()["id"]) == (OK, made.first)
    other = b"B" if path.read_bytes()[-9:-8] == b"A" else b"A"
    path.write_bytes(path.read_bytes()[:-9] + other + path.read_bytes()[-8:])  # within the signature
    assert ask("verify-receipt", path, "--vkey", made.vkey).code == FAILED


def test_a_malformed_receipt_fails(made, ask, tmp_path):
    """What begins as a receipt and is malformed was changed; what does not begin so is no receipt."""
    path = tmp_path / "one.tlog-proof"
    ask("receipt", made.first, "-o", path)
    data = path.read_bytes()
    for at, code in ((0, UNVERIFIED), (data.index(b"\n") + 1, FAILED), (data.index(b"index"), FAILED), (-1, FAILED)):
        flipped = bytearray(data)
        flipped[at] ^= 1
        path.write_bytes(flipped)
        assert ask("verify-receipt", path, "--vkey", made.vkey).code == code
    path.write_bytes(data[:-20])
    assert ask("verify-receipt", path, "--vkey", made.vkey).code == FAILED


def test_a_receipt_may_be_given_as_its_text(made, ask, tmp_path):
    """Python takes path, bytes or text; text that is no receipt is not repeated as if it were the name of a file."""
    path = tmp_path / "one.tlog-proof"
    ask("receipt", made.first, "-o", path)
    for receipt in (path, str(path), path.read_bytes(), path.read_text()):
        assert backstory.verify_receipt(receipt, vkey=made.vkey).id == made.first
    for text in ("Ada\n" * 2, "Ada" * 200):
        with pytest.raises((FormatError, StorageError)) as caught:
            backstory.verify_receipt(text, vkey=made.vkey)
        assert "Ada" not in str(caught.value)


def test_receipt_overwrites_nothing(made, ask, tmp_path):
    """A file that is there stays."""
    path = tmp_path / "one.tlog-proof"
    path.write_text("mine")
    assert ask("receipt", made.first, "-o", path).code == CONFLICT
    assert path.read_text() == "mine"


def test_receipt_names_the_option_for_another_file(made, ask, tmp_path):
    """Where the file is there already, the message says how to name another."""
    (tmp_path / "r").write_text("mine")
    assert "; -o names another" in ask("receipt", made.first, "-o", tmp_path / "r").err


def test_receipt_of_an_unsealed_prediction(made, ask):
    """What no checkpoint covers has no receipt."""
    assert ask("receipt", made.unsealed).code == CONFLICT


def test_receipt_opens_sealed_values_when_asked(made, ask, copy, tmp_path):
    """A receipt shows sealed values only if actor and purpose were given."""
    ask("receipt", made.sealed, "-o", tmp_path / "closed")
    ask("receipt", made.sealed, "-o", tmp_path / "open", *AS_ANALYST, archive=copy)
    closed, opened = (
        ask("verify-receipt", tmp_path / name, "--vkey", made.vkey, "--json").json() for name in ("closed", "open")
    )
    assert closed["opened"] == {}
    assert opened["opened"]["features"]["feature.income"] == "1.0"


def test_seal_then_why(made, ask, copy):
    """An unsealed prediction says so; sealing puts it into the log."""
    assert "unsealed: no proof covers it yet" in ask("why", made.unsealed, archive=copy).out
    assert ask("seal", "--json", archive=copy).json()["sealed"] == 1
    assert ask("why", made.unsealed, "--json", archive=copy).json()["proof"]["state"] == "sealed"


def test_reindex_rebuilds_the_catalog(ask, copy):
    """The catalog can be deleted and rebuilt."""
    (copy / "catalog.sqlite").unlink()
    size = ask("log", "--json", archive=copy).json()["tree_size"]
    assert ask("reindex", "--json", archive=copy).json() == {"entries": size, "people": 0}


def test_init_prints_the_key_to_pin(ask, tmp_path):
    """`init` creates an archive once, and prints the key it has."""
    made = ask("init", tmp_path / "new", "--origin", "example.org/new", "--json")
    assert ask("info", "--json", archive=tmp_path / "new").json()["vkey"] == made.json()["vkey"]
    assert ask("init", tmp_path / "new", "--origin", "example.org/new").code == CONFLICT


def test_receipts_of_several_are_one_file(made, ask, tmp_path):
    """Several ids give one file, which is checked as a whole."""
    path = tmp_path / "r.receipts"
    made_of = ask("receipt", made.function[:-1], made.sealed, "-o", path, "--json").json()
    checked = ask("verify-receipt", path, "--vkey", made.vkey, "--json").json()
    assert [receipt["id"] for receipt in checked["receipts"]] == made_of["ids"]
    assert set(made_of["ids"]) == {made.function, made.sealed}


def test_receipts_open_sealed_values_when_asked(made, ask, copy, tmp_path):
    """A file of several shows sealed values only if actor and purpose were given."""
    ask("receipt", made.first, made.sealed, "-o", tmp_path / "closed")
    ask("receipt", made.first, made.sealed, "-o", tmp_path / "open", *AS_ANALYST, archive=copy)
    documents = [
        ask("verify-receipt", tmp_path / name, "--vkey", made.vkey, "--json").json() for name in ("closed", "open")
    ]
    assert [any(receipt["opened"] for receipt in document["receipts"]) for document in documents] == [False, True]


def test_receipt_brings_the_verifiers(made, ask, tmp_path):
    """With --verifier the stand-alone programs are written beside the receipt, and a second time they may be there."""
    for name in ("a", "b"):
        answer = ask("receipt", made.first, "-o", tmp_path / name, "--verifier")
        assert answer.code == OK
        assert all(str(tmp_path / program) in answer.out for program in verifier_files()), "and it says so"
    assert sorted(path.name for path in tmp_path.glob("verify_receipt.*")) == sorted(verifier_files())


def test_another_file_of_a_verifiers_name_stays(made, ask, tmp_path):
    """What is called as a verifier and is another file is not replaced; then nothing is written."""
    (tmp_path / "verify_receipt.py").write_text("mine", "utf-8")
    assert ask("receipt", made.first, "-o", tmp_path / "r", "--verifier").code == CONFLICT
    assert [path.name for path in tmp_path.iterdir()] == ["verify_receipt.py"]


def test_a_receipt_of_a_version_to_come_cannot_be_verified(made, ask, tmp_path):
    """A newer receipt is neither verified nor failed."""
    path = tmp_path / "r.receipts"
    path.write_text('{"backstory":"receipts","v":2}', "utf-8")
    done = ask("verify-receipt", path, "--vkey", made.vkey)
    assert (done.code, "version 2" in done.err) == (UNVERIFIED, True)


def test_a_receipt_is_checked_against_a_policy(made, ask, tmp_path):
    """A policy that asks for nobody verifies; one whose witness did not sign does not."""
    ask("receipt", made.first, "-o", tmp_path / "r")
    (tmp_path / "none").write_text(f"log {made.vkey}\nquorum none\n", "utf-8")
    (tmp_path / "one").write_text(POLICY.replace(SIGNER.vkey, made.vkey), "utf-8")
    codes = [ask("verify-receipt", tmp_path / "r", "--policy", tmp_path / name).code for name in ("none", "one")]
    assert codes == [OK, FAILED]


@pytest.mark.parametrize(
    "question",
    [
        ("info",),
        ("why", "unsealed"),
        ("why", "first"),
        ("search", "model = 'delay'"),
        ("impact", "weather", "--key", '["JFK", 1]'),
        ("reconcile", "--count", "3"),
        ("models",),
    ],
    ids=" ".join,
)
def test_a_copy_without_a_lock_store_kept_elsewhere_answers_alike(made, ask, copy, question):
    """Whoever was given a copy asks what the operator asks: how far streams are sealed stands in the log too."""
    words = [getattr(made, word, word) for word in question]
    (copy / "lock.sqlite").unlink()
    with (copy / "backstory.toml").open("a", encoding="utf-8") as config:
        config.write('lock = "/nowhere/lock.sqlite"\n')
    own, theirs = ask(*words, "--json"), ask(*words, "--json", archive=copy)
    assert (theirs.code, theirs.err) == (own.code, own.err)
    assert theirs.out == own.out.replace(str(made.path), str(copy))


def test_cases_and_people_are_listed(ask, copy):
    """`--cases` lists requests, `--subjects` people, and only to who says why; both instead of predictions."""
    assert ask("impact", "--model", "loan", "--subjects").code == FORBIDDEN
    asked = ("impact", "--model", "loan", "--cases", "--subjects", *AS_ANALYST)
    answer = ask(*asked, "--json", archive=copy).json()
    assert (answer["cases"], "Ada" in answer["subjects"], "predictions" in answer) == ([], True, False)
    assert "\nCases\n  none\n\nSubjects\n  Ada" in ask(*asked, archive=copy).out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("impact", "flights"), "expected --row, --key or --where, or one of --loaded-since"),
        (("impact",), "expected exactly one of SOURCE, --model and --feature"),
        (("impact", "flights", "--loaded-since", "2026-11-17"), "expected --loaded-since with a time zone"),
        (("why", "delay", "--as-of", "Tuesday"), "--as-of: expected a tree size, or a moment"),
        (("deployments", "approve", "delay"), "expected --actor"),
        (("deployments", "served"), "expected the id of a prediction, or --request"),
    ],
)
def test_a_command_speaks_of_its_own_options(ask, arguments, said):
    """What is wrong is said in words of the command line."""
    assert said in ask(*arguments).err


def test_the_past_is_asked_by_moment_too(ask):
    """`--as-of` takes a moment: in 2001 there was nothing, by the end of time all there is now."""
    assert "tree size 0: it is newer" in ask("why", "delay", "--as-of", "2001-01-01T00:00:00Z").err
    now, later = (ask("search", "model = 'delay'", "--json", *past).json() for past in ((), AT_THE_END))
    assert now["total"] - later["total"] in {0, 1}, "what waits to be sealed is not in the past"


def test_help_of_a_command_says_what_its_actions_do(ask):
    """`COMMAND --help` begins with what the docstring says, each action in a paragraph of its own."""
    assert "\noverlap A B        print which rows and persons two sets share" in ask("data", "--help").out


def test_what_served_a_request_is_asked_by_its_id(ask, made):
    """A request's id stands for its predictions; one that made none is not found."""
    found = ask("deployments", "served", "--request", "r-1", "--json").json()["served"]
    assert made.first in [one["prediction"] for one in found]
    assert f"prediction {made.first}\nserved by delay:1" in ask("deployments", "served", "--request", "r-1").out
    assert ask("deployments", "served", "--request", "r-none").code == NOT_FOUND


def test_an_approval_says_what_it_is_of(ask, copy):
    """The version, the verdict and for what, not the deployments there are."""
    with backstory.open(copy, actor="bo", sealer="none") as archive:
        archive.register(len, name="length")
    answer = ask("deployments", "approve", "length", "--actor", "ana", "--deployment", "live", archive=copy)
    assert answer.out == "length:1 approved for live\n"
