"""`qnetseg segment` with an engine that finds the bright voxels: options, outputs, cancellation, faults."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from qnetseg.cli import main, outputs, segment
from qnetseg.cli.inputs import Inputs, Structure
from qnetseg.errors import OutputError
from qnetseg.segment import Query, Segmentation
from qnetseg.segment.result import Found
from qnetseg.volume import (
    LabelMap,
    SegmentInfo,
    Volume,
    normalise,
    read_labelmap,
    read_volume,
    write_labelmap,
)
from support.cli_bed import bed, drawing_array, fake_engine, scan_array, write_image
from support.dicom_bed import save, slice_of
from support.worker_bed import LOGIC, PATIENCE

__all__ = ["bed"]


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_segmentation_confidence_and_report_appear(bed, capsys):
    confidence, report = bed.results / "c.nii.gz", bed.results / "r.json"
    assert bed.segment("--label", "1", "--confidence", confidence, "--report", report, "--device", "cpu") == 0
    query, found = read_volume(bed.query), read_labelmap(bed.output)
    assert np.array_equal(found.array, query.array > 1)
    np.testing.assert_allclose(found.ijk_to_ras, query.ijk_to_ras)
    np.testing.assert_allclose(
        read_volume(confidence).array, np.clip(normalise(query.array), 0, 1), atol=1e-5
    )
    content = json.loads(report.read_text(encoding="utf-8"))
    assert [part["label"] for part in content["segments"]] == [1]
    assert (content["query"], content["support"], content["mask"]) == ("scan.nii.gz",) * 2 + (
        "drawing.nii.gz",
    )
    assert content["segments"][0]["device"] == "cpu" and content["segments"][0]["model"] == "None"
    told = capsys.readouterr()
    assert "label 1: 0.0 ml on 1 of 1 axial slices" in told.out and str(bed.output) in told.out
    assert names(bed.results) == ["c.nii.gz", "out.seg.nrrd", "r.json"]


def test_json_is_one_object_on_stdout(bed, capsys):
    assert bed.segment("--json", output=bed.results / "out.nii.gz") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["outputs"] == {"output": str(bed.results / "out.nii.gz")}
    assert [part["structure"] for part in told["segments"]] == ["label 1", "label 2"]
    assert {part["warnings"][0] for part in told["segments"]} == {str(os.getpid())}, "in this process"


def test_names_colours_and_terminology_go_through(bed):
    segments = (
        SegmentInfo(1, "box", (1.0, 0.0, 0.0), "a~b~c"),
        SegmentInfo(2, "bright box", (0.0, 0.0, 1.0)),
    )
    mask = bed.folder / "drawing.seg.nrrd"
    write_labelmap(
        mask, LabelMap(drawing_array().astype(np.int32), read_volume(bed.query).ijk_to_ras, segments)
    )
    assert bed.segment("--label", "bright box", "--label", "1", mask=mask) == 0
    found = {info.name: info for info in read_labelmap(bed.output).segments}
    assert found == {info.name: info for info in segments}


def test_what_is_odd_about_a_file_is_said_and_a_series_can_be_chosen(bed, capsys):
    pixels = (scan_array() * 100).astype(np.int16)
    for uid, name, more in (("1.2.1", "T1", 0), ("1.2.2", "T2", 7)):
        for k, part in enumerate(pixels):
            whole = slice_of(k, part + more, uid=uid, SeriesDescription=name)
            save(whole, bed.folder / "study" / f"{name}{k}.dcm")
    save(whole, bed.folder / "study" / "copy.dcm")
    volume = read_volume(bed.folder / "study", "T1")
    mask = bed.folder / "m.seg.nrrd"
    write_labelmap(mask, LabelMap(drawing_array().astype(np.int32), volume.ijk_to_ras, ()))
    report = bed.results / "r.json"
    assert bed.segment(query=bed.folder / "study", mask=mask) == 2
    assert "holds 2 DICOM series" in capsys.readouterr().err
    assert bed.segment("--series", "T2", "--report", report, query=bed.folder / "study", mask=mask) == 0
    assert "warning: The DICOM series in 'study' has copies of slices" in capsys.readouterr().err
    assert json.loads(report.read_text(encoding="utf-8"))["series"] == "T2"
    more = ("--support", bed.folder / "study", "--support-series", "T1")
    assert bed.segment(*more, mask=mask) == 0


def test_a_format_that_cannot_hold_the_result_is_refused_before_anything_is_computed(
    bed, capsys, monkeypatch
):
    """The gantry was tilted, and NIfTI knows only axes that are perpendicular."""
    pixels = (scan_array() * 100).astype(np.int16)
    for k, part in enumerate(pixels):
        tilted = slice_of(k, part, ImagePositionPatient=[10.0, 10.0 + k, 10.0 + 4.0 * k])
        save(tilted, bed.folder / "study" / f"{k}.dcm")
    mask = bed.folder / "m.seg.nrrd"
    matrix = read_volume(bed.folder / "study").ijk_to_ras
    write_labelmap(mask, LabelMap(drawing_array().astype(np.int32), matrix, ()))
    study = bed.folder / "study"
    monkeypatch.setattr("qnetseg.cli.compute.engine", lambda *_: pytest.fail("something is computed"))
    confidence = ("--confidence", bed.results / "c.nii.gz")
    for code in (
        bed.segment(query=study, mask=mask, output=bed.results / "o.nii.gz"),
        bed.segment(*confidence, query=study, mask=mask),
    ):
        assert code == 2
    assert capsys.readouterr().err.count("NIfTI cannot hold axes that are not perpendicular") == 2


def test_a_cropped_mask_that_is_empty_is_called_empty(bed, capsys):
    mask = bed.folder / "empty.seg.nrrd"
    info = (SegmentInfo(1, "box", (1.0, 0.0, 0.0)),)
    write_labelmap(mask, LabelMap(np.zeros((1, 1, 1), np.int32), np.eye(4), info))
    for more, words in (((), "The mask 'empty.seg.nrrd' is empty"), (("--label", "box"), "segment 'box' of")):
        assert bed.segment(*more, mask=mask) == 2
        assert words in capsys.readouterr().err


def test_a_drawing_on_another_patient(bed):
    other = write_image(bed.folder / "other.nrrd", scan_array(1)[:, :, :18], origin=5.0)
    mask = write_image(bed.folder / "other-drawing.nrrd", drawing_array()[:, :, :18], origin=5.0)
    assert bed.segment("--support", other, mask=mask, output=bed.results / "out.mha") == 0
    assert read_labelmap(bed.results / "out.mha").array.shape == read_volume(bed.query).shape


def found_of(mask, confidence):
    values = np.array([[confidence]], np.float32)
    return Found.of(Segmentation(np.array([[mask]], np.uint8), values, None))


def test_a_voxel_of_two_segments_goes_to_the_more_confident_one():
    grid = Volume.blank((1, 1, 5), np.eye(4))
    structures = [Structure(SegmentInfo(label, str(label), (0.0, 0.0, 0.0)), None) for label in (3, 5)]
    found = [
        found_of([1, 1, 1, 0, 0], [0.6, 0.9, 0.7, 0.4, 0.2]),
        found_of([0, 1, 1, 1, 0], [0.3, 0.8, 0.95, 0.3, 0.1]),
    ]
    labelmap, overlap = segment.combine(structures, found, grid)
    assert labelmap.array.tolist() == [[[3, 3, 5, 5, 0]]]
    assert overlap == 2


def test_the_confidence_file_has_the_highest_of_all_segments(bed, monkeypatch):
    """Results are folded in one by one; of each only the voxels that were found stay."""
    values = iter([[[[0.25, 0.75]]], [[[0.5, 0.25]]]])

    def segmented(*_):
        confidence = np.array(next(values), np.float32)
        return Segmentation(np.ones((1, 1, 2), np.uint8), confidence, None)

    query = Query.of(Volume(np.arange(2, dtype=np.float32).reshape(1, 1, 2), np.eye(4)))
    structures = [Structure(None, None), Structure(None, None)]
    inputs = Inputs(None, query, None, structures)
    found, confidence = segment.segment_all(segmented, inputs, keep_confidence=True)
    assert confidence.array.tolist() == [[[0.5, 0.75]]] and len(found) == 2


def test_empty_segments_of_the_mask_are_passed_over_unless_asked_for(bed, capsys):
    mask = bed.folder / "drawing.seg.nrrd"
    segments = (SegmentInfo(1, "box", (1.0, 0.0, 0.0)), SegmentInfo(9, "nothing yet", (0.0, 1.0, 0.0)))
    array = (drawing_array() == 1).astype(np.int32)
    write_labelmap(mask, LabelMap(array, read_volume(bed.query).ijk_to_ras, segments))
    assert bed.segment(mask=mask) == 0
    assert bed.segment("--label", "nothing yet", mask=mask) == 2
    assert "is empty" in capsys.readouterr().err


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit of file sizes")
def test_a_full_disk_leaves_the_old_files(bed, capsys, monkeypatch):
    """A limit of the file size stands for the full disk, from the moment on when results are written."""
    import resource

    array = np.random.default_rng(0).random((6, 24, 20)).astype(np.float32)
    old = {bed.output: b"old segmentation", bed.results / "c.nrrd": b"old confidence"}
    for path, content in old.items():
        path.write_bytes(content)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    write_results = segment.write_results

    def on_full_disk(*arguments):
        resource.setrlimit(resource.RLIMIT_FSIZE, (4000, limits[1]))
        try:
            write_results(*arguments)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    monkeypatch.setattr(segment, "write_results", on_full_disk)
    write_image(bed.query, array)
    assert bed.segment("--confidence", bed.results / "c.nrrd", "--report", bed.results / "r.json") == 2
    told = capsys.readouterr()
    assert told.out == "" and told.err.splitlines()[-1].startswith(
        f"qnetseg: '{bed.results / 'c.nrrd'}' could not be"
    )
    assert ".part" not in told.err
    assert {path: path.read_bytes() for path in old} == old
    assert names(bed.results) == ["c.nrrd", "out.seg.nrrd"]


def test_a_move_that_fails_undoes_the_moves_before(tmp_path, monkeypatch):
    first, _, third = targets = [tmp_path / name for name in ("a.nrrd", "b.nrrd", "c.json")]
    first.write_text("old")
    move = os.replace
    monkeypatch.setattr(os, "replace", lambda a, b: 1 / 0 if Path(b) == third else move(a, b))
    with pytest.raises(ZeroDivisionError), outputs.appearing_together(targets, (".nrrd",)) as staged:
        assert [path.suffix for path in staged] == [".nrrd", ".nrrd", ".json"]
        for path in staged:
            path.write_text("new")
    assert names(tmp_path) == ["a.nrrd"] and first.read_text() == "old"


def test_a_write_that_fails_is_an_output_error(tmp_path):
    with (
        pytest.raises(OutputError, match="No space left"),
        outputs.appearing_together([tmp_path / "a.json"], ()),
    ):
        raise OSError(28, "No space left on device")


@pytest.mark.parametrize(
    ("do", "code", "sentence"),
    [
        ("user error", 2, "The option is unknown. Leave it out."),
        ("bug", 1, "Something failed inside the program (KeyError: 'a bug')."),
        ("no memory", 1, "The memory of this machine is too small."),
    ],
)
def test_faults_of_the_engine_are_sentences(bed, capsys, monkeypatch, do, code, sentence):
    monkeypatch.setattr("qnetseg.cli.compute.engine", fake_engine(do))
    assert bed.segment("--label", "1") == code
    told = capsys.readouterr()
    assert told.out == "" and told.err.count("\n") == 1 and sentence in told.err
    assert names(bed.results) == []


def test_debug_shows_where_it_happened(bed, capsys, monkeypatch):
    monkeypatch.setattr("qnetseg.cli.compute.engine", fake_engine("bug"))
    assert bed.segment("--label", "1", "--debug") == 1
    assert "Traceback" in capsys.readouterr().err


def test_an_unexpected_fault_is_a_sentence_and_code_1(bed, capsys, monkeypatch):
    monkeypatch.setattr("qnetseg.cli.inputs.read_drawings", lambda *_, **__: {}["a bug"])
    assert bed.segment() == 1
    told = capsys.readouterr().err
    assert "Something failed inside the program (KeyError: 'a bug')" in told and "Traceback" not in told


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_control_c_cancels_cleanly(bed):
    started = bed.folder / "started"
    code = f"""
        import pathlib, signal, sys
        sys.path.insert(0, {str(Path(__file__).parents[1])!r})
        from qnetseg.cli import common, compute, main
        from support.cli_bed import fake_engine
        signal.signal(signal.SIGINT, signal.default_int_handler)  # tests in the background inherit none
        compute.engine = fake_engine("wait")
        common.Bar.show = lambda *_: pathlib.Path({str(started)!r}).touch()
        sys.exit(main(sys.argv[1:]))
    """
    arguments = ["segment", bed.query, "--mask", bed.mask, "--output", bed.output]
    temporary = bed.folder / "temporary"
    temporary.mkdir()
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": str(LOGIC), "TMPDIR": str(temporary)},
    )
    deadline = time.monotonic() + PATIENCE
    while not started.exists() and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    try:
        out, err = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
    assert (process.returncode, out, err) == (130, "", "qnetseg: Cancelled; nothing was written.\n")
    assert names(bed.results) == [] and names(temporary) == []


def test_slices_to_look_at_are_told_in_ranges(capsys):
    found = [(0.9, True), (0.5, True), (0.4, True), (0.9, True), (0.3, True), (0.95, False), (0.5, False)]
    slices = [
        {"index": index, "occupied": occupied, "score": score, "drawn": index == 3}
        for index, (score, occupied) in enumerate(found)
    ]
    part = {
        "structure": "liver",
        "volume_ml": 12.34,
        "slices": slices,
        "plane": "axial",
        "seconds": 1.0,
        "device": "cpu",
        "warnings": ["It is small."],
    }
    segment.tell({"segments": [part], "outputs": {}}, as_json=False)
    told = capsys.readouterr()
    assert told.out == "liver: 12.3 ml on 5 of 7 axial slices, 1.0 s on cpu; look at slices 1-2, 4, 6\n"
    assert told.err == "qnetseg: warning: liver: It is small.\n"


def test_progress_fills_the_bar(monkeypatch, capsys):
    from qnetseg.cli.common import Bar

    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    with Bar("liver") as bar:
        for done, total, stage in ((1, 1, "support"), (2, 8, "slices"), (8, 8, "slices")):
            bar.show(done, total, stage)
    assert "8/8" in capsys.readouterr().err


def test_main_without_arguments_reads_the_command_line(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["qnetseg", "--version"])
    assert main() == 0
    assert capsys.readouterr().out.startswith("qnetseg 0.")


def test_a_picture_of_the_slices_can_be_had_where_matplotlib_is(bed, monkeypatch, capsys):
    picture = bed.results / "sheet.png"
    assert bed.segment("--picture", picture) == 0
    assert picture.read_bytes().startswith(b"\x89PNG")
    monkeypatch.setattr(segment, "find_spec", lambda name: None)
    assert bed.segment("--picture", bed.results / "other.png", output=bed.results / "other.seg.nrrd") == 2
    assert "needs matplotlib" in capsys.readouterr().err
    assert not (bed.results / "other.seg.nrrd").exists()


def test_a_segmentation_that_was_cropped_to_its_segments_still_fits_its_volume(bed):
    drawn = read_labelmap(bed.mask)
    k, j, i = (np.flatnonzero(drawn.array.any(axis=tuple({0, 1, 2} - {axis}))) for axis in range(3))
    box = tuple(slice(int(found[0]), int(found[-1]) + 1) for found in (k, j, i))
    matrix = drawn.ijk_to_ras.copy()
    matrix[:3, 3] += matrix[:3, :3] @ [box[2].start, box[1].start, box[0].start]
    cropped = bed.folder / "cropped.seg.nrrd"
    write_labelmap(cropped, replace(drawn, array=drawn.array[box], ijk_to_ras=matrix))
    assert bed.segment(mask=cropped) == 0
