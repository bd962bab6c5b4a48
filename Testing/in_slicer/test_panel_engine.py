"""From the drawing to the node with the real engine and the default model: what the command line gives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import slicer

from qnetseg.cli import main
from qnetseg.volume import Volume, read_labelmap, read_volume
from support.panel_bed import add_volume, choose, click, wait_until
from support.panel_stories import (
    Story,
    matrix_of,
    one_slice,
    patient,
    real_story,
    segment_names,
    write_segment,
)
from support.scene_bed import linear, put_under

__all__ = ["real_story"]

PATIENCE = 300.0  # seconds; the first start imports torch


def save(node: Any, path: Path) -> Path:
    """Write a node to a file as Slicer does."""
    node.AddDefaultStorageNode()
    storage = node.GetStorageNode()
    storage.SetFileName(str(path))
    if hasattr(storage, "SetCropToMinimumExtent"):
        storage.SetCropToMinimumExtent(False)
    assert storage.WriteData(node)
    return path


def by_command_line(volume: Any, drawing: Any, folder: Path) -> np.ndarray:
    """(K, J, I): the labels that `qnetseg segment` finds for the saved nodes."""
    folder.mkdir()
    query = save(volume, folder / "query.nrrd")
    mask = save(drawing, folder / "drawing.seg.nrrd")
    output = folder / "found.seg.nrrd"
    assert main(["segment", str(query), "--mask", str(mask), "--output", str(output)]) == 0
    assert np.array_equal(read_volume(query).array, slicer.util.arrayFromVolume(volume))
    return np.asarray(read_labelmap(output).array)


def cut(volume: Volume, first: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Some slices of a volume, and their matrix."""
    matrix = volume.ijk_to_ras.copy()
    matrix[:3, 3] = (volume.ijk_to_ras @ [0, 0, first, 1])[:3]
    return volume.array[first : first + count], matrix


def chaos(folder: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Image, liver and matrix of five slices of an abdominal MR volume."""
    files = folder / "CHAOST2" / "chaos_MR_T2_normalized"
    image = sorted(files.glob("image_*.nii.gz"))[0]
    volume = read_volume(image)
    labels = read_volume(image.with_name(image.name.replace("image", "label")))
    largest = int((labels.array == 1).sum(axis=(1, 2)).argmax())
    array, matrix = cut(volume, largest - 2, 5)
    return array, cut(labels, largest - 2, 5)[0] == 1, matrix


def draw(story: Story, image: np.ndarray, mask: np.ndarray, matrix: np.ndarray) -> Any:
    """The volume is loaded and drawn on; its node."""
    volume = add_volume(image, "MR", matrix)
    choose(story.ui.querySelector, "MR")
    click(story.ui.newDrawingButton)
    drawing = story.session.parameters.drawing
    segment_id = drawing.GetSegmentation().GetNthSegmentID(0)
    write_segment(drawing, segment_id, one_slice(mask, 2), volume)
    wait_until(lambda: story.session.drawn)
    return volume


def segment(story: Story) -> np.ndarray:
    """Click Segment and wait; (K, J, I) bool of what was found."""
    click(story.ui.segmentButton)
    wait_until(lambda: story.session.run is None, PATIENCE)
    assert story.preview is not None, story.message + story.log
    return story.found()


def assert_like_the_command_line(story: Story, image: Any, mask: Any, matrix: Any, folder: Path) -> None:
    """The same voxels, and what the panel says of them is true."""
    volume = draw(story, image, mask, matrix)
    expected = by_command_line(volume, story.session.parameters.drawing, folder / "files")
    found = segment(story)
    assert np.array_equal(found, expected == 1)
    assert 2 * (found & mask).sum() / (found.sum() + mask.sum()) > 0.7
    assert segment_names(story.preview) == ["structure"]
    voxel_ml = abs(np.linalg.det(matrix[:3, :3])) / 1000
    assert story.ui.volumeValue.text == f"{found.sum() * voxel_ml:.1f} ml"
    assert story.report.model and story.ui.deviceLabel.text.startswith("Computes on: ")


def put_all_under(parent: Any) -> None:
    for kind in ("vtkMRMLScalarVolumeNode", "vtkMRMLSegmentationNode"):
        for node in slicer.util.getNodesByClass(kind):
            put_under(node, parent)


def test_a_liver_in_an_abdominal_mr(real_story: Story, development_data: Path, tmp_path: Path) -> None:
    assert_like_the_command_line(real_story, *chaos(development_data), tmp_path)
    at_rest, parent = real_story.found(), linear()
    put_all_under(parent)
    assert np.array_equal(segment(real_story), at_rest)
    assert real_story.preview.GetParentTransformNode() is parent


def test_a_synthetic_oblique_volume(real_story: Story, tmp_path: Path) -> None:
    image, masks = patient()
    matrix = matrix_of(left_handed=True, oblique=0.2)
    assert_like_the_command_line(real_story, image[4:8], masks["liver"][4:8], matrix, tmp_path)
