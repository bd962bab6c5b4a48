"""Weights files of small networks that have learned nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from qnetseg.model import PropagationConfig, PropagationNet, QNet, QNetConfig
from qnetseg_lab.weights.writing import save_model

NETWORKS = {
    "volume": lambda: PropagationNet(PropagationConfig((8,) * 5)),
    "q-net": lambda: QNet(QNetConfig(feature_channels=8, threshold_hidden=8, size=64, spacing=1.5)),
}


@pytest.fixture(scope="session")
def random_models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Method -> weights file of the network that it asks."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("models")
    files = {method: folder / f"random-{method}.safetensors" for method in NETWORKS}
    for method, path in files.items():
        save_model(path, NETWORKS[method](), {"data": "none"})
    return files
