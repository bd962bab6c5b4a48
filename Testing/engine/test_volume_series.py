"""DICOM as archives and scanners hand it out: several series, copies, echoes, files of many frames."""

from __future__ import annotations

import shutil
import sys
import warnings

import numpy as np
import pytest

from qnetseg.errors import FileWarning, GeometryError, InputError, VolumeError
from qnetseg.volume import read_volume
from support.dicom_bed import (
    ARRAY,
    MATRIX,
    ORIENTATION,
    SHAPE,
    dataset,
    enhanced,
    position,
    save,
    slice_of,
)

ORDER = list(range(SHAPE[0]))


def series(folder, prefix="a", pixels=ARRAY, **tags):
    for k in ORDER:
        save(slice_of(k, pixels[k], **tags), folder / f"{prefix}{SHAPE[0] - k}.dcm")
    return folder


def same(volume, array=ARRAY, atol=0.0):
    return np.allclose(volume.array, array, atol=atol) and np.allclose(volume.ijk_to_ras, MATRIX, atol=1e-4)


def two_series(folder):
    series(folder, SeriesDescription="T1, drawn", SeriesNumber=4, uid="1.2.40")
    return series(folder, "b", ARRAY + 7, SeriesDescription="T2", SeriesNumber=5, uid="1.2.41")


def test_several_series_of_similar_size_have_to_be_chosen_from(tmp_path):
    with pytest.raises(InputError, match=r"2 DICOM series: .*'T1, drawn'.*'T2'|'T2'.*'T1, drawn'") as caught:
        read_volume(two_series(tmp_path / "a"))
    assert "--series NAME" in caught.value.advice


@pytest.mark.parametrize(
    ("name", "more"),
    [("T1, drawn", 0), ("t1, DRAWN", 0), ("4", 0), ("1.2.40", 0), ("T2", 7), ("5", 7), ("1.2.41", 7)],
)
def test_a_series_is_chosen_by_description_number_or_uid(tmp_path, name, more):
    volume = read_volume(two_series(tmp_path / "a"), name)
    assert same(volume, ARRAY + more) and volume.name == ("T2" if more else "T1, drawn")


def test_a_series_that_is_not_there_is_refused(tmp_path):
    for name in ("T3", "", "echo time 10"):
        with pytest.raises(InputError, match="no series") as caught:
            read_volume(two_series(tmp_path / "a"), name)
        assert "'T1, drawn' (number 4, 6 images)" in caught.value.advice
    with pytest.raises(InputError, match="no series can be chosen"):
        read_volume(tmp_path / "a" / "a1.dcm", "T2")


def test_series_of_one_name_are_chosen_by_uid(tmp_path):
    series(tmp_path / "a", uid="1.2.40")
    series(tmp_path / "a", "b", ARRAY + 7, uid="1.2.41")
    with pytest.raises(InputError, match="2 series in 'a' are called 'T2'") as caught:
        read_volume(tmp_path / "a", "T2")
    assert "1.2.40" in caught.value.advice and "1.2.41" in caught.value.advice


@pytest.mark.parametrize("new_uid", [False, True])
def test_copies_of_slices_are_read_once(tmp_path, new_uid):
    folder = series(tmp_path / "a")
    for k in (0, 3):
        if new_uid:
            save(slice_of(k, SOPInstanceUID=f"1.2.99.{k}"), folder / f"copy {k}.dcm")
        else:
            shutil.copy(folder / f"a{SHAPE[0] - k}.dcm", folder / f"a{SHAPE[0] - k} (1).dcm")
    with pytest.warns(FileWarning, match="copies of slices; 2 files were left out"):
        assert same(read_volume(folder))


def test_a_whole_copied_series_is_read_once(tmp_path):
    folder = series(series(tmp_path / "a"), "b")
    with pytest.warns(FileWarning, match="6 files were left out"):
        assert same(read_volume(folder))


KINDS = [
    ({"EchoTime": "10"}, {"EchoTime": "90"}, "echo time 90"),
    ({"EchoNumbers": 1}, {"EchoNumbers": 2}, "echo 2"),
    ({"TemporalPositionIdentifier": 1}, {"TemporalPositionIdentifier": 2}, "time 2"),
    ({"AcquisitionNumber": 1}, {"AcquisitionNumber": 2}, "acquisition 2"),
    ({"AcquisitionTime": "100000"}, {"AcquisitionTime": "100010"}, "acquisition time 100010"),
    ({"ImageType": ["ORIGINAL", "M"]}, {"ImageType": ["ORIGINAL", "P"]}, "type ORIGINAL\\P"),
]


@pytest.mark.parametrize(("one", "other", "name"), KINDS)
def test_several_images_at_every_position_have_to_be_chosen_from(tmp_path, one, other, name):
    folder = series(series(tmp_path / "a", **one), "b", ARRAY + 7, **other)
    with pytest.raises(VolumeError, match="2 images at every position") as caught:
        read_volume(folder)
    assert f"'{name}'" in caught.value.advice
    assert same(read_volume(folder, name), ARRAY + 7)
    assert same(read_volume(folder, f"T2, {name}"), ARRAY + 7)
    with pytest.raises(InputError, match="no images 'echo time 7'"):
        read_volume(folder, "echo time 7")


def test_images_that_nothing_tells_apart_are_refused(tmp_path):
    with pytest.raises(VolumeError, match="2 images at every position") as caught:
        read_volume(series(series(tmp_path / "a"), "b", ARRAY + 7))
    assert "folder of its own" in caught.value.advice
    folder = series(tmp_path / "b")
    save(slice_of(2, ARRAY[4]), folder / "more.dcm")
    with pytest.raises(VolumeError, match="2 images at some positions"):
        read_volume(folder)


@pytest.mark.parametrize("size", [1e-8, 4e-4])
def test_directions_and_spacings_may_be_rounded_differently(tmp_path, size):
    noise = np.random.default_rng(1)
    for k in ORDER:
        turned = np.array([0.9994047, 0.0345, 0, -0.0345, 0.9994047, 0]) + noise.uniform(-size, size, 6)
        spacing = [f"{1.5 + noise.uniform(-size, size):.10f}", "1.25"]
        save(
            slice_of(k, ImageOrientationPatient=turned.tolist(), PixelSpacing=spacing), tmp_path / f"{k}.dcm"
        )
    assert np.array_equal(read_volume(tmp_path).array, ARRAY)


@pytest.mark.parametrize(
    "tags", [{"ImageOrientationPatient": [1, 0, 0, 0, 0, 1]}, {"PixelSpacing": [2, 1.25]}]
)
def test_other_directions_and_spacings_are_refused(tmp_path, tags):
    folder = series(tmp_path / "a")
    save(slice_of(5, **tags), folder / "a1.dcm")
    with pytest.raises(GeometryError, match="differ in size, spacing or direction"):
        read_volume(folder)


def test_every_slice_keeps_its_own_scaling(tmp_path):
    for k in ORDER:
        slope = 0.5 if k % 2 else 2.0
        tags = {"RescaleSlope": slope, "RescaleIntercept": 10 * k}
        save(slice_of(k, (ARRAY[k] - 10 * k) / slope, **tags), tmp_path / f"{k}.dcm")
    assert same(read_volume(tmp_path), atol=2.0)


def test_one_slice_of_a_series_is_warned_of(tmp_path):
    folder = series(tmp_path / "a")
    with pytest.warns(FileWarning, match=r"'a3\.dcm' is a single slice.* choose the folder"):
        assert read_volume(folder / "a3.dcm").shape == (1, 7, 8)


@pytest.mark.parametrize("order", [ORDER, ORDER[::-1], [0, 2, 4, 1, 3, 5], [3, 0, 5, 1, 4, 2]])
@pytest.mark.parametrize("folder", [False, True])
def test_frames_are_put_into_spatial_order(tmp_path, order, folder):
    path = save(enhanced(order), tmp_path / "a" / "e.dcm")
    volume = read_volume(path.parent if folder else path)
    assert same(volume) and volume.name == ("enhanced" if folder else "e")


def test_frames_keep_their_own_scaling(tmp_path):
    scalings = [(0.5 * (k + 1), 10.0 * k) for k in ORDER]
    assert same(read_volume(save(enhanced(ORDER, scalings), tmp_path / "e.dcm")), atol=1.6)
    mixed = [ORDER[::-1], [scalings[k] for k in ORDER[::-1]]]
    assert same(read_volume(save(enhanced(*mixed), tmp_path / "f.dcm")), atol=1.6)
    assert same(read_volume(save(enhanced(ORDER, shared_scaling=(0.5, -3)), tmp_path / "g.dcm")), atol=0.26)
    assert same(read_volume(save(enhanced(ORDER, [(2.0, 5.0)] * 6), tmp_path / "h.dcm")), atol=1.1)


@pytest.mark.parametrize("order", [ORDER + ORDER, [k for k in ORDER for _ in "abc"], [*ORDER, 3]])
def test_several_volumes_in_one_file_are_refused(tmp_path, order):
    with pytest.raises(VolumeError, match=r"holds several volumes: [23] frames lie at the same position"):
        read_volume(save(enhanced(order), tmp_path / "e.dcm"))


def test_frames_that_make_no_volume_are_refused(tmp_path):
    with pytest.raises(GeometryError, match=r"frames of 'e\.dcm' are not evenly spaced"):
        read_volume(save(enhanced([0, 1, 2, 4, 5]), tmp_path / "e.dcm"))
    turned = [ORIENTATION] * 3 + [(1.0, 0, 0, 0, 0, 1.0)] * 3
    with pytest.raises(GeometryError, match=r"frames of 'e\.dcm' differ"):
        read_volume(save(enhanced(ORDER, orientations=turned), tmp_path / "e.dcm"))


@pytest.mark.parametrize("damage", ["position", "fewer", "nan"])
def test_frames_without_a_proper_header_are_refused(tmp_path, damage):
    whole = enhanced(ORDER)
    frames = whole.PerFrameFunctionalGroupsSequence
    if damage == "position":
        del frames[2].PlanePositionSequence
    elif damage == "fewer":
        del frames[2]
    else:
        whole.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].PixelSpacing = [0, 0]
    with pytest.raises((VolumeError, GeometryError), match=r"'e\.dcm'"):
        read_volume(save(whole, tmp_path / "e.dcm"))


def test_frames_without_positions_are_warned_of(tmp_path):
    path = save(dataset(ARRAY, NumberOfFrames=6), tmp_path / "e.dcm")
    with pytest.warns(FileWarning, match="6 frames without positions"):
        assert np.array_equal(read_volume(path).array, ARRAY)


def test_a_series_of_several_files_of_frames_is_refused(tmp_path):
    for name in ("a", "b"):
        save(enhanced(ORDER), tmp_path / f"{name}.dcm")
    with pytest.raises(VolumeError, match="several files of many frames"):
        read_volume(tmp_path)


def test_without_pydicom_the_file_is_refused_in_a_sentence(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(VolumeError, match=r"pydicom, .* is not installed\. pip install pydicom"):
        read_volume(save(enhanced(ORDER), tmp_path / "e.dcm"))


def test_a_plain_series_is_no_news(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert same(read_volume(series(tmp_path / "a"))) and position(0) == [10.0] * 3


def test_segmentations_and_plans_beside_a_series_are_no_series_to_choose_from(tmp_path):
    folder = series(tmp_path / "a")
    segmentation = enhanced(ORDER)
    segmentation.SeriesInstanceUID = "1.2.99"
    segmentation.SOPClassUID = segmentation.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.66.4"
    save(segmentation, folder / "z.dcm")
    assert same(read_volume(folder))


@pytest.mark.parametrize("frames", [False, True])
def test_fewer_pixels_than_the_header_says_are_damage(tmp_path, frames):
    """GDCM fills up with what the memory held."""
    part = enhanced(ORDER) if frames else slice_of(3)
    part.PixelData = part.PixelData[:-40]
    folder = tmp_path / "a"
    save(part, (folder if frames else series(folder)) / "a3.dcm")
    with pytest.raises(VolumeError, match="damaged"):
        read_volume(folder)


@pytest.mark.parametrize(
    ("tags", "words"),
    [
        ({"PixelSpacing": None}, "does not say how large its pixels are"),
        ({"ImageOrientationPatient": None}, "directions"),
        ({"ImageOrientationPatient": [1, 0, 0, 0.3, 0.954, 0]}, "directions"),
        ({"ImageOrientationPatient": [0, 0, 0, 0, 0, 0]}, "directions"),
    ],
)
def test_geometry_that_the_reader_makes_up_is_warned_of(tmp_path, tags, words):
    folder = series(tmp_path / "a", **tags)
    with pytest.warns(FileWarning, match=words):
        read_volume(folder)


def test_slices_that_lie_nowhere_are_refused(tmp_path):
    with pytest.raises(VolumeError, match="does not say where its slices lie"):
        read_volume(series(tmp_path / "a", ImagePositionPatient=None))


@pytest.mark.parametrize("mm", [1e-3, 2e-4])
def test_series_of_micrometres_are_read(tmp_path, mm):
    for k in ORDER:
        place = [0.01, 0.01, mm * k]
        save(slice_of(k, PixelSpacing=[mm, mm], ImagePositionPatient=place), tmp_path / "a" / f"{k}")
    volume = read_volume(tmp_path / "a")
    assert np.array_equal(volume.array, ARRAY) and np.allclose(volume.spacing, mm, rtol=1e-4)
