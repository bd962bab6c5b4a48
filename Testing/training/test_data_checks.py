"""What `qnetseg data validate` says of a bad data set, and that training says it before it starts."""

from __future__ import annotations

import dataclasses
import json
import re

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from golden import dataset as tiny
from qnetseg.cli import main
from qnetseg.errors import DatasetError
from qnetseg_lab.data import CATALOGUE, Description, dataset
from qnetseg_lab.training.checks import dataset_problems
from qnetseg_lab.training.episodes import load_cases
from qnetseg_lab.training.recipe import DataRecipe, EpisodeRecipe

RECIPE = EpisodeRecipe(min_pixels=20)
IMAGES, SUPERVOXELS = "CHAOST2/chaos_MR_T2_normalized", "CHAOST2/supervoxels_5000"


@pytest.fixture
def chaos(tmp_path, monkeypatch):
    tiny.write_chaos(tmp_path, cases=10)
    monkeypatch.setenv("QNETSEG_DATA", str(tmp_path))
    return tmp_path


def image_of(shape=(4, 32, 32)):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def write(path, array, spacing=1.25):
    image = sitk.GetImageFromArray(array)
    image.SetSpacing((spacing, spacing, 7.7))
    sitk.WriteImage(image, str(path))


def with_nan():
    array = image_of()
    array[1, 2, 3] = np.nan
    return array


def problems():
    return list(dataset_problems(dataset("chaos"), RECIPE))


def test_a_good_data_set_has_no_problems(chaos, capsys):
    assert problems() == []
    assert main(["data", "validate", "chaos", "--min-pixels", "20"]) == 0
    assert capsys.readouterr().out == "chaos: 10 cases, 0 problems\n"


@pytest.mark.parametrize(
    ("file", "array", "sentence"),
    [
        ("image_3", np.full((4, 32, 32), 7, np.float32), "image_3.nii.gz cannot be used: .*constant"),
        ("image_3", with_nan(), "image_3.nii.gz cannot be used: .*NaN"),
        ("image_3", image_of((4, 30, 32)), "image_3.nii.gz has slices of 30 x 32 pixels"),
        ("image_3", image_of((1, 32, 32)), "image_3.nii.gz has a single slice"),
        ("label_3", tiny.organs()[:3], r"label file label_3.nii.gz has shape \(3, 32, 32\), the image \(4"),
        ("label_3", tiny.organs() * 2, "label_3.nii.gz has the label 8, which is not in the data set's list"),
        ("label_3", tiny.organs() + 0.5, "label_3.nii.gz cannot be used: .*not whole numbers"),
        ("superpix-MIDDLE_3", np.zeros((4, 32, 32), np.int16), "superpix-MIDDLE_3.nii.gz is empty"),
        ("superpix-MIDDLE_3", -tiny.supervoxels(), "superpix-MIDDLE_3.nii.gz has negative labels"),
        (
            "superpix-MIDDLE_3",
            tiny.supervoxels()[:, :8],
            "superpix-MIDDLE_3.nii.gz has shape",
        ),
        (
            "superpix-MIDDLE_3",
            np.arange(4096, dtype=np.int16).reshape(4, 32, 32),
            "superpix-MIDDLE_3.nii.gz has no supervoxel of 20 pixels on two adjacent slices",
        ),
    ],
)
def test_every_problem_has_a_sentence_with_the_file(chaos, file, array, sentence):
    folder = chaos / (SUPERVOXELS if file.startswith("super") else IMAGES)
    write(folder / f"{file}.nii.gz", array)
    found = problems()
    assert any(re.search(sentence, line) for line in found), found
    assert all("_3.nii.gz" in line for line in found)
    with pytest.raises(DatasetError, match=r"_3\.nii\.gz"):
        load_cases(DataRecipe("chaos"), RECIPE, torch.device("cpu"))


@pytest.mark.parametrize(
    "file", [f"{IMAGES}/image_3", f"{IMAGES}/label_3", f"{SUPERVOXELS}/superpix-MIDDLE_3"]
)
def test_missing_and_damaged_files(chaos, file):
    path = chaos / f"{file}.nii.gz"
    path.write_bytes(path.read_bytes()[:-20])
    assert [f"{path.name} cannot be used" in line for line in problems()] == [True]
    path.unlink()
    if not path.name.startswith("image"):  # a missing number is no case at all
        assert [f"{path.name} is missing" in line for line in problems()] == [True]


def test_pixels_of_another_size(chaos):
    write(chaos / IMAGES / "image_3.nii.gz", image_of(), spacing=1.5)
    assert problems() == ["chaos: image_3.nii.gz has pixels of 1.5 x 1.5 mm, not of 1.25 mm."]


def test_a_single_slice_is_enough_for_itself_and_computed_supervoxels_need_no_file(chaos):
    write(chaos / IMAGES / "image_3.nii.gz", image_of((1, 32, 32)))
    write(chaos / IMAGES / "label_3.nii.gz", tiny.organs()[:1])
    write(chaos / SUPERVOXELS / "superpix-MIDDLE_3.nii.gz", tiny.supervoxels()[:1])
    data = dataset("chaos")
    assert list(dataset_problems(data, EpisodeRecipe(min_pixels=20, partner="same"))) == []
    (line,) = dataset_problems(data, EpisodeRecipe(min_pixels=200, partner="same"))
    assert "no supervoxel of 200 pixels on a slice" in line
    for path in (chaos / SUPERVOXELS).iterdir():
        path.unlink()
    assert list(dataset_problems(data, EpisodeRecipe(supervoxels="felzenszwalb", partner="same"))) == []


def test_folds_that_cannot_be_scored(tmp_path, monkeypatch, capsys):
    tiny.write_chaos(tmp_path, cases=6)
    monkeypatch.setenv("QNETSEG_DATA", str(tmp_path))
    assert [line.split(" of ")[0] for line in problems()] == [f"chaos: fold {n} has 1" for n in range(1, 5)]
    assert main(["data", "validate", "chaos", "--min-pixels", "20", "--json"]) == 1
    content = json.loads(capsys.readouterr().out)
    assert (content["dataset"], content["cases"], len(content["problems"])) == ("chaos", 6, 4)


def test_a_fold_that_leaves_nothing_to_train_on(tmp_path, monkeypatch):
    tiny.write_chaos(tmp_path, cases=5)
    monkeypatch.setenv("QNETSEG_DATA", str(tmp_path))
    with pytest.raises(DatasetError, match="no case for training beside fold 0"):
        load_cases(DataRecipe("chaos", fold=0), RECIPE, torch.device("cpu"))


def test_unknown_sets_folds_and_damaged_descriptions(tmp_path):
    with pytest.raises(DatasetError, match="There is no data set 'lungs'"):
        dataset("lungs")
    with pytest.raises(DatasetError, match="no fold 5"):
        dataclasses.replace(CATALOGUE["chaos"], cases=("1", "2")).fold(5)
    for text in ("{", "[]", '{"format": 1}', '{"format": 2, "cases": [], "labels": {}}'):
        (tmp_path / "dataset.json").write_text(text)
        with pytest.raises(DatasetError, match="cannot be read"):
            dataset(str(tmp_path))


def test_a_description_survives_its_file(tmp_path):
    description = Description("mine", {"liver": 1}, 2.0, None, ())
    description.write(tmp_path)
    assert Description.read(tmp_path) == description
