"""Evidence bundles: what our verifier and the stand-alone one make of the zip file and of what is in it."""

from __future__ import annotations

import contextlib
import io
import sys
import tempfile
import zipfile
from functools import cache
from pathlib import Path

from tests.fuzz.parser import Parser
from tests.support.archives import archive_with_predictions

from backstory.errors import FormatError, UnsupportedVersionError, VerificationError
from backstory.verify.bundle import verify_bundle
from backstory.verify.standalone import check_bundle as alone


@cache
def _made():
    """Return a bundle of one prediction, and the log's key."""
    with tempfile.TemporaryDirectory() as folder:
        with contextlib.redirect_stdout(sys.stderr):  # standard output is for what the fuzzer answers
            archive, ids = archive_with_predictions(Path(folder) / "audit")
        with archive:
            made = archive.bundle(Path(folder) / "made.zip", ids[:1])
            return made.path.read_bytes(), archive.vkey


def _seeds():
    return [_made()[0]]


def _check(data):
    """Both refuse or accept a bundle; what is accepted is the one that was made, file for file."""
    key = _made()[1]
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
    assert _files(data) == _files(_made()[0])


def _alone(path, key):
    try:
        alone.check_bundle(path, [alone.receipt.Key(key, 1)])
    except alone.receipt.FailedError:
        return alone.FAILED
    except alone.receipt.CannotCheckError:
        return alone.CANNOT_CHECK
    return alone.VERIFIED


def _files(data):
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


PARSERS = {
    "bundle": Parser(
        _check,
        _seeds,
        ("verify_bundle", "Bundle.read", "Bundle.read_rows"),
        (FormatError, VerificationError, UnsupportedVersionError),
    )
}
