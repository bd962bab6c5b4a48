"""Official Q-Net checkpoints as models of ours."""

from __future__ import annotations

from torch import Tensor

from qnetseg.model.config import QNetConfig
from qnetseg.model.qnet import QNet
from qnetseg.model.storage import fill

OFFICIAL = QNetConfig(
    depth=101, downsample_layer=4, threshold="shared", alpha=0.9, input_scale=1.0, input_shift=0.0
)

_OFFICIAL_NAMES = {
    "encoder.reduce_fine": "encoder.reduce1",
    "encoder.reduce_coarse": "encoder.reduce2",
    "threshold.hidden": "encoder.backbone.fc",
    "threshold.out": "encoder.reduce1d",
}


def convert_official(state: dict[str, Tensor], config: QNetConfig | None = None) -> QNet:
    """Q-Net with the tensors of an official checkpoint.

    The official network keeps torchvision's last layer, 2048 to 1000, as the hidden layer of the threshold
    and the bare ResNet's names below `encoder.backbone`.

    state: tensors by their official names.
    config: configuration instead of `OFFICIAL`, for example with the alpha of Setting 2.
    Returns the network in evaluation mode, float32, on the CPU. Raises WeightsError, which names the tensors
    that are missing, unexpected or of another shape.
    """
    network = QNet(OFFICIAL if config is None else config)
    tensors = {key: value for key, value in state.items() if not key.endswith("num_batches_tracked")}
    fill(network, tensors, "the official checkpoint", official_name)
    return network.eval()


def official_name(key: str) -> str:
    """Name that the official code gives to a tensor of ours."""
    module, _, tensor = key.rpartition(".")
    return f"{_OFFICIAL_NAMES.get(module, module)}.{tensor}"
