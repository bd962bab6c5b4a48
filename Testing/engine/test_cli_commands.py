"""The other commands: weights, doctor, train, evaluate, bench."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from qnetseg.cli import build_parser, main
from qnetseg.cli.parser import OF_THE_LABORATORY
from qnetseg_lab.commands import train
from qnetseg_lab.toml import parse_toml
from support.cli_bed import bed_with_catalogue, write_manifest, write_model
from support.worker_bed import LAB, LOGIC


@pytest.fixture
def bed(tmp_path, monkeypatch):
    return bed_with_catalogue(tmp_path, monkeypatch)


def commands(parser, prefix=()):
    """Names of all commands and their actions."""
    for action in parser._actions:
        for name, child in (
            (getattr(action, "choices", None) or {}).items() if action.dest == "==SUPPRESS==" else ()
        ):
            yield (*prefix, name)
            yield from commands(child, (*prefix, name))


def test_every_command_has_help_that_ends_with_an_example(capsys):
    found = list(commands(build_parser()))
    assert {
        ("segment",),
        ("evaluate", "p"),
        ("bench", "inference"),
        ("bench", "correction"),
        ("weights", "convert"),
    } <= set(found)
    for path in found:
        assert main([*path, "--help"]) == 0
        told = capsys.readouterr().out
        assert "example:\n  qnetseg " + path[0] in told and "--debug" in told


def test_a_command_of_the_laboratory_says_where_it_comes_from(monkeypatch, capsys):
    project = (LAB / "pyproject.toml").read_text(encoding="utf-8")
    points = parse_toml(project)["project"]["entry-points"]
    groups = {"qnetseg": "qnetseg.commands", "qnetseg weights": "qnetseg.weights"}
    assert {before: sorted(points[group]) for before, group in groups.items()} == {
        before: sorted(names) for before, names in OF_THE_LABORATORY.items()
    }
    monkeypatch.setattr("qnetseg.cli.parser.entry_points", lambda group: [])
    for before, name in [(each, name) for each, names in OF_THE_LABORATORY.items() for name in names]:
        assert main([*before.split()[1:], name, "some", "--output", "where"]) == 2
        told = capsys.readouterr().err
        assert told.startswith(f"{before}: The command '{name}' belongs to qnetseg-lab: install that with ")
        assert told.endswith("`pip install ./Training` from the repository.\n") and told.count("\n") == 1
    assert main(["weights", "train"]) == 2 and "qnetseg-lab" not in capsys.readouterr().err


def test_help_version_and_weights_come_without_torch_and_images():
    code = (
        "import sys; from qnetseg.cli import main; main(['--version']); main(['segment', '--help']);"
        "main(['weights', 'list']); sys.exit('torch' in sys.modules or 'SimpleITK' in sys.modules)"
    )
    assert (
        subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONPATH": str(LOGIC)}, check=False, capture_output=True
        ).returncode
        == 0
    )


def test_the_package_can_be_run_as_a_module():
    done = subprocess.run(
        [sys.executable, "-m", "qnetseg", "weights", "remove", "nothing"],
        check=False,
        env={"PYTHONPATH": str(LOGIC)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2 and done.stderr.startswith("qnetseg: There is no model 'nothing'")


def test_weights_list_tells_states(bed, capsys):
    assert main(["weights", "list"]) == 0
    told = capsys.readouterr().out
    assert "tiny (propagation network, default): shipped" in told and "12.5 s a volume" in told
    assert "tiny-qnet (Q-Net, default): shipped" in told and "big (propagation network): available" in told
    assert main(["weights", "list", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [(row["name"], row["state"], row["default"], row["method"]) for row in rows] == [
        ("tiny", "shipped", True, "propagation"),
        ("tiny-qnet", "shipped", True, "qnet"),
        ("big", "available", False, "propagation"),
    ]
    assert rows[0]["path"] == str(bed.model)
    write_manifest(bed.resources, [])
    assert main(["weights", "list"]) == 0 and "empty" in capsys.readouterr().out


def test_weights_download_verify_remove(bed, capsys):
    assert main(["weights", "download", "big"]) == 0
    path = Path(capsys.readouterr().out.strip())
    assert main(["weights", "verify"]) == 0
    assert capsys.readouterr().out.count("ok  ") == 3
    assert main(["weights", "remove", "big"]) == 0
    assert not path.exists()
    assert main(["weights", "remove", "tiny"]) == 2
    assert "ships with QNetSegment" in capsys.readouterr().err


def test_weights_verify_finds_damage(bed, capsys):
    own = write_model(bed.folder / "own.safetensors")
    assert main(["weights", "verify", str(own), "--json"]) == 0
    assert list(json.loads(capsys.readouterr().out)) == [str(own)]
    bed.model.write_bytes(bed.model.read_bytes()[:-1] + b"!")
    assert main(["weights", "verify"]) == 2
    assert "damaged" in capsys.readouterr().err
    bed.model.unlink()
    bed.qnet.unlink()
    assert main(["weights", "verify"]) == 2
    assert "No model of the catalogue" in capsys.readouterr().err


class FakeTrainer:
    """Notes how it was made, and runs as `outcome` says."""

    made: tuple = ()
    outcome: BaseException | None = None

    def __init__(self, recipe, folder, device, report):
        FakeTrainer.made = (recipe, folder, str(device))
        report("step 1/3")

    def run(self):
        if self.outcome is not None:
            raise self.outcome


@pytest.fixture
def trainer(monkeypatch):
    monkeypatch.setattr("qnetseg_lab.training.Trainer", FakeTrainer)
    return FakeTrainer


def test_train_reads_a_recipe_of_the_project_with_overrides(bed, capsys, trainer):
    folder = bed.results / "runs" / "a"
    assert (
        main(["train", "default", "--output", str(folder), "--fold", "3", "--steps", "7", "--device", "cpu"])
        == 0
    )
    recipe, where, device = trainer.made
    assert (recipe.name, recipe.steps, {source.fold for source in recipe.data}) == ("default", 7, {3})
    assert (where, device) == (folder, "cpu")
    assert "step 1/3" in capsys.readouterr().out


def test_train_keeps_what_the_recipe_says(bed, trainer, monkeypatch):
    monkeypatch.setattr("qnetseg.segment.device.choose_device", lambda name: ("cpu", f"{name} was not used."))
    own = bed.folder / "own.toml"
    own.write_text((train.recipe_folder() / "default.toml").read_text(encoding="utf-8"), encoding="utf-8")
    assert main(["train", str(own), "--output", str(bed.results)]) == 0
    assert trainer.made[0].name == "own" and f"steps = {trainer.made[0].steps}" in own.read_text(
        encoding="utf-8"
    )


def test_train_stops_with_a_way_to_go_on(bed, capsys, trainer, monkeypatch):
    monkeypatch.setattr(trainer, "outcome", KeyboardInterrupt())
    assert main(["train", "default", "--output", str(bed.results), "--device", "cpu"]) == 130
    assert "goes on after the last checkpoint" in capsys.readouterr().err


def test_train_refuses_an_unknown_recipe(bed, capsys):
    assert main(["train", "nothing", "--output", str(bed.results)]) == 2
    assert "There is no recipe 'nothing'" in capsys.readouterr().err


def test_evaluate_p_calls_the_protocol(bed, capsys, monkeypatch):
    seen = []

    def run(protocol, weights, output, report):
        report("liver Dice 80.0")
        seen.append((protocol, weights, output))
        return {"summary": {"mean": {"dice": 80.0}}}

    monkeypatch.setattr("qnetseg_lab.evaluation.protocol_p.run", run)
    arguments = [
        "evaluate",
        "p",
        "--dataset",
        "chaos",
        "--setting",
        "1",
        "--fold",
        "2",
        "--refinement",
        "released",
    ]
    assert main([*arguments, "--output", str(bed.results), "--device", "cpu"]) == 0
    protocol, weights, output = seen[0]
    assert (protocol.dataset, protocol.setting, protocol.fold, protocol.scheme) == ("chaos", 1, 2, "released")
    assert protocol.refinement.mode == "released" and protocol.device == "cpu" and weights == bed.qnet
    assert output == bed.results / "p-chaos-setting1-fold2-released-released-tiny-qnet.json"
    assert "liver Dice 80.0" in capsys.readouterr().out
    assert main([*arguments, "--json", "--scheme", "strict"]) == 0
    assert json.loads(capsys.readouterr().out)["summary"]["mean"]["dice"] == 80.0 and seen[1][2] is None
    assert main([*arguments, "--model", "nothing"]) == 2
    assert main(["evaluate", "p", "--dataset", "cmr", "--setting", "2", "--fold", "0"]) == 2


def test_result_files_of_training_runs_are_told_apart():
    from qnetseg_lab.commands.evaluate import result_name
    from qnetseg_lab.evaluation.protocol_p import ProtocolP

    name = result_name("p", ProtocolP("cmr", fold=1), Path("runs", "default-fold1", "model.safetensors"))
    assert name == "p-cmr-setting1-fold1-released-none-default-fold1"


def test_report_writes_the_tables(bed, capsys):
    assert main(["report", str(bed.results)]) == 0
    assert (bed.results / "index.md").is_file() and "index.md" in capsys.readouterr().out
    assert main(["report", str(bed.results / "absent")]) == 2


def test_bench_inference_times_q_net(bed, capsys, monkeypatch):
    seen = []

    def inference(weights, slices, device, output, report):
        report("ratio 12.0")
        seen.append((weights, slices, device, output))
        return {"ratio": 12.0}

    monkeypatch.setattr("qnetseg_lab.evaluation.speed.inference", inference)
    output = bed.results / "bench-inference-cpu-tiny-qnet.json"
    arguments = ["bench", "inference", "--slices", "8", "--device", "cpu"]
    assert main([*arguments, "--output", str(bed.results)]) == 0
    assert seen == [(bed.qnet, 8, "cpu", output)] and "ratio 12.0" in capsys.readouterr().out
    assert main(["bench", "inference", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"ratio": 12.0}
    assert main(["bench", "inference", "--slices", "0"]) == 2
    assert main([*arguments, "--output", str(bed.query)]) == 2
    assert main([*arguments, "--model", "tiny"]) == 2
    assert "'tiny' is a propagation network, and none is asked for here" in capsys.readouterr().err


def test_bench_correction_times_the_propagation_network(bed, capsys, monkeypatch):
    seen = []

    def correction(weights, slices, size, options, output, report):
        report("one drawn slice")
        seen.append((weights, slices, size, options, output))
        return {"first_seconds": 1.0}

    monkeypatch.setattr("qnetseg_lab.evaluation.speed.correction", correction)
    arguments = ["bench", "correction", "--slices", "8", "--size", "32", "--device", "cpu"]
    more = ["--precision", "fp32", "--threads", "1", "--output", str(bed.results)]
    assert main([*arguments, *more]) == 0
    (weights, *volume, options, output) = seen[0]
    assert (weights, volume) == (bed.model, [8, 32])
    assert (options.device, options.precision, options.threads) == ("cpu", "fp32", 1)
    assert output == bed.results / "bench-correction-cpu-fp32-threads1-8x32-tiny.json"
    assert "one drawn slice" in capsys.readouterr().out
    assert main([*arguments, "--output", str(bed.results), "--json"]) == 0
    assert seen[1][-1].name == "bench-correction-cpu-auto-8x32-tiny.json" and seen[1][3].threads == 0
    assert json.loads(capsys.readouterr().out) == {"first_seconds": 1.0}
    assert main([*arguments, "--threads", "-1"]) == 2 and main([*arguments, "--model", "tiny-qnet"]) == 2


def test_bench_another_patient_takes_both_networks(bed, capsys, monkeypatch):
    seen = []

    def another_patient(*weights, slices, size, options, output, report):
        report("each later one")
        seen.append((weights, slices, size, options, output))
        return {"kept_ratio": 2.0}

    monkeypatch.setattr("qnetseg_lab.evaluation.speed_across.another_patient", another_patient)
    arguments = ["bench", "another-patient", "--slices", "8", "--size", "32", "--device", "cpu"]
    assert main([*arguments, "--threads", "2", "--output", str(bed.results)]) == 0
    (weights, *volume, options, output) = seen[0]
    assert (weights, volume) == ((bed.model, bed.qnet), [8, 32])
    assert (options.device, options.precision, options.threads) == ("cpu", "auto", 2)
    assert output == bed.results / "bench-another-patient-cpu-auto-threads2-8x32-tiny-tiny-qnet.json"
    assert "each later one" in capsys.readouterr().out
    assert main([*arguments, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"kept_ratio": 2.0}


def test_a_command_that_is_interrupted_is_code_130(monkeypatch, capsys):
    def interrupted(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(
        "qnetseg.cli.build_parser",
        lambda: SimpleNamespace(parse_args=lambda _: SimpleNamespace(run=interrupted, debug=False)),
    )
    assert main([]) == 130
    assert "Cancelled" in capsys.readouterr().err
