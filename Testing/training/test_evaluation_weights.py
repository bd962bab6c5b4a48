"""Which weights R1, R2 and R3 use, what their result files say of them, and whether they have seen a case."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from qnetseg.errors import InputError
from qnetseg.model import Networks
from qnetseg.models import sha256
from qnetseg_lab.evaluation import results
from qnetseg_lab.evaluation.results import run_name
from qnetseg_lab.evaluation.whole_volume import r1, r2, r3
from qnetseg_lab.evaluation.whole_volume import runner as whole_volume
from support.evaluation_bed import (
    phantom_patients,  # noqa: F401
    settings,
    simple_models,  # noqa: F401
)
from support.intensity_model import intensity_model
from support.walker_network import simple_networks


def test_used_weights_are_those_of_the_networks_that_the_methods_ask(phantoms, model, tmp_path):
    tiny, qnet = (tmp_path / "resources" / "Models" / f"{name}.safetensors" for name in ("tiny", "tiny-qnet"))

    def used(protocol, *methods, weights=None):
        return protocol(**settings(phantoms, weights, *methods)).used_weights()

    assert used(r1.R1, "qnet") == [tiny] and used(r1.R1, "qnet", weights=model) == [Path(model)]
    assert used(r1.R1, "qnet-slices") == [qnet] and used(r1.R1, "copy") == []
    assert used(r1.R1, "copy", "qnet-slices", "qnet") == [qnet, tiny]
    assert used(r2.R2, "qnet", "qnet-slices") == [tiny, qnet]
    assert used(r3.R3, "qnet") == [tiny, qnet] and used(r3.R3, "qnet", weights=model) == [Path(model), qnet]
    assert used(r3.R3, "qnet-slices", weights=str(qnet)) == [qnet]
    with pytest.raises(InputError, match="is a propagation network, and none is asked for here"):
        used(r1.R1, "qnet-slices", weights=model)


def test_result_files_name_all_weights_and_whether_any_has_seen_a_case(
    phantoms, model, tmp_path, monkeypatch
):
    networks = simple_networks()
    recipe = {"recipe": {"volumes": [str(phantoms)]}}
    known = dataclasses.replace(networks.qnet, provenance={"recipe": {"data": []}, "steps": 7})
    seen = dataclasses.replace(networks.propagation, provenance=recipe)
    for propagation, expected in ((known, False), (networks.propagation, None), (seen, True)):
        propagation = dataclasses.replace(networks.propagation, provenance=propagation.provenance)
        both = Networks(propagation=propagation, qnet=known)
        monkeypatch.setattr(whole_volume, "load_networks", lambda name, both=both: both)
        whole_volume._loaded.cache_clear()
        run = r3.R3(**settings(phantoms, model, "qnet", cases=("p1", "p2")), pairs=1)
        content = r3.run(run, report=lambda line: None)
        assert content["trained_on_scored_cases"] is expected
    qnet = tmp_path / "resources" / "Models" / "tiny-qnet.safetensors"
    assert content["weights_sha256"] == sha256(model) and content["model"] == run_name(Path(model))
    assert content["further_weights"] == {"tiny-qnet": sha256(qnet)}


def test_weights_that_know_their_training_cases_are_marked(monkeypatch):
    class Folds:
        def fold(self, index, scheme):
            return ["1", "2"]

    monkeypatch.setattr(results, "dataset", lambda name: Folds())
    source = {"name": "chaos", "fold": 0, "scheme": "strict"}
    model = dataclasses.replace(intensity_model(), provenance={"recipe": {"data": [source]}})
    assert results.has_seen("chaos", ["1"], model) is False
    assert results.has_seen("chaos", ["1", "3"], model) is True
    assert results.has_seen("cmr", ["1"], model) is False
    assert results.has_seen("chaos", ["1"], intensity_model()) is None
