"""The networks and their weights: tensors in, tensors out; no geometry, no files but weights."""

from .base import FewShotMethod, Network
from .config import QNetConfig
from .networks import Networks
from .propagation import PropagationConfig, PropagationNet
from .qnet import QNet, Scores
from .refinement import Refinement
from .storage import Model, load_model, load_network, load_propagation

__all__ = [
    "FewShotMethod",
    "Model",
    "Network",
    "PropagationConfig",
    "PropagationNet",
    "Networks",
    "QNet",
    "QNetConfig",
    "Refinement",
    "Scores",
    "load_model",
    "load_network",
    "load_propagation",
]
