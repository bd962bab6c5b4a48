"""Q-Net and its baselines by name: networks behind one interface, `TrainedMethod`."""

from pathlib import Path

from qnetseg.errors import RecipeError
from qnetseg.model import Model, QNetConfig
from qnetseg.model.storage import read_model

from .adnet import ADNet
from .alpnet import ALPNet
from .method import EpisodeLoss, TrainedMethod, TrainedQNet
from .panet import PANet
from .senet import SENet

METHODS: dict[str, type[TrainedMethod]] = {
    method.name: method for method in (TrainedQNet, PANet, ALPNet, ADNet, SENet)
}


def build_method(name: str, config: QNetConfig) -> TrainedMethod:
    """A network with random weights.

    Raises:
        RecipeError: for an unknown name.
        WeightsError: the method cannot be made with this configuration.
    """
    if name not in METHODS:
        raise RecipeError(f"There is no method {name!r}.", f"Use one of {', '.join(METHODS)}.")
    return METHODS[name](config)


def load_method(path: str | Path) -> Model[TrainedMethod]:
    """Read a weights file of any method, written by `qnetseg_lab.weights.writing.save_model`.

    Raises:
        WeightsError: missing, damaged, of another format, or its tensors do not fit its configuration.
    """
    return read_model(path, METHODS)


__all__ = ["METHODS", "EpisodeLoss", "TrainedMethod", "TrainedQNet", "build_method", "load_method"]
