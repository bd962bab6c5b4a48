"""A propagation network that believes the random walker and the intensities: it needs no training."""

from __future__ import annotations

import torch
from torch import Tensor

from qnetseg.model import Model, Networks
from qnetseg.model.propagation import Propagated, PropagationNet
from support.intensity_model import intensity_model


class WalkerNet(PropagationNet):
    """Two channels of the evidence; a plane holds the structure where they say so at all."""

    def forward(self, evidence: Tensor) -> Propagated:
        logits = 4 * evidence[:, 0] + 4 * evidence[:, 4]
        return Propagated(logits, logits.flatten(2).amax(2))


def walker_model() -> Model:
    torch.manual_seed(0)
    return Model(WalkerNet().eval(), "walker", {})


def simple_networks() -> Networks:
    """Both networks without any training."""
    return Networks(propagation=walker_model(), qnet=intensity_model())
