"""The attributes of a DICOM segmentation: those that the standard asks for, and what its segments are."""

from __future__ import annotations

import re

import numpy as np
import pydicom
import pytest
from skimage.color import rgb2lab

pytest.importorskip("highdicom", reason="the extra `dicom` is not installed")

# isort: split
from qnetseg import __version__
from qnetseg.boxes import Box
from qnetseg.cli.drawing import TERMINOLOGY
from qnetseg.volume import SegmentInfo, read_volume
from qnetseg.volume.dicom_seg import write_dicom_seg
from qnetseg.volume.drawing import DEFAULT_COLOR
from qnetseg.volume.seg_source import seg_source
from qnetseg.volume.terminology import TISSUE, TermCode, Terms, terms_of
from support.seg_bed import (
    SHAPE,
    WEIGHTS,
    by_dcmqi,
    complaints,
    info,
    random_masks,
    slices,
    write_frames,
    write_slices,
)

KIDNEY = (
    "Segmentation category and type - 3D Slicer General Anatomy list~SCT^123037004^Anatomical Structure"
    "~SCT^64033007^Kidney~SCT^7771000^Left~Anatomic codes - DICOM master list~SCT^818983003^Abdomen"
    "~SCT^24028007^Right"
)

FILLED = [
    "SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "Modality",
    "SeriesNumber", "FrameOfReferenceUID", "Manufacturer", "ManufacturerModelName",
    "DeviceSerialNumber", "SoftwareVersions", "InstanceNumber", "ContentDate", "ContentTime",
    "ContentLabel", "ImageType", "SamplesPerPixel", "PhotometricInterpretation",
    "PixelRepresentation", "Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit",
    "LossyImageCompression", "SegmentationType", "SegmentSequence", "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence", "NumberOfFrames", "DimensionOrganizationSequence",
    "DimensionIndexSequence", "ReferencedSeriesSequence", "PixelData",
]  # fmt: skip
"""Type 1 of the modules of PS3.3, A.51.3, that a binary segmentation of patients' images has to have."""

THERE = [
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime",
    "ReferringPhysicianName", "StudyID", "AccessionNumber", "PositionReferenceIndicator",
    "ContentDescription", "ContentCreatorName",
]  # fmt: skip
"""Type 2: there, and empty where unknown."""

IN_A_SEGMENT = [
    "SegmentNumber", "SegmentLabel", "SegmentAlgorithmType", "SegmentAlgorithmName",
    "SegmentedPropertyCategoryCodeSequence", "SegmentedPropertyTypeCodeSequence",
]  # fmt: skip
"""C.8.20.4; the name of the algorithm is needed unless it is MANUAL."""

FIXED = {
    "Modality": "SEG",
    "SOPClassUID": pydicom.uid.SegmentationStorage,
    "SamplesPerPixel": 1,
    "PhotometricInterpretation": "MONOCHROME2",
    "PixelRepresentation": 0,
    "BitsAllocated": 1,
    "BitsStored": 1,
    "HighBit": 0,
    "SegmentationType": "BINARY",
    "SegmentsOverlap": "YES",
    "ImageType": ["DERIVED", "PRIMARY"],
    "SeriesNumber": 1004,
    "SeriesDescription": "QNetSegment: T1 vibe",
    "SoftwareVersions": __version__,
}
"""C.8.20.2 for a binary segmentation, and what says where it comes from."""


def written(tmp_path, *segments: SegmentInfo, weights=WEIGHTS, volume=None):
    volume = volume or read_volume(write_slices(tmp_path / "s", slices()))
    boxes = [(one, Box.around(random_masks()[0])) for one in segments]
    write_dicom_seg(tmp_path / "out.dcm", seg_source(volume), boxes, weights)
    return pydicom.dcmread(tmp_path / "out.dcm")


@pytest.mark.parametrize("enhanced", [False, True])
def test_the_validator_finds_nothing_wrong(tmp_path, enhanced):
    """dciodvfy knows the whole Segmentation IOD."""
    if enhanced:
        write_frames(tmp_path / "s" / "e", [2, 1, 0, 3, 5, 4])
    else:
        write_slices(tmp_path / "s", slices())
    volume = read_volume(tmp_path / "s")
    written(tmp_path, info(1, "kidney", KIDNEY), info(2), info(3, "cerebellum", TERMINOLOGY), volume=volume)
    assert complaints(tmp_path / "out.dcm") == []


def test_the_validator_would_find_something_wrong(tmp_path):
    seg = written(tmp_path, info())
    del seg.SegmentationType, seg.SegmentSequence[0].SegmentAlgorithmType
    seg.save_as(tmp_path / "bad.dcm")
    assert len([line for line in complaints(tmp_path / "bad.dcm") if line.startswith("Error")]) >= 2


def test_what_the_standard_asks_for_is_there(tmp_path):
    seg = written(tmp_path, info(1), info(2))
    assert [key for key in FILLED if seg.get(key) in (None, "")] == []
    assert [key for key in THERE if key not in seg] == []
    for segment in seg.SegmentSequence:
        assert [key for key in IN_A_SEGMENT if segment.get(key) in (None, "")] == []
    assert {key: seg[key].value for key in FIXED} == FIXED
    uids = [seg.SOPInstanceUID, seg.SeriesInstanceUID]
    assert all(re.fullmatch(r"2\.25\.[1-9]\d*", uid) and len(uid) <= 64 for uid in uids)


def test_every_image_of_the_series_is_referred_to(tmp_path):
    files = slices()
    seg = written(tmp_path, info(), volume=read_volume(write_slices(tmp_path / "s", files)))
    (series,) = seg.ReferencedSeriesSequence
    assert series.SeriesInstanceUID == files[0].SeriesInstanceUID
    referred = {one.ReferencedSOPInstanceUID for one in series.ReferencedInstanceSequence}
    assert referred == {one.SOPInstanceUID for one in files} and len(referred) == SHAPE[0]


def test_the_algorithm_is_named_with_its_weights(tmp_path):
    (segment,) = written(tmp_path, info()).SegmentSequence
    assert (segment.SegmentAlgorithmType, segment.SegmentAlgorithmName) == ("SEMIAUTOMATIC", "QNetSegment")
    (algorithm,) = segment.SegmentationAlgorithmIdentificationSequence
    assert (algorithm.AlgorithmName, algorithm.AlgorithmVersion) == ("QNetSegment", __version__)
    assert algorithm.AlgorithmFamilyCodeSequence[0].CodeMeaning == "Artificial Intelligence"
    for name, digest in WEIGHTS.items():
        assert f"SHA-256 of {name}={digest}" in algorithm.AlgorithmParameters
    (segment,) = written(tmp_path, info(), weights={}).SegmentSequence
    assert "AlgorithmParameters" not in segment.SegmentationAlgorithmIdentificationSequence[0]


def test_names_that_dicom_cannot_hold_are_shortened(tmp_path):
    names = ("a\\b\n\tc", "x" * 100, " ", "肝臓")
    seg = written(tmp_path, *(SegmentInfo(1, name, (1, 0, 0)) for name in names))
    assert [one.SegmentLabel for one in seg.SegmentSequence] == ["a b c", "x" * 64, "segment 3", "肝臓"]


def test_numbers_follow_the_order_and_not_the_labels(tmp_path):
    seg = written(tmp_path, info(7), info(3))
    assert [(one.SegmentNumber, one.SegmentLabel) for one in seg.SegmentSequence] == [
        (1, "structure 7"),
        (2, "structure 3"),
    ]


@pytest.mark.parametrize(
    "color", [(1, 1, 1), (0, 0, 0), (1, 0, 0), (0, 0, 1), (0.2, 0.9, 0.5), DEFAULT_COLOR]
)
def test_colours_are_those_of_the_drawing(tmp_path, color):
    """sRGB under D65 to CIELab, scaled as PS3.3, C.10.7.1.1 says; scikit-image converts them, too."""
    (segment,) = written(tmp_path, SegmentInfo(1, "a", color)).SegmentSequence
    stored = segment.RecommendedDisplayCIELabValue
    found = [stored[0] / 65535 * 100, *(part / 65535 * 255 - 128 for part in stored[1:])]
    assert found == pytest.approx(rgb2lab(np.array(color, float)), abs=0.5)


def test_codes_are_those_of_the_drawing(tmp_path):
    kidney, plain, cerebellum = written(
        tmp_path, info(1, "kidney", KIDNEY), info(2), info(3, "c", TERMINOLOGY)
    ).SegmentSequence

    def code(items):
        return items[0].CodingSchemeDesignator, items[0].CodeValue, items[0].CodeMeaning

    assert code(kidney.SegmentedPropertyCategoryCodeSequence)[1] == "123037004"
    kind = kidney.SegmentedPropertyTypeCodeSequence
    assert code(kind) == ("SCT", "64033007", "Kidney")
    assert code(kind[0].SegmentedPropertyTypeModifierCodeSequence) == ("SCT", "7771000", "Left")
    assert code(kidney.AnatomicRegionSequence) == ("SCT", "818983003", "Abdomen")
    assert code(kidney.AnatomicRegionSequence[0].AnatomicRegionModifierSequence)[2] == "Right"
    assert code(plain.SegmentedPropertyTypeCodeSequence) == ("SCT", "85756007", "Tissue")
    assert code(cerebellum.SegmentedPropertyTypeCodeSequence)[2] == "Cerebellum"
    by_dcmqi(tmp_path / "out.dcm", tmp_path / "q")
    assert '"Kidney"' in (tmp_path / "q" / "s-meta.json").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "entry",
    [
        "",
        "a~b~c",
        "~^^~^^~^^~~^^~^^",
        "x~SCT^1^One",
        "x~SCT^1^One~SCT^2",
        f"x~SCT^1^One~{'S' * 17}^2^Two",
        f"x~SCT^1^One~SCT^{'2' * 65}^Two",
        "x~^1^One~SCT^2^Two",
    ],
)
def test_an_entry_that_says_nothing_is_unspecified_tissue(entry):
    assert terms_of(entry) == Terms(TISSUE, TISSUE)


def test_parts_that_are_missing_are_left_out():
    one, two = TermCode("SCT", "1", "One"), TermCode("99X", "2", "Two")
    assert terms_of("x~SCT^1^One~99X^2^Two") == Terms(one, two)
    assert terms_of("x~SCT^1^One~99X^2^Two~^^~y~^^~SCT^3^Right|") == Terms(one, two), "no side of nothing"
    assert terms_of("x~SCT^1^One~99X^2^Two~SCT^3^A \\ b") == Terms(one, two, TermCode("SCT", "3", "A b"))
    assert terms_of(f"x~SCT^1^One~SCT^2^{'m' * 70}").kind.meaning == "m" * 64


def test_long_codes_are_kept(tmp_path):
    (segment,) = written(tmp_path, info(1, "a", f"x~SCT^1^One~SCT^{'2' * 20}^Two")).SegmentSequence
    assert segment.SegmentedPropertyTypeCodeSequence[0].LongCodeValue == "2" * 20
