"""What reports say, that they are checked without this package, and that nothing in them can be changed."""

from __future__ import annotations

import copy
import hashlib
import io
import json
import shutil
import subprocess
import sys
import zipfile
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from importlib import import_module
from importlib.resources import files

import jsonschema
import pyarrow.parquet as pq
import pytest
from pypdf import PdfReader
from tests.support.governed import govern

import backstory
from backstory.cli.main import run
from backstory.errors import ConflictError, ForbiddenError, InputError, NotFoundError, VerificationError
from backstory.records import canonical
from backstory.report import report_make
from backstory.report.bundle_files import BundleFiles
from backstory.report.report_html import report_html
from backstory.report.report_kinds import KINDS, kind_of
from backstory.report.report_page import page_of
from backstory.report.report_pdf import report_pdf
from backstory.report.report_schema import schema_of
from backstory.report.report_tables import table_files
from backstory.verify.bundle import verify_bundle
from backstory.version import VERSION

STATES = {"contest": "Write to review@bank.example; you will be heard.", "contact": "+1 555 0100"}
SINCE = "2020-01-01T00:00:00Z"


@pytest.fixture(scope="module")
def governed(tmp_path_factory):
    """An archive with everything in it."""
    return govern(tmp_path_factory.mktemp("governed") / "audit")


@pytest.fixture(scope="module")
def archive(governed):
    """The archive, open for an officer with a purpose."""
    with backstory.open(
        governed.path, actor="Dora Officer", purpose="request 7", vkey=governed.vkey, sealer="none"
    ) as opened:
        yield opened


@pytest.fixture(scope="module")
def made(archive, governed, tmp_path_factory):
    """A report of every kind, by its name."""
    asked = {
        "access-log": {"since": SINCE},
        "adverse-action": {"decision": governed.decision},
        "incident": {"model": "credit", "since": SINCE, "states": {"description": "Approvals fell."}},
        "individual-explanation": {"decision": governed.decision, "change": "amount", "target": True, "states": STATES},
        "integrity-certificate": {"workers": 1, "expected": 8},
        "log-extract": {"since": SINCE},
        "model-history": {"model": "credit"},
        "retention-evidence": {},
        "subject-access": {"subject": "ann"},
    }
    folder = tmp_path_factory.mktemp("made")
    return {kind: archive.reports.make(kind, folder / f"{kind}.zip", **asked[kind]) for kind in KINDS}


def section(report, name):
    """Return a section of a report."""
    return next(one for one in report.document["sections"] if one["name"] == name)


def facts(report, name):
    """Return a section of labels and values."""
    return {row["what"]: row["value"] for row in section(report, name)["rows"]}


class Page(HTMLParser):
    """A page whose elements are noted, and must be closed in their order."""

    def __init__(self, page):
        super().__init__()
        self.open, self.seen, self.text = [], set(), []
        self.feed(page)

    def handle_starttag(self, tag, attrs):  # noqa: D102, ARG002  as the parser calls it
        self.seen.add(tag)
        if tag not in {"meta", "wbr"}:
            self.open.append(tag)

    def handle_endtag(self, tag):  # noqa: D102  as the parser calls it
        assert self.open.pop() == tag

    def handle_data(self, data):  # noqa: D102  as the parser calls it
        self.text.append(data)


# --- every kind -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_every_report_verifies(made, governed, kind):
    """Under the log's key, with a fact for each thing that was compared."""
    found = verify_bundle(made[kind].path, vkey=governed.vkey)
    assert (found.report.kind, found.report.id, found.index) == (kind, made[kind].id, made[kind].index)
    assert (found.records, found.report.entries) == (made[kind].records, made[kind].entries)


@pytest.mark.parametrize("kind", ["individual-explanation", "log-extract", "retention-evidence"])
def test_a_report_is_checked_by_the_program_in_it(made, governed, tmp_path, kind):
    """It needs Python's standard library, and says the same as the package."""
    code, said = check_alone(made[kind].path, governed.vkey, tmp_path, "--json")
    assert (code, json.loads(said)) == (
        0,
        {"verdict": "verified", **verify_bundle(made[kind].path, vkey=governed.vkey).to_dict()},
    )


@pytest.mark.parametrize("kind", KINDS)
def test_a_report_fits_its_schema(made, kind):
    """The one in the bundle, which is the one that is published."""
    schema = schema_of(kind_of(kind).layouts)
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.Draft202012Validator(schema).validate(made[kind].document)
    published = files("backstory.report").joinpath("schemas", f"{kind}.json").read_bytes()
    assert json.loads(published) == schema
    with zipfile.ZipFile(made[kind].path) as file:
        assert file.read("schema.json") == canonical.encode(schema)
        assert file.read("report.json") == made[kind].json


@pytest.mark.parametrize("kind", KINDS)
def test_a_report_without_a_member_does_not_fit_its_schema(made, kind):
    """Nor one in which a member, a section or a column has another name."""
    validator = jsonschema.Draft202012Validator(schema_of(kind_of(kind).layouts))
    whole = {**made[kind].document, "quotes": []}
    whole["sections"] = [{**one, "rows": one["rows"][:1]} for one in whole["sections"]]
    assert validator.is_valid(whole)
    for name in whole:
        assert not validator.is_valid({key: value for key, value in whole.items() if key != name})
        assert not validator.is_valid({f"{key}s" if key == name else key: value for key, value in whole.items()})
    for change in ("columns", "name", "rows"):
        other = copy.deepcopy(whole)
        other["sections"][0].pop(change)
        assert not validator.is_valid(other)
    other = copy.deepcopy(whole)
    next(one for one in other["sections"] if one["columns"])["columns"][0]["name"] = "another"
    assert not validator.is_valid(other)


@pytest.mark.parametrize("kind", KINDS)
def test_a_page_is_whole_and_loads_nothing(made, kind):
    """It has no script, and every element is closed."""
    page = Page(made[kind].html)
    assert page.open == []
    assert not page.seen & {"script", "img", "link", "iframe", "object"}
    text = " ".join(page.text)
    assert "What it does not cover" in text
    assert all(limit in text for limit in made[kind].document["limits"])


@pytest.mark.parametrize("kind", KINDS)
def test_a_pdf_says_what_the_report_says(made, kind):
    """It is tagged, its fonts are inside, and each page names the checkpoint and the digest of the data."""
    reader = PdfReader(io.BytesIO(made[kind].pdf))
    texts = [page.extract_text() for page in reader.pages]
    document = made[kind].document
    assert reader.metadata.title == document["title"]
    assert reader.trailer["/Root"]["/MarkInfo"]["/Marked"]
    assert reader.trailer["/Root"]["/Lang"] == "en"
    size = f"tree size {int(document['integrity']['size']):,}"
    assert all(size in text and f"page {number} of {len(texts)}" in text for number, text in enumerate(texts, 1))
    whole = "".join("".join(texts).replace("\u200b", "").split())
    assert all("".join(line.split()) in whole for line in document["summary"])


@pytest.mark.parametrize("kind", KINDS)
def test_every_report_says_what_it_is_and_is_not(made, kind):
    """Requester, purpose, scope, versions, question, completeness, checkpoint, bases and limits."""
    document = made[kind].document
    assert (document["requester"], document["purpose"]) == ("Dora Officer", "request 7")
    assert document["bases"]
    assert document["limits"]
    assert document["completeness"]
    assert document["integrity"]["size"].isdecimal()
    assert document["question"]["arguments"]["kind"] == kind
    assert "compli" not in json.dumps(document).casefold()


@pytest.mark.parametrize("kind", KINDS)
def test_tables_are_the_same_in_every_form(made, kind):
    """Parquet has as many rows as the report, and typed columns."""
    with zipfile.ZipFile(made[kind].path) as file:
        for one in made[kind].document["sections"]:
            if one["columns"]:
                table = pq.read_table(io.BytesIO(file.read(f"tables/{one['name']}.parquet")))
                assert table.num_rows == len(one["rows"]) == int(made[kind].document["counts"][one["name"]])
                assert table.column_names == [column["name"] for column in one["columns"]]


def test_the_archive_still_verifies(made, archive):
    """An audit knows the entries; the log names each report and not whom it is about."""
    assert not archive.verify(workers=1, check=False).failed
    entries = archive._ledger.find_entries("report.made")
    assert {entry["report"] for entry in entries} >= {one.id for one in made.values()}
    members = {"actor", "kind", "manifest", "purpose", "records", "report", "time", "type", "v"}
    assert all(set(entry) == members for entry in entries)


# --- what they say ----------------------------------------------------------------------------------------------------


def test_an_explanation_says_what_was_decided_and_what_counted(made):
    """In words, with the program's part, the factors and their direction."""
    report = made["individual-explanation"]
    decided, program = facts(report, "decision"), facts(report, "model")
    assert decided["decided"] == "credit of 1,000 refused"
    assert decided["how"] == "a program decided, and a person let it pass"
    assert decided["decided by, as"] == "credit officer"
    assert program["by its rule that is"] == "false"
    assert {row["factor"]: row["effect"] for row in section(report, "factors")["rows"]} == {
        "amount": "lowered the score",
        "years": "raised the score",
    }
    assert facts(report, "rights")["whom to ask"] == "+1 555 0100"
    assert section(report, "rights")["standing"] == "stated"


def test_an_explanation_quotes_what_is_proven(made):
    """Values, attributions and the decision are compared with the records by whoever checks it."""
    quoted = {(one["column"]) for one in made["individual-explanation"].document["quotes"] if "column" in one}
    assert {"feature.amount", "attribution.amount", "output.1", "decision", "outcome"} <= quoted


def test_reasons_are_among_what_was_scored(made):
    """Each code that was given stands for factors that moved the score against the applicant."""
    report = made["adverse-action"]
    rows = section(report, "reasons")["rows"]
    assert [(row["code"], row["scored"]) for row in rows] == [("A1", "yes")]
    assert {row["what"] for row in section(report, "versions")["rows"]} == {"model", "threshold", "reason map"}
    assert section(report, "notices")["rows"][0]["state"] == "sent"


def test_an_extract_has_what_is_held_about_a_person_and_of_nobody_else(made):
    """Answers, data, decisions, letters; free text of staff stays sealed, with its commitment."""
    report = made["subject-access"]
    assert report.document["scope"]["about"] == {"person": "ann"}
    assert len(section(report, "answers")["rows"]) == 1
    assert {row["name"] for row in section(report, "data")["rows"]} == {"amount", "years"}
    assert section(report, "letters")["rows"][-1]["text"] == "Please send me what you hold."
    assert b"bob" not in report.json
    assert b"branch" not in report.json
    withheld = {one["group"]: one for one in report.document["redaction"]["withheld"]}
    assert {"staff.D6", "text.D4"} <= set(withheld)
    assert len(withheld["text.D4"]["commitment"]) == 64


def test_a_person_who_is_only_in_rows_gets_them(archive, governed, tmp_path):
    """As many as the search before an erasure finds, with their values, the model that learned from them, no others."""
    found = archive.privacy.find("ann-1")
    report = archive.reports.make("subject-access", tmp_path / "r.zip", subject="ann-1")
    counts = facts(report, "confirmation")
    assert (found.kinds, found.rows, found.models) == ({}, 1, ("credit:1",))
    assert (counts["rows of sources"], counts["records of kind prediction"]) == ("1", "0")
    assert [row["rows"] for row in section(report, "rows")["rows"]] == ["1"]
    values = {row["name"]: row["value"] for row in section(report, "values")["rows"]}
    assert values == {"amount": "100.0", "paid": "1", "person": "ann-1", "years": "2.0"}
    assert section(report, "learned")["rows"] == [{"program": "credit:1"}]
    assert "1 row about you; 1 version of programs learned from them" in report.document["summary"][1]
    assert not any(b"%s-1" % other in report.json for other in (b"bob", b"cem"))
    assert [one.what for one in archive.privacy.find("ann-1").recipients] == ["report"]
    verify_bundle(report.path, vkey=governed.vkey)


def test_a_log_extract_proves_each_entry(made):
    """Nothing of the period is left out."""
    report = made["log-extract"]
    rows = section(report, "entries")["rows"]
    assert [row["entry"] for row in rows] == report.document["evidence"]["entries"]
    assert [int(row["entry"]) for row in rows] == list(range(len(rows)))


def test_a_certificate_says_what_was_found(made):
    """And compares with a count from outside."""
    report = made["integrity-certificate"]
    assert report.document["summary"][0].startswith("The archive verifies")
    assert "A count from outside of 8 predictions agrees with what is recorded." in report.document["completeness"]
    assert not [row for row in section(report, "findings")["rows"] if row["severity"] == "failed"]
    assert report.holds


def test_a_count_that_differs_stands_first(governed, tmp_path, capsys):
    """In the summary and in what the command says, which ends as `reconcile` does; the report is made all the same."""
    path = tmp_path / "r.zip"
    asked = ["-a", str(governed.path), "--since", SINCE, "--expected", "999", "--to", str(path)]
    assert run(["report", "log-extract", *asked]) == 20
    said = "A count from outside of 999 predictions DOES NOT AGREE with the 8 that are recorded"
    assert said in capsys.readouterr().out.splitlines()[1]
    with zipfile.ZipFile(path) as file:
        assert json.loads(file.read("report.json"))["summary"][0].startswith(said)


def test_a_part_of_the_program_says_that_it_checks_nothing(made, governed, tmp_path):
    """Run alone it refuses, and names the program to run."""
    with zipfile.ZipFile(made["log-extract"].path) as file:
        file.extractall(tmp_path)
    command = [sys.executable, "-I", tmp_path / "verify/check_report.py", made["log-extract"].path, "--vkey", "garbage"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, "check_bundle.py" in done.stderr) == (21, True)


def test_an_access_report_names_who_and_what_for(made):
    """To an auditor whose purpose lets them see it."""
    who = {row["who"] for row in section(made["access-log"], "accesses")["rows"]}
    assert {"Cleo Clerk", "Dora Officer"} <= who
    assert {row["type"] for row in section(made["access-log"], "exports")["rows"]} >= {
        "report.made",
        "reasons.disclosed",
    }


def test_a_history_has_versions_verdicts_and_what_was_served(made):
    """By another person than registered it."""
    report = made["model-history"]
    assert section(report, "approvals")["rows"][0]["verdict"] == "approved"
    assert section(report, "served")["rows"][0]["predictions"] == "8"
    assert section(report, "deployments")["rows"][0]["share"] == "1"


# --- changed, refused -------------------------------------------------------------------------------------------------


def changed(path, target, name, change):
    """Copy a bundle with one file changed, leaving the manifest as it is."""
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as new:
        for info in old.infolist():
            data = old.read(info)
            new.writestr(info, change(data) if info.filename == name else data)
    return target


def test_one_byte_of_any_file_is_noticed(made, governed, tmp_path):
    """The message names the file."""
    path = made["individual-explanation"].path
    with zipfile.ZipFile(path) as file:
        names = [name for name in file.namelist() if file.getinfo(name).file_size]
    for name in names:
        other = changed(path, tmp_path / "other.zip", name, lambda data: data[:-1] + bytes([data[-1] ^ 1]))
        with pytest.raises(VerificationError, match=name.replace(".", "[.]").replace("/", "/")):
            verify_bundle(other, vkey=governed.vkey)


def lying(archive, monkeypatch, kind, lie, path, **asked):
    """Make a report that says something else than its records, and is sealed and logged as every report is."""
    module = import_module(f"backstory.report.{KINDS[kind]}")
    tell = module.KIND.tell
    monkeypatch.setattr(module, "KIND", replace(module.KIND, tell=lambda desk, given: lie(tell(desk, given))))
    return archive.reports.make(kind, path, **asked).path


def raised(content):
    """Return what a report says, with a value it quotes raised."""
    told = content.sections["factors"]
    rows = [{**row, "value": replace(row["value"], text="7.0")} for row in told.rows]
    return replace(content, sections={**content.sections, "factors": replace(told, rows=rows)})


def moved(content):
    """Return what a report says, with an entry it quotes moved to another day."""
    told = content.sections["entries"]
    rows = [{**row, "time": replace(row["time"], text="2021-01-01T00:00:00.000000000Z")} for row in told.rows]
    return replace(content, sections={**content.sections, "entries": replace(told, rows=rows)})


def check_alone(path, vkey, folder, *options):
    """Run the program in a bundle; return its exit code and what it says."""
    with zipfile.ZipFile(path) as file:
        for name in file.namelist():
            if name.startswith("verify/"):
                file.extract(name, folder)
    program = [sys.executable, "-I", folder / "verify" / "check_bundle.py", path, "--vkey", vkey, *options]
    done = subprocess.run(program, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout or done.stderr


@pytest.mark.parametrize(
    ("kind", "lie", "asked"),
    [("adverse-action", raised, "decision"), ("log-extract", moved, "since")],
)
def test_a_report_that_lies_about_what_it_quotes_does_not_verify(
    archive, governed, monkeypatch, tmp_path, kind, lie, asked
):
    """Though the log says that it was given out; both checks say so."""
    given = {"decision": governed.decision} if asked == "decision" else {"since": SINCE}
    path = lying(archive, monkeypatch, kind, lie, tmp_path / "lie.zip", **given)
    with pytest.raises(VerificationError, match=r"report[.]json: .* is not what is proven"):
        verify_bundle(path, vkey=governed.vkey)
    code, said = check_alone(path, governed.vkey, tmp_path)
    assert (code, "is not what is proven" in said) == (20, True)


def test_a_table_that_is_not_the_reports_does_not_verify(archive, governed, monkeypatch, tmp_path):
    """Both checks name it."""
    wrong = {"tables/rules.csv": b"rule\r\n"}
    monkeypatch.setattr(report_make, "table_files", lambda document: {**dict(table_files(document)), **wrong}.items())
    path = archive.reports.make("retention-evidence", tmp_path / "r.zip").path
    with pytest.raises(VerificationError, match=r"tables/rules[.]csv"):
        verify_bundle(path, vkey=governed.vkey)
    code, said = check_alone(path, governed.vkey, tmp_path)
    assert (code, "tables/rules.csv" in said) == (20, True)


def test_a_report_without_its_pdf_does_not_verify(archive, governed, monkeypatch, tmp_path):
    """Nor one with a file too many."""
    whole = BundleFiles.add_all
    kept = lambda files, given: whole(files, {n: d for n, d in given.items() if n != "report.pdf"})  # noqa: E731
    monkeypatch.setattr(BundleFiles, "add_all", kept)
    path = archive.reports.make("retention-evidence", tmp_path / "r.zip").path
    with pytest.raises(VerificationError, match=r"report[.]pdf: it is missing"):
        verify_bundle(path, vkey=governed.vkey)
    assert check_alone(path, governed.vkey, tmp_path)[0] == 20


def test_a_report_is_not_written_over_anything_or_into_the_archive(archive, made, governed):
    """As a bundle is not."""
    with pytest.raises(ConflictError):
        archive.reports.make("retention-evidence", made["retention-evidence"].path)
    with pytest.raises(InputError, match="outside"):
        archive.reports.make("retention-evidence", governed.path / "r.zip")


@pytest.mark.parametrize(
    ("kind", "asked"),
    [
        ("individual-explanations", {}),
        ("individual-explanation", {}),
        ("individual-explanation", {"subject": "ann"}),
        ("log-extract", {}),
        ("incident", {"model": "credit"}),
        ("retention-evidence", {"states": {"unknown": "x"}}),
    ],
)
def test_what_a_report_is_not_about_is_refused(archive, tmp_path, kind, asked):
    """Before anything is opened or written."""
    with pytest.raises(InputError):
        archive.reports.make(kind, tmp_path / "r.zip", **asked)
    assert not list(tmp_path.iterdir())


def test_a_person_nobody_knows_has_no_extract(archive, tmp_path):
    """The answer says so, without the name."""
    with pytest.raises(NotFoundError, match="nothing about this person"):
        archive.reports.make("subject-access", tmp_path / "r.zip", subject="nobody at all")


def test_without_a_purpose_sealed_values_stay_sealed(governed, tmp_path):
    """The explanation shows what is open and lists the rest; the extract of a person is refused."""
    with backstory.open(governed.path, vkey=governed.vkey, sealer="none") as archive:
        report = archive.reports.make("individual-explanation", tmp_path / "r.zip", prediction=governed.predictions[0])
        with pytest.raises(ForbiddenError):
            archive.reports.make("subject-access", tmp_path / "s.zip", subject="ann")
    assert report.document["requester"] is None
    assert {one["group"] for one in report.document["redaction"]["withheld"]} >= {"features", "output", "subject"}
    assert b"refused" not in report.json
    verify_bundle(report.path, vkey=governed.vkey)


def test_under_a_policy_a_report_shows_what_a_role_may_see(governed, tmp_path):
    """The same report verifies with less in it; what is withheld has its class, the reason and its commitment."""
    path = shutil.copytree(governed.path, tmp_path / "audit")
    with backstory.open(path, actor="Adam", sealer="none") as archive:
        proposal = archive.access.propose_policy("starting").index
    until = datetime.now(UTC) + timedelta(days=1)
    with backstory.open(path, actor="Beth", sealer="none") as archive:
        for who, role in (("Root", "platform-admin"), ("Aud", "internal-auditor"), ("Sci", "data-scientist")):
            archive.access.assign(who, role, until=until)
        archive.access.approve(proposal)
    asked = {"prediction": governed.predictions[0]}
    with backstory.open(path, actor="Aud", purpose="audit 9", role="internal-auditor", sealer="none") as archive:
        report = archive.reports.make("individual-explanation", tmp_path / "r.zip", **asked)
    withheld = {one["group"]: one for one in report.document["redaction"]["withheld"]}
    assert {name: one["class"] for name, one in withheld.items()} == {"features": "D4", "output": "D3", "subject": "D3"}
    assert all("internal-auditor" in one["reason"] and len(one["commitment"]) == 64 for one in withheld.values())
    assert "internal-auditor" in report.document["redaction"]["profile"]
    verify_bundle(report.path, vkey=governed.vkey)
    with (
        backstory.open(path, actor="Sci", purpose="x", role="data-scientist", sealer="none") as archive,
        pytest.raises(ForbiddenError),
    ):
        archive.reports.make("individual-explanation", tmp_path / "s.zip", **asked)
    assert not (tmp_path / "s.zip").exists()


def test_the_same_report_is_the_same_pdf(made):
    """Bytes do not depend on when or where it is set."""
    report = made["log-extract"]
    page = page_of(report.document, hashlib.sha256(report.json).hexdigest())
    assert report_pdf(page, report.document["made"], f"Backstory {VERSION}") == report.pdf


def test_texts_of_any_script_do_not_keep_a_pdf_from_being_made(made):
    """Characters its fonts do not have are written as numbers; nothing is read as markup."""
    report = made["retention-evidence"]
    document = copy.deepcopy(report.document)
    document["requester"] = "山田 #panic() \\u{0} $x$ \u0600 <b>"
    page = page_of(document, "0" * 64)
    text = "".join(one.extract_text() for one in PdfReader(io.BytesIO(report_pdf(page, document["made"], "x"))).pages)
    assert "#panic()" in text
    assert "<U+5C71>" in text
    assert "山田" in report_html(page)
    assert "&lt;b&gt;" in report_html(page)


def test_the_command_line_makes_what_python_makes(governed, tmp_path, capsys):
    """With copies of the page, the PDF and the data beside the bundle."""
    where = ["-a", str(governed.path), "--actor", "Dora Officer", "--purpose", "request 8", "--json"]
    copies = ["--html", str(tmp_path / "r.html"), "--pdf", str(tmp_path / "r.pdf"), "--data", str(tmp_path / "r.json")]
    given = ["report", "individual-explanation", "--to", str(tmp_path / "r.zip"), "--decision", governed.decision]
    assert run([*given, "--state", "contact=+1 555 0100", *copies, *where]) == 0
    said = json.loads(capsys.readouterr().out)
    with zipfile.ZipFile(tmp_path / "r.zip") as file:
        for name in ("html", "pdf", "json"):
            assert (tmp_path / f"r.{name}").read_bytes() == file.read(f"report.{name}")
    assert (said["kind"], said["records"]) == ("individual-explanation", 3)
    assert run(["verify-bundle", str(tmp_path / "r.zip"), "--vkey", governed.vkey]) == 0
    assert "Explanation of a decision about you" in capsys.readouterr().out


def test_the_command_line_reads_a_person_from_standard_input(governed, tmp_path, capsys, monkeypatch):
    """So that the id stands in no list of commands; no id is refused."""
    where = ["-a", str(governed.path), "--actor", "Dora Officer", "--purpose", "request 8", "--subject", "-", "--json"]
    for said, code in (("ann\n", 0), ("\n", 2)):
        monkeypatch.setattr(sys, "stdin", io.StringIO(said))
        assert run(["report", "subject-access", "--to", str(tmp_path / "r.zip"), *where]) == code
    assert "expected the person's id as a line on standard input" in capsys.readouterr().err


def test_the_command_line_lists_the_kinds(capsys):
    """With what each takes, and what it does not cover."""
    assert run(["report", "--list", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [one["kind"] for one in listed] == list(KINDS)
    assert all(one["limits"] and one["supports"] for one in listed)
