"""The mean of several models."""

from __future__ import annotations

import pytest
import torch

from qnetseg.errors import WeightsError
from qnetseg.model import Model, PropagationConfig, PropagationNet, QNet, QNetConfig
from qnetseg_lab.weights.average import average

NARROW = PropagationConfig((8,) * 5)


def model(network, name="a"):
    return Model(network, name, {"name": name})


def test_the_mean_of_two_models():
    networks = [PropagationNet(NARROW) for _ in range(2)]
    with torch.no_grad():
        for network, value in zip(networks, (1.0, 4.0), strict=True):
            for tensor in network.parameters():
                tensor.fill_(value)
    mean = average([model(network, name) for network, name in zip(networks, "ab", strict=True)])
    assert all((tensor == 2.5).all() for tensor in mean.network.parameters())
    assert mean.provenance == {"name": "b"}


def test_the_mean_of_propagation_networks_has_their_mean_confidence():
    configs = [PropagationConfig((8,) * 5, fitted) for fitted in ((1.0, 2.0), (3.0, 2.0))]
    mean = average([model(PropagationNet(config)) for config in configs])
    assert mean.network.config == PropagationConfig((8,) * 5, (2.0, 2.0))


def test_models_of_two_kinds_have_no_mean():
    with torch.device("meta"):
        others = (PropagationNet(PropagationConfig((8, 16, 16, 8, 8))), QNet(QNetConfig()))
        models = [model(PropagationNet(NARROW)), *map(model, others)]
    for chosen in (models[:2], models[::2], models[:1]):
        with pytest.raises(WeightsError):
            average(chosen)
