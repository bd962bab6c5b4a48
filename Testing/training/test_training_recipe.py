"""Recipes: what the project ships is read, what cannot be trained is refused in a sentence."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from qnetseg.cli import main
from qnetseg.errors import RecipeError
from qnetseg_lab.baselines import METHODS
from qnetseg_lab.training import PropagationRecipe, Recipe, parse_setting, read_recipe
from qnetseg_lab.training.recipe import AugmentationRecipe, DataRecipe, OptimiserRecipe

TRAINING = Path(__file__).resolve().parents[2] / "Training"
DATA = '[[data]]\nname = "chaos"\n'


@pytest.fixture
def write(tmp_path):
    def written(text):
        path = tmp_path / "mine.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return written


@pytest.mark.parametrize("path", sorted((TRAINING / "recipes").glob("*.toml")), ids=lambda path: path.name)
def test_the_projects_recipes_are_read(path):
    recipe = read_recipe(path)
    assert recipe.name == path.stem
    assert recipe.volumes if isinstance(recipe, PropagationRecipe) else recipe.data
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
    ("text", "key", "value"),
    [
        ("model.depth=101", "model.depth", 101),
        (" steps = 7 ", "steps", 7),
        ("optimiser.rate=2e-4", "optimiser.rate", 2e-4),
        ("episodes.crop=192", "episodes.crop", 192),
        ("model.paths=coarse", "model.paths", "coarse"),
        ('model.paths="coarse"', "model.paths", "coarse"),
        ("start=torchvision:resnet50.IMAGENET1K_V2", "start", "torchvision:resnet50.IMAGENET1K_V2"),
        ('data.chaos.exclude=["liver", "spleen"]', "data.chaos.exclude", ["liver", "spleen"]),
    ],
)
def test_settings_of_the_command_line(text, key, value):
    assert parse_setting(text) == (key, value)


@pytest.mark.parametrize(
    "text", ["steps", "steps=", "=7", "a..b=1", "data.exclude=[liver]", "steps=1\nseed=2", "a=[1", "a b=1"]
)
def test_a_setting_of_another_form_is_refused(text):
    with pytest.raises(RecipeError, match="not of the form") as caught:
        parse_setting(text)
    assert "model.depth=101" in caught.value.advice


def test_overrides_reach_every_section_and_source(write):
    path = write(DATA + '[[data]]\nname = "cmr"\n[model]\nalpha = 0.8\n')
    recipe = read_recipe(
        path,
        {
            "model.depth": 101,
            "episodes.pairs": 3,
            "augmentation.scale": [1, 1],
            "optimiser.rate": 0.5,
            "method": "senet",
            "scheme": "strict",
            "data.share": 2,
            "data.chaos.exclude": ["liver"],
            "data.chaos.fold": 4,
        },
    )
    assert (recipe.model.depth, recipe.model.alpha, recipe.method) == (101, 0.8, "senet")
    assert (recipe.episodes.pairs, recipe.augmentation.scale, recipe.optimiser.rate) == (3, (1, 1), 0.5)
    assert recipe.data == (
        DataRecipe("chaos", fold=4, scheme="strict", share=2, exclude=("liver",)),
        DataRecipe("cmr", scheme="strict", share=2),
    )


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        ("modle.depth", 101, "no section 'modle'"),
        ("data.knee.fold", 1, r"no section 'data\.knee'"),
        ("data.chaos.x.fold", 1, r"no section 'data\.chaos\.x'"),
        ("model.dept", 101, r"unknown entry 'dept' in \[model\]"),
        ("data.folds", 1, r"unknown entry 'folds' in \[\[data\]\]"),
        ("scheme", "loose", "entry scheme is 'loose'"),
        ("fold", "first", "entry fold"),
        ("model", 5, r"\[model\] is not a section"),
        ("method", "unet", "entry method is 'unet'"),
        ("episodes.partner", "next", "entry partner is 'next'"),
    ],
)
def test_an_impossible_override_is_refused(write, key, value, sentence):
    with pytest.raises(RecipeError, match=sentence):
        read_recipe(write(DATA), {key: value})


def test_an_override_does_not_hide_a_broken_section(write):
    with pytest.raises(RecipeError, match=r"\[model\] is not a section"):
        read_recipe(write("model = 5\n" + DATA), {"model.depth": 50})


def test_the_baselines_recipes_differ_from_the_default_only_in_the_method():
    default = read_recipe(TRAINING / "recipes" / "default.toml").to_dict()
    shared = ("start", "steps", "seed", "precision", "batch_norm", "data", "augmentation", "optimiser")
    for name in sorted(set(METHODS) - {"qnet"}):
        recipe = read_recipe(TRAINING / "recipes" / f"{name}.toml").to_dict()
        assert recipe["method"] == name
        assert {key: recipe[key] for key in shared} == {key: default[key] for key in shared}
        own = {"alpnet": {"supervoxels": "superpixels", "partner": "same"}}.get(name, {})
        assert recipe["episodes"] == {**default["episodes"], **own}
        for key in ("depth", "input_scale", "input_shift", "spacing", "size"):
            assert recipe["model"][key] == default["model"][key]


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
        ('method = "unet"\n' + DATA, "entry method is 'unet'"),
        ('[episodes]\nsupervoxels = "none"\n' + DATA, "entry supervoxels"),
        (DATA + 'exclude = "liver"\n', "entry exclude"),
        (DATA + "exclude = [1]\n", "entry exclude"),
        (DATA + "fold = 5\n", "entry fold"),
        (DATA + "fold = -2\n", "entry fold"),
        (DATA + "share = -1\n", "entry share"),
        (DATA + "share = 0\n", "leaves out all of its data"),
        ("seed = -1\n" + DATA, "entry seed"),
        ("[episodes]\nmin_pixels = 0\n" + DATA, "entry min_pixels"),
        ("[optimiser]\nwarmup = -1\n" + DATA, "entry warmup"),
        ("[optimiser]\nrate = nan\n" + DATA, "entry rate in .* is nan"),
        ("[optimiser]\nrate = inf\n" + DATA, "entry rate in .* is inf"),
        ("[optimiser]\nrate = 0\n" + DATA, "entry rate"),
        ("[optimiser]\nmomentum = 1.1\n" + DATA, "entry momentum"),
        ("[optimiser]\ndecay = -0.1\n" + DATA, "entry decay"),
        ("[optimiser]\ngamma = 0\n" + DATA, "entry gamma"),
        ("[optimiser]\nclip = -1\n" + DATA, "entry clip"),
        ("[augmentation]\nflip_rows = 1.5\n" + DATA, "entry flip_rows"),
        ("[augmentation]\nrotate = -5\n" + DATA, "entry rotate"),
        ("[augmentation]\nshear = 90\n" + DATA, "entry shear"),
        ("[augmentation]\nscale = [0, 1]\n" + DATA, "entry scale"),
        ("[augmentation]\nscale = [1.2, 0.9]\n" + DATA, "entry scale"),
        ("[augmentation]\ngamma = [0.5, nan]\n" + DATA, "entry gamma"),
        ('[augmentation]\ngamma = [0.5, "high"]\n' + DATA, "entry gamma"),
        ("[model]\nalpha = 1.5\n" + DATA, "alpha=1.5, which is not a number from 0 to 1"),
        ("[model]\nsize = 100\n" + DATA, "edge of 100 pixels"),
        ("[model]\nspacing = 0\n" + DATA, "spacing=0,"),
        ("[model]\nfeature_channels = 0\n" + DATA, "feature_channels=0,"),
    ],
)
def test_an_impossible_recipe_is_refused(write, text, sentence):
    with pytest.raises(RecipeError, match=sentence) as caught:
        read_recipe(write(text))
    assert caught.value.message.endswith(".") or "TOML" in caught.value.message
    assert caught.value.advice.endswith(".")


def test_what_an_entry_may_be_is_said(write):
    for text, advice in (
        ("[optimiser]\nwarmup = -1\n", "Write a whole number of at least 0."),
        ("[optimiser]\nrate = 0.0\n", "Write a number above 0."),
        ("[augmentation]\nflip_rows = 2\n", "Write a number of at least 0 and at most 1."),
        ("[augmentation]\nscale = [2, 1]\n", "Write a list of two rising numbers above 0."),
    ):
        with pytest.raises(RecipeError) as caught:
            read_recipe(write(text + DATA))
        assert caught.value.advice == advice


def test_a_source_without_a_share_is_left_out(write):
    path = write(DATA + '[[data]]\nname = "cmr"\n')
    assert read_recipe(path, {"data.cmr.share": 0}).data == (DataRecipe("chaos"),)


def test_unreadable_files_are_refused(tmp_path):
    with pytest.raises(RecipeError, match="cannot be read"):
        read_recipe(tmp_path / "none.toml")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(RecipeError, match="not valid TOML"):
        read_recipe(tmp_path / "binary.toml")


def test_the_command_line_sets_what_a_recipe_says(tmp_path, monkeypatch):
    made = []

    class FakeTrainer:
        def __init__(self, recipe, folder, device, report):
            made.append(recipe)

        def run(self):
            pass

    monkeypatch.setattr("qnetseg_lab.training.Trainer", FakeTrainer)
    options = ["--scheme", "strict", "--steps", "7", "--set", "model.downsample_layer=3", "--set", "steps=9"]
    options += ["--set", "data.chaos.exclude=['liver']", "--output", str(tmp_path / "run"), "--device", "cpu"]
    assert main(["train", "default", *options]) == 0
    (recipe,) = made
    assert (recipe.steps, recipe.model.downsample_layer) == (7, 3)  # an option of its own comes first
    assert {(source.scheme, source.exclude) for source in recipe.data} == {
        ("strict", ("liver",)),
        ("strict", ()),
    }
    assert main(["train", "default", "--set", "depth", "--output", str(tmp_path / "other")]) == 2
    assert not (tmp_path / "other").exists()


def test_a_recipe_of_the_propagation_network_has_its_own_defaults(write):
    recipe = read_recipe(write('method = "propagation"\n[optimiser]\nrate = 1e-3\n'))
    usual = PropagationRecipe("mine")
    assert recipe == dataclasses.replace(usual, optimiser=dataclasses.replace(usual.optimiser, rate=1e-3))
    assert recipe.optimiser.name == "adamw"
    shipped = read_recipe(TRAINING / "recipes" / "propagation.toml")  # its entries are written out
    assert shipped == PropagationRecipe("propagation", steps=shipped.steps)


def test_settings_reach_every_section_of_the_propagation_network(write):
    settings = ["windows.real=0.5", "windows.sides=[32, 48]", "windows.often=[1, 0.5]", "seed=3", "batches=2"]
    settings += ["model.widths=[8, 8, 8, 8, 8]", "optimiser.clip=0", "volumes=['open', 'cmr']", "name=trial"]
    recipe = read_recipe(TRAINING / "recipes" / "propagation.toml", dict(map(parse_setting, settings)))
    assert (recipe.windows.real, recipe.windows.sides, recipe.windows.often) == (0.5, (32, 48), (1, 0.5))
    assert (recipe.seed, recipe.batches, recipe.name) == (3, 2, "trial")
    assert (recipe.model.widths, recipe.optimiser.clip) == ((8,) * 5, 0)
    assert recipe.volumes == ("open", "cmr")
    assert read_recipe(TRAINING / "recipes" / "propagation.toml", {"volumes": []}).volumes == ()
    json.dumps(recipe.to_dict())


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        ("fold", 1, "trained without folds"),
        ("scheme", "strict", "trained without folds"),
        ("steps", 0, "entry steps"),
        ("batches", 0, "entry batches"),
        ("batches", 1.5, "entry batches"),
        ("precision", "fp16", "entry precision"),
        ("volumes", "open", "entry volumes"),
        ("volumes", [1], "entry volumes"),
        ("volumes", ["lungs"], "no source of volumes 'lungs'"),
        ("start", 3, "entry start"),
        ("data.chaos.share", 1, r"no section 'data\.chaos'"),
        ("episodes.pairs", 1, "no section 'episodes'"),
        ("batch_norm", "frozen", "unknown entry 'batch_norm'"),
        ("windows", 3, r"\[windows\] is not a section"),
        ("windows.size", 3, r"unknown entry 'size' in \[windows\]"),
        ("windows.voxels", 0, "entry voxels"),
        ("windows.voxels", "many", "entry voxels"),
        ("windows.sides", [40], "edges \\[40\\]"),
        ("windows.sides", [], "edges \\[\\]"),
        ("windows.sides", 64, "entry sides"),
        ("windows.sides", [64.0, 96, 128], "entry sides"),
        ("windows.often", [1.0], "takes 3 edges"),
        ("windows.often", [0, 0, 0], "takes 3 edges"),
        ("windows.often", [-1, 1, 1], "entry often"),
        ("windows.depth", 12, "depth of 12"),
        ("windows.depth", 16, "do not overlap"),
        ("windows.moved", 0.95, "together"),
        ("windows.real", 1.5, "entry real"),
        ("windows.shallow", -0.1, "entry shallow"),
        ("windows.repainted", True, "entry repainted"),
        ("model.depth", 50, "unknown entry 'depth'"),
        ("model.widths", [8, 8], "widths"),
        ("model.widths", [8, 8, 8, 8, 9], "widths"),
        ("optimiser.name", "lion", "optimiser 'lion'"),
    ],
)
def test_an_impossible_recipe_of_the_propagation_network_is_refused(key, value, sentence):
    with pytest.raises(RecipeError, match=sentence) as caught:
        read_recipe(TRAINING / "recipes" / "propagation.toml", {key: value})
    assert caught.value.message.endswith(".") and caught.value.advice.endswith(".")


def test_the_command_refuses_folds_of_the_propagation_network(tmp_path, capsys):
    run = tmp_path / "run"
    assert main(["train", "propagation", "--fold", "0", "--output", str(run)]) == 2
    assert "without folds" in capsys.readouterr().err and not run.exists()
