"""The development data sets: where they lie, what is labelled, how they are split."""

from .catalogue import CATALOGUE, Case, DataSet, data_root, dataset

__all__ = ["CATALOGUE", "Case", "DataSet", "data_root", "dataset"]
