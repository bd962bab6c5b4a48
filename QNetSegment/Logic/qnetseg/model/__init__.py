"""Q-Net and its weights: tensors in, tensors out; no geometry, no files but weights."""

from .config import QNetConfig
from .method import EpisodeLoss, FewShotMethod
from .qnet import QNet, Scores
from .refinement import Refinement
from .weights import Model, load_model, save_model

__all__ = [
    "EpisodeLoss",
    "FewShotMethod",
    "Model",
    "QNet",
    "QNetConfig",
    "Refinement",
    "Scores",
    "load_model",
    "save_model",
]
