"""The cases of the module's self-test: from a drawn slice to a node of the scene, on the phantom.

Each case takes the logic's class, or anything that makes a logic from a worker, and asserts. The engine runs
with its default model; where torch is missing, a mock engine runs in its place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
import slicer

from qnetseg.errors import Cancelled, MaskError

from ..process.python import worker_command
from ..process.worker import Worker
from ..sample_data import LIVER_COLOR, phantom_nodes
from ..sample_data.phantom import abdomen
from ..scene.segments import segment_mask
from ..setup import requirements

ENOUGH = 0.85  # Dice on the slices that were not drawn; the default model and the mock engine reach more
MOCK = "QNetSegmentLib.selftest.mock_worker"

MakeLogic = Callable[[Any], Any]


def engine_is_there() -> bool:
    """Whether everything that the real engine needs is installed; nothing is imported to find out."""
    found = requirements.check()
    return not requirements.missing(found)


@contextmanager
def logic_with_worker(make_logic: MakeLogic, mock: bool | None = None) -> Iterator[Any]:
    """A logic whose worker ends with the block; mock: None for the mock engine only without the real one."""
    mocked = mock or (mock is None and not engine_is_there())
    worker = Worker(worker_command(MOCK) if mocked else worker_command())
    try:
        yield make_logic(worker)
    finally:
        worker.shutdown()


def segments_the_phantom(make_logic: MakeLogic) -> None:
    """One drawn slice becomes the organ, as a new segmentation that looks like the drawing."""
    volume, drawing = phantom_nodes()
    before = _voxels(drawing, volume)
    with logic_with_worker(make_logic) as logic:
        result = logic.process(volume, drawing, waitForCompletion=True)
    _require(result is not drawing, "the result is a node of its own")
    _require(np.array_equal(_voxels(drawing, volume), before), "the drawing is unchanged")
    segment = result.GetSegmentation().GetNthSegment(0)
    original = drawing.GetSegmentation().GetNthSegment(0)
    _require(segment.GetName() == original.GetName(), "the segment has the name of the drawn one")
    _require(np.allclose(segment.GetColor(), LIVER_COLOR, atol=0.01), "the segment has the drawn colour")
    found, truth = _voxels(result, volume), abdomen()[1]["Liver"] > 0
    undrawn = ~before.any(axis=(1, 2))
    dice = _dice(found[undrawn], truth[undrawn])
    _require(dice >= ENOUGH, f"the liver is found on the slices that were not drawn (Dice {dice:.3f})")


def follows_the_transform(make_logic: MakeLogic) -> None:
    """Under a parent transform the same voxels are found, and they lie where the volume lies."""
    volume, drawing = phantom_nodes()
    with logic_with_worker(make_logic) as logic:
        at_rest = _voxels(logic.process(volume, drawing, waitForCompletion=True), volume)
        transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
        matrix = np.array([[0.0, -1, 0, 50], [1, 0, 0, -20], [0, 0, 1, 30], [0, 0, 0, 1]])
        transform.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(matrix))
        for node in (volume, drawing):
            node.SetAndObserveTransformNodeID(transform.GetID())
        result = logic.process(volume, drawing, waitForCompletion=True)
    _require(result.GetParentTransformNode() is transform, "the result is under the volume's transform")
    _require(np.array_equal(_voxels(result, volume), at_rest), "the transform changes no voxel")


def refuses_an_empty_drawing(make_logic: MakeLogic) -> None:
    """Nothing drawn: one sentence for the user, and the scene is as before."""
    volume, drawing = phantom_nodes()
    drawing.GetSegmentation().RemoveAllSegments()
    nodes = slicer.mrmlScene.GetNumberOfNodes()
    with logic_with_worker(make_logic, mock=True) as logic:
        try:
            logic.process(volume, drawing, waitForCompletion=True)
        except MaskError as error:
            _require(bool(error.message and error.advice), "the error says what and what to do")
        else:
            raise AssertionError("QNetSegment self-test: an empty drawing is refused")
    _require(slicer.mrmlScene.GetNumberOfNodes() == nodes, "nothing was added to the scene")


def can_be_cancelled(make_logic: MakeLogic) -> None:
    """A cancelled run ends with its error and leaves the scene as it was; the next run works."""
    volume, drawing = phantom_nodes()
    nodes = slicer.mrmlScene.GetNumberOfNodes()
    errors: list[Exception] = []
    with logic_with_worker(make_logic, mock=True) as logic:
        run = logic.process(volume, drawing, waitForCompletion=False, onFailed=errors.append)
        run.cancel()
        with suppress(Cancelled):
            run.wait()
        _require([type(error) for error in errors] == [Cancelled], "the run says that it was cancelled")
        _require(slicer.mrmlScene.GetNumberOfNodes() == nodes, "nothing was added to the scene")
        result = logic.process(volume, drawing, waitForCompletion=True)
    _require(bool(_voxels(result, volume).any()), "the next run has a result")


CASES = (segments_the_phantom, follows_the_transform, refuses_an_empty_drawing, can_be_cancelled)


def _voxels(segmentation: Any, volume: Any) -> np.ndarray:
    """(K, J, I) bool: the first segment on the volume's voxels."""
    return segment_mask(segmentation, segmentation.GetSegmentation().GetNthSegmentID(0), volume)


def _dice(found: np.ndarray, truth: np.ndarray) -> float:
    return 2 * float((found & truth).sum()) / max(1.0, float(found.sum() + truth.sum()))


def _require(met: bool, what: str) -> None:
    """An assertion that Slicer's optimised Python cannot drop."""
    if not met:
        raise AssertionError(f"QNetSegment self-test: not true that {what}")
