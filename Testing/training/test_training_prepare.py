"""One's own studies become a data set: found, turned, resampled, kept, and left out where unusable."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from qnetseg.cli import main
from qnetseg.errors import DatasetError, InputError
from qnetseg.volume import LabelMap, SegmentInfo, Volume, canonical, write_labelmap, write_volume
from qnetseg_lab.data import dataset
from qnetseg_lab.training import Recipe, Trainer
from qnetseg_lab.training.checks import require_spacing
from qnetseg_lab.training.episodes import load_cases
from qnetseg_lab.training.own_studies import find_studies
from qnetseg_lab.training.preparation import Preparation, prepare_studies, slice_axis, to_training_grid
from qnetseg_lab.training.recipe import DataRecipe, EpisodeRecipe
from support.dicom_series import write_series

SETTINGS = Preparation(spacing=2.0, size=32, supervoxel_size=60)
RAS = np.diag([-2.0, -2.0, 6.0, 1.0])  # i to left, j to posterior, k to superior


def phantom(shape=(4, 40, 36), seed=0):
    """A body of two tissues beside the middle of the image, and labels in it."""
    array = np.random.default_rng(seed).uniform(0, 2, shape).astype(np.float32)
    array[:, 14:34, 4:14] += 60
    array[:, 14:34, 14:24] += 120
    labels = np.zeros(shape, np.int32)
    labels[:2, 18:24, 6:12] = 1
    return array, labels


def write_study(folder, name, matrix=RAS, labelled=True, segments=(), seed=0):
    array, labels = phantom(seed=seed)
    folder.mkdir(exist_ok=True, parents=True)
    write_volume(folder / f"{name}.nrrd", Volume(array, matrix, name))
    if labelled:
        ending = ".seg.nrrd" if segments else "_seg.nii.gz"
        write_labelmap(folder / f"{name}{ending}", LabelMap(labels, matrix, segments))


def prepare(source, output, **arguments):
    return prepare_studies(
        find_studies(source), output, arguments.pop("settings", SETTINGS), report=lambda _: None, **arguments
    )


def test_studies_are_files_and_series_with_the_labels_beside_them(tmp_path):
    write_study(tmp_path, "a b")
    write_study(tmp_path / "site", "c", segments=(SegmentInfo(1, "liver", (1, 0, 0)),))
    write_series(tmp_path / "d")
    write_labelmap(tmp_path / "d_seg.nii.gz", LabelMap(phantom()[1], RAS, ()))
    (tmp_path / "notes.txt").write_text("nothing")
    found = find_studies(tmp_path)
    assert [study.name for study in found] == ["a-b", "d", "site-c"]
    assert [study.labels.name for study in found] == ["a b_seg.nii.gz", "d_seg.nii.gz", "c.seg.nrrd"]
    assert found[1].image.is_dir() and len(found[1].stamp()) == 6


def test_folders_without_studies_and_names_that_collide_are_refused(tmp_path):
    with pytest.raises(DatasetError, match="does not exist"):
        find_studies(tmp_path / "none")
    with pytest.raises(DatasetError, match="no studies"):
        find_studies(tmp_path)
    write_study(tmp_path, "a", labelled=False)
    (tmp_path / "a.mha").write_bytes(b"x")
    with pytest.raises(DatasetError, match="both be called a"):
        find_studies(tmp_path)


def world(matrix, voxel):
    """RAS in mm of a (k, j, i) voxel."""
    return (matrix @ [*voxel[::-1], 1.0])[:3]


@settings(max_examples=25, deadline=None)
@given(
    axes=st.permutations([0, 1, 2]),
    flips=st.tuples(*[st.booleans()] * 3),
    spacing=st.sampled_from([1.0, 1.5, 2.0, 2.7]),
)
def test_a_mark_stays_where_it_is_in_the_patient(axes, flips, spacing):
    array, labels = phantom()
    labels[:] = 0
    labels[2, 20:23, 8:11] = 7
    order = [*(2 - axis for axis in reversed(axes)), 3]
    turned = [np.transpose(a, axes) for a in (array, labels)]
    matrix = RAS[:, order]
    for axis, flip in enumerate(flips):
        if flip:
            turned = [np.flip(a, axis) for a in turned]
            matrix = matrix.copy()
            matrix[:3, 3] += matrix[:3, 2 - axis] * (turned[0].shape[axis] - 1)
            matrix[:3, 2 - axis] *= -1
    made = Preparation(spacing=spacing, size=32)
    image, marks = to_training_grid(Volume(turned[0], matrix), LabelMap(turned[1], matrix, ()), made)
    assert image.shape == (4, 32, 32) and image.spacing[0] == pytest.approx(6)
    assert image.spacing[1] == pytest.approx(max(spacing, 20 * 2 / 32))
    centre = np.argwhere(marks.array == 7).mean(axis=0)
    distance = world(image.ijk_to_ras, centre) - world(RAS, (2, 21, 9))
    assert np.abs(distance).max() <= image.spacing[1] / 2 + 1e-6
    assert canonical(image)[1].axes == (0, 1, 2) and not any(canonical(image)[1].flips)
    body = np.argwhere((image.array > 30).any(axis=0))
    assert np.abs((body.min(axis=0) + body.max(axis=0)) / 2 - 15.5).max() <= 1.5


def test_the_histogram_is_cut_and_equal_grids_are_copied():
    array, _ = phantom((4, 32, 32))
    array[0, 20, 20] = 1e6
    image, labels = to_training_grid(Volume(array, RAS), None, SETTINGS)
    assert labels is None and image.array.max() < 200
    assert set(np.unique(image.array)) <= set(np.unique(array))


@pytest.mark.parametrize(
    ("spacing", "axis"), [((7.7, 1, 1), 0), ((1, 8, 1.3), 1), ((1, 1, 5), 2), ((1, 1.2, 1), 0)]
)
def test_slices_follow_the_thick_axis(spacing, axis):
    assert slice_axis(spacing) == axis


def test_a_prepared_folder_is_a_data_set_that_training_takes(tmp_path):
    for number in range(6):
        write_study(tmp_path / "raw", f"p{number}", labelled=number != 5, seed=number)
    write_series(tmp_path / "raw" / "series", shape=(4, 24, 24))
    made = prepare(tmp_path / "raw", tmp_path / "out", labels={"liver": 1})
    assert (made.ready, made.kept, made.problems) == (7, 0, ())
    data = dataset(str(tmp_path / "out"))
    assert data.case_names() == [*(f"p{n}" for n in range(6)), "series"]
    assert data.labels == {"liver": 1} and data.unlabelled == {"p5", "series"}
    case = data.load("p0")
    assert case.image.shape == case.labels.shape == case.supervoxels.shape == (4, 32, 32)
    assert set(np.unique(case.labels)) == {0, 1} and not data.load("p5").labels.any()
    folds = [data.fold(index, "strict") for index in range(5)]
    assert sorted(name for fold in folds for name in fold) == data.case_names()
    with pytest.raises(DatasetError, match="no released folds"):
        data.fold(0)
    source = DataRecipe(str(tmp_path / "out"), fold=0, scheme="strict")
    cases = load_cases(source, EpisodeRecipe(min_pixels=20), torch.device("cpu"))
    assert [case.name for case in cases] == [f"out case {name}" for name in data.case_names()[2:]]
    unseen = dataclasses.replace(source, exclude=("liver",))
    with pytest.raises(DatasetError, match="case p5 has no labels"):
        load_cases(unseen, EpisodeRecipe(min_pixels=20), torch.device("cpu"))


def test_a_study_is_prepared_once_and_again_when_it_changed(tmp_path):
    raw, out = tmp_path / "raw", tmp_path / "out"
    for name in "ab":
        write_study(raw, name)
    assert prepare(raw, out).kept == 0
    before = (out / "images" / "a.nii.gz").stat().st_mtime_ns
    assert prepare(raw, out).kept == 2
    assert (out / "images" / "a.nii.gz").stat().st_mtime_ns == before
    write_study(raw, "b", seed=3)
    assert prepare(raw, out).kept == 1
    (out / "studies" / "a.json").write_text("{")
    assert prepare(raw, out).kept == 1
    for part in ("images", "labels", "supervoxels"):
        lost = out / part / "a.nii.gz"
        lost.unlink()
        assert prepare(raw, out).kept == 1 and lost.is_file()
    assert prepare(raw, out, settings=Preparation(2.0, 32, 61)).kept == 0


def test_a_model_works_at_the_spacing_that_was_asked_for(tmp_path):
    write_study(tmp_path / "raw", "a")
    prepare(tmp_path / "raw", tmp_path / "out")
    data = dataset(str(tmp_path / "out"))
    assert data.spacing == 2.0
    require_spacing(data, 2.0)
    with pytest.raises(DatasetError, match=r"out has pixels of 2 mm, .* works at 1\.25 mm") as caught:
        require_spacing(data, 1.25)
    assert "--set model.spacing=2," in caught.value.advice
    source = DataRecipe(str(tmp_path / "out"))
    recipe = Recipe("mine", data=(source,), episodes=EpisodeRecipe(min_pixels=20))
    with pytest.raises(DatasetError, match="works at"):
        Trainer(recipe, tmp_path / "run", torch.device("cpu"))


def test_a_bad_study_is_named_and_does_not_stop_the_others(tmp_path):
    raw = tmp_path / "raw"
    write_study(raw, "good")
    write_study(raw, "cut", labelled=False)
    file = raw / "cut.nrrd"
    file.write_bytes(file.read_bytes()[:-300])
    write_volume(raw / "flat.nrrd", Volume(np.full((4, 40, 36), 3, np.float32), RAS))
    write_volume(raw / "single.nrrd", Volume(phantom((1, 40, 36))[0], RAS))
    write_study(raw, "moved", labelled=False)
    write_labelmap(raw / "moved_seg.nrrd", LabelMap(phantom((4, 9, 9))[1], np.diag([1.0, 1, 1, 1]), ()))
    sheared = RAS.copy()
    sheared[1, 2] = 1.0
    write_study(raw, "tilted", sheared, labelled=False)
    made = prepare(raw, tmp_path / "out")
    assert made.ready == 1
    reasons = {
        "cut": "could not be read",
        "flat": "constant",
        "moved": "does not belong",
        "single": "a single slice",
        "tilted": "not perpendicular",
    }
    assert [problem.split(":")[0] for problem in made.problems] == list(reasons)
    for problem, reason in zip(made.problems, reasons.values(), strict=True):
        assert reason in problem
    (raw / "good.nrrd").unlink()
    with pytest.raises(DatasetError, match="No study could be prepared"):
        prepare(raw, tmp_path / "other")


def test_names_of_labels_come_from_the_files_and_must_agree(tmp_path):
    raw = tmp_path / "raw"
    write_study(raw, "a")
    write_study(raw, "b", segments=(SegmentInfo(1, "liver", (1, 0, 0)),))
    write_study(raw, "c", segments=(SegmentInfo(1, "spleen", (1, 0, 0)),))
    made = prepare(raw, tmp_path / "out")
    assert made.problems == ("c: It has 'spleen' as label 1, which other studies contradict.",)
    assert dataset(str(tmp_path / "out")).labels == {"liver": 1}


@pytest.mark.parametrize("bad", [{"spacing": 0.0}, {"size": 30}, {"supervoxel_size": 0}])
def test_impossible_numbers_are_refused(bad):
    with pytest.raises(InputError):
        Preparation(**bad)


def test_the_commands(tmp_path, capsys):
    raw, out = tmp_path / "raw", tmp_path / "out"
    for number in range(2):
        write_study(raw, f"p{number}")
    command = ["data", "prepare", str(raw), "--output"]
    assert main([*command, str(raw / "inside")]) == 2
    assert "among the studies" in capsys.readouterr().err
    arguments = [*command, str(out), "--label", "liver=1", "--supervoxel-size", "60"]
    assert main(arguments) == 0
    assert "2 ready (0 from before), 0 left out" in capsys.readouterr().out
    assert main([*arguments, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"ready": 2, "kept": 2, "problems": []}
    assert main([*arguments, "--label", "liver"]) == 2
    (raw / "p2.nrrd").write_bytes(b"x")
    assert main(arguments) == 1
    assert "left out   p2:" in capsys.readouterr().out
    assert main(["data", "validate", str(out), "--min-pixels", "20"]) == 1
    assert "fold 0 has 1 of 2 cases" in capsys.readouterr().out
