"""Cases whose slices are encoded once, for all supports, structures and variants of a protocol."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from qnetseg.model import FewShotMethod
from qnetseg.segment import SegmentOptions
from qnetseg.segment.images import model_mask
from qnetseg.segment.inference import Runner
from qnetseg.segment.job import Job
from qnetseg.segment.matching import thirds
from qnetseg.volume import InPlaneGrid, normalise

from ..data import Case

# Slices encoded or predicted at once: a GPU gains by many, on a CPU one at a time stays in its caches.
GPU_BATCH = 16
LIMIT = 6 * 2**30  # bytes of features that are kept; the case used longest ago is encoded again

# Foreground probabilities (V, B, 1, H, W) of V variants from a support, encoded queries and the size (H, W).
Predict = Callable[[FewShotMethod, Any, Any, tuple[int, int]], Tensor]


class Scorer:
    """Predicts cases from one another; a slice is encoded when it is first needed, and kept.

    Features are kept on the CPU, in bfloat16 where that changes no bit of them (a bfloat16 encoder), so the
    masks are those of `segment_volume` with the same options on cases that share one grid, by networks that
    cut the histogram as it does. Cases of several grids meet at the coarsest.
    """

    def __init__(
        self, network: FewShotMethod, cases: list[Case], options: SegmentOptions, limit: int = LIMIT
    ) -> None:
        self._runner = Runner(network, options)
        if self._runner.device.type != "cpu":
            self._runner.batch_size = GPU_BATCH
        config = network.config
        fields = (  # a pixel that lets a whole slice fit
            count * mm / config.size
            for case in cases
            for count, mm in zip(_plane(case), case.spacing[1:], strict=True)
        )
        self._spacing = max(config.spacing, *fields)
        self._size = config.size
        self._features: dict[str, dict[int, Any]] = {}
        self._limit = limit

    @property
    def device(self) -> str:
        """Type of the device, e.g. "cpu"."""
        return self._runner.device.type

    @property
    def precision(self) -> str:
        """Arithmetic of the encoder: "fp32" or "bf16"."""
        return self._runner.precision

    def condition(self, case: Case, label: int, slices: np.ndarray) -> Any:
        """What the method keeps of a support case's drawn slices; indices may repeat."""
        grid = self._grid(case)
        masks = np.stack([model_mask(case.labels[index] == label, grid) for index in slices])
        with torch.no_grad():
            features = self._encoded(case, slices)
            target = torch.from_numpy(masks)[:, None].to(self._runner.device)
            return _map(Tensor.cpu, self._runner.network.condition(features, target))

    def masks(self, conditioned: Any, query: Case, slices: np.ndarray, predict: Predict) -> np.ndarray:
        """Predicted masks (V, S, H, W) bool of V variants on the chosen S slices of a query case.

        Each part of the slices is predicted from its own drawn slice, cut as in the released code.

        Args:
            conditioned: from `condition`.
            query: case to predict.
            slices: ascending slice indices.
            predict: gives the probabilities.
        """
        chosen = torch.from_numpy(thirds(len(slices), len(conditioned[0])))
        batch = self._runner.batch_size
        parts = []
        for start in range(0, len(slices), batch):
            part = slice(start, start + batch)
            parts.append(self._predicted(conditioned, query, slices[part], chosen[part], predict))
        return np.concatenate(parts, axis=1)

    def _predicted(
        self, conditioned: Any, query: Case, slices: np.ndarray, chosen: Tensor, predict: Predict
    ) -> np.ndarray:
        size = (self._size, self._size)
        with torch.no_grad():
            own = _map(lambda t: t[chosen].to(self._runner.device), conditioned)
            found = predict(self._runner.network, own, self._encoded(query, slices), size)[:, :, 0]
        images: np.ndarray = found.float().cpu().numpy()
        native = self._grid(query).to_native(images.reshape(-1, *size))
        mask: np.ndarray = native.reshape(*images.shape[:2], *_plane(query)) > 0.5
        return mask

    def _grid(self, case: Case) -> InPlaneGrid:
        return InPlaneGrid(_plane(case), case.spacing[1:], self._spacing, self._size)

    def _encoded(self, case: Case, slices: np.ndarray) -> Any:
        """Features of slices of a case, float32 on the runner's device."""
        kept = self._features.pop(case.name, {})
        self._features[case.name] = kept  # at the end: the last used
        missing = sorted({int(index) for index in slices} - set(kept))
        if missing:
            self._encode(case, missing, kept)
        rows = [kept[int(index)] for index in slices]
        merged = type(rows[0])(*map(torch.cat, zip(*rows, strict=True)))
        return _map(lambda t: t.to(self._runner.device).float(), merged)

    def _encode(self, case: Case, slices: list[int], kept: dict[int, Any]) -> None:
        stack = normalise(case.image)
        images = self._grid(case).to_model(stack[slices], fill=float(stack.min()))

        def work(part: slice, features: Any) -> list[Any]:
            singles = (slice(i, i + 1) for i in range(part.stop - part.start))
            return [type(features)(*(_packed(t[single]) for t in features)) for single in singles]

        for part, rows in self._runner.batches(torch.from_numpy(images), work, "slices", Job()):
            kept.update(zip(slices[part], rows, strict=True))
        while sum(map(_bytes, self._features.values())) > self._limit and len(self._features) > 1:
            del self._features[next(iter(self._features))]


def _plane(case: Case) -> tuple[int, int]:
    return case.image.shape[1], case.image.shape[2]


def _map(change: Callable[[Tensor], Tensor], tensors: Any) -> Any:
    """A named tuple of changed tensors."""
    return type(tensors)(*map(change, tensors))


def _packed(tensor: Tensor) -> Tensor:
    """A copy on the CPU, in bfloat16 where that loses nothing."""
    half = tensor.to(torch.bfloat16)
    return (half if torch.equal(half.to(tensor.dtype), tensor) else tensor.clone()).cpu()


def _bytes(kept: dict[int, Any]) -> int:
    return sum(t.numel() * t.element_size() for features in kept.values() for t in features)
