"""Whether a structure is in another patient's volume at all."""

from __future__ import annotations

from dataclasses import replace

import pytest

from qnetseg.segment import Report, presence
from qnetseg.segment.presence import ALONE, SIGNS, WHOLE, Signs, Verdict, clearest, verdict

GOOD = Signs(0.95, 0.05, 0.95, 0.9, 0.9, 0.85, 1.0, 0.1)
BAD = Signs(0.8, -0.1, 0.3, 0.2, 0.3, 0.1, 0.0, 1.5)


@pytest.mark.parametrize("place", [None, 0.85], ids=["alone", "whole"])
def test_good_signs_are_believed_and_bad_ones_not(place):
    good, bad = (replace(signs, place=place) for signs in (GOOD, BAD))
    assert verdict(good).outcome == "found" and verdict(bad).outcome == "not here"
    judge = ALONE if place is None else WHOLE
    assert verdict(good).probability == judge.probability(good) > judge.doubtful
    assert len(judge.weights) == 1 + len(SIGNS) and 0 < judge.absent < judge.doubtful < 1


def test_the_reason_is_what_speaks_most_against_it():
    assert "beyond the slices" in verdict(replace(GOOD, share=0.1)).reason
    assert "looks much like" in verdict(replace(GOOD, alike=0.7)).reason
    assert "does not fit" in verdict(replace(GOOD, place=0.1)).reason


def test_of_several_examples_the_outcome_goes_before_the_probability(monkeypatch):
    verdicts = {0.85: Verdict(0.7, "doubtful", ""), None: Verdict(0.5, "found", "")}
    monkeypatch.setattr(presence, "verdict", lambda signs: verdicts[signs.place])
    alone = replace(GOOD, place=None)
    assert clearest([GOOD, alone]) is alone


def test_reports_carry_the_outcome_and_refuse_an_unknown_one():
    report = Report("x", "m", "cpu", "fp32", 1.0, 2.0, "axial", 0.0, (), (), "doubtful", 0.7, {"place": None})
    assert Report.from_json(report.to_json()) == report
    for wrong in ({"outcome": "lost"}, {"presence": 1.5}, {"signs": {"place": "near"}}, {"signs": [1.0]}):
        with pytest.raises((ValueError, TypeError)):
            Report.from_json(report.to_json() | wrong)
