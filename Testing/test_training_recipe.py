"""Recipes: what the project ships is read, what cannot be trained is refused in a sentence."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from qnetseg.errors import RecipeError
from qnetseg.training import Recipe, read_recipe
from qnetseg.training.recipe import AugmentationRecipe, DataRecipe, OptimiserRecipe

TRAINING = Path(__file__).resolve().parents[1] / "Training"
DATA = '[[data]]\nname = "chaos"\n'


@pytest.fixture
def write(tmp_path):
    def written(text):
        path = tmp_path / "mine.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return written


@pytest.mark.parametrize("path", sorted(TRAINING.glob("*.toml")), ids=lambda path: path.name)
def test_the_projects_recipes_are_read(path):
    recipe = read_recipe(path)
    assert recipe.name == path.stem
    assert recipe.data
    json.dumps(recipe.to_dict())


def test_a_recipe_of_the_data_alone_has_the_released_codes_defaults(write):
    recipe = read_recipe(write(DATA))
    assert recipe == Recipe(name="mine", data=(DataRecipe("chaos"),))
    assert (recipe.steps, recipe.precision, recipe.batch_norm) == (30000, "fp32", "train")
    assert recipe.optimiser == OptimiserRecipe("sgd", 1e-3, 0.9, 5e-4, "step", 0.98, 1000)
    assert recipe.augmentation == AugmentationRecipe((0.5, 1.5), 5.0, 5.0, 5.0, (0.9, 1.2), 10.0, 5.0, 0.0)


def test_every_section_is_read(write):
    recipe = read_recipe(
        write(
            'start = "random"\nsteps = 3\nseed = 4\n[model]\ndepth = 101\nalpha = 0.8\n'
            '[[data]]\nname = "chaos"\nfold = 1\nexclude = ["liver", "spleen"]\nexclude_rule = "all"\n'
            '[[data]]\nname = "cmr"\nshare = 2\n[episodes]\npairs = 2\n[augmentation]\ngamma = [1, 1]\n'
            '[optimiser]\nname = "adamw"\nclip = 1\n'
        )
    )
    assert (recipe.steps, recipe.seed, recipe.model.depth, recipe.model.alpha) == (3, 4, 101, 0.8)
    assert recipe.data == (
        DataRecipe("chaos", 1, exclude=("liver", "spleen"), exclude_rule="all"),
        DataRecipe("cmr", share=2),
    )
    assert (recipe.episodes.pairs, recipe.augmentation.gamma) == (2, (1, 1))
    assert (recipe.optimiser.name, recipe.optimiser.clip) == ("adamw", 1)


def test_overrides_replace_entries_and_every_fold(write):
    path = write(DATA + '[[data]]\nname = "cmr"\nfold = 3\n')
    recipe = read_recipe(path, {"steps": 7, "name": "trial", "fold": 2})
    assert (recipe.steps, recipe.name, [source.fold for source in recipe.data]) == (7, "trial", [2, 2])
    assert [source.fold for source in read_recipe(path).data] == [-1, 3]
    with pytest.raises(RecipeError, match="unknown entry 'stpes'"):
        read_recipe(path, {"stpes": 7})


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("steps = 10\n", "names no list of data"),
        ('[data]\nname = "chaos"\n', "names no list of data"),
        ('data = "chaos"\n', "names no list of data"),
        ("data = [1]\n", r"\[\[data\]\] is not a section"),
        ("[[data]]\nfold = 0\n", r"lacks the entry name in \[\[data\]\]"),
        ("[[data]]\nname = 3\n", r"entry name in \[\[data\]\] is 3"),
        ("steps = \n" + DATA, "not valid TOML"),
        ("speed = 1\n" + DATA, "unknown entry 'speed' in its top level"),
        ("[episodes]\nslices = 1\n" + DATA, r"unknown entry 'slices' in \[episodes\]"),
        ("model = 5\n" + DATA, r"\[model\] is not a section"),
        ("[model]\ndepth = 34\n" + DATA, "depth=34"),
        ('steps = "many"\n' + DATA, "entry steps in its top level is 'many'"),
        ("steps = 1.5\n" + DATA, "entry steps in its top level is 1.5"),
        ("steps = 0\n" + DATA, "entry steps in its top level is 0"),
        ("seed = true\n" + DATA, "entry seed in its top level is True"),
        ("[episodes]\npairs = 0\n" + DATA, "entry pairs"),
        ('[optimiser]\nrate = "fast"\n' + DATA, "entry rate"),
        ("[augmentation]\ngamma = 1.0\n" + DATA, "entry gamma"),
        ("[augmentation]\nscale = [1.0]\n" + DATA, "entry scale"),
        ('precision = "fp16"\n' + DATA, "entry precision is 'fp16'"),
        ('batch_norm = "off"\n' + DATA, "entry batch_norm"),
        ('[optimiser]\nschedule = "flat"\n' + DATA, "entry schedule"),
        ('[optimiser]\nname = "lion"\n' + DATA, "optimiser 'lion'"),
        (DATA + 'exclude_rule = "some"\n', "entry exclude_rule"),
        (DATA + 'scheme = "loose"\n', "entry scheme"),
        (DATA + 'exclude = "liver"\n', "entry exclude"),
    ],
)
def test_an_impossible_recipe_is_refused(write, text, sentence):
    with pytest.raises(RecipeError, match=sentence) as caught:
        read_recipe(write(text))
    assert caught.value.message.endswith(".") or "TOML" in caught.value.message
    assert caught.value.advice.endswith(".")


def test_unreadable_files_are_refused(tmp_path):
    with pytest.raises(RecipeError, match="cannot be read"):
        read_recipe(tmp_path / "none.toml")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(RecipeError, match="not valid TOML"):
        read_recipe(tmp_path / "binary.toml")
