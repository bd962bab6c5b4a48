"""What the tables teach, on made-up results: each line there, missing, and undecided; budgets said once."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import pytest

from qnetseg.model import Refinement
from qnetseg_lab.data import CATALOGUE
from qnetseg_lab.evaluation.plan import ROWS
from qnetseg_lab.report.budgets import described
from qnetseg_lab.report.lessons import lessons
from qnetseg_lab.report.measures import measures
from qnetseg_lab.report.paper_tables import table1, table2
from qnetseg_lab.report.published import RECIPE
from qnetseg_lab.report.refined import with_refined
from qnetseg_lab.report.sweep_tables import table3
from qnetseg_lab.training import read_recipe

RECIPES = Path(__file__).resolve().parents[2] / "Training" / "recipes"
MIXED = (9.0, -8.0, 7.0, -10.0)  # by patient: a difference whose interval includes zero
SWEEP = {"protocol": "P-alpha", "alphas": [1.0, 0.9, 0.8]}


def recipe_of(row="qnet", name="tables-x", fold=0, **changes):
    recipe = {
        "name": name,
        "method": "qnet",
        "start": "runs:better",
        "steps": 70,
        "model": {"depth": 50, "size": 256, "paths": "dual", "downsample_layer": 4, "threshold": "shared"},
        "episodes": {"pairs": 2, "structures": 3, "crop": 64},
        "data": [{"name": "chaos", "fold": fold, "scheme": "strict", "share": 1.0, "exclude": []}],
        **changes,
    }
    for key, value in ROWS[row].items():
        section, _, entry = key.rpartition(".")
        (recipe[section] if section else recipe)[entry] = value
    return recipe


def result(row="qnet", dice=60.0, fold=0, mode="none", extra=(0.0,) * 4, place=("chaos", 1), **changes):
    """A result file of a row; `extra` is added to the Dice of each of its patients."""
    name = f"tables-x-{row}-strict-fold{fold}"
    recipe = recipe_of(row, fold=fold)
    values = [dice + q + more for q, more in enumerate(extra)]
    names = CATALOGUE[place[0]].labels
    summary = {name: {"dice": sum(values) / 4} for name in (*names, "mean")}
    rows = [
        {"structure": name, "query": str(10 * fold + q), "support": "s", "dice": value / 100}
        for name in names
        for q, value in enumerate(values)
    ]
    content = {
        "protocol": "P",
        "dataset": place[0],
        "setting": place[1],
        "fold": fold,
        "scheme": "strict",
        "method": recipe["method"],
        "model": name,
        "recipe_name": recipe["name"],
        "recipe": recipe,
        "steps": recipe["steps"],
        "options": {"refinement": {"mode": mode}, "alpha": None},
        "model_config": {**recipe["model"], "alpha": 0.9},
        "trained_on_scored_cases": False,
        "weights_sha256": name,
        "revision": "abc",
        "summary": summary,
        "rows": rows,
        "file": f"{name}-{mode}.json",
    }
    return content | changes


def folds(*arguments, **changes):
    return [result(*arguments, fold=fold, **changes) for fold in range(2)]


def line(results, start):
    """The one line of the section that begins so; "" for none."""
    lines = [x for x in lessons(results).split("\n") if x.startswith(f"- **{start}")]
    return lines[0] if lines else ""


def sweep(by_alpha, fold=0, setting=1, **changes):
    """A sweep's file: Dice of all patients for each alpha, or a list of four."""
    content = result(fold=fold, place=("chaos", setting)) | SWEEP
    lists = [value if isinstance(value, list) else [value] * 4 for value in by_alpha]
    for row in content["rows"]:
        row["dice"] = [own[int(row["query"]) % 10] / 100 for own in lists]
    content["dice"] = {name: [sum(own) / 4 for own in lists] for name in CATALOGUE["chaos"].labels}
    del content["summary"]
    return content | changes


def test_without_results_there_is_no_section():
    assert lessons([]) == ""
    assert lessons([result(recipe=None)]) == ""
    assert "paired" not in lessons([result()]) and "How far" in lessons([result()])


def test_qnet_and_adnet_are_paired_at_equal_budget():
    question = "Does Q-Net, without refinement, beat ADNet?"
    ours, adnet = folds(dice=65.0), folds("adnet")
    assert line([*ours, *adnet], question).endswith(
        "CHAOST2 Setting 1: better, +5.0 (+5.0 to +5.0; 2 of 5 folds, 8 patients)."
    )
    assert "recipe `tables-x` where nothing else" in lessons([*ours, *adnet])
    assert "slightly worse, -1.0 (" in line([*folds(dice=59.0), *adnet], question)
    assert "no difference shown, -0.5 (" in line([*folds(extra=MIXED), *adnet], question)
    assert "too few to tell, +5.0 (+5.0 to +5.0; 1 of 5 folds, 4 patients)" in line(
        [*ours, adnet[0]], question
    )
    heart = [result(row, fold=f, place=("cmr", 1)) for row in ("qnet", "adnet") for f in (0, 1)]
    both = line([*ours, *adnet, *heart], question)
    assert "better, +5.0" in both and "CMR Setting 1: no difference shown, +0.0" in both


@pytest.mark.parametrize(
    "changes",
    [
        {"recipe": recipe_of("adnet", steps=71)},
        {"recipe": recipe_of("adnet", start="other")},
        {"recipe": recipe_of("adnet", episodes={"pairs": 1, "structures": 3, "crop": 64})},
        {"recipe": None},
        {"scheme": "released"},
        {"trained_on_scored_cases": True},
    ],
)
def test_what_is_not_equal_is_not_paired(changes):
    question = "Does Q-Net"
    assert line([*folds(), result("adnet")], question)
    assert not line([*folds(), result("adnet", **changes)], question)


def test_parts_are_paired_in_setting_2():
    place = ("chaos", 2)
    results = [
        *folds("dp", 64.0, place=place),
        *folds("64x64", 60.0, place=place),
        *folds("32x32", extra=MIXED, dice=64.0, place=place),
        *folds("qnet", 63.0, place=place),
    ]
    paths = line(results, "What do two trained paths (DP) bring, with the start `better`?")
    assert "Against the fine path alone (64 x 64), CHAOST2 Setting 2: better, +4.0 (" in paths
    assert "Against the coarse path alone (32 x 32), CHAOST2 Setting 2: no difference shown, " in paths
    assert "slightly worse, -1.0 (" in line(results, "What does the threshold from the query (TA) bring")
    assert "Against the fine path" not in line([*results[:2], *results[4:]], "What do two")
    assert not line([*results[:2], *results[6:]], "What do two") and not line(
        results[:6], "What does the thr"
    )


def test_a_part_that_only_some_structures_have_says_so():
    place = ("chaos", 2)
    pair = [*folds("dp", 64.0, place=place), *folds("qnet", 70.0, place=place)]
    for content in pair[:2]:
        content["rows"] = [row for row in content["rows"] if row["structure"] in ("liver", "spleen")]
    assert "8 patients, liver and spleen only)" in line(pair, "What does the threshold")


def test_refinement_is_paired_on_the_same_weights():
    place = ("chaos", 2)
    results = [*folds(), *folds(dice=63.0, mode="released"), *folds(mode="closed_form", extra=MIXED)]
    results += [result("dp", place=place), result("dp", 55.0, mode="released", place=place)]
    released = line(results, "Is refinement (PR) of any use, mode `released`, the step of the authors' code?")
    assert "CHAOST2 Setting 1: better, +3.0 (" in released
    assert "DP without TA, CHAOST2 Setting 2: too few to tell, -5.0 (" in released
    assert "no difference shown" in line(results, "Is refinement (PR) of any use, mode `closed_form`?")
    assert not line(results, "Is refinement (PR) of any use, mode `reconstruction`?")
    other = [*folds(), *folds(dice=63.0, mode="released", weights_sha256="other")]
    assert not line(other, "Is refinement")


def curves(gains, fold=0, **changes):
    """A sweep over iterations 0 to 7; each adds a number to Dice that each mode has."""
    content = result(fold=fold) | {"protocol": "P-iterations", "iterations": list(range(8))}
    names = CATALOGUE["chaos"].labels
    content["curves"] = {
        m: {n: [60 + gain * i for i in range(8)] for n in names} for m, gain in gains.items()
    }
    content["modes"] = [asdict(replace(Refinement.usual(mode), steps=7)) for mode in gains]
    for row in content["rows"]:
        row["dice"] = [row["dice"] + gain * i / 100 for gain in gains.values() for i in range(8)]
    del content["summary"]
    return content | changes


def refined(contents, mode):
    """Files of a mode's derived results, with their structures."""
    own = [c for c in contents if c["protocol"] == "P" and c["options"]["refinement"]["mode"] == mode]
    return [(c["file"], [*c["summary"]]) for c in own if c["file"].startswith("sweep")]


def test_refined_rows_are_taken_from_sweeps_after_the_usual_steps():
    gains = {"released": 1.0, "closed_form": -2.0}
    sweeps = [curves(gains, fold, file=f"sweep{fold}") for fold in (0, 1)]
    scored = with_refined([*folds(), *sweeps])
    question = "Is refinement (PR) of any use, mode "
    assert "Setting 1: better, +7.0 (" in line(scored, f"{question}`released`")
    assert "Setting 1: worse, -2.0 (" in line(scored, f"{question}`closed_form`")  # one round is usual
    (row,) = [x for x in table1(scored).split("\n") if "`released` |" in x]
    assert row.endswith("| 67.0 ± 0.0 | 67.0 ± 0.0 | 67.0 ± 0.0 | 67.0 ± 0.0 | 67.0 ± 0.0 |")
    assert with_refined([s | {"iterations": [0]} for s in sweeps])[2:] == []
    other = [asdict(replace(Refinement.usual(mode), steps=7, rate=0.5)) for mode in gains]
    assert with_refined([sweeps[0] | {"modes": other}])[1:] == [], "not the usual rate"
    assert with_refined([sweeps[0] | {"rows": []}])[1]["rows"] == []


def test_what_was_scored_alone_is_not_taken_from_a_sweep_too():
    sweep, organs = curves({"released": 1.0}, file="sweep"), [*CATALOGUE["chaos"].labels]
    alone = result(mode="released", dice=63.0)
    assert refined(with_refined([alone, sweep]), "released") == []
    spleen = alone | {"summary": {"spleen": {"dice": 63.0}}}
    assert refined(with_refined([spleen, sweep]), "released") == [("sweep", organs[:-1])]
    assert organs[-1] == "spleen"
    own_alpha = alone | {"options": {"refinement": {"mode": "released"}, "alpha": 0.8}}
    for other in (own_alpha, alone | {"weights_sha256": "other"}, alone | {"fold": 1}):
        assert refined(with_refined([other, sweep]), "released") == [("sweep", organs)]


def test_measures_that_a_part_of_a_run_lacks_are_not_shown():
    whole = result(mode="released")
    whole["rows"] = [{**row, "iou": 0.4, "hd95": 5.0} for row in whole["rows"]]
    assert "| 61.5 (60.5 to 62.5) | 40.0 |  | 5.0 | 0 of 4 |" in measures([whole])
    text = measures(with_refined([whole, curves({"released": 1.0}, fold=1)]))
    assert "40.0" not in text and "of 8 |" not in text and "8 | " in text


def test_weights_without_a_recipe_are_named():
    old = {"recipe": None, "recipe_name": None, "model": "old"}
    text = lessons([result(**old), result(mode="released", **old), *folds("adnet")])
    assert "Setting 1, model [old](tables-x-qnet-strict-fold0-released.json): too few to tell, +0.0 (" in text


def test_the_best_alpha_is_told_with_what_it_adds_to_the_models_own():
    question = "Which alpha"
    clear = [result(), *(sweep([50.0, 60.0, 65.0], fold) for fold in range(2))]
    assert line(clear, question).endswith(
        "CHAOST2 Setting 1: 0.8, best of 3 tried; against the model's own 0.9 better, +5.0 (+5.0 to +5.0;"
        " 2 of 5 folds, 8 patients)."
    )
    unclear = [sweep([50.0, 60.0, [70.0, 51.0, 69.0, 52.0]], fold) for fold in range(2)]
    assert "own 0.9 no difference shown, +0.5 (" in line(unclear, question)
    own = [result(), sweep([50.0, 60.0, 55.0], setting=2)]
    assert line(own, question).endswith(
        "Setting 2: 0.9, best of 3 tried, the model's own (1 of 5 folds, 4 patients);"
        " the paper's best is 0.8."
    )
    other = sweep([50.0, 55.0], alphas=[0.8, 0.6])
    assert line([result(), other], question).endswith(
        "Setting 1: 0.6, best of 2 tried (1 of 5 folds, 4 patients)."
    )
    assert not line([sweep([50.0, 60.0, 55.0], trained_on_scored_cases=True)], question)


def test_the_coarse_path_is_weighed_on_the_same_weights():
    question = "Does the coarse path matter"
    results = [result(), *(sweep([50.0, 60.0, 65.0], fold) for fold in range(2))]
    assert "Setting 1, alpha 0.9: better, +10.0 (" in line(results, question)
    assert "too few to tell" in line(results[:2], question)
    mixed = [sweep([60.0, [70.0, 51.0, 69.0, 52.0], 1.0], fold) for fold in range(2)]
    assert "no difference shown" in line(mixed, question)
    assert not line([sweep([1.0, 2.0, 3.0], model_config={"alpha": 1.0})], question)
    assert not line([sweep([2.0, 3.0], alphas=[0.9, 0.8])], question)


def test_the_distance_to_the_published_mean_and_what_was_trained_otherwise_are_told():
    results = [*folds(), result("panet"), result("qnet", mode="released", dice=90.0)]
    text = line(results, "How far is each method, without refinement, from its published mean?")
    assert "CHAOST2 Setting 1 (`strict`, 2 of 5 folds, 8 patients): Q-Net -19.5." in text
    assert "CHAOST2 Setting 1 (`strict`, 1 of 5 folds, 4 patients): PANet -11.8." in text
    assert text.count("Q-Net") == 2  # the second in what is otherwise
    assert "70 steps (paper: 30000 steps)" in text
    assert "2 pairs of slices with up to 3 supervoxels each a step (paper: 1 pair of slices with 1" in text
    assert "windows of 64 x 64 pixels (paper: slices of 256 x 256 pixels)" in text
    half = result(fold=1)
    half["summary"] = {"liver": {"dice": 50.0}}
    assert "(`strict`, 1 of 5 folds, 4 patients): Q-Net -19.5." in line([result(), half], "How far")
    papers = folds(recipe=RECIPE | {"name": "tables-x", "data": []})
    assert "otherwise" not in line(papers, "How far")


def test_what_another_budget_brings_to_qnet_is_told_with_what_it_is():
    recipe = recipe_of(name="big", steps=700, episodes={"pairs": 4, "structures": 3})
    larger = {"recipe": recipe, "recipe_name": "big", "weights_sha256": "big"}
    results = [*folds(), *folds("adnet"), *folds(dice=64.0, **larger)]
    told = line(results, "What does another budget bring to Q-Net, without refinement, against `tables-x`?")
    assert "`big`: better, +4.0 (+4.0 to +4.0; 2 of 5 folds, 8 patients), -15.5 from the pub" in told
    assert told.endswith(
        " This `big` has 700 steps (`tables-x`: 70 steps); 4 pairs of slices with up to 3 supervoxels each a"
        " step (`tables-x`: 2 pairs of slices with up to 3 supervoxels each a step); slices of 256 x 256"
        " pixels (`tables-x`: windows of 64 x 64 pixels), and perhaps other entries."
    )
    longer = {"recipe": recipe_of(name="long", steps=900), "recipe_name": "long", "weights_sha256": "long"}
    assert "`long`" not in line([*results, result(dice=70.0, **longer)], "What does another"), "fewer folds"
    more = [result(dice=90.0, fold=fold, **larger) for fold in (2, 3)]
    assert "2 of 5 folds, 8 patients), -15.5 from" in line([*results, *more], "What does another")
    second = result(dice=99.0, weights_sha256="second", model="second")
    assert "better, +4.0" in line([*results, second], "What does another")
    half = [*folds(), result(summary={"liver": {"dice": 50.0}}, **larger)]
    assert not line(half, "What does another")
    unsaid = [result(recipe=None, fold=fold) for fold in range(2)]
    assert not line([*unsaid, *folds("adnet"), *folds(dice=64.0, **larger)], "What does another")
    assert not line([*folds(), *folds("adnet", **larger)], "What does another")
    assert not line([*folds(), *folds(trained_on_scored_cases=True, **larger)], "What does another")


def test_the_published_recipe_is_that_of_the_recipe_files():
    for path in RECIPES.glob("paper-*.toml"):
        assert described(asdict(read_recipe(path))) == described(RECIPE)
    assert set(described(RECIPE)) == {"start", "steps", "batch", "images", "encoder"}


def test_ten_lines_teach():
    places = [("chaos", 1), ("chaos", 2), ("cmr", 1)]
    results = [c for place in places for row in ROWS for c in folds(row, place=place)]
    modes = ("closed_form", "reconstruction", "released")
    results += [
        c for row in ("qnet", "dp") for mode in modes for p in places for c in folds(row, mode=mode, place=p)
    ]
    results += [sweep([1.0, 2.0, 3.0], fold, setting) for fold in range(2) for setting in (1, 2)]
    results.append(result(recipe=recipe_of(name="long", steps=90), recipe_name="long", weights_sha256="l"))
    lines = [x for x in lessons(results).split("\n") if x and not x.startswith("##")]
    assert len(lines) == 1 + 10 and len({x.split("?")[0] for x in lines}) == 1 + 10


def test_a_budget_is_said_once_a_table_and_others_stay_recognisable():
    other = result(steps=9000, model="big", recipe=recipe_of(steps=9000, name="long"), recipe_name="long")
    refined = folds(mode="released")
    results = [*folds(revision="def"), *folds("adnet"), result("panet"), *refined, other]
    text = table1(results)
    (said,) = [x for x in text.split("\n") if x.startswith("Equal budget")]
    assert said == (
        "Equal budget (recipe `tables-x`): start `better`, 70 steps, 2 pairs of slices with up to 3"
        " supervoxels each a step, windows of 64 x 64 pixels, ResNet-50, 1 of 5 `strict` folds, 4 patients,"
        " no refinement, where a row says nothing else; scored by revision abc, def."
    )
    assert "|  | [adnet](tables-x-adnet-strict-fold0-none.json) | equal budget | 61.5" in text
    assert "|  | [panet](tables-x-panet-strict-fold0-none.json) | equal budget | 61.5" in text
    assert "| equal budget, refinement `released` |" in text
    assert "|  | [big](tables-x-qnet-strict-fold0-none.json) | `long`, 9000 steps | 61.5" in text


def test_rows_of_a_budget_are_of_the_same_folds_and_once_more_of_all():
    better = [result(dice=60.0 + 20 * fold, fold=fold) for fold in range(2)]
    text = table1([*better, *folds("adnet"), result("panet"), *folds(mode="released")])
    rows = [x.split(" | ")[2:4] for x in text.split("\n") if x.startswith("|  | [")]
    one, both = "equal budget", "equal budget, 2 of 5 folds, 8 patients"
    refined = "equal budget, 2 of 5 folds, 8 patients, refinement `released`"
    assert rows == [
        *([one, "61.5"], [one, "61.5"], [both, "61.5 ± 0.0"], [one, "61.5"], [both, "71.5 ± 10.0"]),
        *(["equal budget, refinement `released`", "61.5"], [refined, "61.5 ± 0.0"]),
    ]
    both_have_two = table1([*better, *folds("adnet")]).split("\n")
    rows = [x.split(" | ")[2:4] for x in both_have_two if x.startswith("|  | [")]
    assert rows == [[one, "61.5 ± 0.0"], [one, "71.5 ± 10.0"]]
    apart = table1([result(), result("adnet"), result("alpnet"), result("panet", fold=1)])
    (row,) = [x for x in apart.split("\n") if x.startswith("|  | [panet]")]
    assert "equal budget, 1 of 5 folds, 4 patients, others: 1 |" in row


def test_a_fold_of_which_a_half_is_scored_does_not_count():
    place = ("chaos", 2)
    results = [result(dice=65.0 + 15 * fold, fold=fold, place=place) for fold in range(2)]
    results += folds("adnet", place=place)
    for content in results:
        if content["fold"] == 1:
            content["summary"] = {"liver": content["summary"]["liver"]}
            content["rows"] = [row for row in content["rows"] if row["structure"] == "liver"]
    said = "CHAOST2 Setting 2: too few to tell, +5.0 (+5.0 to +5.0; 1 of 5 folds, 4 patients)"
    assert said in line(results, "Does Q-Net")
    assert "2 of 5 folds" not in table1(results) and "1 of 5 `strict` folds, 4 patients" in table1(results)


def test_one_row_alone_has_no_budget_in_common():
    text = table2([result(place=("chaos", 2))])
    assert "Equal budget" not in text
    assert (
        "| [tables-x-qnet-strict](tables-x-qnet-strict-fold0-none.json) | `tables-x`, 70 steps, 1 of 5 `st"
        in text
    )


def test_sweeps_share_what_their_columns_need_not_repeat():
    results = [sweep([50.0, 60.0, 65.0], fold, setting) for fold in range(2) for setting in (1, 2)]
    text = table3(results)
    assert "| Setting 1, ours: equal budget |" in text and "| Setting 2, ours: equal budget |" in text
    assert "2 of 5 `strict` folds, 8 patients, no refinement, where a column says nothing else" in text
