"""Measures, their means over patients and paired comparisons, with answers by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from qnetseg.cli import main
from qnetseg.errors import InputError
from qnetseg_lab.data import dataset
from qnetseg_lab.evaluation.comparison import compare, read_side
from qnetseg_lab.evaluation.metrics import (
    SurfaceDistances,
    bootstrap_mean_interval,
    measures,
    surface_tolerance,
)
from qnetseg_lab.evaluation.summary import summarise

SPACING = (8.0, 1.0, 2.0)


def box(k, j, i, shape=(4, 20, 20)):
    mask = np.zeros(shape, np.uint8)
    mask[slice(*k), slice(*j), slice(*i)] = 1
    return mask


# --- surfaces ----------------------------------------------------------------------------------


def test_equal_masks_touch_everywhere():
    found = measures(box((1, 3), (5, 9), (5, 9)), box((1, 3), (5, 9), (5, 9)), SPACING)
    assert found == {"dice": 1.0, "iou": 1.0, "surface_dice": 1.0, "hd95": 0.0}


def test_a_shift_along_an_axis_is_measured_in_mm():
    # One voxel each: 3 voxels of 2 mm apart along i, 4 of 1 mm along j: 5 x ... = sqrt(36 + 16) mm.
    one, other = box((1, 2), (5, 6), (5, 6)), box((1, 2), (9, 10), (8, 9))
    distances = SurfaceDistances.between(one, other, SPACING)
    assert distances.hd95() == pytest.approx(np.sqrt(52))
    assert distances.dice(7.2) == 0.0 and distances.dice(7.3) == 1.0
    # Between slices it is their thickness.
    above = SurfaceDistances.between(one, box((2, 3), (5, 6), (5, 6)), SPACING)
    assert above.hd95() == 8.0 and above.dice(8.0) == 1.0


def test_surface_dice_counts_the_voxels_of_both_surfaces():
    # A line of 10 voxels (all surface) and its first 5: those beyond 2 mm of the short one are 7th to 10th.
    line, half = box((1, 2), (5, 15), (5, 6)), box((1, 2), (5, 10), (5, 6))
    distances = SurfaceDistances.between(half, line, SPACING)
    assert distances.dice(2.0) == pytest.approx((5 + 7) / 15)
    # From the line to the half: 0 five times, then 1 to 5 mm; the 95th percentile of ten values.
    assert distances.hd95() == pytest.approx(np.percentile([0, 0, 0, 0, 0, 1, 2, 3, 4, 5], 95))


def test_inside_voxels_are_no_surface():
    solid = box((0, 3), (5, 10), (5, 10))  # its ends lie at the edge of the array
    assert len(SurfaceDistances.between(solid, solid, SPACING).to_target) == 3 * 25 - 9


def test_empty_masks():
    empty, full = box((0, 0), (0, 0), (0, 0)), box((1, 2), (5, 9), (5, 9))
    for pair in ((empty, full), (full, empty)):
        assert measures(*pair, SPACING) == {"dice": 0.0, "iou": 0.0, "surface_dice": 0.0, "hd95": None}
    assert measures(empty, empty, SPACING) == {"dice": 1.0, "iou": 1.0, "surface_dice": 1.0, "hd95": None}


def test_the_tolerance_is_the_slice_thickness_but_at_least_2_mm():
    assert surface_tolerance((7.7, 1.25, 1.25)) == 7.7 and surface_tolerance((1.0, 1.0, 1.0)) == 2.0


@given(arrays(bool, (3, 5, 4)), arrays(bool, (3, 5, 4)))
def test_measures_are_symmetric_and_bounded(one, other):
    found = measures(one, other, SPACING)
    assert found == measures(other, one, SPACING)
    assert all(0 <= found[key] <= 1 for key in ("dice", "iou", "surface_dice"))
    assert found["hd95"] is None or 0 <= found["hd95"] <= np.sqrt(16**2 + 4**2 + 6**2)


# --- means over patients -----------------------------------------------------------------------


def row(structure, query, support, dice, hd95=1.0):
    return {
        "structure": structure,
        "query": query,
        "support": support,
        "dice": dice,
        "iou": dice / (2 - dice),
        "surface_dice": dice,
        "hd95": hd95,
    }


def test_every_patient_counts_once_and_undefined_values_do_not():
    rows = [
        row("liver", "1", "2", 0.5, None),
        row("liver", "1", "3", 0.7, 4.0),
        row("liver", "2", "3", 0.9, None),
        row("spleen", "2", "3", 0.4, None),
    ]
    summary = summarise(rows, dataset("chaos").labels)
    assert list(summary) == ["liver", "spleen", "mean"]
    assert summary["liver"]["dice"] == pytest.approx(75) and summary["liver"]["patients"] == 2
    assert summary["liver"]["hd95"] == 4.0 and summary["spleen"]["hd95"] is None
    assert summary["mean"]["dice"] == pytest.approx(57.5) and summary["mean"]["hd95"] == 4.0
    assert summary["mean"]["patients"] == 2
    json.dumps(summary, allow_nan=False)


@given(st.lists(st.lists(st.floats(0, 100), min_size=2, max_size=2), min_size=1, max_size=6))
def test_the_interval_holds_no_more_than_the_patients(values):
    table = np.array(values)
    low, high = bootstrap_mean_interval(table)
    means = table.mean(axis=1)
    assert means.min() - 1e-9 <= low <= high <= means.max() + 1e-9


def test_a_structure_that_some_patients_lack_is_averaged_over_the_others():
    table = np.array([[50.0, np.nan], [50.0, 70.0], [50.0, 70.0]])
    low, high = bootstrap_mean_interval(table)
    assert 50 <= low <= high == 60.0


# --- paired comparison -------------------------------------------------------------------------


def result(rows, fold=0, **changes):
    return {
        "protocol": "P",
        "dataset": "chaos",
        "setting": 1,
        "scheme": "released",
        "fold": fold,
        "method": "qnet",
        "model": "a",
        "options": {"refinement": {"mode": "none"}, "alpha": None},
        "rows": rows,
        **changes,
    }


def side(gain, spread=0.0, **changes):
    """Two folds of three patients; the liver gains `gain` give or take `spread`, the spleen half of it."""
    folds = []
    for fold in range(2):
        rows = []
        for patient in range(3):
            level = 0.5 + 0.05 * patient + 0.1 * fold + gain + spread * (patient - 1)
            query = str(3 * fold + patient)
            rows += [row("liver", query, "9", level), row("spleen", query, "9", level - gain / 2)]
        folds.append(result(rows, fold, **changes))
    return folds


def test_a_constant_gain_is_shown():
    found = compare(side(0.04, model="b"), side(0.0))
    assert found["structures"]["liver"]["difference"] == pytest.approx(4)
    assert found["structures"]["spleen"]["difference"] == pytest.approx(2)
    assert found["mean"]["difference"] == pytest.approx(3) and found["mean"]["shown"]
    assert found["patients"] == 6 and found["pairs"] == 12 and found["unpaired"] == 0
    assert found["sentence"].startswith("b is better than a: +3.0 points")
    assert "is worse than" in compare(side(0.0), side(0.04))["sentence"]
    assert "small one" in compare(side(0.01), side(0.0))["sentence"]
    json.dumps(found, allow_nan=False)


def test_a_gain_within_the_spread_is_no_difference():
    found = compare(side(0.01, 0.1), side(0.0))
    assert not found["mean"]["shown"] and "No difference can be claimed" in found["sentence"]
    low, high = found["mean"]["interval"]
    assert low < 0 < high


def test_an_interval_of_few_patients_is_not_enough():
    gains = (-0.02, -0.008, -0.021, 0.008, -0.005, -0.01, 0.0)  # a bootstrap of seven is too narrow
    first, second = (
        [result([row("liver", str(n), "9", 0.5 + on * gain) for n, gain in enumerate(gains)])]
        for on in (1, 0)
    )
    found = compare(first, second)["mean"]
    assert found["interval"][1] < 0 < found["p"] and found["p"] > 0.05 and not found["shown"]


def test_a_training_that_was_repeated_is_named_by_its_weights():
    sides = (side(gain, model="a", weights_sha256=name * 9) for gain, name in ((0.04, "one"), (0.0, "two")))
    found = compare(*sides)
    assert (found["first"], found["second"]) == ("a, weights oneoneon", "a, weights twotwotw")
    assert found["repeated"] and not compare(side(0.0, model="b"), side(0.0))["repeated"]


def test_few_patients_prove_nothing():
    few = [result([row("liver", str(n), "9", value) for n in range(5)]) for value in (0.9, 0.5)]
    found = compare(few[:1], few[1:])
    assert not found["mean"]["shown"] and found["sentence"].startswith("Too few patients")


def test_one_patient_proves_nothing():
    one, other = result([row("liver", "1", "3", 0.9)]), result([row("liver", "1", "3", 0.5)])
    assert not compare([one], [other])["mean"]["shown"]


def test_rows_are_paired_by_structure_query_and_support():
    one = result([row("liver", "1", "3", 0.9), row("liver", "1", "4", 0.9), row("liver", "2", "3", 0.9)])
    other = result([row("liver", "2", "3", 0.8), row("liver", "1", "3", 0.7)])
    found = compare([one], [other])
    assert found["pairs"] == 2 and found["unpaired"] == 1
    assert found["mean"]["difference"] == pytest.approx(15)
    with pytest.raises(InputError, match="no case in common"):
        compare([one], [result([row("liver", "7", "3", 0.9)])])


def test_less_hd95_is_better_and_undefined_pairs_are_left_out():
    one = result(
        [row("liver", str(n), "9", 0.5, 5.0) for n in range(6)] + [row("liver", "6", "9", 0.5, None)]
    )
    other = result([row("liver", str(n), "9", 0.5, 7.0) for n in range(7)], model="z")
    found = compare([one], [other], "hd95")
    assert found["mean"]["difference"] == pytest.approx(-2) and found["patients"] == 6
    assert "a is better than z: -2.0 mm" in found["sentence"]
    with pytest.raises(InputError, match="no measure"):
        compare([one], [other], "beauty")


def test_results_that_do_not_belong_together_are_refused(tmp_path):
    for changes in ({"dataset": "cmr"}, {"setting": 2}, {"scheme": "strict"}):
        with pytest.raises(InputError, match=f"differ in their {next(iter(changes))}"):
            compare(side(0.0), side(0.0, **changes))
    for name, content in (("p-a.json", result([])), ("p-b.json", result([], method="adnet"))):
        (tmp_path / name).write_text(json.dumps(content))
    with pytest.raises(InputError, match="differ in their method"):
        read_side(str(tmp_path / "p-*.json"))


def another_patient(gain, qnet, **changes):
    """Results of R3 in seven patients."""
    rows = [row("liver", str(n), "9", 0.5 + 0.01 * n + gain) for n in range(7)]
    own = dict.fromkeys(("labels", "support_dataset", "support_labels", "plane", "partly_labelled", "seed"))
    own |= {"protocol": "R3", "dataset": "cmr", "examples": 1, "absent": False, "methods": ["qnet"]}
    return own | {"method": "qnet", "model": "p", "further_weights": {qnet: "a"}, "rows": rows} | changes


def test_results_in_another_patient_are_compared_on_the_same_pairs(tmp_path):
    found = compare([another_patient(0.04, "new")], [another_patient(0.0, "old")])
    assert found["comparison"] == "R3" and found["mean"]["shown"] and found["pairs"] == 7
    assert "p with new is better than p with old: +4.0 points" in found["sentence"]
    code = [[another_patient(0.0, "old", revision=name)] for name in ("one", "two")]
    found = compare(*code)
    assert found["first"] == "p with old, qnet, weights None + a, revision one" and not found["repeated"]
    for changes in ({"dataset": "chaos"}, {"support_dataset": "chaos"}, {"examples": 3}, {"seed": 1}):
        with pytest.raises(InputError, match=f"differ in their {next(iter(changes))}"):
            compare([another_patient(0.0, "new")], [another_patient(0.0, "old", **changes)])
    with pytest.raises(InputError, match="differ in their protocol"):
        compare([another_patient(0.0, "new")], side(0.0))
    (tmp_path / "r3.json").write_text(json.dumps(another_patient(0.0, "old", absent=True, rows=[])))
    with pytest.raises(InputError, match="structures that are not there"):
        read_side(str(tmp_path / "r3.json"))
    (tmp_path / "r3.json").write_text(json.dumps(another_patient(0.0, "old", methods=["qnet", "copy"])))
    with pytest.raises(InputError, match="not a result file of protocol P or R3 of one method"):
        read_side(str(tmp_path / "r3.json"))


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"protocol": "R1"}', json.dumps(result([{"structure": "liver"}]))]
)
def test_a_file_that_is_no_result_is_named(tmp_path, text):
    (tmp_path / "odd.json").write_text(text)
    with pytest.raises(InputError, match=r"odd\.json is not a result file of protocol P"):
        read_side(str(tmp_path / "odd.json"))


def test_files_of_several_folds_and_twice_the_same(tmp_path):
    for number, content in enumerate(side(0.0)):
        (tmp_path / f"p-fold{number}.json").write_text(json.dumps(content))
    assert len(read_side(str(tmp_path / "p-fold*.json"))) == 2
    (tmp_path / "p-fold2.json").write_text(json.dumps(side(0.0)[0]))
    with pytest.raises(InputError, match=r"p-fold2\.json repeats rows"):
        read_side(str(tmp_path / "p-fold*.json"))
    with pytest.raises(InputError, match="no result file"):
        read_side(str(tmp_path / "q-*.json"))
    (tmp_path / "folder.json").mkdir()
    with pytest.raises(InputError, match="cannot be read"):
        read_side(str(tmp_path / "folder*"))


def test_the_command_prints_a_table_and_a_sentence(tmp_path, capsys):
    for name, contents in (("a", side(0.04, trained_on_scored_cases=True)), ("b", side(0.0, model="b"))):
        for number, content in enumerate(contents):
            (tmp_path / f"{name}{number}.json").write_text(json.dumps(content))
    patterns = [str(tmp_path / "a?.json"), str(tmp_path / "b?.json")]
    output = tmp_path / "difference.json"
    assert main(["compare", *patterns, "--output", str(output)]) == 0
    told = capsys.readouterr().out
    assert "liver              +4.0" in told and "a is better than b" in told
    assert "trained on scored cases" in told
    assert main(["compare", *patterns, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads(output.read_text())
    assert main(["compare", str(tmp_path / "a0.json"), patterns[1]]) == 0
    assert "6 rows have no partner" in capsys.readouterr().out
    assert main(["compare", patterns[0]]) == 2 and main(["compare", *patterns, *patterns]) == 2
    assert "quotes" in capsys.readouterr().err
    assert main(["compare", *patterns, "--output", str(tmp_path / "x.txt")]) == 2
