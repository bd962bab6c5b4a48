"""Pages from result files: every kind of cell, broken and old files, experiments."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import numpy as np
import pytest

from qnetseg.errors import InputError
from qnetseg.model import Refinement
from qnetseg_lab.report import write_report
from qnetseg_lab.report.paper_tables import figure
from qnetseg_lab.report.published import TABLE1, TABLE2, TABLE3, UNREADABLE
from qnetseg_lab.report.recipes import entries
from qnetseg_lab.report.runs import Run, Variant

ORGANS = ("liver", "right kidney", "left kidney", "spleen")


def result(fold=0, organs=ORGANS, dice=80.0, **changes):
    summary = {name: {"dice": dice + fold, "patients": 4} for name in organs}
    rows = [
        {"structure": name, "query": str(10 * fold + q), "support": "s", "dice": (dice + fold + q) / 100}
        for name in organs
        for q in range(4)
    ]
    return {
        "protocol": "P",
        "dataset": "chaos",
        "setting": 1,
        "fold": fold,
        "scheme": "strict",
        "method": "qnet",
        "model": f"big-fold{fold}",
        "recipe_name": "big",
        "steps": 6000,
        "options": {"refinement": {"mode": "none"}, "alpha": None},
        "model_config": {"downsample_layer": 4, "paths": "dual", "threshold": "shared"},
        "trained_on_scored_cases": False,
        "summary": {**summary, "mean": {"dice": dice + fold}},
        "rows": rows,
        **changes,
    }


@pytest.fixture
def page(tmp_path):
    """Writes results, renders, and gives the lines of all pages."""
    folder = tmp_path / "results"
    folder.mkdir()

    def render(*results):
        for number, content in enumerate(results):
            (folder / f"p-{number}.json").write_text(json.dumps(content))
        pages = write_report(folder)
        return [line for path in pages for line in path.read_text(encoding="utf-8").split("\n")]

    render.folder = folder
    return render


def ours(lines, model="big"):
    """Our rows of Tables 1 and 2."""
    return [x for x in lines if x.startswith(f"|  | [{model}](")]


def test_every_published_figure_is_there(page):
    text = "\n".join(page())
    for part in (*TABLE1.values(), *TABLE2.values()):
        for figures in part.values():
            assert " | ".join(figures) in text
    for pair in TABLE3.values():
        assert all(figure in text for figure in pair)
    assert text.count(UNREADABLE) == 2
    assert "None" not in text.replace("None has been", "").replace("None of", "") and "nan" not in text


def test_what_is_missing_is_said_once_a_table(page):
    lines = page(result())
    said = [line for line in lines if line.startswith("Not run yet")]
    assert len(said) == 3 + 2 + 1 + 1  # tables of Table 1 and 2, Table 3, Figure 4
    assert said[0].endswith(
        "`strict`: SE-Net, PANet, ALPNet (SSL-ALPNet), ADNet; `released`: ADNet, Q-Net."
        " Not planned: `released`: SE-Net, PANet, ALPNet (SSL-ALPNet)."
    )
    assert said[3].endswith(
        "`strict`: DP (DS on Layer 2), DP (DS on Layer 3), DP (DS on Layer 4)."
        " Not planned: `released`: DP (DS on Layer 2), DP (DS on Layer 3), DP (DS on Layer 4)."
    )
    assert sum("not run" in line.lower() for line in lines) == len(said)


def test_folds_are_averaged(page):
    (row,) = ours(page(*(result(fold) for fold in range(3))))
    assert "3 of 5 `strict` folds, 12 patients | 81.0 ± 0.8 |" in row and "[big](p-0.json)" in row
    (row,) = [line for line in ours(page(*(result(fold) for fold in range(5)))) if "5 of 5" in line]
    assert ", 20 patients | 82.0 ± 1.4 |" in row


def test_our_deviations_are_computed_like_the_published_ones():
    """A mean's ± is that of structures and folds together, if the structures' ± are those over folds."""
    checked = 0
    for figures in (f for part in TABLE1.values() for f in part.values() if "±" in f[0]):
        *own, (_, whole) = [[float(x) for x in figure.split(" ± ")] for figure in figures]
        together = np.hypot(np.std([m for m, _ in own]), np.sqrt(np.mean([s**2 for _, s in own])))
        checked += abs(together - whole) < 0.05
    assert checked == 11  # of 12; that of ADNet on CMR is off by 0.09
    run = Run(Variant.of(result()), [result(fold) for fold in range(3)])
    for content in run.files:
        content["summary"]["liver"]["dice"] += 12
    assert figure(*run.across("liver")) == "93.0 ± 0.8"
    assert figure(*run.across("mean")) == f"84.0 ± {np.sqrt(27 + 2 / 3):.1f}"
    assert figure([80.0], [80.0, 70.0]) == "80.0"


def test_groups_of_setting_2_are_one_run(page):
    upper = result(organs=("liver", "spleen"), setting=2, recipe_name="x-upper", model="upper-fold0")
    lower = result(organs=("right kidney", "left kidney"), setting=2, recipe_name="x-lower", dice=60.0)
    row = ours(page(upper), "upper")[0]
    assert "| 80.0 |  |  | 80.0 |  |" in row
    row = ours(page(upper, lower), "upper")[0]
    assert "[upper](p-0.json), [big](p-1.json)" in row and "| 80.0 | 60.0 | 60.0 | 80.0 | 70.0 |" in row


def recipe(fold=0, name="big", rate=1e-4, start="radiology", exclude=(), cmr=True):
    sources = [{"name": "chaos", "fold": fold, "scheme": "strict", "share": 0.6, "exclude": list(exclude)}]
    sources += [{"name": "cmr", "fold": fold, "scheme": "strict", "share": 0.4, "exclude": []}] * cmr
    return {"name": name, "start": start, "steps": 6000, "optimiser": {"rate": rate}, "data": sources}


def test_folds_are_pooled_only_where_their_recipes_are_equal(page):
    equal = [result(fold, recipe=recipe(fold, start=f"runs-fold{fold}.safetensors")) for fold in range(2)]
    (row,) = ours(page(*equal))
    assert ", 2 of 5 `strict` folds, " in row
    other = result(2, recipe=recipe(2, rate=5e-5, start="mine.safetensors"))
    unknown = result(3)
    lines = ours(page(*equal, other, unknown))
    assert [line.split(" | ")[1] for line in lines] == [f"[big](p-{n}.json)" for n in (0, 2, 3)]
    assert ["2 of 5" in line for line in lines] == [True, False, False]


def test_the_groups_of_setting_2_may_leave_out_other_data_but_not_train_otherwise(page):
    upper = ("liver", "spleen")
    groups = (upper, False), (tuple(o for o in ORGANS if o not in upper), True)
    files = [
        result(fold, organs, setting=2, recipe=recipe(fold, exclude=organs, cmr=cmr), recipe_name="big")
        for fold in range(2)
        for organs, cmr in groups
    ]
    row, again = ours(page(*files))  # in Tables 1 and 2
    assert ", 2 of 5 `strict` folds, " in row and row.count("80.5 ± 0.5") == 5 and row == again
    mixed = result(2, upper, setting=2, recipe=recipe(2, exclude=upper, cmr=True))
    assert len(set(ours(page(*files, mixed)))) == 2


def test_numbers_of_a_recipe_are_equal_however_they_are_written():
    one, other = (recipe(rate=rate) | {"steps": steps} for rate, steps in ((1e-4, 1), (0.0001, 1.0)))
    assert entries(one) == entries(other) != entries(recipe(rate=2e-4) | {"steps": 1})


def test_every_measure_is_shown_and_missing_distances_are_counted(page):
    content = result()
    for number, row in enumerate(content["rows"]):
        row |= {"iou": 0.7, "surface_dice": 0.6, "hd95": 12.0 if number % 4 else None}
    lines = page(content, result(dice=60.0, method="panet"))
    whole = [line for line in lines if line.startswith("| Q-Net | [big](p-0.json) | strict |")]
    row = next(line for line in whole if "| liver |" in line)
    assert "| liver | 4 | 81.5 (80.5 to 82.5) | 70.0 | 60.0 | 12.0 | 1 of 4 |" in row
    row = next(line for line in whole if "| mean |" in line)
    assert "| 70.0 | 60.0 | 12.0 | 4 of 16 |" in row
    row = next(line for line in lines if line.startswith("| PANet | [big](p-1.json) |"))
    assert row.endswith(") |  |  |  |  |")


def test_goals_and_lower_bounds_are_shown_with_the_distance(page):
    seen = result(dice=99.0, trained_on_scored_cases=True)
    free = {"mean": {"dice": 47.44}}
    bound = {"protocol": "P-floor", "dataset": "chaos", "scheme": "released", "summary": free, "rows": [{}]}
    lines = page(result(), result(scheme="released", dice=50.0), seen, bound)
    rows = [x for x in lines if x.startswith("| CHAOST2 (ABD) | 1 | ")]
    assert rows == [
        "| CHAOST2 (ABD) | 1 | strict | [big](p-0.json) | 6000 | none | 1 of 5 | 80.0 | -1.0 |  |",
        "| CHAOST2 (ABD) | 1 | released | [big](p-1.json) | 6000 | none | 1 of 5 | 50.0 |  | +2.6 |",
    ]
    assert any("CMR Setting 1 78.0. Lower bounds: CHAOST2 (ABD) `released` 47.4." in x for x in lines)


def test_models_that_saw_scored_cases_are_marked_and_do_not_count(page):
    lines = page(result(trained_on_scored_cases=True))
    (marked,) = [line for line in lines if line.startswith("|  | [big](p-0.json), trained on scored cases")]
    assert "not counted" in marked and any("ADNet, Q-Net." in x for x in lines if x.startswith("Not run"))
    assert "training cases unknown" in "\n".join(page(result(trained_on_scored_cases=None)))


def test_a_second_model_of_a_recipe_is_a_run_of_its_own(page):
    rows = ours(page(result(), result(dice=50.0)))
    assert len(rows) == 2 and "80.0" in rows[0] and "50.0" in rows[1]


def test_old_files_have_neither_recipe_nor_configuration(page):
    old = result(method="Q-Net", scheme="released", steps=2000)
    del old["recipe_name"], old["model_config"]
    (row,) = ours(page(old))
    assert "| 2000 steps, 1 of 5 `released` folds, 4 patients | 80.0 |" in row


def sweep(protocol, fold, **content):
    base = result(fold)
    return {key: base[key] for key in base if key not in ("summary", "rows")} | {
        "protocol": protocol,
        "rows": [],
        **content,
    }


def test_sweeps_become_table_3_and_figure_4(page):
    curves = {
        mode: {name: [70.0, 71.5, 69.0] for name in (*ORGANS, "mean")} for mode in ("released", "closed_form")
    }
    modes = [asdict(replace(Refinement.usual(mode), steps=2)) for mode in curves]
    files = [
        f(fold)
        for fold in range(2)
        for f in (
            lambda n: sweep(
                "P-alpha", n, alphas=[0.9, 0.8], dice={o: [80.0 + n, 70.0] for o in (*ORGANS, "mean")}
            ),
            lambda n: sweep("P-iterations", n, iterations=[0, 1, 2], curves=curves, modes=modes),
        )
    ]
    lines = page(*files)
    row = next(line for line in lines if line.startswith("| 0.9 |"))
    assert "80.5 ± 0.5" in row
    assert "| released | mean | 70.0 | 71.5 | 69.0 |" in lines
    (row,) = [line for line in lines if "refinement `closed_form` | 71.5" in line]  # one round is usual
    assert (page.folder / "figure4-setting1-strict-1.png").stat().st_size > 5000
    assert any("(figure4-setting1-strict-1.png)" in line for line in lines)


def test_galleries_comparisons_and_benchmarks_are_shown(page):
    (page.folder / "figure3-x.png").write_bytes(b"png")
    entry = {"difference": 1.5, "interval": [0.5, 2.5], "patients": 20}
    machine = {"processor": "CPU", "cores": 2, "gpu": "GPU"}
    comparison = {
        "comparison": "P",
        "first": "A",
        "second": "B",
        "dataset": "chaos",
        "setting": 1,
        "scheme": "strict",
        "metric": "dice",
        "unit": "points",
        "structures": {"liver": entry},
        "mean": entry,
        "sentence": "A is better.",
        "trained_on_scored_cases": True,
    }
    numbers = [
        "episodes_per_second",
        "reference_episodes_per_second",
        "ratio",
        "pairs",
        "structures",
        "gflop_per_episode",
        "matrix_gflops",
        "floor_seconds_per_step",
        "seconds_per_step",
        "fraction_of_floor",
    ]
    bench = {
        "bench": "training",
        "device": "cuda",
        "machine": machine,
        "precision": "bf16",
        **dict.fromkeys(numbers, 0.5),
    }
    voxels = {
        "dataset": "cmr",
        "method": "m",
        "rows": [{"case": "1", "adjusted_rand_index": 0.95}],
        "mean": 0.95,
    }
    other_patient = comparison | {"comparison": "R3", "dataset": "sunnybrook", "support_dataset": "cmr"}
    text = "\n".join(page(comparison, other_patient, bench, voxels))
    assert (
        "(figure3-x.png)" in text
        and "+1.5 (+0.5 to +2.5)" in text
        and "A is better. One of the models" in text
        and "another patient, cmr to sunnybrook" in text
    )
    assert "| GPU | bf16 | 0.5 |" in text and "| 0.50 | [json]" in text and "| cmr | m | 1 | 0.950 |" in text


@pytest.mark.parametrize("content", ["{", "[1]", '{"protocol": "P"}'])
def test_a_broken_file_is_refused(page, content):
    (page.folder / "bad.json").write_text(content)
    with pytest.raises(InputError):
        page()
    assert not (page.folder / "index.md").exists()


def experiment(folder, **changes):
    source = folder / "experiments"
    source.mkdir(exist_ok=True)
    (source / "a.json").write_text(json.dumps(result(dice=70.0)))
    (source / "b.json").write_text(json.dumps(result(dice=73.0)))
    entry = {
        "change": "c",
        "expected": "more",
        "baseline": "a.json",
        "result": "b.json",
        "kept": True,
        "why": "w",
    }
    lines = [
        f"{key} = {json.dumps(value)}" for key, value in {**entry, **changes}.items() if value is not None
    ]
    (source / "1.toml").write_text("\n".join(lines))


def test_experiments_are_paired(tmp_path):
    assert not (write_report(tmp_path)[0].parent / "experiments.md").exists()
    experiment(tmp_path)
    assert "(experiments.md)" in write_report(tmp_path)[0].read_text(encoding="utf-8")
    text = (tmp_path / "experiments.md").read_text(encoding="utf-8")
    assert "| c | more | 70.0 → 73.0; +3.0 (+3.0 to +3.0), 4 patients | yes | w | unknown |" in text
    (entry,) = json.loads((tmp_path / "experiments.json").read_text(encoding="utf-8"))
    assert entry["dice"] == 73.0 and entry["kept"] is True


def test_an_experiment_may_be_in_another_patient(tmp_path):
    experiment(tmp_path)
    keys = dict.fromkeys(
        ("labels", "support_dataset", "support_labels", "plane", "partly_labelled", "examples", "seed")
    )
    for name, dice in (("a", 70.0), ("b", 73.0)):
        content = result(dice=dice)
        summary = {"qnet": {"structures": content["summary"]}}
        content |= keys | {"protocol": "R3", "absent": False, "method": "qnet", "summary": summary}
        (tmp_path / "experiments" / f"{name}.json").write_text(json.dumps(content))
    write_report(tmp_path)
    assert "70.0 → 73.0; +3.0 (+3.0 to +3.0)" in (tmp_path / "experiments.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("changes", [{"why": None}, {"result": "absent.json"}, {"kept": "yes"}])
def test_an_incomplete_experiment_is_named(tmp_path, changes):
    experiment(tmp_path, **changes)
    with pytest.raises(InputError, match=r"1\.toml"):
        write_report(tmp_path)
    assert not list(tmp_path.glob("*.md"))
