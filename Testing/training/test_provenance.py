"""The revision in result files: of a checkout, of a second working tree, and of nothing."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from qnetseg_lab.provenance import revision

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="needs git")


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A repository with one file in a folder, and what its git says."""
    for name, value in (("AUTHOR", "a"), ("COMMITTER", "c")):
        monkeypatch.setenv(f"GIT_{name}_NAME", value)
        monkeypatch.setenv(f"GIT_{name}_EMAIL", f"{value}@example.org")
    root = tmp_path / "project"
    (root / "package").mkdir(parents=True)
    (root / "package" / "module.py").write_text("")

    def git(*arguments, at=root):
        done = subprocess.run(["git", *arguments], cwd=at, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    git("init", "-q")
    git("add", ".")
    git("commit", "-qm", "first")
    return root, git


def test_a_checkout_and_a_second_working_tree_have_their_own_revisions(checkout, tmp_path):
    root, git = checkout
    first = git("rev-parse", "--short=12", "HEAD")
    assert revision(root / "package" / "module.py") == first
    other = tmp_path / "other"
    git("worktree", "add", "-q", "-b", "other", str(other))
    assert (other / ".git").is_file()
    (other / "package" / "module.py").write_text("changed")
    assert revision(other / "package" / "module.py") == first + "+"
    git("commit", "-qam", "second", at=other)
    assert revision(other / "package" / "module.py") == git("rev-parse", "--short=12", "other") != first
    assert revision(root / "package" / "module.py") == first


def test_a_hook_s_variables_do_not_lead_elsewhere(checkout, monkeypatch):
    root, _ = checkout
    monkeypatch.setenv("GIT_DIR", str(root / "nowhere"))
    assert len(revision(root / "package" / "module.py")) == 12


def test_a_copy_is_of_no_revision_wherever_it_lies(checkout, tmp_path):
    root, _ = checkout
    for folder in (root / "package", tmp_path):
        copy = folder / "copy.py"
        copy.write_text("")
        assert revision(copy) == "unknown"
