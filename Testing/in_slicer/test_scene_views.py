"""Slice views that follow the work, and the guard over nodes that a run needs."""

from __future__ import annotations

# First, because the scene adapter can be imported only when the session runs.
from support.scene_bed import (
    add_volume,
    axis_orders,
    blob,
    empty_scene,  # noqa: F401
    linear,
    oblique,
    volume_of,
    warped,
)

# isort: split

from types import SimpleNamespace

import numpy as np
import pytest
import slicer
import vtk

from qnetseg.boxes import Box
from qnetseg.errors import InputError, VolumeError
from qnetseg.segment import Report, SliceReport
from qnetseg.volume import ANATOMICAL_AXES, PLANES, canonical
from QNetSegmentLib.scene.canonical import CanonicalGrid, in_own_planes
from QNetSegmentLib.scene.drawings import drawn_slices
from QNetSegmentLib.scene.results import write_result
from QNetSegmentLib.scene.views import jump_to, show_volume


def slice_nodes():
    return [slicer.mrmlScene.GetNodeByID(f"vtkMRMLSliceNode{name}") for name in ("Red", "Green", "Yellow")]


def axes(node):
    return slicer.util.arrayFromVTKMatrix(node.GetSliceToRAS())[:3, :3]


def test_views_turn_to_the_planes_of_an_oblique_volume():
    volume = add_volume(oblique())
    show_volume(volume)
    own = oblique()[:3, :3] / np.linalg.norm(oblique()[:3, :3], axis=0)
    for node in slice_nodes():
        cosines = np.abs(axes(node).T @ own)
        assert np.allclose(np.sort(cosines, axis=1), [[0, 0, 1]] * 3, atol=1e-6)
    normals = [np.abs(own.T @ axes(node)[:, 2]).argmax() for node in slice_nodes()]
    assert normals == [2, 1, 0]  # axial, coronal, sagittal


def test_with_a_layout_the_volume_is_shown_and_fitted(monkeypatch):
    class Logics:
        def GetNumberOfItems(self):
            return 1

        def GetItemAsObject(self, _):
            return SimpleNamespace(FitSliceToBackground=lambda: fitted.append(axes(slice_nodes()[0])))

    fitted = []
    volume = add_volume(oblique())
    layout = SimpleNamespace(mrmlSliceLogics=Logics)
    monkeypatch.setattr(slicer.app, "layoutManager", lambda: layout)
    show_volume(volume)
    composite = slicer.mrmlScene.GetNodeByID("vtkMRMLSliceCompositeNodeRed")
    assert composite.GetBackgroundVolumeID() == volume.GetID()
    # What counts is the fit after turning.
    assert fitted and np.allclose(fitted[-1], axes(slice_nodes()[0]))


def test_without_a_layout_the_views_keep_their_volume():
    show_volume(add_volume())
    assert not slicer.mrmlScene.GetNodeByID("vtkMRMLSliceCompositeNodeRed").GetBackgroundVolumeID()


def test_every_view_jumps_to_the_place():
    jump_to((12.5, -30.0, 7.25))
    for node in slice_nodes():
        assert np.allclose(slicer.util.arrayFromVTKMatrix(node.GetSliceToRAS())[:3, 3], (12.5, -30.0, 7.25))


@pytest.mark.parametrize("plane", PLANES)
@pytest.mark.parametrize("kind", ["none", "linear", "grid"])
@pytest.mark.parametrize("number", [0, 17, 30, 47])
def test_the_center_of_a_slice_is_where_the_list_of_drawn_slices_says(number, kind, plane):
    parent = {"none": None, "linear": linear(), "grid": warped("grid")}[kind]
    volume = add_volume(axis_orders()[number], parent=parent)
    example = SimpleNamespace(name="x", color=(1, 0, 0), terminology="")
    node = write_result(volume, [SimpleNamespace(example=example, mask=Box.around(blob()))], name="result")
    _, orientation = canonical(volume_of(volume))
    for part in drawn_slices(node, volume, plane):
        mask2d = orientation.apply(blob()).take(part.index, PLANES[plane])
        middle = [float(found.mean()) for found in np.nonzero(mask2d)]
        middle.insert(PLANES[plane], float(part.index))
        assert np.allclose(CanonicalGrid.of(volume).to_world(middle), part.center, atol=1e-4)


def slice_center(volume, plane, index):
    return CanonicalGrid.of(volume).center(plane, index)


def test_the_center_of_an_empty_slice_is_the_middle_of_the_slice():
    volume = add_volume(np.diag([1.0, 2.0, 3.0, 1.0]), (5, 7, 9))
    # Canonical (k, j, i) runs to S, P, L; this volume's to S, A, R.
    assert slice_center(volume, "axial", 1) == pytest.approx((4.0, 6.0, 3.0))
    assert slice_center(volume, "coronal", 0) == pytest.approx((4.0, 12.0, 6.0))
    assert slice_center(volume, "sagittal", 8) == pytest.approx((0.0, 6.0, 6.0))
    with pytest.raises(InputError, match="no axial slice 5"):
        slice_center(volume, "axial", 5)
    with pytest.raises(VolumeError):
        slice_center(None, "axial", 0)


@pytest.mark.parametrize("plane", PLANES)
@pytest.mark.parametrize("angle", [0, 20, 44, 46, 90, 130, 180, 250])
def test_a_report_names_the_slices_as_the_volume_itself_does(angle, plane):
    """The engine turns the query like the support; the user looks at the query on its own axes."""
    turn = vtk.vtkTransform()
    turn.RotateWXYZ(angle, 0.2, 1.0, 0.1)
    axes = ANATOMICAL_AXES @ slicer.util.arrayFromVTKMatrix(turn.GetMatrix())[:3, :3].T
    node = add_volume(oblique())
    turned, orientation = canonical(volume_of(node), axes)
    slices = tuple(
        SliceReport(index, True, 0.5, 0, float(index), False) for index in range(turned.shape[PLANES[plane]])
    )
    report = Report("x", "m", "cpu", "fp32", 1.0, 1.0, plane, 0.0, slices, ())
    own = in_own_planes(report, axes, node)
    assert [part.index for part in own.slices] == list(range(len(slices)))
    _, anatomical = canonical(volume_of(node))
    marks = np.zeros(turned.shape)
    for part in slices:
        marks[(slice(None),) * PLANES[plane] + (part.index,)] = part.area_mm2
    native = anatomical.apply(orientation.back(marks))
    for part in own.slices:
        assert np.all(native.take(part.index, PLANES[own.plane]) == part.area_mm2)
    assert angle != 0 or own == report
