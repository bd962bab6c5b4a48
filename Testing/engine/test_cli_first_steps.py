"""First steps: saved drawings, where data lie, what a training starts from."""

from __future__ import annotations

import json
import os
import re
import shlex
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from qnetseg.cli import build_parser, main
from qnetseg.errors import DatasetError, InputError, WeightsError
from qnetseg.models import QNET
from qnetseg.volume import SupportSet, read_labelmap, read_volume, support_from_mask
from qnetseg_lab.commands import train
from qnetseg_lab.data import data_root
from qnetseg_lab.training import read_recipe
from support.cli_bed import Bed, bed, drawing_array, entry_of, write_manifest, write_model

__all__ = ["bed"]

ROOT = Path(__file__).parents[2]


def saved(bed, **changes):
    support = support_from_mask(
        read_volume(bed.query), drawing_array() == 1, name="liver", color=(1.0, 0.0, 0.0), terminology="a~b"
    )
    path = bed.folder / "liver.npz"
    replace(support, **changes).save(path)
    return path


def test_a_saved_drawing_is_a_mask(bed, capsys):
    """README: `support.save("liver.npz")  # for other patients, also as --mask of the command line`."""
    report = bed.results / "r.json"
    assert bed.segment("--report", report, mask=saved(bed)) == 0
    (found,) = read_labelmap(bed.output).segments
    assert (found.name, found.color, found.terminology) == ("liver", (1.0, 0.0, 0.0), "a~b")
    content = json.loads(report.read_text(encoding="utf-8"))
    assert (content["mask"], content["support"]) == ("liver.npz", "liver.npz")
    assert content["segments"][0]["slices"][0]["support_index"] == 0  # it was drawn on this very volume
    assert "liver: 0.0 ml" in capsys.readouterr().out
    assert bed.segment("--report", report, mask=saved(bed, volume_id="another")) == 0
    assert json.loads(report.read_text(encoding="utf-8"))["segments"][0]["slices"][0]["support_index"] is None


@pytest.mark.parametrize("option", [["--label", "1"], ["--not-here", "2"], ["--support", "query"]])
def test_a_saved_drawing_leaves_some_options_nothing_to_do(bed, option, capsys):
    option = [str(bed.query) if part == "query" else part for part in option]
    assert bed.segment(*option, mask=saved(bed)) == 2
    assert f"{option[0]} does not go with 'liver.npz'" in capsys.readouterr().err


def test_a_file_that_is_no_saved_drawing_is_refused(bed, capsys):
    path = bed.folder / "other.npz"
    np.savez(path, a=np.zeros(3))
    assert bed.segment(mask=path) == 2
    assert "'other.npz' is not an example that QNetSegment saved" in capsys.readouterr().err


def test_a_drawing_that_was_normalised_otherwise_is_refused(bed):
    """Before there was one normalisation, files said theirs; still older ones did not, and had today's."""
    path = bed.folder / "saved.npz"
    support_from_mask(read_volume(bed.query), drawing_array() == 1).save(path)
    with np.load(path) as archive:
        arrays = {name: archive[name] for name in archive.files}
    header = json.loads(str(arrays.pop("header")))
    for share in (None, 5.0):
        header["top_percent"] = share
        kept = {key: value for key, value in header.items() if value is not None}
        np.savez(path, **arrays, header=np.array(json.dumps(kept)))
        if share is None:
            assert SupportSet.load(path).slices
        else:
            with pytest.raises(InputError, match="normalised in another way"):
                SupportSet.load(path)


def test_the_folder_of_the_data_can_be_named(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("QNETSEG_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(DatasetError, match="--data"):
        data_root()
    arguments = ["evaluate", "p-floor", "--dataset", "chaos"]
    assert main([*arguments, "--data", str(tmp_path / "nowhere")]) == 2
    assert "there is no folder" in capsys.readouterr().err
    assert main([*arguments, "--data", str(tmp_path)]) == 2
    assert data_root() == tmp_path and os.environ["QNETSEG_DATA"] == str(tmp_path)
    assert "no images like" in capsys.readouterr().err


def test_a_start_is_a_model_of_the_catalogue_or_a_file(tmp_path, monkeypatch):
    bed = Bed(tmp_path)
    monkeypatch.setenv("QNETSEG_RESOURCES", str(bed.resources))
    monkeypatch.chdir(tmp_path)
    assert train.start_of("tiny-qnet") == str(bed.qnet)
    for start in ("radiology", "random", "torchvision:resnet50.IMAGENET1K_V2", "a.pth"):
        assert train.start_of(start) == start
    missing = entry_of(write_model(tmp_path / "gone.safetensors", method=QNET))
    (tmp_path / "gone.safetensors").unlink()
    write_manifest(bed.resources, [entry_of(bed.model), entry_of(bed.qnet), missing])
    with pytest.raises(WeightsError, match="not on this machine"):
        train.start_of("gone")


@pytest.mark.parametrize(("start", "warned"), [("random", True), ("radiology", False)])
def test_a_training_from_random_weights_is_warned_of(tmp_path, start, warned, monkeypatch, capsys):
    class Stop(Exception):
        pass

    def stop(*_, **__):
        raise Stop

    monkeypatch.setattr("qnetseg_lab.training.Trainer", stop)
    recipe = tmp_path / "mine.toml"
    recipe.write_text(
        'start = "radiology"\n[[data]]\nname = "prepared"\nscheme = "strict"\n', encoding="utf-8"
    )
    main(["train", str(recipe), "--start", start, "--output", str(tmp_path / "run"), "--device", "cpu"])
    assert ("starts from random weights" in capsys.readouterr().err) == warned


def documented():
    """Every command line of ours in the documents."""
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "Training" / "README.md"):
        blocks = re.findall(r"^```\n(.*?)^```", path.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
        for line in "".join(blocks).splitlines():
            if line.startswith("qnetseg "):
                yield line.split("#")[0].strip()


@pytest.mark.parametrize("line", list(documented()))
def test_documented_lines_are_understood(line, tmp_path, monkeypatch):
    monkeypatch.setenv("QNETSEG_DATA", str(tmp_path))  # `--data` replaces it
    words = [str(tmp_path) if word == "DATA" else word for word in shlex.split(line)]
    build_parser().parse_args(words[1:])


def test_the_documented_recipe_is_one(tmp_path):
    """docs/data.md: the default recipe with a folder in the place of its data."""
    text = (ROOT / "Training" / "recipes" / "default.toml").read_text(encoding="utf-8")
    fragment = re.search(r"^```toml\n(.*?)^```", (ROOT / "docs" / "data.md").read_text("utf-8"), re.S | re.M)
    first, rest = text.index("[[data]]"), text.index("[episodes]")
    path = tmp_path / "recipe.toml"
    path.write_text(text[:first] + fragment[1] + text[rest:], encoding="utf-8")
    recipe = read_recipe(path)
    assert recipe.start == "radiology" and [source.name for source in recipe.data] == ["prepared"]
