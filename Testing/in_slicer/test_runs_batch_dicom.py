"""A batch writes a DICOM segmentation beside the result of a study that is a DICOM series."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest
from slicer_session import session

session()
pytest.importorskip("highdicom", reason="the extra `dicom` is not installed")

from qnetseg.batch import folder_studies  # noqa: E402
from qnetseg.volume import read_labelmap, read_volume  # noqa: E402
from support.batch_bed import (  # noqa: E402
    DONE,
    fresh,
    one_support,
    results_in,
    run,
    states,
)
from support.cli_bed import scan_array, write_image  # noqa: E402
from support.dicom_bed import save  # noqa: E402
from support.seg_bed import complaints, frames_by_hand, image_names, slices, write_frames  # noqa: E402

__all__ = ["fresh", "one_support"]


@pytest.fixture
def studies(tmp_path):
    """A folder with a DICOM series, an enhanced file in a folder, and a NIfTI file."""
    stored = np.rint(scan_array()).astype("<i2")
    for one, pixels in zip(slices(shape=stored.shape), stored, strict=True):
        one.PixelData = pixels.tobytes()
        save(one, tmp_path / "series" / f"{one.InstanceNumber:02d}.dcm")
    write_frames(tmp_path / "frames" / "e", [1, 0, 2, 3, 5, 4])
    write_image(tmp_path / "plain.nii.gz", scan_array())
    return tmp_path


def test_dicom_studies_get_a_dicom_segmentation_too(studies, supports):
    batch = run(folder_studies(studies), supports, dicom=True)
    assert states(batch) == [DONE] * 3 and not any("DICOM" in study.detail for study in batch.studies)
    files = results_in(studies)
    assert [name for name in files if name.endswith(".dcm")] == ["frames.seg.dcm", "series.seg.dcm"]
    assert len(files) == 8
    for name in ("series", "frames"):
        volume, labels = read_volume(studies / name), read_labelmap(studies / f"{name}.seg.nrrd")
        found = np.zeros(volume.shape, bool)
        for _, image, pixels, _ in frames_by_hand(studies / f"{name}.seg.dcm"):
            found[image_names(volume).index(image)] = pixels
        assert np.array_equal(found, labels.array == 1) and complaints(studies / f"{name}.seg.dcm") == []
    (segment,) = pydicom.dcmread(studies / "series.seg.dcm").SegmentSequence
    assert segment.SegmentLabel == supports[0].name
    parameters = segment.SegmentationAlgorithmIdentificationSequence[0].AlgorithmParameters
    assert "SHA-256 of propagation-open=" in parameters and "SHA-256 of qnet-resnet50=" in parameters


def test_without_the_option_there_is_none(studies, supports):
    run(folder_studies(studies), supports)
    assert not [name for name in results_in(studies) if name.endswith(".dcm")]


def test_again_replaces_its_own_file_and_no_other(studies, supports):
    run(folder_studies(studies), supports, dicom=True)
    ours = (studies / "frames.seg.dcm").read_bytes()
    (studies / "series.seg.dcm").write_bytes(b"of somebody else")
    batch = run(folder_studies(studies), supports, dicom=True, redo=True)
    assert states(batch) == [DONE] * 3
    assert (studies / "frames.seg.dcm").read_bytes() != ours, "other identifiers"
    assert (studies / "series.seg.dcm").read_bytes() == b"of somebody else"
    assert "'series.seg.dcm' is in the way" in batch.studies[2].detail


def test_a_series_that_cannot_be_referred_to_keeps_its_other_result(studies, supports):
    for path in (studies / "series").iterdir():
        one = pydicom.dcmread(path)
        one.StudyInstanceUID = ""
        save(one, path)
    batch = run(folder_studies(studies), supports, dicom=True)
    assert states(batch) == [DONE] * 3 and "without StudyInstanceUID" in batch.studies[2].detail
    assert {"series.seg.nrrd", "frames.seg.dcm"} <= set(results_in(studies))
    assert "series.seg.dcm" not in results_in(studies)


def test_a_missing_package_is_said_of_each_dicom_study(studies, supports, monkeypatch):
    monkeypatch.setattr("qnetseg.extras.version", lambda name: "0.1")
    batch = run(folder_studies(studies), supports, dicom=True)
    assert ["highdicom" in study.detail for study in batch.studies] == [True, False, True]
