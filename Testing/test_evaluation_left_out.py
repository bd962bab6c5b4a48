"""The choice of steps on all data sets but one."""

from __future__ import annotations

from qnetseg.evaluation.report.left_out import left_out


def ablation(dataset, **dice):
    variants = {name: {"structures": {"mean": {"dice": value}}} for name, value in dice.items()}
    variants = {name.replace("_", "-"): entry for name, entry in variants.items()}
    return {
        "protocol": "R1",
        "dataset": dataset,
        "methods": list(variants),
        "summary": {"largest": variants},
    }


def test_steps_are_chosen_on_the_other_data_sets():
    a = ablation("a", qnet=80.0, qnet_without_doubt=70.0, qnet_without_ends=81.0)
    b = ablation("b", qnet=60.0, qnet_without_doubt=65.0, qnet_without_ends=50.0)
    c = ablation("c", qnet=90.0, qnet_without_doubt=80.0)
    rows = [line for line in left_out([a, b, c]).splitlines() if line.startswith(("| a", "| b", "| c"))]
    scored = {line.split(" | ")[0].strip("| "): line.rstrip(" |").split(" | ") for line in rows}
    assert scored["a"][3:] == ["80.0", "all steps", "80.0", "80.0"]
    assert scored["b"][3:] == ["60.0", scored["b"][4], "65.0", "60.0"] and "without" in scored["b"][4]
    assert left_out([a]) == left_out([a, {"protocol": "R1", "methods": ["qnet"]}]) == ""
