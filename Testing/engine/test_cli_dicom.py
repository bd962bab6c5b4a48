"""`qnetseg segment` on a DICOM series with a DICOM segmentation as its output."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pydicom
import pytest

pytest.importorskip("highdicom", reason="the extra `dicom` is not installed")

# isort: split
from qnetseg.volume import LabelMap, SegmentInfo, read_labelmap, read_volume, write_labelmap
from support.cli_bed import bed, drawing_array, scan_array
from support.dicom_bed import save
from support.seg_bed import complaints, frames_by_hand, image_names, slices

__all__ = ["bed"]

SHAPE = scan_array().shape


@pytest.fixture
def series(bed):
    """The bed's query as a DICOM series, and its drawing on these voxels."""
    stored = np.rint(scan_array() * 100).astype("<i2")
    for one, pixels in zip(slices(shape=SHAPE), stored, strict=True):
        one.PixelData = pixels.tobytes()
        save(one, bed.folder / "series" / f"{one.InstanceNumber:02d}.dcm")
    bed.query, bed.output = bed.folder / "series", bed.results / "out.dcm"
    bed.mask = bed.folder / "series.seg.nrrd"
    segments = (SegmentInfo(1, "box", (1.0, 0.0, 0.0)), SegmentInfo(2, "bright box", (0.0, 0.0, 1.0)))
    matrix = read_volume(bed.query).ijk_to_ras
    write_labelmap(bed.mask, LabelMap(drawing_array().astype(np.int32), matrix, segments))
    return bed


def masks_of(path, volume):
    """(K, J, I) bool of every segment, by its number."""
    images, found = image_names(volume), {}
    for number, image, pixels, _ in frames_by_hand(path):
        found.setdefault(number, np.zeros(volume.shape, bool))[images.index(image)] = pixels
    return found


def test_a_series_gives_a_dicom_segmentation(series, capsys):
    report = series.results / "r.json"
    assert series.segment("--report", report) == 0
    volume = read_volume(series.query)
    found = masks_of(series.output, volume)
    assert np.array_equal(found[1], volume.array > 100) and np.array_equal(found[2], found[1])
    seg = pydicom.dcmread(series.output)
    assert [one.SegmentLabel for one in seg.SegmentSequence] == ["box", "bright box"]
    assert seg.SegmentsOverlap == "YES", "both claim all bright voxels"
    parameters = seg.SegmentSequence[0].SegmentationAlgorithmIdentificationSequence[0].AlgorithmParameters
    assert parameters == f"SHA-256 of tiny={hashlib.sha256(series.model.read_bytes()).hexdigest()}"
    assert json.loads(report.read_text(encoding="utf-8"))["outputs"]["output"] == str(series.output)
    assert complaints(series.output) == [] and str(series.output) in capsys.readouterr().out


def test_it_holds_what_another_format_holds(series):
    assert series.segment("--label", "1") == 0
    assert series.segment("--label", "1", output=series.results / "out.nrrd") == 0
    volume = read_volume(series.query)
    same = read_labelmap(series.results / "out.nrrd").array != 0
    assert np.array_equal(masks_of(series.output, volume)[1], same)


@pytest.mark.filterwarnings("ignore::qnetseg.errors.FileWarning")
def test_a_file_alone_will_do(series):
    """One file of a series, not its folder."""
    (file,) = [path for path in series.query.iterdir() if path.name == "04.dcm"]
    mask = series.folder / "slice.nrrd"
    write_labelmap(mask, LabelMap(drawing_array()[3:4].astype(np.int32), read_volume(file).ijk_to_ras, ()))
    assert series.segment(query=file, mask=mask) == 0
    (reference,) = pydicom.dcmread(series.output).ReferencedSeriesSequence[0].ReferencedInstanceSequence
    assert reference.ReferencedSOPInstanceUID == pydicom.dcmread(file).SOPInstanceUID


def said(bed, capsys, *more, **places):
    """The one line of a command that fails, before anything is computed."""
    assert bed.segment(*more, **places) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "warning" not in line]
    assert list(bed.results.iterdir()) == []
    return line


def never(*_):
    raise AssertionError("nothing may be computed")


def test_any_other_query_is_refused_in_a_sentence(bed, capsys, monkeypatch):
    monkeypatch.setattr("qnetseg.cli.compute.engine", never)
    line = said(bed, capsys, output=bed.results / "out.dcm")
    assert "'scan' is not a DICOM series" in line and "Give the folder with the DICOM files" in line


def test_a_series_without_identifiers_is_refused_before_the_work(series, capsys, monkeypatch):
    monkeypatch.setattr("qnetseg.cli.compute.engine", never)
    for path in series.query.iterdir():
        one = pydicom.dcmread(path)
        one.StudyInstanceUID = ""
        save(one, path)
    assert "without StudyInstanceUID" in said(series, capsys)


def test_of_two_series_one_has_to_be_chosen(series, capsys):
    for one in slices(shape=SHAPE, SeriesInstanceUID="1.2.3.10", SeriesDescription="T2"):
        save(one, series.query / f"second-{one.InstanceNumber:02d}.dcm")
    assert "holds 2 DICOM series" in said(series, capsys)
    assert series.segment("--series", "T1 vibe") == 0
    assert pydicom.dcmread(series.output).ReferencedSeriesSequence[0].SeriesInstanceUID == "1.2.3.9"


def test_a_package_that_is_too_old_is_named_before_anything_is_read(series, capsys, monkeypatch):
    monkeypatch.setattr("qnetseg.extras.version", lambda name: "0.27.0")
    line = said(series, capsys, query=series.folder / "nowhere")
    assert "a newer highdicom than 0.27.0" in line and "pip install --upgrade 'highdicom>=0.28'" in line


def test_a_folder_that_cannot_be_written_is_found_before_the_work(series, capsys, monkeypatch):
    monkeypatch.setattr("qnetseg.cli.compute.engine", never)
    assert "does not exist" in said(series, capsys, output=series.results / "no" / "out.dcm")
    assert "ending" in said(series, capsys, "--confidence", series.results / "c.dcm")


def test_an_image_is_never_overwritten(series, capsys, monkeypatch):
    """The file of the query that an output in its folder may hit; a segmentation there is replaced."""
    image = series.query / "03.dcm"
    before = image.read_bytes()
    assert "which would be lost" in said(series, capsys, output=image)
    assert image.read_bytes() == before
    for _ in range(2):
        assert series.segment(output=series.query / "seg.dcm") == 0


def test_a_full_disk_leaves_nothing_behind(series, capsys, monkeypatch):
    from highdicom.seg import Segmentation

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Segmentation, "save_as", full)
    assert "No space left" in said(series, capsys, "--report", series.results / "r.json")


def test_names_of_patients_are_not_in_the_messages(series, capsys):
    assert series.segment() == 0
    told = capsys.readouterr()
    assert "Phantom" not in told.out + told.err
