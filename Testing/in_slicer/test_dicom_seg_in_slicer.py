"""A DICOM segmentation lies over its source where Slicer's own classes read both.

Slicer opens DICOM segmentations with dcmqi and a series with its archetype storage; both run here.
"""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("slicer_core", reason="the extra `slicer` is not installed")
pytest.importorskip("highdicom", reason="the extra `dicom` is not installed")

# isort: split
import slicer_core
from vtkmodules.util.numpy_support import vtk_to_numpy
from vtkmodules.vtkCommonMath import vtkMatrix4x4

from qnetseg.volume import read_volume
from support.seg_bed import DIRECTIONS, by_dcmqi, places, random_masks, slices, write_masks, write_slices


def slicer_reads(files, kind="vtkMRMLScalarVolumeNode"):
    """(K, J, I) array and (4, 4) IJK to RAS of a volume node; files: of the slices in their order, as
    Slicer's DICOM module gives them."""
    scene = slicer_core.vtkMRMLScene()
    node = scene.AddNewNodeByClass(kind)
    storage = scene.AddNewNodeByClass("vtkMRMLVolumeArchetypeStorageNode")
    storage.ResetFileNameList()
    for path in files:
        storage.AddFileName(str(path))
    storage.SetFileName(str(files[0]))
    assert storage.ReadData(node)
    matrix = vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    image = node.GetImageData()
    array = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(image.GetDimensions()[::-1])
    return array, np.array([[matrix.GetElement(row, column) for column in range(4)] for row in range(4)])


@pytest.mark.parametrize("kind", DIRECTIONS)
@pytest.mark.parametrize("reverse", [False, True])
def test_the_voxels_lie_on_those_of_the_source(tmp_path, kind, reverse):
    folder = write_slices(tmp_path / "s", slices(kind, reverse))
    volume, masks = read_volume(folder), random_masks()
    write_masks(tmp_path / "out.dcm", volume, masks)
    source, ijk_to_ras = slicer_reads([frame.path for frame in volume.frames])
    by_dcmqi(tmp_path / "out.dcm", tmp_path / "q")
    for number, mask in enumerate(masks, 1):
        seg, own = slicer_reads([tmp_path / "q" / f"s-{number}.nrrd"], "vtkMRMLLabelMapVolumeNode")
        ras = places(seg != 0, own)
        np.testing.assert_allclose(ras, places(mask, volume.ijk_to_ras), atol=2e-3)
        inside = (np.linalg.inv(ijk_to_ras) @ np.c_[ras, np.ones(len(ras))].T)[:3].T
        np.testing.assert_allclose(
            inside, np.rint(inside), atol=2e-3, err_msg="on whole voxels of the source"
        )
        values = source[tuple(np.rint(inside).astype(int)[:, ::-1].T)]
        assert np.array_equal(np.sort(values), np.sort(volume.array[mask])), (
            "the image has these values there"
        )
