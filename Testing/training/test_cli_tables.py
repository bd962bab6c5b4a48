"""`qnetseg tables`: what the plan holds; a runner that is stopped, called again, and never repeats itself."""

from __future__ import annotations

import json
from itertools import count, product
from pathlib import Path
from types import SimpleNamespace

import pytest

import qnetseg_lab.baselines
import qnetseg_lab.report
import qnetseg_lab.training
from qnetseg.cli import main
from qnetseg.errors import InputError, TrainingError
from qnetseg.models import sha256
from qnetseg_lab.baselines import build_method
from qnetseg_lab.commands import tables
from qnetseg_lab.evaluation import plan, protocol_p, sweeps
from qnetseg_lab.report.paper_tables import ABLATIONS, SCHEMES, of_method
from qnetseg_lab.report.runs import Variant
from qnetseg_lab.training import read_recipe

RECIPES = Path(__file__).resolve().parents[2] / "Training" / "recipes"
BUDGETS = ("tables-cpu", "tables-h100")
ROW_OF = {
    "dp": "DP",
    "64x64": "64 x 64",
    "32x32": "32 x 32",
    "dp-layer2": "DP (DS on Layer 2)",
    "dp-layer3": "DP (DS on Layer 3)",
}


def recipe_of(training, budget=BUDGETS[0]):
    return read_recipe(RECIPES / f"{budget}.toml", training.settings())


# --- the plan ------------------------------------------------------------------------------------------


def test_every_row_has_a_figure_before_any_has_two():
    scorings = plan.plan()
    folds = [s.training.fold for s in scorings]
    first = scorings[: folds.index(1)]
    assert [first[0].training.name, first[2].training.name] == ["qnet-strict-fold0", "adnet-strict-fold0"]
    assert {s.training.row for s in first} == {*plan.ROWS} and {s.table for s in first} == {*plan.TABLES}
    bench = tables.Bench("cpu", Path("runs"), Path("results"), "cpu")
    assert len({bench.output(scoring) for scoring in scorings}) == len(scorings)


def variant_of(scoring, mode="none"):
    """What the report makes of a scoring's result file, or of a mode in it."""
    recipe = recipe_of(scoring.training)
    return Variant.of(
        {
            "method": recipe.method,
            "model_config": recipe.model.to_dict(),
            "options": {"refinement": {"mode": mode}},
            "setting": scoring.setting,
            "dataset": scoring.dataset,
            "scheme": scoring.training.scheme,
            "steps": recipe.steps,
            "recipe": recipe.to_dict(),
        }
    )


def test_every_scoring_is_of_the_row_that_it_is_named_after():
    for scoring in plan.plan():
        row, refined = scoring.training.row, scoring.form == "p-iterations"
        variant = variant_of(scoring, "released" if refined else "none")
        if row in plan.METHODS:
            assert of_method(row)(variant), scoring
        else:
            assert ABLATIONS["DP + PR" if refined else ROW_OF[row]](variant), scoring


def test_every_row_is_scored_on_every_strict_fold_and_refined():
    scored = {(s.training.row, s.setting, s.dataset, s.form, s.training.fold) for s in plan.plan()}
    for fold in range(5):
        for row in plan.METHODS:
            assert {(row, 1, "chaos", "p", fold), (row, 1, "cmr", "p", fold)} <= scored
        assert {(row, 2, "chaos", "p", fold) for row in plan.ROWS} <= scored
        sweeps_of_qnet = product(("qnet",), (1, 2), ("chaos",), ("p-alpha", "p-iterations"), (fold,))
        assert {*sweeps_of_qnet, ("qnet", 1, "cmr", "p-iterations", fold)} <= scored
        assert ("dp", 2, "chaos", "p-iterations", fold) in scored


@pytest.mark.parametrize("budget", BUDGETS)
def test_rows_of_a_budget_differ_in_what_makes_them_only(budget):
    trainings = {scoring.training for scoring in plan.plan()}
    equal = {
        (r.start, r.steps, r.seed, r.precision, r.batch_norm, r.episodes.pairs, r.episodes.crop, r.optimiser)
        for r in (recipe_of(training, budget) for training in trainings)
    }
    assert len(equal) == 1
    for training in trainings:
        recipe = recipe_of(training, budget)
        assert all((s.fold, s.scheme) == (training.fold, training.scheme) for s in recipe.data)
        unseen = {name for source in recipe.data for name in source.exclude}
        assert bool(unseen) == bool(training.unseen)
        if "liver" in unseen:
            assert [source.name for source in recipe.data] == ["chaos"]  # CMR may show it


def test_every_row_is_a_network():
    for row in plan.ROWS:
        recipe = recipe_of(plan.Training(row, "strict", 0))
        assert build_method(recipe.method, recipe.model).name == recipe.method


def test_parts_of_the_plan_are_chosen_by_table_and_row():
    assert {s.table for s in plan.chosen(["table3"])} == {"table3"}
    assert {s.training.row for s in plan.chosen(["table1", "adnet", "senet"])} == {"adnet", "senet"}
    assert plan.chosen([]) == plan.plan()
    one = plan.chosen(["table1", "adnet-strict-fold1"])
    assert {s.training.name for s in one} == {"adnet-strict-fold1"} and len(one) == 2  # CHAOST2 and CMR
    with pytest.raises(InputError, match="all of table3, adnet"):
        plan.chosen(["table3", "adnet"])


# --- the runner ----------------------------------------------------------------------------------------


class Laboratory:
    """Trainings and scorings that only write files, and what of them happened."""

    def __init__(self, root, monkeypatch):
        self.root, self.log, self.stop_at, self.astray = root, [], None, ()
        self.numbers = count()
        monkeypatch.setattr(qnetseg_lab.training, "Trainer", self.trainer)
        monkeypatch.setattr(qnetseg_lab.baselines, "load_method", self.load)
        monkeypatch.setattr(protocol_p, "run", self.score)
        for name in ("run_alpha", "run_iterations"):
            monkeypatch.setattr(sweeps, name, self.score)
        monkeypatch.setattr(qnetseg_lab.report, "write_report", lambda folder: self.log.append("report"))

    def trainer(self, recipe, folder, device, report):
        folder.mkdir(parents=True, exist_ok=True)
        made = SimpleNamespace(step=0, forget=lambda: self.log.append("forgotten"))

        def run():
            self.log.append(f"train {folder.name}")
            if any(name in folder.name for name in self.astray):
                raise TrainingError("The loss is no longer a finite number.")
            if self.stop_at == len(self.log):
                raise KeyboardInterrupt
            made.step = recipe.steps
            learned = {"recipe": recipe.to_dict(), "number": next(self.numbers)}  # no two trainings are alike
            (folder / "model.safetensors").write_text(json.dumps(learned))

        made.run = run
        return made

    def load(self, path):
        return SimpleNamespace(provenance=json.loads(path.read_text()))

    def score(self, protocol, weights, output, report):
        self.log.append(f"score {output.name}")
        rows = [{"structure": "liver", "query": str(n), "support": "0", "dice": 0.1 * n} for n in range(1, 8)]
        same = {key: getattr(protocol, key) for key in ("dataset", "setting", "scheme")}
        own = {"protocol": "P", **same, "method": "qnet", "model": weights.parent.name, "rows": rows}
        for row in rows:
            row["query"] += f" of fold {protocol.fold}"
        own["weights_sha256"] = sha256(weights)
        output.write_text(json.dumps({**self.load(weights).provenance, **own}))

    def call(self, *options):
        return main(["tables", "--runs", f"{self.root}/runs", "--output", f"{self.root}/results", *options])

    def did(self, verb):
        return [line.split()[1] for line in self.log if line.startswith(verb)]


@pytest.fixture
def laboratory(tmp_path, monkeypatch):
    return Laboratory(tmp_path, monkeypatch)


def test_a_stopped_runner_goes_on_and_repeats_nothing(laboratory, capsys):
    laboratory.stop_at = 8  # the second training, after a report and one with two scorings
    assert laboratory.call("--only", "table1", "table3", "qnet") == 130
    assert "goes on" in capsys.readouterr().err
    laboratory.stop_at = None
    assert laboratory.call("--only", "table1", "table3", "qnet") == 0
    trained, scored = laboratory.did("train"), laboratory.did("score")
    assert trained.count("tables-cpu-qnet-no-kidneys-strict-fold0") == 2  # the stopped one
    assert len(set(trained)) == len(trained) - 1 and len(set(scored)) == len(scored)
    assert {Path(name).stem for name in scored} == {p.stem for p in (laboratory.root / "results").glob("p-*")}
    assert laboratory.log.count("report") == len(scored) + 2  # and once a call
    laboratory.log.clear()
    assert laboratory.call("--only", "table1", "table3", "qnet") == 0
    assert laboratory.log == ["report"]


def test_what_both_sides_have_is_compared(laboratory):
    results = laboratory.root / "results"
    assert laboratory.call("--only", "table1", "qnet") == 0 and not list(results.glob("compare-*.json"))
    assert laboratory.call("--only", "table1", "adnet") == 0
    compared = {path.name for path in results.glob("compare-*.json")}
    where = [
        f"{place}-{s}" for place in ("chaos-setting1", "cmr-setting1", "chaos-setting2") for s in SCHEMES
    ]
    assert compared == {f"compare-{w}-qnet-adnet-tables-cpu.json" for w in where}
    content = json.loads((results / "compare-chaos-setting1-strict-qnet-adnet-tables-cpu.json").read_text())
    assert content["pairs"] == 5 * 7 and content["unpaired"] == 0 and content["mean"]["difference"] == 0
    ((_, pairs),) = plan.comparisons(plan.chosen(["table1", "adnet"])[0])
    assert len(pairs) == 5


def test_comparisons_that_a_stopped_call_left_behind_are_made_up_for(laboratory):
    assert laboratory.call("--only", "table1", "qnet", "adnet") == 0
    made = sorted((laboratory.root / "results").glob("compare-*.json"))
    for path in made:
        path.unlink()
    assert laboratory.call("--only", "table1", "adnet") == 0
    assert sorted((laboratory.root / "results").glob("compare-*.json")) == made


def test_what_another_runner_has_made_meanwhile_is_not_repeated(laboratory, monkeypatch):
    train = laboratory.trainer

    def with_another_runner(recipe, folder, device, report):
        monkeypatch.setattr(qnetseg_lab.training, "Trainer", train)
        assert laboratory.call("--only", "panet") == 0
        return train(recipe, folder, device, report)

    monkeypatch.setattr(qnetseg_lab.training, "Trainer", with_another_runner)
    assert laboratory.call("--only", "panet") == 0
    scored = laboratory.did("score")
    assert len(scored) - len(set(scored)) <= 2, "that of the training which both had begun"


def test_results_are_enough_where_the_models_are_gone(laboratory):
    assert laboratory.call("--only", "table1", "panet") == 0
    for path in (laboratory.root / "runs").glob("*/model.safetensors"):
        path.unlink()
    laboratory.log.clear()
    assert laboratory.call("--only", "table1", "panet") == 0 and laboratory.log == ["report"]


@pytest.mark.parametrize("asked", [("table1", "table3", "qnet"), ("table3", "qnet")])
def test_results_of_a_training_are_of_one_model(laboratory, asked):
    assert laboratory.call("--only", "table1", "qnet") == 0
    name = "tables-cpu-qnet-strict-fold0"
    (laboratory.root / f"runs/{name}/model.safetensors").unlink()
    scored = sorted(file for file in laboratory.did("score") if name in file)
    laboratory.log.clear()
    assert laboratory.call("--only", *asked) == 0
    again = sorted(file for file in laboratory.did("score") if name in file)
    assert laboratory.did("train").count(name) == 1
    assert set(scored) < set(again) and len(again) == len(set(again))
    results = [json.loads(path.read_text()) for path in (laboratory.root / "results").glob(f"p-*{name}.json")]
    assert len(results) == len(again) and len({content["weights_sha256"] for content in results}) == 1


def test_a_training_that_goes_astray_costs_its_own_results(laboratory, capsys):
    laboratory.astray = ("adnet-strict-fold0",)
    assert laboratory.call("--only", "table1", "adnet") == 1
    assert "no longer a finite number" in capsys.readouterr().err
    assert laboratory.did("train").count("tables-cpu-adnet-strict-fold0") == 1
    assert not any("strict-none-tables-cpu-adnet-strict-fold0" in name for name in laboratory.did("score"))
    assert any("adnet-strict-fold1" in name for name in laboratory.did("score"))


@pytest.mark.parametrize("kind", ["results", "runs"])
def test_what_another_recipe_made_is_refused(laboratory, capsys, kind):
    assert laboratory.call("--only", "table1", "panet") == 0
    name = "tables-cpu-panet-strict-fold0"
    result = laboratory.root / f"results/p-chaos-setting1-fold0-strict-none-{name}.json"
    model = laboratory.root / f"runs/{name}/model.safetensors"
    path = result if kind == "results" else model
    content = json.loads(path.read_text())
    content["recipe"]["steps"] += 1
    path.write_text(json.dumps(content))
    if kind == "runs":
        result.unlink()
    assert laboratory.call("--only", "table1", "panet") == 2
    assert "of another recipe" in capsys.readouterr().err


def test_what_is_there_is_counted(laboratory, capsys):
    assert laboratory.call("--only", "table1", "qnet-strict-fold0") == 0
    for path in (laboratory.root / "runs").glob("*/model.safetensors"):
        path.unlink()
    capsys.readouterr()
    assert laboratory.call("--dry-run", "--only", "table1", "qnet") == 0
    assert "3 of 45 results are there\n" in capsys.readouterr().out
    assert laboratory.call("--dry-run", "--only", "table3", "qnet-strict-fold0") == 0
    assert "0 of 1 results are there; 3 that are there are made again with their" in capsys.readouterr().out


def test_a_damaged_result_is_named(laboratory, capsys):
    assert laboratory.call("--only", "table1", "panet") == 0
    path = next((laboratory.root / "results").glob("p-*"))
    path.write_text("cut o")
    assert laboratory.call("--only", "table1", "panet") == 2
    assert path.name in capsys.readouterr().err


def test_a_dry_run_shows_what_is_left_and_does_nothing(laboratory, capsys):
    assert laboratory.call("--dry-run", "--only", "table1", "panet") == 0
    text = capsys.readouterr().out
    assert "time not known yet" in text and "train      panet-strict-fold0" in text
    assert "method=panet" in text and not laboratory.log and not list(laboratory.root.iterdir())


def test_expected_times_are_those_of_what_was_done(laboratory, capsys):
    runs = laboratory.root / "runs"
    runs.mkdir()
    times = [("train qnet", 3000), ("train qnet", 4200), ("p chaos strict", 120)]
    lines = [json.dumps({"kind": kind, "seconds": seconds}) for kind, seconds in times]
    (runs / "tables-cpu-seconds.jsonl").write_text("\n".join(lines) + '\n{"kind": "tr')
    assert laboratory.call("--dry-run", "--only", "dp-layer2") == 0
    # Five folds of two groups: ten trainings as long as the mean of Q-Net's, ten scorings.
    assert f"about {(10 * 3600 + 10 * 120) / 3600:.1f} hours" in capsys.readouterr().out


@pytest.mark.parametrize("options", [("--only", "table9"), ("--budget", "none")])
def test_unknown_names_are_refused(laboratory, capsys, options):
    assert laboratory.call(*options) == 2
    assert "panet" in capsys.readouterr().err or "--budget" in options
    assert not laboratory.log
