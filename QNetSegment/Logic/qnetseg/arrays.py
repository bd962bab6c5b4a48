"""Segments images as notebooks and pipelines have them: `qnetseg.segment(image, mask)`.

    import qnetseg

    result = qnetseg.segment(image, mask)                       # of SimpleITK or nibabel
    result = qnetseg.segment(array, mask, spacing=(5, 1, 1))    # mm along the array's axes
    result.mask, result.confidence, result.report.warnings
    result.save("liver.seg.nrrd")

Nothing here imports torch; the first segmentation does.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache, reduce
from typing import TYPE_CHECKING, Any

import numpy as np

from .boxes import Box
from .errors import InputError, MaskError
from .imagelike import ImageLike, image_like, labels_on, volume_of
from .volume import Drawing, LabelMap, SegmentInfo, file_slices, write_labelmap
from .volume.segfile import plain_segment

if TYPE_CHECKING:
    from .segment import Job, Query, SegmentOptions
    from .segment.result import Report, Segmentation
    from .volume import SupportSet
    from .worker.backend import Backend

Progress = bool | Callable[[int, int, str], None]


@dataclass(frozen=True, eq=False)
class Result:
    """What was found.

    Attributes:
        mask: the labels of the drawn mask, 0 elsewhere, on the axes of the image that was given; uint8, or
            int32 for labels beyond 255.
        confidence: float32 from 0 to 1 on the same axes: the probability of the structure, of several the
            highest.
        reports: label -> how its segmentation came about. Slices are counted along the image's own axes.
    """

    mask: np.ndarray
    confidence: np.ndarray
    reports: dict[int, Report]
    _image: ImageLike
    _labels: LabelMap

    @property
    def report(self) -> Report:
        """The report of the only structure. Raises InputError where there are several."""
        if len(self.reports) != 1:
            raise InputError(f"There are {len(self.reports)} reports.", "Use reports[label].")
        return next(iter(self.reports.values()))

    def to_sitk(self, confidence: bool = False) -> Any:
        """The mask, or the confidence, as a SimpleITK image in the place of the image that was given."""
        from .volume.itk import to_image

        array = self._image.own(self.confidence) if confidence else self._labels.array
        return to_image(array, self._labels.ijk_to_ras)

    def to_nibabel(self, confidence: bool = False) -> Any:
        """The mask, or the confidence, as a nibabel NIfTI image. Raises InputError without nibabel."""
        try:
            import nibabel
        except ModuleNotFoundError as error:
            raise InputError("nibabel is not installed.", "pip install nibabel.") from error
        array = self._image.own(self.confidence) if confidence else self._labels.array
        return nibabel.Nifti1Image(array.T, self._labels.ijk_to_ras)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the mask: .seg.nrrd (with names and colours), .nii.gz, .nrrd or .mha. Raises OutputError."""
        write_labelmap(path, self._labels)


def segment(
    image: Any,
    mask: Any,
    *,
    spacing: Sequence[float] | None = None,
    affine: Any = None,
    labels: int | Sequence[int] | None = None,
    names: Mapping[int, str] | None = None,
    support_image: Any = None,
    support_spacing: Sequence[float] | None = None,
    support_affine: Any = None,
    model: str | os.PathLike[str] | None = None,
    device: str = "auto",
    options: SegmentOptions | Mapping[str, Any] | None = None,
    progress: Progress = True,
    cancel: Callable[[], bool] | None = None,
) -> Result:
    """Segment an image from what is drawn on one slice of it, or of another patient's image.

    Args:
        image: a 3-D array of numbers with `spacing` or `affine`; an image of SimpleITK or of nibabel; or a
            `Volume`.
        mask: what is drawn on one slice or several, 0 elsewhere; every other value is a structure. An array
            on the axes of the image that was drawn on, or an image in its place.
        spacing: of an array, mm along each of its axes, in their order. Its axes are taken to lead up, back
            and left, as those of an upright image of SimpleITK as an array; give `affine` where they do not.
        affine: of an array, (4, 4) from the indices along its axes to RAS in mm, as nibabel has it.
        labels: those of the mask to look for; None for all. Each is background for the others.
        names: label -> what the structure is called in the report and in `Result.save`.
        support_image: the image that `mask` was drawn on, of another patient; None for `image`. Its own are
            `support_spacing` and `support_affine`.
        model: a name of `qnetseg weights list` or a file; None for the default.
        device: "auto", "cpu", "cuda" or "mps".
        options: those of `SegmentOptions`.
        progress: True for a bar of tqdm, in a notebook one of its own; False for none; or a function that is
            called as progress(done, total, stage).
        cancel: asked now and then; True ends it with `Cancelled`.

    Raises:
        InputError: what is given is no image, or an array without spacing and affine.
        MaskError, GeometryError: a mask that is empty, of another shape or in another place.
        VolumeError: an image that is constant or not finite.
        WorkerError: torch is missing.
        Cancelled, WeightsError, DeviceError, NetworkError: as `segment_volume`.
    """
    from .segment import Job, Query

    given = image_like(image, "image", spacing, affine)
    volume = volume_of(given, "image")
    drawn_image, drawn_volume = given, volume
    if support_image is not None:
        drawn_image = image_like(support_image, "support image", support_spacing, support_affine)
        drawn_volume = volume_of(drawn_image, "support image")
    elif support_spacing is not None or support_affine is not None:
        raise InputError("A support image's position is given without one.", "Give support_image, too.")
    drawings = _drawings(labels_on(mask, drawn_image, drawn_volume), labels, names or {})
    query = Query.of(volume)
    drawn_on = query if support_image is None else Query.of(drawn_volume)
    find = _finder(query, drawn_on, model, device, options)
    found: dict[int, Segmentation] = {}
    for label, drawing in drawings.items():
        others = [one.box for other, one in drawings.items() if other != label]
        background = reduce(Box.joined, others) if others and drawn_on is query else None
        with _told(progress, drawing.name) as tell:
            found[label] = find(drawing, background, Job(tell, cancel))
    return _result(given, query, drawn_on, found, drawings)


def _drawings(
    mask: np.ndarray, labels: int | Sequence[int] | None, names: Mapping[int, str]
) -> dict[int, Drawing]:
    """What is drawn of each label. Raises MaskError for a label that is not there, or none at all."""
    there = [int(value) for value in np.unique(mask) if value]
    if not there:
        raise MaskError("The mask is empty.", "Draw the structure on at least one slice.")
    wanted = there if labels is None else np.atleast_1d(labels).tolist()
    for label in wanted:
        if label not in there:
            raise MaskError(
                f"The mask has no label {label!r:.40}.", f"It has {', '.join(map(str, there[:20]))}."
            )
    return {
        int(label): Drawing(
            Box.around(mask, int(label)),
            str(names.get(label, plain_segment(label).name)),
            plain_segment(label).color,
        )
        for label in wanted
    }


@cache
def _backend() -> Backend:
    """Loads torch; keeps the networks for the next call. Raises WorkerError where torch does not work."""
    from .worker.backend import Backend, check_engine

    check_engine()
    return Backend()


def _finder(
    query: Query,
    drawn_on: Query,
    model: str | os.PathLike[str] | None,
    device: str,
    options: SegmentOptions | Mapping[str, Any] | None,
) -> Callable[[Drawing, Box | None, Job], Segmentation]:
    """A function that segments one structure after another."""
    from .worker.backend import Task

    backend, name = _backend(), None if model is None else os.fspath(model)
    given = {} if options is None else dict(options if isinstance(options, Mapping) else options.to_dict())
    other = None if drawn_on is query else drawn_on

    def find(drawing: Drawing, background: Box | None, job: Job) -> Segmentation:
        return backend(Task(drawn_on.pack(drawing), query, name, given, device, background, other), job)

    return find


@contextmanager
def _told(progress: Progress, name: str) -> Iterator[Callable[[int, int, str], None] | None]:
    """What the engine tells, as the caller wants to see it."""
    if not isinstance(progress, bool):
        yield progress
        return
    if not progress:
        yield None
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a notebook without widgets gets a bar of text
        from tqdm.auto import tqdm
    with tqdm(desc=name, unit="slice", leave=False) as bar:

        def show(done: int, total: int, _stage: str) -> None:
            if bar.total != total:
                bar.reset(total=total)
            bar.n = done
            bar.refresh()

        yield show


def _result(
    image: ImageLike,
    query: Query,
    drawn_on: Query,
    found: dict[int, Segmentation],
    drawings: dict[int, Drawing],
) -> Result:
    from .segment.overlap import share_voxels
    from .segment.result import Found

    shape, grid = query.shape, query.grid
    array, confidence = np.zeros(shape, np.int32), np.zeros(shape, np.float32)
    own = share_voxels([Found.of(one) for one in found.values()])
    for (label, one), box in zip(found.items(), own, strict=True):
        array[box.where][box.mask] = label
        np.maximum(confidence, one.confidence, out=confidence)
    infos = tuple(SegmentInfo(label, drawings[label].name, drawings[label].color) for label in found)
    labels = LabelMap(array, grid.ijk_to_ras, infos, grid.placement)
    kind = np.uint8 if max(found) < 256 else np.int32
    mask = np.ascontiguousarray(image.own(array.astype(kind)))
    reports = {
        label: _in_own_terms(one.report, drawn_on.pack(drawings[label]), query, drawn_on)
        for label, one in found.items()
    }
    return Result(mask, np.ascontiguousarray(image.own(confidence)), reports, image, labels)


def _in_own_terms(report: Report, support: SupportSet, query: Query, drawn_on: Query) -> Report:
    """A report whose slices are counted as the images' own axes count them."""
    slices = file_slices(query.grid, report.plane, support.axes)
    drawn = file_slices(drawn_on.grid, report.plane)
    parts = (
        replace(part, index=slices.at(part.index), support_index=drawn.at(part.support_index))
        for part in report.slices
    )
    return replace(report, slices=tuple(sorted(parts, key=lambda part: part.index)))
