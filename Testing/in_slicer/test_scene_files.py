"""Segments survive saving and loading, and real left-handed files."""

from __future__ import annotations

# First, because the scene adapter can be imported only when the session runs.
from support.scene_bed import (
    LIVER,
    MASK,
    OTHER,
    add_volume,
    as_slicer_reads,
    development_volume,
    drawn,
    empty_scene,  # noqa: F401
    oblique,
    own_places,
    random_mask,
    transforms,
)

# isort: split
import numpy as np
import pytest
import slicer

from qnetseg.volume import read_labelmap
from QNetSegmentLib.scene.segments import segment_mask, terminology_of
from support.masks import add_segment


@pytest.mark.parametrize("kind", ["none", "linear", "shear", "grid"])
@pytest.mark.parametrize("left_handed", [False, True])
@pytest.mark.parametrize("ending", [".mrb", ".mrml"])
def test_a_saved_scene_brings_everything_back(tmp_path, ending, left_handed, kind):
    parent = transforms()[kind]
    volume = add_volume(oblique(left_handed=left_handed), parent=parent)
    expected = [own_places(mask, volume) for mask in (MASK, OTHER)]
    node, first = drawn(volume)
    second = add_segment(node, OTHER, volume, "overlapping", (1, 0, 0))
    node.SetAttribute("QNetSegment.Preview", "1")
    save_and_reload(tmp_path, ending)
    volume, node = (slicer.util.getNode(name) for name in ("volume", "drawing"))
    assert node.GetAttribute("QNetSegment.Preview") == "1"
    assert node.GetNodeReference("referenceImageGeometryRef") is volume
    # Slicer stores a left-handed volume along other axes when it reads it again; the places are the same.
    for segment_id, place in zip((first, second), expected, strict=True):
        assert np.allclose(own_places(segment_mask(node, segment_id, volume), volume), place, atol=1e-4)
    segment = node.GetSegmentation().GetSegment(first)
    assert segment.GetName() == "liver" and segment.GetColor() == pytest.approx((0.2, 0.4, 0.6))
    assert terminology_of(segment) == LIVER
    geometry = node.GetSegmentation().GetConversionParameter("Reference image geometry")
    assert ";0;8;0;6;0;4;" in geometry


def save_and_reload(folder, ending):
    """Save the scene with its data, empty it, and load it again."""
    scene = slicer.mrmlScene
    path = folder / f"scene{ending}"
    if ending == ".mrb":
        assert scene.WriteToMRB(str(path), None)
        assert scene.ReadFromMRB(str(path), True)
        return
    scene.SetRootDirectory(str(folder))
    for number in range(scene.GetNumberOfNodesByClass("vtkMRMLStorableNode")):
        node = scene.GetNthNodeByClass(number, "vtkMRMLStorableNode")
        if not node.GetSaveWithScene() or not node.AddDefaultStorageNode():
            continue
        storage = node.GetStorageNode()
        storage.SetFileName(str(folder / f"{node.GetID()}.{storage.GetDefaultWriteFileExtension()}"))
        assert storage.WriteData(node)
    scene.SetURL(str(path))
    assert scene.Commit()
    scene.Clear(0)
    assert scene.Connect()


@pytest.mark.parametrize("left_handed", [False, True])
def test_a_saved_segmentation_file_is_read_by_the_engine(tmp_path, left_handed):
    volume = add_volume(oblique(left_handed=left_handed))
    node, _ = drawn(volume)
    path = tmp_path / "Löber.seg.nrrd"
    node.AddDefaultStorageNode()
    node.GetStorageNode().SetCropToMinimumExtent(False)
    node.GetStorageNode().SetFileName(str(path))
    assert node.GetStorageNode().WriteData(node)
    found = read_labelmap(path)
    assert np.array_equal(found.array != 0, MASK)
    (info,) = found.segments
    assert info.name == "liver" and info.terminology == LIVER
    assert info.color == pytest.approx((0.2, 0.4, 0.6))
    matrix = oblique(left_handed=left_handed)
    assert np.allclose(found.ijk_to_ras, matrix, atol=1e-6)


def test_the_development_volumes_are_left_handed_and_exact(development_data):
    volume, _ = development_volume(development_data)
    shape = slicer.util.arrayFromVolume(volume).shape
    mask = random_mask(shape, share=0.05)
    node, segment_id = drawn(volume, mask)
    assert np.array_equal(segment_mask(node, segment_id, volume), mask)
    assert np.array_equal(as_slicer_reads(node, segment_id, volume), mask)
