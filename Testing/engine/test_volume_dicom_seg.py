"""DICOM segmentations hold the voxels at their places, read back in several ways."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk

pytest.importorskip("highdicom", reason="the extra `dicom` is not installed")

# isort: split
from qnetseg.boxes import Box
from qnetseg.errors import FileWarning, OutputError
from qnetseg.volume import read_volume
from qnetseg.volume.dicom_seg import write_dicom_seg
from qnetseg.volume.seg_source import seg_source
from support.seg_bed import (
    DIRECTIONS,
    SHAPE,
    WEIGHTS,
    by_dcmqi,
    frames_by_hand,
    image_names,
    in_order,
    info,
    places,
    random_masks,
    slices,
    write_frames,
    write_masks,
    write_slices,
)


def require_same(path, volume, masks):
    """By hand, voxel for voxel: on the images that the frames refer to, and at their places in RAS."""
    frames, images = frames_by_hand(path), image_names(volume)
    for number, mask in enumerate(masks, 1):
        found, points = np.zeros(mask.shape, bool), [np.empty((0, 3))]
        for segment, image, pixels, ras in frames:
            if segment == number:
                found[images.index(image)] |= pixels
                points.append(ras)
        assert np.array_equal(found, mask)
        np.testing.assert_allclose(
            in_order(np.concatenate(points)), places(mask, volume.ijk_to_ras), atol=2e-3
        )
    occupied = sum(int(mask.any(axis=(1, 2)).sum()) for mask in masks)
    assert len(frames) == occupied, "empty frames are left out"


@pytest.mark.parametrize("kind", DIRECTIONS)
@pytest.mark.parametrize("reverse", [False, True])
def test_every_voxel_lies_where_it_did(tmp_path, kind, reverse):
    volume = read_volume(write_slices(tmp_path / "s", slices(kind, reverse)))
    masks = random_masks()
    write_masks(tmp_path / "out.dcm", volume, masks)
    require_same(tmp_path / "out.dcm", volume, masks)
    for (found, matrix), mask in zip(by_dcmqi(tmp_path / "out.dcm", tmp_path / "q"), masks, strict=True):
        np.testing.assert_allclose(places(found, matrix), places(mask, volume.ijk_to_ras), atol=2e-3)


@pytest.mark.parametrize("kind", ["axial", "oblique"])
@pytest.mark.parametrize("shared", [True, False])
def test_frames_of_one_file_are_referred_to_by_number(tmp_path, kind, shared):
    write_frames(tmp_path / "s" / "enhanced", [3, 5, 0, 1, 4, 2], kind, shared)
    volume, masks = read_volume(tmp_path / "s"), random_masks()
    assert sorted(frame.number for frame in volume.frames) == [1, 2, 3, 4, 5, 6]
    write_masks(tmp_path / "out.dcm", volume, masks)
    require_same(tmp_path / "out.dcm", volume, masks)
    for (found, matrix), mask in zip(by_dcmqi(tmp_path / "out.dcm", tmp_path / "q"), masks, strict=True):
        np.testing.assert_allclose(places(found, matrix), places(mask, volume.ijk_to_ras), atol=2e-3)


def test_a_tilted_gantry_stays_on_the_planes_of_the_source(tmp_path):
    volume = read_volume(write_slices(tmp_path / "s", slices(tilt=0.8)))
    masks = random_masks()
    write_masks(tmp_path / "out.dcm", volume, masks)
    require_same(tmp_path / "out.dcm", volume, masks)
    shared = pydicom.dcmread(tmp_path / "out.dcm").SharedFunctionalGroupsSequence[0]
    assert shared.PixelMeasuresSequence[0].SpacingBetweenSlices == pytest.approx(3.0), "across the planes"


def test_uneven_slices_stay_on_the_planes_of_the_source(tmp_path):
    """A volume's grid is even; where it is not exactly so, the images' own places count."""
    files = slices()
    for one, mm in zip(files, (0, 0.1, 0.05, 0, 0.06, 0.04), strict=True):
        one.ImagePositionPatient = [*one.ImagePositionPatient[:2], one.ImagePositionPatient[2] + mm]
    volume, mask = read_volume(write_slices(tmp_path / "s", files)), np.ones(SHAPE, bool)
    write_masks(tmp_path / "out.dcm", volume, [mask])
    groups = pydicom.dcmread(tmp_path / "out.dcm").PerFrameFunctionalGroupsSequence
    places = [list(group.PlanePositionSequence[0].ImagePositionPatient) for group in groups]
    assert sorted(places) == sorted(list(one.ImagePositionPatient) for one in files)


def test_directions_that_differ_in_the_last_digits_are_one(tmp_path):
    files = slices("oblique")
    for number, one in enumerate(files):
        one.ImageOrientationPatient = [part + 2e-5 * number for part in one.ImageOrientationPatient]
    volume, masks = read_volume(write_slices(tmp_path / "s", files)), random_masks()
    write_masks(tmp_path / "out.dcm", volume, masks)
    require_same(tmp_path / "out.dcm", volume, masks)


@pytest.mark.parametrize("count", [1, 3])
def test_other_readers_find_the_same_voxels(tmp_path, count):
    """highdicom's and GDCM's; a segmentation that does not overlap takes another way through the writer."""
    from highdicom.seg import segread

    shape = (6, 8, 8)  # GDCM loses what is behind the last whole byte of all frames
    volume = read_volume(write_slices(tmp_path / "s", slices("coronal", shape=shape)))
    labels = np.random.default_rng(3).integers(0, count + 1, shape)
    masks = [labels == number for number in range(1, count + 1)]
    write_masks(tmp_path / "out.dcm", volume, masks)
    require_same(tmp_path / "out.dcm", volume, masks)
    seg = segread(tmp_path / "out.dcm")
    assert seg.SegmentsOverlap == "NO"
    uids = [name.split("#")[0] for name in image_names(volume)]
    pixels = seg.get_pixels_by_source_instance(uids, assert_missing_frames_are_empty=True)
    assert np.array_equal(np.moveaxis(pixels, 3, 0) != 0, masks)
    stacked = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "out.dcm"), imageIO="GDCMImageIO"))
    assert np.array_equal(stacked != 0, [pixels for _, _, pixels, _ in frames_by_hand(tmp_path / "out.dcm")])


def test_segments_may_overlap(tmp_path):
    volume = read_volume(write_slices(tmp_path / "s", slices()))
    whole, part = random_masks()[0], np.zeros(SHAPE, bool)
    part[2:4] = whole[2:4]
    write_masks(tmp_path / "out.dcm", volume, [whole, part, whole])
    require_same(tmp_path / "out.dcm", volume, [whole, part, whole])
    assert pydicom.dcmread(tmp_path / "out.dcm").SegmentsOverlap == "YES"


@pytest.mark.parametrize("count", [1, 2])
def test_nothing_found_is_a_segmentation_without_voxels(tmp_path, count):
    """At least one frame has to be there; it is empty."""
    volume = read_volume(write_slices(tmp_path / "s", slices()))
    write_masks(tmp_path / "out.dcm", volume, [np.zeros(SHAPE, bool)] * count)
    seg = pydicom.dcmread(tmp_path / "out.dcm")
    assert len(seg.SegmentSequence) == seg.NumberOfFrames == count
    assert not any(pixels.any() for _, _, pixels, _ in frames_by_hand(tmp_path / "out.dcm"))
    assert len(seg.ReferencedSeriesSequence[0].ReferencedInstanceSequence) == SHAPE[0]


def test_an_empty_segment_beside_another_is_described(tmp_path):
    volume = read_volume(write_slices(tmp_path / "s", slices()))
    masks = [np.zeros(SHAPE, bool), random_masks()[0]]
    write_masks(tmp_path / "out.dcm", volume, masks)
    require_same(tmp_path / "out.dcm", volume, masks)
    assert [one.SegmentLabel for one in pydicom.dcmread(tmp_path / "out.dcm").SegmentSequence] == [
        "structure 1",
        "structure 2",
    ]


@pytest.mark.parametrize("at", [0, 2, SHAPE[0] - 1])
def test_a_structure_of_one_slice(tmp_path, at):
    volume, mask = read_volume(write_slices(tmp_path / "s", slices("sagittal"))), np.zeros(SHAPE, bool)
    mask[at, 3, 4] = True
    write_masks(tmp_path / "out.dcm", volume, [mask])
    require_same(tmp_path / "out.dcm", volume, [mask])


def test_a_series_of_one_slice(tmp_path):
    write_slices(tmp_path / "s", slices(shape=(1, 7, 9)))
    with pytest.warns(FileWarning, match="single slice"):
        volume = read_volume(tmp_path / "s")
    mask = np.zeros((1, 7, 9), bool)
    mask[0, 2:5, 3:8] = True
    write_masks(tmp_path / "out.dcm", volume, [mask])
    require_same(tmp_path / "out.dcm", volume, [mask])


def test_many_segments(tmp_path):
    """More than 8 bits can number."""
    shape = (2, 20, 20)
    volume = read_volume(write_slices(tmp_path / "s", slices(shape=shape)))
    labels = np.arange(800).reshape(shape) // 2
    masks = [labels == number for number in range(1, 301)]
    write_masks(tmp_path / "out.dcm", volume, masks)
    require_same(tmp_path / "out.dcm", volume, masks)


def test_what_does_not_fit_is_not_written(tmp_path):
    source = seg_source(read_volume(write_slices(tmp_path / "s", slices())))
    outside = Box(np.ones((1, 1, 1), bool), (SHAPE[0], 0, 0))
    with pytest.raises(OutputError, match="reaches beyond the images"):
        write_dicom_seg(tmp_path / "out.dcm", source, [(info(), outside)], WEIGHTS)
    with pytest.raises(OutputError, match="not 0"):
        write_dicom_seg(tmp_path / "out.dcm", source, [], WEIGHTS)
    with pytest.raises(OutputError, match="does not exist"):
        write_dicom_seg(tmp_path / "no" / "out.dcm", source, [(info(), Box.empty())], WEIGHTS)
    assert [path.name for path in tmp_path.iterdir()] == ["s"]


def test_an_old_file_stays_when_the_new_one_cannot_be_written(tmp_path, monkeypatch):
    from highdicom.seg import Segmentation

    source = seg_source(read_volume(write_slices(tmp_path / "s", slices())))
    (tmp_path / "out.dcm").write_bytes(b"old")

    def full_disk(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Segmentation, "save_as", full_disk)
    with pytest.raises(OutputError, match="No space left"):
        write_dicom_seg(tmp_path / "out.dcm", source, [(info(), Box.empty())], WEIGHTS)
    assert (tmp_path / "out.dcm").read_bytes() == b"old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.dcm", "s"]
