"""What defines a Q-Net or a baseline: topology, constants of its equations and its input contract."""

from __future__ import annotations

import reprlib
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from typing import Any

from ..errors import WeightsError
from ..parsing import number, whole

_CHOICES = {
    "depth": (50, 101, 152),
    "downsample_layer": (2, 3, 4),
    "paths": ("dual", "fine", "coarse"),
    "threshold": ("shared", "per_path", "fixed"),
}
_SMALLEST = 1e-6  # of what must be above 0
_COUNTS = {"feature_channels": 4096, "threshold_hidden": 16384, "size": 1024}
_RANGES = {  # wide enough for every experiment
    "threshold_bias": (-1e4, 1e4),
    "cosine_scale": (_SMALLEST, 1e4),
    "sharpness": (_SMALLEST, 1e4),
    "alpha": (0.0, 1.0),
    "input_scale": (_SMALLEST, 1e4),
    "input_shift": (-1e4, 1e4),
    "spacing": (1e-3, 1e3),
}

FORMER = ("top_percent",)
"""Entries of older files: what they said holds for every model now, see `qnetseg.volume.normalise`."""


@dataclass(frozen=True)
class QNetConfig:
    """Configuration of a `QNet`, stored in the metadata of its weights file.

    The other methods read from it what they have in common with Q-Net: encoder, input contract, constants
    of the same name.

    depth: ResNet depth: 50, 101 (paper) or 152.
    downsample_layer: residual layer that halves the resolution last: 4 (paper's best), 3 or 2
        (paper, Table 2, "DS on Layer n"). The layer before it gives the fine features. 2 is as in
        ADNet and SSL-ALPNet.
    paths: "dual", or one path only: "fine" (paper, Table 2, row "64 x 64") or "coarse" ("32 x 32").
    feature_channels: channels of both paths after the 1x1 reduction (released code: 512).
    threshold: from the query, one for both paths ("shared", released code) or one a path ("per_path",
        paper); or "fixed", a learned number as in ADNet (paper, Table 2, rows without "TA").
    threshold_hidden: width of the hidden fully connected layer (paper, appendix A.1: 1000).
    threshold_bias: initial value of the last bias, or of the learned number. -10 is ADNet's start and
        keeps early training stable; the released code leaves it near 0.
    cosine_scale: a of Eq. 2.
    sharpness: factor inside the sigmoid of Eq. 3; 0.5 in the released code, 1 in the paper.
    alpha: weight of the fine path in Eq. 6; the paper's best for Setting 1.
    input_scale, input_shift: z-scored intensities x enter the encoder as scale * x + shift, to meet
        the range that the encoder's start was trained on.
    spacing: in-plane resolution in mm that the model works at.
    size: side of the square image in pixels that the model was trained on.
    """

    depth: int = 50
    downsample_layer: int = 4
    paths: str = "dual"
    feature_channels: int = 512
    threshold: str = "shared"
    threshold_hidden: int = 1000
    threshold_bias: float = -10.0
    cosine_scale: float = 20.0
    sharpness: float = 0.5
    alpha: float = 0.9
    input_scale: float = 1.0
    input_shift: float = 0.0
    spacing: float = 1.25
    size: int = 256

    def __post_init__(self) -> None:
        for name, allowed in _CHOICES.items():
            value = getattr(self, name)
            if value not in allowed or type(value) is not type(allowed[0]):
                raise _impossible(name, value, f"one of {', '.join(map(str, allowed))}")
        for name, most in _COUNTS.items():
            self._check(name, whole, 1, most)
        for name, (low, high) in _RANGES.items():
            self._check(name, number, low, high)

    def _check(self, name: str, check: Callable[[Any, Any, Any], Any], low: float, high: float) -> None:
        value = getattr(self, name)
        try:
            check(value, low, high)
        except ValueError as error:
            raise _impossible(name, value, str(error).removeprefix("not ")) from error

    def to_dict(self) -> dict[str, Any]:
        """The configuration as a JSON-able dictionary."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> QNetConfig:
        """Inverse of `to_dict`. Raises `WeightsError` for an entry that this version does not know."""
        values = {key: value for key, value in dict(values).items() if key not in FORMER}
        require_known(values, cls)
        return cls(**values)


def require_known(values: dict[str, Any], config: Any) -> None:
    """Raise WeightsError for an entry that a configuration of this class does not have."""
    if unknown := sorted(set(values) - {field.name for field in fields(config)}):
        raise WeightsError(
            f"The model configuration has unknown entries: {', '.join(unknown)}.",
            "It may come from a newer version; update QNetSegment.",
        )


def _impossible(name: str, value: object, allowed: str) -> WeightsError:
    return WeightsError(
        f"The model configuration has {name}={reprlib.repr(value)}, which is not {allowed}.",
        "Correct that entry.",
    )
