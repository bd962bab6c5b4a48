"""A batch: studies of a folder or the scene, one by one; failures, cancelling, the real worker."""

from __future__ import annotations

import os

import numpy as np
import pytest
import slicer
from slicer_session import session

session()

from qnetseg.batch import Study, StudyState, folder_studies  # noqa: E402
from qnetseg.errors import InputError, OutputError, WorkerError  # noqa: E402
from qnetseg.volume import normalise, read_labelmap, read_volume  # noqa: E402
from QNetSegmentLib.runs.batch import Batch, Summary  # noqa: E402
from QNetSegmentLib.runs.scene_studies import scene_studies  # noqa: E402
from QNetSegmentLib.sample_data import volume_node  # noqa: E402
from support.batch_bed import (  # noqa: E402
    CANCELLED,
    DONE,
    FAILED,
    KEPT,
    FakeRun,
    batch_of,
    folder_of_scans,  # noqa: F401
    fresh,  # noqa: F401
    one_support,  # noqa: F401
    results_in,
    run,
    states,
)
from support.cli_bed import scan_array, write_image  # noqa: E402
from support.fake_engine import BRIGHT  # noqa: E402
from support.qt_worker_bed import wait_until  # noqa: E402
from support.worker_bed import FAKE  # noqa: E402

# Failures and cancelling


def test_one_corrupt_study_does_not_stop_the_rest(folder, supports):
    (folder / "b.nii.gz").write_bytes(b"not an image")
    write_image(folder / "constant.nrrd", np.ones((4, 5, 6), np.float32))
    batch = run(folder_studies(folder), supports)
    assert states(batch) == [DONE, FAILED, DONE, FAILED]
    assert "constant" in batch.studies[3].detail and batch.heard[-1] == Summary(2, 0, 2, 0)
    assert results_in(folder) == ["A.seg.json", "A.seg.nrrd", "c.seg.json", "c.seg.nrrd"]


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (WorkerError("The process was killed.", "Try again."), "The process was killed. Try again."),
        (InputError("No such option."), "No such option."),
        (MemoryError(), "There was not enough memory for this study."),
        (KeyError("a bug"), "The study failed inside the program (KeyError: 'a bug')."),
    ],
)
def test_a_run_that_fails_is_one_sentence(folder, supports, error, sentence):
    FakeRun.trouble["b"] = error
    batch = run(folder_studies(folder), supports)
    assert states(batch) == [DONE, FAILED, DONE] and batch.studies[1].detail == sentence


def test_a_slot_that_fails_does_not_stop_the_batch(folder, supports):
    batch = batch_of(folder_studies(folder), supports)

    def bug(_index, study):
        if study.state is DONE:
            raise RuntimeError("a bug of the panel")

    batch.changed.connect(bug)
    batch.start()
    for _ in range(20):
        try:
            batch.loop.run()
        except RuntimeError:
            continue
    assert states(batch) == [DONE] * 3 and not batch.active


def test_every_state_is_told_and_one_study_runs_at_a_time(folder, supports):
    batch = run(folder_studies(folder), supports)
    running = StudyState.RUNNING  # first it is read, then segmented
    expected = [(index, state) for index in range(3) for state in (running, running, DONE)]
    assert batch.heard == [*expected, Summary(3, 0, 0, 0)]


def test_the_next_study_waits_for_the_event_loop(folder, supports):
    batch = batch_of(folder_studies(folder), supports)
    batch.start()
    assert FakeRun.started == [] and batch.heard == []
    batch.loop.run(2)
    assert batch.heard == [(0, StudyState.RUNNING)] and FakeRun.started == []
    batch.loop.run(2)
    assert batch.heard[-1] == (0, DONE) and len(FakeRun.started) == 1
    batch.cancel()


def test_the_progress_names_its_study(folder, supports):
    batch, heard = batch_of(folder_studies(folder), supports), []
    batch.progress.connect(lambda index, progress: heard.append((index, progress.fraction)))
    batch.start()
    batch.loop.run()
    assert heard == [(0, 0.5), (1, 0.5), (2, 0.5)]


def test_cancelling_keeps_what_is_finished(folder, supports):
    FakeRun.trouble["b"] = None
    batch = batch_of(folder_studies(folder), supports)
    batch.start()
    batch.loop.run()
    assert batch.active and states(batch) == [DONE, StudyState.RUNNING, StudyState.WAITING]
    batch.cancel()
    batch.cancel()
    assert states(batch) == [DONE, CANCELLED, CANCELLED] and batch.heard.count(Summary(1, 0, 0, 2)) == 1
    FakeRun.trouble.clear()
    assert states(run(folder_studies(folder), supports)) == [KEPT, DONE, DONE]


def test_a_late_result_of_a_cancelled_run_is_dropped(folder, supports):
    FakeRun.trouble["b"] = None
    batch = batch_of(folder_studies(folder), supports)
    batch.start()
    batch.loop.run()
    FakeRun.started[-1].cancel = lambda: None  # it is quicker than the cancel
    batch.cancel()
    assert batch.active
    FakeRun.started[-1].finished.emit(FakeRun.started[-1].results())
    assert states(batch) == [DONE, CANCELLED, CANCELLED] and not batch.active
    assert "b.seg.nrrd" not in results_in(folder)


@pytest.mark.parametrize("steps", [0, 1, 2, 3, 4])
def test_cancelling_between_studies(folder, supports, steps):
    batch = batch_of(folder_studies(folder), supports)
    batch.start()
    batch.loop.run(steps)
    batch.cancel()
    batch.loop.run()
    assert not batch.active and batch.heard[-1].total == 3 and StudyState.WAITING not in states(batch)


def test_a_slot_may_cancel(folder, supports):
    batch = batch_of(folder_studies(folder), supports)
    batch.changed.connect(lambda index, study: study.state is DONE and batch.cancel())
    batch.start()
    batch.loop.run()
    assert states(batch) == [DONE, CANCELLED, CANCELLED] and not batch.active


def test_what_cannot_start_says_why(folder, supports):
    for studies, drawings in (([], supports), (folder_studies(folder), [])):
        with pytest.raises(InputError) as caught:
            batch_of(studies, drawings).start()
        assert caught.value.advice
    batch = batch_of(folder_studies(folder), supports)
    batch.worker.busy = True
    with pytest.raises(WorkerError, match="running already"):
        batch.start()
    assert results_in(folder) == []


# Volumes of the scene


def node_named(name, seed=0):
    return volume_node(scan_array(seed), np.diag([-1.5, -1.5, 4.0, 1.0]), name)


def test_volumes_of_the_scene_are_saved_and_handed_over(tmp_path, supports):
    nodes, taken = [node_named("one", 1), node_named("two", 2)], []
    batch = run(
        scene_studies(nodes), supports, tmp_path, on_result=lambda node, found: taken.append((node, found))
    )
    assert states(batch) == [DONE, DONE] and [node for node, _ in taken] == nodes
    labelmap = read_labelmap(tmp_path / "two.seg.nrrd")
    assert np.array_equal(labelmap.array > 0, taken[1][1][0].mask.placed(labelmap.array.shape))
    assert np.allclose(labelmap.ijk_to_ras, np.diag([-1.5, -1.5, 4.0, 1.0]))


def test_volumes_without_a_file_need_a_folder_or_go_into_the_scene_only(tmp_path, supports):
    with pytest.raises(InputError, match="'one'"):
        batch_of(scene_studies([node_named("one")]), supports).start()
    taken = []
    batch = run(scene_studies([node_named("two")]), supports, on_result=lambda *found: taken.append(found))
    assert states(batch) == [DONE] and len(taken) == 1 and batch.studies[0].target is None


def test_results_lie_beside_the_file_of_a_volume_but_not_in_the_dicom_database(tmp_path, supports):
    file = write_image(tmp_path / "scan.nrrd", scan_array())
    nodes = []
    for _ in range(2):
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "loaded")
        node.AddDefaultStorageNode()
        node.GetStorageNode().SetFileName(str(file))
        assert node.GetStorageNode().ReadData(node)
        nodes.append(node)
    nodes[1].SetAttribute("DICOM.instanceUIDs", "1.2.3 1.2.4")
    batch = batch_of(scene_studies(nodes), supports)
    assert [study.target for study in batch.studies] == [tmp_path / "loaded.seg.nrrd", None]


def test_a_volume_that_is_removed_meanwhile_fails_alone(tmp_path, supports):
    nodes = [node_named("one"), node_named("two")]
    batch = batch_of(scene_studies(nodes), supports, tmp_path)
    batch.start()
    slicer.mrmlScene.RemoveNode(nodes[0])
    batch.loop.run()
    assert states(batch) == [FAILED, DONE] and batch.studies[0].detail


def test_an_error_of_the_scene_is_the_studys(tmp_path, supports):
    def refuse(_node, _results):
        raise OutputError("Slicer could not add a segment.", "Look into the log.")

    batch = run(scene_studies([node_named("one")]), supports, tmp_path, on_result=refuse)
    assert states(batch) == [FAILED] and "could not add a segment" in batch.studies[0].detail


# With the real run and worker


@pytest.mark.parametrize("trouble", ["none", "killed"])
def test_a_real_worker_segments_a_folder(folder, supports, trouble):
    from QNetSegmentLib.process.worker import Worker

    worker, ended, pids = Worker(FAKE), [], []
    batch = Batch(worker, supports, folder_studies(folder))
    batch.finished.connect(ended.append)
    worker.ready.connect(lambda ready: pids.append(ready.pid))

    def kill_once(index, _progress):
        if trouble == "killed" and index == 1 and len(pids) == 1:
            os.kill(pids.pop(), 9)

    batch.progress.connect(kill_once)
    try:
        batch.start()
        wait_until(lambda: ended)
    finally:
        worker.shutdown()
    expected = [DONE, DONE, DONE] if trouble == "none" else [DONE, FAILED, DONE]
    assert states(batch) == expected, [study.detail for study in batch.studies]
    found = read_labelmap(folder / "c.seg.nrrd").array
    assert np.array_equal(found > 0, normalise(read_volume(folder / "c.mha").array) > BRIGHT)


def test_studies_can_be_given_a_target(tmp_path, folder, supports):
    study = Study("mine", folder / "b.nii.gz", tmp_path / "elsewhere.seg.nrrd")
    batch = run([study, *folder_studies(folder)[:1]], supports)
    assert states(batch) == [DONE, DONE] and (tmp_path / "elsewhere.seg.json").is_file()
    assert study.origin == "b.nii.gz"
