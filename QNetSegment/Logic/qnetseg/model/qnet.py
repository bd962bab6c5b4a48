"""Q-Net: one-way few-shot segmentation informed by the query (arXiv 2208.11451)."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from .base import FewShotMethod
from .config import QNetConfig
from .encoder import DualPathEncoder, Features
from .prototype import (
    Prototypes,
    anomaly_score,
    foreground_probability,
    full_precision,
    prototypes_from,
    resize_probability,
)
from .refinement import Refinement, refine
from .threshold import build_threshold

NO_REFINEMENT = Refinement()


class Scores(NamedTuple):
    """Anomaly scores S (Eq. 2) of B query images for N structures, and their thresholds.

    fine: (B, N, H/4, W/4) float32.
    coarse: (B, N, H/8, W/8) float32.
    threshold: (B, 2) float32, T of the fine and the coarse path.
    """

    fine: Tensor
    coarse: Tensor
    threshold: Tensor


class QNet(FewShotMethod):
    """Encoder, threshold and prototypes together.

    The support is encoded once (`encode`, `condition`) and used for any number of query images.
    """

    name: ClassVar[str] = "qnet"
    title: ClassVar[str] = "Q-Net"

    def __init__(self, config: QNetConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder: DualPathEncoder = DualPathEncoder(config, pooled=config.threshold != "fixed")
        self.threshold = build_threshold(config)

    def encode(self, images: Tensor) -> Features:
        """images: (B, H, W) float, z-scored; H and W multiples of 8."""
        return self.encoder(self.network_input(images))

    def finest(self, images: Tensor) -> Tensor:
        """`encode(images).finest`, without the layers that only the rest has need of."""
        return self.encoder.finest(self.network_input(images))

    def condition(self, features: Features, masks: Tensor) -> Prototypes:
        """Foreground prototypes (Eq. 1). masks: (B, N, H, W) float in [0, 1]."""
        return prototypes_from(features, masks)

    def scores(
        self,
        prototypes: Prototypes,
        query: Features,
        refinement: Refinement = NO_REFINEMENT,
        threshold_offset: Tensor | float = 0.0,
    ) -> Scores:
        """Anomaly scores of encoded query images against N prototypes, and their thresholds.

        prototypes: of N structures, first dimension B or 1.
        query: features of B images.
        refinement: test-time prototype refinement; none while training.
        threshold_offset: added to T; a number, or (B, 1) float.
        """
        config, result = self.config, {}
        with full_precision(query.fine):
            threshold = self.threshold(query.pooled) + threshold_offset
            for column, path in enumerate(Prototypes._fields):
                features = getattr(query, path)
                p = getattr(prototypes, path).expand(features.shape[0], -1, -1)
                if path in dict(self._path_weights()):
                    own = threshold[:, column]
                    p = refine(p, features, own, refinement, config.cosine_scale, config.sharpness)[-1]
                result[path] = anomaly_score(features, p, config.cosine_scale)
        return Scores(**result, threshold=threshold)

    def fuse(
        self, scores: Scores, size: tuple[int, int], threshold_offset: float = 0.0, alpha: float | None = None
    ) -> Tensor:
        """Foreground probability (B, N, *size) of both paths together (Eq. 3 and 6).

        alpha replaces the configuration's weight of the fine path.
        """
        parts = []
        for path, weight in self._path_weights(alpha):
            threshold = scores.threshold[:, Prototypes._fields.index(path)] + threshold_offset
            foreground = foreground_probability(getattr(scores, path), threshold, self.config.sharpness)
            parts.append(weight * resize_probability(foreground, size))
        return torch.stack(parts).sum(dim=0)

    def predict(
        self,
        prototypes: Prototypes,
        query: Features,
        size: tuple[int, int],
        refinement: Refinement = NO_REFINEMENT,
    ) -> Tensor:
        """Foreground probability (B, N, *size) of encoded query images; see `scores` and `fuse`."""
        return self.fuse(self.scores(prototypes, query, refinement), size)

    def _path_weights(self, alpha: float | None = None) -> list[tuple[str, float]]:
        if self.config.paths != "dual":
            return [(self.config.paths, 1.0)]
        alpha = self.config.alpha if alpha is None else alpha
        return [("fine", alpha), ("coarse", 1 - alpha)]
