"""Files in both directions between this package and Slicer's own code (slicer-core)."""

from __future__ import annotations

import numpy as np
import pytest

from qnetseg.volume import (
    LabelMap,
    SegmentInfo,
    Volume,
    canonical,
    on_grid_of,
    read_labelmap,
    read_volume,
    write_labelmap,
    write_volume,
)

slicer = pytest.importorskip("slicer", reason="slicer-core is not installed (pip install slicer-core)")
vtk = pytest.importorskip("vtk", reason="slicer-core brings vtk")

SHAPE = (7, 20, 30)
LIVER = (
    "Segmentation category and type - 3D Slicer General Anatomy list~SCT^123037004^Anatomical Structure"
    "~SCT^10200004^Liver~^^~Anatomic codes - DICOM master list~^^~^^"
)
SEGMENTS = (
    SegmentInfo(3, 'Leber ä "x" | y', (0.1, 0.2, 0.3), LIVER),
    SegmentInfo(300, "spleen", (1.0, 0.0, 0.5)),
    SegmentInfo(7, "not drawn", (0.0, 1.0, 0.0)),
)


def geometry(left_handed: bool) -> np.ndarray:
    """Oblique axes of 0.9 x 1.2 x 3 mm."""
    c, s = np.cos(0.3), np.sin(0.3)
    turn = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ np.array([[1, 0, 0], [0, c, -s], [0, s, c]])
    matrix = np.eye(4)
    matrix[:3, :3] = turn * np.array([0.9, 1.2, -3.0 if left_handed else 3.0])
    matrix[:3, 3] = (5, -7, 9)
    return matrix


def labels() -> np.ndarray:
    array = np.zeros(SHAPE, np.int32)
    array[1:5, 3:12, 4:20] = 3
    array[4:6, 8:15, 10:25] = 300
    array[6, 19, 29] = 300
    return array


def make_volume(left_handed: bool) -> Volume:
    array = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)
    return Volume(array, geometry(left_handed), "v")


@pytest.fixture
def scene():
    scene = slicer.vtkMRMLScene()
    yield scene
    scene.Clear(True)


def as_array(matrix) -> np.ndarray:
    return np.array([[matrix.GetElement(row, column) for column in range(4)] for row in range(4)])


def as_matrix(array: np.ndarray):
    matrix = vtk.vtkMatrix4x4()
    for (row, column), value in np.ndenumerate(array):
        matrix.SetElement(row, column, value)
    return matrix


def voxels(image) -> np.ndarray:
    from vtk.util.numpy_support import vtk_to_numpy

    return vtk_to_numpy(image.GetPointData().GetScalars()).reshape(image.GetDimensions()[::-1])


def storage_for(scene, class_name: str, path):
    storage = scene.AddNewNodeByClass(class_name)
    storage.SetFileName(str(path))
    return storage


def slicer_volume(scene, path):
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
    assert storage_for(scene, "vtkMRMLVolumeArchetypeStorageNode", path).ReadData(node)
    return node


def slicer_segmentation(scene, path):
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    assert storage_for(scene, "vtkMRMLSegmentationStorageNode", path).ReadData(node)
    return node


def segment_on_grid(node, index: int) -> tuple[np.ndarray, np.ndarray]:
    """A segment as Slicer holds it, put into the whole grid: (K, J, I) bool, and the matrix of its grid."""
    image = slicer.vtkOrientedImageData()
    node.GetBinaryLabelmapRepresentation(node.GetSegmentation().GetNthSegmentID(index), image)
    matrix = vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(matrix)
    i0, i1, j0, j1, k0, k1 = image.GetExtent()
    whole = np.zeros(SHAPE, bool)
    whole[k0 : k1 + 1, j0 : j1 + 1, i0 : i1 + 1] = voxels(image) != 0
    return whole, as_array(matrix)


@pytest.mark.parametrize("left_handed", [False, True])
def test_slicer_reads_our_segmentation_voxel_for_voxel(tmp_path, scene, left_handed):
    path = tmp_path / "x.seg.nrrd"
    write_labelmap(path, LabelMap(labels(), geometry(left_handed), SEGMENTS))
    node = slicer_segmentation(scene, path)
    segmentation = node.GetSegmentation()
    assert segmentation.GetNumberOfSegments() == 3 and segmentation.GetNumberOfLayers() == 1
    for index, expected in enumerate(SEGMENTS):
        segment = segmentation.GetNthSegment(index)
        assert (segment.GetName(), segment.GetLabelValue()) == (expected.name, expected.label)
        assert segment.GetColor() == pytest.approx(expected.color)
        whole, matrix = segment_on_grid(node, index)
        assert np.array_equal(whole, labels() == expected.label)
        assert np.allclose(matrix, geometry(left_handed))
    terminology = vtk.mutable("")
    segmentation.GetNthSegment(0).GetTag("TerminologyEntry", terminology)
    assert str(terminology) == LIVER
    assert ";0;29;0;19;0;6;" in segmentation.GetConversionParameter("Reference image geometry")


@pytest.mark.parametrize("left_handed", [False, True])
def test_slicer_saves_our_segmentation_back(tmp_path, scene, left_handed):
    path, again = tmp_path / "x.seg.nrrd", tmp_path / "again.seg.nrrd"
    volume = make_volume(left_handed)
    write_labelmap(path, LabelMap(labels(), volume.ijk_to_ras, SEGMENTS))
    storage = storage_for(scene, "vtkMRMLSegmentationStorageNode", again)
    for crop in (False, True):
        storage.SetCropToMinimumExtent(crop)
        assert storage.WriteData(slicer_segmentation(scene, path))
        found = read_labelmap(again)
        assert [part.name for part in found.segments] == [part.name for part in SEGMENTS]
        assert found.segments[0].terminology == LIVER
        assert (found.array.shape == SHAPE) is not crop
        placed = on_grid_of(found, volume)
        assert np.array_equal(placed.array, labels())


def test_overlapping_segments_of_slicer_are_read(tmp_path, scene):
    """Slicer stores them in layers, as a 4-D file."""
    masks = np.zeros((2, *SHAPE), np.uint8)
    masks[0, 1:5, 3:12, 4:20] = 1
    masks[1, 3:6, 8:15, 10:25] = 1
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    for number, mask in enumerate(masks):
        image = slicer.vtkOrientedImageData()
        image.SetDimensions(SHAPE[::-1])
        image.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 1)
        voxels(image)[:] = mask
        image.SetImageToWorldMatrix(as_matrix(geometry(False)))
        segment = slicer.vtkSegment()
        segment.SetName(f"part {number}")
        segment.AddRepresentation("Binary labelmap", image)
        node.GetSegmentation().AddSegment(segment)
    path = tmp_path / "x.seg.nrrd"
    assert storage_for(scene, "vtkMRMLSegmentationStorageNode", path).WriteData(node)
    for number, mask in enumerate(masks):
        found = on_grid_of(read_labelmap(path, f"part {number}"), make_volume(False))
        assert np.array_equal(found.array != 0, mask != 0)


@pytest.mark.parametrize("left_handed", [False, True])
@pytest.mark.parametrize("ending", [".nii.gz", ".nrrd", ".mha"])
def test_slicer_and_we_agree_on_volumes(tmp_path, scene, ending, left_handed):
    """Slicer turns left-handed axes around; on the canonical axes nothing of it is left."""
    path = tmp_path / f"x{ending}"
    volume = make_volume(left_handed)
    write_volume(path, volume)
    node = slicer_volume(scene, path)
    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    theirs, _ = canonical(Volume.checked(voxels(node.GetImageData()), as_array(matrix)))
    ours, _ = canonical(read_volume(path))
    assert np.array_equal(theirs.array, ours.array)
    assert np.allclose(theirs.ijk_to_ras, ours.ijk_to_ras, atol=1e-5)


def test_a_drawing_on_slicers_turned_axes_comes_to_our_grid(tmp_path, scene):
    """What is drawn on a left-handed volume has Slicer's axes in the file, not the volume file's."""
    volume = make_volume(left_handed=True)
    write_volume(tmp_path / "x.nii.gz", volume)
    write_labelmap(tmp_path / "x.seg.nrrd", LabelMap(labels(), volume.ijk_to_ras, SEGMENTS))
    segmentation = slicer_segmentation(scene, tmp_path / "x.seg.nrrd")
    segmentation.SetReferenceImageGeometryParameterFromVolumeNode(slicer_volume(scene, tmp_path / "x.nii.gz"))
    saved = tmp_path / "saved.seg.nrrd"
    assert storage_for(scene, "vtkMRMLSegmentationStorageNode", saved).WriteData(segmentation)
    found = read_labelmap(saved)
    assert not np.allclose(found.ijk_to_ras, volume.ijk_to_ras)
    assert np.array_equal(on_grid_of(found, volume).array, labels())
