"""Mean of several trainings of one network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from ..errors import WeightsError
from .weights import Model


def average(models: Sequence[Model[Any]]) -> Model[Any]:
    """The model whose tensors are the means of those of the given ones ("model soup", arXiv 2203.05482).

    It keeps what trainings from one start have in common and loses what a single one overfits, at no cost
    when it is used. The last model's network is changed in place and returned.

    Args:
        models: two or more of one method and configuration.

    Raises:
        WeightsError: fewer than two, or they differ in more than their tensors.
    """
    if len(models) < 2:
        raise WeightsError("A mean needs two models or more.", "Name another one.")
    first, last = models[0].network, models[-1].network
    if any(type(m.network) is not type(first) or m.network.config != first.config for m in models):
        raise WeightsError(
            "The models differ in method or configuration, so they have no mean.",
            "Choose models of one recipe.",
        )
    states = [model.network.state_dict() for model in models]
    mean = {
        key: torch.stack([state[key] for state in states]).mean(dim=0) if value.is_floating_point() else value
        for key, value in states[-1].items()
    }
    last.load_state_dict(mean)
    return models[-1]
