"""A DICOM series of single slices, written by ITK."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import SimpleITK as sitk

SHAPE = (5, 6, 7)


def write_series(
    folder: Path,
    uid: str = "1.2.3.4",
    description: str = "T2 axial",
    *,
    shape: tuple[int, int, int] = SHAPE,
    step: tuple[float, float, float] = (0.0, 0.0, 3.0),
    skip: int | None = None,
    color: bool = False,
) -> np.ndarray:
    """Slices as single files, named against their order, with pixels of 1.5 x 1 mm."""
    folder.mkdir(exist_ok=True)
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    array = np.random.default_rng(0).integers(-100, 1000, shape).astype(np.int16)
    for number, pixels in enumerate(array):
        if number == skip:
            continue
        stored = np.repeat(pixels[..., None], 3, axis=2).astype(np.uint8) if color else pixels
        image = sitk.GetImageFromArray(stored[None], isVector=color)
        image.SetSpacing((1.0, 1.5, 1.0))
        tags = {
            "0008|0018": f"{uid}.{number}",
            "0008|0060": "MR",
            "0008|103e": description,
            "0020|000d": "1.2.3",
            "0020|000e": uid,
            "0020|0013": str(number),
            "0020|0032": "\\".join(str(10.0 + number * mm) for mm in step),
            "0020|0037": "1\\0\\0\\0\\1\\0",
        }
        for key, value in tags.items():
            image.SetMetaData(key, value)
        writer.SetFileName(str(folder / f"{uid}-{len(array) - number:03d}"))
        writer.SetImageIO("GDCMImageIO")
        writer.Execute(image)
    return array
