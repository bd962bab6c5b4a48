"""Data sets: where they lie, what is labelled, how they are split."""

from .catalogue import CATALOGUE, FOLDS, Case, DataSet, data_root, dataset
from .description import CaseDescription, Description
from .open import open_volumes

__all__ = [
    "CATALOGUE",
    "FOLDS",
    "Case",
    "CaseDescription",
    "DataSet",
    "Description",
    "data_root",
    "dataset",
    "open_volumes",
]
