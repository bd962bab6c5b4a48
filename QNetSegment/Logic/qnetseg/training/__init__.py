"""Training: episodes from supervoxels, augmentation, recipes and the loop."""

from .recipe import Recipe, parse_setting, read_recipe
from .trainer import Trainer

__all__ = ["Recipe", "Trainer", "parse_setting", "read_recipe"]
