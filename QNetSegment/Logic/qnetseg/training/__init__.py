"""Training: episodes from supervoxels, augmentation, recipes and the loop."""

from .recipe import Recipe, read_recipe
from .trainer import Trainer

__all__ = ["Recipe", "Trainer", "read_recipe"]
