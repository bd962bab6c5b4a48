"""Shipped models in the manifest."""

from __future__ import annotations

import json

import pytest

from qnetseg import models
from qnetseg.errors import WeightsError
from qnetseg.models import PROPAGATION, QNET
from qnetseg_lab.weights.register import register
from support.cli_bed import Bed, write_model


@pytest.fixture
def bed(tmp_path, monkeypatch):
    bed = Bed(tmp_path)
    monkeypatch.setenv("QNETSEG_RESOURCES", str(bed.resources))
    monkeypatch.setenv("QNETSEG_MODELS", str(tmp_path / "downloads"))
    return bed


def manifest(bed):
    return json.loads((bed.resources / "Models" / "manifest.json").read_text(encoding="utf-8"))


def test_register_brings_the_manifest_up_to_date(bed):
    write_model(bed.model, "changed")
    second = write_model(bed.model.with_name("second.safetensors"), method=QNET)
    assert register(bed.model).description == "A test model."
    assert register(second).licence == "test licence"
    assert models.resolve_model("tiny") == bed.model and models.resolve_model("second") == second
    assert manifest(bed)["defaults"] == {PROPAGATION: "tiny", QNET: "tiny-qnet"}
    assert [entry["method"] for entry in manifest(bed)["models"]] == [PROPAGATION, QNET, QNET]
    with pytest.raises(WeightsError, match="not one of the shipped models"):
        register(write_model(bed.folder / "elsewhere.safetensors"))
    with pytest.raises(WeightsError, match="segments no volumes"):
        register(write_model(bed.model.with_name("rival.safetensors"), method="panet"))


def test_the_first_registered_model_of_a_kind_becomes_its_default(bed):
    (bed.model.parent / "manifest.json").unlink()
    register(bed.qnet)
    assert manifest(bed)["defaults"] == {PROPAGATION: "", QNET: "tiny-qnet"}
    with pytest.raises(WeightsError, match="no default model"):
        models.resolve_model()
    register(bed.model)
    assert models.resolve_model() == bed.model and models.resolve_model(None, QNET) == bed.qnet
