"""Bundles: what our verifiers and the stand-alone ones make of the zip file and of what is in it, reports too."""

from __future__ import annotations

import contextlib
import hashlib
import io
import sys
import tempfile
import zipfile
from functools import cache
from pathlib import Path

from tests.fuzz.parser import Parser
from tests.support.archives import archive_with_predictions

from backstory.errors import FormatError, UnsupportedVersionError, VerificationError
from backstory.records import canonical
from backstory.tlog.proof_file import parse_proof_file
from backstory.verify.bundle import verify_bundle
from backstory.verify.receipt import verify_receipts
from backstory.verify.report import REPORT, ReportCheck
from backstory.verify.standalone import check_bundle as alone
from backstory.verify.standalone import check_report


@cache
def _made():
    """Return a bundle of one prediction, a report about it, and the log's key."""
    with tempfile.TemporaryDirectory() as folder:
        with contextlib.redirect_stdout(sys.stderr):  # standard output is for what the fuzzer answers
            archive, ids = archive_with_predictions(Path(folder) / "audit")
        with archive:
            made = archive.bundle(Path(folder) / "made.zip", ids[:1])
            told = archive.reports.make("individual-explanation", Path(folder) / "told.zip", prediction=ids[0])
            return made.path.read_bytes(), told.path.read_bytes(), archive.vkey


def _seeds():
    return [*_made()[:2]]


def _check(data):
    """Both refuse or accept a bundle; what is accepted is one that was made, file for file."""
    *made, key = _made()
    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        code = _alone(file.name, key)
        try:
            verify_bundle(file.name, vkey=key)
        except VerificationError:
            assert code == alone.FAILED
            raise
        except (FormatError, UnsupportedVersionError):
            assert code == alone.CANNOT_CHECK
            raise
    yield
    assert code == alone.VERIFIED
    assert _files(data) in [_files(one) for one in made]


def _alone(path, key):
    try:
        alone.check_bundle(path, [alone.receipt.Key(key, 1)])
    except alone.receipt.FailedError:
        return alone.FAILED
    except alone.receipt.CannotCheckError:
        return alone.CANNOT_CHECK
    return alone.VERIFIED


@cache
def _told():
    """Return the files of the report's bundle, its manifest, and what its receipts and entries prove."""
    _, told, key = _made()
    files = _files(told)
    (data,) = (data for name, data in files.items() if name.startswith("receipts/"))
    records = {one.id: one for one in verify_receipts(data, vkey=key)}
    entries = {
        int(name.split("/")[-1].split(".")[0]): canonical.parse_object(parse_proof_file(data).extra, "entry")
        for name, data in files.items()
        if name.startswith("upstream/entries/")
    }
    return files, canonical.parse_object(files["manifest.json"], "manifest"), records, entries


def _check_report(data):
    """A report that a manifest names: both say the same of it, of its tables, and of what it quotes."""
    files, manifest, records, entries = _told()
    named = {**manifest["report"], "digest": hashlib.sha256(data).hexdigest()}
    theirs = _report_alone(data, manifest | {"report": named})
    try:
        report = ReportCheck(data, manifest | {"report": named})
        report.check_tables(files, files.__getitem__)
        ours = report.check_evidence(records, entries, manifest).to_dict()
    except (FormatError, VerificationError):
        assert theirs == alone.FAILED
        raise
    except UnsupportedVersionError:
        assert theirs == alone.CANNOT_CHECK
        raise
    yield
    assert theirs == ours


def _report_alone(data, manifest):
    files, _, records, entries = _told()
    facts = {name: one.to_dict() for name, one in records.items()}
    try:
        with alone.named(REPORT):
            report = check_report.open_report(data, manifest)
            check_report.check_tables(report, list(files), files.__getitem__)
            return check_report.check_evidence(report, facts, entries)
    except alone.receipt.FailedError:
        return alone.FAILED
    except alone.receipt.CannotCheckError:
        return alone.CANNOT_CHECK


def _files(data):
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


PARSERS = {
    "bundle": Parser(
        _check,
        _seeds,
        ("verify_bundle", "Bundle.read", "Bundle.read_rows"),
        (FormatError, VerificationError, UnsupportedVersionError),
    ),
    "report": Parser(
        _check_report,
        lambda: [_told()[0][REPORT]],
        ("open_report", "Bundle.open_report"),
        (FormatError, VerificationError, UnsupportedVersionError),
    ),
}
