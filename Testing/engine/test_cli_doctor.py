"""`qnetseg doctor`: what is there, what is missing, and how to fix it."""

from __future__ import annotations

import importlib.metadata
import json

import pytest

from qnetseg import errors
from qnetseg.cli import doctor, main
from support.cli_bed import bed_with_catalogue


@pytest.fixture
def bed(tmp_path, monkeypatch):
    return bed_with_catalogue(tmp_path, monkeypatch)


def test_doctor_says_that_everything_works(bed, capsys):
    assert main(["doctor", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    checks = {check["name"]: check for check in told["checks"]}
    assert told["works"] and checks["propagation network"]["found"] == "tiny.safetensors, verified"
    assert checks["Q-Net"]["found"] == "tiny-qnet.safetensors, verified"
    assert checks["torch"]["ok"] and checks["device"]["found"]
    assert main(["doctor"]) == 0
    assert "Volumes can be segmented." in capsys.readouterr().out


def test_doctor_says_what_is_missing_and_how_to_fix_it(bed, capsys, monkeypatch):
    bed.model.write_bytes(b"")
    version = importlib.metadata.version

    def without_torch(name):
        if name in ("torch", "nilearn"):
            raise importlib.metadata.PackageNotFoundError(name)
        return version(name)

    monkeypatch.setattr(importlib.metadata, "version", without_torch)
    assert main(["doctor"]) == 2
    told = capsys.readouterr().out
    assert "!!  torch               not installed" in told and "-m pip install torch" in told
    assert "--  nilearn             not installed (only for demo)" in told
    assert 'pip install "qnetseg[demo]"' in told
    assert "!!  propagation network The weights file" in told and "damaged" in told
    assert "ok  Q-Net               tiny-qnet.safetensors" in told and "fix what is marked !!" in told


def test_without_q_net_the_volume_drawn_on_can_be_segmented(bed, capsys):
    bed.qnet.unlink()
    assert main(["doctor"]) == 0
    told = capsys.readouterr().out
    assert "--  Q-Net               The model 'tiny-qnet' is not on this machine." in told
    assert "Volumes can be segmented." in told


def test_doctor_says_that_the_resources_are_missing(bed, capsys, monkeypatch):
    manifest = bed.resources / "Models" / "manifest.json"
    manifest.write_text("{", encoding="utf-8")
    assert main(["doctor"]) == 2
    assert "cannot be read" in capsys.readouterr().out
    manifest.unlink()
    assert main(["doctor"]) == 2
    assert capsys.readouterr().out.count("There is no default model") == 2


def test_doctor_reports_a_broken_engine_and_a_damaged_download(bed, monkeypatch):
    def broken():
        raise errors.WorkerError("PyTorch does not work.", "Install it again.")

    monkeypatch.setattr("qnetseg.worker.backend.check_engine", broken)
    assert main(["weights", "download", "big"]) == 0
    (bed.folder / "downloads" / "big.safetensors").write_bytes(b"")
    checks = {check.name: check for check in doctor.examine()}
    assert not checks["engine"].ok and checks["engine"].remedy == "Install it again."
    assert not checks["big"].ok and not checks["big"].needed


def test_doctor_tells_of_a_gpu_that_does_not_work(bed, monkeypatch):
    import torch

    monkeypatch.setattr("qnetseg.worker.backend.check_engine", lambda: "2.0")
    monkeypatch.setattr(
        "qnetseg.segment.device.choose_device", lambda: (torch.device("cpu"), "The GPU was not used.")
    )
    assert main(["weights", "download", "big"]) == 0
    checks = {check.name: check for check in doctor.examine()}
    assert (
        not checks["device"].ok
        and not checks["device"].needed
        and "The GPU was not used" in checks["device"].found
    )
    assert checks["big"].ok
