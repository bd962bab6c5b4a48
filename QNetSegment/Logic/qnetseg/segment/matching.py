"""Which drawn slice each query slice is segmented from."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


def nearest(slices: np.ndarray, drawn: list[int]) -> np.ndarray:
    """For each canonical slice index the position in `drawn` of the nearest drawn one; the lower of two."""
    return np.abs(slices[:, None] - np.array(drawn)[None]).argmin(axis=1)


def thirds(count: int, drawn: int) -> np.ndarray:
    """The paper's protocol: `count` slices in `drawn` consecutive parts, cut as in the released code."""
    cuts = np.linspace(0, count, drawn + 1).astype(int)
    return np.repeat(np.arange(drawn), np.diff(cuts))


def most_similar(query: Tensor, support: Tensor) -> np.ndarray:
    """Position of the support image whose pooled features (n, C) are nearest in angle to each of (B, C)."""
    similarity = F.normalize(query, dim=1) @ F.normalize(support, dim=1).T
    return torch.argmax(similarity, dim=1).cpu().numpy()
