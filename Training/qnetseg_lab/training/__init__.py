"""Training: what networks learn from, recipes and the loop."""

from .recipe import AnyRecipe, PropagationRecipe, Recipe
from .recipe_file import parse_setting, read_recipe
from .trainer import Trainer

__all__ = ["AnyRecipe", "PropagationRecipe", "Recipe", "Trainer", "parse_setting", "read_recipe"]
