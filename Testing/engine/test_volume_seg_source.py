"""What a DICOM segmentation refers to: sources that lack something, and those of which none can be made."""

from __future__ import annotations

import re
from dataclasses import replace
from importlib.metadata import PackageNotFoundError

import numpy as np
import pydicom
import pytest

pytest.importorskip("highdicom", reason="the extra `dicom` is not installed")

# isort: split
from qnetseg.boxes import Box
from qnetseg.errors import FileWarning, GeometryError, InputError, QNetSegmentError
from qnetseg.volume import Volume, read_volume, volumes_in, write_volume
from qnetseg.volume.dicom_seg import require_segmentable, write_dicom_seg
from qnetseg.volume.seg_source import seg_source
from support.dicom_bed import save
from support.seg_bed import (
    FRAME,
    PATIENT,
    SHAPE,
    WEIGHTS,
    complaints,
    frames_by_hand,
    image_names,
    info,
    random_masks,
    slices,
    write_frames,
    write_masks,
    write_slices,
)


def made(tmp_path, files):
    """A segmentation of these slices, read again, and the volume that they give."""
    volume = read_volume(write_slices(tmp_path / "s", files))
    write_masks(tmp_path / "out.dcm", volume, random_masks(volume.shape))
    return pydicom.dcmread(tmp_path / "out.dcm"), volume


def test_a_volume_knows_the_files_of_its_slices(tmp_path):
    files = slices(reverse=True)
    volume = read_volume(write_slices(tmp_path / "s", files))
    assert image_names(volume) == [f"{one.SOPInstanceUID}#1" for one in reversed(files)]


def test_patient_and_study_are_those_of_the_source(tmp_path):
    seg, _ = made(tmp_path, slices())
    assert {key: str(seg[key].value) for key in PATIENT} == PATIENT
    assert (seg.StudyInstanceUID, seg.FrameOfReferenceUID) == ("1.2.3", FRAME)


@pytest.mark.parametrize("name", ["Müller^Jörg", "Ōta^Ken"])
def test_names_in_every_script_go_through(tmp_path, name):
    charset = "ISO_IR 100" if name.startswith("M") else "ISO_IR 192"
    files = slices(PatientName=name, SpecificCharacterSet=charset, SeriesDescription="schräg")
    seg, volume = made(tmp_path, files)
    assert seg.PatientName == name and seg.SeriesDescription == "QNetSegment: schräg"
    write_dicom_seg(tmp_path / "2.dcm", seg_source(volume), [(info(1, "肝臓"), Box.empty())], {})
    again = pydicom.dcmread(tmp_path / "2.dcm")
    assert again.PatientName == name and again.SegmentSequence[0].SegmentLabel == "肝臓"


def test_a_bare_series_is_enough(tmp_path):
    """Anonymisers and converters leave out what is not needed to show the images."""
    bare = dict.fromkeys([*PATIENT, "SliceThickness", "SeriesNumber"])
    seg, _ = made(tmp_path, slices(**bare))
    assert all(key in seg and not seg[key].value for key in PATIENT)
    assert seg.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].SliceThickness == 3.0
    assert not [line for line in complaints(tmp_path / "out.dcm") if line.startswith("Error")]


@pytest.mark.filterwarnings("ignore")
def test_odd_values_of_the_patient_are_kept(tmp_path):
    odd = {"PatientSex": "female", "PatientBirthDate": "31 Jan 1970", "StudyTime": "noon"}
    seg, _ = made(tmp_path, slices(**odd))
    assert {key: seg[key].value for key in odd} == odd


def test_a_missing_frame_of_reference_is_told(tmp_path):
    volume = read_volume(write_slices(tmp_path / "s", slices(FrameOfReferenceUID=None)))
    with pytest.warns(FileWarning, match="names no frame of reference"):
        write_masks(tmp_path / "out.dcm", volume, random_masks())
    assert pydicom.dcmread(tmp_path / "out.dcm").FrameOfReferenceUID.startswith("2.25.")


def refused(volume, kind, sentence):
    """One sentence on what and why, one on what to do, before anything is computed."""
    with pytest.raises(kind, match=sentence) as caught:
        require_segmentable(seg_source(volume))
    assert caught.value.advice.endswith(".") and str(caught.value).count("\n") == 0


@pytest.mark.parametrize("key", ["SOPInstanceUID", "StudyInstanceUID"])
def test_images_without_identifiers_are_refused(tmp_path, key):
    refused(read_volume(write_slices(tmp_path / "s", slices(**{key: ""}))), InputError, f"without {key}")


def test_images_with_one_identifier_are_refused(tmp_path):
    files = slices(SOPInstanceUID="1.2.3.4.5")
    refused(read_volume(write_slices(tmp_path / "s", files)), InputError, "the same SOPInstanceUID")


@pytest.mark.filterwarnings("ignore::qnetseg.errors.FileWarning")
@pytest.mark.parametrize("key", ["PixelSpacing", "ImageOrientationPatient"])
def test_images_without_a_place_are_refused(tmp_path, key):
    """They are read all the same, with a warning and what ITK makes up."""
    volume = read_volume(write_slices(tmp_path / "s", slices(**{key: None})))
    refused(volume, InputError, "does not say where its slices lie")


@pytest.mark.filterwarnings("ignore::qnetseg.errors.FileWarning")
def test_frames_without_a_place_are_refused(tmp_path):
    path = write_frames(tmp_path / "s" / "e", list(range(SHAPE[0])))
    header = pydicom.dcmread(path)
    del header.PerFrameFunctionalGroupsSequence
    save(header, path)
    refused(read_volume(path), InputError, "not a DICOM series whose slices say where they lie")


def test_another_format_is_refused(tmp_path):
    volume = read_volume(write_slices(tmp_path / "s", slices()))
    write_volume(tmp_path / "a.nrrd", volume)
    refused(read_volume(tmp_path / "a.nrrd"), InputError, "'a' is not a DICOM series")
    refused(Volume(volume.array, volume.ijk_to_ras, "made"), InputError, "'made' is not a DICOM series")


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_volume_beside_the_planes_of_its_files_is_refused(tmp_path, axis):
    """Such as one that was resampled or moved since it was read."""
    volume = read_volume(write_slices(tmp_path / "s", slices()))
    moved = volume.ijk_to_ras.copy()
    moved[axis, 3] += 1.0
    refused(replace(volume, ijk_to_ras=moved), GeometryError, "other planes than its files state")
    refused(replace(volume, array=volume.array[:, :-1]), GeometryError, "other planes")
    refused(replace(volume, array=volume.array[:-1]), InputError, "not a DICOM series")


def test_a_file_that_is_gone_or_damaged_is_refused(tmp_path):
    volume = read_volume(write_slices(tmp_path / "s", slices()))
    whole = volume.frames[0].path.read_bytes()
    volume.frames[0].path.write_bytes(whole[:200])
    with pytest.raises(QNetSegmentError):
        seg_source(volume)
    volume.frames[0].path.unlink()
    refused(volume, InputError, "damaged header")


def test_whatever_the_writer_refuses_is_a_sentence(tmp_path):
    """Here a series whose images belong to two frames of reference by another tag of the same series."""
    files = slices()
    files[2].StudyInstanceUID = "1.2.9"
    volume = read_volume(write_slices(tmp_path / "s", files))
    refused(volume, InputError, re.escape("No DICOM segmentation can be made of the series 'T1 vibe'"))


def test_without_highdicom_it_is_said_what_to_install(tmp_path, monkeypatch):
    source = seg_source(read_volume(write_slices(tmp_path / "s", slices())))

    def missing(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr("qnetseg.extras.version", missing)
    with pytest.raises(
        InputError, match=r"highdicom, which is not installed. pip install 'highdicom>=0.28'."
    ):
        write_dicom_seg(tmp_path / "out.dcm", source, [(info(), Box.empty())], WEIGHTS)
    with pytest.raises(InputError, match="highdicom"):
        require_segmentable(source)
    monkeypatch.setattr("qnetseg.extras.version", lambda name: "0.27.0")
    with pytest.raises(InputError, match=r"newer highdicom than 0.27.0.*--upgrade"):
        require_segmentable(source)


def test_two_segmentations_of_a_series_are_two_series(tmp_path):
    volume = read_volume(write_slices(tmp_path / "s", slices()))
    uids = set()
    for name in ("1.dcm", "2.dcm"):
        write_masks(tmp_path / name, volume, random_masks())
        seg = pydicom.dcmread(tmp_path / name)
        uids |= {seg.SOPInstanceUID, seg.SeriesInstanceUID}
    assert len(uids) == 4


def test_the_series_is_read_as_before_with_its_segmentation_beside_it(tmp_path):
    volume = read_volume(write_slices(tmp_path / "s", slices()))
    write_masks(tmp_path / "s" / "out.dcm", volume, random_masks())
    assert np.array_equal(read_volume(tmp_path / "s").array, volume.array)
    assert len(frames_by_hand(tmp_path / "s" / "out.dcm")) == 8


def test_a_folder_of_segmentations_holds_no_volume(tmp_path):
    volume = read_volume(write_slices(tmp_path / "s", slices()))
    (tmp_path / "results").mkdir()
    write_masks(tmp_path / "results" / "s.seg.dcm", volume, random_masks())
    write_masks(tmp_path / "s.seg.dcm", volume, random_masks())
    for below in (False, True):
        assert [one.path.name for one in volumes_in(tmp_path, below)] == ["s"]
