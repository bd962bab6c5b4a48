"""`qnetseg weights convert`, `average` and `register`, which the laboratory adds."""

from __future__ import annotations

import pytest

from qnetseg.cli import main
from qnetseg.model import (
    PropagationConfig,
    PropagationNet,
    QNet,
    QNetConfig,
    load_model,
    load_network,
    load_propagation,
)
from qnetseg.models import sha256
from qnetseg_lab.weights import convert
from qnetseg_lab.weights.writing import save_model
from support.cli_bed import bed_with_catalogue, write_model


@pytest.fixture
def bed(tmp_path, monkeypatch):
    return bed_with_catalogue(tmp_path, monkeypatch)


def test_weights_register(bed, capsys):
    write_model(bed.model, "renewed")
    assert main(["weights", "verify"]) == 2
    assert main(["weights", "register", str(bed.model)]) == 0
    assert main(["weights", "verify"]) == 0
    assert "tiny: 0.0 MB, SHA-256" in capsys.readouterr().out


def test_weights_convert_takes_an_official_checkpoint(bed, capsys, monkeypatch):
    checkpoint, output = bed.folder / "official.pth", bed.results / "official.safetensors"
    checkpoint.write_bytes(b"a checkpoint")
    network = QNet(QNetConfig(feature_channels=8, threshold_hidden=8))
    monkeypatch.setattr("qnetseg_lab.weights.pickles.read_state_dict", lambda path: {"from": path})
    monkeypatch.setattr(
        convert, "convert_official", lambda state: network if state["from"] == checkpoint else None
    )
    assert main(["weights", "convert", str(checkpoint), str(output), "--storage", "bf16"]) == 0
    assert load_model(output).provenance["converted_from_sha256"] == sha256(checkpoint)
    small = bed.results / "small.safetensors"
    assert main(["weights", "convert", str(output), str(small), "--storage", "int8"]) == 0
    assert (
        small.stat().st_size < 0.6 * output.stat().st_size
        and load_model(small).network.config == network.config
    )
    assert main(["weights", "convert", str(checkpoint), str(bed.results / "official.pth")]) == 2
    assert "Use .safetensors" in capsys.readouterr().err


def test_weights_average_writes_the_mean_and_names_its_parts(bed, capsys):
    parts = [bed.results / "a.safetensors", bed.results / "b.safetensors"]
    parts[0].parent.mkdir(parents=True, exist_ok=True)
    network = QNet(QNetConfig(feature_channels=4, threshold_hidden=3))
    for path in parts:
        save_model(path, network, {"steps": 1}, "bf16")
    output = bed.results / "mean.safetensors"
    assert main(["weights", "average", *map(str, parts), "--output", str(output), "--storage", "int8"]) == 0
    assert load_model(output).provenance["mean_of_sha256"] == [sha256(path) for path in parts]
    assert str(output) in capsys.readouterr().out
    assert main(["weights", "average", str(parts[0]), "--output", str(output)]) == 2


def test_weights_can_be_stored_otherwise_and_averaged(tmp_path):
    written = tmp_path / "written.safetensors"
    save_model(written, PropagationNet(PropagationConfig((8,) * 5)), {"licence": "CC BY 4.0"})
    small, mean = tmp_path / "small.safetensors", tmp_path / "mean.safetensors"
    assert main(["weights", "convert", str(written), str(small), "--storage", "int8"]) == 0
    assert load_propagation(small).provenance["licence"] == "CC BY 4.0"
    assert main(["weights", "average", str(written), str(written), "--output", str(mean)]) == 0
    assert isinstance(load_network(mean).network, PropagationNet)


def test_weights_convert_refuses_what_is_no_checkpoint(bed, capsys):
    checkpoint = bed.folder / "official.pth"
    checkpoint.write_bytes(b"no checkpoint")
    assert main(["weights", "convert", str(checkpoint), str(bed.results / "a.safetensors")]) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1 and "Traceback" not in told and list(bed.results.iterdir()) == []
