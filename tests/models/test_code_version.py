"""The code's version is the commit of its folder and whether it was changed since."""

from __future__ import annotations

import hashlib
import shutil
import subprocess

import pytest

from backstory.models.code_version import code_version

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """Give a folder with one commit, and a function that runs git in it."""
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    folder = tmp_path / "code"
    folder.mkdir()

    def git(*arguments):
        command = ["git", "-c", "user.name=x", "-c", "user.email=x@example.org", *arguments]
        return subprocess.run(command, cwd=folder, check=True, capture_output=True).stdout

    git("init", "-q")
    (folder / "model.py").write_text("a = 1\n")
    git("add", ".")
    git("commit", "-q", "-m", "one")
    return folder, git


def test_clean(repository):
    """A clean folder is its commit."""
    folder, git = repository
    facts = code_version(folder)
    assert facts["commit"] == git("rev-parse", "HEAD").decode().strip()
    assert (facts["dirty"], facts["diff"]) == (False, None)


def test_changed_file(repository):
    """A changed file makes it dirty and is named by the digest of the difference."""
    folder, git = repository
    (folder / "model.py").write_text("a = 2\n")
    facts = code_version(folder / "model.py")
    assert facts["dirty"] is True
    assert facts["diff"] == hashlib.sha256(git("diff", "--binary", "--full-index", "HEAD", "--")).hexdigest()


def test_new_file(repository):
    """A file git does not know makes it dirty."""
    folder, _ = repository
    (folder / "new.py").write_text("")
    assert code_version(folder)["dirty"] is True


def test_outside_a_repository(tmp_path, monkeypatch):
    """Outside a repository there is no commit, and a reason."""
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    facts = code_version(tmp_path)
    assert (facts["commit"], facts["reason"]) == (None, "not in a git repository")


def test_repository_without_a_commit(tmp_path):
    """A repository without a commit gives a reason."""
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    assert code_version(tmp_path)["reason"] == "the git repository has no commit"


def test_without_git(tmp_path, monkeypatch):
    """Without git there is a reason and no error."""
    monkeypatch.setenv("PATH", str(tmp_path))
    assert code_version(tmp_path)["reason"] == "git is not installed"


def test_entry_point_names_no_folder(tmp_path):
    """The entry point has no folders in it."""
    entry = code_version(tmp_path)["entry_point"]
    assert entry is None or "/" not in entry
