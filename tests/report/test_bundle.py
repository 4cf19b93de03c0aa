"""What goes into an evidence bundle, and what it is refused for."""

from __future__ import annotations

import hashlib
import json
import shutil
import zipfile

import pandas as pd
import pyarrow.parquet as pq
import pytest
from tests.support.accesses import accesses
from tests.support.archives import ORIGIN, archive_with_predictions

import backstory
from backstory.cli import bundle as command
from backstory.cli.exit_codes import PARTIAL
from backstory.cli.options import Asking
from backstory.errors import (
    ConflictError,
    ForbiddenError,
    InputError,
    LimitError,
    NotFoundError,
    QueryError,
    StorageError,
    VerificationError,
)
from backstory.report import bundle as report
from backstory.report.selection import Question
from backstory.report.tables import write_parquet_file
from backstory.verify.bundle import verify_bundle


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """An archive with 40 predictions, their ids, its key."""
    path = tmp_path_factory.mktemp("made") / "audit"
    archive, ids = archive_with_predictions(path)
    with archive:
        return path, ids, archive.vkey


@pytest.fixture
def archive(made, tmp_path):
    """A copy of it, open."""
    with backstory.open(shutil.copytree(made[0], tmp_path / "audit")) as opened:
        yield opened


@pytest.fixture
def people(tmp_path):
    """An archive with predictions about people, and what opens it."""
    path = tmp_path / "people"
    with backstory.init(path, origin=ORIGIN) as opened:
        rule = opened.register(lambda rows: rows["x"] * 7.25, name="rule")
        frame = pd.DataFrame({"x": [1.0, 2.0]})
        opened.predict(rule, frame.to_dict("records"), subject=["ann", "bob"], method="__call__").wait("sealed")
        return path, opened.vkey


@pytest.fixture
def waiting(made, tmp_path):
    """A copy of the archive in which another process seals two predictions at this moment."""
    root = shutil.copytree(made[0], tmp_path / "waiting")
    with backstory.open(root, sealer="none") as writer:
        writer.predict(writer.model("credit"), pd.DataFrame({"amount": [1.0, 2.0], "years": [1.0, 2.0]}))
        ledger = writer._ledger
        ((info, _),) = writer._recorder.streams()
        now = ledger.world.now_ns()
        assert ledger.lock.take_lease(info.stream, "elsewhere:1:ab", now, now + 600 * 10**9)
        yield root
        ledger.lock.release_lease(info.stream, "elsewhere:1:ab")


def question_in(path):
    """Return the question a bundle states."""
    with zipfile.ZipFile(path) as file:
        return json.loads(file.read("manifest.json"))["question"]


def lines_in(path):
    """Return the records of a bundle."""
    with zipfile.ZipFile(path) as file:
        return [json.loads(line) for line in file.read("records.jsonl").splitlines()]


def test_a_bundle_by_id_holds_exactly_these_predictions(archive, made, tmp_path):
    """Ids may be given in any order; the bundle has the log's."""
    archive.bundle(tmp_path / "b.zip", [made[1][7], made[1][3]])
    assert [line["id"] for line in lines_in(tmp_path / "b.zip")] == [made[1][3], made[1][7]]


def test_a_bundle_of_a_model_holds_all_its_predictions(archive, made, tmp_path):
    """A model's name stands for all its versions."""
    archive.bundle(tmp_path / "b.zip", model="credit")
    assert {line["id"] for line in lines_in(tmp_path / "b.zip")} == set(made[1])


def test_a_predicate_picks_what_search_finds(archive, tmp_path):
    """`where` means what it means to `search`."""
    archive.bundle(tmp_path / "b.zip", where='"feature.amount" > 500')
    found = set(archive.search('"feature.amount" > 500')["id"])
    assert {line["id"] for line in lines_in(tmp_path / "b.zip")} == found


def test_a_period_ends_before_its_end(archive, tmp_path):
    """Nothing was recorded before the year 2000."""
    with pytest.raises(NotFoundError, match="no prediction"):
        archive.bundle(tmp_path / "b.zip", until="2000-01-01T00:00:00Z")


def test_nothing_asked_for_is_refused(archive, tmp_path):
    """A bundle of everything is not made by mistake."""
    with pytest.raises(InputError, match="expected which predictions"):
        archive.bundle(tmp_path / "b.zip")


def test_ids_and_something_else_are_refused(archive, made, tmp_path):
    """It would be unclear whether both must hold."""
    with pytest.raises(InputError, match="got both"):
        archive.bundle(tmp_path / "b.zip", made[1][:1], model="credit")


def test_a_malformed_moment_is_refused(archive, tmp_path):
    """The message says which."""
    with pytest.raises(QueryError, match="bundle: expected since"):
        archive.bundle(tmp_path / "b.zip", since="yesterday")


def test_a_bundle_replaces_nothing(archive, made, tmp_path):
    """The log does not say that it was given out either."""
    (tmp_path / "b.zip").write_bytes(b"mine")
    size = archive.verify(workers=1).counts["entries"]
    with pytest.raises(ConflictError):
        archive.bundle(tmp_path / "b.zip", made[1][:1])
    assert ((tmp_path / "b.zip").read_bytes(), archive.verify(workers=1).counts["entries"]) == (b"mine", size)


def test_an_archive_open_for_reading_gives_nothing_out(made, tmp_path):
    """The log could not record it."""
    with backstory.open(made[0], mode="r") as archive, pytest.raises(ForbiddenError):
        archive.bundle(tmp_path / "b.zip", made[1][:1])


def test_a_bundle_has_what_a_prediction_stands_on(archive, made, tmp_path):
    """The model, its training, source and group: a document of each, named by its digest."""
    archive.bundle(tmp_path / "b.zip", made[1][:1])
    story = archive.why(made[1][0])
    wanted = {story.model["digest"], *(row.digest for row in story.rows)}
    with zipfile.ZipFile(tmp_path / "b.zip") as file:
        held = {
            hashlib.sha256(file.read(n)).hexdigest() for n in file.namelist() if n.startswith("upstream/documents/")
        }
    assert wanted <= held


def test_the_row_of_a_source_is_proven_in_it(archive, made, tmp_path):
    """The verifier leads it to the root of the source's document."""
    archive.bundle(tmp_path / "b.zip", made[1][:1])
    with zipfile.ZipFile(tmp_path / "b.zip") as file:
        rows = json.loads(file.read("upstream/rows.json"))["rows"]
    assert [(row["prediction"], row["reference"]) for row in rows] == [(made[1][0], "loans")]


def test_the_parquet_file_has_the_records(archive, made, tmp_path):
    """Typed, with ids as text."""
    archive.bundle(tmp_path / "b.zip", made[1])
    with zipfile.ZipFile(tmp_path / "b.zip") as file:
        table = pq.read_table(file.open("records-0001.parquet"))
    assert table["id"].to_pylist() == [line["id"] for line in lines_in(tmp_path / "b.zip")]


def test_the_log_says_what_was_given_out(archive, made, tmp_path):
    """The entry has the manifest's digest."""
    bundle = archive.bundle(tmp_path / "b.zip", made[1][:2])
    with zipfile.ZipFile(tmp_path / "b.zip") as file:
        digest = hashlib.sha256(file.read("manifest.json")).hexdigest()
        assert (bundle.digest, verify_bundle(bundle.path, vkey=made[2]).index) == (digest, bundle.index)


def test_the_archive_still_verifies(archive, made, tmp_path):
    """An audit knows the entry."""
    archive.bundle(tmp_path / "b.zip", made[1][:2])
    assert not archive.verify(workers=1).findings


def test_sealed_values_stay_sealed(people, tmp_path):
    """Nobody asked for them to be opened."""
    with backstory.open(people[0], actor="Ada", purpose="complaint") as archive:
        archive.bundle(tmp_path / "b.zip", model="rule")
    assert all(not line["opened"] and line["sealed"] for line in lines_in(tmp_path / "b.zip"))


def test_only_the_groups_asked_for_are_opened(people, tmp_path):
    """The others stay committed to, in every file of the bundle."""
    with backstory.open(people[0], actor="Ada", purpose="complaint") as archive:
        archive.bundle(tmp_path / "b.zip", model="rule", opened="output")
    assert [set(line["opened"]) for line in lines_in(tmp_path / "b.zip")] == [{"output"}, {"output"}]
    with zipfile.ZipFile(tmp_path / "b.zip") as file:
        assert not [name for name in file.namelist() if b"bob" in file.read(name) and not name.startswith("verify/")]
    verify_bundle(tmp_path / "b.zip", vkey=people[1])


def test_opening_all_groups_is_recorded_once(people, tmp_path):
    """There is one access about it, and in the log one entry about the bundle."""
    with backstory.open(people[0], actor="Ada", purpose="complaint") as archive:
        groups = archive._ledger.schema(archive._found(archive.search("true")["id"][0]).schema.digest).groups
        size = archive.verify(workers=1).counts["entries"]
        archive.bundle(tmp_path / "b.zip", model="rule", opened=groups)
        assert [access["records"] for access in accesses(archive._ledger, "bundle")] == [2]
        assert archive.verify(workers=1).counts["entries"] == size + 1
    verify_bundle(tmp_path / "b.zip", vkey=people[1])


def test_groups_are_opened_for_somebody(people, tmp_path):
    """Without actor and purpose there is no bundle with opened values."""
    with backstory.open(people[0]) as archive, pytest.raises(ForbiddenError):
        archive.bundle(tmp_path / "b.zip", model="rule", opened="output")


def test_a_group_nobody_has_is_refused(people, tmp_path):
    """The message says what there is."""
    with backstory.open(people[0], actor="Ada", purpose="x") as archive, pytest.raises(InputError, match="outptu"):
        archive.bundle(tmp_path / "b.zip", model="rule", opened="outptu")


def test_another_logs_key_does_not_verify_it(archive, made, people, tmp_path):
    """Whatever the bundle says of itself."""
    archive.bundle(tmp_path / "b.zip", made[1][:1])
    with pytest.raises(VerificationError):
        verify_bundle(tmp_path / "b.zip", vkey=people[1])


def test_opened_values_have_no_file_of_their_own(people, tmp_path, monkeypatch):
    """Whoever kills the process leaves none behind; the bundle that is written has a name, for its owner alone."""
    seen = []

    def look(tables, file):
        write_parquet_file(tables, file)
        seen.extend((path.name[:5], path.stat().st_mode & 0o777) for path in (tmp_path / "out").rglob("*"))

    monkeypatch.setattr(report, "write_parquet_file", look)
    (tmp_path / "out").mkdir()
    with backstory.open(people[0], actor="Ada", purpose="complaint") as archive:
        archive.bundle(tmp_path / "out" / "b.zip", model="rule", opened="output")
    assert seen == [(".new-", 0o600)]


def test_nothing_is_left_beside_a_bundle(archive, made, tmp_path):
    """Neither where it was written nor where it could not be."""
    (tmp_path / "out").mkdir()
    archive.bundle(tmp_path / "out" / "b.zip", made[1][:1])
    with pytest.raises(ConflictError):
        archive.bundle(tmp_path / "out" / "b.zip", made[1][:1])
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["b.zip"]


def test_what_waits_is_sealed_first(archive, tmp_path):
    """Else it would be left out."""
    new = archive.predict(archive.model("credit"), pd.DataFrame({"amount": [1.0], "years": [1.0]})).ids
    bundle = archive.bundle(tmp_path / "b.zip", model="credit")
    assert (bundle.records, bundle.not_sealed) == (41, 0)
    assert lines_in(tmp_path / "b.zip")[-1]["id"] == new[0]


def test_what_cannot_be_sealed_is_counted(waiting, made, tmp_path):
    """The bundle says so to programs and to people, and is sound."""
    with backstory.open(waiting) as archive:
        bundle = archive.bundle(tmp_path / "b.zip", model="credit")
    assert (bundle.records, bundle.not_sealed, question_in(bundle.path)["not_sealed"]) == (40, 2, "2")
    with zipfile.ZipFile(bundle.path) as file:
        assert "2 of the other predictions fit the question" in file.read("README.txt").decode()
        assert "not in the log yet" in file.read("index.html").decode()
    verify_bundle(bundle.path, vkey=made[2])


@pytest.mark.parametrize(
    ("question", "count"),
    [
        ({"since": "2020-01-01T00:00:00Z"}, 2),
        ({"where": '"feature.amount" = 2 or "feature.amount" > 500'}, 1),
        ({"where": '"feature.amount" > 500'}, 0),
    ],
)
def test_only_what_fits_is_counted(waiting, tmp_path, question, count):
    """Nobody asked for the others."""
    with backstory.open(waiting) as archive:
        assert archive.bundle(tmp_path / "b.zip", **question).not_sealed == count


def test_what_was_recorded_after_the_period_is_not_counted(waiting, made, tmp_path):
    """It ends before what waits."""
    with backstory.open(waiting) as archive:
        first = archive.search("not is_sealed")["time"].min()
        assert archive.bundle(tmp_path / "b.zip", until=first.isoformat()).not_sealed == 0


def test_where_all_that_fits_waits_the_error_says_so(waiting, tmp_path):
    """Rather than that there is none."""
    with backstory.open(waiting) as archive, pytest.raises(NotFoundError, match="1 that fit wait for `backstory seal`"):
        archive.bundle(tmp_path / "b.zip", where='"feature.amount" = 2')


def test_a_bundle_with_something_left_out_has_an_exit_code_of_its_own(waiting, tmp_path, capsys):
    """A program notices."""
    code = command.bundle(to=tmp_path / "b.zip", model="credit", asking=Asking(archive=waiting))
    assert (code, "2 others not in the log yet" in capsys.readouterr().out) == (PARTIAL, True)


def test_a_bundle_is_not_written_into_the_archive(archive, made, tmp_path):
    """An audit would report it as a file of nobody."""
    with pytest.raises(InputError, match="outside the archive"):
        archive.bundle(tmp_path / "audit" / "b.zip", made[1][:1])


def test_an_empty_case_is_part_of_the_question():
    """It filters, so the auditor is told."""
    assert Question(model="credit", case="").to_dict() == {"case": "", "model": "credit"}


@pytest.mark.parametrize(("asked", "said"), [("credit", "credit"), ("credit@production", "credit:1")])
def test_the_question_names_a_model_as_records_do(archive, tmp_path, asked, said):
    """A verifier knows neither aliases nor prefixes."""
    archive.bundle(tmp_path / "b.zip", model=asked)
    assert question_in(tmp_path / "b.zip") == {"model": said}


def test_the_question_names_predictions_whole(archive, made, tmp_path):
    """However they were asked for."""
    archive.bundle(tmp_path / "b.zip", [made[1][3].upper(), made[1][3].replace("-", "")])
    assert question_in(tmp_path / "b.zip") == {"predictions": [made[1][3]]}


def test_the_question_has_moments_in_one_form(archive, tmp_path):
    """A verifier compares the records' with them."""
    archive.bundle(tmp_path / "b.zip", since="2020-01-01T02:00:00+02:00")
    assert question_in(tmp_path / "b.zip") == {"since": "2020-01-01T00:00:00.000000000Z"}


def test_receipts_that_are_too_large_for_one_file_go_into_several(archive, made, tmp_path, monkeypatch):
    """A verifier reads none that is larger."""
    monkeypatch.setattr(report, "BUNDLE_RECEIPTS_SIZE_MAX", 15_000)
    archive.bundle(tmp_path / "b.zip", model="credit")
    with zipfile.ZipFile(tmp_path / "b.zip") as file:
        sizes = [info.file_size for info in file.infolist() if info.filename.startswith("receipts/")]
    assert len(sizes) > 1
    assert max(sizes) <= 15_000
    assert verify_bundle(tmp_path / "b.zip", vkey=made[2]).records == 40


def test_a_receipt_too_large_for_any_file_is_refused(archive, tmp_path, monkeypatch):
    """It would not verify."""
    monkeypatch.setattr(report, "BUNDLE_RECEIPTS_SIZE_MAX", 1_000)
    with pytest.raises(LimitError, match="too large"):
        archive.bundle(tmp_path / "b.zip", model="credit")


def test_a_bundle_without_a_models_document_is_not_made(archive, made, tmp_path):
    """It would not verify."""
    ledger = archive._ledger
    ledger.blobs.path(archive.why(made[1][0]).model["digest"]).unlink()
    with pytest.raises(StorageError):
        archive.bundle(tmp_path / "b.zip", model="credit")


def test_predictions_without_a_model_are_given_out(archive, made, tmp_path):
    """A traced function has none."""
    archive.traced(len)("abc")
    archive.bundle(tmp_path / "b.zip", since="2020-01-01T00:00:00Z")
    assert lines_in(tmp_path / "b.zip")[-1]["context"]["model"] is None
    verify_bundle(tmp_path / "b.zip", vkey=made[2])


def test_what_is_damaged_keeps_nothing_else_from_being_given_out(made, tmp_path, caplog):
    """A warning says that something is left out."""
    with backstory.open(shutil.copytree(made[0], tmp_path / "audit"), sealer="none") as archive:
        for _ in range(2):
            archive.predict(archive.model("credit"), pd.DataFrame({"amount": [1.0], "years": [1.0]})).wait("durable")
        ((info, _),) = archive._recorder.streams()
        whole = shutil.copytree(archive.path, tmp_path / "copy")
    file = whole / "spool" / info.stream / "frames-0"
    data = file.read_bytes()
    file.write_bytes(data[:200] + bytes([data[200] ^ 1]) + data[201:])
    with backstory.open(whole, sealer="none") as archive:
        assert archive.bundle(tmp_path / "b.zip", model="credit").records == 40
    assert "bundle: some of what waits to be sealed is left out" in caplog.text
