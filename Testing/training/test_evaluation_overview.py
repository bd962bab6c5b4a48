"""The summary of the results and the README's key figures: what is in them, and that they are of today."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from qnetseg.errors import InputError
from qnetseg_lab.report import BEGIN, END, write_report
from qnetseg_lab.report.overview import overview, readme

ROOT = Path(__file__).resolve().parents[2]


def test_the_pages_and_the_readme_say_what_the_result_files_say(tmp_path):
    results, kept = tmp_path / "docs" / "results", ROOT / "docs" / "results"
    shutil.copytree(kept, results, ignore=shutil.ignore_patterns("*.md", "*.png", "experiments.json"))
    shutil.copy(ROOT / "README.md", tmp_path)
    for path in write_report(results, tmp_path / "README.md"):
        committed = ROOT / path.relative_to(tmp_path)
        assert path.read_text(encoding="utf-8") == committed.read_text(encoding="utf-8"), (
            f"{committed.name} is not what `qnetseg report docs/results --readme README.md` writes"
        )
    assert {path.name for path in kept.glob("*.png")} == {path.name for path in results.glob("*.png")}


def test_a_page_without_a_place_for_the_key_figures_is_refused(tmp_path):
    for text in ("no place", f"{BEGIN}\n{BEGIN}\n{END}"):
        (tmp_path / "README.md").write_text(text)
        with pytest.raises(InputError, match=r"README\.md has no place"):
            write_report(tmp_path, tmp_path / "README.md")
    with pytest.raises(InputError, match="cannot be read"):
        write_report(tmp_path, tmp_path / "absent.md")


def drawing(patient, method, choice, dice, kind="compact", ends=(0, 1)):
    """A row of R1."""
    place = {"query": patient, "structure": "liver", "kind": kind, "method": method, "choice": choice}
    return {**place, "dice": dice, "end_error_slices": list(ends)}


def scored(rows, **changes):
    """A result file of R1 with just what the summary reads of it, but for its tables."""
    choices = {row["choice"] for row in rows}
    of = {c: {row["method"] for row in rows if row["choice"] == c} for c in choices}

    def figures(choice, method):
        own = [100 * row["dice"] for row in rows if (row["method"], row["choice"]) == (method, choice)]
        return {"structures": {"mean": {"dice": np.mean(own)}}, "end_error_mm": 4.0}

    summary = {choice: {method: figures(choice, method) for method in of[choice]} for choice in choices}
    base = {"protocol": "R1", "dataset": "chaos", "fold": None, "cases": [], "structures": ["liver"]}
    return {**base, "trained_on_scored_cases": False, "rows": rows, "summary": summary, **changes}


def test_the_summary_holds_mean_worst_tenth_ends_and_what_else_one_could_do():
    ours = [
        drawing(str(n), "qnet", "largest", 0.9 - 0.1 * (n == 0), ends=(0, 2 * (n == 0))) for n in range(10)
    ]
    random = [drawing("0", "qnet", "random", 0.6)]
    others = [drawing(str(n), "growcut-ends", "largest", 0.7) for n in range(10)]
    text = overview([scored([*ours, *random]), scored(others)])
    assert "| abdominal MR (CHAOST2: liver, kidneys, spleen) | 10 | 10 | 89 (80) | 60 (60) | 4 | 95 |" in text
    assert "| grow-cut, painted ends | one slice, background beyond both ends | 70 (70) |" in text
    assert "abdominal MR +19.0 (" in text
    unlabelled = [row | {"end_error_slices": None} for row in ours]
    assert "| 89 (80) |  |  |  |" in overview([scored(unlabelled)])
    for left_out in ({"fold": 0}, {"cases": ["0"]}, {"trained_on_scored_cases": True}):
        assert "89 (80)" not in overview([scored(ours, **left_out)])


def test_the_readme_says_where_it_fails():
    rows = [drawing("0", "qnet", "largest", 0.9), drawing("1", "qnet", "largest", 0.4, kind="long and thin")]
    far = {"structures": {"mean": {"dice": 50.0}}, "worst_tenth": 10.0}
    none = {"left_empty": 25.0, "doubted": 50.0, "false_ml": 30.0}
    base = {"protocol": "R3", "dataset": "sunnybrook", "support_dataset": "cmr", "absent": False}
    base |= {"trained_on_scored_cases": True}
    other = base | {"summary": {"qnet": far}}
    absent = base | {"absent": True, "summary": {"qnet": none}}
    text = readme([scored(rows), other, absent])
    assert "worst on structures that are long and thin (vessels, spinal cord): 40 (40)." in text
    assert (
        "on has images of another kind: cardiac MR of another scanner, drawn in cardiac MR 50 (10)"
        " (measured on images that Q-Net was trained on)." in text
    )
    assert "it fails more often" not in text
    assert "25 % are left empty, 50 % are empty or come with a warning; 30 ml" in text
    bench = {
        "bench": "another patient",
        "device": "cpu",
        "first_seconds": 28.6,
        "kept_seconds": 11.4,
        "precision": "bf16",
    }
    bench |= {"machine": {"processor": "a processor", "cores": 2}}
    own = [
        base | {"support_dataset": None, "dataset": name, "summary": {"qnet": far | {"structures": mean}}}
        for name, mean in (("cmr", {"mean": {"dice": 60.0}}), ("chaos", {"mean": {"dice": 70.0}}))
    ]
    text = readme([scored(rows), *own, bench])
    assert "29 s for the first volume, 11 s for each further one, on a processor, 2 cores, bf16." in text
    assert "more often: abdominal MR 70 (10) (measured on images that" in text and "; cardiac MR 60" in text
    own = {
        "dataset": "cmr to sunnybrook",
        "present_refused": 5.0,
        "absent_refused": 60.0,
        "absent_doubted": 10.0,
    }
    elsewhere = {"protocol": "PRESENCE", "judges": {"WHOLE": {"measured": [own]}}}
    text = readme([scored(rows), other, absent, elsewhere])  # as weights of other data sets judge
    said = (
        "seems not to be there: of those without it, 60 % (cardiac MR of another scanner); empty or with a"
        " warning, 70 % (cardiac MR of another scanner); of those with it, 5 % (cardiac MR of another"
        " scanner, drawn in cardiac MR). (Judged with"
    )
    assert said in text
    assert "be there: of those with it, 5 %" in readme([scored(rows), other, elsewhere]), "none is without"


def test_examples_of_several_patients_stand_beside_one_of_them():
    def result(dice, **changes):
        rows = [
            {
                "query": str(n),
                "support": "s",
                "structure": "liver",
                "method": "qnet",
                "dice": dice + n / 100,
                "doubted": False,
            }
            for n in range(4)
        ]
        figures = {
            "structures": {"mean": {"dice": 100 * dice}},
            "worst_tenth": 10.0,
            "rows": 4,
            "seconds": 1.0,
        }
        figures |= {"doubted": 0.0, "dice_doubted": None}
        base = {"protocol": "R3", "dataset": "cmr", "support_dataset": None, "absent": False, "rows": rows}
        machine = {"machine": {"cores": 2}, "trained_on_scored_cases": False, "structures": ["liver"]}
        return base | machine | {"summary": {"qnet": figures}} | changes

    one, three = result(0.6), result(0.65, examples=3)
    text = overview([one, three])
    assert "instead of one (cardiac MR): +5.0 (+5.0 to +5.0) points of Dice" in text
    wrong = result(0.48, rows=[row | {"dice": 0.1, "doubted": row["query"] == "0"} for row in one["rows"]])
    assert "| cardiac MR | 4 | 48 (10) | 0 |  | 75 |" in overview([wrong]), "wrong without a warning"
    assert "cardiac MR, 3 patients drawn" in text and "3 patients" not in readme([one, three])
    apart = result(0.65, examples=3, rows=[row | {"support": "t"} for row in three["rows"]])
    assert "instead of one" not in overview([one, apart])
