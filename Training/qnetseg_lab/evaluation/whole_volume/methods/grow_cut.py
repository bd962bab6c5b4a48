"""Slicer's "Grow from seeds", with Slicer's own class.

The one file of the laboratory that knows VTK and Slicer, and only where slicer-core is installed: the
baseline must be the real one. Nothing but the evaluation imports it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from qnetseg.errors import InputError

from .task import Answer, Task

STRUCTURE, BACKGROUND = 1, 2


def grow_cut(task: Task) -> Answer:
    """Grow the drawing and the background of the drawn slices through the whole volume.

    Every pixel of a drawn slice is a seed, of the structure or of the background; a slice drawn as empty
    consists of background seeds. Intensities and `DistancePenalty` (0, Slicer's default) as in the effect,
    which however looks at little more than the seeds' box: on the whole volume the method is given its best.

    Raises:
        InputError: slicer-core cannot be imported.
    """
    return Grower(task)(task)


class Grower:
    """Slicer's class on one volume. Kept from drawing to drawing, as the effect keeps it: after a correction
    it grows anew only where the new seeds change something."""

    def __init__(self, task: Task) -> None:
        """task: on the volume. Raises InputError where slicer-core cannot be imported."""
        self._vtk = _vtk()
        self._grower = self._vtk.GrowCut()
        self._grower.SetIntensityVolume(_image(self._vtk, task.image.astype(np.float32), task.spacing))

    def __call__(self, task: Task) -> Answer:
        """Grow the seeds of a drawing on the same volume; see `grow_cut`."""
        seeds = np.zeros(task.mask.shape, np.int16)
        drawn = list(task.slices)
        seeds[drawn] = np.where(task.mask[drawn], STRUCTURE, BACKGROUND)
        self._grower.SetSeedLabelVolume(_image(self._vtk, seeds, task.spacing))
        self._grower.Update()
        grown = self._vtk.to_numpy(self._grower.GetOutput().GetPointData().GetScalars())
        return Answer(task.as_drawn(grown.reshape(seeds.shape) == STRUCTURE))


def _vtk() -> Any:
    """The classes that are needed, imported only now: slicer-core is large and seldom there."""
    try:
        from slicer_core.vtkSlicerSegmentationsModuleLogic import vtkImageGrowCutSegment
        from vtkmodules.util.numpy_support import numpy_to_vtk, vtk_to_numpy
        from vtkmodules.vtkCommonDataModel import vtkImageData
    except ImportError as error:
        raise InputError(
            f"Grow-cut is Slicer's own and slicer-core cannot be imported ({error}).",
            "Install `qnetseg-lab[slicer]` again, or leave the method out.",
        ) from error

    class Classes:
        GrowCut = vtkImageGrowCutSegment
        ImageData = vtkImageData
        to_vtk = staticmethod(numpy_to_vtk)
        to_numpy = staticmethod(vtk_to_numpy)

    return Classes


def _image(vtk: Any, array: np.ndarray, spacing: tuple[float, float, float]) -> Any:
    """(S, H, W) array as vtkImageData, whose first axis runs fastest."""
    image = vtk.ImageData()
    image.SetDimensions(array.shape[::-1])
    image.SetSpacing(spacing[::-1])
    image.GetPointData().SetScalars(vtk.to_vtk(np.ascontiguousarray(array).ravel(), deep=True))
    return image
