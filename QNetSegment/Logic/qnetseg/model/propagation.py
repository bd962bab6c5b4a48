"""The network that propagates a drawing through a volume.

A 3-D U-Net (Ronneberger et al. 2015, https://arxiv.org/abs/1505.04597) on a window around the drawing. What
it sees is made by `qnetseg.segment.evidence`; it knows no files and no millimetres.
"""

from __future__ import annotations

import reprlib
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import WeightsError
from ..parsing import number
from .base import Network
from .config import require_known

CHANNELS = 9
"""Channels of the evidence, see `qnetseg.segment.evidence.CHANNELS`."""
STRIDE = (4, 16, 16)
"""Windows are multiples of this along (planes, rows, columns)."""
_GROUPS = 8
_FLAT, _DEEP = (1, 3, 3), (3, 3, 3)


@dataclass(frozen=True)
class PropagationConfig:
    """Shape of the network.

    widths: channels at 1, 1/2, 1/4, 1/8 and 1/16 of the window's resolution in the plane; multiples of 8.
    confidence: weights of what makes a slice trustworthy, see `qnetseg.segment.confidence`; none where
        they were never fitted.
    """

    widths: tuple[int, ...] = (8, 24, 48, 96, 128)
    confidence: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        widths = self.widths
        if len(widths) != 5 or any(not isinstance(w, int) or w % 8 or not 8 <= w <= 512 for w in widths):
            raise WeightsError(
                f"A network of the widths {reprlib.repr(widths)} cannot be built.", "Five multiples of 8 can."
            )

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form."""
        return {key: list(value) for key, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> PropagationConfig:
        """Inverse of `to_dict`. Raises `WeightsError`, `KeyError`, `TypeError` or `ValueError`."""
        require_known(values, cls)
        return cls(tuple(values["widths"]), tuple(number(w, -1e6, 1e6) for w in values.get("confidence", ())))


class Propagated(NamedTuple):
    """What the network says of B windows.

    logits: (B, D, N, N) float32, log-odds of the structure in each voxel.
    presence: (B, D) float32, log-odds that a plane holds any of the structure.
    """

    logits: Tensor
    presence: Tensor


def _convolution(before: int, after: int, kernel: tuple[int, int, int], normed: bool = True) -> nn.Sequential:
    """Convolution, group normalisation (the same for a batch of one) where wanted, SiLU."""
    padding = (kernel[0] // 2, kernel[1] // 2, kernel[2] // 2)
    layers: list[nn.Module] = [nn.Conv3d(before, after, kernel, padding=padding, bias=not normed)]
    if normed:
        layers.append(nn.GroupNorm(_GROUPS, after))
    return nn.Sequential(*layers, nn.SiLU())


class PropagationNet(Network):
    """From the evidence in a window to the structure in it.

    The finest level is kept thin and without normalisation: it only places the outline. Planes, which lie
    further apart than pixels, are pooled two levels later than these.
    """

    name = "propagation"
    title = "propagation network"
    config_type: ClassVar[Any] = PropagationConfig
    config: PropagationConfig

    def __init__(self, config: PropagationConfig | None = None) -> None:
        super().__init__()
        self.config = config or PropagationConfig()
        fine, *deeper = self.config.widths
        self.down = nn.ModuleList([_convolution(CHANNELS, fine, _FLAT, normed=False)])
        for before, after in zip(self.config.widths, deeper, strict=False):
            self.down.append(
                nn.Sequential(_convolution(before, after, _DEEP), _convolution(after, after, _DEEP))
            )
        self.up = nn.ModuleList()
        for below, own in zip(reversed(deeper[1:]), reversed(deeper[:-1]), strict=True):
            self.up.append(
                nn.Sequential(_convolution(below + own, own, _FLAT), _convolution(own, own, _DEEP))
            )
        self.up.append(_convolution(deeper[0] + fine, fine, _FLAT, normed=False))
        self.outline = nn.Conv3d(fine, 1, 1)
        self.presence = nn.Sequential(
            nn.Conv1d(2 * deeper[0] + 2, 32, 5, padding=2), nn.SiLU(), nn.Conv1d(32, 1, 5, padding=2)
        )

    def forward(self, evidence: Tensor) -> Propagated:
        """evidence: (B, CHANNELS, D, N, N) float32 with D and N multiples of `STRIDE`."""
        levels = [self.down[0](evidence)]
        for planes, stage in zip(_POOLED_PLANES, self.down[1:], strict=True):  # type: ignore[arg-type]
            levels.append(stage(_pooled(levels[-1], planes)))
        decoded = levels.pop()
        for stage in self.up:
            beside = levels.pop()
            coarse = decoded
            decoded = stage(torch.cat([_upsampled(decoded, beside), beside], 1))
        logits = self.outline(decoded)[:, 0].float()
        return Propagated(logits, self._presence(coarse.float(), logits))

    def _presence(self, features: Tensor, logits: Tensor) -> Tensor:
        """(B, D) from the mean and the maximum of each plane."""
        rows = features.permute(0, 2, 3, 4, 1).flatten(2, 3)  # (B, D, N * N, C): as they lie in memory
        seen = [each.transpose(1, 2) for each in (rows.mean(2), rows.amax(2))]
        found = logits.detach().contiguous()
        extent = (torch.sigmoid(found).mean((2, 3)) + 1e-4).log()
        seen += [extent[:, None] / 4, found.amax((2, 3))[:, None] / 8]
        with torch.autocast(features.device.type, enabled=False):
            said: Tensor = self.presence(torch.cat(seen, 1))[:, 0]
        return said


def _pooled(fine: Tensor, planes: int) -> Tensor:
    """Means of blocks of (planes, 2, 2), one axis after the other: on a CPU that is several times as quick as
    pooling in 3-D, which has no bf16 there."""
    if planes == 2:
        fine = (fine[:, :, ::2] + fine[:, :, 1::2]) / 2
    batch, depth = fine.shape[0], fine.shape[2]
    flat = F.avg_pool2d(fine.transpose(1, 2).flatten(0, 1), 2)
    return flat.unflatten(0, (batch, depth)).transpose(1, 2)


def _upsampled(coarse: Tensor, fine: Tensor) -> Tensor:
    """Linear, to the size of the finer level; planes of equal number stay apart, which is quicker in 2-D."""
    if coarse.shape[2] != fine.shape[2]:
        return F.interpolate(coarse, fine.shape[2:], mode="trilinear", align_corners=False)
    batch, depth = coarse.shape[0], coarse.shape[2]
    flat = coarse.transpose(1, 2).flatten(0, 1)
    wide = F.interpolate(flat, fine.shape[3:], mode="bilinear", align_corners=False)
    return wide.unflatten(0, (batch, depth)).transpose(1, 2)


_POOLED_PLANES = (1, 1, 2, 2)  # from one level to the next
