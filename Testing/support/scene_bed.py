"""Volumes, transforms and segments in a real MRML scene, made in one line each, for the tests of scene/."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations, product
from typing import Any

import numpy as np
import pytest

pytest.importorskip("PySide6", reason="PySide6-Essentials is not installed (extra `test`)")
slicer = pytest.importorskip("slicer", reason="slicer-core is not installed (extra `slicer`)")
vtk = pytest.importorskip("vtk", reason="slicer-core brings vtk")
BED = pytest.importorskip("slicer_session").session()

SHAPE = (5, 7, 9)
LIVER = (
    "Segmentation category and type - 3D Slicer General Anatomy list~SCT^123037004^Anatomical Structure"
    "~SCT^10200004^Liver~^^~Anatomic codes - DICOM master list~^^~^^"
)


@pytest.fixture(autouse=True)
def empty_scene() -> Any:
    """Import it, and every test of the file starts with an empty scene."""
    BED.reset()
    return slicer.mrmlScene


def oblique(spacing: Sequence[float] = (0.9, 1.2, 3.0), left_handed: bool = False) -> np.ndarray:
    """(4, 4) IJK to RAS: turned about two axes, anisotropic; spacing in mm of (i, j, k)."""
    c, s = np.cos(0.3), np.sin(0.3)
    turn = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ np.array([[1, 0, 0], [0, c, -s], [0, s, c]])
    matrix = np.eye(4)
    matrix[:3, :3] = turn * np.array([*spacing[:2], -spacing[2] if left_handed else spacing[2]])
    matrix[:3, 3] = (5, -7, 9)
    return matrix


def axis_orders() -> list[np.ndarray]:
    """The 48 ways in which (i, j, k) can follow the axes of RAS, as (4, 4) with 2 x 3 x 5 mm."""
    found = []
    for order in permutations(range(3)):
        for signs in product((1, -1), repeat=3):
            matrix = np.eye(4)
            matrix[:3, :3] = 0.0
            for column, (row, sign) in enumerate(zip(order, signs, strict=True)):
                matrix[row, column] = sign * (2.0, 3.0, 5.0)[column]
            matrix[:3, 3] = (11, -13, 17)
            found.append(matrix)
    return found


def add_volume(
    matrix: np.ndarray | None = None,
    shape: tuple[int, int, int] = SHAPE,
    name: str = "volume",
    parent: Any = None,
    seed: int = 0,
) -> Any:
    """A float volume node of noise."""
    array = np.random.default_rng(seed).normal(100.0, 20.0, shape).astype(np.float32)
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
    slicer.util.updateVolumeFromArray(node, array)
    node.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(oblique() if matrix is None else matrix))
    hierarchy = tree()
    if not hierarchy.GetItemByDataNode(node):
        hierarchy.CreateItem(hierarchy.GetSceneItemID(), node)
    put_under(node, parent)
    return node


def tree() -> Any:
    """The subject hierarchy of the scene."""
    return slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)


def put_under(node: Any, parent: Any) -> None:
    """Give a node a parent transform, or take it away."""
    node.SetAndObserveTransformNodeID(parent.GetID() if parent else None)


def linear(matrix: np.ndarray | None = None, parent: Any = None) -> Any:
    """A transform node with a rotation, a shift and, unless a matrix is given, nothing else."""
    if matrix is None:
        turn = vtk.vtkTransform()
        turn.RotateWXYZ(25, 0.3, 1.0, 0.2)
        turn.Translate(50, -20, 4)
        vtk_matrix = turn.GetMatrix()
    else:
        vtk_matrix = slicer.util.vtkMatrixFromArray(matrix)
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "linear")
    node.SetMatrixTransformToParent(vtk_matrix)
    put_under(node, parent)
    return node


def warped(kind: str = "thin plate", parent: Any = None) -> Any:
    """A transform node that bends space by some mm: "thin plate" or "grid"."""
    if kind == "thin plate":
        transform = vtk.vtkThinPlateSplineTransform()
        transform.SetBasisToR()
        source, target = vtk.vtkPoints(), vtk.vtkPoints()
        rng = np.random.default_rng(3)
        for corner in product((-60, 60), repeat=3):
            source.InsertNextPoint(corner)
            target.InsertNextPoint(np.array(corner) + rng.uniform(-6, 6, 3))
        transform.SetSourceLandmarks(source)
        transform.SetTargetLandmarks(target)
    else:
        field = vtk.vtkImageData()
        field.SetDimensions(5, 5, 5)
        field.SetOrigin(-80, -80, -80)
        field.SetSpacing(40, 40, 40)
        field.AllocateScalars(vtk.VTK_DOUBLE, 3)
        rng = np.random.default_rng(4)
        for place in product(range(5), repeat=3):
            for part in range(3):
                field.SetScalarComponentFromDouble(*place, part, rng.uniform(-4, 4))
        transform = slicer.vtkOrientedGridTransform()
        transform.SetDisplacementGridData(field)
        transform.SetInterpolationModeToLinear()
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTransformNode", kind)
    node.SetAndObserveTransformToParent(transform)
    put_under(node, parent)
    return node


def random_mask(shape: tuple[int, int, int] = SHAPE, seed: int = 1, share: float = 0.3) -> np.ndarray:
    """(K, J, I) bool, irregular, so that no flip or shift goes unnoticed."""
    return np.random.default_rng(seed).random(shape) < share


def blob(shape: tuple[int, int, int] = SHAPE) -> np.ndarray:
    """(K, J, I) bool: one solid piece without any symmetry."""
    mask = np.zeros(shape, bool)
    k, j, i = shape
    mask[1 : k - 1, 1 : j - 2, 2 : i - 1] = True
    mask[1, 1 : j // 2, 2 : i // 2] = False
    return mask


def extents(node: Any) -> list[tuple[int, ...]]:
    """The extents of the label map layers of a segmentation node."""
    segmentation = node.GetSegmentation()
    layers = range(segmentation.GetNumberOfLayers())
    return [segmentation.GetLayerDataObject(layer).GetExtent() for layer in layers]


def inventory() -> tuple[int, int, list[str]]:
    """How many nodes and subject hierarchy items there are, and the nodes' ids: the whole scene in short."""
    scene, hierarchy = slicer.mrmlScene, tree()
    ids = sorted(scene.GetNthNode(number).GetID() for number in range(scene.GetNumberOfNodes()))
    return scene.GetNumberOfNodes(), hierarchy.GetNumberOfItems(), ids


MASK, OTHER = random_mask(), random_mask(seed=2)


def drawn(volume: Any, mask: np.ndarray | None = None, name: str = "liver") -> tuple[Any, str]:
    """A segmentation of the volume with one segment; returns node and segment id."""
    node, (segment_id,) = _segmentation(volume, {name: MASK if mask is None else mask})
    return node, segment_id


def draw(volume: Any, *masks: np.ndarray) -> tuple[Any, list[str]]:
    """A segmentation of the volume with a segment for each mask; returns the node and the ids."""
    return _segmentation(volume, dict(zip(("liver", "spleen", "kidney"), masks, strict=False)))


def _segmentation(volume: Any, masks: dict[str, np.ndarray]) -> tuple[Any, list[str]]:
    from QNetSegmentLib.scene.segments import new_segmentation
    from support.masks import add_segment

    node = new_segmentation(volume, "drawing")
    return node, [add_segment(node, masks[name], volume, name, (0.2, 0.4, 0.6), LIVER) for name in masks]


def as_slicer_reads(node: Any, segment_id: str, volume: Any) -> np.ndarray:
    """(K, J, I) bool: the segment as Slicer's own Python function exports it."""
    return slicer.util.arrayFromSegmentBinaryLabelmap(node, segment_id, volume) != 0


def transforms() -> dict[str, Any]:
    """None, two linear ones, one with shear, a chain, and nonlinear ones, fresh in the scene."""
    shear = np.eye(4)
    shear[0, 1], shear[2, 0], shear[:3, 3] = 0.3, -0.2, (3, 4, 5)
    mirror = np.diag([-1.0, 1.0, 1.0, 1.0])
    first = linear()
    return {
        "none": None,
        "linear": first,
        "other linear": linear(mirror),
        "shear": linear(shear),
        "chain": linear(shear, parent=first),
        "thin plate": warped("thin plate"),
        "grid": warped("grid"),
        "linear under grid": linear(parent=warped("grid")),
    }


def own_places(mask: np.ndarray, volume: Any) -> np.ndarray:
    """(n, 3) sorted positions of a mask's voxels, without the volume's parent transform."""
    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    return in_order(np.argwhere(mask)[:, ::-1], slicer.util.arrayFromVTKMatrix(matrix))


def in_order(ijk: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """(n, 3) sorted positions of voxels (i, j, k) under a (4, 4) matrix."""
    points = np.round(ijk @ matrix[:3, :3].T + matrix[:3, 3], 3)
    return points[np.lexsort(points.T)]


def development_volume(folder: Any) -> tuple[Any, Any]:
    """A left-handed MR volume of the development data as Slicer reads it: the node and its file."""
    path = min((folder / "CHAOST2").rglob("image_*.nii*"))
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "mr")
    storage = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLVolumeArchetypeStorageNode")
    storage.SetFileName(str(path))
    assert storage.ReadData(node)
    return node, path


def volume_of(node: Any) -> Any:
    """What the worker makes of a volume node. Raises VolumeError and GeometryError."""
    from QNetSegmentLib.scene.volumes import source_of

    return volume_at(source_of(node))


def support_sets(segmentation: Any, volume_node: Any, volume: Any = None, **chosen: Any) -> list[Any]:
    """What the worker makes of the drawings on a volume node, which may be at another place (`volume`)."""
    from qnetseg.segment import Query
    from QNetSegmentLib.scene.drawings import drawings_of

    drawings = drawings_of(segmentation, volume_node, volume, **chosen)
    query = Query.of(volume or volume_of(volume_node))
    return [query.pack(drawing) for drawing in drawings]


def volume_at(source: Any) -> Any:
    """The volume of a source of `pair_of`."""
    from qnetseg.volume import Volume

    return Volume.checked(np.array(source.array), source.ijk_to_ras, source.name)
