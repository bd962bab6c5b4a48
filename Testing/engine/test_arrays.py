"""`qnetseg.segment`: images of NumPy, SimpleITK and nibabel, and what is found in them."""

from __future__ import annotations

import subprocess
import sys

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk

import qnetseg
from qnetseg import errors
from qnetseg.models import load_networks
from qnetseg.segment import SegmentOptions, segment_volume
from qnetseg.volume import Volume, read_labelmap, read_volume, support_from_mask
from support.cli_bed import Bed, drawing_array, scan_array
from support.random_models import random_models
from support.worker_bed import LOGIC

__all__ = ["random_models"]

SPACING = (4.0, 1.5, 1.5)
MATRIX = np.diag([-1.5, -1.5, 4.0, 1.0])
BOX = (drawing_array() == 1).astype(np.uint8)


@pytest.fixture
def how(random_models):
    """Settings with which a result is the same each time."""
    return {"model": random_models["volume"], "device": "cpu", "options": {"threads": 1}, "progress": False}


@pytest.fixture
def expected(random_models):
    """Of the engine itself."""
    volume = Volume.checked(scan_array(), MATRIX)
    support = support_from_mask(volume, BOX, name="box")
    options = SegmentOptions(device="cpu", threads=1)
    return segment_volume(support, volume, load_networks(random_models["volume"]), options)


def of_sitk(array):
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(SPACING[::-1])
    return image


def of_nibabel(array):
    return nibabel.Nifti1Image(np.ascontiguousarray(array.T), MATRIX)


WAYS = {
    "array and spacing": (lambda a: a, {"spacing": SPACING}, False),
    "array and affine": (lambda a: a.T, {"affine": MATRIX}, True),
    "whole numbers": (lambda a: a.T, {"affine": MATRIX.tolist()}, True),
    "SimpleITK": (of_sitk, {}, False),
    "nibabel": (of_nibabel, {}, True),
    "Volume": (lambda a: Volume(a.astype(np.float32), MATRIX) if a.dtype == np.float32 else a, {}, False),
}


@pytest.mark.parametrize("way", WAYS)
def test_every_kind_of_image_gives_the_result_of_the_engine(way, how, expected):
    make, position, turned = WAYS[way]
    result = qnetseg.segment(make(scan_array()), make(BOX), **position, **how, names={1: "box"})
    mask, confidence = (array.T if turned else array for array in (result.mask, result.confidence))
    assert np.array_equal(mask, expected.mask) and mask.dtype == np.uint8 and mask.any()
    assert np.array_equal(confidence, expected.confidence) and confidence.dtype == np.float32
    assert result.mask.shape == make(BOX).shape if way != "SimpleITK" else BOX.shape
    assert result.report.structure == "box" and [p.index for p in result.report.slices if p.drawn] == [3]


def test_a_mask_may_have_another_kind_and_other_axes(how, expected):
    flipped = sitk.Flip(of_sitk(BOX), [True, False, True])
    for mask in (BOX, flipped, of_nibabel(BOX), of_nibabel(BOX.astype(np.float64))):
        result = qnetseg.segment(of_sitk(scan_array()), mask, **how)
        assert np.array_equal(result.mask, expected.mask)
    turned = qnetseg.segment(scan_array(), np.asfortranarray(BOX), spacing=SPACING, **how)
    assert np.array_equal(turned.mask, expected.mask)


def test_slices_are_counted_as_the_array_counts_them(how):
    upside_down = np.diag([-1.5, -1.5, -4.0, 1.0])
    result = qnetseg.segment(scan_array().T, BOX.T, affine=upside_down, **how)
    assert [part.index for part in result.report.slices if part.drawn] == [3]
    assert [part.index for part in result.report.slices] == list(range(6))


def test_several_labels_are_background_for_each_other(how, tmp_path, random_models):
    mask = np.where(drawing_array() == 2, np.int32(300), drawing_array())
    result = qnetseg.segment(scan_array(), mask, spacing=SPACING, **how, names={300: "bright"})
    assert set(np.unique(result.mask)) == {0, 1, 300} and list(result.reports) == [1, 300]
    assert np.array_equal(result.mask[3], mask[3])
    with pytest.raises(errors.InputError, match="2 reports"):
        _ = result.report
    bed = Bed(tmp_path)
    options = ("--model", random_models["volume"], "--device", "cpu", "--threads", "1")
    assert bed.segment(*options) == 0
    assert np.array_equal(read_labelmap(bed.output).array > 0, result.mask > 0), (
        "as the command line finds them"
    )
    one = qnetseg.segment(scan_array(), mask, spacing=SPACING, labels=300, **how)
    assert set(np.unique(one.mask)) == {0, 300} and one.report.structure == "label 300"
    result.save(tmp_path / "found.seg.nrrd")
    saved = read_labelmap(tmp_path / "found.seg.nrrd")
    assert np.array_equal(saved.array, result.mask)
    assert [info.name for info in saved.segments] == ["label 1", "bright"]


def test_results_become_images_in_the_place_of_the_given_one(how, expected, tmp_path):
    image = of_sitk(scan_array())
    image.SetOrigin((3.0, -4.0, 5.0))
    result = qnetseg.segment(image, BOX, **how)
    found = result.to_sitk()
    assert found.GetOrigin() == image.GetOrigin() and found.GetSpacing() == image.GetSpacing()
    assert np.array_equal(sitk.GetArrayFromImage(found), expected.mask)
    assert np.array_equal(sitk.GetArrayFromImage(result.to_sitk(confidence=True)), expected.confidence)
    given = of_nibabel(scan_array())
    again = qnetseg.segment(given, of_nibabel(BOX), **how)
    assert np.allclose(again.to_nibabel().affine, given.affine)
    assert np.array_equal(np.asarray(again.to_nibabel().dataobj), expected.mask.T)
    assert np.array_equal(np.asarray(again.to_nibabel(True).dataobj), expected.confidence.T)
    again.save(tmp_path / "found.nii.gz")
    assert np.allclose(read_volume(tmp_path / "found.nii.gz").ijk_to_ras, MATRIX)


def test_what_was_drawn_on_another_patient(random_models):
    how = {"model": random_models["q-net"], "options": {"method": "q-net", "threads": 1}, "device": "cpu"}
    result = qnetseg.segment(
        scan_array(1), BOX, spacing=SPACING, support_image=of_sitk(scan_array()), progress=False, **how
    )
    assert result.mask.shape == BOX.shape and not any(part.drawn for part in result.report.slices)


def test_progress_and_cancel(how, capsys):
    told = []
    qnetseg.segment(of_sitk(scan_array()), BOX, **{**how, "progress": lambda *news: told.append(news)})
    assert told and told[-1][0] == told[-1][1]
    assert capsys.readouterr() == ("", "")
    qnetseg.segment(of_sitk(scan_array()), BOX, **{**how, "progress": True})
    assert "slice" in capsys.readouterr().err
    with pytest.raises(errors.Cancelled):
        qnetseg.segment(of_sitk(scan_array()), BOX, **how, cancel=lambda: True)


SCAN = scan_array()
BAD = {
    "no position": ((SCAN, BOX), {}, errors.InputError, "without a position"),
    "two positions": ((SCAN, BOX), {"spacing": SPACING, "affine": MATRIX}, errors.InputError, "both"),
    "position twice": ((of_sitk(SCAN), BOX), {"spacing": SPACING}, errors.InputError, "its own position"),
    "two lengths": ((SCAN, BOX), {"spacing": (1, 2)}, errors.GeometryError, "three lengths"),
    "no lengths": ((SCAN, BOX), {"spacing": "wide"}, errors.GeometryError, "three lengths"),
    "negative": ((SCAN, BOX), {"spacing": (1, 1, -1)}, errors.GeometryError, "three lengths"),
    "flat affine": ((SCAN, BOX), {"affine": np.zeros((4, 4))}, errors.GeometryError, "position in space"),
    "3x3": ((SCAN, BOX), {"affine": np.eye(3)}, errors.GeometryError, "4x4"),
    "affine of text": ((SCAN, BOX), {"affine": "here"}, errors.GeometryError, "not numeric"),
    "empty mask": ((SCAN, 0 * BOX), {"spacing": SPACING}, errors.MaskError, "is empty"),
    "other shape": ((SCAN, BOX[1:]), {"spacing": SPACING}, errors.MaskError, "5x24x20 voxels"),
    "2-D": ((SCAN[0], BOX), {"spacing": SPACING}, errors.InputError, "not an image"),
    "colours": ((sitk.Image([9, 9, 9], sitk.sitkVectorUInt8, 3), BOX), {}, errors.InputError, "3 values"),
    "text": ((np.array([[["a"]]]), BOX), {"spacing": SPACING}, errors.InputError, "not an image"),
    "a path": (("scan.nii.gz", BOX), {}, errors.InputError, "is a path"),
    "nothing": ((None, BOX), {"spacing": SPACING}, errors.InputError, "not an image"),
    "constant": ((0 * SCAN, BOX), {"spacing": SPACING}, errors.VolumeError, "constant"),
    "NaN": ((np.full_like(SCAN, np.nan), BOX), {"spacing": SPACING}, errors.VolumeError, "finite"),
    "probabilities": ((SCAN, BOX * 0.5), {"spacing": SPACING}, errors.MaskError, "not labels"),
    "negative labels": ((SCAN, -1.0 * BOX), {"spacing": SPACING}, errors.MaskError, "not labels"),
    "mask elsewhere": (
        (of_sitk(SCAN), nibabel.Nifti1Image(BOX.T, np.eye(4))),
        {},
        errors.GeometryError,
        "does not belong",
    ),
    "no such label": ((SCAN, BOX), {"spacing": SPACING, "labels": 7}, errors.MaskError, "no label 7"),
    "support without image": (
        (SCAN, BOX),
        {"spacing": SPACING, "support_spacing": SPACING},
        errors.InputError,
        "without one",
    ),
    "no such device": ((SCAN, BOX), {"spacing": SPACING, "device": "abacus"}, errors.DeviceError, "abacus"),
    "no such option": ((SCAN, BOX), {"spacing": SPACING, "options": {"beta": 1}}, errors.InputError, "beta"),
    "no such model": ((SCAN, BOX), {"spacing": SPACING, "model": "absent"}, errors.WeightsError, "absent"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_used_is_a_sentence(case, how):
    arguments, named, kind, words = BAD[case]
    with pytest.raises(kind, match=words) as caught:
        qnetseg.segment(*arguments, **{**how, **named})
    assert caught.value.message.endswith(".") and "\n" not in str(caught.value)


def test_importing_stays_light():
    code = """
import sys, qnetseg
assert not {"numpy", "torch", "SimpleITK", "nibabel"} & sys.modules.keys(), "import qnetseg"
assert callable(qnetseg.segment)
from qnetseg.arrays import segment
assert not {"torch", "nibabel", "tqdm"} & sys.modules.keys(), "qnetseg.arrays"
from qnetseg.segment import SegmentOptions
assert not hasattr(qnetseg, "absent")
"""
    subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": str(LOGIC)}, check=True)
