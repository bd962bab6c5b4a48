"""Pages from result files: every kind of cell, broken and old files, the queue, experiments."""

from __future__ import annotations

import json

import numpy as np
import pytest

from qnetseg.errors import InputError
from qnetseg_lab.report import queue, write_experiments, write_index
from qnetseg_lab.report.paper_tables import figure
from qnetseg_lab.report.published import TABLE1, TABLE2, TABLE3, UNREADABLE
from qnetseg_lab.report.recipes import differences, entries
from qnetseg_lab.report.runs import Run, Variant

ORGANS = ("liver", "right kidney", "left kidney", "spleen")
QUEUE = """
| # | job | command | minutes | result |
|---|---|---|---|---|
| 1 | done | `qnetseg train adnet --fold 0 --output runs/adnet-fold0; qnetseg evaluate p --dataset chaos --setting 1 --model runs/adnet-fold{fold}/model.safetensors --output r` | 9 | yes |
| 2 | Q-Net | `for f in 0 1; do qnetseg train big --fold $f --scheme strict --output runs/big-fold$f; done; qnetseg evaluate p --dataset chaos --setting 1 --scheme strict --model runs/big-fold{fold}/model.safetensors --output r` | 45 | |
| 3 | sweeps | `qnetseg evaluate p-alpha --dataset chaos --setting 1 --scheme strict --model runs/big-fold{fold}/model.safetensors --output r` | 7 | |
| 4 | DP | `qnetseg train big --fold 0 --set model.threshold=fixed --output runs/dp-fold0; qnetseg evaluate p --dataset chaos --setting 2 --model runs/dp-fold0/model.safetensors --output r; qnetseg bench inference` | 5 | |
"""  # noqa: E501


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
    """Writes results, renders, and gives the lines of index.md."""
    (tmp_path / "GPU_QUEUE.md").write_text(QUEUE)
    (tmp_path / "big.toml").write_text("steps = 6000\n")
    folder = tmp_path / "results"
    folder.mkdir()

    def render(*results, planned=True):
        for number, content in enumerate(results):
            (folder / f"p-{number}.json").write_text(json.dumps(content))
        path = write_index(folder, tmp_path / "GPU_QUEUE.md" if planned else None)
        return path.read_text(encoding="utf-8").split("\n")

    render.folder = folder
    return render


def ours(lines, recipe="big", scheme="strict"):
    return [x for x in lines if x.startswith("|  | ours") and f"| {scheme} | {recipe} |" in x]


def test_every_published_figure_is_there(page):
    text = "\n".join(page())
    for part in (*TABLE1.values(), *TABLE2.values()):
        for figures in part.values():
            assert " | ".join(figures) in text
    for pair in TABLE3.values():
        assert all(figure in text for figure in pair)
    assert text.count(UNREADABLE) == 2
    assert "None" not in text.replace("None has been", "") and "nan" not in text


def test_what_is_missing_names_its_entry_of_the_queue(page):
    lines = page()
    assert any(
        "| strict | big | 6000 | none | 0 of 5" in x and "45 GPU minutes, queue entry 2 |" in x for x in lines
    )
    assert any("not run yet: 7 GPU minutes, queue entry 3" in line for line in lines)
    dp = [line for line in ours(lines, scheme="released") if "queue entry 4" in line]
    assert len(dp) == 2  # DP, and DP with DS on Layer 4
    assert any("not in the queue" in line for line in lines)
    assert not any("queue entry 1 " in line or "adnet |" in line for line in lines)  # has a result


def test_without_a_queue_it_is_just_not_run(page):
    text = "\n".join(page(planned=False))
    assert "not run yet" in text and "queue" not in text


def test_folds_are_averaged_and_a_complete_run_waits_for_nothing(page):
    (row,) = ours(page(*(result(fold) for fold in range(3))))
    assert "| 3 of 5 | 12 | 81.0 ± 0.8 |" in row and "45 GPU minutes, queue entry 2" in row
    (row,) = [line for line in ours(page(*(result(fold) for fold in range(5)))) if "5 of 5" in line]
    assert "| 20 | 82.0 ± 1.4 |" in row and "queue" not in row


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
    assert figure(run.dice("liver"), run.values("liver")) == "93.0 ± 0.8"
    assert figure(run.dice("mean"), run.values("mean")) == f"84.0 ± {np.sqrt(27 + 2 / 3):.1f}"
    assert figure([80.0], [80.0, 70.0]) == "80.0"


def test_groups_of_setting_2_are_one_run(page):
    upper = result(organs=("liver", "spleen"), setting=2, recipe_name="x-upper")
    lower = result(organs=("right kidney", "left kidney"), setting=2, recipe_name="x-lower", dice=60.0)
    row = ours(page(upper), "x")[0]
    assert "| 80.0 | not run yet | not run yet | 80.0 | not run yet |" in row
    row = ours(page(upper, lower), "x")[0]
    assert "| 80.0 | 60.0 | 60.0 | 80.0 | 70.0 |" in row


def recipe(fold=0, name="big", rate=1e-4, start="radiology", exclude=(), cmr=True):
    sources = [{"name": "chaos", "fold": fold, "scheme": "strict", "share": 0.6, "exclude": list(exclude)}]
    sources += [{"name": "cmr", "fold": fold, "scheme": "strict", "share": 0.4, "exclude": []}] * cmr
    return {"name": name, "start": start, "steps": 6000, "optimiser": {"rate": rate}, "data": sources}


def test_folds_are_pooled_only_where_their_recipes_are_equal(page):
    equal = [result(fold, recipe=recipe(fold, start=f"runs-fold{fold}.safetensors")) for fold in range(2)]
    (row,) = ours(page(*equal, planned=False))
    assert "| 2 of 5 |" in row
    other = result(2, recipe=recipe(2, rate=5e-5, start="mine.safetensors"))
    unknown = result(3)
    lines = [line for line in page(*equal, other, unknown, planned=False) if "ours | strict | big" in line]
    assert [line.split(" | ")[3] for line in lines] == [
        "big (optimiser.rate 0.0001, start runs-fold{fold}.safetensors)",
        "big (optimiser.rate 5e-05, start mine.safetensors)",
        "big (details not recorded)",
    ]
    assert ["2 of 5" in line for line in lines] == [True, False, False]


def test_the_groups_of_setting_2_may_leave_out_other_data_but_not_train_otherwise(page):
    upper = ("liver", "spleen")
    groups = (upper, False), (tuple(o for o in ORGANS if o not in upper), True)
    files = [
        result(fold, organs, setting=2, recipe=recipe(fold, exclude=organs, cmr=cmr), recipe_name="big")
        for fold in range(2)
        for organs, cmr in groups
    ]
    row, again = ours(page(*files, planned=False))  # in Tables 1 and 2
    assert "| 2 of 5 |" in row and row.count("80.5 ± 0.5") == 5 and row == again
    mixed = result(2, upper, setting=2, recipe=recipe(2, exclude=upper, cmr=True))
    rows = [x for x in page(*files, mixed, planned=False) if "ours | strict | big" in x]
    assert len(set(rows)) == 2 and "data.cmr.share for liver, spleen 0.4" in rows[1]
    assert "data.cmr.share for liver, spleen absent" in rows[0]


def test_a_run_of_another_recipe_does_not_stand_for_a_planned_one(page):
    planned = '[[data]]\nname = "chaos"\nshare = 0.6\n[[data]]\nname = "cmr"\nshare = 0.4\n'
    (page.folder.parent / "big.toml").write_text(
        f'steps = 6000\nstart = "radiology"\n{planned}[optimiser]\nrate = 1e-4\n'
    )
    lines = ours(page(result(recipe=recipe())))
    assert len(lines) == 1 and "1 of 5" in lines[0] and "queue entry 2" in lines[0]
    for changed in (recipe(rate=5e-5), recipe(start="mine.safetensors"), recipe(cmr=False)):
        lines = ours(page(result(recipe=changed)))
        assert ["queue entry 2" in line for line in lines] == [False, True]


def test_every_measure_is_shown_and_missing_distances_are_counted(page):
    content = result()
    for number, row in enumerate(content["rows"]):
        row |= {"iou": 0.7, "surface_dice": 0.6, "hd95": 12.0 if number % 4 else None}
    lines = page(content, result(dice=60.0, method="panet"), planned=False)
    row = next(line for line in lines if line.startswith("| Q-Net | strict | big |") and "| liver |" in line)
    assert "| liver | 4 | 81.5 (80.5 to 82.5) | 70.0 | 60.0 | 12.0 | 1 of 4 |" in row
    row = next(line for line in lines if line.startswith("| Q-Net | strict | big |") and "| mean |" in line)
    assert "| 70.0 | 60.0 | 12.0 | 4 of 16 |" in row
    row = next(line for line in lines if line.startswith("| PANet | strict | big |"))
    assert "| not measured | not measured | not measured | not measured |" in row


def test_goals_and_floors_are_shown_with_the_distance(page):
    seen = result(dice=99.0, trained_on_scored_cases=True)
    free = {"mean": {"dice": 47.44}}
    floor = {"protocol": "P-floor", "dataset": "chaos", "scheme": "released", "summary": free, "rows": [{}]}
    lines = page(result(), result(scheme="released", dice=50.0), seen, floor, planned=False)
    rows = [x for x in lines if x.startswith("| CHAOST2 (ABD) | 1 | ") and ("goal" in x or "floor" in x)]
    assert rows == [
        "| CHAOST2 (ABD) | 1 | strict | goal | 81.0 | big | 6000 | none | 1 of 5 | 80.0 | -1.0 |",
        "| CHAOST2 (ABD) | 1 | released | floor | 47.4 | big | 6000 | none | 1 of 5 | 50.0 | +2.6 |",
    ]
    assert "| CMR | 1 | strict | goal | 78.0 |  |  |  | 0 of 5 | not run yet |  |" in lines


def test_models_that_saw_scored_cases_are_marked_and_do_not_count(page):
    lines = page(result(trained_on_scored_cases=True))
    marked, waiting = ours(lines)
    assert "trained on scored cases: not counted" in marked and "queue" not in marked
    assert "0 of 5" in waiting and "queue entry 2" in waiting
    assert "training cases unknown" in "\n".join(page(result(trained_on_scored_cases=None)))


def test_a_second_model_of_a_recipe_is_a_run_of_its_own(page):
    rows = ours(page(result(), result(dice=50.0)))
    assert len(rows) == 2 and "80.0" in rows[0] and "50.0" in rows[1]


def test_old_files_have_neither_recipe_nor_configuration(page):
    old = result(method="Q-Net", scheme="released", steps=2000)
    del old["recipe_name"], old["model_config"]
    (row,) = ours(page(old), "not recorded", "released")
    assert "| 2000 | none | 1 of 5 | 4 | 80.0 |" in row


def sweep(protocol, fold, **content):
    base = result(fold)
    return {key: base[key] for key in base if key != "summary"} | {"protocol": protocol, **content}


def test_sweeps_become_table_3_and_figure_4(page):
    curves = {
        mode: {name: [70.0, 71.5, 69.0] for name in (*ORGANS, "mean")} for mode in ("released", "closed_form")
    }
    files = [
        f(fold)
        for fold in range(2)
        for f in (
            lambda n: sweep(
                "P-alpha", n, alphas=[0.9, 0.8], dice={o: [80.0 + n, 70.0] for o in (*ORGANS, "mean")}
            ),
            lambda n: sweep("P-iterations", n, iterations=[0, 1, 2], curves=curves),
        )
    ]
    lines = page(*files)
    row = next(line for line in lines if line.startswith("| 0.9 |"))
    assert "80.5 ± 0.5" in row
    assert "| released | mean | 70.0 | 71.5 | 69.0 |" in lines
    assert (page.folder / "figure4-setting1-strict.png").stat().st_size > 5000
    assert any("(figure4-setting1-strict.png)" in line for line in lines)


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
    text = "\n".join(page(comparison, bench, voxels))
    assert (
        "(figure3-x.png)" in text
        and "+1.5 (+0.5 to +2.5)" in text
        and "A is better. One of the models" in text
    )
    assert "| GPU | bf16 | 0.5 |" in text and "50 %" in text and "| cmr | m | 1 | 0.950 |" in text


@pytest.mark.parametrize("content", ["{", "[1]", '{"protocol": "P"}'])
def test_a_broken_file_is_refused(page, content):
    (page.folder / "bad.json").write_text(content)
    with pytest.raises(InputError):
        page()
    assert not (page.folder / "index.md").exists()


@pytest.mark.parametrize(
    ("old", "new", "match"),
    [
        ("| # |", "| no |", "no table"),
        ("| 45 |", "| 45 a fold |", "entry"),
        ("--fold $f", "--fold '$f", "command of entry 2"),
    ],
)
def test_a_broken_queue_is_refused(tmp_path, old, new, match):
    (tmp_path / "q.md").write_text(QUEUE.replace(old, new))
    with pytest.raises(InputError, match=match):
        queue.read_queue(tmp_path / "q.md")
    with pytest.raises(InputError, match="cannot be read"):
        queue.read_queue(tmp_path / "absent.md")


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
    assert write_experiments(tmp_path) is None
    experiment(tmp_path)
    text = write_experiments(tmp_path).read_text(encoding="utf-8")
    assert "| c | more | 70.0 → 73.0; +3.0 (+3.0 to +3.0), 4 patients | yes | w | unknown |" in text
    (entry,) = json.loads((tmp_path / "experiments.json").read_text(encoding="utf-8"))
    assert entry["dice"] == 73.0 and entry["kept"] is True
    assert "(experiments.md)" in write_index(tmp_path).read_text(encoding="utf-8")


@pytest.mark.parametrize("changes", [{"why": None}, {"result": "absent.json"}, {"kept": "yes"}])
def test_an_incomplete_experiment_is_named(tmp_path, changes):
    experiment(tmp_path, **changes)
    with pytest.raises(InputError, match=r"1\.toml"):
        write_experiments(tmp_path)
    assert not (tmp_path / "experiments.md").exists()


def test_recipes_of_one_name_tell_what_they_have_otherwise_and_no_more():
    both = {
        "name": "big",
        "start": "radiology",
        "data": [{"name": n, "share": 0.5, "rule": "any"} for n in "ab"],
    }
    alone = {**both, "start": "big-1", "method": "qnet", "data": both["data"][:1]}
    told = differences([entries(both), entries(alone)])
    assert told[entries(both)] == "data.b.share 0.5, start radiology"
    assert told[entries(alone)] == "data.b.share absent, method qnet, start big-1"
