"""SSL-ALPNet: self-supervision with superpixels, adaptive local prototypes (Ouyang et al., ECCV 2020).

Papers https://arxiv.org/abs/2007.09886 and https://doi.org/10.1109/TMI.2022.3150682, reference code
https://github.com/cheng-01037/Self-supervised-Fewshot-Medical-Image-Segmentation, whose constants are ours.
The superpixels that it learns from and the query from the same slice are the recipe's affair.
"""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from qnetseg.model.prototype import EPSILON, full_precision

from .two_class import FeatureMap, TwoClassMethod

TRAINING_WINDOW = 4  # side of the pooling window in feature pixels (proto_grid_size 8 of 32)
WINDOW = 2  # the same when predicting (val_wsize)
INSIDE = 0.95  # a window's mean mask from which its prototype belongs to the class (FG_THRESH, BG_THRESH)


class LocalPrototypes(NamedTuple):
    """Prototypes of B support images with G windows and N structures, all float32.

    Attributes:
        local: (B, G, C), mean features of each window.
        foreground_windows, background_windows: (B, N, G), 1 where the window belongs to the class.
        foreground, background: (B, N, C), mean features of the whole class.
    """

    local: Tensor
    foreground_windows: Tensor
    background_windows: Tensor
    foreground: Tensor
    background: Tensor


class ALPNet(TwoClassMethod):
    """Local prototypes on a grid for both classes, and the class-level prototype for the foreground."""

    name: ClassVar[str] = "alpnet"
    title: ClassVar[str] = "ALPNet (SSL-ALPNet)"
    background_weight: ClassVar[float] = 0.05
    aligns_empty: ClassVar[bool] = True

    def condition(self, features: FeatureMap, masks: Tensor) -> LocalPrototypes:
        """Adaptive local prototype pooling (section of that name). masks: (B, N, H, W) float in [0, 1].

        As in the code, a structure that fills no window of `TRAINING_WINDOW` is represented by its
        class-level prototype alone.
        """
        maps = features.features.float()
        window = TRAINING_WINDOW if self.training else WINDOW
        size = (maps.shape[-2], maps.shape[-1])
        masks = F.interpolate(masks.float(), size=size, mode="bilinear", align_corners=False)
        large = F.avg_pool2d(masks, TRAINING_WINDOW).flatten(2).amax(dim=2, keepdim=True) >= INSIDE
        share = F.avg_pool2d(masks, window).flatten(2)
        return LocalPrototypes(
            F.avg_pool2d(maps, window).flatten(2).transpose(1, 2),
            ((share > INSIDE) & large).float(),
            (1 - share > INSIDE).float(),
            _class_prototype(maps, masks),
            _class_prototype(maps, 1 - masks),
        )

    def margin(self, support: LocalPrototypes, query: FeatureMap) -> Tensor:
        """Difference of the classes' similarity maps (section "similarity-based segmentation").

        The class-level prototype always takes part in the foreground. In the background it stands in where
        no window is free of the structure, a case in which the reference code leaves the episode out.
        """
        maps = query.features.float()
        support = LocalPrototypes(*(part.expand(len(maps), -1, -1) for part in support))
        with full_precision(maps):
            local = self._similarity(maps, support.local)[:, None]
            without = (support.background_windows.sum(dim=2) == 0).float()
            scores = [
                _softmax_weighted(local, windows, self._similarity(maps, whole)[:, :, None], takes_part)
                for windows, whole, takes_part in (
                    (support.foreground_windows, support.foreground, torch.ones_like(without)),
                    (support.background_windows, support.background, without),
                )
            ]
        return scores[0] - scores[1]

    def _similarity(self, maps: Tensor, prototypes: Tensor) -> Tensor:
        """Scaled cosine of (B, C, h, w) features and (B, P, C) prototypes: (B, P, h, w)."""
        unit_maps, unit_prototypes = (
            F.normalize(maps, dim=1, eps=1e-4),
            F.normalize(prototypes, dim=2, eps=1e-4),
        )
        return self.config.cosine_scale * torch.einsum("bpc,bchw->bphw", unit_prototypes, unit_maps)


def _class_prototype(maps: Tensor, masks: Tensor) -> Tensor:
    """Mean of (B, C, h, w) features over (B, N, h, w) masks: (B, N, C)."""
    with full_precision(maps):
        total = torch.einsum("bnhw,bchw->bnc", masks, maps)
    return total / (masks.sum(dim=(-2, -1))[..., None] + EPSILON)


def _softmax_weighted(local: Tensor, windows: Tensor, whole: Tensor, takes_part: Tensor) -> Tensor:
    """Sum of similarities weighted with their own softmax over the class's prototypes.

    Args:
        local: (B, 1, G, h, w) similarities to the windows; windows: (B, N, G), those of the class.
        whole: (B, N, 1, h, w) similarities to the class-level prototype.
        takes_part: (B, N), whether that one counts.

    Returns:
        (B, N, h, w).
    """
    similarity = torch.cat([local.expand(-1, whole.shape[1], -1, -1, -1), whole], dim=2)
    chosen = torch.cat([windows, takes_part[..., None]], dim=2)[..., None, None]
    weights = similarity.masked_fill(chosen == 0, -torch.inf).softmax(dim=2)
    return (weights * similarity).sum(dim=2)
