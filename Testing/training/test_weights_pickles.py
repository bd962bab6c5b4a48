"""State dicts of others: read without running code, and refused in a sentence."""

from __future__ import annotations

import zipfile

import pytest
import torch
from safetensors.torch import save_file

from qnetseg.errors import WeightsError
from qnetseg_lab.weights.pickles import read_state_dict
from support.pickle_trap import assert_never_run


def test_a_pickle_is_never_run(tmp_path):
    assert_never_run(read_state_dict, tmp_path / "model.pth")


@pytest.mark.parametrize("version", ["2.5.1+cu121", "2.9.1", "1.13", "a build of one's own"])
def test_pickles_are_not_opened_by_a_torch_that_is_not_safe_for_them(tmp_path, monkeypatch, version):
    path = tmp_path / "official.pth"
    torch.save({"weight": torch.zeros(2)}, path)
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("it was opened"))
    monkeypatch.setattr(torch, "__version__", version)
    with pytest.raises(WeightsError, match=r"CVE-2025-32434.*Update PyTorch to 2\.10"):
        read_state_dict(path)


def test_a_pickle_that_inflates_is_refused(tmp_path):
    path, packed = tmp_path / "plain.pth", tmp_path / "packed.pth"
    torch.save({"weight": torch.zeros(1 << 20)}, path)
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
    assert read_state_dict(path)
    with pytest.raises(WeightsError, match="damaged"):
        read_state_dict(packed)


@pytest.mark.parametrize("content", [torch.zeros(2), {"step": 3}, [1, 2], {"state_dict": {"weight": "text"}}])
def test_a_pickled_file_must_hold_a_state_dict(tmp_path, content):
    path = tmp_path / "weights.pth"
    torch.save(content, path)
    with pytest.raises(WeightsError, match=r"weights\.pth"):
        read_state_dict(path)


def test_state_dicts_of_both_formats_are_read(tmp_path):
    tensors = {"weight": torch.arange(3.0)}
    torch.save(tensors, tmp_path / "plain.pth")
    torch.save({"state_dict": tensors, "epoch": 3}, tmp_path / "wrapped.pt")
    save_file(tensors, tmp_path / "safe.safetensors")
    for path in tmp_path.iterdir():
        state = read_state_dict(path)
        assert list(state) == ["weight"]
        assert torch.equal(state["weight"], tensors["weight"])
    with pytest.raises(WeightsError, match="does not exist"):
        read_state_dict(tmp_path / "none.pth")
