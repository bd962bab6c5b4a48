"""Shells complete the commands, their options and choices, and files."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys

import pytest

from qnetseg.cli import main
from qnetseg.cli.completion import SHELLS

QNETSEG = [sys.executable, "-m", "qnetseg"]


@pytest.mark.parametrize("shell", SHELLS)
def test_every_shell_gets_its_commands(shell, capsys):
    pytest.importorskip("shtab", reason="shtab is not installed")
    assert main(["--print-completion", shell]) == 0
    told = capsys.readouterr()
    assert all(word in told.out for word in ("segment", "doctor", "worker", "weights")) and told.err == ""


@pytest.fixture(scope="module")
def script():
    pytest.importorskip("shtab", reason="shtab is not installed")
    return subprocess.run(
        [*QNETSEG, "--print-completion", "bash"], capture_output=True, text=True, check=True
    ).stdout


def completed(script, line, folder):
    """What bash offers at the end of a line."""
    words = shlex.split(line) + ([""] if line.endswith(" ") else [])
    code = f"""
{script}
COMP_WORDS=({shlex.join(words)})
COMP_CWORD={len(words) - 1}
cd {shlex.quote(str(folder))}
function=$(complete -p qnetseg | sed 's/.*-F \\([^ ]*\\) .*/\\1/')
$function qnetseg {shlex.quote(words[-1])} {shlex.quote(words[-2])}
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
    done = subprocess.run(["bash", "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
def test_bash_completes(script, tmp_path):
    (tmp_path / "scan.nii.gz").touch()
    assert "segment" in completed(script, "qnetseg seg", tmp_path)
    assert {"--mask", "--model", "--method"} <= completed(script, "qnetseg segment --m", tmp_path)
    assert "volume" in completed(script, "qnetseg segment --method vol", tmp_path)
    assert "scan.nii.gz" in completed(script, "qnetseg segment --mask sc", tmp_path)


def test_without_shtab_it_is_a_sentence(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "shtab", None)
    assert main(["--print-completion", "bash"]) == 2
    told = capsys.readouterr()
    assert "qnetseg[completion]" in told.err and told.err.count("\n") == 1 and told.out == ""


def test_an_unknown_shell_is_refused(capsys):
    assert main(["--print-completion", "bsh"]) == 2
    assert "did you mean 'bash'" in capsys.readouterr().err
