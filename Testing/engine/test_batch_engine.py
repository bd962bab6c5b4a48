"""A study of a batch by the engine that users get, with networks that need no training."""

from __future__ import annotations

import json

import numpy as np
import pytest

from qnetseg.batch import Example, Plan, Study, StudyState, folder_studies, plan_targets, rows_of
from qnetseg.batch import engine as of_batch
from qnetseg.batch.run_study import Runner
from qnetseg.segment import segment_volume
from qnetseg.volume import read_labelmap, read_volume, support_from_mask
from support.cli_bed import drawing_array, scan_array, write_image
from support.seg_bed import write_frames
from support.walker_network import simple_networks


@pytest.fixture
def asked(monkeypatch):
    """What `segment_volume` is asked for; the networks are loaded once."""
    networks, calls = simple_networks(), []
    monkeypatch.setattr(of_batch.Backend, "networks", lambda self, model: networks)

    def noting(support, query, *rest, **named):
        calls.append((support, query, named))
        return segment_volume(support, query, *rest, **named)

    monkeypatch.setattr(of_batch, "segment_volume", noting)
    return calls


@pytest.fixture
def place(tmp_path):
    """A folder with two patients; the first is drawn on."""
    (tmp_path / "studies").mkdir()
    for number in range(2):
        write_image(tmp_path / "studies" / f"p{number}.nii.gz", scan_array(number))
    return tmp_path


def drawn(place, number=0, whole=True, label=1):
    path = place / "studies" / f"p{number}.nii.gz"
    support = support_from_mask(read_volume(path), drawing_array() == label, name=f"label {label}")
    return Example(support, path if whole else None)


def run(place, plan):
    studies = folder_studies(place / "studies")
    plan_targets(studies, place)
    runner = Runner(plan)
    for study in studies:
        ended = runner(study)
        study.state, study.detail = ended.state, ended.detail + ended.log
    return studies


def test_the_volume_that_was_drawn_on_and_another_patient(place, asked):
    studies = run(place, Plan(((drawn(place),), (drawn(place, label=2),)), options={"threads": 1}))
    assert [study.state for study in studies] == [StudyState.DONE] * 2, [study.detail for study in studies]
    own = read_labelmap(place / "p0.seg.nrrd").array
    assert np.array_equal(own[3], drawing_array()[3]), "the drawn slice is kept as it was drawn"
    assert [support.patient is None for support, _, _ in asked] == [True, True, False, False]
    assert asked[2][0].patient.image is asked[3][0].patient.image, "one patient for both structures"
    assert asked[0][1] is asked[1][1], "and so is the study"
    report = json.loads((place / "p0.seg.json").read_text())
    assert report["recipe"]["options"] == {} and report["recipe"]["whole"] == [True, True]
    rows = rows_of(studies[0])
    assert [row.structure for row in rows] == ["label 1", "label 2"]
    assert 3 not in rows[0].least_sure_slices and len(rows[0].least_sure_slices) == 3


def test_examples_of_several_patients_help_together_and_the_studys_own_is_kept(place, asked):
    both = (drawn(place), drawn(place, 1, whole=False))
    studies = run(place, Plan((both,), options={"threads": 1}))
    assert [study.state for study in studies] == [StudyState.DONE] * 2, [study.detail for study in studies]
    heard = [{one.volume_id for one in (support, *named["further"])} for support, _, named in asked]
    assert heard == [{example.support.volume_id for example in both}] * 2
    for number in range(2):  # each was drawn on, and its drawing is kept
        assert np.array_equal(read_labelmap(place / f"p{number}.seg.nrrd").array[3], drawing_array()[3] == 1)


def test_a_volume_that_was_not_drawn_on_is_refused_in_a_sentence(place, asked):
    wrong = Example(drawn(place).support, place / "studies" / "p1.nii.gz")
    studies = run(place, Plan(((wrong,),), options={"threads": 1}))
    assert studies[1].state is StudyState.FAILED and "was not drawn on the volume" in studies[1].detail


def test_options_that_do_not_exist_fail_the_study(place):
    study = Study("p0", place / "studies" / "p0.nii.gz", place / "p0.seg.nrrd")
    ended = Runner(Plan(((drawn(place),),), options={"speed": "high"}))(study)
    assert ended.state is StudyState.FAILED and "There is no option 'speed'" in ended.detail


def test_a_dicom_series_gets_a_dicom_segmentation_and_other_studies_none(place, asked):
    pytest.importorskip("highdicom", reason="the extra `dicom` is not installed")
    write_frames(place / "studies" / "frames" / "e", [1, 0, 2, 3, 5, 4])
    studies = run(place, Plan(((drawn(place),),), options={"threads": 1}, dicom=True))
    assert [study.state for study in studies] == [StudyState.DONE] * 3, [study.detail for study in studies]
    assert [path.name for path in place.glob("*.dcm")] == ["frames.seg.dcm"]
    assert not any(study.detail for study in studies)
