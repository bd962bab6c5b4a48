"""The two networks of the engine."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from pathlib import Path

from ..errors import WeightsError
from .propagation import PropagationNet
from .qnet import QNet
from .storage import Model, load_model, load_propagation


class Networks:
    """The propagation network and Q-Net, each read when it is first needed: on the volume that was drawn on
    the second never is."""

    def __init__(
        self,
        propagation: Path | Callable[[], Path] | Model[PropagationNet] | None = None,
        qnet: Path | Callable[[], Path] | Model[QNet] | None = None,
    ) -> None:
        """Weights files, functions that find them, or models that are loaded already; one that is never asked
        for may be None."""
        self._propagation, self._qnet = propagation, qnet

    @cached_property
    def propagation(self) -> Model[PropagationNet]:
        """Carries a drawing through a volume. Raises `WeightsError`."""
        given = self._propagation
        return given if isinstance(given, Model) else load_propagation(_named(given, PropagationNet.title))

    @cached_property
    def qnet(self) -> Model[QNet]:
        """Finds a structure again in another patient. Raises `WeightsError`."""
        given = self._qnet
        return given if isinstance(given, Model) else load_model(_named(given, QNet.title))


def _named(path: Path | Callable[[], Path] | None, title: str) -> Path:
    if callable(path):
        return path()
    if path is None:
        raise WeightsError(f"Weights of the {title} are needed and none are given.", "Name a weights file.")
    return path
