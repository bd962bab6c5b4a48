"""Mean of several trainings of one network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from qnetseg.errors import WeightsError
from qnetseg.model.propagation import PropagationConfig, PropagationNet
from qnetseg.model.storage import Model


def average(models: Sequence[Model[Any]]) -> Model[Any]:
    """The model whose tensors are the means of those of the given ones ("model soup", arXiv 2203.05482).

    It keeps what trainings from one start have in common and loses what a single one overfits, at no cost
    when it is used. What propagation networks fitted for their confidence is a linear function of the same
    features, so it has a mean, too. The last model's network is changed in place and returned.

    models: two or more of one method and configuration (but for the fitted confidence).
    Raises WeightsError for fewer than two, or where they differ in more than their tensors.
    """
    if len(models) < 2:
        raise WeightsError("A mean needs two models or more.", "Name another one.")
    first, last = models[0].network, models[-1].network
    if any(type(m.network) is not type(first) or _kind(m) != _kind(models[0]) for m in models):
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
    if isinstance(last, PropagationNet):
        fitted = zip(*(model.network.config.confidence for model in models), strict=True)
        last.config = replace(last.config, confidence=tuple(sum(each) / len(models) for each in fitted))
    return models[-1]


def _kind(model: Model[Any]) -> Any:
    """Configuration, of a fitted confidence only how many weights it has."""
    config = model.network.config
    if isinstance(config, PropagationConfig):
        return config.widths, len(config.confidence)
    return config
