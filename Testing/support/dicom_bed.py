"""DICOM files as scanners write them: classic slices and enhanced files of many frames."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import EnhancedMRImageStorage, ExplicitVRLittleEndian, MRImageStorage, generate_uid

SHAPE = (6, 7, 8)
SPACING = (4.0, 1.5, 1.25)  # mm of (k, j, i)
ORIENTATION = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
ARRAY = np.random.default_rng(3).integers(-200, 900, SHAPE).astype(np.int16)
MATRIX = np.array([[-1.25, 0, 0, -10.0], [0, -1.5, 0, -10.0], [0, 0, 4.0, 10.0], [0, 0, 0, 1]])  # RAS


def position(k: float) -> list[float]:
    return [10.0, 10.0, 10.0 + SPACING[0] * k]


def dataset(pixels: np.ndarray, uid: str = "1.2.3.9", **tags: Any) -> Dataset:
    """(H, W) or (N, H, W) int16 pixels without a place; tags: further elements, None leaves one out."""
    whole = Dataset()
    whole.file_meta = FileMetaDataset()
    whole.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    whole.SOPClassUID = whole.file_meta.MediaStorageSOPClassUID = tags.pop("SOPClassUID", MRImageStorage)
    whole.SOPInstanceUID = whole.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    whole.StudyInstanceUID, whole.SeriesInstanceUID, whole.Modality = "1.2.3", uid, "MR"
    whole.Rows, whole.Columns = pixels.shape[-2:]
    whole.SamplesPerPixel, whole.PhotometricInterpretation = 1, "MONOCHROME2"
    whole.BitsAllocated = whole.BitsStored = 16
    whole.HighBit, whole.PixelRepresentation = 15, 1
    whole.PixelData = np.ascontiguousarray(pixels, "<i2").tobytes()
    for name, value in tags.items():
        if value is not None:
            setattr(whole, name, value)
    return whole


def save(whole: Dataset, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    whole.save_as(path, enforce_file_format=True)
    return path


def slice_of(k: int, pixels: np.ndarray | None = None, **tags: Any) -> Dataset:
    """A classic slice at the k-th position; its pixels are those of ARRAY if None."""
    return dataset(
        ARRAY[k] if pixels is None else pixels,
        **{
            "ImagePositionPatient": position(k),
            "ImageOrientationPatient": list(ORIENTATION),
            "PixelSpacing": list(SPACING[1:]),
            "SeriesDescription": "T2",
            "InstanceNumber": k + 1,
            **tags,
        },
    )


def item(**tags: Any) -> Sequence:
    part = Dataset()
    for name, value in tags.items():
        setattr(part, name, value)
    return Sequence([part])


def enhanced(
    order: list[int],
    scalings: list[tuple[float, float]] | None = None,
    shared_scaling: tuple[float, float] | None = None,
    places: list[list[float]] | None = None,
    orientations: list[tuple[float, ...]] | None = None,
) -> Dataset:
    """An enhanced file whose n-th frame is slice order[n] of ARRAY, stored so that scaling gives ARRAY."""
    frames, headers = [], []
    for number, k in enumerate(order):
        header = Dataset()
        place = position(k) if places is None else places[number]
        header.PlanePositionSequence = item(ImagePositionPatient=place)
        if orientations is not None:
            header.PlaneOrientationSequence = item(ImageOrientationPatient=list(orientations[number]))
        slope, intercept = shared_scaling or (1.0, 0.0)
        if scalings is not None:
            slope, intercept = scalings[number]
            header.PixelValueTransformationSequence = item(
                RescaleSlope=slope, RescaleIntercept=intercept, RescaleType="US"
            )
        headers.append(header)
        frames.append(np.rint((ARRAY[k] - intercept) / slope))
    shared = Dataset()
    shared.PixelMeasuresSequence = item(PixelSpacing=list(SPACING[1:]), SliceThickness=SPACING[0])
    if orientations is None:
        shared.PlaneOrientationSequence = item(ImageOrientationPatient=list(ORIENTATION))
    if shared_scaling is not None:
        shared.PixelValueTransformationSequence = item(
            RescaleSlope=shared_scaling[0], RescaleIntercept=shared_scaling[1], RescaleType="US"
        )
    return dataset(
        np.stack(frames),
        SOPClassUID=EnhancedMRImageStorage,
        NumberOfFrames=len(frames),
        SharedFunctionalGroupsSequence=Sequence([shared]),
        PerFrameFunctionalGroupsSequence=Sequence(headers),
        SeriesDescription="enhanced",
    )
