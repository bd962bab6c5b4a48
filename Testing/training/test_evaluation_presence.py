"""The fit of what decides whether a structure is there."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from qnetseg.errors import DatasetError
from qnetseg.segment import across, alignment, anatomy, bending, presence
from qnetseg.segment.presence import SIGNS, Signs
from qnetseg_lab.evaluation.whole_volume.methods import ABLATION, ablated
from qnetseg_lab.evaluation.whole_volume.presence_fit import fit, fitted, measured, read_cases

ROOT = Path(__file__).resolve().parents[2]


def rows(seed, there, count=30):
    """Results whose share tells whether the structure is there; the other signs say nothing."""
    random = np.random.default_rng(seed)
    for _ in range(count):
        signs = dict(zip(SIGNS, random.random(len(SIGNS)).tolist(), strict=True))
        signs["share"] = float(np.clip(random.normal(0.95 if there else 0.2, 0.1), 0, 1))
        for method in ("qnet", "qnet-alone"):
            place = {} if method == "qnet" else {"place": None}
            yield {"method": method, "signs": {**signs, **place}}
    yield {"method": "qnet", "signs": None}  # nothing was found


@pytest.fixture
def files(tmp_path):
    paths = []
    for number, name in enumerate(("one", "two")):
        for absent in (False, True):
            path = tmp_path / f"r3-{name}-{absent}.json"
            content = {"dataset": name, "support_dataset": None, "absent": absent}
            path.write_text(json.dumps({**content, "rows": list(rows(2 * number + absent, not absent))}))
            paths.append(path)
    return paths


def test_the_sign_that_tells_is_found_and_measured_on_the_other_data_set(files):
    cases = read_cases(files, "qnet")
    assert [(one.dataset, len(one.there), one.there.sum()) for one in cases] == [
        ("one", 60, 30),
        ("two", 60, 30),
    ]
    found = fit(cases)
    spread = np.concatenate([one.signs for one in cases]).std(axis=0)
    assert np.abs(np.array(found.weights[1:]) * spread).argmax() == SIGNS.index("share")
    for row in measured(cases):
        assert row["present_refused"] <= 5 and row["absent_refused"] >= 90
    judges = fitted(files)["judges"]
    assert judges.keys() == {"WHOLE", "ALONE"} and judges["ALONE"]["weights"][1 + SIGNS.index("place")] == 0


def test_results_of_one_kind_are_not_enough(files):
    with pytest.raises(DatasetError, match="with and without"):
        read_cases(files[:1], "qnet")


CHANGED = (across._Search, across, alignment.Overlay, anatomy, bending)


def test_every_step_can_be_left_out():
    assert [f"without-{step}" for step in ablated.STEPS] == list(ABLATION)
    for name, method in ABLATION.items():
        module, function = method.function.split(":")
        assert module == "ablated" and callable(getattr(ablated, function)), name
    for change in ablated.STEPS.values():
        before = [dict(vars(changed)) for changed in CHANGED]
        with change():
            assert [dict(vars(changed)) for changed in CHANGED] != before


def test_the_engine_judges_by_the_published_fit():
    kept = json.loads((ROOT / "docs" / "results" / "presence.json").read_text(encoding="utf-8"))
    assert kept["signs"] == list(SIGNS)
    for name, own in kept["judges"].items():
        judge = getattr(presence, name)
        assert [list(judge.weights), [judge.absent, judge.doubtful]] == [own["weights"], own["limits"]]
    assert Signs.__dataclass_fields__.keys() == set(SIGNS)
