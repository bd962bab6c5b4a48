"""A run on nodes of the scene: its result is a node, and anything else leaves the scene as it was."""

from __future__ import annotations

import numpy as np
import pytest
import slicer

from qnetseg import errors
from qnetseg.volume import normalise, support_from_mask
from qnetseg.worker.failures import InternalError
from support.fake_engine import BRIGHT
from support.qt_worker_bed import BED, SOURCE, SUPPORT, Worker, run_events, wait_until
from support.scene_bed import add_volume, inventory, linear, put_under, volume_of
from support.worker_bed import FAKE, sample

# isort: split
from QNetSegmentLib.runs import scene_run
from QNetSegmentLib.runs.scene_run import SceneResult, SceneRun
from QNetSegmentLib.scene.results import PREVIEW
from QNetSegmentLib.scene.volumes import source_of


@pytest.fixture(scope="module")
def worker():
    worker = Worker(FAKE)
    yield worker
    worker.shutdown()


@pytest.fixture
def node():
    """The sample as a volume node in a fresh scene."""
    BED.reset()
    volume = sample()[1]
    node = add_volume(volume.ijk_to_ras, volume.shape, "scan")
    slicer.util.updateVolumeFromArray(node, volume.array)
    return node


class Ended:
    def __init__(self, run):
        self.run, self.progress, self.all = run, [], []
        run.progress.connect(self.progress.append)
        run.finished.connect(self.all.append)
        run.failed.connect(self.all.append)

    def wait(self):
        wait_until(lambda: self.all)
        run_events()
        (end,) = self.all
        assert not self.run.active
        return end


def run_of(worker, node, *names, do="answer", **arguments):
    volume = volume_of(node)
    mask = np.zeros(volume.shape, np.uint8)
    mask[3, 8:16, 6:14] = 1
    supports = [
        support_from_mask(volume, mask, name=name, color=(1.0, 0.5, 0.0)) for name in names or ("box",)
    ]
    return SceneRun(worker, node, supports, source_of(node), options={"do": do}, device="cpu", **arguments)


def bright(node):
    """(K, J, I) uint8: what the fake engine finds."""
    return (normalise(slicer.util.arrayFromVolume(node)) > BRIGHT).astype(np.uint8)


def voxels(node, name, volume_node):
    segment_id = node.GetSegmentation().GetSegmentIdBySegmentName(name)
    return slicer.util.arrayFromSegmentBinaryLabelmap(node, segment_id, volume_node)


def test_the_result_is_a_node_with_exactly_the_found_voxels(worker, node):
    run = run_of(worker, node, "box", warnings=["The volumes are tilted."], name="result")
    ended = Ended(run)
    run.start()
    assert run.active
    result = ended.wait()
    assert isinstance(result, SceneResult) and result.query_node_id == node.GetID()
    assert result.node.GetName() == "result" and result.node.GetAttribute(PREVIEW) is None
    assert np.array_equal(voxels(result.node, "box", node), bright(node))
    assert result.warnings == ("The volumes are tilted.", str(worker.pid))
    assert ended.progress[-1].fraction == 1.0


def test_a_preview_of_two_structures(worker, node):
    run = run_of(worker, node, "box", "again", preview=True)
    run.start()
    result = run.wait()
    assert result.node.GetName() == "scan segmentation" and result.node.GetAttribute(PREVIEW) == "1"
    names = [found.example.name for found in result.results]
    assert names == ["box", "again"] and voxels(result.node, "box", node).any()
    assert result.warnings == (f"box: {worker.pid}", f"again: {worker.pid}")


@pytest.mark.parametrize(
    ("lose", "words"),
    [
        (lambda node: slicer.mrmlScene.RemoveNode(node), "'scan' was removed"),
        (lambda node: slicer.mrmlScene.Clear(0), "scene was closed"),
    ],
    ids=["removed", "closed"],
)
def test_a_lost_volume_stops_the_run_with_a_sentence(worker, node, lose, words):
    run = run_of(worker, node, do="wait")
    ended = Ended(run)
    run.start()
    wait_until(lambda: ended.progress[-1].stage == "slices")
    pid = worker.pid
    lose(node)
    before = inventory()
    error = ended.wait()
    assert isinstance(error, errors.VolumeError) and words in error.message and error.advice
    assert inventory() == before and worker.pid == pid and not worker.busy


def test_other_voxels_in_the_meantime_refuse_the_result(worker, node):
    run = run_of(worker, node)
    ended = Ended(run)
    run.start()
    slicer.util.updateVolumeFromArray(node, np.zeros((2, 3, 4), np.float32))
    before = inventory()
    error = ended.wait()
    assert isinstance(error, errors.GeometryError) and "scan" in error.message and inventory() == before
    with pytest.raises(errors.GeometryError):
        run.wait()


def test_a_transform_that_changes_in_the_meantime_takes_the_result_along(worker, node):
    run = run_of(worker, node)
    ended = Ended(run)
    run.start()
    put_under(node, linear())
    result = ended.wait()
    assert result.node.GetParentTransformNode() is node.GetParentTransformNode()
    assert np.array_equal(voxels(result.node, "box", node), bright(node))


@pytest.mark.parametrize(
    "error", [errors.OutputError("No room.", "Make room."), RuntimeError("a bug"), MemoryError()]
)
def test_a_result_that_cannot_be_written_leaves_the_scene_alone(worker, node, monkeypatch, error):
    def fail(*_arguments, **_options):
        raise error

    monkeypatch.setattr(scene_run, "write_result", fail)
    before = inventory()
    run = run_of(worker, node)
    ended = Ended(run)
    run.start()
    told = ended.wait()
    assert told is error or (isinstance(told, InternalError) and told.advice and "Traceback" in told.details)
    assert inventory() == before


def test_cancel_leaves_the_scene_alone(worker, node):
    before = inventory()
    run = run_of(worker, node, do="wait")
    ended = Ended(run)
    run.start()
    wait_until(lambda: ended.progress[-1].stage == "slices")
    run.cancel()
    assert isinstance(ended.wait(), errors.Cancelled) and inventory() == before


def test_an_error_of_the_engine_leaves_the_scene_alone(worker, node):
    before = inventory()
    run = run_of(worker, node, do="exit")
    run.start()
    with pytest.raises(errors.WorkerError, match="exit code 3"):
        run.wait()
    assert inventory() == before


def test_the_volume_is_watched_only_while_the_run_lasts(worker, node):
    first = run_of(worker, node, do="wait")
    ended = Ended(first)
    first.start()
    refused = run_of(worker, node)
    told = Ended(refused)
    with pytest.raises(errors.WorkerError, match="running already"):
        refused.start()
    assert not refused.active
    first.cancel()
    ended.wait()
    slicer.mrmlScene.RemoveNode(node)
    run_events()
    assert len(ended.all) == 1 and told.all == []


def test_a_volume_that_is_gone_before_the_start(worker, node):
    run = run_of(worker, node)
    slicer.mrmlScene.RemoveNode(node)
    with pytest.raises(errors.GeometryError):
        run.start()
    assert not run.active and not worker.busy
    with pytest.raises(errors.VolumeError):
        SceneRun(worker, node, [SUPPORT], SOURCE)


def voxels_before(node, volume):
    return {name: voxels(node, name, volume).copy() for name in ("box", "again")}


def test_an_older_result_gets_the_new_voxels(worker, node):
    first = run_of(worker, node, "box", "again", preview=True, drawn_ids=["a", "b"])
    first.start()
    older = first.wait().node
    slicer.util.arrayFromVolume(node)[1, 2:5, 2:5] = 9.0
    slicer.util.arrayFromVolumeModified(node)
    again = run_of(worker, node, "box", "again", drawn_ids=["a", "b"], rewrite=lambda: older)
    count = slicer.mrmlScene.GetNumberOfNodes()
    again.start()
    result = again.wait()
    assert result.node is older and slicer.mrmlScene.GetNumberOfNodes() == count
    assert np.array_equal(voxels(older, "box", node), bright(node))
    assert older.GetAttribute(PREVIEW) == "1"


@pytest.mark.parametrize(
    ("names", "drawn_ids"),
    [(("box",), ["a"]), (("again", "box"), ["a", "b"]), (("box", "again"), ["b", "a"])],
)
def test_a_result_of_other_structures_stays_as_it_is(worker, node, names, drawn_ids):
    first = run_of(worker, node, "box", "again", drawn_ids=["a", "b"])
    first.start()
    older = first.wait().node
    before = voxels_before(older, node)
    again = run_of(worker, node, *names, drawn_ids=drawn_ids, rewrite=lambda: older)
    again.start()
    assert again.wait().node is not older
    assert all(np.array_equal(found, before[name]) for name, found in voxels_before(older, node).items())


def test_a_rewriting_that_fails_leaves_the_older_result(worker, node, monkeypatch):
    from QNetSegmentLib.scene import results

    first = run_of(worker, node, "box", "again", drawn_ids=["a", "b"])
    first.start()
    older = first.wait().node
    before = voxels_before(older, node)
    slicer.util.arrayFromVolume(node)[1, 2:5, 2:5] = 9.0
    slicer.util.arrayFromVolumeModified(node)
    write, calls = results.write_box, []

    def fail_once(*arguments, **named):
        calls.append(arguments)
        if len(calls) == 2:
            raise RuntimeError("a bug")
        write(*arguments, **named)

    monkeypatch.setattr(results, "write_box", fail_once)
    again = run_of(worker, node, "box", "again", drawn_ids=["a", "b"], rewrite=lambda: older)
    again.start()
    with pytest.raises(errors.OutputError, match="a bug"):
        again.wait()
    assert all(np.array_equal(found, before[name]) for name, found in voxels_before(older, node).items())
