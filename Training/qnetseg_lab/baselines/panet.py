"""PANet: few-shot image semantic segmentation with prototype alignment (Wang et al., ICCV 2019).

Paper https://arxiv.org/abs/1908.06391, reference code https://github.com/kaixin96/PANet. The authors' encoder
is a VGG-16; ours is the one of the other methods, so that they are compared with the same initial weights.
"""

from __future__ import annotations

from typing import ClassVar, NamedTuple

from torch import Tensor

from qnetseg.model.prototype import anomaly_score, full_precision, masked_average_pooling

from .two_class import FeatureMap, TwoClassMethod


class ClassPrototypes(NamedTuple):
    """Prototypes of N structures and of their backgrounds for B images: both (B, N, C) float32."""

    foreground: Tensor
    background: Tensor


class PANet(TwoClassMethod):
    """One prototype of the structure and one of everything else, compared by cosine."""

    name: ClassVar[str] = "panet"
    title: ClassVar[str] = "PANet"
    background_weight: ClassVar[float] = 1.0
    aligns_empty: ClassVar[bool] = False

    def condition(self, features: FeatureMap, masks: Tensor) -> ClassPrototypes:
        """Masked average pooling ("prototype learning", Eq. 1 and 2). masks: (B, N, H, W) float in [0, 1]."""
        maps = features.features
        return ClassPrototypes(masked_average_pooling(maps, masks), masked_average_pooling(maps, 1 - masks))

    def margin(self, support: ClassPrototypes, query: FeatureMap) -> Tensor:
        """Difference of the cosine similarities, scaled by 20 ("non-parametric metric learning", Eq. 3)."""
        maps = query.features
        with full_precision(maps):
            foreground, background = (
                -anomaly_score(maps, p.expand(len(maps), -1, -1), self.config.cosine_scale) for p in support
            )
        return foreground - background
