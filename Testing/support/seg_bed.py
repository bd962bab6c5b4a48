"""DICOM series in every orientation; DICOM segmentations read by hand and by dcmqi, checked by dciodvfy."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk

from qnetseg.boxes import Box
from qnetseg.volume import SegmentInfo, Volume
from qnetseg.volume.dicom_seg import require_segmentable, write_dicom_seg
from qnetseg.volume.seg_source import SegSource, seg_source
from support.dicom_bed import dataset, save
from support.dicom_bed import item as one_item

SHAPE = (6, 7, 9)
SPACING = (3.0, 1.5, 1.25)  # mm of (k, j, i)
ORIGIN = np.array([-20.0, 35.5, 12.25])  # LPS
FRAME = "1.2.3.77"
WEIGHTS = {"propagation-open": "ab" * 32, "qnet-open": "cd" * 32}
TURNED = np.array([[0.8, 0.6, 0.0], [-0.36, 0.48, 0.8], [0.48, -0.64, 0.6]])  # a rotation, by rows

DIRECTIONS = {
    "axial": (1, 0, 0, 0, 1, 0),
    "coronal": (1, 0, 0, 0, 0, -1),
    "sagittal": (0, 1, 0, 0, 0, -1),
    "oblique": tuple(TURNED[:2].ravel()),
    "feet first": (-1, 0, 0, 0, 1, 0),
}
"""ImageOrientationPatient of the acquisitions."""

PATIENT = {
    "PatientName": "Phantom^Paula",
    "PatientID": "p7",
    "PatientBirthDate": "19700131",
    "PatientSex": "F",
    "StudyID": "s1",
    "StudyDate": "20260102",
    "StudyTime": "101112",
    "AccessionNumber": "a9",
    "ReferringPhysicianName": "Doe^Jo",
}
COMPLETE = {**PATIENT, "FrameOfReferenceUID": FRAME, "SeriesNumber": 4, "SliceThickness": 2.5}


def slices(
    kind: str = "axial",
    reverse: bool = False,
    tilt: float = 0.0,
    shape: tuple[int, int, int] = SHAPE,
    **tags: Any,
) -> list[Any]:
    """Classic slices; reverse: the first file lies last; tilt: mm along the columns from slice to slice."""
    array = np.random.default_rng(1).integers(0, 900, shape).astype(np.int16)
    rows, columns = np.array(DIRECTIONS[kind], float).reshape(2, 3)
    step = (-1 if reverse else 1) * SPACING[0] * np.cross(rows, columns) + tilt * columns
    return [
        dataset(
            pixels,
            **{
                **COMPLETE,
                "ImagePositionPatient": [float(f"{mm:.10g}") for mm in ORIGIN + k * step],
                "ImageOrientationPatient": [float(part) for part in DIRECTIONS[kind]],
                "PixelSpacing": list(SPACING[1:]),
                "SeriesDescription": "T1 vibe",
                "InstanceNumber": k + 1,
                **tags,
            },
        )
        for k, pixels in enumerate(array)
    ]


def write_slices(folder: Path, slices: list[Any]) -> Path:
    """The folder with the files, whose names are in no order."""
    for number, one in enumerate(slices):
        save(one, folder / f"{number * 7 % 11:02d}-{number}")
    return folder


def write_frames(path: Path, order: list[int], kind: str = "axial", shared: bool = True) -> Path:
    """An enhanced file whose n-th frame is slice order[n]; shared: whether directions and sizes are."""
    from pydicom.uid import EnhancedMRImageStorage

    frames = [slices(kind)[k] for k in order]
    common, headers = pydicom.Dataset(), []
    for one in frames:
        header = pydicom.Dataset()
        header.PlanePositionSequence = one_item(ImagePositionPatient=one.ImagePositionPatient)
        at = common if shared else header
        at.PlaneOrientationSequence = one_item(ImageOrientationPatient=one.ImageOrientationPatient)
        at.PixelMeasuresSequence = one_item(PixelSpacing=one.PixelSpacing, SliceThickness=2.5)
        headers.append(header)
    pixels = np.stack([np.frombuffer(one.PixelData, "<i2").reshape(one.Rows, one.Columns) for one in frames])
    whole = dataset(
        pixels,
        SOPClassUID=EnhancedMRImageStorage,
        NumberOfFrames=len(frames),
        SharedFunctionalGroupsSequence=pydicom.Sequence([common]),
        PerFrameFunctionalGroupsSequence=pydicom.Sequence(headers),
        SeriesDescription="enhanced",
        **COMPLETE,
    )
    return save(whole, path)


def random_masks(shape: tuple[int, int, int] = SHAPE, count: int = 2, seed: int = 5) -> list[np.ndarray]:
    """Overlapping bool masks in the middle of a volume."""
    masks = np.zeros((count, *shape), bool)
    masks[:, 1:-1, 2:, 1:-2] = np.random.default_rng(seed).random(masks[:, 1:-1, 2:, 1:-2].shape) < 0.4
    return list(masks)


def info(label: int = 1, name: str = "", terminology: str = "") -> SegmentInfo:
    return SegmentInfo(label, name or f"structure {label}", (0.5, 0.25, 0.75), terminology)


def write_masks(path: Path, volume: Volume, masks: list[np.ndarray]) -> SegSource:
    """A segmentation of one structure a mask; its source."""
    source = seg_source(volume)
    require_segmentable(source)
    segments = [(info(number), Box.around(mask)) for number, mask in enumerate(masks, 1)]
    write_dicom_seg(path, source, segments, WEIGHTS)
    return source


def places(mask: np.ndarray, ijk_to_ras: np.ndarray) -> np.ndarray:
    """(n, 3) RAS mm of the voxels of a (K, J, I) mask, in an order that does not depend on the axes."""
    kji = np.argwhere(mask)
    return in_order((ijk_to_ras[:3, :3] @ kji[:, ::-1].T).T + ijk_to_ras[:3, 3])


def in_order(points: np.ndarray) -> np.ndarray:
    return points[np.lexsort(np.rint(points * 100).T)]


def frames_by_hand(path: Path) -> list[tuple[int, str, np.ndarray, np.ndarray]]:
    """Of every frame its segment, the image that it refers to, its mask, and (n, 3) RAS mm of its voxels.

    From the bits of the pixel data and the functional groups alone: PS3.3, C.7.6.16.2, and PS3.5, 8.1.1.
    """
    seg = pydicom.dcmread(path)
    shape = (int(seg.NumberOfFrames), seg.Rows, seg.Columns)
    bits = np.unpackbits(np.frombuffer(seg.PixelData, np.uint8), bitorder="little")[: np.prod(shape)]
    shared, found = seg.SharedFunctionalGroupsSequence[0], []
    measures = shared.PixelMeasuresSequence[0]
    rows, columns = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, float).reshape(2, 3)
    for mask, group in zip(bits.reshape(shape), seg.PerFrameFunctionalGroupsSequence, strict=True):
        number = (group.get("SegmentIdentificationSequence") or shared.SegmentIdentificationSequence)[0]
        origin = np.array(group.PlanePositionSequence[0].ImagePositionPatient, float)
        j, i = np.nonzero(mask)
        lps = (
            origin
            + np.outer(i * measures.PixelSpacing[1], rows)
            + np.outer(j * measures.PixelSpacing[0], columns)
        )
        of = group.DerivationImageSequence[0].SourceImageSequence[0]
        image = f"{of.ReferencedSOPInstanceUID}#{of.get('ReferencedFrameNumber', 1)}"
        found.append((int(number.ReferencedSegmentNumber), image, mask.astype(bool), lps * (-1, -1, 1)))
    return found


def image_names(volume: Volume) -> list[str]:
    """The images of a volume's slices, as `frames_by_hand` calls them."""
    uids = {
        frame.path: pydicom.dcmread(frame.path, stop_before_pixels=True).SOPInstanceUID
        for frame in volume.frames
    }
    return [f"{uids[frame.path]}#{frame.number}" for frame in volume.frames]


def program(name: str) -> str:
    """A program of this environment; the test is skipped where it is not installed."""
    found = shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed; the extra `test` brings it")
    return found


def by_dcmqi(path: Path, folder: Path) -> list[tuple[np.ndarray, np.ndarray]]:
    """Mask and IJK to RAS of every segment as read by dcmqi, with which Slicer opens DICOM segmentations."""
    folder.mkdir()
    command = [program("segimage2itkimage"), "--inputDICOM", path, "--outputDirectory", folder]
    subprocess.run(
        [*map(str, command), "--outputType", "nrrd", "--prefix", "s"], check=True, capture_output=True
    )
    found = []
    for file in sorted(folder.glob("s-[0-9]*.nrrd")):
        image = sitk.ReadImage(str(file))
        matrix = np.eye(4)
        matrix[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * np.array(image.GetSpacing())
        matrix[:3, 3] = image.GetOrigin()
        found.append((sitk.GetArrayFromImage(image) != 0, np.diag([-1.0, -1, 1, 1]) @ matrix))
    return found


def complaints(path: Path) -> list[str]:
    """What dciodvfy finds wrong with a file, errors and warnings, a line each."""
    run = subprocess.run(
        [program("dciodvfy"), "-new", str(path)], capture_output=True, text=True, check=False
    )
    return [
        line.strip()
        for line in (run.stdout + run.stderr).splitlines()
        if line.lstrip()[:5] in ("Error", "Warni")
    ]
