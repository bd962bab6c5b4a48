"""A DICOM segmentation as what `qnetseg segment` writes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InputError

if TYPE_CHECKING:
    from ..segment.result import Found
    from ..volume import Volume
    from ..volume.seg_source import SegSource
    from .inputs import Structure


def is_dicom(path: Path | None) -> bool:
    """Whether an output is a DICOM segmentation, by its name."""
    from ..volume.dicom_seg import DICOM_ENDING

    return path is not None and path.name.lower().endswith(DICOM_ENDING)


def require_no_image(path: Path) -> None:
    """InputError for an output in whose place a DICOM image lies, such as one of the query's own."""
    from ..volume.folders import is_dicom_series

    if path.is_file() and is_dicom_series(path):
        raise InputError(
            f"The output '{path}' is a DICOM image, which would be lost.", "Choose another name for --output."
        )


@dataclass(frozen=True, eq=False)
class DicomOutput:
    """The images that the segmentation refers to, and the SHA-256 of the weights by their names."""

    source: SegSource
    weights: dict[str, str]

    @classmethod
    def of(cls, volume: Volume, files: Sequence[Path]) -> DicomOutput:
        """Of the query as it was read; files: of the weights.

        Raises InputError or GeometryError for a query of which no DICOM segmentation can be made.
        """
        from ..models import digests
        from ..volume.dicom_seg import require_segmentable
        from ..volume.seg_source import seg_source
        from .common import telling_oddities

        with telling_oddities():
            source = seg_source(volume)
        require_segmentable(source)
        return cls(source, digests(files))

    def write(self, path: Path, structures: Sequence[Structure], found: Sequence[Found]) -> None:
        """Write the structures, each with all its voxels; they may overlap. Raises OutputError."""
        from ..volume.dicom_seg import write_dicom_seg

        masks = [(one.info, other.mask) for one, other in zip(structures, found, strict=True)]
        write_dicom_seg(path, self.source, masks, self.weights)
