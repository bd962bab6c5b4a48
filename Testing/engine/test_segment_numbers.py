"""What a network says is looked at before it becomes a result, and single precision gets a second try."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from qnetseg.errors import MaskError, NetworkError
from qnetseg.model import Model, Networks, PropagationConfig, PropagationNet, QNet, QNetConfig
from qnetseg.segment import SegmentOptions, segment_volume
from qnetseg.segment.descriptors import Basis
from qnetseg.segment.inference import Runner
from qnetseg.volume import SupportSet, Volume, support_from_mask


@pytest.fixture(scope="module")
def scan():
    """A volume and the support that was drawn on it."""
    luck = np.random.default_rng(0)
    volume = Volume(luck.random((6, 32, 32), dtype=np.float32), np.diag([2.0, 2.0, 3.0, 1.0]), "scan")
    mask = np.zeros(volume.shape, np.uint8)
    mask[2, 10:20, 10:20] = 1
    return volume, support_from_mask(volume, mask, plane="axial")


@pytest.fixture(scope="module")
def networks():
    propagation = PropagationNet(PropagationConfig((8,) * 5))
    qnet = QNet(QNetConfig(feature_channels=4, threshold_hidden=3, size=64))
    return propagation.eval(), qnet.eval()


def segment(networks, scan, method):
    volume, support = scan
    models = [Model(network, "astray", {}) for network in networks]
    return segment_volume(support, volume, Networks(*models), SegmentOptions(method=method, device="cpu"))


NAN, INFINITE = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("method", "which", "tensor", "value"),
    [
        ("volume", 0, "outline.bias", NAN),
        ("volume", 0, "outline.bias", INFINITE),
        ("volume", 0, "presence.2.bias", NAN),
        ("q-net", 1, "encoder.reduce_fine.weight", NAN),
        ("q-net", 1, "encoder.reduce_fine.weight", INFINITE),
        ("q-net", 1, "threshold.out.bias", NAN),
    ],
)
def test_an_answer_that_is_no_number_is_an_error(networks, scan, method, which, tensor, value):
    changed = networks[which].state_dict()[tensor].view(-1)
    before = changed[0].clone()
    changed[0] = value
    try:
        with pytest.raises(NetworkError, match="not finite numbers"):
            segment(networks, scan, method)
    finally:
        changed[0] = before
    assert np.isfinite(segment(networks, scan, method).confidence).all()


def test_a_body_s_features_that_are_no_numbers_are_an_error(networks):
    network = copy.deepcopy(networks[1])
    network.encoder.reduce_fine.weight.data[0] = NAN
    with pytest.raises(NetworkError, match="not finite numbers"):
        Runner(network, SegmentOptions(device="cpu")).finest(torch.zeros(1, 64, 64))


@pytest.mark.parametrize("change", [{"index": 6}, {"mask": np.ones((5, 5), np.uint8)}])
def test_a_support_that_does_not_fit_its_own_volume_is_refused(networks, scan, change):
    volume, support = scan
    (part,) = support.slices
    odd = SupportSet((replace(part, **change),), volume_id=support.volume_id)
    with pytest.raises(MaskError, match="does not have"):
        segment(networks, (volume, odd), "volume")


def test_axes_that_do_not_converge_in_single_precision_are_found_in_double(monkeypatch):
    features = torch.randn(1, 80, 6, 6, generator=torch.Generator().manual_seed(0))
    expected, eigh = Basis.of(features), torch.linalg.eigh

    def stubborn(matrix):
        if matrix.dtype == torch.float32:
            raise torch.linalg.LinAlgError("The algorithm failed to converge")
        return eigh(matrix)

    monkeypatch.setattr(torch.linalg, "eigh", stubborn)
    found = Basis.of(features)
    assert found.axes.dtype == torch.float32
    # The last axes have distinct variances; their directions are the same up to the sign.
    assert torch.allclose((found.axes[:, -5:].T @ expected.axes[:, -5:]).abs(), torch.eye(5), atol=1e-3)
