"""Sweeps (Table 3, Figure 4), the gallery (Figure 3), and the command that starts them all."""

from __future__ import annotations

import dataclasses
import json

import pytest
import torch
import torchvision

from qnetseg.cli import main
from qnetseg.errors import InputError
from qnetseg.model import Refinement, load_model
from qnetseg_lab.baselines import build_method
from qnetseg_lab.commands import evaluate
from qnetseg_lab.evaluation import gallery, protocol_p, sweeps
from qnetseg_lab.evaluation.protocol_p import ProtocolP
from qnetseg_lab.weights.writing import save_model
from support.cli_bed import write_model
from support.evaluation_bed import write_chaos_like
from support.intensity_model import CONFIG, intensity_model

CPU = {"device": "cpu", "precision": "fp32"}


@pytest.fixture(scope="module")
def chaos_like(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    write_chaos_like(root, cases=9)
    return root


@pytest.fixture
def bed(chaos_like, tmp_path, monkeypatch):
    """Weights that are read as the model of brightness, and data."""
    monkeypatch.setenv("QNETSEG_DATA", str(chaos_like))
    for module in (protocol_p, sweeps, gallery):
        monkeypatch.setattr(module, "load_method", lambda path: intensity_model())
    for name in ("model", "other"):
        write_model(tmp_path / f"{name}.safetensors")
    return tmp_path


def quiet(line):
    pass


# --- sweeps ------------------------------------------------------------------------------------


def test_each_alpha_scores_as_it_does_alone(bed):
    protocol = ProtocolP(structures=("spleen", "liver"), **CPU)
    lines = []
    content = sweeps.run_alpha(protocol, bed / "model.safetensors", bed / "a.json", lines.append)
    assert content["protocol"] == "P-alpha" and content["alphas"] == [1.0, 0.9, 0.8, 0.6, 0.5, 0.4, 0.2]
    assert json.loads((bed / "a.json").read_text()) == content and not list(bed.glob("*.part*"))
    assert set(content["dice"]) == {"liver", "spleen", "mean"} and "0.9: " in lines[-1]
    for position, alpha in ((0, 1.0), (6, 0.2)):
        alone = protocol_p.run(
            dataclasses.replace(protocol, alpha=alpha), bed / "model.safetensors", None, quiet
        )
        for name, values in content["dice"].items():
            assert values[position] == pytest.approx(alone["summary"][name]["dice"])


def test_each_iteration_scores_as_it_does_alone(bed):
    protocol = ProtocolP(structures=("spleen",), **CPU)
    weights = bed / "model.safetensors"
    content = sweeps.run_iterations(protocol, weights, bed / "i.json", quiet, iterations=2)
    assert content["protocol"] == "P-iterations" and content["iterations"] == [0, 1, 2]
    assert set(content["curves"]) == {"reconstruction", "released", "closed_form"}
    plain = protocol_p.run(protocol, weights, None, quiet)["summary"]["spleen"]["dice"]
    for mode, curves in content["curves"].items():
        assert curves["spleen"][0] == pytest.approx(plain) and curves["mean"] == curves["spleen"]
        for steps in (1, 2):
            refinement = dataclasses.replace(Refinement.usual(mode), steps=steps)
            alone = protocol_p.run(dataclasses.replace(protocol, refinement=refinement), weights, None, quiet)
            assert curves["spleen"][steps] == pytest.approx(alone["summary"]["spleen"]["dice"])


def test_sweeps_are_for_q_net_with_what_they_vary(bed, monkeypatch):
    config = dataclasses.replace(CONFIG, downsample_layer=2, paths="coarse", threshold="fixed")
    for method, message in (("panet", "neither"), ("adnet", "one path only"), ("qnet", "one path only")):
        network = build_method(method, config)
        model = dataclasses.replace(intensity_model(), network=network)
        monkeypatch.setattr(sweeps, "load_method", lambda path, m=model: m)
        with pytest.raises(InputError, match=message):
            sweeps.run_alpha(ProtocolP(**CPU), bed / "model.safetensors")
    with pytest.raises(InputError, match="0 iterations"):
        sweeps.run_iterations(ProtocolP(**CPU), bed / "model.safetensors", iterations=0)


@pytest.mark.parametrize("mode", ["reconstruction", "released", "closed_form"])
@pytest.mark.parametrize("paths", ["dual", "coarse"])
def test_one_trajectory_gives_what_separate_runs_give(mode, paths):
    torch.manual_seed(0)
    config = dataclasses.replace(CONFIG, paths=paths, feature_channels=8, threshold="fixed")
    network = build_method("qnet", config).eval()
    refinement = dataclasses.replace(Refinement.usual(mode), steps=3)
    size = (64, 64)
    with torch.no_grad():
        query = network.encode(torch.randn(2, *size))
        masks = torch.zeros(2, 2, *size)
        masks[:, 0, :40], masks[:, 1, 20:] = 1, 1
        support = network.condition(query, masks)
        # A threshold in the midst of the scores, so that the confident mask is a part of the image.
        network.threshold.value.fill_(network.scores(support, query).coarse.median())
        found = sweeps.after_each_step(network, support, query, size, refinement, None)
        assert found.shape == (4, 2, 2, *size)
        for steps, together in enumerate(found):
            alone = network.predict(support, query, size, dataclasses.replace(refinement, steps=steps))
            torch.testing.assert_close(together, alone, atol=1e-6, rtol=0)
            assert 0 < (alone > 0.5).float().mean() < 1
            assert ((together > 0.5) != (alone > 0.5)).sum() == 0
    assert not torch.equal(found[3], found[0])


# --- gallery -----------------------------------------------------------------------------------


def test_the_gallery_shows_the_largest_slice_of_every_structure(bed):
    path = bed / "figure3.png"
    files = [bed / "model.safetensors", bed / "other.safetensors"]
    rows = gallery.gallery(ProtocolP(**CPU), files, path)
    assert path.read_bytes().startswith(b"\x89PNG")
    assert [row.pair.structure for row in rows] == ["liver", "right kidney", "left kidney", "spleen"]
    for row in rows:
        areas = row.pair.target().sum(axis=(1, 2))
        assert (
            areas[row.slice] == areas.max() and (row.pair.support.labels[row.drawn] == row.pair.label).any()
        )
        assert list(row.found) == [
            f"Q-Net\n{bed.name}",
            "Q-Net\nother",
        ]  # training names the first by its folder
        assert all(mask.any() for mask in row.found.values())


def test_the_gallery_leaves_out_what_a_model_does_not_score(bed, monkeypatch):
    sources = iter(["liver", "right kidney"])

    def of_a_group(path):
        source = {"name": "chaos", "fold": 0, "scheme": "released", "exclude": [next(sources)]}
        model = intensity_model()
        return dataclasses.replace(model, provenance={"recipe": {"data": [source]}})

    monkeypatch.setattr(gallery, "load_method", of_a_group)
    files = [bed / "model.safetensors", bed / "other.safetensors"]
    rows = gallery.gallery(ProtocolP(setting=2, **CPU), files, bed / "two.png")
    assert [(row.pair.structure, list(row.found)) for row in rows] == [
        ("liver", [f"Q-Net\n{bed.name}"]),
        ("right kidney", ["Q-Net\nother"]),
    ]


# --- command -----------------------------------------------------------------------------------


def command(bed, *more, protocol="p", fold="0"):
    common = ["--dataset", "chaos", "--setting", "1", "--structures", "spleen", "--device", "cpu"]
    return main(["evaluate", protocol, *common, "--fold", fold, "--output", str(bed / "results"), *more])


def test_all_folds_and_several_models_in_one_run(bed, capsys, monkeypatch):
    monkeypatch.setattr(evaluate, "FOLDS", range(2))
    for fold in range(2):
        run = bed / f"run-fold{fold}"
        run.mkdir()
        write_model(run / "model.safetensors")
    models = [str(bed / "run-fold{fold}" / "model.safetensors"), str(bed / "other.safetensors")]
    assert command(bed, "--model", *models, "--alpha", "0.5", fold="all") == 0
    assert sorted(path.name for path in (bed / "results").iterdir()) == [
        f"p-chaos-setting1-fold{fold}-released-none-alpha0.5-only-spleen-{model}.json"
        for fold, model in ((0, "other"), (0, "run-fold0"), (1, "other"), (1, "run-fold1"))
    ]
    told = capsys.readouterr().out
    assert "qnet, 4 result files together" in told and "95 % interval" in told
    assert command(bed, "--model", str(bed / "run-fold{fold}" / "absent.safetensors"), fold="all") == 2
    assert command(bed, "--model", models[1], "--json", fold="all") == 0
    assert [content["fold"] for content in json.loads(capsys.readouterr().out)] == [0, 1]


def test_sweeps_and_gallery_from_the_command_line(bed, capsys):
    weights = ["--model", str(bed / "other.safetensors")]
    assert command(bed, *weights, protocol="p-alpha") == 0
    assert command(bed, *weights, "--iterations", "1", protocol="p-iterations") == 0
    assert command(bed, *weights, "--gallery", str(bed / "results" / "figure3.png")) == 0
    names = sorted(path.name for path in (bed / "results").iterdir())
    where = "chaos-setting1-fold0-released"
    assert names == [
        "figure3.png",
        f"p-alpha-{where}-none-only-spleen-other.json",
        f"p-{where}-none-only-spleen-other.json",
        f"p-iterations-{where}-only-spleen-other.json",
    ]
    assert "gallery" in capsys.readouterr().out
    assert command(bed, *weights, "--gallery", str(bed / "f.jpg")) == 2
    assert command(bed, *weights, "--gallery", str(bed / "f.png"), fold="all") == 2
    assert "one fold" in capsys.readouterr().err


def test_what_cannot_be_scored_is_said(bed, capsys, monkeypatch):
    assert command(bed, fold="7") == 2
    assert command(bed, "--structures", "heart", "--model", str(bed / "other.safetensors")) == 2
    assert "no structure 'heart'" in capsys.readouterr().err
    monkeypatch.undo()
    no_model = bed / "other.safetensors"
    assert command(bed, "--model", str(no_model)) == 2
    assert "other.safetensors" in capsys.readouterr().err


# --- an official checkpoint, from its file to its score ----------------------------------------


def test_an_official_checkpoint_is_converted_and_scored(chaos_like, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("QNETSEG_DATA", str(chaos_like))
    # Depth 50 and few channels: the same layout of keys in a fraction of the time.
    small = dataclasses.replace(CONFIG, depth=50, feature_channels=8, threshold_hidden=1000)
    torch.manual_seed(0)
    resnet = torchvision.models.resnet50(weights=None)
    official = {f"encoder.backbone.{key}": value for key, value in resnet.state_dict().items()}
    official |= {
        "encoder.reduce1.weight": torch.randn(8, 1024, 1, 1),
        "encoder.reduce2.weight": torch.randn(8, 2048, 1, 1),
        "encoder.reduce1d.weight": torch.randn(1, 1000),
        "encoder.reduce1d.bias": torch.zeros(1),
    }
    checkpoint, converted = tmp_path / "official.pth", tmp_path / "official.safetensors"
    torch.save(official, checkpoint)
    from qnetseg_lab.weights.convert import convert_official
    from qnetseg_lab.weights.pickles import read_state_dict

    network = convert_official(read_state_dict(checkpoint), small)
    save_model(converted, network, {"source": "official Q-Net checkpoint"})
    assert load_model(converted).network.config == small
    arguments = ["--structures", "spleen", "--refinement", "released", "--model", str(converted)]
    where = ["--dataset", "chaos", "--setting", "2", "--fold", "0", "--device", "cpu"]
    assert main(["evaluate", "p", *where, *arguments, "--output", str(tmp_path / "results")]) == 0
    (path,) = (tmp_path / "results").iterdir()
    content = json.loads(path.read_text())
    assert content["trained_on_scored_cases"] is None and content["exclude_rule"] is None
    assert [row["query"] for row in content["rows"]] == ["1", "2", "4", "5"]
    assert all(0 <= row["dice"] <= 1 for row in content["rows"])
    assert "spleen" in capsys.readouterr().out
