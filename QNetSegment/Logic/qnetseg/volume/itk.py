"""The few things asked of SimpleITK: read quietly, convert geometry, write.

SimpleITK's arrays are (k, j, i) like ours; its geometry is LPS and becomes RAS here.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from ..errors import GeometryError, InputError, QNetSegmentError, VolumeError, is_out_of_memory
from ..parsing import short_of_memory
from .integrity import DamagedError, RefusedError, require_whole
from .volume import SourceFrame, axis_directions, axis_spacing

LPS_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])

FORMATS = {
    ".nii.gz": "NiftiImageIO",
    ".nii": "NiftiImageIO",
    ".nrrd": "NrrdImageIO",
    ".nhdr": "NrrdImageIO",
    ".mha": "MetaImageIO",
    ".mhd": "MetaImageIO",
}
"""Endings that are read, and ITK's reader for each; DICOM is known by its content."""

DICOM = "GDCMImageIO"


@contextmanager
def quiet() -> Iterator[None]:
    """Keep ITK's warnings off the terminal; its errors still arrive as exceptions."""
    shown = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        yield
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(shown)


@dataclass(frozen=True)
class RawImage:
    """An image file as it is: array (K, J, I) or, with several components, (K, J, I, C); frames: of DICOM."""

    array: np.ndarray
    ijk_to_ras: np.ndarray
    metadata: dict[str, str] = field(default_factory=dict)
    frames: tuple[SourceFrame, ...] = ()


def read_image(path: Path, *, labels: bool = False) -> RawImage:
    """Read a 3-D image file (a 4-D one of a single time point counts as 3-D) as float32.

    labels: keep the type of its values, and accept several components per voxel.
    Raises VolumeError, or InputError for labels, in one sentence for everything that is not such an image,
    and GeometryError for one without a usable position in space.
    """
    error = InputError if labels else VolumeError
    reader = sitk.ImageFileReader()
    reader.SetImageIO(format_of(path, error))
    reader.SetFileName(str(path))
    try:
        require_whole(path, reader.GetImageIO())
        with quiet():
            reader.ReadImageInformation()
            _require_scalar_volume(reader, path, labels, error)
            if not labels:
                reader.SetOutputPixelType(sitk.sitkFloat32)
            image = reader.Execute()
    except RefusedError as cause:
        what, advice = cause.args
        raise error(f"'{path.name}' {what}.", advice) from cause
    except (DamagedError, RuntimeError, MemoryError) as cause:
        if is_out_of_memory(cause):
            raise error(*short_of_memory(path.name)) from cause
        if "orthonormal" in str(cause) or "determinant" in str(cause):
            raise GeometryError(
                f"'{path.name}' has no usable position in space: its axes are not perpendicular or missing.",
                "Resample it to a regular grid first, for example in Slicer.",
            ) from cause
        raise error(
            f"'{path.name}' could not be read: it is damaged, incomplete or of another format.",
            "Copy or export it again.",
        ) from cause
    return RawImage(sitk.GetArrayFromImage(image), image_matrix(image), metadata_of(image))


def metadata_of(image: sitk.Image | sitk.ImageFileReader) -> dict[str, str]:
    """The entries of a header whose keys are text; SimpleITK cannot be asked for others."""
    keys = [key for key in image.GetMetaDataKeys() if key.isprintable()]  # a stray byte is not printable
    return {key: image.GetMetaData(key) for key in keys}


def require_text(path: Path, error: type[QNetSegmentError]) -> None:
    """Raise `error` for a name that is not valid text, which would end the process inside the library, or
    that no file can have."""
    try:
        str(path).encode("utf-8")
    except UnicodeEncodeError as cause:
        printable = os.fsencode(path).decode("utf-8", "replace")
        raise error(
            f"The name '{printable}' has letters in another encoding than UTF-8.",
            "Rename the file or its folder.",
        ) from cause
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        pass  # said by who opens it
    except (OSError, ValueError) as cause:  # it is too long, or holds a zero byte
        reason = getattr(cause, "strerror", None) or cause
        raise error(f"'{path.name}' cannot be used: {reason}.", "Choose another name.") from cause


def format_of(path: Path, error: type[InputError]) -> str:
    """ITK's reader for a file, by its ending or else by how it begins; `error` where there is none."""
    if not path.is_file():
        raise error(f"The file '{path}' does not exist.")
    try:
        with path.open("rb") as file:
            start = file.read(132)
    except OSError as cause:
        raise error(f"The file '{path}' could not be opened: {cause.strerror}.") from cause
    if not start:
        raise error(f"The file '{path.name}' is empty.", "Copy or export it again.")
    for ending, reader in FORMATS.items():
        if path.name.lower().endswith(ending):
            return reader
    if start.endswith(b"DICM"):
        return DICOM
    raise error(
        f"'{path.name}' is not a volume in a format that can be read.",
        "Use NIfTI (.nii, .nii.gz), NRRD, MHA or MHD, or a folder with a DICOM series.",
    )


def _require_scalar_volume(
    reader: sitk.ImageFileReader, path: Path, vectors: bool, error: type[InputError]
) -> None:
    size = reader.GetSize()
    if len(size) == 4 and size[3] == 1:
        reader.SetExtractSize((*size[:3], 0))
    elif len(size) != 3:
        raise error(
            f"'{path.name}' is a {len(size)}-D image of {'x'.join(map(str, size))}, not a 3-D volume.",
            "Choose a single 3-D volume; of a time series, extract one time point first.",
        )
    components = reader.GetNumberOfComponents()
    if components > 1 and not vectors:
        raise error(
            f"'{path.name}' has {components} values per voxel (colour, vector or complex).",
            "Convert it to a scalar volume first.",
        )


def image_matrix(image: sitk.Image) -> np.ndarray:
    """(4, 4) float64 IJK-to-RAS of a 3-D SimpleITK image."""
    matrix = np.eye(4)
    matrix[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * np.array(image.GetSpacing())
    matrix[:3, 3] = image.GetOrigin()
    ras: np.ndarray = LPS_RAS @ matrix
    return ras


def to_image(array: np.ndarray, ijk_to_ras: np.ndarray) -> sitk.Image:
    """A SimpleITK image of a (K, J, I) array with its RAS geometry."""
    image = sitk.GetImageFromArray(np.ascontiguousarray(array))
    lps = LPS_RAS @ ijk_to_ras
    image.SetSpacing(axis_spacing(lps)[::-1])
    image.SetDirection(axis_directions(lps).ravel())
    image.SetOrigin(lps[:3, 3])
    return image


def write_image(image: sitk.Image, path: Path) -> None:
    """Write compressed, then read back and compare: on a full disk some writers cut the file without a word.

    Raises OSError when the file is not what it should be.
    """
    try:
        with quiet():
            sitk.WriteImage(image, str(path), useCompression=True)
            written = sitk.ReadImage(str(path))
    except RuntimeError as cause:
        raise OSError("the file came out incomplete") from cause
    if not np.array_equal(sitk.GetArrayViewFromImage(written), sitk.GetArrayViewFromImage(image)):
        raise OSError("the file came out incomplete")
