"""The baselines' equations in plain NumPy and float64, one image and one structure at a time.

Written from the papers, with loops over pixels and windows instead of batches and masked softmax.
"""

from __future__ import annotations

import numpy as np

from .reference import masked_average, sigmoid, upsample


def cosine(features, prototype, scale=20.0):
    """Scaled cosine of each pixel of (C, h, w) with a prototype (C,)."""
    height, width = features.shape[1:]
    out = np.zeros((height, width))
    for i in range(height):
        for j in range(width):
            vector = features[:, i, j]
            length = np.linalg.norm(vector) * np.linalg.norm(prototype)
            out[i, j] = scale * (vector @ prototype) / length if length else 0.0
    return out


def panet_margin(support, mask, query):
    """PANet: one prototype a class, support (C, h, w), mask (H, W), query (C, h, w)."""
    foreground, background = masked_average(support, mask), masked_average(support, 1 - mask)
    return cosine(query, foreground) - cosine(query, background)


def _windows(x, side):
    """Means of the non-overlapping side x side windows of (..., h, w), row by row."""
    height, width = x.shape[-2:]
    return [
        x[..., i : i + side, j : j + side].mean(axis=(-2, -1))
        for i in range(0, height - side + 1, side)
        for j in range(0, width - side + 1, side)
    ]


def softmax_sum(maps):
    """Sum over maps of softmax(maps) * maps at each pixel."""
    maps = np.stack(maps)
    weights = np.exp(maps) / np.exp(maps).sum(axis=0)
    return (weights * maps).sum(axis=0)


def alpnet_margin(support, mask, query, side, gate_side=4, inside=0.95):
    """ALPNet: mask (h, w) is at the features' resolution; windows of `side` features."""

    def whole(weights):
        return (support * weights).sum(axis=(1, 2)) / (weights.sum() + 1e-5)

    local = _windows(support, side)
    foreground = [whole(mask)]
    if max(_windows(mask, gate_side)) >= inside:
        foreground += [p for p, share in zip(local, _windows(mask, side), strict=True) if share > inside]
    background = [p for p, share in zip(local, _windows(1 - mask, side), strict=True) if share > inside]
    background = background or [whole(1 - mask)]
    maps = [[cosine(query, p) for p in prototypes] for prototypes in (foreground, background)]
    return softmax_sum(maps[0]) - softmax_sum(maps[1])


def cross_entropy(margin, target, background_weight=1.0):
    """Weighted mean of -log of the right class's probability; the map is resized to the target first."""
    p = sigmoid(upsample(margin, target.shape, align_corners=False))
    weight = np.where(target == 1, 1.0, background_weight)
    return -(weight * np.log(np.where(target == 1, p, 1 - p))).sum() / weight.sum()
