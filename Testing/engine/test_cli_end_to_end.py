"""`qnetseg segment` as it ships: real worker, real engine, small networks of random weights."""

from __future__ import annotations

import json

import numpy as np
import pytest

from qnetseg.volume import read_labelmap, read_volume
from support.cli_bed import Bed, drawing_array
from support.random_models import NETWORKS, random_models

__all__ = ["random_models"]


@pytest.fixture
def bed(tmp_path):
    return Bed(tmp_path)


@pytest.mark.parametrize("method", NETWORKS)
def test_a_volume_is_segmented_from_one_drawn_slice(bed, random_models, capsys, method):
    confidence, report = bed.results / "c.nrrd", bed.results / "r.json"
    assert (
        bed.segment(
            "--model",
            random_models[method],
            "--method",
            method,
            "--device",
            "cpu",
            "--precision",
            "fp32",
            "--confidence",
            confidence,
            "--report",
            report,
        )
        == 0
    )
    query, found, drawn = read_volume(bed.query), read_labelmap(bed.output), drawing_array()
    assert found.array.shape == query.shape and {info.label for info in found.segments} == {1, 2}
    assert np.array_equal(found.array[3], drawn[3]), "the drawn slice is kept as it was drawn"
    probability = read_volume(confidence).array
    assert probability.min() >= 0 and probability.max() <= 1 and (probability[3][drawn[3] > 0] == 1).all()
    content = json.loads(report.read_text(encoding="utf-8"))
    for part in content["segments"]:
        assert part["model"] == f"random-{method}" and part["device"] == "cpu" and part["precision"] == "fp32"
        assert [entry["index"] for entry in part["slices"] if entry["drawn"]] == [3]
        assert len(part["slices"]) == query.shape[0]
    assert "label 1" in capsys.readouterr().out


def test_one_flipped_byte_in_an_own_weights_file_is_noticed(bed, random_models, capsys):
    content = bytearray(random_models["volume"].read_bytes())
    content[len(content) // 2] ^= 16
    damaged = bed.folder / "damaged.safetensors"
    damaged.write_bytes(content)
    assert bed.segment("--model", damaged, "--device", "cpu") == 2
    told = capsys.readouterr()
    assert told.out == "" and told.err.count("\n") == 1 and "damaged.safetensors" in told.err
    assert list(bed.results.iterdir()) == []
