"""The command line where its surroundings are poor: streams, names, homes, temporary folders, signals."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest

from qnetseg.cli import build_parser, common, main, segment
from qnetseg.cli.pictures import plain
from qnetseg.cli.streams import Forgiving
from qnetseg.volume import LabelMap, SegmentInfo, read_labelmap, read_volume, write_labelmap
from support.cli_bed import bed, drawing_array
from support.worker_bed import LOGIC, PATIENCE

__all__ = ["bed"]

posix_only = pytest.mark.skipif(os.name != "posix", reason="a shell's redirections, and signals of POSIX")
CODE = f"""
import os, signal, sys
for name in ("SIGHUP", "SIGQUIT", "SIGTERM") if os.name == "posix" else ():
    signal.signal(getattr(signal, name), signal.SIG_DFL)  # background jobs of a shell ignore some
sys.path.insert(0, {str(Path(__file__).parents[1])!r})
from qnetseg.cli import compute, main
from support.cli_bed import fake_engine
compute.engine = fake_engine(os.environ.get("DO", "answer"))
sys.exit(main(sys.argv[1:]))
"""


def named(bed, name):
    """The bed's drawing as a segmentation whose first segment is called so."""
    mask = bed.folder / "named.seg.nrrd"
    array = (drawing_array() == 1).astype(np.int32)
    matrix = read_volume(bed.query).ijk_to_ras
    write_labelmap(mask, LabelMap(array, matrix, (SegmentInfo(1, name, (1.0, 0.0, 0.0)),)))
    return mask


def in_shell(bed, redirections, *more, env=None, mask=None):
    """Run `qnetseg segment` with a shell's redirections: the finished process."""
    arguments = ["segment", bed.query, "--mask", mask or bed.mask, "--output", bed.output, *more]
    line = f'"$0" -c "$CODE" "$@" {redirections}'
    environment = {**os.environ, "PYTHONPATH": str(LOGIC), "CODE": CODE, **(env or {})}
    command = ["bash", "-o", "pipefail", "-c", line, sys.executable, *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@posix_only
@pytest.mark.parametrize(
    "redirections", ["| true", "2>&-", ">&-", ">&- 2>&-", "<&- >&- 2>&-", "> /dev/full", "&> /dev/full"]
)
def test_streams_that_cannot_be_written_cost_nothing(bed, redirections):
    done = in_shell(bed, redirections, "--confidence", bed.results / "c.nrrd")
    assert done.returncode == 0, done.stderr
    assert read_labelmap(bed.output).array.any() and read_volume(bed.results / "c.nrrd").array.any()
    assert "Exception" not in done.stderr and "Traceback" not in done.stderr
    if redirections == "> /dev/full":
        assert "warning: Not everything could be printed: No space left on device." in done.stderr


@posix_only
def test_characters_that_the_encoding_lacks_are_escaped(bed):
    done = in_shell(bed, "| cat", env={"PYTHONIOENCODING": "cp1252"}, mask=named(bed, "\u809d\u81d3"))
    assert done.returncode == 0 and done.stdout.startswith(r"\u809d\u81d3: ")
    assert [info.name for info in read_labelmap(bed.output).segments] == ["\u809d\u81d3"]


def test_a_stream_that_somebody_closed_takes_what_it_is_given(tmp_path):
    stream = open(tmp_path / "log", "w", encoding="ascii")  # noqa: SIM115
    forgiving = Forgiving(stream)
    assert forgiving.write("\u00e9") == 1 and not forgiving.lost
    stream.close()
    forgiving.write("a")
    assert forgiving.lost
    forgiving.flush()


@posix_only
@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP", "SIGQUIT"])
def test_a_signal_ends_the_command_with_a_sentence(bed, name):
    temporary, started = bed.folder / "temporary", bed.folder / "started"
    temporary.mkdir()
    process = subprocess.Popen(
        [*(sys.executable, "-c", CODE), *("segment", bed.query, "--mask", bed.mask, "--output", bed.output)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={
            **os.environ,
            "PYTHONPATH": str(LOGIC),
            "TMPDIR": str(temporary),
            "DO": "started",
            "STARTED": str(started),
        },
    )
    deadline = time.monotonic() + PATIENCE
    while not started.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    number = getattr(signal, name)
    process.send_signal(number)
    try:
        _, err = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
    assert (
        process.returncode == 128 + number and err == "qnetseg: Ended by the system; nothing was written.\n"
    )
    assert not list(temporary.iterdir()) and not list(bed.results.iterdir())


def test_a_user_without_a_home_can_work(bed, monkeypatch, capsys):
    def nobody(*_):
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", nobody)
    for name in ("XDG_DATA_HOME", "LOCALAPPDATA", "QNETSEG_MODELS"):
        monkeypatch.delenv(name, raising=False)
    assert bed.segment() == 0
    assert main(["weights", "list"]) == 0
    assert main(["weights", "remove", "tiny"]) == 2
    assert "ships with QNetSegment" in capsys.readouterr().err


def test_the_command_needs_no_temporary_folder_and_the_doctor_names_what_is_missing(bed, monkeypatch, capsys):
    def nowhere(*_, **__):
        raise FileNotFoundError(2, "No usable temporary directory found in ['/tmp']")

    monkeypatch.setattr("tempfile.mkdtemp", nowhere)
    monkeypatch.setattr("tempfile.gettempdir", nowhere)
    assert bed.segment() == 0
    main(["doctor"])
    assert "temporary folder    No usable temporary directory" in capsys.readouterr().out


def test_names_that_are_too_long_are_sentences(bed, capsys):
    long = bed.results / ("a" * 300)
    for arguments in ({"query": long}, {"mask": long}, {"output": long.with_suffix(".nrrd")}):
        assert bed.segment(**arguments) == 2
        told = capsys.readouterr().err
        assert told.count("\n") == 1 and "Something failed" not in told, told
    assert bed.segment("--model", long) == 2
    assert main(["weights", "verify", str(long)]) == 2


@pytest.mark.parametrize(
    "name", ["$\\frac{1$", "a $ b $ c", "100 $", "\u809d\u81d3", "x" * 400, "a\nb\tc\x07"]
)
def test_names_in_pictures_are_text_and_not_code(bed, name, capsys):
    sheet, mask = bed.results / "sheet.png", named(bed, "box")
    query = bed.query.rename(bed.folder / f"{name[:100]}.nii.gz") if sys.platform != "win32" else bed.query
    assert bed.segment("--picture", sheet, query=query, mask=mask) == 0
    told = capsys.readouterr().err
    assert sheet.read_bytes().startswith(b"\x89PNG") and "drawn" not in told and "Glyph" not in told


def test_a_name_is_drawn_as_it_is():
    from matplotlib.cbook import is_math_text

    assert not is_math_text(plain("a $x$ b")) and plain("a $x$").replace(r"\$", "$") == "a $x$"
    assert len(plain("x" * 400)) == 60 and plain("a\udcff") == "a?"


def test_a_picture_that_fails_costs_a_warning(bed, monkeypatch, capsys):
    def fail(*_):
        raise ValueError("a font\nis missing")

    monkeypatch.setattr(segment, "_picture", fail)
    assert bed.segment("--picture", bed.results / "sheet.png", "--label", "1") == 0
    told = capsys.readouterr()
    assert "sheet.png' could not be drawn: a font is missing" in told.err and "sheet.png" not in told.out
    assert sorted(path.name for path in bed.results.iterdir()) == ["out.seg.nrrd"]


def test_progress_is_told_in_lines_where_there_is_no_terminal(monkeypatch, capsys):
    clock = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    with common.Bar("liver") as bar:
        for done in range(1, 101):
            clock[0] += 0.5
            bar.show(done, 100, "slices")
    lines = capsys.readouterr().err.splitlines()
    assert (
        lines[0] == "qnetseg: liver: 20% of the slices" and lines[-1] == "qnetseg: liver: 100% of the slices"
    )
    assert 4 <= len(lines) <= 6
    with common.Bar("model", "B") as bar:
        bar.show(5, 5)
    assert capsys.readouterr().err == ""  # what is done at once needs no words


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        (["segmnt"], "segment"),
        (["docter"], "doctor"),
        (["weights", "lst"], "list"),
        (["evaluate", "p-alhpa"], "p-alpha"),
        (["doctor", "--jsn"], ""),
        (["xyz"], ""),
    ],
)
def test_the_nearest_command_is_suggested(given, meant, capsys):
    assert main(given) == 2
    told = capsys.readouterr().err
    assert (f"did you mean '{meant}'?" in told) == bool(meant) and ("did you mean" in told) == bool(meant)


def test_help_tells_the_exit_codes():
    told = build_parser().format_help()
    assert "exit codes:" in told and all(f"\n  {code}  " in told for code in (0, 1, 2, 130))


@posix_only
def test_an_ending_that_gets_stuck_ends_all_the_same():
    code = """
        import os, signal, time
        from qnetseg.cli import streams
        streams.STUCK = 0.2
        with streams.ended_by_signals():
            try:
                os.kill(os.getpid(), signal.SIGTERM)
                time.sleep(60)
            except streams.Ended:
                time.sleep(60)
    """
    environment = {**os.environ, "PYTHONPATH": str(LOGIC)}
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], env=environment, timeout=PATIENCE)
    assert done.returncode == 128 + signal.SIGTERM


def test_cancelling_while_the_modules_are_loaded_is_a_sentence(tmp_path):
    loading = tmp_path / "numpy.py"  # the first heavy module
    loading.write_text("raise KeyboardInterrupt\n")
    done = subprocess.run(
        [sys.executable, "-m", "qnetseg", "--version"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(LOGIC)])},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert (done.returncode, done.stderr) == (130, "qnetseg: Cancelled; nothing was written.\n")
