"""What each step of the search in another patient is worth, from results of R3."""

from __future__ import annotations

from qnetseg_lab.report.steps import is_ablation, steps


def result(**changes):
    base = {"protocol": "R3", "dataset": "cmr", "support_dataset": None, "absent": False, "examples": 1}
    base |= dict.fromkeys(("labels", "support_labels", "plane", "weights_sha256", "further_weights"))
    return base | {"structures": ["liver"], "file": "f.json"} | changes


def rows(method, dice, count=4):
    return [
        {"query": str(n), "support": "s", "structure": "liver", "method": method, "dice": dice + n / 100}
        for n in range(count)
    ]


FULL = result(rows=rows("qnet", 0.7, 6), summary={"qnet": {}})
WITHOUT = result(rows=rows("without-hint", 0.65) + rows("without-bend", 0.6), file="a.json") | {
    "summary": {"without-hint": {}, "without-bend": {}}
}


def test_steps_are_paired_with_everything_on_the_same_pairs():
    text = steps([WITHOUT, FULL])
    assert "| left out | cmr, 4 results [json](a.json) |" in text
    assert "| without bending after shift and scale | +10.0 (+10.0 to +10.0) |" in text
    assert text.index("bending") < text.index("propagation that begins") and "+5.0 (+5.0 to +5.0)" in text
    assert "turned" not in text


def test_results_of_other_pairs_examples_or_data_are_not_compared():
    assert not steps([FULL]) and not steps([WITHOUT])
    for other in (
        {"rows": rows("qnet", 0.7, 3)},
        {"absent": True},
        {"examples": 3},
        {"dataset": "chaos"},
        {"support_dataset": "chaos"},
        {"further_weights": {"q-net": "another"}},
    ):
        assert not steps([WITHOUT, FULL | other])


def test_a_run_of_steps_alone_has_no_table_of_its_own():
    assert is_ablation(WITHOUT) and not is_ablation(FULL)
    assert not is_ablation(WITHOUT | {"summary": {"qnet": {}, "without-hint": {}}})
    assert not is_ablation({"protocol": "PRESENCE"})


def test_where_no_dice_is_known_no_step_is_compared():
    absent = [row | {"dice": None} for row in WITHOUT["rows"]]
    assert not is_ablation(WITHOUT | {"absent": True, "rows": absent})
    text = steps([WITHOUT | {"rows": absent}, FULL])
    assert "| without bending after shift and scale |  |" in text
