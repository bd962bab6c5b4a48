"""Weights files of models and of others: converted, averaged, registered."""
